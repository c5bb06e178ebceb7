// Who waits for a block of a pool gets one when, and what comes of it when the host is killed.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "lsm/block_cache.h"
#include "lsm/block_pool.h"
#include "runtime/combinators.h"
#include "tests/death.h"
#include "tests/lsm/block_fixture.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;

Task<Result<void>> hold(int number, BlockPool* pool, Duration duration, Trace* trace) {
  const BlockLease lease = co_await ok(pool->acquire());
  trace->add(std::to_string(number));
  CHECK(lease.is_held());
  co_await ok(sleep_for(duration));
  co_return Result<void>();
}

Task<Result<void>> hold_in_turn(BlockPool* pool, Trace* trace) {
  std::vector<int> numbers{0, 1, 2, 3, 4, 5, 6, 7};
  const Duration duration = 1ms;
  co_return co_await for_each_bounded(numbers, 8, hold, pool, duration, trace);
}

TEST_CASE("who waits gets a block in the order of asking") {
  TestLoop test;
  const auto pool = make_block_pool(3);
  Trace trace;
  CHECK(run(test.loop, hold_in_turn, pool.get(), &trace).has_value());
  CHECK(trace.text() == "0 1 2 3 4 5 6 7");
  CHECK(test.elapsed() == 3ms);
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 3);
}

Task<Result<void>> take_late(Scope& scope, BlockPool* pool, Trace* trace) {
  std::vector<BlockLease> leases = lease_all(*pool);
  BlockRef block = freeze_number(std::move(leases.back()), 5);
  BlockRef again = block.ref();
  leases.pop_back();
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(yield());
  block.release();
  co_await ok(yield());
  CHECK(trace->text() == "");  // somebody refers to it still
  again.release();
  // The block belongs to who waited, although that task has not run yet.
  CHECK_FALSE(pool->try_acquire().has_value());
  CHECK(pool->in_use_count() == 3);
  co_return Result<void>();
}

Task<Result<void>> play_take_late(BlockPool* pool, Trace* trace) {
  co_return co_await with_scope(ScopeOptions{}, take_late, pool, trace);
}

TEST_CASE("a block whose last reference is dropped goes to who waits, not to who comes later") {
  TestLoop test;
  const auto pool = make_block_pool(3);
  Trace trace;
  CHECK(run(test.loop, play_take_late, pool.get(), &trace).has_value());
  CHECK(trace.text() == "1");
}

Task<Result<void>> take_from_cache(Scope& scope, BlockPool* pool, BlockCache* cache, Trace* trace) {
  for (uint64_t address = 1; address <= pool->capacity(); ++address) {
    cache->insert(address, make_numbered(*pool, address));
  }
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(scope.spawn(hold, 2, pool, Duration(1ms), trace));
  co_await ok(yield());
  cache->remove(2);
  CHECK_FALSE(pool->try_acquire().has_value());
  co_await settle();
  CHECK(trace->text() == "1");
  cache->clear();
  CHECK(pool->in_use_count() == 2);
  co_return Result<void>();
}

Task<Result<void>> play_take_from_cache(BlockPool* pool, BlockCache* cache, Trace* trace) {
  co_return co_await with_scope(ScopeOptions{}, take_from_cache, pool, cache, trace);
}

TEST_CASE("a block that leaves the cache goes to who waits") {
  TestLoop test;
  const auto pool = make_block_pool(3);
  Result<BlockCache> cache = BlockCache::create(*pool, BlockCache::ways_count);
  REQUIRE(cache.has_value());
  Trace trace;
  CHECK(run(test.loop, play_take_from_cache, pool.get(), &*cache, &trace).has_value());
  CHECK(trace.text() == "1 2");
  CHECK(pool->in_use_count() == 0);
}

Task<Result<void>> give_up(BlockPool* pool) {
  std::vector<BlockLease> leases = lease_all(*pool);
  const Result<BlockLease> refused = co_await timeout(5ms, pool->acquire());
  CHECK(refused.error().code == ErrorCode::timed_out);
  leases.pop_back();
  CHECK(pool->in_use_count() == 2);
  const BlockLease lease = co_await ok(pool->acquire());
  CHECK(lease.is_held());
  co_return Result<void>();
}

TEST_CASE("a wait for a block can be cancelled, and takes nothing with it") {
  TestLoop test;
  const auto pool = make_block_pool(3);
  CHECK(run(test.loop, give_up, pool.get()).has_value());
  CHECK(pool->in_use_count() == 0);
  CHECK(test.elapsed() == 5ms);
}

Task<Result<void>> cancel_the_middle_one(Scope& scope, BlockPool* pool, Trace* trace) {
  std::vector<BlockLease> leases = lease_all(*pool);
  Scope* middle = nullptr;
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(scope.spawn(cancellable_part<decltype(&hold), int, BlockPool*, Duration, Trace*>, &middle, &hold, 2, pool,
                          Duration(1ms), trace));
  co_await ok(scope.spawn(hold, 3, pool, Duration(1ms), trace));
  co_await settle();
  middle->cancel();
  co_await settle();
  leases.clear();
  co_return Result<void>();
}

Task<Result<void>> play_cancel_the_middle_one(BlockPool* pool, Trace* trace) {
  const Result<void> result = co_await with_scope(ScopeOptions{}, cancel_the_middle_one, pool, trace);
  static_cast<void>(result);  // cancelled, or not: a matter of scopes
  co_return Result<void>();
}

TEST_CASE("who stops waiting for a block leaves the others in their order") {
  TestLoop test;
  const auto pool = make_block_pool(3);
  Trace trace;
  CHECK(run(test.loop, play_cancel_the_middle_one, pool.get(), &trace).has_value());
  CHECK(trace.text() == "1 3");
  CHECK(pool->in_use_count() == 0);
}

Task<Result<void>> cancelled_after_grant(Scope& scope, BlockPool* pool, Trace* trace) {
  std::vector<BlockLease> leases = lease_all(*pool);
  co_await ok(scope.spawn(hold, 1, pool, Duration(1h), trace));
  co_await ok(yield());
  leases.pop_back();
  scope.cancel();  // the grant was first
  co_return Result<void>();
}

Task<Result<void>> play_cancelled_after_grant(BlockPool* pool, Trace* trace) {
  co_return co_await with_scope(ScopeOptions{}, cancelled_after_grant, pool, trace);
}

TEST_CASE("a block that was granted before the cancel is delivered and comes back") {
  TestLoop test;
  const auto pool = make_block_pool(3);
  Trace trace;
  CHECK(run(test.loop, play_cancelled_after_grant, pool.get(), &trace).has_value());
  CHECK(trace.text() == "1");
  CHECK(pool->in_use_count() == 0);
  CHECK(test.elapsed() == 0ms);
}

// A host that is killed.

Task<Result<void>> wait_in_vain(BlockPool* pool, uint64_t* ran_count) {
  const BlockLease lease = co_await ok(pool->acquire());
  ++*ran_count;
  co_return Result<void>();
}

Task<Result<void>> live_until_killed(Scope& scope, bool grants, uint64_t* ran_count) {
  const auto pool = make_block_pool(3);
  Result<BlockCache> cache = BlockCache::create(*pool, BlockCache::ways_count);
  REQUIRE(cache.has_value());
  std::vector<BlockLease> leases = lease_all(*pool);
  const BlockRef block = freeze_number(std::move(leases.front()), 5);
  cache->insert(12, block);
  BlockPool* pool_address = pool.get();
  co_await ok(scope.spawn(wait_in_vain, pool_address, ran_count));
  co_await ok(scope.spawn(wait_in_vain, pool_address, ran_count));
  co_await ok(yield());
  if (grants) leases.pop_back();
  co_await ok(sleep_for(1h));
  co_return Result<void>();
}

Task<Result<void>> play_live_until_killed(bool grants, uint64_t* ran_count) {
  co_return co_await with_scope(ScopeOptions{}, live_until_killed, grants, ran_count);
}

TEST_CASE("a block pool of a dying host goes with blocks out, with waiters, and with a grant that nobody took") {
  for (const bool grants : {false, true}) {
    for (uint32_t turns = 1; turns < 12; ++turns) {
      uint64_t ran_count = 0;
      uint64_t ran_before_kill_count = 0;
      TestLoop test(Loop::Options{.ready_budget = 1});
      {
        Root<Result<void>> root(std::source_location::current(), test.loop, play_live_until_killed, grants, &ran_count);
        for (uint32_t turn = 0; turn < turns; ++turn) test.loop.turn();
        test.loop.mark_dying();
        ran_before_kill_count = ran_count;
      }
      CHECK(ran_count == ran_before_kill_count);
      CHECK(ran_count <= (grants ? 2 : 0));  // the first hands its block on to the second
    }
  }
}

TEST_CASE("in a dying host a block that is dropped touches nothing: its pool may be gone") {
  TestLoop test;
  Loop* const former = Loop::set_current(&test.loop);
  {
    auto pool = make_block_pool(3);
    BlockLease lease = lease_block(*pool);
    BlockLease other = lease_block(*pool);
    BlockRef block = make_numbered(*pool, 5);
    test.loop.mark_dying();
    other.release();
    CHECK(pool->in_use_count() == 3);
    pool.reset();
    lease.release();
    block.release();
  }
  Loop::set_current(former);
}

Task<Result<void>> wait_for_ever(BlockPool* pool) {
  const Result<BlockLease> lease = co_await pool->acquire();
  static_cast<void>(lease);
  co_return Result<void>();
}

TEST_CASE("destroying a block pool on which somebody waits is caught") {
  expect_abort(
      [] {
        TestLoop test;
        auto pool = make_block_pool(3);
        const std::vector<BlockLease> leases = lease_all(*pool);
        Root<Result<void>> root(std::source_location::current(), test.loop, wait_for_ever, pool.get());
        test.loop.turn();
        pool.reset();
      },
      "a block pool was destroyed with");
}

}  // namespace
}  // namespace spindle
