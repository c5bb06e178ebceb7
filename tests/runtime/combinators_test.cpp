#include "runtime/combinators.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

Task<Result<int>> sleep_and_give(Trace* trace, int64_t after, int value) {
  const Probe local(*trace, std::to_string(value));
  const Result<void> slept = co_await sleep_for(seconds(after));
  trace->add(word_of(slept) + std::to_string(value));
  if (!slept.has_value()) co_return Unexpected(slept.error());
  co_return value;
}

Task<Result<int>> sleep_and_fail(Trace* trace, int64_t after) {
  co_await ok(sleep_for(seconds(after)));
  trace->add("fails");
  co_return fail(ErrorCode::closed, "failing");
}

Task<Result<void>> sleep_only(int64_t after) { co_return co_await sleep_for(seconds(after)); }

Task<Result<std::unique_ptr<int>>> sleep_and_box(int64_t after, int value) {
  co_await ok(sleep_for(seconds(after)));
  co_return std::make_unique<int>(value);
}

Task<Result<void>> all_of_three(Trace* trace) {
  auto all = co_await ok(when_all(sleep_and_give(trace, 2, 1), sleep_only(3), sleep_and_box(1, 5)));
  CHECK(std::get<0>(all) == 1);
  CHECK(*std::get<2>(all) == 5);
  co_return Result<void>();
}

Task<Result<void>> all_with_an_error(Trace* trace) {
  auto tasks = when_all(sleep_and_give(trace, 3600, 1), sleep_and_fail(trace, 1), sleep_and_give(trace, 1, 2));
  const auto all = co_await std::move(tasks);
  trace->add(word_of(all));
  CHECK(std::string(all.error().where) == "failing");
  co_return Result<void>();
}

Task<Result<void>> all_settled(Trace* trace) {
  auto tasks = when_all_settled(sleep_and_give(trace, 3, 1), sleep_and_fail(trace, 1), sleep_only(2));
  const auto all = co_await std::move(tasks);
  CHECK(*std::get<0>(all) == 1);
  trace->add(word_of(std::get<1>(all)));
  trace->add(word_of(std::get<2>(all)));
  co_return Result<void>();
}

Task<Result<void>> all_settled_under_timeout(Trace* trace) {
  auto part = [](Trace* told) -> Task<Result<void>> {
    auto tasks = when_all_settled(sleep_and_give(told, 1, 1), sleep_and_give(told, 3600, 2));
    const auto all = co_await std::move(tasks);
    told->add(word_of(std::get<0>(all)));
    told->add(word_of(std::get<1>(all)));
    co_return Result<void>();
  };
  const Result<void> ended = co_await timeout(seconds(2), part(trace));
  trace->add(word_of(ended));
  co_return Result<void>();
}

Task<Result<void>> race_of_three(Trace* trace) {
  auto runners = race(sleep_and_give(trace, 3, 1), sleep_and_give(trace, 1, 2), sleep_and_give(trace, 2, 3));
  auto winner = co_await ok(std::move(runners));
  CHECK(winner.index() == 1);
  CHECK(std::get<1>(winner) == 2);
  trace->add("joined");
  co_return Result<void>();
}

Task<Result<void>> race_with_an_error(Trace* trace) {
  auto runners = race(sleep_and_give(trace, 3, 1), sleep_and_fail(trace, 1), sleep_only(2));
  const auto winner = co_await std::move(runners);
  trace->add(word_of(winner));
  co_return Result<void>();
}

Task<Result<int>> stubborn_task(int64_t after) { co_return co_await Stubborn(seconds(after), 7); }

Task<Result<void>> race_with_a_stubborn_one(Trace* trace) {
  const Time began = Loop::current().now();
  auto winner = co_await ok(race(sleep_and_give(trace, 1, 1), stubborn_task(5)));
  CHECK(winner.index() == 0);
  CHECK(Loop::current().now() - began == seconds(5));  // the loser is joined, and what it brings is dropped
  co_return Result<void>();
}

Task<Result<void>> race_to_a_tie(Trace* trace) {
  auto winner = co_await ok(race(sleep_and_give(trace, 1, 1), sleep_and_give(trace, 1, 2)));
  CHECK(winner.index() == 0);
  co_return Result<void>();
}

Task<Result<void>> race_without_waits(Trace* trace) {
  auto runners = race(sleep_and_give(trace, 0, 1), sleep_and_box(0, 2), sleep_only(0));
  auto winner = co_await ok(std::move(runners));
  CHECK(winner.index() == 0);
  co_return Result<void>();
}

struct Work {
  int live_count = 0;
  int live_max = 0;
  std::vector<int> done;
};

Task<Result<void>> work_on(int item, Work& work) {
  if (++work.live_count > work.live_max) work.live_max = work.live_count;
  const Result<void> slept = co_await sleep_for(seconds(10 - item % 3));
  --work.live_count;
  if (!slept.has_value()) co_return slept;
  if (item == 100) co_return fail(ErrorCode::exhausted, "work");
  work.done.push_back(item);
  co_return Result<void>();
}

Task<Result<void>> each_of_twenty(Trace*) {
  Work work;
  std::vector<int> items;
  for (int item = 0; item < 20; ++item) items.push_back(item);
  co_await ok(for_each_bounded(items, 4, work_on, work));
  CHECK(work.live_max == 4);
  CHECK(work.done.size() == 20);
  CHECK(work.live_count == 0);
  co_return Result<void>();
}

Task<Result<void>> each_until_an_error(Trace*) {
  Work work;
  const std::vector<int> items{0, 1, 100, 3, 4, 5, 6, 7};
  const Result<void> result = co_await for_each_bounded(items, 2, work_on, work);
  CHECK(word_of(result) == "capacity exhausted");
  CHECK(work.done == std::vector<int>{1, 0});
  CHECK(work.live_count == 0);
  co_return Result<void>();
}

Task<Result<void>> take_pointer(int* item, int& sum) {
  sum += *item;
  co_return Result<void>();
}

Task<Result<void>> each_of_none(Trace*) {
  int sum = 0;
  const std::vector<int*> none;
  co_await ok(for_each_bounded(none, 1, take_pointer, sum));
  int three = 3;
  const std::vector<int*> some{&three, &three};
  co_await ok(for_each_bounded(some, 8, take_pointer, sum));
  CHECK(sum == 6);
  co_return Result<void>();
}

Task<Result<void>> each_under_timeout(Trace* trace) {
  Work work;
  const std::vector<int> items{2, 2, 2, 2, 2, 2};
  const Result<void> result = co_await timeout(seconds(20), for_each_bounded(items, 2, work_on, work));
  trace->add(word_of(result));
  CHECK(work.done.size() == 4);
  CHECK(work.live_count == 0);
  co_return Result<void>();
}

Task<Result<void>> bound_of_zero(Trace*) {
  Work work;
  const std::vector<int> items{1};
  co_await ok(for_each_bounded(items, 0, work_on, work));
  co_return Result<void>();
}

using Story = Task<Result<void>> (*)(Trace*);

std::string tell(Story story, int64_t seconds_passed) {
  TestLoop test;
  Trace trace;
  const Result<void> result = run(test.loop, story, &trace);
  trace.add(word_of(result));
  CHECK(test.elapsed() == seconds(seconds_passed));
  CHECK(Probe::live_count == 0);
  CHECK(test.loop.timers().empty());
  return trace.text();
}

Task<Result<void>> all_cancelled(Trace* trace) {
  auto tasks = when_all(sleep_and_give(trace, 3600, 1), sleep_and_give(trace, 3600, 2));
  const auto all = co_await std::move(tasks);
  trace->add(word_of(all));
  co_return Result<void>();
}

Task<Result<void>> race_cancelled(Trace* trace) {
  auto runners = race(sleep_and_give(trace, 3600, 1), sleep_and_give(trace, 3600, 2));
  const auto winner = co_await std::move(runners);
  trace->add(word_of(winner));
  co_return Result<void>();
}

std::string tell_with_cancel(Story story) {
  TestLoop test;
  Trace trace;
  Root<Result<void>> root(std::source_location::current(), test.loop, story, &trace);
  test.drive_ready();
  root.cancel();
  test.drive();
  REQUIRE(root.is_done());
  return trace.text();
}

TEST_SUITE_BEGIN("combinators");

TEST_CASE("when_all() runs all at once and gives their values, move-only and void ones too") {
  CHECK(tell(all_of_three, 3) == "ok1 ~1 ok");
}

TEST_CASE("the first error of when_all() cancels the others, joins them, and is the result") {
  CHECK(tell(all_with_an_error, 1) == "fails ok2 ~2 cancelled1 ~1 closed ok");
}

TEST_CASE("when_all_settled() gives every result, and an error cancels nobody") {
  CHECK(tell(all_settled, 3) == "fails ok1 ~1 closed ok ok");
}

TEST_CASE("when_all_settled() that is cancelled keeps the results that were there") {
  CHECK(tell(all_settled_under_timeout, 2) == "ok1 ~1 cancelled2 ~2 ok cancelled ok ok");
}

TEST_CASE("the first of a race wins; the losers are cancelled, and joined before it returns") {
  CHECK(tell(race_of_three, 1) == "ok2 ~2 cancelled3 ~3 cancelled1 ~1 joined ok");
}

TEST_CASE("an error may win a race") { CHECK(tell(race_with_an_error, 1) == "fails cancelled1 ~1 closed ok"); }

TEST_CASE("a loser that can't be cancelled is waited for, and its value dropped") {
  CHECK(tell(race_with_a_stubborn_one, 5) == "ok1 ~1 ok");
}

TEST_CASE("of a tie the first is the winner") {
  CHECK(tell(race_to_a_tie, 1) == "ok1 ~1 ok2 ~2 ok");
  CHECK(tell(race_without_waits, 0) == "ok1 ~1 ok");
}

TEST_CASE("a cancel from outside ends when_all() and race() as cancelled, all joined") {
  CHECK(tell_with_cancel(all_cancelled) == "cancelled2 ~2 cancelled1 ~1 cancelled");
  CHECK(tell_with_cancel(race_cancelled) == "cancelled2 ~2 cancelled1 ~1 cancelled");
}

TEST_CASE("for_each_bounded() runs no more than its bound at once, and all of them") {
  CHECK(tell(each_of_twenty, 47) == "ok");
}

TEST_CASE("the first error of for_each_bounded() ends the rest") { CHECK(tell(each_until_an_error, 18) == "ok"); }

TEST_CASE("for_each_bounded() over nothing ends at once, and with a wide bound it takes all") {
  CHECK(tell(each_of_none, 0) == "ok");
}

TEST_CASE("for_each_bounded() that is cancelled joins what runs and spawns no more") {
  CHECK(tell(each_under_timeout, 20) == "timed out ok");
}

TEST_CASE("for_each_bounded() with no child allowed is a caught bug") {
  expect_abort(
      [] {
        TestLoop test;
        Trace trace;
        static_cast<void>(run(test.loop, bound_of_zero, &trace));
      },
      "for_each_bounded with no child allowed");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
