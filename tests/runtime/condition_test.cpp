#include "runtime/condition.h"

#include <doctest/doctest.h>

#include <string>

#include "tests/death.h"
#include "tests/runtime/wait_contract.h"

namespace spindle {
namespace {

class ConditionStation {
 public:
  static constexpr bool may_complete_at_once = false;
  Task<Result<void>> hold() { co_return Result<void>(); }
  Task<Result<void>> grant() {
    condition_.notify_one();
    co_return Result<void>();
  }
  Task<Result<void>> wait() {
    Mutex::Lock lock = co_await ok(shield(mutex_.lock()));
    const Result<void> result = co_await condition_.wait(lock);
    CHECK(mutex_.is_locked());
    co_return result;
  }

 private:
  Mutex mutex_;
  Condition condition_;
};

/// A number that tasks wait to see at zero.
struct Shared {
  Mutex mutex;
  Condition condition;
  int value = 3;
  Trace trace;
};

Task<Result<void>> wait_for_zero(Shared* shared, int id) {
  Mutex::Lock lock = co_await ok(shared->mutex.lock());
  while (shared->value > 0) co_await ok(shared->condition.wait(lock));
  CHECK(shared->mutex.is_locked());
  shared->trace.add("zero" + std::to_string(id));
  co_return Result<void>();
}

Task<Result<void>> count_down(Shared* shared) {
  for (int step = 0; step < 3; ++step) {
    const Mutex::Lock lock = co_await ok(shared->mutex.lock());
    --shared->value;
    shared->condition.notify_all();
    shared->trace.add("step");
    co_await ok(yield());
  }
  co_return Result<void>();
}

Task<Result<void>> predicate_in_a_loop(Scope& scope, Shared* shared) {
  co_await ok(scope.spawn(wait_for_zero, shared, 1));
  co_await ok(scope.spawn(wait_for_zero, shared, 2));
  co_await settle();
  CHECK_FALSE(shared->mutex.is_locked());  // waiting gives the lock up
  co_await ok(count_down(shared));
  co_await settle();
  CHECK(shared->trace.text() == "step step step zero1 zero2");
  co_return Result<void>();
}

Task<Result<void>> wait_once(Shared* shared, int id) {
  Mutex::Lock lock = co_await ok(shared->mutex.lock());
  const Result<void> result = co_await shared->condition.wait(lock);
  CHECK(shared->mutex.is_locked());
  shared->trace.add(word_of(result) + std::to_string(id));
  co_return Result<void>();
}

using Waiting = Task<Result<void>> (*)(Shared*, int);

Task<Result<void>> cancel_while_locked(Scope& scope, Shared* shared) {
  Scope* part_scope = nullptr;
  const int id = 1;
  const Waiting waiting = wait_once;
  const auto part = cancellable_part<Waiting, Shared*, int>;
  co_await ok(scope.spawn(part, &part_scope, waiting, shared, id));
  co_await settle();
  Mutex::Lock lock = co_await ok(shared->mutex.lock());
  part_scope->cancel();
  co_await settle();
  CHECK(shared->trace.text() == "");  // cancelled, but it comes back with the lock or not at all
  lock.unlock();
  co_await settle();
  CHECK(shared->trace.text() == "cancelled1");
  CHECK_FALSE(shared->mutex.is_locked());
  co_return Result<void>();
}

Task<Result<void>> notify_then_cancel_while_locked(Scope& scope, Shared* shared) {
  Scope* part_scope = nullptr;
  const int id = 1;
  const Waiting waiting = wait_once;
  const auto part = cancellable_part<Waiting, Shared*, int>;
  co_await ok(scope.spawn(part, &part_scope, waiting, shared, id));
  co_await settle();
  Mutex::Lock lock = co_await ok(shared->mutex.lock());
  shared->condition.notify_one();
  part_scope->cancel();  // it was notified before: getting the lock back can't be cancelled
  co_await settle();
  CHECK(shared->trace.text() == "");
  lock.unlock();
  co_await settle();
  CHECK(shared->trace.text() == "ok1");
  co_return Result<void>();
}

Task<Result<void>> notified_queue_for_the_lock(Scope& scope, Shared* shared) {
  co_await ok(scope.spawn(wait_once, shared, 1));
  co_await ok(scope.spawn(wait_once, shared, 2));
  co_await settle();
  Mutex::Lock lock = co_await ok(shared->mutex.lock());
  co_await ok(scope.spawn(wait_for_zero, shared, 3));
  co_await settle();
  shared->value = 0;
  shared->condition.notify_all();
  lock.unlock();
  co_await settle();
  CHECK(shared->trace.text() == "zero3 ok1 ok2");  // who asked for the lock before the notify has it before
  co_return Result<void>();
}

Task<Result<void>> notify_nobody(Scope&, Shared* shared) {
  shared->condition.notify_one();
  shared->condition.notify_all();
  const Result<void> late = co_await timeout(std::chrono::seconds(1), wait_once(shared, 1));
  CHECK(late.has_value());
  CHECK(shared->trace.text() == "cancelled1");  // a notify is not kept for who comes later
  co_return Result<void>();
}

Task<Result<void>> wait_unlocked(Scope&, Shared* shared) {
  Mutex::Lock lock = co_await ok(shared->mutex.lock());
  lock.unlock();
  co_await ok(shared->condition.wait(lock));
  co_return Result<void>();
}

using Story = Task<Result<void>> (*)(Scope&, Shared*);

void tell(Story story) {
  TestLoop test;
  Shared shared;
  CHECK(run(test.loop, with_scope<Story, Shared*>, ScopeOptions{}, story, &shared).has_value());
  CHECK_FALSE(shared.mutex.is_locked());
}

TEST_SUITE_BEGIN("condition");

TEST_CASE("a condition keeps what every wait promises") { check_wait_contract<ConditionStation>(); }

TEST_CASE("a predicate is waited for in a loop, with the lock held when it is seen") { tell(predicate_in_a_loop); }

TEST_CASE("a cancelled waiter gets its lock back before it goes on") { tell(cancel_while_locked); }

TEST_CASE("who was notified before the cancel succeeds, with the lock") { tell(notify_then_cancel_while_locked); }

TEST_CASE("the notified wait for the lock behind those who asked before") { tell(notified_queue_for_the_lock); }

TEST_CASE("a notify that nobody waits for is lost") { tell(notify_nobody); }

TEST_CASE("waiting without the lock is a caught bug") {
  expect_abort([] { tell(wait_unlocked); }, "a lock that holds no mutex");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
