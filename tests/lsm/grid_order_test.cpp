// What comes after what in a grid: reserves beside a checkpoint and beside each other, what is forfeited meanwhile, and
// writes that are cancelled.
#include <cerrno>

#include "lsm/scrub.h"
#include "runtime/sleep.h"
#include "tests/lsm/grid_fixture.h"

namespace spindle {
namespace {

/// What came of a reserve.
struct Reserved {
  bool is_done = false;
  uint64_t op = 0;  ///< of the superblock by then
  std::optional<Error> error;
};

Task<Result<void>> reserve_and_note(OpenStore* store, uint64_t count, Reserved* reserved) {
  auto reservation = co_await store->grid.reserve(count);
  reserved->is_done = true;
  reserved->op = store->superblock.working().state.op;
  if (reservation.has_value()) {
    store->grid.forfeit(std::move(*reservation));
  } else {
    reserved->error = reservation.error();
  }
  co_return Result<void>();
}

Task<Result<void>> try_checkpoint(OpenStore* store, uint64_t op) {
  const Result<void> done = co_await make_checkpoint(*store, op);
  static_cast<void>(done);
  co_return Result<void>();
}

Task<Result<void>> put_some(OpenStore& store, uint64_t count) {
  for (uint64_t number = 0; number < count; ++number) {
    [[maybe_unused]] const BlockReference put = co_await ok(put_block(store.grid, number));
  }
  co_await ok(make_checkpoint(store, 1));
  const uint64_t end =
      store.storage.zone_begin(grid_zone) + store.grid.free_set().highest_address_acquired() * grid_block_size;
  CHECK(store.superblock.working().state.storage_size == end);
  co_return Result<void>();
}

Task<Result<void>> reserve_beside(Scope& scope, OpenStore& store, Reserved& reserved) {
  const uint64_t writes_count = store.grid.counters().writes_count;
  const uint64_t op = store.superblock.working().state.op + 1;
  co_await ok(scope.spawn(try_checkpoint, &store, op));
  while (store.grid.counters().writes_count == writes_count) co_await ok(sleep_for(std::chrono::nanoseconds(100)));
  const uint64_t one = 1;
  co_await ok(scope.spawn(reserve_and_note, &store, one, &reserved));
  co_return Result<void>();
}

Task<Result<void>> reserve_beside_checkpoint(OpenStore& store, Reserved* reserved) {
  // Disk space for the next one, too.
  [[maybe_unused]] const BlockReference put = co_await ok(put_block(store.grid, 1));
  auto reserving = with_scope(ScopeOptions{}, reserve_beside, store, *reserved);
  const Result<void> done = co_await std::move(reserving);
  co_return done;
}

TEST_CASE("nobody gets an address while a checkpoint is written, and all do once its superblock is durable") {
  StoreDisk disk;
  REQUIRE(disk.run(put_some, 5).has_value());
  for (uint64_t op = 2; op <= 6; ++op) {
    Reserved reserved;
    REQUIRE(disk.run(reserve_beside_checkpoint, &reserved).has_value());
    CHECK(reserved.is_done);
    CHECK_FALSE(reserved.error.has_value());
    CHECK(reserved.op == op);
  }
}

TEST_CASE("who waits for a checkpoint that fails is told so, as whoever comes later") {
  StoreDisk disk({.allocation_step = 64 * grid_block_size});
  REQUIRE(disk.run(put_some, 5).has_value());
  Reserved reserved;
  const FaultRates failing = FaultRates().set(Fault::write_error, FaultRates::denominator);
  disk.options().faults.regions.push_back({grid_path, 0, superblock_zone_size, failing});
  REQUIRE(disk.run(reserve_beside_checkpoint, &reserved).has_value());
  CHECK(reserved.is_done);
  REQUIRE(reserved.error.has_value());
  CHECK(reserved.error->code == ErrorCode::poisoned);
}

Task<Result<void>> forfeit_beside(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  auto early = co_await ok(grid.reserve(2));
  Reserved reserved;
  const uint64_t many = 2000;
  co_await ok(scope.spawn(reserve_and_note, &store, many, &reserved));
  co_await ok(sleep_for(std::chrono::nanoseconds(1)));
  CHECK_FALSE(reserved.is_done);  // it asks for disk space now
  grid.forfeit(std::move(early));
  while (!reserved.is_done) co_await ok(sleep_for(std::chrono::microseconds(10)));
  REQUIRE(reserved.error.has_value());
  CHECK(reserved.error->number == ENOSPC);
  CHECK(grid.free_set().reservations_count() == 0);
  auto next = co_await ok(grid.reserve(1));
  CHECK(next.window().address_begin() == 1);
  grid.forfeit(std::move(next));
  CHECK(grid.free_set().reservations_count() == 0);
  co_return Result<void>();
}

Task<Result<void>> forfeit_beside_reserve(OpenStore& store) {
  auto running = with_scope(ScopeOptions{}, forfeit_beside, store);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

TEST_CASE("what is forfeited beside a reserve that finds the disk full takes effect, too") {
  StoreDisk disk({.blocks_count = 4000});
  disk.options().capacity = superblock_zone_size + 60 * grid_block_size;
  CHECK(disk.run(forfeit_beside_reserve).has_value());
}

Task<Result<void>> do_nothing(OpenStore&) { co_return Result<void>(); }

TEST_CASE("a checkpoint ends where its highest block does, and its grid does not open in a file that ends before") {
  StoreDisk disk;
  REQUIRE(disk.run(put_some, 5).has_value());
  // The 5 blocks, and those of the trailer of what is acquired; nothing is released.
  for (const uint64_t missing : {uint64_t{1}, uint64_t{0}}) {
    SimFiles files = disk.clone();
    files.find(grid_path)->resize(disk.offset_of(8) - missing * grid_block_size, files.take_sequence());
    files.settle();
    StoreDisk cut(disk.shape(), std::move(files));
    GridOpened found;
    const Result<void> opened = cut.run_and_tell(&found, do_nothing);
    CHECK(found.opened.has_value() == (missing == 0));
    if (missing > 0) CHECK(opened.error().code == ErrorCode::end_of_file);
  }
}

Task<Result<void>> put_all(OpenStore& store) {
  for (uint64_t number = 0; number < 20; ++number) {
    [[maybe_unused]] const BlockReference put = co_await ok(put_block(store.grid, number));
  }
  co_return Result<void>();
}

TEST_CASE("where the file may not grow by a large step, what is needed is enough") {
  StoreDisk disk({.blocks_count = 4000, .allocation_step = 2000 * grid_block_size});
  disk.options().file_size_max = superblock_zone_size + 60 * grid_block_size;
  CHECK(disk.run(put_all).has_value());
}

// ---- a write that is cancelled

Task<Result<void>> write_it(Grid* grid, BlockLease lease) {
  const Result<void> written = co_await grid->write(std::move(lease));
  co_return written;
}

Task<Result<void>> write_for(OpenStore& store, Duration limit, BlockReference* reference) {
  auto reservation = co_await ok(store.grid.reserve(2));
  BlockLease lease = co_await ok(store.grid.blocks().acquire());
  lease = fill_block(std::move(lease), store.grid, reservation, 5, 2);
  *reference = seal_block(lease.memory());
  auto writing = write_it(&store.grid, std::move(lease));
  const Result<void> written = co_await timeout(limit, std::move(writing));
  static_cast<void>(written);
  CHECK(store.grid.try_read(*reference, BlockType::value).is_held());
  store.grid.forfeit(std::move(reservation));
  const Result<void> done = co_await make_checkpoint(store, 1);
  co_return done;
}

Task<Result<void>> read_it(OpenStore& store, BlockReference reference) {
  const BlockRef block = co_await ok(store.grid.read(reference, BlockType::value));
  CHECK(number_in(block) == 5);
  co_return Result<void>();
}

TEST_CASE("a write that is cancelled has both copies on the disk when it ends") {
  for (const uint64_t limit_us : {1u, 50u, 200u, 500u, 800u, 1200u}) {
    CAPTURE(limit_us);
    StoreDisk disk;
    BlockReference reference;
    REQUIRE(disk.run(write_for, Duration(std::chrono::microseconds(limit_us)), &reference).has_value());
    CHECK(disk.run(read_it, reference).has_value());
    disk.make_unreadable(reference.address);
    CHECK(disk.run(read_it, reference).has_value());
  }
}

// ---- a write beside a scrubber

/// One block, that was released.
class StaleBlock final : public ReferenceSource {
 public:
  explicit StaleBlock(BlockReference reference) : reference_(reference) {}
  Task<Result<std::optional<ReferencedBlock>>> next() override {
    if (is_named_) co_return std::optional<ReferencedBlock>();
    is_named_ = true;
    ReferencedBlock block;
    block.reference = reference_;
    co_return std::optional<ReferencedBlock>(block);
  }
  bool is_current(const BlockReference&) const noexcept override { return false; }

 private:
  BlockReference reference_;
  bool is_named_ = false;
};

Task<Result<void>> scrub_it(Grid* grid, StaleBlock* source) {
  const ScrubOptions options;
  ScrubSummary summary;
  const Result<void> scrubbed = co_await scrub(*grid, *source, options, summary);
  co_return scrubbed;
}

Task<Result<void>> write_beside_scrubber(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  const BlockReference stale = co_await ok(put_block(grid, 1, 2));
  grid.release(stale);
  co_await ok(make_checkpoint(store, 1));
  auto reservation = co_await ok(grid.reserve(3));
  CHECK(grid.acquire(reservation) == stale.address);
  BlockLease lease = co_await ok(grid.blocks().acquire());
  lease = fill_block(std::move(lease), grid, reservation, 2, 2);
  CHECK(lease.header().address == stale.address_second);
  std::swap(lease.header().address, lease.header().address_second);
  seal_block(lease.memory());
  StaleBlock source(stale);
  const uint64_t reads_count = grid.counters().reads_count;
  co_await ok(scope.spawn(scrub_it, &grid, &source));
  while (grid.counters().reads_count == reads_count) co_await ok(sleep_for(std::chrono::nanoseconds(100)));
  CHECK(grid.transfers().find_reader(stale) != nullptr);
  const uint64_t writes_count = grid.counters().writes_count;
  co_await ok(scope.spawn(write_it, &grid, std::move(lease)));
  while (grid.transfers().find_reader(stale) != nullptr) {
    CHECK(grid.counters().writes_count == writes_count);
    co_await ok(sleep_for(std::chrono::microseconds(1)));
  }
  while (grid.counters().writes_count < writes_count + 2) co_await ok(sleep_for(std::chrono::microseconds(1)));
  grid.forfeit(std::move(reservation));
  co_return Result<void>();
}

Task<Result<void>> run_beside_scrubber(OpenStore& store) {
  auto running = with_scope(ScopeOptions{}, write_beside_scrubber, store);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

TEST_CASE("a write waits for a scrubber that looks at one of its addresses, be it the second one") {
  StoreDisk disk;
  CHECK(disk.run(run_beside_scrubber).has_value());
}

}  // namespace
}  // namespace spindle
