// A store that lives on a full grid, or a full disk: for the simulated disk and for a real one.
#pragma once

#include <cerrno>

#include "tests/lsm/grid_fixture.h"

namespace spindle {

using References = std::vector<BlockReference>;

/// Puts blocks until reserve() says that there is no room; which must change nothing.
inline Task<Result<void>> fill(OpenStore& store, References* references) {
  while (true) {
    const uint64_t free_count = store.grid.free_set().free_count();
    const auto put = co_await put_block(store.grid, references->size());
    if (put.has_value()) {
      references->push_back(*put);
      continue;
    }
    CHECK(put.error().code == ErrorCode::system);
    CHECK(put.error().number == ENOSPC);
    CHECK(store.grid.free_set().free_count() == free_count);
    CHECK(store.grid.free_set().reservations_count() == 0);
    CHECK_FALSE(store.storage.is_stopped());
    co_return Result<void>();
  }
}

inline Task<Result<void>> check_all(Grid& grid, const References& references) {
  for (size_t index = 0; index < references.size(); ++index) {
    const BlockRef block = co_await ok(grid.read(references[index], BlockType::value));
    CHECK(number_in(block) == index);
  }
  co_return Result<void>();
}

/// On a store that is as full as it gets: checkpoints, again and again; then room, and on it goes.
inline Task<Result<void>> live_full(OpenStore& store, uint64_t* op) {
  References references;
  co_await ok(fill(store, &references));
  REQUIRE(references.size() > 10);
  for (int round = 0; round < 20; ++round) co_await ok(make_checkpoint(store, ++*op));
  co_await ok(check_all(store.grid, references));
  for (int round = 0; round < 5; ++round) {
    const uint64_t freed_count = 4;
    for (uint64_t count = 0; count < freed_count; ++count) {
      store.grid.release(references.back());
      references.pop_back();
    }
    co_await ok(make_checkpoint(store, ++*op));
    const size_t before = references.size();
    co_await ok(fill(store, &references));
    // What was released has become free: all of it is there again.
    CHECK(references.size() >= before + freed_count);
    co_await ok(make_checkpoint(store, ++*op));
    co_await ok(check_all(store.grid, references));
  }
  co_return Result<void>();
}

}  // namespace spindle
