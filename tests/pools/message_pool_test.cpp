// The pool of messages: references, who gets one when, and what is caught.
#include "pools/message_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "pools/poison.h"
#include "runtime/combinators.h"
#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;

using Pool = MessagePool;
using PoolPointer = std::unique_ptr<Pool>;

/// `count` messages, at least 4.
PoolPointer make_pool(uint32_t count, uint32_t message_size_max = 4096) {
  Result<PoolPointer> made =
      Pool::create(Pool::Client{.connections_max = 1, .send_queue_max = count - 3}, message_size_max);
  REQUIRE(made.has_value());
  CHECK((*made)->capacity() == count);
  return std::move(*made);
}

MessageRef take(Pool& pool) {
  Result<MessageRef> taken = pool.try_acquire();
  REQUIRE(taken.has_value());
  return std::move(*taken);
}

std::vector<MessageRef> take_all(Pool& pool) {
  std::vector<MessageRef> messages;
  while (pool.in_use_count() < pool.capacity()) messages.push_back(take(pool));
  return messages;
}

TEST_CASE("buffers are aligned to sectors, of the size that was asked for, apart from one another, in the arena") {
  for (const uint32_t size : {4096u, 8192u, 65536u, 1u << 20}) {
    CAPTURE(size);
    const PoolPointer pool = make_pool(6, size);
    CHECK(pool->message_size_max() == size);
    CHECK(pool->arena().size() == size_t{6} * size);
    const std::vector<MessageRef> messages = take_all(*pool);
    std::set<std::byte*> starts;
    for (const MessageRef& message : messages) {
      const std::span<std::byte> buffer = message->buffer();
      CHECK(buffer.size() == size);
      CHECK(reinterpret_cast<uintptr_t>(buffer.data()) % sector_size == 0);
      CHECK((buffer.data() - pool->arena().data()) % size == 0);
      CHECK(buffer.data() >= pool->arena().data());
      CHECK(buffer.data() + size <= pool->arena().data() + pool->arena().size());
      starts.insert(buffer.data());
    }
    CHECK(starts.size() == 6);
  }
}

TEST_CASE("a message pool that can't be is refused") {
  struct Case {
    Pool::Options options;
    uint32_t message_size_max;
  };
  for (const Case& wrong : {
           Case{Pool::Client{.connections_max = 0}, 4096},
           Case{Pool::Client{.send_queue_max = 0}, 4096},
           Case{Pool::Client{.connections_max = 1u << 31, .send_queue_max = 8}, 4096},
           Case{Pool::Client{}, 0},
           Case{Pool::Client{}, 4095},
           Case{Pool::Client{}, 4096 + 512},
           Case{Pool::Replica{.members_count = 0}, 4096},
           Case{Pool::Replica{.prepare_queue_max = 0}, 4096},
           Case{Pool::Replica{.log_writes_max = 0}, 4096},
           Case{Pool::Replica{.send_queue_max = 0}, 4096},
       }) {
    const Result<PoolPointer> made = Pool::create(wrong.options, wrong.message_size_max);
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::invalid_argument);
  }
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("a message pool that does not fit into memory is refused with ENOMEM") {
  const Pool::Client many{.connections_max = 1u << 20, .send_queue_max = 1u << 10};
  const Result<PoolPointer> made = Pool::create(many, 1u << 31);
  REQUIRE(!made.has_value());
  CHECK(made.error().number == ENOMEM);
}
#endif

TEST_CASE("a fresh message has one reference and a header of zeroes, whatever was there before") {
  const PoolPointer pool = make_pool(4);
  for (int round = 0; round < 3; ++round) {
    std::vector<MessageRef> messages = take_all(*pool);
    for (MessageRef& message : messages) {
      CHECK(message->references_count() == 1);
      const std::span<std::byte> header = message->buffer().first(message_header_size);
      CHECK(std::all_of(header.begin(), header.end(), [](std::byte byte) { return byte == std::byte{0}; }));
      std::memset(message->buffer().data(), 0xff, message->buffer().size());
    }
  }
}

TEST_CASE("an empty message pool refuses who does not want to wait, and counts what is out and was at most") {
  const PoolPointer pool = make_pool(4);
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 0);
  CHECK(pool->try_acquire().has_value());
  CHECK(pool->high_water_count() == 1);
  {
    const std::vector<MessageRef> messages = take_all(*pool);
    CHECK(pool->in_use_count() == 4);
    const Result<MessageRef> refused = pool->try_acquire();
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == ErrorCode::exhausted);
  }
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 4);
  CHECK(pool->try_acquire().has_value());
  CHECK(pool->high_water_count() == 4);
}

TEST_CASE("a message goes back when its last reference is dropped, in whatever order") {
  const PoolPointer pool = make_pool(4);
  MessageRef first = take(*pool);
  MessageRef second = first.ref();
  MessageRef third = second.ref();
  CHECK(&*first == &*third);
  CHECK(first->references_count() == 3);
  first.release();
  first.release();
  CHECK_FALSE(first.is_held());
  CHECK(third->references_count() == 2);
  third.release();
  CHECK(pool->in_use_count() == 1);
  second.release();
  CHECK(pool->in_use_count() == 0);
}

TEST_CASE("a reference moves, and drops what an assignment replaces") {
  const PoolPointer pool = make_pool(4);
  MessageRef first = take(*pool);
  MessageRef second = take(*pool);
  Message* const message = &*first;
  MessageRef moved(std::move(first));
  CHECK_FALSE(first.is_held());
  CHECK(moved->references_count() == 1);
  second = std::move(moved);
  CHECK(&*second == message);
  CHECK(pool->in_use_count() == 1);
  MessageRef& alias = second;
  second = std::move(alias);
  CHECK(second.is_held());
  CHECK(second->references_count() == 1);
}

// Waiting.

Task<Result<void>> hold(int number, Pool* pool, Duration duration, Trace* trace) {
  const MessageRef message = co_await ok(pool->acquire());
  trace->add(std::to_string(number));
  CHECK(message->references_count() == 1);
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

TEST_CASE("who waits gets a message in the order of asking") {
  TestLoop test;
  const PoolPointer pool = make_pool(4);
  Trace trace;
  CHECK(run(test.loop, hold_in_turn, *pool, trace).has_value());
  CHECK(trace.text() == "0 1 2 3 4 5 6 7");
  CHECK(test.elapsed() == 2ms);
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 4);
}

Task<Result<void>> take_late(Scope& scope, Pool* pool, Trace* trace) {
  std::vector<MessageRef> messages = take_all(*pool);
  MessageRef again = messages.back().ref();
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(yield());
  messages.pop_back();
  co_await ok(yield());
  CHECK(trace->text() == "");  // somebody refers to it still
  again.release();
  // The message belongs to who waited, although that task has not run yet.
  CHECK_FALSE(pool->try_acquire().has_value());
  CHECK(pool->in_use_count() == 4);
  co_return Result<void>();
}

Task<Result<void>> play_take_late(Pool& pool, Trace& trace) {
  Pool* pool_address = &pool;
  Trace* trace_address = &trace;
  co_return co_await with_scope(ScopeOptions{}, take_late, pool_address, trace_address);
}

TEST_CASE("a message whose last reference is dropped goes to who waits, not to who comes later") {
  TestLoop test;
  const PoolPointer pool = make_pool(4);
  Trace trace;
  CHECK(run(test.loop, play_take_late, *pool, trace).has_value());
  CHECK(trace.text() == "1");
}

Task<Result<void>> give_up(Pool& pool) {
  std::vector<MessageRef> messages = take_all(pool);
  const Result<MessageRef> refused = co_await timeout(5ms, pool.acquire());
  CHECK(refused.error().code == ErrorCode::timed_out);
  messages.pop_back();
  CHECK(pool.in_use_count() == 3);
  const MessageRef message = co_await ok(pool.acquire());
  CHECK(message.is_held());
  co_return Result<void>();
}

TEST_CASE("a wait for a message can be cancelled, and takes nothing with it") {
  TestLoop test;
  const PoolPointer pool = make_pool(4);
  CHECK(run(test.loop, give_up, *pool).has_value());
  CHECK(pool->in_use_count() == 0);
  CHECK(test.elapsed() == 5ms);
}

Task<Result<void>> cancel_the_middle_one(Scope& scope, Pool* pool, Trace* trace) {
  std::vector<MessageRef> messages = take_all(*pool);
  Scope* middle = nullptr;
  co_await ok(scope.spawn(hold, 1, pool, Duration(1ms), trace));
  co_await ok(scope.spawn(cancellable_part<decltype(&hold), int, Pool*, Duration, Trace*>, &middle, &hold, 2, pool,
                          Duration(1ms), trace));
  co_await ok(scope.spawn(hold, 3, pool, Duration(1ms), trace));
  co_await settle();
  middle->cancel();
  co_await settle();
  messages.clear();
  co_return Result<void>();
}

Task<Result<void>> play_cancel_the_middle_one(Pool& pool, Trace& trace) {
  Pool* pool_address = &pool;
  Trace* trace_address = &trace;
  const Result<void> result = co_await with_scope(ScopeOptions{}, cancel_the_middle_one, pool_address, trace_address);
  static_cast<void>(result);  // cancelled, or not: a matter of scopes
  co_return Result<void>();
}

TEST_CASE("a waiter that is cancelled leaves the others in their order") {
  TestLoop test;
  const PoolPointer pool = make_pool(4);
  Trace trace;
  CHECK(run(test.loop, play_cancel_the_middle_one, *pool, trace).has_value());
  CHECK(trace.text() == "1 3");
  CHECK(pool->in_use_count() == 0);
}

Task<Result<void>> cancelled_after_grant(Scope& scope, Pool* pool, Trace* trace) {
  std::vector<MessageRef> messages = take_all(*pool);
  co_await ok(scope.spawn(hold, 1, pool, Duration(1h), trace));
  co_await ok(yield());
  messages.pop_back();
  scope.cancel();  // the grant was first
  co_return Result<void>();
}

Task<Result<void>> play_cancelled_after_grant(Pool& pool, Trace& trace) {
  Pool* pool_address = &pool;
  Trace* trace_address = &trace;
  co_return co_await with_scope(ScopeOptions{}, cancelled_after_grant, pool_address, trace_address);
}

TEST_CASE("a message that was granted before the cancel is delivered and comes back") {
  TestLoop test;
  const PoolPointer pool = make_pool(4);
  Trace trace;
  CHECK(run(test.loop, play_cancelled_after_grant, *pool, trace).has_value());
  CHECK(trace.text() == "1");
  CHECK(pool->in_use_count() == 0);
  CHECK(test.elapsed() == 0ms);
}

Task<Result<void>> acquire_cancelled(Scope& scope, Pool* pool) {
  scope.cancel();
  const Result<MessageRef> refused = co_await pool->acquire();
  CHECK(refused.error().code == ErrorCode::cancelled);
  CHECK(pool->in_use_count() == 0);
  co_return Result<void>();
}

Task<Result<void>> play_acquire_cancelled(Pool& pool) {
  Pool* pool_address = &pool;
  co_return co_await with_scope(ScopeOptions{}, acquire_cancelled, pool_address);
}

TEST_CASE("in a cancelled context no message is handed out, although there are some") {
  TestLoop test;
  const PoolPointer pool = make_pool(4);
  CHECK(run(test.loop, play_acquire_cancelled, *pool).has_value());
}

// A host that is killed.

Task<Result<void>> wait_in_vain(Pool* pool, uint64_t* ran_count) {
  const MessageRef message = co_await ok(pool->acquire());
  ++*ran_count;
  co_return Result<void>();
}

Task<Result<void>> live_until_killed(Scope& scope, bool grants, uint64_t* ran_count) {
  const PoolPointer pool = make_pool(4);
  std::vector<MessageRef> messages = take_all(*pool);
  MessageRef again = messages.front().ref();
  Pool* pool_address = pool.get();
  co_await ok(scope.spawn(wait_in_vain, pool_address, ran_count));
  co_await ok(scope.spawn(wait_in_vain, pool_address, ran_count));
  co_await ok(yield());
  if (grants) messages.pop_back();
  co_await ok(sleep_for(1h));
  co_return Result<void>();
}

Task<Result<void>> play_live_until_killed(bool grants, uint64_t* ran_count) {
  co_return co_await with_scope(ScopeOptions{}, live_until_killed, grants, ran_count);
}

TEST_CASE("a pool of a dying host goes with messages out, with waiters, and with a grant that nobody took") {
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
      CHECK(ran_count <= (grants ? 2 : 0));  // the first hands its message on to the second
    }
  }
}

TEST_CASE("in a dying host a reference that is dropped touches nothing: its pool may be gone") {
  TestLoop test;
  Loop* const former = Loop::set_current(&test.loop);
  {
    PoolPointer pool = make_pool(4);
    MessageRef first = take(*pool);
    MessageRef second = take(*pool);
    test.loop.mark_dying();
    first.release();
    CHECK(pool->in_use_count() == 2);
    pool.reset();
    second.release();
  }
  Loop::set_current(former);
}

// What is caught.

TEST_CASE("destroying a message pool with messages out is caught") {
  expect_abort(
      [] {
        PoolPointer pool = make_pool(4);
        MessageRef message = take(*pool);
        MessageRef again = message.ref();
        message.release();
        pool.reset();
      },
      "a message pool was destroyed with messages out");
}

TEST_CASE("the message of a reference that was released or moved away is caught") {
  const char* const message = "the message of a reference that holds none";
  expect_abort([] { static_cast<void>(MessageRef().ref()); }, message);
  expect_abort(
      [] {
        const PoolPointer pool = make_pool(4);
        MessageRef reference = take(*pool);
        reference.release();
        static_cast<void>(reference->buffer());
      },
      message);
  expect_abort(
      [] {
        const PoolPointer pool = make_pool(4);
        MessageRef reference = take(*pool);
        const MessageRef moved = std::move(reference);
        static_cast<void>(*reference);
      },
      message);
}

Task<Result<void>> wait_for_ever(Pool* pool) {
  const Result<MessageRef> message = co_await pool->acquire();
  static_cast<void>(message);
  co_return Result<void>();
}

TEST_CASE("destroying a message pool on which somebody waits is caught") {
  expect_abort(
      [] {
        TestLoop test;
        PoolPointer pool = make_pool(4);
        const std::vector<MessageRef> messages = take_all(*pool);
        Root<Result<void>> root(std::source_location::current(), test.loop, wait_for_ever, pool.get());
        test.loop.turn();
        pool.reset();
      },
      "a message pool was destroyed with");
}

TEST_CASE("a buffer that came back is poisoned, or filled, until it is handed out again") {
#if SPINDLE_POISON_WITH_ASAN
  for (const size_t offset : {0u, 300u, 4095u}) {
    auto touch = [offset] {
      const PoolPointer pool = make_pool(4);
      MessageRef message = take(*pool);
      volatile std::byte* const memory = message->buffer().data() + offset;
      *memory = std::byte{1};
      message.release();
      *memory = std::byte{2};
    };
    const Death death = run_in_child(touch);
    CHECK_FALSE(death.has_exited);
    CHECK_MESSAGE(death.text.find("use-after-poison") != std::string::npos, death.text);
  }
#elif SPINDLE_LEDGER
  const PoolPointer pool = make_pool(4);
  MessageRef message = take(*pool);
  const std::span<std::byte> buffer = message->buffer();
  std::memset(buffer.data(), 1, buffer.size());
  message.release();
  CHECK(std::all_of(buffer.begin(), buffer.end(), [](std::byte byte) { return byte == released_fill; }));
#else
  std::printf("SKIP: %s: neither the ledger nor the address sanitizer\n",
              doctest::getContextOptions()->currentTest->m_name);
#endif
}

}  // namespace
}  // namespace spindle
