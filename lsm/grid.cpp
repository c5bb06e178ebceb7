// Grid: creation, reading and writing. Addresses and space are in grid_space.cpp, trailers in grid_checkpoint.cpp.
#include "lsm/grid.h"

#include <algorithm>
#include <source_location>

#include "runtime/combinators.h"

namespace spindle {

namespace {

/// A class of I/O may have this part of all permits, and one at least.
uint32_t background_part(uint32_t count) noexcept { return std::max(count / 4, 1u); }

uint64_t encoding_size_max(const GridOptions& options) noexcept {
  const uint64_t words_count = (options.blocks_count + FreeBlocks::word_blocks - 1) / FreeBlocks::word_blocks;
  return EwahEncoder::encode_size_max(words_count);
}

uint64_t trailer_blocks_max(const GridOptions& options) noexcept {
  return Trailer::blocks_count_of(encoding_size_max(options), options.block_size);
}

/// Two trailers of each checkpoint, and two checkpoints: the blocks of the former one are free only after the next.
uint64_t checkpoint_blocks_of(const GridOptions& options) noexcept {
  return options.metadata_copies_count * (options.log_blocks_max + 2 * 2 * trailer_blocks_max(options));
}

bool is_valid(const GridOptions& options) noexcept {
  const bool has_block_size = options.block_size >= block_size_min && options.block_size <= block_size_max &&
                              options.block_size % sector_size == 0;
  const bool has_blocks = options.blocks_count > 0 && options.blocks_count <= FreeBlocks::blocks_count_max;
  const bool has_log = options.log_blocks_max <= options.blocks_count;
  const bool has_limits =
      options.reads_max > 0 && options.writes_max > 0 && options.held_blocks_max > 0 && options.reservations_max > 0;
  const bool has_copies = options.metadata_copies_count == 1 || options.metadata_copies_count == 2;
  return has_block_size && has_blocks && has_limits && has_log && has_copies &&
         options.cache_blocks_count % BlockCache::ways_count == 0;
}

}  // namespace

struct Grid::Memory {
  std::unique_ptr<BlockPool> pool;
  BlockCache cache;
  FreeSet free_set;
  Trailer trailer_acquired;
  Trailer trailer_released;
};

Result<std::unique_ptr<Grid>> Grid::create(Storage& storage, ZoneIndex zone, const GridOptions& options) {
  if (!is_valid(options)) return fail(ErrorCode::invalid_argument, "grid");
  const bool has_room = storage.zone_size(zone) / options.block_size >= options.blocks_count;
  const bool has_checkpoints = checkpoint_blocks_of(options) < options.blocks_count;
  if (!has_room || !has_checkpoints) return fail(ErrorCode::invalid_argument, "grid: too small");
  const uint64_t trailer_max = trailer_blocks_max(options);
  const uint64_t frames_count = uint64_t{options.cache_blocks_count} + options.held_blocks_max + options.reads_max +
                                options.writes_max + 2 * trailer_max;
  if (frames_count > UINT32_MAX) return fail(ErrorCode::invalid_argument, "grid: too many blocks in memory");
  auto pool = BlockPool::create(static_cast<uint32_t>(frames_count), options.block_size);
  if (!pool.has_value()) return Unexpected(pool.error());
  auto cache = BlockCache::create(**pool, options.cache_blocks_count);
  if (!cache.has_value()) return Unexpected(cache.error());
  // Two copies of each, whatever the option says: those that are there may be from other times.
  const uint64_t own_max = 2 * trailer_max * 2;
  FreeSetOptions set_options;
  set_options.blocks_count = options.blocks_count;
  // The blocks of the trailers and no others: from the end of a checkpoint's writes to its durability nothing suspends.
  set_options.released_before_durability_max = static_cast<uint32_t>(own_max);
  auto free_set = FreeSet::create(set_options);
  if (!free_set.has_value()) return Unexpected(free_set.error());
  const uint64_t size_max = encoding_size_max(options);
  auto acquired = Trailer::create(**pool, options.cluster, TrailerKind::blocks_acquired, size_max);
  if (!acquired.has_value()) return Unexpected(acquired.error());
  auto released = Trailer::create(**pool, options.cluster, TrailerKind::blocks_released, size_max);
  if (!released.has_value()) return Unexpected(released.error());
  Memory memory{std::move(*pool), std::move(*cache), std::move(*free_set), std::move(*acquired), std::move(*released)};
  return std::unique_ptr<Grid>(new Grid(storage, zone, options, std::move(memory)));
}

Grid::Grid(Storage& storage, ZoneIndex zone, const GridOptions& options, Memory memory)
    : storage_(storage),
      zone_(zone),
      options_(options),
      pool_(std::move(memory.pool)),
      cache_(std::move(memory.cache)),
      free_set_(std::move(memory.free_set)),
      trailer_acquired_(std::move(memory.trailer_acquired)),
      trailer_released_(std::move(memory.trailer_released)),
      transfers_(options.reads_max),
      reads_(options.reads_max),
      reads_background_(background_part(options.reads_max)),
      writes_(options.writes_max),
      writes_background_(background_part(options.writes_max)) {
  const size_t own_max = size_t{2} * trailer_acquired_.blocks_max() * 2;
  addresses_.reserve(own_max);
  copies_.reserve(own_max);
  forfeits_deferred_.reserve(options.reservations_max);
  no_forfeits_.set();
}

Grid::~Grid() = default;

// ---- reading

// A write first: it is newer than what the cache has. Then the cache: what it has is whole, whoever reads it again.
Grid::Found Grid::look_up(const BlockReference& reference, BlockType type) noexcept {
  Found found;
  GridWrite* const write = transfers_.find_write(reference);
  if (write == nullptr) {
    found.block = cache_.find(reference.address);
  } else if (write->block().is_held() && write->reference().address == reference.address) {
    found.block = write->block().ref();
  } else {
    found.other = write;
    return found;
  }
  if (found.block.is_held()) {
    const bool is_version = found.block.checksum() == reference.checksum;
    if (!is_version) found.fault = BlockFault::version;
    if (is_version && found.block.type() != type) found.fault = BlockFault::type_expected;
    return found;
  }
  GridRead* const read = transfers_.find_read(reference.address);
  if (read == nullptr) return found;
  const bool is_same = read->is_of(reference, type);
  found.read = is_same ? read : nullptr;
  found.other = is_same ? nullptr : read;
  return found;
}

BlockRef Grid::try_read(const BlockReference& reference, BlockType type) noexcept {
  if (!is_block(reference.address)) return {};
  Found found = look_up(reference, type);
  if (found.fault != BlockFault::none) return {};
  return std::move(found.block);
}

Task<Result<void>> Grid::admit_read(IoClass io_class, GridPermit& permit) {
  if (io_class == IoClass::background) permit.background = co_await ok(reads_background_.acquire());
  permit.all = co_await ok(reads_.acquire());
  co_return Result<void>();
}

Task<Result<void>> Grid::admit_write(IoClass io_class, GridPermit& permit) {
  if (io_class == IoClass::background) permit.background = co_await ok(writes_background_.acquire());
  permit.all = co_await ok(writes_.acquire());
  co_return Result<void>();
}

// Looks again after each wait: others have read the block meanwhile, as a rule.
Task<Result<BlockRef>> Grid::read(BlockReference reference, BlockType type, GridReadOptions options) {
  SPINDLE_ASSERT(scope_ != nullptr, "a read of a grid that was not started");
  if (options.report != nullptr) *options.report = BlockReport{reference};
  if (!is_block(reference.address)) {
    if (options.report != nullptr) options.report->fault = BlockFault::address;
    co_return Unexpected(error_of(BlockFault::address));
  }
  GridPermit permit;
  BlockLease lease;
  while (true) {
    Found found = look_up(reference, type);
    if (found.fault != BlockFault::none) {
      if (options.report != nullptr) options.report->fault = found.fault;
      co_return Unexpected(error_of(found.fault));
    }
    if (found.block.is_held()) {
      ++counters_.hits_count;
      co_return std::move(found.block);
    }
    if (found.other != nullptr) {
      co_await ok(found.other->wait_for_end());
    } else if (found.read != nullptr) {
      ++counters_.joined_count;
      auto joined = co_await found.read->join(options.report);
      co_return std::move(joined);
    } else if (!permit.all.is_held()) {
      co_await ok(admit_read(options.io_class, permit));
    } else if (!lease.is_held()) {
      lease = co_await ok(pool_->acquire());
    } else {
      break;
    }
  }
  GridRead& read = transfers_.begin_read(reference, type, options.io_class);
  scope_->launch(run_read(&read, std::move(permit), std::move(lease)), std::source_location::current());
  auto joined = co_await read.join(options.report);
  co_return std::move(joined);
}

Task<Result<void>> Grid::run_read(GridRead* read, GridPermit permit, BlockLease lease) {
  BlockExpected expected;
  expected.cluster = options_.cluster;
  expected.reference = read->reference();
  expected.type = read->type();
  BlockReport report;
  const Result<void> verified = co_await read_verified(expected, lease.memory(), read->io_class(), report);
  if (verified.has_value()) {
    const BlockRef block = BlockPool::freeze(std::move(lease));
    cache_.insert(expected.reference.address, block);
    transfers_.end_read(*read, block.ref(), report);
  } else {
    transfers_.end_read(*read, Unexpected(verified.error()), report);
  }
  permit.all.release();
  co_return Result<void>();
}

Task<Result<void>> Grid::read_into(BlockReference reference, BlockType type, BlockLease& lease,
                                   GridReadOptions options) {
  if (options.report != nullptr) *options.report = BlockReport{reference};
  // From the look to the guard nothing else runs: no write begins.
  while (GridWrite* const write = transfers_.find_write(reference)) co_await ok(write->wait_for_end());
  const GridGuard guard(transfers_, reference);
  GridPermit permit;
  co_await ok(admit_read(options.io_class, permit));
  BlockExpected expected;
  expected.cluster = options_.cluster;
  expected.reference = reference;
  expected.type = type;
  BlockReport report;
  const Result<void> verified = co_await read_verified(expected, lease.memory(), options.io_class, report);
  if (options.report != nullptr) *options.report = report;
  co_return verified;
}

Task<Result<void>> Grid::read_verified(BlockExpected expected, std::span<std::byte> memory, IoClass io_class,
                                       BlockReport& report) {
  const BlockReference reference = expected.reference;
  report.reference = reference;
  const BlockFault first = co_await ok(read_and_verify(expected, reference.address, memory, io_class));
  report.fault = first;
  if (first == BlockFault::none) co_return Result<void>();
  // A reference may come from a disk. One that names no block in the first place is bad as a whole.
  const bool is_reference = is_block(reference.address) && reference.address != reference.address_second;
  if (reference.address_second == 0 || !is_reference) co_return Unexpected(error_of(first));
  const BlockFault second = co_await ok(read_and_verify(expected, reference.address_second, memory, io_class));
  report.fault_second = second;
  if (second != BlockFault::none) co_return Unexpected(error_of(first));
  const std::span<const std::byte> sectors = memory.first(sectors_size_of(block_header_of(memory)));
  const Result<void> healed = co_await heal(reference.address, sectors, io_class);
  report.is_healed = healed.has_value();
  co_return Result<void>();
}

Task<Result<BlockFault>> Grid::read_copy(BlockExpected expected, uint64_t address, BlockLease& lease,
                                         IoClass io_class) {
  GridPermit permit;
  co_await ok(admit_read(io_class, permit));
  const Result<BlockFault> fault = co_await read_and_verify(expected, address, lease.memory(), io_class);
  co_return fault;
}

Task<Result<BlockFault>> Grid::read_and_verify(BlockExpected expected, uint64_t address, std::span<std::byte> memory,
                                               IoClass io_class) {
  if (!is_block(address)) co_return BlockFault::address;
  ++counters_.reads_count;
  StorageReadOptions read_options;
  read_options.io_class = io_class;
  const Result<void> read = co_await storage_.read(zone_, offset_of(address), memory, read_options);
  BlockFault fault = BlockFault::unreadable;
  if (read.has_value()) {
    fault = verify_block(memory, expected);
  } else if (read.error().code == ErrorCode::lost_sectors) {
    // The sectors that are lost may lie behind those in use.
    const bool is_whole = verify_block(memory, expected) == BlockFault::none;
    fault = is_whole ? BlockFault::none : BlockFault::unreadable;
  } else if (read.error().code != ErrorCode::end_of_file) {
    co_return Unexpected(read.error());
  }
  if (fault != BlockFault::none) ++counters_.faults_count;
  co_return fault;
}

// ---- writing

// Reads that nobody waits for any more, and scrubbing, are let end first. New ones find the write.
Task<Result<void>> Grid::write_block(BlockReference reference, BlockRef block, IoClass io_class) {
  const std::span<const std::byte> sectors = block.sectors();
  GridWrite under_way(transfers_, reference, block.ref());
  while (GridTransfer* const reader = transfers_.find_reader(reference)) co_await ok(reader->wait_for_end());
  GridPermit permit;
  co_await ok(admit_write(io_class, permit));
  co_await ok(write_copy(reference.address, sectors, io_class));
  if (reference.address_second != 0) co_await ok(write_copy(reference.address_second, sectors, io_class));
  cache_.insert(reference.address, block);
  co_return Result<void>();
}

Task<Result<void>> Grid::write_copy(uint64_t address, std::span<const std::byte> sectors, IoClass io_class) {
  ++counters_.writes_count;
  StorageWriteOptions write_options;
  write_options.io_class = io_class;
  const Result<void> written = co_await storage_.write(zone_, offset_of(address), sectors, write_options);
  co_return written;
}

// What was released is still referred to by the checkpoint to which a crash leads back.
void Grid::check_writable(uint64_t address) const noexcept {
  SPINDLE_ASSERT(!free_set_.is_free(address), "a block is written to an address that is free");
  SPINDLE_ASSERT(!free_set_.is_released(address), "a block is written to an address that was released");
}

Task<Result<void>> Grid::write(BlockLease lease, IoClass io_class) {
  const BlockHeader& header = lease.header();
  BlockReference reference;
  reference.address = header.address;
  reference.address_second = header.address_second;
  reference.checksum = header.frame.checksum;
  SPINDLE_ASSERT_SLOW(verify_block(lease.memory(), {options_.cluster, reference, header.type}) == BlockFault::none,
                      "a block is written that was not sealed");
  const bool is_sealed = header.frame.checksum == checksum_of(reinterpret_cast<const MessageHeader&>(header));
  SPINDLE_ASSERT(is_sealed && header.frame.cluster == options_.cluster, "a block is written that was not sealed");
  check_writable(reference.address);
  if (reference.address_second != 0) check_writable(reference.address_second);
  auto writing = write_block(reference, BlockPool::freeze(std::move(lease)), io_class);
  const Result<void> written = co_await shield(std::move(writing));
  co_return written;
}

// One after another: two that find the same copy bad don't write it at the same time.
Task<Result<void>> Grid::heal(uint64_t address, std::span<const std::byte> sectors, IoClass io_class) {
  const auto lock = co_await ok(healing_.lock());
  auto writing = write_copy(address, sectors, io_class);
  co_await ok(shield(std::move(writing)));
  ++counters_.healed_count;
  co_return Result<void>();
}

}  // namespace spindle
