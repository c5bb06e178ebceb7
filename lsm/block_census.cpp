#include "lsm/block_census.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <span>

#include "io/lost_sectors.h"

namespace spindle {

namespace {

/// Bytes of one read, where a block has less. As fast as a disk gets, or nearly.
constexpr uint64_t step_size = 4 << 20;

struct alignas(sector_size) Sector {
  std::array<std::byte, sector_size> bytes;
};

/// Neighbours that are read at once.
struct BlockRun {
  uint64_t address = 0;
  uint64_t count = 0;
};

class CensusTaker {
 public:
  CensusTaker(GridPlace place, const FreeSet& set) noexcept : place_(place), set_(set) {
    run_blocks_max_ = std::max<uint64_t>(step_size / place.block_size, 1);
    const uint64_t file_size = place.storage->file_size();
    const uint64_t begin = place.storage->zone_begin(place.zone);
    present_end_ = (file_size > begin ? (file_size - begin) / place.block_size : 0) + 1;
  }

  Task<Result<void>> take();
  BlockCensus& census() noexcept { return census_; }

 private:
  bool is_counted(uint64_t address) const noexcept { return !set_.is_free(address) && !set_.is_released(address); }
  BlockRun next_run(uint64_t address) const noexcept;
  Task<Result<void>> read(BlockRun run);
  void count_block(uint64_t address, std::span<const std::byte> block, bool has_lost_sectors);
  void note(uint64_t address, BlockFault fault);

  GridPlace place_;
  const FreeSet& set_;
  uint64_t run_blocks_max_;
  uint64_t present_end_;  // blocks below are in the file as a whole
  std::unique_ptr<Sector[]> memory_;
  std::vector<uint64_t> lost_words_;
  BlockCensus census_;
};

BlockRun CensusTaker::next_run(uint64_t address) const noexcept {
  const uint64_t end = set_.highest_address_acquired() + 1;
  while (address < end && !is_counted(address)) ++address;
  BlockRun run{address, 0};
  while (run.count < run_blocks_max_ && address < end && is_counted(address)) {
    ++address;
    ++run.count;
  }
  return run;
}

Task<Result<void>> CensusTaker::take() {
  const uint64_t size = run_blocks_max_ * place_.block_size;
  memory_.reset(new (std::nothrow) Sector[size / sector_size]);
  if (memory_ == nullptr) co_return fail_errno(ENOMEM, "memory to read blocks");
  lost_words_.resize(LostSectors::words_count(size / sector_size));
  uint64_t address = 1;
  while (true) {
    const BlockRun run = next_run(address);
    if (run.count == 0) co_return Result<void>();
    co_await ok(read(run));
    address = run.address + run.count;
  }
}

// Blocks behind the end of the file are not there to be read.
Task<Result<void>> CensusTaker::read(BlockRun run) {
  const uint64_t end = run.address + run.count;
  const uint64_t present_end = std::clamp(present_end_, run.address, end);
  const uint64_t size = (present_end - run.address) * place_.block_size;
  const std::span<std::byte> memory(memory_[0].bytes.data(), size);
  std::fill(lost_words_.begin(), lost_words_.end(), 0);
  StorageReadOptions options;
  options.lost = LostSectors(lost_words_);
  Result<void> done;
  if (size > 0) done = co_await place_.storage->read(place_.zone, place_.offset_of(run.address), memory, options);
  const bool is_told = done.has_value() || done.error().code == ErrorCode::lost_sectors;
  if (!is_told) co_return done;
  const uint64_t block_sectors = place_.block_size / sector_size;
  for (uint64_t address = run.address; address < present_end; ++address) {
    const uint64_t index = address - run.address;
    bool has_lost_sectors = false;
    for (uint64_t sector = 0; sector < block_sectors; ++sector) {
      has_lost_sectors = has_lost_sectors || options.lost.is_lost(index * block_sectors + sector);
    }
    count_block(address, memory.subspan(index * place_.block_size, place_.block_size), has_lost_sectors);
  }
  for (uint64_t address = present_end; address < end; ++address) note(address, BlockFault::unreadable);
  co_return Result<void>();
}

// Verified against what it says of itself. Sectors that are lost may lie behind those in use.
void CensusTaker::count_block(uint64_t address, std::span<const std::byte> block, bool has_lost_sectors) {
  const BlockHeader& header = block_header_of(block);
  BlockExpected said;
  said.cluster = place_.cluster;
  said.reference = {header.address, header.address_second, header.frame.checksum};
  said.type = header.type;
  const BlockFault fault = verify_block(block, said);
  if (fault != BlockFault::none) {
    note(address, has_lost_sectors ? BlockFault::unreadable : fault);
    return;
  }
  ++census_.type_counts[static_cast<size_t>(header.type)];
  if (address == header.address || address == header.address_second) return;
  ++census_.misplaced_count;
  if (census_.misplaced.size() == BlockCensus::listed_max) return;
  census_.misplaced.push_back({address, BlockFault::none, header.address});
}

void CensusTaker::note(uint64_t address, BlockFault fault) {
  ++census_.not_whole_count;
  ++census_.fault_counts[static_cast<size_t>(fault)];
  if (census_.not_whole.size() == BlockCensus::listed_max) return;
  census_.not_whole.push_back({address, fault, 0});
}

}  // namespace

Task<Result<BlockCensus>> take_census(GridPlace place, const FreeSet& set) {
  CensusTaker taker(place, set);
  co_await ok(taker.take());
  co_return std::move(taker.census());
}

}  // namespace spindle
