// Addresses and disk space of a grid: a full grid, a full disk, the order of reservations, and misuse.
#include "runtime/sleep.h"
#include "tests/death.h"
#include "tests/lsm/full_store.h"

namespace spindle {
namespace {

using Reservations = std::vector<Grid::Reservation>;

Task<Result<void>> check_op(OpenStore& store, uint64_t op) {
  CHECK(store.superblock.working().state.op == op);
  co_return Result<void>();
}

TEST_CASE("a grid without free blocks says so before anything changes, and its checkpoints still succeed") {
  for (const uint32_t copies_count : {1u, 2u}) {
    for (const uint64_t log_blocks_max : {0u, 5u}) {
      StoreDisk disk({.metadata_copies_count = copies_count, .log_blocks_max = log_blocks_max});
      uint64_t op = 0;
      REQUIRE(disk.run(live_full, &op).has_value());
      REQUIRE(disk.run(check_op, op).has_value());
    }
  }
}

TEST_CASE("a full disk says so before anything changes, and checkpoints on it still succeed") {
  for (const uint64_t step : {uint64_t{4096}, uint64_t{64} << 10, uint64_t{16} << 20}) {
    StoreDisk disk({.blocks_count = 4000, .allocation_step = step});
    // The superblock, and room for 60 blocks of 4000.
    disk.options().capacity = superblock_zone_size + 60 * grid_block_size;
    uint64_t op = 0;
    REQUIRE(disk.run(live_full, &op).has_value());
    REQUIRE(disk.run(check_op, op).has_value());
    CHECK(disk.file().allocated_size() <= disk.options().capacity);
  }
}

Task<Result<void>> fill_once(OpenStore& store, References* references) {
  const Result<void> filled = co_await fill(store, references);
  co_return filled;
}

Task<Result<void>> checkpoint_and_fill(OpenStore& store, References* references, uint64_t op) {
  for (uint64_t round = 0; round < 5; ++round) co_await ok(make_checkpoint(store, op + round));
  const Result<void> filled = co_await fill(store, references);
  co_return filled;
}

TEST_CASE("a store that was closed on a full disk opens, makes checkpoints, and uses what room there is later") {
  StoreDisk disk({.blocks_count = 4000});
  disk.options().capacity = superblock_zone_size + 60 * grid_block_size;
  References references;
  REQUIRE(disk.run(fill_once, &references).has_value());
  References more;
  REQUIRE(disk.run(checkpoint_and_fill, &more, 1).has_value());
  CHECK(more.size() == references.size());
  disk.options().capacity = superblock_zone_size + 90 * grid_block_size;
  References most;
  REQUIRE(disk.run(checkpoint_and_fill, &most, 10).has_value());
  CHECK(most.size() >= more.size() + 30);
}

// ---- the order of reservations

Task<Result<void>> reserve_one(Grid* grid, uint64_t count, Reservations* reservations, std::vector<uint64_t>* order) {
  auto reservation = co_await ok(grid->reserve(count));
  order->push_back(count);
  reservations->push_back(std::move(reservation));
  co_return Result<void>();
}

Task<Result<void>> reserve_in_order(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  Reservations reservations;
  reservations.reserve(8);
  std::vector<uint64_t> order;
  // The first one asks for disk space; what is forfeited while it does takes effect after it.
  auto first = co_await ok(grid.reserve(0));
  for (const uint64_t count : {3u, 1u, 2u}) {
    co_await ok(scope.spawn(reserve_one, &grid, count, &reservations, &order));
    co_await ok(sleep_for(std::chrono::nanoseconds(1)));  // it has asked
  }
  while (order.size() < 3) co_await ok(sleep_for(std::chrono::microseconds(10)));
  CHECK(order == std::vector<uint64_t>{3, 1, 2});
  CHECK(reservations[0].window().address_begin() == 1);
  CHECK(reservations[1].window().address_begin() == 4);
  CHECK(reservations[2].window().address_begin() == 5);
  CHECK(reservations[2].window().address_end() == 7);

  grid.forfeit(std::move(first));
  order.clear();
  const uint64_t four = 4;
  co_await ok(scope.spawn(reserve_one, &grid, four, &reservations, &order));
  co_await ok(sleep_for(std::chrono::milliseconds(50)));
  CHECK(order.empty());  // waits while only some were forfeited
  CHECK(grid.acquire(reservations[1]) == 4);
  for (size_t index = 0; index < 3; ++index) grid.forfeit(std::move(reservations[index]));
  while (order.empty()) co_await ok(sleep_for(std::chrono::microseconds(10)));
  CHECK(reservations[3].window().address_begin() == 1);
  CHECK(reservations[3].window().address_end() == 6);  // one is acquired in between
  grid.forfeit(std::move(reservations[3]));
  co_return Result<void>();
}

Task<Result<void>> run_reserve_in_order(OpenStore& store) {
  auto running = with_scope(ScopeOptions{}, reserve_in_order, store);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

TEST_CASE("reservations are made in the order of the calls, and not while others are being forfeited") {
  StoreDisk disk;
  CHECK(disk.run(run_reserve_in_order).has_value());
}

Task<Result<void>> forfeit_meanwhile(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  Reservations reservations;
  reservations.reserve(8);
  std::vector<uint64_t> order;
  auto early = co_await ok(grid.reserve(2));
  const uint64_t twenty = 20;
  co_await ok(scope.spawn(reserve_one, &grid, twenty, &reservations, &order));
  co_await ok(sleep_for(std::chrono::nanoseconds(1)));
  CHECK(order.empty());  // it asks for disk space now
  grid.forfeit(std::move(early));
  CHECK(grid.free_set().reservations_count() == 1);
  while (order.empty()) co_await ok(sleep_for(std::chrono::microseconds(10)));
  CHECK(grid.free_set().reservations_count() == 1);
  CHECK(reservations[0].window().address_begin() == 3);  // as if it had been made before
  grid.forfeit(std::move(reservations[0]));
  CHECK(grid.free_set().reservations_count() == 0);
  co_return Result<void>();
}

Task<Result<void>> run_forfeit_meanwhile(OpenStore& store) {
  auto running = with_scope(ScopeOptions{}, forfeit_meanwhile, store);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

TEST_CASE("what is forfeited while disk space is asked for takes effect afterwards") {
  StoreDisk disk;
  CHECK(disk.run(run_forfeit_meanwhile).has_value());
}

Task<Result<void>> reserve_too_many(OpenStore& store) {
  Reservations reservations;
  reservations.reserve(100);
  while (true) {
    auto reservation = co_await store.grid.reserve(0);
    if (!reservation.has_value()) {
      CHECK(reservation.error().code == ErrorCode::exhausted);
      break;
    }
    reservations.push_back(std::move(*reservation));
  }
  CHECK(reservations.size() == store.grid.options().reservations_max);
  for (Grid::Reservation& reservation : reservations) store.grid.forfeit(std::move(reservation));
  const auto huge = co_await store.grid.reserve(UINT64_MAX);
  CHECK_FALSE(huge.has_value());
  co_return Result<void>();
}

TEST_CASE("more reservations than stated, and more blocks than there are, are refused") {
  StoreDisk disk;
  CHECK(disk.run(reserve_too_many).has_value());
}

Task<Result<void>> fail_a_checkpoint(OpenStore& store, References* references) {
  const BlockReference put = co_await ok(put_block(store.grid, 3));
  co_await ok(make_checkpoint(store, 1));
  auto reservation = co_await ok(store.grid.reserve(1));
  references->push_back(put);
  store.grid.forfeit(std::move(reservation));
  co_return Result<void>();
}

Task<Result<void>> meet_write_error(OpenStore& store) {
  const Result<void> done = co_await make_checkpoint(store, 2);
  CHECK_FALSE(done.has_value());
  CHECK(store.storage.is_stopped());
  const auto reservation = co_await store.grid.reserve(1);
  REQUIRE_FALSE(reservation.has_value());
  CHECK(reservation.error().code == ErrorCode::poisoned);
  const Result<void> again = co_await make_checkpoint(store, 3);
  REQUIRE_FALSE(again.has_value());
  CHECK(again.error().code == ErrorCode::poisoned);
  BlockReference reference;
  reference.address = 1;
  store.grid.release(reference);  // of no effect, and no bug
  co_return Result<void>();
}

TEST_CASE("after a checkpoint that failed the grid is poisoned, and the former one opens") {
  StoreDisk disk;
  References references;
  REQUIRE(disk.run(fail_a_checkpoint, &references).has_value());
  disk.options().faults.everywhere.set(Fault::write_error, FaultRates::denominator);
  REQUIRE(disk.run(meet_write_error).has_value());
  disk.options().faults = FaultPlan();
  REQUIRE(disk.run(check_op, uint64_t{1}).has_value());
}

// ---- leaving early

Task<Result<void>> reserve_and_leave(Grid* grid) {
  const auto reservation = co_await ok(grid->reserve(3));
  CHECK(reservation.window().left_count() == 3);
  co_return fail(ErrorCode::invalid_argument, "left early");
}

Task<Result<void>> leave_early(OpenStore& store) {
  for (int time = 0; time < 3; ++time) {
    const Result<void> left = co_await reserve_and_leave(&store.grid);
    CHECK_FALSE(left.has_value());
    CHECK(store.grid.free_set().reservations_count() == 0);
  }
  const Result<void> done = co_await make_checkpoint(store, 1);
  co_return done;
}

TEST_CASE("who leaves early leaves no reservation behind") {
  StoreDisk disk;
  CHECK(disk.run(leave_early).has_value());
}

// ---- misuse

template <class Program>
void expect_misuse(Program program, const char* message) {
  expect_abort(
      [program] {
        StoreDisk disk;
        static_cast<void>(disk.run(program));
      },
      message);
}

Task<Result<void>> write_to_free(OpenStore& store) {
  BlockLease lease = co_await ok(store.grid.blocks().acquire());
  start_block(lease.memory(), grid_cluster, BlockType::value).address = 9;
  seal_block(lease.memory());
  const Result<void> written = co_await store.grid.write(std::move(lease));
  co_return written;
}

Task<Result<void>> release_free(OpenStore& store) {
  BlockReference reference;
  reference.address = 9;
  store.grid.release(reference);
  co_return Result<void>();
}

Task<Result<void>> checkpoint_while_reserved(OpenStore& store) {
  [[maybe_unused]] const auto reservation = co_await ok(store.grid.reserve(1));
  const Result<void> done = co_await make_checkpoint(store, 1);
  co_return done;
}

Task<Result<void>> write_it(Grid* grid, BlockLease lease) {
  const Result<void> written = co_await grid->write(std::move(lease));
  co_return written;
}

Task<Result<void>> write_both(Scope& scope, Grid& grid, Grid::Reservation& reservation) {
  const uint64_t address = *grid.acquire(reservation);
  for (int time = 0; time < 2; ++time) {
    BlockLease lease = co_await ok(grid.blocks().acquire());
    start_block(lease.memory(), grid_cluster, BlockType::value).address = address;
    seal_block(lease.memory());
    co_await ok(scope.spawn(write_it, &grid, std::move(lease)));
  }
  co_return Result<void>();
}

Task<Result<void>> write_twice(OpenStore& store) {
  auto reservation = co_await ok(store.grid.reserve(1));
  auto writing = with_scope(ScopeOptions{}, write_both, store.grid, reservation);
  const Result<void> written = co_await std::move(writing);
  co_return written;
}

Task<Result<void>> read_it(Grid* grid, BlockReference reference) {
  const auto block = co_await grid->read(reference, BlockType::value);
  static_cast<void>(block);
  co_return Result<void>();
}

Task<Result<void>> write_and_read(Scope& scope, Grid& grid, Grid::Reservation& reservation) {
  BlockLease lease = co_await ok(grid.blocks().acquire());
  start_block(lease.memory(), grid_cluster, BlockType::value).address = *grid.acquire(reservation);
  const BlockReference reference = seal_block(lease.memory());
  co_await ok(scope.spawn(read_it, &grid, reference));
  while (grid.counters().reads_count < 1) co_await ok(yield());
  const Result<void> written = co_await grid.write(std::move(lease));
  co_return written;
}

Task<Result<void>> write_while_read(OpenStore& store) {
  auto reservation = co_await ok(store.grid.reserve(1));
  auto writing = with_scope(ScopeOptions{}, write_and_read, store.grid, reservation);
  const Result<void> written = co_await std::move(writing);
  co_return written;
}

Task<Result<void>> checkpoint_it(OpenStore* store) {
  const Result<void> done = co_await make_checkpoint(*store, 1);
  co_return done;
}

Task<Result<void>> checkpoint_and_release(Scope& scope, OpenStore& store) {
  const BlockReference put = co_await ok(put_block(store.grid, 1));
  co_await ok(scope.spawn(checkpoint_it, &store));
  co_await ok(sleep_for(std::chrono::nanoseconds(1)));
  store.grid.release(put);
  co_return Result<void>();
}

Task<Result<void>> release_meanwhile(OpenStore& store) {
  auto running = with_scope(ScopeOptions{}, checkpoint_and_release, store);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

Task<Result<void>> write_released(OpenStore& store) {
  const BlockReference put = co_await ok(put_block(store.grid, 1));
  store.grid.release(put);
  BlockLease lease = co_await ok(store.grid.blocks().acquire());
  start_block(lease.memory(), grid_cluster, BlockType::value).address = put.address;
  seal_block(lease.memory());
  const Result<void> written = co_await store.grid.write(std::move(lease));
  co_return written;
}

Task<Result<void>> write_unsealed(OpenStore& store) {
  auto reservation = co_await ok(store.grid.reserve(1));
  BlockLease lease = co_await ok(store.grid.blocks().acquire());
  start_block(lease.memory(), grid_cluster, BlockType::value).address = *store.grid.acquire(reservation);
  const Result<void> written = co_await store.grid.write(std::move(lease));
  co_return written;
}

TEST_CASE("misuse of a grid ends the process") {
  expect_misuse(write_to_free, "an address that is free");
  expect_misuse(release_free, "free");
  expect_misuse(release_meanwhile, "a block was released while a checkpoint is written");
  expect_misuse(write_released, "an address that was released");
  expect_misuse(write_unsealed, "that was not sealed");
  expect_misuse(checkpoint_while_reserved, "a checkpoint while a reservation is open");
  expect_misuse(write_twice, "two writes of one block at a time");
  expect_misuse(write_while_read, "a block is written while somebody reads it");
}

Task<Result<void>> try_options(OpenStore& store, GridOptions options, bool* is_refused) {
  *is_refused = !Grid::create(store.storage, grid_zone, options).has_value();
  co_return Result<void>();
}

template <class Change>
bool is_refused(Change change) {
  GridOptions options = options_of({});
  change(options);
  bool refused = false;
  StoreDisk disk;
  REQUIRE(disk.run(try_options, options, &refused).has_value());
  return refused;
}

TEST_CASE("options of a grid that can't be are refused") {
  CHECK_FALSE(is_refused([](GridOptions&) {}));
  CHECK(is_refused([](GridOptions& options) { options.blocks_count = 0; }));
  CHECK(is_refused([](GridOptions& options) { options.blocks_count = 65; }));
  CHECK(is_refused([](GridOptions& options) { options.blocks_count = 8; }));
  CHECK(is_refused([](GridOptions& options) { options.log_blocks_max = 28; }));
  CHECK(is_refused([](GridOptions& options) { options.block_size = 2048; }));
  CHECK(is_refused([](GridOptions& options) { options.block_size = 5000; }));
  CHECK(is_refused([](GridOptions& options) { options.cache_blocks_count = 12; }));
  CHECK(is_refused([](GridOptions& options) { options.reads_max = 0; }));
  CHECK(is_refused([](GridOptions& options) { options.writes_max = 0; }));
  CHECK(is_refused([](GridOptions& options) { options.held_blocks_max = 0; }));
  CHECK(is_refused([](GridOptions& options) { options.reservations_max = 0; }));
  CHECK(is_refused([](GridOptions& options) { options.metadata_copies_count = 3; }));
}

}  // namespace
}  // namespace spindle
