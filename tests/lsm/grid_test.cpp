// The grid on a simulated disk: blocks go out and come back, verified, joined, healed.
#include "lsm/grid.h"

#include "runtime/sleep.h"
#include "tests/lsm/grid_fixture.h"

namespace spindle {
namespace {

using References = std::vector<BlockReference>;

Task<Result<void>> put_many(OpenStore& store, uint64_t count, uint32_t copies_count, References* references) {
  for (uint64_t number = 1; number <= count; ++number) {
    const BlockReference reference = co_await ok(put_block(store.grid, number, copies_count));
    references->push_back(reference);
  }
  const Result<void> done = co_await make_checkpoint(store, 1);
  co_return done;
}

Task<Result<void>> check_many(OpenStore& store, const References* references) {
  for (size_t index = 0; index < references->size(); ++index) {
    const BlockRef block = co_await ok(store.grid.read((*references)[index], BlockType::value));
    CHECK(number_in(block) == index + 1);
  }
  co_return Result<void>();
}

TEST_CASE("blocks are read back in the life that wrote them, and in the next one") {
  StoreDisk disk;
  References references;
  CHECK(disk.run(put_many, 10, 1, &references).has_value());
  CHECK(references.size() == 10);
  CHECK(disk.run(check_many, &references).has_value());
}

Task<Result<void>> read_one(OpenStore& store, BlockReference reference, BlockReport* report, GridCounters* counters) {
  GridReadOptions options;
  options.report = report;
  const auto block = co_await store.grid.read(reference, BlockType::value, options);
  *counters = store.grid.counters();
  if (!block.has_value()) co_return Unexpected(block.error());
  co_return Result<void>();
}

TEST_CASE("a flipped bit anywhere in the sectors of a block is reported, with the check that failed") {
  StoreDisk disk;
  References references;
  CHECK(disk.run(put_many, 3, 1, &references).has_value());
  for (uint64_t byte = 0; byte < grid_block_size; byte += 13) {
    disk.flip(references[1].address, byte);
    BlockReport report;
    GridCounters counters;
    const Result<void> read = disk.run(read_one, references[1], &report, &counters);
    REQUIRE_FALSE(read.has_value());
    CHECK(read.error().code == ErrorCode::corrupt);
    // Block 2: 3840 - 800 bytes of body.
    const BlockFault wanted = byte < 256    ? BlockFault::header_checksum
                              : byte < 3296 ? BlockFault::body_checksum
                                            : BlockFault::padding;
    CHECK(report.fault == wanted);
    CHECK(report.reference == references[1]);
    CHECK(counters.faults_count == 1);
    disk.flip(references[1].address, byte);
  }
  CHECK(disk.run(check_many, &references).has_value());
}

TEST_CASE("a block with a second address heals by itself, whichever copy is bad") {
  StoreDisk disk;
  References references;
  CHECK(disk.run(put_many, 2, 2, &references).has_value());
  const BlockReference reference = references[1];
  disk.flip(reference.address, 300);
  BlockReport report;
  GridCounters counters;
  CHECK(disk.run(read_one, reference, &report, &counters).has_value());
  CHECK(report.fault == BlockFault::body_checksum);
  CHECK(report.fault_second == BlockFault::none);
  CHECK(report.is_healed);
  CHECK(counters.healed_count == 1);
  CHECK(disk.run(read_one, reference, &report, &counters).has_value());
  CHECK(report.fault == BlockFault::none);
  CHECK(counters.healed_count == 0);
}

TEST_CASE("an unreadable block is lost, and said to be; with a second address it heals") {
  StoreDisk disk;
  References references;
  CHECK(disk.run(put_many, 2, 2, &references).has_value());
  const BlockReference reference = references[0];
  disk.make_unreadable(reference.address);
  BlockReport report;
  GridCounters counters;
  CHECK(disk.run(read_one, reference, &report, &counters).has_value());
  CHECK(report.fault == BlockFault::unreadable);
  CHECK(report.is_healed);
  disk.make_unreadable(reference.address);
  disk.make_unreadable(reference.address_second);
  const Result<void> read = disk.run(read_one, reference, &report, &counters);
  REQUIRE_FALSE(read.has_value());
  CHECK(read.error().code == ErrorCode::lost_sectors);
  CHECK(report.fault_second == BlockFault::unreadable);
  CHECK_FALSE(report.is_healed);
}

// ---- joined reads

struct JoinedReads {
  uint64_t blocks_count = 0;
  uint64_t cancelled_count = 0;
  uint64_t failed_count = 0;
};

Task<Result<void>> read_joined(Grid* grid, BlockReference reference, JoinedReads* reads) {
  const auto block = co_await grid->read(reference, BlockType::value);
  if (block.has_value()) {
    ++reads->blocks_count;
  } else if (block.error().code == ErrorCode::cancelled || block.error().code == ErrorCode::timed_out) {
    ++reads->cancelled_count;
  } else {
    ++reads->failed_count;
  }
  co_return Result<void>();
}

Task<Result<void>> read_joined_for(Grid* grid, BlockReference reference, JoinedReads* reads, Duration limit) {
  auto reading = read_joined(grid, reference, reads);
  const Result<void> read = co_await timeout(limit, std::move(reading));
  static_cast<void>(read);
  co_return Result<void>();
}

Task<Result<void>> spawn_readers(Scope& scope, Grid& grid, BlockReference& reference, JoinedReads& reads,
                                 uint32_t& patient_count, uint32_t& hasty_count) {
  for (uint32_t reader = 0; reader < patient_count + hasty_count; ++reader) {
    const bool is_hasty = reader < hasty_count;
    const Duration limit = is_hasty ? Duration(std::chrono::nanoseconds(1)) : Duration(std::chrono::hours(1));
    co_await ok(scope.spawn(read_joined_for, &grid, reference, &reads, limit));
  }
  co_return Result<void>();
}

Task<Result<void>> read_together(OpenStore& store, BlockReference reference, uint32_t patient_count,
                                 uint32_t hasty_count, JoinedReads* reads) {
  auto reading = with_scope(ScopeOptions{}, spawn_readers, store.grid, reference, *reads, patient_count, hasty_count);
  co_await ok(std::move(reading));
  CHECK(store.grid.counters().reads_count == 1 + 1);  // with one block of a trailer: nothing is released
  co_return Result<void>();
}

TEST_CASE("reads of one block at one time are one I/O, and who gives up leaves the others alone") {
  StoreDisk disk;
  References references;
  CHECK(disk.run(put_many, 3, 1, &references).has_value());
  for (const uint32_t hasty_count : {0u, 1u, 5u}) {
    JoinedReads reads;
    CHECK(disk.run(read_together, references[2], 20, hasty_count, &reads).has_value());
    CHECK(reads.blocks_count == 20);
    CHECK(reads.cancelled_count == hasty_count);
    CHECK(reads.failed_count == 0);
  }
}

Task<Result<void>> give_up_and_write(OpenStore& store, References* references) {
  JoinedReads reads;
  const BlockReference reference = references->at(0);
  co_await ok(read_joined_for(&store.grid, reference, &reads, std::chrono::nanoseconds(1)));
  CHECK(reads.cancelled_count == 1);
  store.grid.release(reference);
  co_await ok(make_checkpoint(store, 2));
  const BlockReference written = co_await ok(put_block(store.grid, 77));
  CHECK(written.address == reference.address);
  references->at(0) = written;
  const BlockRef block = co_await ok(store.grid.read(written, BlockType::value));
  CHECK(number_in(block) == 77);
  co_return Result<void>();
}

TEST_CASE("a write waits for a read of its address that nobody waits for any more") {
  StoreDisk disk;
  References references;
  CHECK(disk.run(put_many, 1, 1, &references).has_value());
  disk.options().latency_ns_min = 1'000'000;
  CHECK(disk.run(give_up_and_write, &references).has_value());
}

// ---- writes under way

Task<Result<void>> write_it(Grid* grid, BlockLease lease, bool* is_done) {
  const Result<void> written = co_await grid->write(std::move(lease));
  *is_done = true;
  co_return written;
}

Task<Result<void>> read_while_writing(Scope& scope, OpenStore& store) {
  auto reservation = co_await ok(store.grid.reserve(1));
  BlockLease lease = co_await ok(store.grid.blocks().acquire());
  lease = fill_block(std::move(lease), store.grid, reservation, 5);
  const BlockReference reference = seal_block(lease.memory());
  bool is_done = false;
  co_await ok(scope.spawn(write_it, &store.grid, std::move(lease), &is_done));
  while (store.grid.transfers().find_write(reference) == nullptr) co_await ok(yield());
  const uint64_t reads_count = store.grid.counters().reads_count;
  const BlockRef block = co_await ok(store.grid.read(reference, BlockType::value));
  CHECK_FALSE(is_done);
  CHECK(number_in(block) == 5);
  BlockReference other = reference;
  other.checksum.low ^= 1;
  const auto stale = co_await store.grid.read(other, BlockType::value);
  REQUIRE_FALSE(stale.has_value());
  CHECK(stale.error().code == ErrorCode::corrupt);
  const auto index = co_await store.grid.read(reference, BlockType::index);
  CHECK_FALSE(index.has_value());
  CHECK(store.grid.counters().reads_count == reads_count);
  CHECK_FALSE(is_done);
  BlockLease private_copy = co_await ok(store.grid.blocks().acquire());
  co_await ok(store.grid.read_into(reference, BlockType::value, private_copy));  // past the cache: waits for the write
  CHECK(number_in(BlockPool::freeze(std::move(private_copy))) == 5);
  while (!is_done) co_await ok(sleep_for(std::chrono::milliseconds(1)));
  CHECK(store.grid.try_read(reference, BlockType::value).is_held());
  store.grid.forfeit(std::move(reservation));
  co_return Result<void>();
}

Task<Result<void>> run_read_while_writing(OpenStore& store) {
  auto running = with_scope(ScopeOptions{}, read_while_writing, store);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

TEST_CASE("a read finds a write under way, and then the cache, without touching the disk") {
  StoreDisk disk;
  CHECK(disk.run(run_read_while_writing).has_value());
}

// ---- addresses that can't be

Task<Result<void>> read_nonsense(OpenStore& store) {
  for (const uint64_t address : {uint64_t{0}, uint64_t{65}, UINT64_MAX}) {
    BlockReference reference;
    reference.address = address;
    BlockReport report;
    GridReadOptions options;
    options.report = &report;
    const auto block = co_await store.grid.read(reference, BlockType::value, options);
    REQUIRE_FALSE(block.has_value());
    CHECK(block.error().code == ErrorCode::corrupt);
    CHECK(report.fault == BlockFault::address);
    CHECK_FALSE(store.grid.try_read(reference, BlockType::value).is_held());
  }
  BlockReference never;
  never.address = 60;
  const auto block = co_await store.grid.read(never, BlockType::value);
  CHECK_FALSE(block.has_value());
  co_return Result<void>();
}

TEST_CASE("references that came from a disk may say anything") {
  StoreDisk disk;
  CHECK(disk.run(read_nonsense).has_value());
}

}  // namespace
}  // namespace spindle
