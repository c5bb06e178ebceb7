// Leaving a task with an error through ok(): who dies when, and what the parent sees.
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "runtime/random.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

/// A leaf that fails, or not, at once or after a turn through the ready queue.
class [[nodiscard]] Outcome final : public LeafAwait<Outcome> {
 public:
  Outcome(bool fails, bool suspends) noexcept : fails_(fails), suspends_(suspends) {}
  ~Outcome() { abandon_if_dying(); }
  bool begin(Loop&) noexcept {
    if (suspends_) complete();
    return !suspends_;
  }
  bool is_cancellable() const noexcept { return true; }
  void refuse(Error error) noexcept { error_ = error, fails_ = true; }
  const Error* failure() const noexcept { return fails_ ? &error_ : nullptr; }
  Result<int> take() const noexcept {
    if (fails_) return Unexpected(error_);
    return 1;
  }
  const char* describe() const noexcept override { return "outcome"; }

 private:
  void on_cancel() noexcept override {}
  void on_abandon() noexcept override {}
  bool fails_;
  bool suspends_;
  Error error_{ErrorCode::closed, 0, "outcome", 0};
};

enum class Source { task, task_later, leaf, leaf_later };

/// A chain of `depth` levels, each with three awaits; the one at `index` goes down, and at the bottom it ends
/// the chain, with an error if `fails`.
struct Plan {
  int depth = 1;
  int index = 0;
  bool fails = true;
  Source source = Source::task;
};

Task<Result<int>> end_as_task(bool fails, bool later) {
  if (later) co_await ok(yield());
  if (fails) co_return fail(ErrorCode::closed, "task");
  co_return 1;
}

Task<Result<int>> level(Trace* trace, Plan plan, int depth);

Task<Result<int>> step(Trace* trace, Plan plan, int depth, int index) {
  if (index != plan.index) co_return 1;
  const Probe local(*trace, std::to_string(depth) + "s");
  if (depth < plan.depth) co_return co_await level(trace, plan, depth + 1);
  const bool later = plan.source == Source::task_later || plan.source == Source::leaf_later;
  if (plan.source == Source::task || plan.source == Source::task_later) {
    const int value = co_await ok(end_as_task(plan.fails, later));
    co_return value;
  }
  const int value = co_await ok(Outcome(plan.fails, later));
  co_return value;
}

Task<Result<int>> level(Trace* trace, Plan plan, int depth) {
  const std::string name = std::to_string(depth);
  const Probe first(*trace, name + "a");
  const int one = co_await ok(step(trace, plan, depth, 0));
  const Probe second(*trace, name + "b");
  const int two = co_await ok(step(trace, plan, depth, 1));
  const Probe third(*trace, name + "c");
  const int three = co_await ok(step(trace, plan, depth, 2));
  co_return one + two + three;
}

std::string expected_deaths(const Plan& plan) {
  Trace trace;
  for (int depth = plan.depth; depth >= 1; --depth) {
    const std::string name = "~" + std::to_string(depth);
    const int locals_count = plan.fails ? plan.index + 1 : 3;
    trace.add(name + "s");
    for (int local = locals_count; local > 0; --local) trace.add(name + "abc"[local - 1]);
  }
  return trace.text();
}

Task<Result<int>> watch(Trace* trace, Plan plan) {
  auto chain = level(trace, plan, 1);
  const Result<int> result = co_await std::move(chain);
  CHECK(trace->text() == expected_deaths(plan));
  CHECK(Probe::live_count == 0);
  co_return result;
}

struct Counted {
  Counted() noexcept { ++live_count; }
  Counted(const Counted&) noexcept { ++live_count; }
  ~Counted() { --live_count; }
  inline static int64_t live_count = 0;
};

Task<Result<std::unique_ptr<int>>> short_chain(int depth, Plan plan, Counted argument) {
  const Counted local;
  if (depth == plan.depth) {
    if (plan.source == Source::task) co_await ok(end_as_task(plan.fails, false));
    if (plan.source == Source::leaf) co_await ok(Outcome(plan.fails, false));
    if (plan.source == Source::leaf_later) co_await ok(Outcome(plan.fails, true));
    co_return std::make_unique<int>(depth);
  }
  std::unique_ptr<int> below = co_await ok(short_chain(depth + 1, plan, argument));
  const Counted after;
  co_return std::move(below);
}

Task<int> run_chains(int count) {
  Random random(11);
  int failed_count = 0;
  const Counted argument;
  for (int index = 0; index < count; ++index) {
    Plan plan;
    plan.depth = static_cast<int>(random.between(1, 5));
    plan.fails = random.chance(1, 2);
    const Source sources[] = {Source::task, Source::leaf, Source::leaf_later};
    plan.source = sources[random.below(3)];
    auto chain = short_chain(1, plan, argument);
    Result<std::unique_ptr<int>> result = co_await std::move(chain);
    REQUIRE(result.has_value() == !plan.fails);
    if (result.has_value()) REQUIRE(**result == plan.depth);
    REQUIRE(Counted::live_count == 1);
    failed_count += plan.fails ? 1 : 0;
  }
  co_return failed_count;
}

Task<Result<void>> leave_from_loop(Trace* trace) {
  for (int round = 0;; ++round) {
    const Probe local(*trace, std::to_string(round));
    co_await ok(Outcome(round == 2, round % 2 == 0));
  }
}

Task<Result<void>> leave_from_handler(Trace* trace) {
  const Probe outer(*trace, "outer");
  try {
    const Probe inner(*trace, "inner");
    co_await ok(Outcome(true, true));
    trace->add("unreached");
  } catch (...) {
    trace->add("caught");
  }
  trace->add("unreached");
  co_return Result<void>();
}

Task<Result<uint64_t>> error_of_other_type() {
  const int value = co_await ok(end_as_task(true, true));
  co_return static_cast<uint64_t>(value);
}

void check_plan(const Plan& plan) {
  TestLoop test;
  Trace trace;
  CAPTURE(plan.depth);
  CAPTURE(plan.index);
  CAPTURE(static_cast<int>(plan.source));
  const Result<int> result = run(test.loop, watch, &trace, plan);
  CHECK(result.has_value() == !plan.fails);
  if (result.has_value()) {
    CHECK(*result == 2 * plan.depth + 1);
  } else {
    CHECK(result.error().code == ErrorCode::closed);
  }
  CHECK(trace.text() == expected_deaths(plan));
}

TEST_SUITE_BEGIN("early exit");

TEST_CASE("locals die in reverse order and once, before the parent sees the error, at every depth") {
  for (int depth = 1; depth <= 5; ++depth) {
    for (int index = 0; index < 3; ++index) {
      for (Source source : {Source::task, Source::task_later, Source::leaf, Source::leaf_later}) {
        Plan plan;
        plan.depth = depth;
        plan.index = index;
        plan.source = source;
        check_plan(plan);
        plan.fails = false;
        check_plan(plan);
      }
    }
  }
}

TEST_CASE("two hundred thousand chains leave no frame and no local behind") {
  TestLoop test;
  const int failed_count = run(test.loop, run_chains, 200000);
  CHECK((failed_count > 90000 && failed_count < 110000));
  CHECK(Counted::live_count == 0);
  CHECK(test.loop.frames().live_count() == 0);
}

TEST_CASE("an error leaves from inside a loop or a try block, and no handler sees it") {
  TestLoop test;
  Trace trace;
  CHECK_FALSE(run(test.loop, leave_from_loop, &trace).has_value());
  CHECK(trace.text() == "~0 ~1 ~2");
  trace.clear();
  CHECK_FALSE(run(test.loop, leave_from_handler, &trace).has_value());
  CHECK(trace.text() == "~inner ~outer");
}

TEST_CASE("the error arrives as it left, in a task of another value type") {
  TestLoop test;
  const Result<uint64_t> result = run(test.loop, error_of_other_type);
  CHECK(result.error().code == ErrorCode::closed);
  CHECK(std::string(result.error().where) == "task");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
