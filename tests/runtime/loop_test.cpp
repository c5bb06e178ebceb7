#include "runtime/loop.h"

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "runtime/root.h"
#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

Loop::Options options_with(uint32_t ready_budget) {
  Loop::Options options;
  options.ready_budget = ready_budget;
  return options;
}

Loop::Options random_options(uint64_t seed) {
  Loop::Options options;
  options.schedule_randomly = true;
  options.random_seed = seed;
  return options;
}

Task<Result<void>> yield_and_tell(int id, int rounds, std::vector<int>* order) {
  for (int round = 0; round < rounds; ++round) {
    order->push_back(id);
    co_await ok(yield());
  }
  co_return Result<void>();
}

Task<Result<void>> spawn_tellers(Scope& scope, int count, int rounds, std::vector<int>* order) {
  for (int id = 0; id < count; ++id) co_await ok(scope.spawn(yield_and_tell, id, rounds, order));
  co_return Result<void>();
}

Task<Result<void>> run_tellers(int count, int rounds, std::vector<int>* order) {
  co_await ok(with_scope(ScopeOptions(), spawn_tellers, count, rounds, order));
  co_return Result<void>();
}

std::vector<int> order_with(uint64_t seed) {
  TestLoop test(random_options(seed));
  std::vector<int> order;
  CHECK(run(test.loop, run_tellers, 10, 5, &order).has_value());
  return order;
}

Task<Result<void>> spin(int* rounds_count, bool* stops) {
  while (!*stops) {
    ++*rounds_count;
    co_await ok(yield());
  }
  co_return Result<void>();
}

Task<Result<void>> stop_later(bool* stops) {
  co_await ok(sleep_for(std::chrono::seconds(1)));
  *stops = true;
  co_return Result<void>();
}

Task<Result<void>> sleep_hour() { co_return co_await sleep_for(std::chrono::hours(1)); }

Task<Result<void>> turn_inside() {
  Loop::current().turn();
  co_return Result<void>();
}

Task<Result<void>> kill_inside() {
  Loop::current().mark_dying();
  co_return Result<void>();
}

Task<Result<Time>> tell_time() {
  const Time before = Loop::current().now();
  co_await ok(sleep_for(std::chrono::milliseconds(5)));
  CHECK(Loop::current().now() - before == std::chrono::milliseconds(5));
  co_return Loop::current().now();
}

using RootVoid = Root<Result<void>>;

class BackwardReactor final : public Reactor {
 public:
  Time now() noexcept override { return Time(Duration(--now_)); }
  void poll() noexcept override {}
  void wait(Time) noexcept override {}
  void wake() noexcept override {}
  bool has_detached_work() const noexcept override { return false; }
  void attach(Loop*) noexcept override {}

 private:
  int64_t now_ = 1000;
};

/// Has detached work until it was waited for a few times.
class DetachedReactor final : public Reactor {
 public:
  Time now() noexcept override { return Time(Duration(1)); }
  void poll() noexcept override {}
  void wait(Time) noexcept override { --left_count; }
  void wake() noexcept override {}
  bool has_detached_work() const noexcept override { return left_count > 0; }
  void attach(Loop*) noexcept override {}
  int left_count = 3;
};

TEST_SUITE_BEGIN("loop");

TEST_CASE("a turn runs at most ready_budget nodes, and says how many") {
  TestLoop test(options_with(4));
  std::vector<int> order;
  RootVoid root(std::source_location::current(), test.loop, run_tellers, 10, 1, &order);
  CHECK(test.loop.turn() == 4);  // the root, which spawned all ten, and the first three of them
  CHECK((order == std::vector<int>{0, 1, 2}));
  CHECK(test.loop.turn() == 4);
  CHECK((order == std::vector<int>{0, 1, 2, 3, 4, 5, 6}));
  CHECK(test.loop.turn() == 4);  // the last three, and the end of the first
  CHECK(order.size() == 10);
  test.drive_ready();
  CHECK(root.is_done());
}

TEST_CASE("a turn with nothing to do runs nothing") {
  TestLoop test;
  CHECK(test.loop.turn() == 0);
  CHECK_FALSE(test.loop.has_ready());
}

TEST_CASE("a turn never blocks, and never polls") {
  TestLoop test;
  RootVoid root(std::source_location::current(), test.loop, sleep_hour);
  for (int round = 0; round < 5; ++round) test.loop.turn();
  CHECK(test.reactor.waited_count() == 0);
  CHECK(test.reactor.polled_count() == 0);
  CHECK_FALSE(root.is_done());
  test.drive();
  CHECK(root.is_done());
}

TEST_CASE("run() polls the reactor between turns while work is ready") {
  TestLoop test(options_with(1));
  std::vector<int> order;
  CHECK(run(test.loop, run_tellers, 1, 100, &order).has_value());
  CHECK(test.reactor.polled_count() > 100);
}

TEST_CASE("run() waits until detached work is done") {
  DetachedReactor reactor;
  Loop loop(reactor);
  std::vector<int> order;
  CHECK(run(loop, run_tellers, 1, 1, &order).has_value());
  CHECK(reactor.left_count == 0);
}

TEST_CASE("yield() lets others run, one after another") {
  TestLoop test;
  std::vector<int> order;
  CHECK(run(test.loop, run_tellers, 3, 3, &order).has_value());
  CHECK(order == std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1, 2});
}

TEST_CASE("timers come first in a turn, even while others are ready without end") {
  TestLoop test(options_with(8));
  bool stops = false;
  int rounds_count = 0;
  RootVoid root(
      std::source_location::current(), test.loop,
      [](bool* stop, int* rounds) -> Task<Result<void>> {
        auto both = when_all(spin(rounds, stop), stop_later(stop));
        auto result = co_await std::move(both);
        CHECK(result.has_value());
        co_return Result<void>();
      },
      &stops, &rounds_count);
  for (int round = 0; round < 20; ++round) test.loop.turn();
  CHECK_FALSE(root.is_done());
  test.reactor.advance(std::chrono::seconds(1));
  test.drive_ready();
  CHECK(root.is_done());
  CHECK(rounds_count > 100);
}

TEST_CASE("a random schedule is the same for the same seed, and another for another") {
  const std::vector<int> first = order_with(1);
  CHECK(order_with(1) == first);
  CHECK_FALSE(order_with(2) == first);
  std::vector<int> counts(10);
  for (int id : first) ++counts[id];
  for (int count : counts) CHECK(count == 5);
}

TEST_CASE("random numbers do not depend on the schedule") {
  TestReactor reactor, other_reactor;
  Loop::Options options = random_options(9);
  Loop random(reactor, options);
  options.schedule_randomly = false;
  Loop ordered(other_reactor, options);
  for (int draw = 0; draw < 10; ++draw) CHECK(random.random().next() == ordered.random().next());
}

TEST_CASE("time stands still within a turn and follows the reactor between them") {
  TestLoop test;
  const Result<Time> told = run(test.loop, tell_time);
  CHECK(*told == test.reactor.now());
  CHECK(test.elapsed() == std::chrono::milliseconds(5));
}

TEST_CASE("cancel_root() ends the tree, without a root too") {
  TestLoop test;
  test.loop.cancel_root();
  RootVoid root(std::source_location::current(), test.loop, sleep_hour);
  test.drive_ready();
  test.loop.cancel_root();
  test.drive_ready();
  REQUIRE(root.is_done());
  CHECK(root.take().error().code == ErrorCode::cancelled);
  CHECK(test.loop.root() == nullptr);
}

TEST_CASE("a root that is cancelled before it began is refused its first wait") {
  TestLoop test;
  RootVoid root(std::source_location::current(), test.loop, sleep_hour);
  root.cancel();
  test.drive_ready();
  REQUIRE(root.is_done());
  CHECK(root.take().error().code == ErrorCode::cancelled);
}

TEST_CASE("a loop attaches its reactor, and lets it go") {
  TestReactor reactor;
  {
    Loop loop(reactor);
    CHECK(reactor.attached() == &loop);
    CHECK(&Loop::current() == &loop);
  }
  CHECK(reactor.attached() == nullptr);
  CHECK_FALSE(Loop::has_current());
}

TEST_CASE("two loops on one thread each run their own tasks, and a cancel from outside reaches the right one") {
  TestLoop first, second;
  RootVoid one(std::source_location::current(), first.loop, sleep_hour);
  RootVoid two(std::source_location::current(), second.loop, sleep_hour);
  first.loop.turn();
  second.loop.turn();
  CHECK(first.loop.timers().size() == 1);
  CHECK(second.loop.timers().size() == 1);
  CHECK(&Loop::current() == &first.loop);
  first.drive();
  CHECK(one.is_done());
  CHECK_FALSE(two.is_done());
  second.drive();
  CHECK(two.is_done());
}

TEST_CASE("what the driver of several loops cancels from outside ends, whichever loop is current") {
  expect_survival([] {
    TestLoop first, second;
    RootVoid two(std::source_location::current(), second.loop, sleep_hour);
    second.loop.turn();
    two.cancel();
    second.drive_ready();
    if (!two.is_done()) std::abort();
  });
}

TEST_CASE("each thread has a loop of its own") {
  TestLoop test;
  bool is_free = false;
  std::thread other([&is_free] {
    is_free = !Loop::has_current();
    TestReactor reactor;
    Loop loop(reactor);
    std::vector<int> order;
    is_free = is_free && run(loop, run_tellers, 2, 2, &order).has_value();
  });
  other.join();
  CHECK(is_free);
}

TEST_CASE("misuse of a loop is caught") {
  expect_abort(
      [] {
        TestLoop test;
        static_cast<void>(run(test.loop, turn_inside));
      },
      "turn() was called from inside a task");
  expect_abort(
      [] {
        TestLoop test;
        static_cast<void>(run(test.loop, kill_inside));
      },
      "a loop was killed from inside one of its tasks");
  expect_abort(
      [] {
        TestLoop test;
        test.loop.mark_dying();
        test.loop.turn();
      },
      "a killed loop was driven");
  expect_abort([] { TestLoop test(options_with(0)); }, "a budget of no work per turn");
  expect_abort([] { static_cast<void>(Loop::current()); }, "there is no loop here");
}

TEST_CASE("misuse of a root is caught") {
  expect_abort(
      [] {
        TestLoop test;
        RootVoid one(std::source_location::current(), test.loop, sleep_hour);
        RootVoid two(std::source_location::current(), test.loop, sleep_hour);
      },
      "a loop runs one root task at a time");
  expect_abort(
      [] {
        TestLoop test;
        RootVoid one(std::source_location::current(), test.loop, sleep_hour);
      },
      "a root task was destroyed before it was done");
  expect_abort(
      [] {
        TestLoop test;
        RootVoid one(std::source_location::current(), test.loop, sleep_hour);
        static_cast<void>(one.take());
      },
      "the result of a root task that is not done");
}

TEST_CASE("a clock that goes backwards is a caught bug") {
  expect_abort(
      [] {
        BackwardReactor reactor;
        Loop loop(reactor);
        static_cast<void>(run(loop, tell_time));
      },
      "the monotonic clock went backwards");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
