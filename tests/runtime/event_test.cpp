#include "runtime/event.h"

#include <doctest/doctest.h>

#include <memory>

#include "runtime/root.h"
#include "tests/death.h"
#include "tests/runtime/wait_contract.h"

namespace spindle {
namespace {

class EventStation {
 public:
  static constexpr bool may_complete_at_once = true;
  Task<Result<void>> hold() {
    event_.reset();
    co_return Result<void>();
  }
  Task<Result<void>> grant() {
    event_.set();
    co_return Result<void>();
  }
  Task<Result<void>> wait() { co_return co_await event_.wait(); }

 private:
  Event event_;
};

class LatchStation {
 public:
  static constexpr bool may_complete_at_once = true;
  Task<Result<void>> hold() { co_return Result<void>(); }
  Task<Result<void>> grant() {
    if (latch_.count() > 0) latch_.count_down(2);
    co_return Result<void>();
  }
  Task<Result<void>> wait() { co_return co_await latch_.wait(); }

 private:
  Latch latch_{2};
};

Task<Result<void>> wait_and_tell(Event* event, Trace* trace, const char* word) {
  co_await ok(event->wait());
  trace->add(word);
  co_return Result<void>();
}

Task<Result<void>> set_and_reset(Scope& scope, Trace& trace) {
  Event event;
  co_await ok(scope.spawn(wait_and_tell, &event, &trace, "first"));
  co_await settle();
  event.set();
  event.reset();
  CHECK_FALSE(event.is_set());
  co_await ok(scope.spawn(wait_and_tell, &event, &trace, "second"));
  co_await settle();
  CHECK(trace.text() == "first");
  event.set();
  co_await settle();
  CHECK(trace.text() == "first second");
  event.reset();
  co_return Result<void>();
}

Task<Result<void>> count_latch_down(Scope& scope, Trace& trace) {
  Latch latch(3);
  latch.count_down();
  CHECK(latch.count() == 2);
  Latch open(0);
  co_await ok(open.wait());
  trace.add("open");
  static_cast<void>(scope);
  latch.count_down(2);
  co_await ok(latch.wait());
  trace.add("counted");
  co_return Result<void>();
}

Task<Result<void>> die_waited_for(Scope& scope, Trace& trace) {
  auto event = std::make_unique<Event>();
  co_await ok(scope.spawn(wait_and_tell, event.get(), &trace, "never"));
  co_await settle();
  event.reset();
  co_return Result<void>();
}

using Body = Task<Result<void>> (*)(Scope&, Trace&);

Result<void> run_in_scope(Body body, Trace& trace) {
  TestLoop test;
  return run(test.loop, with_scope<Body, Trace&>, ScopeOptions{}, body, trace);
}

TEST_SUITE_BEGIN("event");

TEST_CASE("an event keeps what every wait promises") { check_wait_contract<EventStation>(); }

TEST_CASE("a latch keeps what every wait promises") { check_wait_contract<LatchStation>(); }

TEST_CASE("who waited when an event was set is woken although it was reset at once") {
  Trace trace;
  CHECK(run_in_scope(set_and_reset, trace).has_value());
}

TEST_CASE("a latch opens when it was counted down to zero, and one of zero is open") {
  Trace trace;
  CHECK(run_in_scope(count_latch_down, trace).has_value());
  CHECK(trace.text() == "open counted");
}

TEST_CASE("an event or latch that is destroyed outside of any loop, with nobody waiting, is fine") {
  Event event;
  event.set();
  Latch latch(1);
  CHECK(event.is_set());
  CHECK(latch.count() == 1);
}

TEST_CASE("an event that dies while a task waits on it is a caught bug") {
  Trace trace;
  expect_abort([&] { static_cast<void>(run_in_scope(die_waited_for, trace)); },
               "a wait primitive was destroyed with tasks waiting on it");
}

TEST_CASE("a latch that is counted below zero is a caught bug") {
  expect_abort(
      [] {
        Latch latch(2);
        latch.count_down(3);
      },
      "a latch was counted down below zero");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
