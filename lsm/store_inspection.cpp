#include "lsm/store_inspection.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "lsm/format_mark.h"
#include "lsm/store_layout.h"
#include "lsm/superblock.h"

namespace spindle {

namespace {

constexpr ZoneIndex first_zone{0};

struct alignas(superblock_size) Chunk {
  std::array<std::byte, superblock_slot_stride> bytes;
};

/// What was read of the mark's place.
enum class MarkState : uint8_t { none, torn, whole };

/// False: some of it can't be read.
Task<Result<bool>> read_all_of(Storage& storage, uint64_t offset, std::span<std::byte> memory) {
  const Result<void> read = co_await storage.read(first_zone, offset, memory);
  const bool is_lost = !read.has_value() && read.error().code == ErrorCode::lost_sectors;
  if (!read.has_value() && !is_lost) co_return Unexpected(read.error());
  co_return !is_lost;
}

Task<Result<MarkState>> read_mark(Storage& storage, Chunk& chunk) {
  const std::span<std::byte> sector = std::span(chunk.bytes).first(format_mark_size);
  const bool is_read = co_await ok(read_all_of(storage, format_mark_offset, sector));
  if (is_read && is_mark(sector)) co_return MarkState::whole;
  co_return is_read&& is_torn_mark(sector) ? MarkState::torn : MarkState::none;
}

bool is_zero(std::span<const std::byte> bytes) noexcept {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{}; });
}

/// All zeroes up to the mark's place.
Task<Result<bool>> is_blank(Storage& storage, Chunk& chunk) {
  for (uint64_t offset = 0; offset < format_mark_offset; offset += superblock_slot_stride) {
    const uint64_t size = std::min<uint64_t>(superblock_slot_stride, format_mark_offset - offset);
    const std::span<std::byte> part = std::span(chunk.bytes).first(size);
    const bool is_read = co_await ok(read_all_of(storage, offset, part));
    if (!is_read || !is_zero(part)) co_return false;
  }
  co_return true;
}

/// Copies what was read, since it belongs to the one who read it.
void take_slots(StoreInspection& into, const SuperblockCopies& from, const std::optional<ClusterId>& cluster) {
  into.copies.resize(superblock_slots_count);
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    const SuperblockSlot& read = from.slots()[slot];
    into.slots[slot] = {read.fault, nullptr};
    if (read.superblock == nullptr) continue;
    into.copies[slot] = *read.superblock;
    into.slots[slot].superblock = &into.copies[slot];
  }
  into.choice = choose_superblock(into.slots, cluster);
}

// A file of another size is not ours because of zeroes: somebody may have made room for something.
Task<Result<StoreContent>> content_of(Storage& storage, const StoreInspection& found, MarkState mark, Chunk& chunk) {
  if (mark == MarkState::whole) co_return StoreContent::half_formatted;
  const SuperblockChoice choice = choose_superblock(found.slots);
  if (choice.error != SuperblockError::not_found) co_return StoreContent::store;
  const bool may_be_begun = !found.is_device && found.file_size == file_begun_size && mark == MarkState::torn;
  if (!may_be_begun) co_return StoreContent::other;
  const bool is_begun = co_await ok(is_blank(storage, chunk));
  co_return is_begun ? StoreContent::half_formatted : StoreContent::other;
}

/// The other zones: as much of them as the file has.
Result<ZoneIndex> add_grid_zone(Storage& storage, const StoreConfiguration& configuration) {
  const StoreLayout layout = layout_of(configuration);
  if (layout.journal.has_value()) {
    ZoneOptions journal = *layout.journal;
    journal.size_present_min = 0;
    const Result<ZoneIndex> added = storage.add_zone(journal);
    if (!added.has_value()) return added;
  }
  return storage.add_zone(layout.grid);
}

}  // namespace

const char* name_of(StoreContent content) noexcept {
  switch (content) {
    case StoreContent::nothing: return "nothing";
    case StoreContent::half_formatted: return "half formatted";
    case StoreContent::store: return "store";
    case StoreContent::other: return "other";
  }
  return "?";
}

Task<Result<StoreInspection>> look_at(Storage& storage, std::optional<ClusterId> cluster) {
  StoreInspection found;
  found.is_device = storage.is_device();
  found.file_size = storage.file_size();
  found.choice.error = SuperblockError::not_found;
  if (found.file_size == 0) co_return std::move(found);
  found.content = StoreContent::other;
  if (found.file_size < file_begun_size) co_return std::move(found);
  SuperblockCopies superblock(storage, first_zone);
  co_await ok(superblock.inspect());
  take_slots(found, superblock, cluster);
  const auto chunk = std::make_unique<Chunk>();
  const MarkState mark = co_await ok(read_mark(storage, *chunk));
  found.has_mark = mark == MarkState::whole;
  found.content = co_await ok(content_of(storage, found, mark, *chunk));
  co_return std::move(found);
}

Task<Result<StoreInspection>> inspect_store(std::string path, StoreInspectionOptions options) {
  StorageOptions how;
  how.read_only = true;
  how.direct = options.direct;
  how.lock = options.lock;
  const ZoneOptions zones[] = {superblock_zone_of(0)};
  const std::span<const ZoneOptions> looked_for(zones);
  Storage storage = co_await ok(Storage::open(std::move(path), looked_for, how));
  StoreInspection found = co_await ok(look_at(storage, options.cluster));
  const bool has_grid = found.content == StoreContent::store && found.winner() != nullptr;
  if (has_grid && options.grid != GridLook::none) {
    const Superblock& winner = *found.winner();
    const Result<ZoneIndex> zone = add_grid_zone(storage, winner.configuration);
    if (!zone.has_value()) co_return Unexpected(zone.error());
    found.grid = co_await ok(inspect_grid(storage, *zone, winner, options.grid));
  }
  found.findings = find_faults(found);
  co_await ok(storage.close());
  co_return std::move(found);
}

}  // namespace spindle
