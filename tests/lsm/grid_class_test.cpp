// Classes of I/O in a grid: how many writes there are of one, and what the device is told.
#include <algorithm>

#include "io/device_queue.h"
#include "runtime/sleep.h"
#include "tests/lsm/grid_fixture.h"

namespace spindle {
namespace {

Task<Result<void>> write_it(Grid* grid, BlockLease lease, IoClass io_class, uint64_t* done_count) {
  co_await ok(grid->write(std::move(lease), io_class));
  ++*done_count;
  co_return Result<void>();
}

// ---- how many writes at one time

Task<Result<void>> write_many(Scope& scope, OpenStore& store, IoClass io_class, uint64_t& most) {
  Grid& grid = store.grid;
  const uint64_t count = 8;
  auto reservation = co_await ok(grid.reserve(count));
  const uint64_t writes_count = grid.counters().writes_count;
  uint64_t done_count = 0;
  for (uint64_t number = 0; number < count; ++number) {
    BlockLease lease = co_await ok(grid.blocks().acquire());
    lease = fill_block(std::move(lease), grid, reservation, number);
    seal_block(lease.memory());
    co_await ok(scope.spawn(write_it, &grid, std::move(lease), io_class, &done_count));
  }
  while (done_count < count) {
    most = std::max(most, grid.counters().writes_count - writes_count - done_count);
    co_await ok(sleep_for(std::chrono::microseconds(1)));
  }
  grid.forfeit(std::move(reservation));
  co_return Result<void>();
}

Task<Result<void>> write_in_class(OpenStore& store, IoClass io_class, uint64_t* most) {
  auto writing = with_scope(ScopeOptions{}, write_many, store, io_class, *most);
  const Result<void> written = co_await std::move(writing);
  co_return written;
}

Task<Result<void>> read_in_background(OpenStore& store) {
  const BlockReference put = co_await ok(put_block(store.grid, 1));
  BlockLease lease = co_await ok(store.grid.blocks().acquire());
  GridReadOptions options;
  options.io_class = IoClass::background;
  const Result<void> read = co_await store.grid.read_into(put, BlockType::value, lease, options);
  co_return read;
}

TEST_CASE("writes in the background have a quarter of all that there may be at one time") {
  StoreDisk disk;
  const uint32_t writes_max = options_of(disk.shape()).writes_max;
  uint64_t most = 0;
  CHECK(disk.run(write_in_class, IoClass::foreground, &most).has_value());
  CHECK(most == writes_max);
  most = 0;
  CHECK(disk.run(write_in_class, IoClass::background, &most).has_value());
  CHECK(most == writes_max / 4);
}

TEST_CASE("where there is one permit only, the background has it, too") {
  StoreDisk disk({.reads_max = 1, .writes_max = 1});
  uint64_t most = 0;
  CHECK(disk.run(write_in_class, IoClass::background, &most).has_value());
  CHECK(most == 1);
  CHECK(disk.run(read_in_background).has_value());
}

// ---- the class of I/O at the device

Task<Result<void>> use_in_background(OpenStore* store, BlockReference former, BlockLease written, uint64_t* step) {
  Grid& grid = store->grid;
  GridReadOptions options;
  options.io_class = IoClass::background;
  const BlockRef block = co_await ok(grid.read(former, BlockType::value, options));
  CHECK(block.is_held());
  ++*step;
  BlockLease lease = co_await ok(grid.blocks().acquire());
  co_await ok(grid.read_into(former, BlockType::value, lease, options));
  ++*step;
  co_await ok(grid.write(std::move(written), IoClass::background));
  ++*step;
  co_return Result<void>();
}

Task<Result<void>> watch_background(Scope& scope, OpenStore& store, BlockReference& former, DeviceQueue& queue) {
  Grid& grid = store.grid;
  auto reservation = co_await ok(grid.reserve(1));
  BlockLease lease = co_await ok(grid.blocks().acquire());
  lease = fill_block(std::move(lease), grid, reservation, 3);
  seal_block(lease.memory());
  co_await ok(sleep_for(std::chrono::milliseconds(50)));  // other classes are idle
  uint64_t step = 0;
  co_await ok(scope.spawn(use_in_background, &store, former, std::move(lease), &step));
  uint32_t most[3] = {};
  while (step < 3) {
    CHECK(queue.in_flight_count(IoClass::foreground) == 0);
    most[step] = std::max(most[step], queue.in_flight_count(IoClass::background));
    co_await ok(sleep_for(std::chrono::nanoseconds(100)));
  }
  for (const uint32_t count : most) CHECK(count == 1);
  grid.forfeit(std::move(reservation));
  co_return Result<void>();
}

Task<Result<void>> run_watch_background(OpenStore& store, BlockReference former, DeviceQueue* queue) {
  auto running = with_scope(ScopeOptions{}, watch_background, store, former, *queue);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

Task<Result<void>> put_and_tell(OpenStore& store, BlockReference* reference) {
  *reference = co_await ok(put_block(store.grid, 1));
  const Result<void> done = co_await make_checkpoint(store, 1);
  co_return done;
}

TEST_CASE("what is asked for in the background is in that class at the device, too") {
  StoreDisk disk;
  BlockReference former;
  REQUIRE(disk.run(put_and_tell, &former).has_value());
  DeviceQueue queue({});
  disk.set_queue(queue);
  CHECK(disk.run(run_watch_background, former, &queue).has_value());
}

}  // namespace
}  // namespace spindle
