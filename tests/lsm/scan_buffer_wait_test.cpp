// Who waits for a scan buffer: the order, cancels, resets, and a host that is killed.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "lsm/scan_buffer.h"
#include "runtime/combinators.h"
#include "tests/death.h"
#include "tests/lsm/scan_buffer_fixture.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;

/// Says "number:index", or "number:stale" where there was a reset between grant and turn.
Task<Result<void>> hold(int number, ScanBufferPool* pool, Duration duration, Trace* trace) {
  const ScanBuffer buffer = co_await ok(pool->acquire());
  trace->add(std::to_string(number) + ':' + (buffer.is_valid() ? std::to_string(buffer.index()) : "stale"));
  co_await ok(sleep_for(duration));
  co_return Result<void>();
}

Task<Result<void>> hold_in_turn(ScanBufferPool* pool, Trace* trace) {
  std::vector<int> numbers{0, 1, 2, 3, 4, 5, 6, 7};
  const Duration duration = 1ms;
  co_return co_await for_each_bounded(numbers, 8, hold, pool, duration, trace);
}

TEST_CASE("who waits gets a scan buffer in the order of asking") {
  TestLoop test;
  ScanPools pools;
  Trace trace;
  CHECK(run(test.loop, hold_in_turn, pools.scans.get(), &trace).has_value());
  CHECK(trace.text() == "0:0 1:1 2:2 3:0 4:1 5:2 6:0 7:1");
  CHECK(test.elapsed() == 3ms);
  CHECK(pools.scans->in_use_count() == 0);
}

/// Runs body(scope, pool, trace) in a scope of its own.
template <class Body>
Task<Result<void>> play(Body body, ScanBufferPool* pool, Trace* trace) {
  auto scoped = with_scope(ScopeOptions{}, body, pool, trace);
  const Result<void> result = co_await std::move(scoped);
  co_return result;
}

Task<Result<void>> take_late(Scope& scope, ScanBufferPool* pool, Trace* trace) {
  std::vector<ScanBuffer> buffers = take_all_scans(*pool);
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(yield());
  buffers[1].release();
  // The buffer belongs to who waited, although that task has not run yet.
  CHECK_FALSE(pool->try_acquire().has_value());
  CHECK(pool->in_use_count() == 3);
  CHECK(trace->text() == "");
  co_await settle();
  CHECK(trace->text() == "1:1");
  co_return Result<void>();
}

TEST_CASE("a scan buffer that comes back goes to who waits, not to who comes later") {
  TestLoop test;
  ScanPools pools;
  Trace trace;
  CHECK(run(test.loop, play<decltype(&take_late)>, &take_late, pools.scans.get(), &trace).has_value());
  CHECK(pools.scans->in_use_count() == 0);
}

Task<Result<void>> give_up(ScanBufferPool* pool) {
  std::vector<ScanBuffer> buffers = take_all_scans(*pool);
  const Result<ScanBuffer> refused = co_await timeout(5ms, pool->acquire());
  CHECK(refused.error().code == ErrorCode::timed_out);
  buffers.pop_back();
  CHECK(pool->in_use_count() == 2);
  const ScanBuffer buffer = co_await ok(pool->acquire());
  CHECK(buffer.index() == 2);
  co_return Result<void>();
}

TEST_CASE("a wait for a scan buffer can be cancelled, and takes nothing with it") {
  TestLoop test;
  ScanPools pools;
  CHECK(run(test.loop, give_up, pools.scans.get()).has_value());
  CHECK(pools.scans->in_use_count() == 0);
  CHECK(test.elapsed() == 5ms);
}

Task<Result<void>> cancel_the_middle_one(Scope& scope, ScanBufferPool* pool, Trace* trace) {
  std::vector<ScanBuffer> buffers = take_all_scans(*pool);
  Scope* middle = nullptr;
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(scope.spawn(cancellable_part<decltype(&hold), int, ScanBufferPool*, Duration, Trace*>, &middle, &hold, 2,
                          pool, Duration(1ms), trace));
  co_await ok(scope.spawn(hold, 3, pool, Duration(1ms), trace));
  co_await settle();
  middle->cancel();
  co_await settle();
  buffers.clear();
  co_return Result<void>();
}

TEST_CASE("who stops waiting for a scan buffer leaves the others in their order") {
  TestLoop test;
  ScanPools pools;
  Trace trace;
  const auto result = run(test.loop, play<decltype(&cancel_the_middle_one)>, &cancel_the_middle_one,  //
                          pools.scans.get(), &trace);
  static_cast<void>(result);  // cancelled, or not: a matter of scopes
  CHECK(trace.text() == "1:0 3:1");
  CHECK(pools.scans->in_use_count() == 0);
}

Task<Result<void>> cancelled_after_grant(Scope& scope, ScanBufferPool* pool, Trace* trace) {
  std::vector<ScanBuffer> buffers = take_all_scans(*pool);
  co_await ok(scope.spawn(hold, 1, pool, Duration(1h), trace));
  co_await ok(yield());
  buffers.pop_back();
  scope.cancel();  // the grant was first
  co_return Result<void>();
}

TEST_CASE("a scan buffer that was granted before the cancel is delivered and comes back") {
  TestLoop test;
  ScanPools pools;
  Trace trace;
  CHECK(run(test.loop, play<decltype(&cancelled_after_grant)>, &cancelled_after_grant, pools.scans.get(), &trace)
            .has_value());
  CHECK(trace.text() == "1:2");
  CHECK(pools.scans->in_use_count() == 0);
  CHECK(test.elapsed() == 0ms);
}

Task<Result<void>> acquire_cancelled(Scope& scope, ScanBufferPool* pool, Trace*) {
  scope.cancel();
  const Result<ScanBuffer> refused = co_await pool->acquire();
  CHECK(refused.error().code == ErrorCode::cancelled);
  CHECK(pool->in_use_count() == 0);
  co_return Result<void>();
}

TEST_CASE("in a cancelled context no scan buffer is handed out, although there are some") {
  TestLoop test;
  ScanPools pools;
  Trace trace;
  CHECK(run(test.loop, play<decltype(&acquire_cancelled)>, &acquire_cancelled, pools.scans.get(), &trace).has_value());
}

// reset() while somebody waits.

Task<Result<void>> reset_with_waiters(Scope& scope, ScanBufferPool* pool, Trace* trace) {
  std::vector<ScanBuffer> buffers = take_all_scans(*pool);
  for (int number = 1; number <= 5; ++number) {
    co_await ok(scope.spawn(hold, number, pool, Duration(1ms), trace));
  }
  co_await settle();
  pool->reset();
  CHECK(pool->in_use_count() == 3);  // granted at once
  CHECK_FALSE(pool->try_acquire().has_value());
  co_await settle();
  CHECK(trace->text() == "1:0 2:1 3:2");
  buffers.clear();
  CHECK(pool->in_use_count() == 3);
  co_return Result<void>();
}

TEST_CASE("after a reset those who wait get the buffers, in their order, and the others when those come back") {
  TestLoop test;
  ScanPools pools;
  Trace trace;
  CHECK(
      run(test.loop, play<decltype(&reset_with_waiters)>, &reset_with_waiters, pools.scans.get(), &trace).has_value());
  CHECK(trace.text() == "1:0 2:1 3:2 4:0 5:1");
  CHECK(pools.scans->in_use_count() == 0);
}

Task<Result<void>> reset_after_grant(Scope& scope, ScanBufferPool* pool, Trace* trace) {
  std::vector<ScanBuffer> buffers = take_all_scans(*pool);
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(scope.spawn(hold, 2, pool, Duration(1ms), trace));
  co_await settle();
  buffers[2].release();  // granted to the first, which does not run before the reset
  pool->reset();
  CHECK(pool->in_use_count() == 1);  // the second's
  const ScanBuffer other = take_scan(*pool);
  CHECK(other.index() == 1);
  co_await settle();
  CHECK(trace->text() == "1:stale 2:0");
  co_await ok(sleep_for(2ms));  // both are gone
  CHECK(pool->in_use_count() == 1);
  CHECK(other.is_valid());
  co_return Result<void>();
}

TEST_CASE("who was granted a buffer before a reset and runs after it gets one that is not valid") {
  TestLoop test;
  ScanPools pools;
  Trace trace;
  CHECK(run(test.loop, play<decltype(&reset_after_grant)>, &reset_after_grant, pools.scans.get(), &trace).has_value());
  CHECK(pools.scans->in_use_count() == 0);
}

// The blocks of the grid, for which others wait.

Task<Result<void>> wait_for_block(BlockPool* blocks, Trace* trace) {
  const BlockLease lease = co_await ok(blocks->acquire());
  trace->add("block");
  co_return Result<void>();
}

Task<Result<void>> destroy_while_others_wait(Scope& scope, ScanPools* pools, Trace* trace) {
  const std::vector<BlockLease> rest = lease_all(*pools->blocks);
  co_await ok(scope.spawn(wait_for_block, pools->blocks.get(), trace));
  co_await ok(scope.spawn(wait_for_block, pools->blocks.get(), trace));
  co_await settle();
  pools->scans.reset();
  co_await settle();
  CHECK(trace->text() == "block block");
  CHECK(pools->blocks->in_use_count() == rest.size());
  co_return Result<void>();
}

Task<Result<void>> play_destroy_while_others_wait(ScanPools* pools, Trace* trace) {
  co_return co_await with_scope(ScopeOptions{}, destroy_while_others_wait, pools, trace);
}

TEST_CASE("blocks of scan buffers that are destroyed go to who waits for a block of the grid") {
  TestLoop test;
  ScanPools pools;
  Trace trace;
  CHECK(run(test.loop, play_destroy_while_others_wait, &pools, &trace).has_value());
  CHECK(pools.blocks->in_use_count() == 0);
}

// A host that is killed.

Task<Result<void>> wait_in_vain(ScanBufferPool* pool, uint64_t* ran_count) {
  const ScanBuffer buffer = co_await ok(pool->acquire());
  ++*ran_count;
  co_return Result<void>();
}

Task<Result<void>> live_until_killed(Scope& scope, bool resets, uint64_t* ran_count) {
  const ScanPools pools;
  std::vector<ScanBuffer> buffers = take_all_scans(*pools.scans);
  ScanBufferPool* pool = pools.scans.get();
  for (int number = 0; number < 4; ++number) co_await ok(scope.spawn(wait_in_vain, pool, ran_count));
  co_await ok(yield());
  if (resets) pool->reset();
  if (!resets) buffers.pop_back();
  co_await ok(sleep_for(1h));
  co_return Result<void>();
}

Task<Result<void>> play_live_until_killed(bool resets, uint64_t* ran_count) {
  co_return co_await with_scope(ScopeOptions{}, live_until_killed, resets, ran_count);
}

TEST_CASE("scan buffers of a dying host go with handles out, with waiters, and with grants that nobody took") {
  for (const bool resets : {false, true}) {
    for (uint32_t turns = 1; turns < 16; ++turns) {
      uint64_t ran_count = 0;
      uint64_t ran_before_kill_count = 0;
      TestLoop test(Loop::Options{.ready_budget = 1});
      {
        Root<Result<void>> root(std::source_location::current(), test.loop, play_live_until_killed, resets, &ran_count);
        for (uint32_t turn = 0; turn < turns; ++turn) test.loop.turn();
        test.loop.mark_dying();
        ran_before_kill_count = ran_count;
      }
      CHECK(ran_count == ran_before_kill_count);
    }
  }
}

TEST_CASE("in a dying host a scan buffer that is dropped touches nothing: its pool may be gone") {
  TestLoop test;
  Loop* const former = Loop::set_current(&test.loop);
  {
    ScanPools pools;
    ScanBuffer first = take_scan(*pools.scans);
    ScanBuffer second = take_scan(*pools.scans);
    test.loop.mark_dying();
    first.release();
    CHECK(pools.scans->in_use_count() == 2);
    pools.scans.reset();
    pools.blocks.reset();
    second.release();
  }
  Loop::set_current(former);
}

Task<Result<void>> wait_for_ever(ScanBufferPool* pool) {
  const Result<ScanBuffer> buffer = co_await pool->acquire();
  static_cast<void>(buffer);
  co_return Result<void>();
}

TEST_CASE("destroying a pool of scan buffers for which somebody waits is caught") {
  expect_abort(
      [] {
        TestLoop test;
        ScanPools pools;
        const std::vector<ScanBuffer> buffers = take_all_scans(*pools.scans);
        Root<Result<void>> root(std::source_location::current(), test.loop, wait_for_ever, pools.scans.get());
        test.loop.turn();
        pools.scans.reset();
      },
      "a scan buffer pool was destroyed with");
}

}  // namespace
}  // namespace spindle
