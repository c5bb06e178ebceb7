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

/// What the slot should not have, since it might be an error or win, or is a vote in the wrong place.
bool is_leftover(SuperblockVerdict verdict) noexcept {
  switch (verdict) {
    case SuperblockVerdict::misplaced:
    case SuperblockVerdict::foreign:
    case SuperblockVerdict::fork:
    case SuperblockVerdict::interrupted:
    case SuperblockVerdict::skipped:
    case SuperblockVerdict::unconnected:
    case SuperblockVerdict::ahead: return true;
    case SuperblockVerdict::faulty:
    case SuperblockVerdict::current:
    case SuperblockVerdict::former:
    case SuperblockVerdict::older:
    case SuperblockVerdict::undecided: return false;
  }
  return false;
}

/// What is wrong in the slot; nothing, as a rule.
std::optional<StoreFault> fault_of(const StoreInspection& found, uint32_t slot) noexcept {
  const SuperblockVerdict verdict = found.choice.verdicts[slot];
  if (found.winner() == nullptr) {
    const SuperblockFault fault = found.slots[slot].fault;
    const bool is_wrong = fault != SuperblockFault::none && fault != SuperblockFault::zero;
    return is_wrong ? std::optional(StoreFault::copy) : std::nullopt;
  }
  const bool is_behind = slot >= found.winner()->configuration.copies_count;
  if (is_behind) return is_leftover(verdict) ? std::optional(StoreFault::leftover) : std::nullopt;
  return verdict != SuperblockVerdict::current ? std::optional(StoreFault::copy) : std::nullopt;
}

StoreFinding finding_of(StoreFault fault, uint64_t offset, uint64_t size, const char* zone) noexcept {
  StoreFinding finding;
  finding.fault = fault;
  finding.offset = offset;
  finding.size = size;
  finding.zone = zone;
  return finding;
}

void find_in_slots(const StoreInspection& found, std::vector<StoreFinding>& findings) {
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    const std::optional<StoreFault> fault = fault_of(found, slot);
    if (!fault.has_value()) continue;
    const uint64_t offset = uint64_t{slot} * superblock_slot_stride;
    StoreFinding finding = finding_of(*fault, offset, superblock_size, "superblock");
    finding.slot = slot;
    finding.is_healed_by_open = found.has_version();
    findings.push_back(finding);
  }
}

/// From where the file ends to where it should.
void find_cut(StoreFault fault, const char* zone, uint64_t end, const StoreInspection& found,
              std::vector<StoreFinding>& findings) {
  if (found.file_size >= end) return;
  findings.push_back(finding_of(fault, found.file_size, end - found.file_size, zone));
}

void find_in_zones(const StoreInspection& found, std::vector<StoreFinding>& findings) {
  const StoreLayout layout = layout_of(found.winner()->configuration);
  const uint64_t storage_size = found.winner()->state.storage_size;
  find_cut(StoreFault::zone_cut, "journal", layout.journal_end, found, findings);
  if (!is_valid_storage_size(storage_size, layout)) {
    findings.push_back(finding_of(StoreFault::storage_size, 0, superblock_size, "superblock"));
    return;
  }
  if (found.is_device) {
    find_cut(StoreFault::zone_cut, "grid", layout.size, found, findings);
  } else if (found.file_size >= layout.journal_end) {
    find_cut(StoreFault::storage_cut, "grid", storage_size, found, findings);
  }
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

const char* name_of(StoreFault fault) noexcept {
  switch (fault) {
    case StoreFault::no_store: return "no store";
    case StoreFault::half_formatted: return "half formatted";
    case StoreFault::no_version: return "no version";
    case StoreFault::copy: return "copy";
    case StoreFault::leftover: return "leftover";
    case StoreFault::zone_cut: return "zone cut";
    case StoreFault::storage_size: return "storage size";
    case StoreFault::storage_cut: return "storage cut";
  }
  return "?";
}

std::vector<StoreFinding> find_faults(const StoreInspection& inspection) {
  std::vector<StoreFinding> findings;
  switch (inspection.content) {
    case StoreContent::nothing:
    case StoreContent::other:
      findings.push_back(finding_of(StoreFault::no_store, 0, inspection.file_size, ""));
      return findings;
    case StoreContent::half_formatted:
      findings.push_back(finding_of(StoreFault::half_formatted, format_mark_offset, format_mark_size, "superblock"));
      return findings;
    case StoreContent::store: break;
  }
  if (!inspection.has_version()) {
    findings.push_back(finding_of(StoreFault::no_version, 0, superblock_zone_size, "superblock"));
  }
  find_in_slots(inspection, findings);
  if (inspection.winner() != nullptr) find_in_zones(inspection, findings);
  return findings;
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
  found.findings = find_faults(found);
  co_await ok(storage.close());
  co_return std::move(found);
}

}  // namespace spindle
