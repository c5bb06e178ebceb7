// A store on a real disk that is full: reserve() says so before anything changes, checkpoints still succeed, and it
// goes on when there is room again.
#include <doctest/doctest.h>

#include <string>

#include "tests/io/loop_mount.h"
#include "tests/lsm/full_store.h"

namespace spindle {
namespace {

Task<Result<void>> fill_and_live(StoreShape shape, uint64_t* op) {
  co_await ok(format_grid_store(shape));
  auto living = run_on_store(shape, nullptr, &live_full, op);
  co_await ok(timeout(std::chrono::seconds(120), std::move(living)));
  co_return Result<void>();
}

/// The next life of a store that was closed when it was full.
Task<Result<void>> make_checkpoints(OpenStore& store, uint64_t* op) {
  for (int round = 0; round < 10; ++round) co_await ok(make_checkpoint(store, ++*op));
  References references;
  const Result<void> filled = co_await fill(store, &references);
  co_return filled;
}

Task<Result<void>> open_again(StoreShape shape, uint64_t* op) {
  auto living = run_on_store(shape, nullptr, &make_checkpoints, op);
  co_await ok(timeout(std::chrono::seconds(120), std::move(living)));
  co_return Result<void>();
}

struct SmallDisk {
  const char* type;
  uint64_t size;
};

TEST_CASE(
    "a store on a full disk makes its checkpoints, and goes on when there is room again, in this life and the next") {
  for (const SmallDisk& small : {SmallDisk{"ext4", 24 << 20}, SmallDisk{"xfs", 304 << 20}}) {
    const std::string type = small.type;
    CAPTURE(type);
    const LoopMount disk({.type = small.type, .size = small.size});
    if (!disk.is_mounted()) {
      skip(disk.obstacle());
      continue;
    }
    const std::string path = disk.file("store");
    StoreShape shape;
    shape.path = path.c_str();
    shape.block_size = 256 << 10;
    shape.blocks_count = 10'000;
    shape.allocation_step = 4 << 20;
    uint64_t op = 0;
    UringLoop ring;
    ring.run_to_success(fill_and_live, shape, &op);
    ring.run_to_success(open_again, shape, &op);
  }
}

}  // namespace
}  // namespace spindle
