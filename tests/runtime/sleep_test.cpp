#include "runtime/sleep.h"

#include <doctest/doctest.h>

#include <string>

#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

Task<Result<void>> sleep_then_tell(Duration duration, Trace* trace, int id) {
  const Result<void> slept = co_await sleep_for(duration);
  trace->add(word_of(slept) + std::to_string(id));
  co_return Result<void>();
}

Task<Result<void>> tell(Trace* trace, const char* word) {
  trace->add(word);
  co_return Result<void>();
}

Task<Result<void>> spawn_sleepers(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_then_tell, seconds(3), trace, 3));
  co_await ok(scope.spawn(sleep_then_tell, seconds(1), trace, 1));
  co_await ok(scope.spawn(sleep_then_tell, seconds(2), trace, 2));
  co_await ok(scope.spawn(sleep_then_tell, seconds(1), trace, 4));
  co_return Result<void>();
}

Task<Result<void>> sleep_not_at_all(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(tell, trace, "other"));
  co_await ok(sleep_for(seconds(0)));
  co_await ok(sleep_for(seconds(-4)));
  co_await ok(sleep_until(Loop::current().now()));
  co_await ok(sleep_until(Time()));
  trace->add("slept");
  co_await ok(yield());
  trace->add("yielded");
  co_return Result<void>();
}

using Part = Task<Result<void>> (*)(Duration, Trace*, int);

Task<Result<void>> cancel_sleepers(Scope& scope, Trace* trace) {
  Scope* parts[2] = {};
  const Part part = sleep_then_tell;
  const auto spawned = cancellable_part<Part, Duration, Trace*, int>;
  const Duration second = seconds(1);
  co_await ok(scope.spawn(spawned, &parts[0], part, second, trace, 0));
  co_await ok(scope.spawn(spawned, &parts[1], part, second, trace, 1));
  co_await settle();
  parts[0]->cancel();
  co_await settle();
  CHECK(trace->text() == "cancelled0");
  CHECK(Loop::current().timers().size() == 1);
  co_await ok(sleep_for(seconds(2)));
  CHECK(trace->text() == "cancelled0 ok1");
  co_return Result<void>();
}

Task<Result<void>> cancel_after_it_fired(Scope& scope, Trace* trace) {
  Scope* part_scope = nullptr;
  const Part part = sleep_then_tell;
  const auto spawned = cancellable_part<Part, Duration, Trace*, int>;
  const Duration second = seconds(1);
  // Armed first, this task wakes first at the same deadline, while the other one is queued.
  co_await ok(scope.spawn(spawned, &part_scope, part, second, trace, 0));
  co_await ok(sleep_for(second));
  part_scope->cancel();
  CHECK(trace->text() == "");
  co_await settle();
  CHECK(trace->text() == "ok0");
  co_return Result<void>();
}

Task<Result<void>> yield_then_cancel(Scope& scope, Trace* trace) {
  scope.cancel();
  const Result<void> yielded = co_await yield();
  trace->add(word_of(yielded));
  co_return Result<void>();
}

Task<Result<void>> yield_twice(Trace* trace) {
  const Result<void> first = co_await yield();
  trace->add(word_of(first));
  const Result<void> second = co_await yield();
  trace->add(word_of(second));
  co_return Result<void>();
}

Task<Result<void>> cancel_a_yielding_one(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(yield_twice, trace));
  co_await ok(yield());
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> sleep_for_ever() { co_return co_await sleep_for(Duration::max()); }

using Body = Task<Result<void>> (*)(Scope&, Trace*);

std::string trace_of(Body body, Duration elapsed) {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, with_scope<Body, Trace*>, ScopeOptions{}, body, &trace).has_value());
  CHECK(test.elapsed() == elapsed);
  CHECK(test.loop.timers().empty());
  return trace.text();
}

TEST_SUITE_BEGIN("sleep and yield");

TEST_CASE("sleepers wake when their time has come, in order") {
  CHECK(trace_of(spawn_sleepers, seconds(3)) == "ok1 ok4 ok2 ok3");
}

TEST_CASE("a time that has passed completes at once, a yield lets others run") {
  CHECK(trace_of(sleep_not_at_all, seconds(0)) == "slept other yielded");
}

TEST_CASE("a cancelled sleeper wakes at once and leaves no timer") {
  CHECK(trace_of(cancel_sleepers, seconds(2)) == "cancelled0 ok1");
}

TEST_CASE("a sleep whose time had come before the cancel succeeds") {
  CHECK(trace_of(cancel_after_it_fired, seconds(1)) == "ok0");
}

TEST_CASE("in a cancelled context a yield is refused, one that was under way succeeds") {
  CHECK(trace_of(yield_then_cancel, seconds(0)) == "cancelled");
  CHECK(trace_of(cancel_a_yielding_one, seconds(0)) == "ok cancelled");
}

TEST_CASE("the longest sleep does not end") {
  TestLoop test;
  Root<Result<void>> root(std::source_location::current(), test.loop, sleep_for_ever);
  test.drive_ready();
  test.reactor.advance(hours(24 * 365 * 100));
  test.drive_ready();
  CHECK_FALSE(root.is_done());
  root.cancel();
  test.drive_ready();
  CHECK(root.is_done());
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
