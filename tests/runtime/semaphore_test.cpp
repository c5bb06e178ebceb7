#include "runtime/semaphore.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>

#include "tests/death.h"
#include "tests/runtime/wait_contract.h"

namespace spindle {
namespace {

class SemaphoreStation {
 public:
  static constexpr bool may_complete_at_once = true;
  Task<Result<void>> hold() {
    Semaphore::Permit permit = co_await ok(semaphore_.acquire(2));
    held_ = std::move(permit);
    co_return Result<void>();
  }
  Task<Result<void>> grant() {
    held_.release();
    co_return Result<void>();
  }
  Task<Result<void>> wait() {
    const Semaphore::Permit permit = co_await ok(semaphore_.acquire());
    CHECK(permit.is_held());
    co_return Result<void>();
  }

 private:
  Semaphore semaphore_{2};
  Semaphore::Permit held_;
};

class MutexStation {
 public:
  static constexpr bool may_complete_at_once = true;
  Task<Result<void>> hold() {
    Mutex::Lock lock = co_await ok(mutex_.lock());
    held_.emplace(std::move(lock));
    co_return Result<void>();
  }
  Task<Result<void>> grant() {
    held_.reset();
    co_return Result<void>();
  }
  Task<Result<void>> wait() {
    const Mutex::Lock lock = co_await ok(mutex_.lock());
    CHECK(&lock.mutex() == &mutex_);
    co_return Result<void>();
  }

 private:
  Mutex mutex_;
  std::optional<Mutex::Lock> held_;
};

Task<Result<void>> acquire_and_fail(Semaphore* semaphore) {
  const Semaphore::Permit permit = co_await ok(semaphore->acquire(3));
  CHECK(semaphore->available() == 0);
  co_await ok(yield());
  auto failing = []() -> Task<Result<void>> { co_return fail(ErrorCode::closed, "inner"); };
  co_await ok(failing());
  co_return Result<void>();
}

Task<Result<void>> see_permit_come_back(Trace*) {
  Semaphore semaphore(3);
  const Result<void> failed = co_await acquire_and_fail(&semaphore);
  CHECK(word_of(failed) == "closed");
  CHECK(semaphore.available() == 3);
  Semaphore::Permit again = co_await ok(semaphore.acquire(3));
  again.release();
  co_return Result<void>();
}

Task<Result<void>> lock_and_fail(Mutex* mutex) {
  const Mutex::Lock lock = co_await ok(mutex->lock());
  co_await ok(sleep_for(std::chrono::seconds(1)));
  auto failing = []() -> Task<Result<void>> { co_return fail(ErrorCode::closed, "inner"); };
  co_await ok(failing());
  co_return Result<void>();
}

Task<Result<void>> see_lock_come_back(Trace*) {
  Mutex mutex;
  const Result<void> failed = co_await lock_and_fail(&mutex);
  CHECK(word_of(failed) == "closed");
  CHECK_FALSE(mutex.is_locked());
  const Result<void> late = co_await timeout(Duration(1), lock_and_fail(&mutex));
  CHECK(word_of(late) == "timed out");
  CHECK_FALSE(mutex.is_locked());
  co_return Result<void>();
}

Task<Result<void>> acquire_and_tell(Semaphore* semaphore, uint64_t count, Trace* trace, Event* leave) {
  Semaphore::Permit permit = co_await ok(semaphore->acquire(count));
  trace->add("got" + std::to_string(count));
  co_await ok(leave->wait());
  co_return Result<void>();
}

using Acquirer = Task<Result<void>> (*)(Semaphore*, uint64_t, Trace*, Event*);

Task<Result<void>> large_request_leaves(Scope& scope, Trace* trace, Semaphore* semaphore, Event* leave) {
  Scope* large = nullptr;
  const uint64_t large_count = 5, first_count = 2, second_count = 1;
  const Acquirer acquirer = acquire_and_tell;
  const auto part = cancellable_part<Acquirer, Semaphore*, uint64_t, Trace*, Event*>;
  Semaphore::Permit held = co_await ok(semaphore->acquire(2));
  co_await ok(scope.spawn(part, &large, acquirer, semaphore, large_count, trace, leave));
  co_await ok(scope.spawn(acquire_and_tell, semaphore, first_count, trace, leave));
  co_await ok(scope.spawn(acquire_and_tell, semaphore, second_count, trace, leave));
  co_await settle();
  CHECK(trace->text() == "");  // three are free, but the one who waits for five came first
  CHECK_FALSE(semaphore->try_acquire(1).has_value());
  large->cancel();
  co_await settle();
  CHECK(trace->text() == "got2 got1");
  CHECK(semaphore->available() == 0);
  leave->set();
  held.release();
  co_return Result<void>();
}

Task<Result<void>> acquire_in_order(Scope& scope, Trace* trace, Semaphore* semaphore, Event* leave) {
  const uint64_t counts[] = {4, 1, 5, 2};
  Semaphore::Permit held = co_await ok(semaphore->acquire(3));
  for (uint64_t count : counts) co_await ok(scope.spawn(acquire_and_tell, semaphore, count, trace, leave));
  co_await settle();
  CHECK(trace->text() == "");
  held.release();
  co_await settle();
  CHECK(trace->text() == "got4 got1");
  leave->set();
  co_await settle();
  CHECK(trace->text() == "got4 got1 got5 got2");
  co_return Result<void>();
}

using Contest = Task<Result<void>> (*)(Scope&, Trace*, Semaphore*, Event*);

Task<Result<void>> hold_contest(Contest contest, Trace* trace) {
  Semaphore semaphore(5);
  Event leave;
  co_await ok(with_scope(ScopeOptions(), contest, trace, &semaphore, &leave));
  CHECK(semaphore.available() == 5);
  co_return Result<void>();
}

Task<Result<void>> hold_lock_and_tell(Mutex* mutex, Trace* trace, int id) {
  Mutex::Lock lock = co_await ok(mutex->lock());
  trace->add("in" + std::to_string(id));
  co_await ok(sleep_for(std::chrono::seconds(1)));
  trace->add("out" + std::to_string(id));
  lock.unlock();
  co_await ok(yield());
  co_return Result<void>();
}

Task<Result<void>> lock_one_by_one(Scope& scope, Trace* trace, Mutex* mutex) {
  for (int id = 1; id <= 3; ++id) co_await ok(scope.spawn(hold_lock_and_tell, mutex, trace, id));
  co_return Result<void>();
}

Task<Result<void>> exclude_one_another(Trace* trace) {
  Mutex mutex;
  co_await ok(with_scope(ScopeOptions(), lock_one_by_one, trace, &mutex));
  CHECK_FALSE(mutex.is_locked());
  co_return Result<void>();
}

Task<Result<void>> die_locked() {
  auto mutex = std::make_unique<Mutex>();
  const Mutex::Lock lock = co_await ok(mutex->lock());
  mutex.reset();
  co_return Result<void>();
}

Task<Result<void>> unlock_then_ask() {
  Mutex mutex;
  Mutex::Lock lock = co_await ok(mutex.lock());
  lock.unlock();
  lock.unlock();  // once is enough, twice does no harm
  static_cast<void>(lock.mutex());
  co_return Result<void>();
}

TEST_SUITE_BEGIN("semaphore and mutex");

TEST_CASE("a semaphore keeps what every wait promises") { check_wait_contract<SemaphoreStation>(); }

TEST_CASE("a mutex keeps what every wait promises") { check_wait_contract<MutexStation>(); }

TEST_CASE("a permit comes back on an early exit before the parent sees the error") {
  TestLoop test;
  CHECK(run(test.loop, see_permit_come_back, nullptr).has_value());
}

TEST_CASE("a lock comes back on an early exit or timeout before the parent sees the error") {
  TestLoop test;
  CHECK(run(test.loop, see_lock_come_back, nullptr).has_value());
}

TEST_CASE("a large request that is cancelled lets the smaller ones behind it pass") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, hold_contest, large_request_leaves, &trace).has_value());
}

TEST_CASE("small requests do not overtake a large one that came before") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, hold_contest, acquire_in_order, &trace).has_value());
}

TEST_CASE("a mutex lets one in at a time") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, exclude_one_another, &trace).has_value());
  CHECK(trace.text() == "in1 out1 in2 out2 in3 out3");
  CHECK(test.elapsed() == std::chrono::seconds(3));
}

TEST_CASE("try_acquire() takes what is free, and says so where nothing is") {
  Semaphore semaphore(3);
  Result<Semaphore::Permit> two = semaphore.try_acquire(2);
  CHECK(two.has_value());
  CHECK(semaphore.try_acquire(2).error().code == ErrorCode::exhausted);
  CHECK(semaphore.available() == 1);
  two->release();
  two->release();  // once is enough
  CHECK(semaphore.available() == 3);
}

TEST_CASE("a permit moves, and is given back once") {
  Semaphore semaphore(3);
  {
    Semaphore::Permit first = *semaphore.try_acquire(1);
    Semaphore::Permit second = std::move(first);
    CHECK(second.is_held());
    CHECK(semaphore.available() == 2);
    second = *semaphore.try_acquire(2);  // what it held before goes back
    CHECK(semaphore.available() == 1);
  }
  CHECK(semaphore.available() == 3);
}

TEST_CASE("misuse of a semaphore is caught") {
  expect_abort(
      [] {
        Semaphore semaphore(2);
        static_cast<void>(semaphore.acquire(3));
      },
      "more units were asked of a semaphore than it has");
  expect_abort(
      [] {
        auto semaphore = std::make_unique<Semaphore>(2);
        const Semaphore::Permit permit = *semaphore->try_acquire(1);
        semaphore.reset();
      },
      "a semaphore was destroyed with permits out");
}

TEST_CASE("misuse of a mutex is caught") {
  expect_abort(
      [] {
        TestLoop test;
        static_cast<void>(run(test.loop, die_locked));
      },
      "a mutex was destroyed while it was locked");
  expect_abort(
      [] {
        TestLoop test;
        static_cast<void>(run(test.loop, unlock_then_ask));
      },
      "a lock that holds no mutex");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
