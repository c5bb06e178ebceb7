// The pool of aligned buffers: who gets one when, what comes back, and what is caught.
#include "pools/buffer_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "pools/poison.h"
#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;

using Pool = AlignedBufferPool;

std::unique_ptr<Pool> make_pool(uint32_t count, uint32_t size = 4096, uint32_t alignment = 4096) {
  Result<std::unique_ptr<Pool>> made =
      Pool::create({.buffers_count = count, .buffer_size = size, .alignment = alignment});
  REQUIRE(made.has_value());
  return std::move(*made);
}

TEST_CASE("buffers are aligned, of the size that was asked for, apart from one another, inside of the arena") {
  struct Shape {
    uint32_t size;
    uint32_t alignment;
  };
  for (const Shape shape : {Shape{1, 1}, Shape{8, 8}, Shape{24, 8}, Shape{512, 512}, Shape{4096, 512},
                            Shape{4096, 4096}, Shape{65536, 4096}, Shape{1 << 20, 1 << 16}}) {
    CAPTURE(shape.size);
    CAPTURE(shape.alignment);
    const std::unique_ptr<Pool> pool = make_pool(5, shape.size, shape.alignment);
    CHECK(pool->capacity() == 5);
    CHECK(pool->buffer_size() == shape.size);
    CHECK(pool->arena().size() == size_t{5} * shape.size);
    std::vector<Pool::Lease> leases;
    std::set<std::byte*> starts;
    for (uint8_t index = 0; index < 5; ++index) {
      Pool::Lease lease = std::move(*pool->try_acquire());
      const std::span<std::byte> memory = lease;
      CHECK(memory.size() == shape.size);
      CHECK(reinterpret_cast<uintptr_t>(memory.data()) % shape.alignment == 0);
      CHECK(memory.data() >= pool->arena().data());
      CHECK(memory.data() + memory.size() <= pool->arena().data() + pool->arena().size());
      std::memset(memory.data(), index, memory.size());
      starts.insert(memory.data());
      leases.push_back(std::move(lease));
    }
    CHECK(starts.size() == 5);
    for (uint8_t index = 0; index < 5; ++index) {
      const std::span<const std::byte> memory = leases[index];
      const auto is_own = [index](std::byte byte) { return byte == std::byte{index}; };
      CHECK(std::all_of(memory.begin(), memory.end(), is_own));
    }
  }
}

TEST_CASE("a pool that can't be is refused") {
  for (const Pool::Options options : {
           Pool::Options{.buffers_count = 0},
           Pool::Options{.buffers_count = 1, .buffer_size = 0},
           Pool::Options{.buffers_count = 1, .buffer_size = 4096, .alignment = 0},
           Pool::Options{.buffers_count = 1, .buffer_size = 4096, .alignment = 3},
           Pool::Options{.buffers_count = 1, .buffer_size = 100, .alignment = 512},
           Pool::Options{.buffers_count = 1, .buffer_size = 4096 + 512, .alignment = 4096},
       }) {
    const Result<std::unique_ptr<Pool>> made = Pool::create(options);
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::invalid_argument);
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("a pool that does not fit into memory is refused with ENOMEM") {
  const Result<std::unique_ptr<Pool>> made =
      Pool::create({.buffers_count = UINT32_MAX, .buffer_size = 1u << 31, .alignment = 4096});
  REQUIRE(!made.has_value());
  CHECK(made.error().number == ENOMEM);
}
#endif

TEST_CASE("an empty pool refuses who does not want to wait, and counts what is out and what was at most") {
  const std::unique_ptr<Pool> pool = make_pool(2);
  CHECK(pool->in_use_count() == 0);
  {
    const Result<Pool::Lease> first = pool->try_acquire();
    const Result<Pool::Lease> second = pool->try_acquire();
    CHECK(first.has_value());
    CHECK(second.has_value());
    CHECK(pool->in_use_count() == 2);
    const Result<Pool::Lease> third = pool->try_acquire();
    REQUIRE(!third.has_value());
    CHECK(third.error().code == ErrorCode::exhausted);
  }
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 2);
  CHECK(pool->try_acquire().has_value());
  CHECK(pool->high_water_count() == 2);
}

TEST_CASE("a lease moves, gives back what an assignment replaces, and gives back once") {
  const std::unique_ptr<Pool> pool = make_pool(2);
  Pool::Lease first = std::move(*pool->try_acquire());
  Pool::Lease second = std::move(*pool->try_acquire());
  std::byte* const memory = first.span().data();
  Pool::Lease moved(std::move(first));
  CHECK_FALSE(first.is_held());
  CHECK(moved.span().data() == memory);
  CHECK(pool->in_use_count() == 2);
  second = std::move(moved);
  CHECK(second.span().data() == memory);
  CHECK(pool->in_use_count() == 1);
  Pool::Lease& alias = second;
  second = std::move(alias);
  CHECK(second.is_held());
  CHECK(second.first(10).size() == 10);
  second.release();
  second.release();
  CHECK_FALSE(second.is_held());
  CHECK(pool->in_use_count() == 0);
}

// Waiting.

Task<Result<void>> hold(int number, Pool* pool, Duration duration, Trace* trace) {
  const Pool::Lease lease = co_await ok(pool->acquire());
  trace->add(std::to_string(number));
  CHECK(lease.is_held());
  co_await ok(sleep_for(duration));
  co_return Result<void>();
}

Task<Result<void>> hold_in_turn(Pool& pool, Trace& trace) {
  std::vector<int> numbers{0, 1, 2, 3, 4, 5, 6, 7};
  Pool* pool_address = &pool;
  Trace* trace_address = &trace;
  const Duration duration = 1ms;
  co_return co_await for_each_bounded(numbers, 8, hold, pool_address, duration, trace_address);
}

TEST_CASE("who waits gets a buffer in the order of asking") {
  TestLoop test;
  const std::unique_ptr<Pool> pool = make_pool(2);
  Trace trace;
  CHECK(run(test.loop, hold_in_turn, *pool, trace).has_value());
  CHECK(trace.text() == "0 1 2 3 4 5 6 7");
  CHECK(test.elapsed() == 4ms);
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 2);
}

Task<Result<void>> take_late(Scope& scope, Pool* pool, Trace* trace) {
  Result<Pool::Lease> only = pool->try_acquire();
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(yield());
  only->release();
  // The buffer belongs to who waited, although that task has not run yet.
  CHECK_FALSE(pool->try_acquire().has_value());
  CHECK(pool->in_use_count() == 1);
  co_return Result<void>();
}

Task<Result<void>> play_take_late(Pool& pool, Trace& trace) {
  Pool* pool_address = &pool;
  Trace* trace_address = &trace;
  co_return co_await with_scope(ScopeOptions{}, take_late, pool_address, trace_address);
}

TEST_CASE("a buffer that comes back goes to who waits, not to who comes later") {
  TestLoop test;
  const std::unique_ptr<Pool> pool = make_pool(1);
  Trace trace;
  CHECK(run(test.loop, play_take_late, *pool, trace).has_value());
  CHECK(trace.text() == "1");
}

Task<Result<void>> give_up(Pool& pool) {
  Result<Pool::Lease> only = pool.try_acquire();
  const Result<Pool::Lease> refused = co_await timeout(5ms, pool.acquire());
  CHECK(refused.error().code == ErrorCode::timed_out);
  only->release();
  const Pool::Lease lease = co_await ok(pool.acquire());
  CHECK(lease.is_held());
  co_return Result<void>();
}

TEST_CASE("a wait can be cancelled, and takes nothing with it") {
  TestLoop test;
  const std::unique_ptr<Pool> pool = make_pool(1);
  CHECK(run(test.loop, give_up, *pool).has_value());
  CHECK(pool->in_use_count() == 0);
  CHECK(test.elapsed() == 5ms);
}

Task<Result<void>> cancelled_after_grant(Scope& scope, Pool* pool, Trace* trace) {
  Result<Pool::Lease> only = pool->try_acquire();
  co_await ok(scope.spawn(hold, 1, pool, Duration(1h), trace));
  co_await ok(yield());
  only->release();
  scope.cancel();  // the grant was first
  co_return Result<void>();
}

Task<Result<void>> play_cancelled_after_grant(Pool& pool, Trace& trace) {
  Pool* pool_address = &pool;
  Trace* trace_address = &trace;
  co_return co_await with_scope(ScopeOptions{}, cancelled_after_grant, pool_address, trace_address);
}

TEST_CASE("a buffer that was granted before the cancel is delivered and comes back") {
  TestLoop test;
  const std::unique_ptr<Pool> pool = make_pool(1);
  Trace trace;
  CHECK(run(test.loop, play_cancelled_after_grant, *pool, trace).has_value());
  CHECK(trace.text() == "1");
  CHECK(pool->in_use_count() == 0);
  CHECK(test.elapsed() == 0ms);
}

Task<Result<void>> leave_early(Pool* pool) {
  const Pool::Lease first = co_await ok(pool->acquire());
  const Pool::Lease second = co_await ok(pool->acquire());
  CHECK(first.span().data() != second.span().data());
  const Pool::Lease third = co_await ok(timeout(1ms, pool->acquire()));
  FAIL_CHECK("there is no third");
  co_return Result<void>();
}

Task<Result<void>> see_it_left(Pool& pool) {
  auto leaving = leave_early(&pool);
  const Result<void> left = co_await std::move(leaving);
  CHECK(left.error().code == ErrorCode::timed_out);
  CHECK(pool.in_use_count() == 0);  // before the parent goes on
  co_return Result<void>();
}

TEST_CASE("leases of a task that leaves early come back before its parent goes on") {
  TestLoop test;
  const std::unique_ptr<Pool> pool = make_pool(2);
  CHECK(run(test.loop, see_it_left, *pool).has_value());
}

Task<Result<void>> acquire_cancelled(Scope& scope, Pool* pool) {
  scope.cancel();
  const Result<Pool::Lease> refused = co_await pool->acquire();
  CHECK(refused.error().code == ErrorCode::cancelled);
  CHECK(pool->in_use_count() == 0);
  co_return Result<void>();
}

Task<Result<void>> play_acquire_cancelled(Pool& pool) {
  Pool* pool_address = &pool;
  co_return co_await with_scope(ScopeOptions{}, acquire_cancelled, pool_address);
}

TEST_CASE("in a cancelled context nothing is handed out, although buffers are free") {
  TestLoop test;
  const std::unique_ptr<Pool> pool = make_pool(2);
  CHECK(run(test.loop, play_acquire_cancelled, *pool).has_value());
}

// What is caught.

TEST_CASE("destroying a pool with leases out is caught") {
  expect_abort(
      [] {
        std::unique_ptr<Pool> pool = make_pool(2);
        Result<Pool::Lease> lease = pool->try_acquire();
        pool.reset();
      },
      "a buffer pool was destroyed with leases out");
}

TEST_CASE("the memory of a lease that was given back or moved away is caught") {
  expect_abort(
      [] {
        const std::unique_ptr<Pool> pool = make_pool(2);
        Pool::Lease lease = std::move(*pool->try_acquire());
        lease.release();
        static_cast<void>(lease.span());
      },
      "the memory of a lease that holds no buffer");
}

TEST_CASE("a buffer that came back is poisoned, or filled, until it is handed out again") {
#if SPINDLE_POISON_WITH_ASAN
  auto touch = [] {
    const std::unique_ptr<Pool> pool = make_pool(2);
    Pool::Lease lease = std::move(*pool->try_acquire());
    volatile std::byte* const memory = lease.span().data() + 4095;
    *memory = std::byte{1};
    lease.release();
    *memory = std::byte{2};
  };
  const Death death = run_in_child(touch);
  CHECK_FALSE(death.has_exited);
  CHECK_MESSAGE(death.text.find("use-after-poison") != std::string::npos, death.text);
#elif SPINDLE_LEDGER
  const std::unique_ptr<Pool> pool = make_pool(1);
  const std::byte* const memory = pool->arena().data();
  CHECK(memory[0] == released_fill);
  {
    const Pool::Lease lease = std::move(*pool->try_acquire());
    std::memset(lease.span().data(), 1, 4096);
  }
  CHECK(memory[0] == released_fill);
  CHECK(memory[4095] == released_fill);
#else
  std::printf("SKIP: %s: neither the ledger nor the address sanitizer\n",
              doctest::getContextOptions()->currentTest->m_name);
#endif
}

TEST_CASE("random leases never overlap and all come back") {
  Random random(7);
  const std::unique_ptr<Pool> pool = make_pool(64, 64, 64);
  std::vector<std::pair<Pool::Lease, uint8_t>> leases;
  for (uint32_t step = 0; step < 20'000; ++step) {
    const bool takes = random.below(100) < (step < 10'000 ? 60u : 40u);
    if (takes) {
      Result<Pool::Lease> lease = pool->try_acquire();
      CHECK(lease.has_value() == (leases.size() < 64));
      if (!lease.has_value()) continue;
      const uint8_t mark = static_cast<uint8_t>(random.below(256));
      std::memset(lease->span().data(), mark, 64);
      leases.emplace_back(std::move(*lease), mark);
    } else if (!leases.empty()) {
      const size_t index = random.below(leases.size());
      std::swap(leases[index], leases.back());
      const std::span<std::byte> memory = leases.back().first.span();
      const std::byte mark{leases.back().second};
      CHECK(std::all_of(memory.begin(), memory.end(), [mark](std::byte byte) { return byte == mark; }));
      leases.pop_back();
    }
    CHECK(pool->in_use_count() == leases.size());
  }
  leases.clear();
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 64);
}

}  // namespace
}  // namespace spindle
