#include "runtime/task.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

Task<int> give(int value) { co_return value; }
Task<void> do_nothing() { co_return; }
Task<Result<int>> give_ok(int value) { co_return value; }
Task<std::unique_ptr<int>> give_box(std::unique_ptr<int> box) { co_return std::move(box); }
Task<Result<std::unique_ptr<int>>> give_ok_box(std::unique_ptr<int> box) { co_return std::move(box); }

Task<Result<int>> move_boxes() {
  std::unique_ptr<int> box = co_await give_box(std::make_unique<int>(20));
  std::unique_ptr<int> other = co_await ok(give_ok_box(std::move(box)));
  co_return *other + 1;
}

Task<Result<void>> hold_argument(Probe argument, bool waits) {
  static_cast<void>(argument);
  if (!waits) co_return Result<void>();
  co_await ok(yield());
  co_return Result<void>();
}

Task<Result<void>> see_arguments_die(Trace* trace) {
  co_await ok(hold_argument(Probe(*trace, "now"), false));
  trace->add("after");
  const Result<void> second = co_await hold_argument(Probe(*trace, "later"), true);
  trace->add(word_of(second));
  auto named = hold_argument(Probe(*trace, "named"), true);
  const Result<void> third = co_await std::move(named);
  trace->add(word_of(third));
  co_return Result<void>();
}

Task<Result<void>> is_lazy(Trace* trace) {
  trace->add("began");
  co_return Result<void>();
}

Task<Result<void>> starts_when_awaited(Trace* trace) {
  auto task = is_lazy(trace);
  trace->add("made");
  co_await ok(std::move(task));
  co_return Result<void>();
}

Task<Result<void>> never_starts(Trace* trace) {
  {
    const auto dropped = hold_argument(Probe(*trace, "dropped"), false);
    static_cast<void>(dropped);
    CHECK(trace->text() == "");
  }
  trace->add("after");
  co_return Result<void>();
}

Task<uint64_t> sum_of_completions(uint64_t count) {
  uint64_t sum = 0;
  for (uint64_t index = 0; index < count; ++index) {
    const int one = co_await give(1);
    co_await do_nothing();
    sum += static_cast<uint64_t>(one);
  }
  co_return sum;
}

Task<Result<uint64_t>> sum_of_ok(uint64_t count) {
  uint64_t sum = 0;
  for (uint64_t index = 0; index < count; ++index) {
    const int one = co_await ok(give_ok(1));
    sum += static_cast<uint64_t>(one);
  }
  co_return sum;
}

Task<Result<uint64_t>> pass_open_event(uint64_t count) {
  Event event;
  event.set();
  for (uint64_t index = 0; index < count; ++index) {
    co_await ok(event.wait());
    const Result<void> again = co_await event.wait();
    static_cast<void>(again);
  }
  co_return count;
}

enum class Ending { value, suspended_value, error, exception };

Task<Result<int>> descend(int depth, Ending ending) {
  if (depth == 0) {
    if (ending == Ending::error) co_return fail(ErrorCode::closed, "bottom");
    if (ending == Ending::exception) throw std::runtime_error("bottom");
    if (ending == Ending::suspended_value) co_await ok(yield());
    co_return 0;
  }
  const int below = co_await ok(descend(depth - 1, ending));
  co_return below + 1;
}

Task<int> descend_plainly(int depth) {
  if (depth == 0) co_return 0;
  const int below = co_await descend_plainly(depth - 1);
  co_return below + 1;
}

Task<Result<void>> await_moved_away() {
  auto task = give_ok(1);
  const Result<int> first = co_await std::move(task);
  const Result<int> second = co_await std::move(task);
  static_cast<void>(first);
  static_cast<void>(second);
  co_return Result<void>();
}

Task<Result<void>> wait_for_event(Event* event) { co_return co_await event->wait(); }

using SharedTask = std::optional<Task<Result<void>>>;

Task<Result<void>> await_shared(SharedTask* task) { co_return co_await std::move(**task); }

Task<Result<void>> await_twice_at_once(Scope& scope) {
  Event event;
  SharedTask task(wait_for_event(&event));
  co_await ok(scope.spawn(await_shared, &task));
  co_await ok(scope.spawn(await_shared, &task));
  co_await settle();
  co_return Result<void>();
}

Task<Result<void>> destroy_while_it_runs(Scope& scope) {
  Event event;
  SharedTask task(wait_for_event(&event));
  co_await ok(scope.spawn(await_shared, &task));
  co_await settle();
  task.reset();
  co_return Result<void>();
}

TEST_SUITE_BEGIN("task");

TEST_CASE("a task gives its value to who awaits it, move-only ones too") {
  TestLoop test;
  CHECK(run(test.loop, give, 7) == 7);
  CHECK(run(test.loop, give_ok, 8).value() == 8);
  CHECK(run(test.loop, move_boxes).value() == 21);
  const std::unique_ptr<int> box = run(test.loop, give_box, std::make_unique<int>(5));
  CHECK(*box == 5);
  run(test.loop, do_nothing);
}

TEST_CASE("a task begins when it is awaited, not when it is made") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, starts_when_awaited, &trace).has_value());
  CHECK(trace.text() == "made began");
}

TEST_CASE("the frame of a task dies before its awaiter goes on") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, see_arguments_die, &trace).has_value());
  CHECK(trace.text() == "~now after ~later ok ~named ok");
  CHECK(Probe::live_count == 0);
}

TEST_CASE("a task that never began drops its arguments") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, never_starts, &trace).has_value());
  CHECK(trace.text() == "~dropped after");
}

TEST_CASE("a million synchronous completions in a row do not use up the stack") {
  TestLoop test;
  CHECK(run(test.loop, sum_of_completions, uint64_t{1000000}) == 1000000);
  CHECK(run(test.loop, sum_of_ok, uint64_t{1000000}).value() == 1000000);
  CHECK(run(test.loop, pass_open_event, uint64_t{1000000}).value() == 1000000);
}

TEST_CASE("ten thousand tasks that await one another return a value") {
  TestLoop test;
  CHECK(run(test.loop, descend_plainly, 10000) == 10000);
  CHECK(run(test.loop, descend, 10000, Ending::value).value() == 10000);
  CHECK(run(test.loop, descend, 10000, Ending::suspended_value).value() == 10000);
}

TEST_CASE("ten thousand tasks that await one another let an exception through") {
  TestLoop test;
  CHECK_THROWS_AS(static_cast<void>(run(test.loop, descend, 10000, Ending::exception)), std::runtime_error);
}

TEST_CASE("ten thousand tasks that await one another leave with an error") {
  expect_survival([] {
    TestLoop test;
    const Result<int> result = run(test.loop, descend, 10000, Ending::error);
    if (result.has_value() || result.error().code != ErrorCode::closed) std::abort();
  });
}

TEST_CASE("awaiting a task that was awaited before is a caught bug") {
  expect_abort(
      [] {
        TestLoop test;
        static_cast<void>(run(test.loop, await_moved_away));
      },
      "a task that was moved away, or awaited already");
  expect_abort(
      [] {
        TestLoop test;
        static_cast<void>(
            run(test.loop, with_scope<decltype(&await_twice_at_once)>, ScopeOptions{}, &await_twice_at_once));
      },
      "a task was awaited or spawned twice");
}

TEST_CASE("destroying a task that runs is a caught bug") {
  expect_abort(
      [] {
        TestLoop test;
        static_cast<void>(
            run(test.loop, with_scope<decltype(&destroy_while_it_runs)>, ScopeOptions{}, &destroy_while_it_runs));
      },
      "a task was destroyed before it was done");
}

TEST_CASE("making a task where there is no loop is a caught bug") {
  // Out of the compiler's sight, or it may do without a frame at all.
  static Task<int> (*volatile make)(int) = give;
  expect_abort([] { static_cast<void>(make(1)); }, "there is no loop here");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
