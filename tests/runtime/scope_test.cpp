#include "runtime/scope.h"

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

Task<Result<void>> sleep_then_tell(Trace* trace, int id, Duration duration) {
  const Probe local(*trace, std::to_string(id));
  const Result<void> slept = co_await sleep_for(duration);
  trace->add(word_of(slept) + std::to_string(id));
  co_return slept;
}

Task<Result<void>> fail_after(Trace* trace, Duration duration, ErrorCode code) {
  co_await ok(sleep_for(duration));
  trace->add("fails");
  co_return fail(code, "child");
}

Task<void> plain_child(Trace* trace) {
  trace->add("plain");
  co_return;
}

/// Notes, when it dies, how many children its scope still counts.
class LastLook {
 public:
  LastLook(Scope& scope, uint32_t* seen_count) noexcept : scope_(scope), seen_count_(seen_count) {}
  ~LastLook() { *seen_count_ = scope_.live_count(); }

 private:
  Scope& scope_;
  uint32_t* seen_count_;
};

Task<Result<void>> look_around(Scope* scope, uint32_t* seen_count) {
  const LastLook look(*scope, seen_count);
  co_await ok(timeout(Duration(1), sleep_for(seconds(1))));  // leaves here; its owner destroys the frame
  co_return Result<void>();
}

Task<Result<void>> spawn_one_who_looks(Scope& scope, uint32_t* seen_count) {
  co_await ok(scope.spawn(look_around, &scope, seen_count));
  co_return Result<void>();
}

Task<Result<int>> value_child(Trace* trace) {
  trace->add("value");
  co_return 9;
}

template <class T>
class ScopeRun {
 public:
  template <class Body, class... Args>
  Result<T> operator()(ScopeOptions options, Body body, Args... args) {
    return run(test.loop, with_scope<Body, Args&...>, options, body, args...);
  }
  TestLoop test;
};

Task<Result<std::unique_ptr<int>>> leave_children(Scope& scope, Trace* trace) {
  const Probe local(*trace, "body");
  co_await ok(scope.spawn(sleep_then_tell, trace, 1, seconds(1)));
  co_await ok(scope.spawn(sleep_then_tell, trace, 2, seconds(2)));
  co_await ok(scope.spawn(plain_child, trace));
  co_await ok(scope.spawn(value_child, trace));
  CHECK(scope.live_count() == 4);
  co_return std::make_unique<int>(3);
}

Task<Result<void>> run_then_tell(Trace* trace) {
  std::unique_ptr<int> value = co_await ok(with_scope(ScopeOptions(), leave_children, trace));
  CHECK(*value == 3);
  trace->add("joined");
  co_return Result<void>();
}

Task<Result<void>> spawn_a_failing_one(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_then_tell, trace, 1, hours(1)));
  co_await ok(scope.spawn(fail_after, trace, seconds(1), ErrorCode::closed));
  co_await ok(scope.spawn(fail_after, trace, seconds(2), ErrorCode::exhausted));
  const Result<void> slept = co_await sleep_for(seconds(5));
  trace->add("body:" + word_of(slept));
  co_return Result<void>();
}

Task<Result<void>> fail_as_body(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_then_tell, trace, 1, hours(1)));
  co_await ok(sleep_for(seconds(1)));
  co_return fail(ErrorCode::closed, "body");
}

Task<Result<void>> fail_after_children(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(fail_after, trace, seconds(0), ErrorCode::exhausted));
  const Result<void> rested = co_await shield(sleep_for(seconds(1)));
  static_cast<void>(rested);
  co_return fail(ErrorCode::closed, "body");
}

Task<Result<void>> cancel_own(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_then_tell, trace, 1, hours(1)));
  co_await ok(sleep_for(seconds(1)));
  scope.cancel();
  CHECK(scope.is_cancelled());
  co_await ok(sleep_for(seconds(1)));
  co_return Result<void>();
}

Task<Result<int>> cancel_own_with_value(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_then_tell, trace, 1, hours(1)));
  co_await ok(yield());
  scope.cancel();
  co_return 12;
}

Task<Result<void>> wait_with_a_child(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_then_tell, trace, 1, hours(1)));
  co_await ok(sleep_for(hours(1)));
  co_return Result<void>();
}

Task<Result<void>> return_with_a_child(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_then_tell, trace, 1, hours(1)));
  co_return Result<void>();
}

Task<Result<void>> fail_as_cancelled(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(fail_after, trace, seconds(0), ErrorCode::cancelled));
  co_return Result<void>();
}

Task<Result<void>> multiply(Scope* scope, Trace* trace, int depth) {
  trace->add("d" + std::to_string(depth));
  co_await ok(yield());
  if (depth == 0) co_return Result<void>();
  co_await ok(scope->spawn(multiply, scope, trace, depth - 1));
  co_await ok(scope->spawn(multiply, scope, trace, depth - 1));
  co_return Result<void>();
}

Task<Result<void>> spawn_from_children(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(multiply, &scope, trace, 3));
  co_return Result<void>();
}

Task<Result<void>> store_scope(Scope& scope, Scope** place) {
  *place = &scope;
  co_return Result<void>();
}

Task<Result<void>> keep_probe(Trace* trace, Probe probe) {
  trace->add("has-" + probe.name());
  co_await ok(yield());
  co_return Result<void>();
}

Task<Result<void>> spawn_in_cancelled(Scope& scope, Trace* trace) {
  scope.cancel();
  const Result<void> spawned = co_await scope.spawn(keep_probe, trace, Probe(*trace, "first"));
  trace->add(word_of(spawned));
  co_await ok(scope.spawn(keep_probe, trace, Probe(*trace, "second")));
  trace->add("unreached");
  co_return Result<void>();
}

Task<Result<void>> spawn_with_probe(Scope& scope, Trace* trace) {
  const Result<void> spawned = co_await scope.spawn(keep_probe, trace, Probe(*trace, "p"));
  trace->add(word_of(spawned));
  co_return Result<void>();
}

Task<Result<void>> sleep_briefly(Trace* trace, int* live_count, int* live_max) {
  const Probe local(*trace, "child");
  ++*live_count;
  if (*live_count > *live_max) *live_max = *live_count;
  co_await ok(sleep_for(seconds(1)));
  --*live_count;
  co_return Result<void>();
}

Task<Result<void>> spawn_many(Scope& scope, Trace* trace, int* live_max) {
  int live_count = 0;
  for (int index = 0; index < 10; ++index) {
    co_await ok(scope.spawn(sleep_briefly, trace, &live_count, live_max));
    CHECK(scope.live_count() <= 3);
    // A place is free only once the frame of a former child is gone.
    CHECK(Probe::live_count <= 3);
  }
  co_await ok(sleep_for(seconds(5)));  // `live_count` outlives the children
  co_return Result<void>();
}

Task<Result<void>> refuse_to_be_made(int) { co_return Result<void>(); }

/// A plain function, not a coroutine: it throws before there is a task.
SPINDLE_TASK_WRAPPER Task<Result<void>> throw_instead_of_task() {
  if (Loop::has_current()) throw std::runtime_error("no task");
  return refuse_to_be_made(1);
}

Task<Result<void>> spawn_what_throws(Scope& scope) {
  co_await ok(scope.spawn(throw_instead_of_task));
  co_return Result<void>();
}

Task<Result<void>> expect_throw(bool* is_caught) {
  try {
    const Result<void> result = co_await with_scope(ScopeOptions(), spawn_what_throws);
    static_cast<void>(result);
  } catch (const std::runtime_error&) {
    *is_caught = true;
  }
  co_return Result<void>();
}

Task<Result<void>> nested_scopes(Scope& scope, Trace* trace) {
  co_await ok(with_scope(ScopeOptions(), fail_as_body, trace));
  static_cast<void>(scope);
  trace->add("unreached");
  co_return Result<void>();
}

template <class Body>
Result<void> cancel_outside(Body body, Trace* trace) {
  TestLoop test;
  Root<Result<void>> root(std::source_location::current(), test.loop, with_scope<Body&, Trace*&>, ScopeOptions{}, body,
                          trace);
  test.drive_ready();
  CHECK_FALSE(root.is_done());
  root.cancel();
  test.drive();
  return root.take();
}

TEST_SUITE_BEGIN("scope");

TEST_CASE("with_scope() returns the body's value, after all children have ended and their frames are gone") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, run_then_tell, &trace).has_value());
  CHECK(trace.text() == "~body plain value ok1 ~1 ok2 ~2 joined");
  CHECK(Probe::live_count == 0);
}

TEST_CASE("a child counts until its frame is gone, after an early exit too") {
  ScopeRun<void> scoped;
  uint32_t seen_count = 0;
  CHECK_FALSE(scoped(ScopeOptions(), spawn_one_who_looks, &seen_count).has_value());
  CHECK(seen_count == 1);
}

TEST_CASE("the first error cancels siblings and body, and is the result") {
  ScopeRun<void> scoped;
  Trace trace;
  const Result<void> result = scoped({}, spawn_a_failing_one, &trace);
  CHECK(result.error().code == ErrorCode::closed);
  CHECK(std::string(result.error().where) == "child");
  CHECK(trace.text() == "fails body:cancelled cancelled1 ~1");
  CHECK(scoped.test.elapsed() == seconds(1));
}

TEST_CASE("an error of the body cancels the children") {
  ScopeRun<void> scoped;
  Trace trace;
  const Result<void> result = scoped({}, fail_as_body, &trace);
  CHECK(std::string(result.error().where) == "body");
  CHECK(trace.text() == "cancelled1 ~1");
  CHECK(scoped.test.elapsed() == seconds(1));
}

TEST_CASE("of several errors the first is the result") {
  ScopeRun<void> scoped;
  Trace trace;
  CHECK(scoped({}, fail_after_children, &trace).error().code == ErrorCode::exhausted);
}

TEST_CASE("a collecting scope lets all go on, and its result is the first error") {
  ScopeRun<void> scoped;
  Trace trace;
  const Result<void> result = scoped({.on_error = OnError::collect}, spawn_a_failing_one, &trace);
  CHECK(result.error().code == ErrorCode::closed);
  CHECK(trace.text() == "fails fails body:ok ok1 ~1");
  CHECK(scoped.test.elapsed() == hours(1));
}

TEST_CASE("being cancelled by the own scope is no error of the scope") {
  ScopeRun<void> scoped;
  Trace trace;
  CHECK(scoped({}, cancel_own, &trace).has_value());
  CHECK(trace.text() == "cancelled1 ~1");
  ScopeRun<int> valued;
  CHECK(valued({}, cancel_own_with_value, &trace).value() == 12);
}

TEST_CASE("a child that fails as cancelled, uncalled for, is an error of the scope") {
  ScopeRun<void> scoped;
  Trace trace;
  CHECK(scoped({}, fail_as_cancelled, &trace).error().code == ErrorCode::cancelled);
}

TEST_CASE("a cancel from outside reaches the children, joins them, and is the result") {
  Trace trace;
  CHECK(cancel_outside(wait_with_a_child, &trace).error().code == ErrorCode::cancelled);
  CHECK(trace.text() == "cancelled1 ~1");
  trace.clear();
  CHECK(cancel_outside(return_with_a_child, &trace).error().code == ErrorCode::cancelled);
  CHECK(trace.text() == "cancelled1 ~1");
}

TEST_CASE("an inner scope's error ends the outer one through ok()") {
  ScopeRun<void> scoped;
  Trace trace;
  CHECK(std::string(scoped({}, nested_scopes, &trace).error().where) == "body");
  CHECK(trace.text() == "cancelled1 ~1");
}

TEST_CASE("children may spawn while the scope is being joined") {
  ScopeRun<void> scoped;
  Trace trace;
  CHECK(scoped({}, spawn_from_children, &trace).has_value());
  CHECK(trace.text() == "d3 d2 d2 d1 d1 d1 d1 d0 d0 d0 d0 d0 d0 d0 d0");
}

TEST_CASE("an empty scope ends at once") {
  TestLoop test;
  Scope* scope = nullptr;
  CHECK(run(test.loop, with_scope<decltype(&store_scope), Scope**>, ScopeOptions{}, &store_scope, &scope).has_value());
  CHECK(scope != nullptr);
  CHECK(test.elapsed() == seconds(0));
}

TEST_CASE("a refused spawn drops its arguments") {
  ScopeRun<void> scoped;
  Trace trace;
  CHECK(scoped({}, spawn_in_cancelled, &trace).has_value());
  CHECK(trace.text() == "~first cancelled ~second");
  CHECK(Probe::live_count == 0);
}

TEST_CASE("a child owns its arguments, and they die with its frame") {
  ScopeRun<void> scoped;
  Trace trace;
  CHECK(scoped({}, spawn_with_probe, &trace).has_value());
  CHECK(trace.text() == "ok has-p ~p");
  CHECK(Probe::live_count == 0);
}

TEST_CASE("no more than children_max run at once; spawn() waits for the frame of a former child to be gone") {
  ScopeRun<void> scoped;
  Trace trace;
  int live_max = 0;
  CHECK(scoped({.children_max = 3}, spawn_many, &trace, &live_max).has_value());
  CHECK(live_max == 3);
  CHECK(Probe::live_count == 0);
}

TEST_CASE("a spawned function that throws before there is a task takes no place in the scope") {
  TestLoop test;
  bool is_caught = false;
  Root<Result<void>> root(std::source_location::current(), test.loop, expect_throw, &is_caught);
  test.drive();
  CHECK(root.is_done());
  CHECK(is_caught);
  if (!root.is_done()) test.loop.mark_dying();
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
