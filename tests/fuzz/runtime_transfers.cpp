// Reads, writes and syncs of the fuzzer `runtime`. Each sector is filled with one tag; the expected disk knows which.
#include <cstring>

#include "tests/fuzz/runtime_machine.h"

namespace spindle::fuzz {

namespace {

constexpr uint32_t words_per_sector = ExpectedDisk::sector_size / 8;

void fill(std::byte* sector, uint64_t tag) noexcept {
  for (uint32_t word = 0; word < words_per_sector; ++word) std::memcpy(sector + word * 8, &tag, 8);
}

/// The tag of a sector that holds nothing else.
uint64_t tag_of(const std::byte* sector) {
  uint64_t tag = 0;
  std::memcpy(&tag, sector, 8);
  FUZZ_CHECK(std::memcmp(sector, sector + 8, ExpectedDisk::sector_size - 8) == 0, "a sector is torn");
  return tag;
}

/// A buffer and a region of the file, for one transfer.
class TransferLease {
 public:
  /// Declines when the region is in use, or no buffer is free.
  TransferLease(Machine& machine, uint32_t region, bool writes) noexcept
      : machine_(machine), region_(region), writes_(writes) {
    int32_t& users = machine.region_users[region];
    if ((writes ? users != 0 : users < 0) || machine.buffers_free.empty()) return;
    users = writes ? -1 : users + 1;
    buffer_ = machine.buffers_free.back();
    machine.buffers_free.pop_back();
    is_held_ = true;
  }
  TransferLease(const TransferLease&) = delete;
  TransferLease& operator=(const TransferLease&) = delete;
  ~TransferLease() {
    if (!is_held_ || machine_.is_dead) return;
    machine_.buffers_free.push_back(buffer_);
    machine_.region_users[region_] = writes_ ? 0 : machine_.region_users[region_] - 1;
  }
  bool is_held() const noexcept { return is_held_; }
  std::byte* memory() const noexcept { return machine_.buffer(buffer_); }

 private:
  Machine& machine_;
  uint32_t region_;
  bool writes_;
  bool is_held_ = false;
  uint32_t buffer_ = 0;
};

struct Extent {
  uint32_t region;
  uint32_t sector_first;
  uint32_t sector_count;

  explicit Extent(const FuzzEvent& event) noexcept
      : region(event.a % ExpectedDisk::region_count),
        sector_first(region * ExpectedDisk::region_sectors + event.b % ExpectedDisk::region_sectors),
        sector_count(1 + event.c % (ExpectedDisk::region_sectors - event.b % ExpectedDisk::region_sectors)) {}
  uint64_t offset() const noexcept { return uint64_t{sector_first} * ExpectedDisk::sector_size; }
  uint64_t size() const noexcept { return uint64_t{sector_count} * ExpectedDisk::sector_size; }
};

Task<Result<void>> write_extent(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  const Extent extent(event);
  TransferLease lease(machine, extent.region, true);
  guard.finish();
  if (!lease.is_held()) co_return Result<void>();
  const uint64_t tag = machine.disk.tag_next++;
  ExpectedDisk::SectorTags* tags = &machine.disk.sectors[extent.sector_first];
  for (uint32_t sector = 0; sector < extent.sector_count; ++sector) {
    fill(lease.memory() + sector * ExpectedDisk::sector_size, tag);
    tags[sector].pending = tag;
  }
  Ticket ticket(WaitKind::operation, *place.context);
  machine.model.operate(ticket);
  const std::span<const std::byte> memory(lease.memory(), extent.size());
  iovec parts[2] = {{lease.memory(), 512}, {lease.memory() + 512, extent.size() - 512}};
  const std::span<iovec> vector(parts, extent.sector_count > 1 ? 2 : 1);
  Result<void> result;
  if (event.a % 7 == 0) {
    result = co_await machine.file->write_all_at(extent.offset(), vector);
  } else {
    result = co_await machine.file->write_all_at(extent.offset(), memory);
  }
  machine.check_operation(ticket, place, result);
  const uint64_t done = result.has_value() ? extent.size() : result.error().transferred;
  FUZZ_CHECK(done % ExpectedDisk::sector_size == 0 && done <= extent.size(), "a write stopped within a sector");
  for (uint32_t sector = 0; sector < extent.sector_count; ++sector) {
    if (uint64_t{sector} * ExpectedDisk::sector_size < done) tags[sector].written = tag;
    tags[sector].pending = 0;
  }
  co_return result;
}

Task<Result<void>> read_extent(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  const Extent extent(event);
  TransferLease lease(machine, extent.region, false);
  guard.finish();
  if (!lease.is_held()) co_return Result<void>();
  Ticket ticket(WaitKind::operation, *place.context);
  machine.model.operate(ticket);
  const std::span<std::byte> memory(lease.memory(), extent.size());
  const Result<void> result = co_await machine.file->read_exact_at(extent.offset(), memory);
  machine.check_operation(ticket, place, result);
  const uint64_t done = result.has_value() ? extent.size() : result.error().transferred;
  for (uint32_t sector = 0; uint64_t{sector} * ExpectedDisk::sector_size < done; ++sector) {
    const uint64_t tag = tag_of(lease.memory() + sector * ExpectedDisk::sector_size);
    FUZZ_CHECK(tag == machine.disk.sectors[extent.sector_first + sector].written, "a read gave what was not written");
  }
  co_return result;
}

Task<Result<void>> sync_file(Machine& machine, Place place, bool data_only) {
  Guard guard(machine, place);
  Ticket ticket(WaitKind::operation, *place.context);
  machine.model.operate(ticket);
  Result<void> result;
  if (data_only) {
    result = co_await machine.file->sync_data();
  } else {
    result = co_await machine.file->sync();
  }
  machine.check_operation(ticket, place, result);
  FUZZ_CHECK(!machine.file->is_poisoned(), "a file is poisoned though no sync failed");
  guard.finish();
  co_return result;
}

}  // namespace

SPINDLE_TASK_WRAPPER Task<Result<void>> do_transfer(Machine& machine, Place place, FuzzEvent event) {
  if (event.action == Action::write) return write_extent(machine, place, event);
  if (event.action == Action::read) return read_extent(machine, place, event);
  return sync_file(machine, place, event.a % 2 == 0);
}

void check_disk(Host& host, ExpectedDisk& disk) {
  const SimFile* file = host.files().find("data");
  const std::vector<std::byte> content = file == nullptr ? std::vector<std::byte>() : file->content();
  const size_t sector_count = content.size() / ExpectedDisk::sector_size;
  for (size_t index = 0; index < std::size(disk.sectors); ++index) {
    ExpectedDisk::SectorTags& tags = disk.sectors[index];
    const bool is_there = index < sector_count;
    const uint64_t tag = is_there ? tag_of(content.data() + index * ExpectedDisk::sector_size) : 0;
    FUZZ_CHECK(tag == tags.written || (tags.pending != 0 && tag == tags.pending),
               "the disk lost a write, or holds one that nobody made");
    tags = {tag, 0};
  }
}

}  // namespace spindle::fuzz
