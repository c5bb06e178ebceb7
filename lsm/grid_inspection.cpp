#include "lsm/grid_inspection.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "lsm/block_pool.h"

namespace spindle {

namespace {

/// Result<BlockFault>: of one copy. Sectors that are lost may lie behind those in use.
Task<Result<BlockFault>> read_copy(GridPlace place, BlockExpected expected, uint64_t address, uint64_t blocks_count,
                                   std::span<std::byte> memory) {
  if (address == 0 || address > blocks_count) co_return BlockFault::address;
  const Result<void> read = co_await place.storage->read(place.zone, place.offset_of(address), memory);
  if (read.has_value()) co_return verify_block(memory, expected);
  if (read.error().code == ErrorCode::end_of_file) co_return BlockFault::unreadable;
  if (read.error().code != ErrorCode::lost_sectors) co_return Unexpected(read.error());
  const bool is_whole = verify_block(memory, expected) == BlockFault::none;
  co_return is_whole ? BlockFault::none : BlockFault::unreadable;
}

class GridLooker {
 public:
  GridLooker(GridPlace place, const Superblock& superblock, GridInspection& into) noexcept
      : place_(place), blocks_count_(superblock.configuration.blocks_max), into_(into) {
    into.acquired.reference = superblock.state.blocks_acquired;
    into.released.reference = superblock.state.blocks_released;
  }

  Task<Result<void>> look(GridLook look);

 private:
  bool has_possible_references() noexcept;
  Result<void> prepare();
  Task<Result<void>> read_trailer(Trailer& trailer, TrailerInspection& into);
  Task<Result<void>> read_block(TrailerBlock& block, std::span<std::byte> memory);
  void open_free_set();
  void count_blocks();
  void paint();

  GridPlace place_;
  uint64_t blocks_count_;
  GridInspection& into_;
  std::unique_ptr<BlockPool> pool_;
  BlockLease second_;
  std::optional<Trailer> acquired_;
  std::optional<Trailer> released_;
  std::optional<FreeSet> set_;  // nothing: no block is acquired
};

uint64_t encoding_size_max(uint64_t blocks_count) noexcept {
  return EwahEncoder::encode_size_max((blocks_count + FreeBlocks::word_blocks - 1) / FreeBlocks::word_blocks);
}

/// None of a stream that can't be: that takes no memory.
bool GridLooker::has_possible_references() noexcept {
  const bool has_set = blocks_count_ <= FreeBlocks::blocks_count_max;
  const uint64_t size_max = has_set ? encoding_size_max(blocks_count_) : 0;
  const uint64_t body_size = place_.block_size - message_header_size;
  const uint64_t room = Trailer::blocks_count_of(size_max, place_.block_size) * body_size;
  for (TrailerInspection* const trailer : {&into_.acquired, &into_.released}) {
    if (trailer->reference.size > room) trailer->fault = TrailerFault::reference;
    if (!has_set && trailer->reference != TrailerReference()) trailer->fault = TrailerFault::reference;
  }
  return into_.acquired.fault == TrailerFault::none && into_.released.fault == TrailerFault::none;
}

/// As much memory as these two streams take, and for a second copy.
Result<void> GridLooker::prepare() {
  const uint64_t acquired_size = into_.acquired.reference.size;
  const uint64_t released_size = into_.released.reference.size;
  const auto blocks_of = [&](uint64_t size) {
    return std::max<uint64_t>(Trailer::blocks_count_of(size, place_.block_size), 1);
  };
  const auto pool_blocks_count = static_cast<uint32_t>(blocks_of(acquired_size) + blocks_of(released_size) + 1);
  Result<std::unique_ptr<BlockPool>> pool = BlockPool::create(pool_blocks_count, place_.block_size);
  if (!pool.has_value()) return Unexpected(pool.error());
  pool_ = std::move(*pool);
  auto acquired = Trailer::create(*pool_, place_.cluster, TrailerKind::blocks_acquired, acquired_size);
  if (!acquired.has_value()) return Unexpected(acquired.error());
  auto released = Trailer::create(*pool_, place_.cluster, TrailerKind::blocks_released, released_size);
  if (!released.has_value()) return Unexpected(released.error());
  auto second = pool_->try_acquire();
  if (!second.has_value()) return Unexpected(second.error());
  acquired_.emplace(std::move(*acquired));
  released_.emplace(std::move(*released));
  second_ = std::move(*second);
  // Never more blocks than both streams have, with a copy each.
  FreeSetOptions options;
  options.blocks_count = blocks_count_;
  options.released_before_durability_max = 2 * pool_blocks_count;
  Result<FreeSet> set = FreeSet::create(options);
  if (!set.has_value()) return Unexpected(set.error());
  set_.emplace(std::move(*set));
  return {};
}

// Both copies, whatever the first one is: what is bad shall be known while there is a good one. A reference whose first
// address is none of the grid is no reference, for Grid::open() too.
Task<Result<void>> GridLooker::read_block(TrailerBlock& block, std::span<std::byte> memory) {
  BlockExpected expected;
  expected.cluster = place_.cluster;
  expected.reference = block.reference;
  expected.type = BlockType::free_set;
  if (block.reference.address == 0 || block.reference.address > blocks_count_) {
    block.fault = BlockFault::address;
    if (block.has_second()) block.fault_second = BlockFault::address;
    co_return Result<void>();
  }
  block.fault = co_await ok(read_copy(place_, expected, block.reference.address, blocks_count_, memory));
  if (!block.has_second()) co_return Result<void>();
  const std::span<std::byte> second = second_.memory();
  const uint64_t address = block.reference.address_second;
  block.fault_second = co_await ok(read_copy(place_, expected, address, blocks_count_, second));
  const bool takes_second = block.fault != BlockFault::none && block.fault_second == BlockFault::none;
  if (takes_second) std::memcpy(memory.data(), second.data(), second.size());
  co_return Result<void>();
}

// From the last block to the first: each names the one before.
Task<Result<void>> GridLooker::read_trailer(Trailer& trailer, TrailerInspection& into) {
  into.fault = trailer.begin_read(into.reference);
  if (into.fault != TrailerFault::none) co_return Result<void>();
  for (uint32_t index = trailer.blocks_count(); index-- > 0;) {
    TrailerBlock block;
    block.index = index;
    block.reference = trailer.reference(index);
    co_await ok(read_block(block, trailer.memory(index)));
    into.blocks.push_back(block);
    if (block.is_lost()) co_return Result<void>();
    into.fault = trailer.take(index);
    if (into.fault != TrailerFault::none) co_return Result<void>();
  }
  into.fault = trailer.finish();
  into.is_read = into.fault == TrailerFault::none;
  co_return Result<void>();
}

void GridLooker::open_free_set() {
  std::vector<uint64_t> addresses(2 * size_t{acquired_->blocks_count()} + 2 * size_t{released_->blocks_count()});
  const std::span<uint64_t> all(addresses);
  uint32_t count = acquired_->addresses(all);
  count += released_->addresses(all.subspan(count));
  addresses.resize(count);
  into_.free_set = set_->open({acquired_->chunks(), released_->chunks(), addresses});
  into_.counts.trailer_blocks_count = count;
}

void GridLooker::count_blocks() {
  GridCounts& counts = into_.counts;
  counts.blocks_count = blocks_count_;
  counts.free_count = blocks_count_;
  if (!set_.has_value()) return;
  counts.free_count = set_->free_count();
  counts.acquired_count = set_->acquired_count();
  counts.released_count = set_->released_count() - counts.trailer_blocks_count;
  counts.highest_address_acquired = set_->highest_address_acquired();
}

void GridLooker::paint() {
  GridPicture& picture = into_.picture;
  picture.cell_blocks_count = (blocks_count_ + GridPicture::cells_max - 1) / GridPicture::cells_max;
  picture.cells.resize((blocks_count_ + picture.cell_blocks_count - 1) / picture.cell_blocks_count);
  if (!set_.has_value()) return;
  for (uint64_t address = 1; address <= set_->highest_address_acquired(); ++address) {
    GridCell& cell = picture.cells[(address - 1) / picture.cell_blocks_count];
    if (set_->is_free(address)) continue;
    ++cell.acquired_count;
    if (set_->is_released(address)) ++cell.released_count;
  }
}

// A store without a checkpoint of a grid has no free set, and may be larger than one can be.
Task<Result<void>> GridLooker::look(GridLook look) {
  if (!has_possible_references()) co_return Result<void>();
  const TrailerReference none;
  const bool is_empty = into_.acquired.reference == none && into_.released.reference == none;
  into_.acquired.is_read = is_empty;
  into_.released.is_read = is_empty;
  if (!is_empty) {
    const Result<void> prepared = prepare();
    if (!prepared.has_value()) co_return prepared;
    co_await ok(read_trailer(*acquired_, into_.acquired));
    co_await ok(read_trailer(*released_, into_.released));
  }
  into_.has_free_set = into_.acquired.is_read && into_.released.is_read;
  if (into_.has_free_set && !is_empty) open_free_set();
  if (!into_.is_known()) co_return Result<void>();
  count_blocks();
  paint();
  if (look != GridLook::blocks) co_return Result<void>();
  if (is_empty) {
    into_.census.emplace();
    co_return Result<void>();
  }
  into_.census = co_await ok(take_census(place_, *set_));
  uint64_t& trailer_blocks_count = into_.census->type_counts[static_cast<size_t>(BlockType::free_set)];
  for (const TrailerInspection* const trailer : {&into_.acquired, &into_.released}) {
    for (const TrailerBlock& block : trailer->blocks) {
      trailer_blocks_count += block.fault == BlockFault::none;
      trailer_blocks_count += block.has_second() && block.fault_second == BlockFault::none;
    }
  }
  co_return Result<void>();
}

}  // namespace

const char* name_of(TrailerKind kind) noexcept {
  switch (kind) {
    case TrailerKind::blocks_acquired: return "blocks_acquired";
    case TrailerKind::blocks_released: return "blocks_released";
  }
  return "?";
}

Task<Result<GridInspection>> inspect_grid(Storage& storage, ZoneIndex zone, const Superblock& superblock,
                                          GridLook look) {
  GridPlace place;
  place.storage = &storage;
  place.zone = zone;
  place.cluster = superblock.cluster;
  place.block_size = superblock.configuration.block_size;
  GridInspection found;
  GridLooker looker(place, superblock, found);
  co_await ok(looker.look(look));
  co_return std::move(found);
}

}  // namespace spindle
