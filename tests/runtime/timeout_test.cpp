// timeout() and shield(), alone and inside one another.
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

Task<Result<int>> sleep_and_give(Duration duration, int value) {
  co_await ok(sleep_for(duration));
  co_return value;
}

Task<Result<std::unique_ptr<int>>> give_box() { co_return std::make_unique<int>(6); }

Task<Result<void>> tell_and_sleep(Trace* trace, Duration duration) {
  const Probe local(*trace, "local");
  trace->add("began");
  co_await ok(sleep_for(duration));
  trace->add("slept");
  co_return Result<void>();
}

/// The seconds that have passed since the test began.
int64_t passed(Time since) { return std::chrono::duration_cast<seconds>(Loop::current().now() - since).count(); }

Task<Result<void>> in_time(Trace* trace) {
  const int value = co_await ok(timeout(seconds(5), sleep_and_give(seconds(1), 4)));
  CHECK(value == 4);
  CHECK(Loop::current().timers().empty());
  std::unique_ptr<int> box = co_await ok(timeout(seconds(5), give_box()));
  CHECK(*box == 6);
  co_await ok(timeout(seconds(5), sleep_for(seconds(4))));
  co_await ok(timeout(seconds(5), tell_and_sleep(trace, seconds(1))));
  co_await ok(sleep_for(seconds(60)));  // no old timer cancels this
  co_return Result<void>();
}

Task<Result<void>> too_late(Trace* trace) {
  const Time began = Loop::current().now();
  const Result<int> slow = co_await timeout(seconds(2), sleep_and_give(hours(1), 4));
  CHECK(word_of(slow) == "timed out");
  CHECK(passed(began) == 2);
  const Result<void> leaf = co_await timeout(seconds(2), sleep_for(seconds(3)));
  CHECK(word_of(leaf) == "timed out");
  CHECK(std::string(leaf.error().where) == "sleep");
  const Result<void> same = co_await timeout(seconds(2), sleep_for(seconds(2)));
  CHECK(word_of(same) == "timed out");
  const Result<void> task = co_await timeout(seconds(2), tell_and_sleep(trace, seconds(3)));
  CHECK(word_of(task) == "timed out");
  CHECK(trace->text() == "began ~local");
  co_await ok(sleep_for(seconds(60)));
  CHECK(passed(began) == 68);
  co_return Result<void>();
}

Task<Result<void>> leave_by_timeout(Trace* trace) {
  const Probe outer(*trace, "outer");
  co_await ok(timeout(seconds(2), tell_and_sleep(trace, seconds(3))));
  trace->add("unreached");
  co_return Result<void>();
}

Task<Result<void>> no_time_at_all(Trace* trace) {
  Stubborn::begun_count = 0;
  const Result<int> refused = co_await timeout(seconds(0), Stubborn(seconds(1), 3));
  CHECK(word_of(refused) == "timed out");
  const Result<int> negative = co_await timeout(seconds(-1), Stubborn(seconds(1), 3));
  CHECK(word_of(negative) == "timed out");
  CHECK(Stubborn::begun_count == 0);
  Event open;
  open.set();
  const Result<void> event = co_await timeout(seconds(0), open.wait());
  CHECK(word_of(event) == "timed out");
  const Result<void> task = co_await timeout(seconds(0), tell_and_sleep(trace, seconds(1)));
  CHECK(word_of(task) == "timed out");
  CHECK(trace->text() == "began ~local");
  co_return Result<void>();
}

Task<Result<void>> in_spite_of_it(Trace*) {
  const Time began = Loop::current().now();
  Stubborn::asked_count = 0;
  const Result<int> late = co_await timeout(seconds(2), Stubborn(seconds(5), 8));
  CHECK(late.value() == 8);
  CHECK(Stubborn::asked_count == 1);
  CHECK(passed(began) == 5);
  co_await ok(yield());
  co_return Result<void>();
}

Task<Result<void>> fail_late(ErrorCode code) {
  const Result<int> late = co_await Stubborn(seconds(5), 1);
  CHECK(late.has_value());
  co_return fail(code, "late");
}

Task<Result<void>> other_error(Trace*) {
  const Result<void> late = co_await timeout(seconds(2), fail_late(ErrorCode::closed));
  CHECK(word_of(late) == "closed");
  const Result<void> cancelled = co_await timeout(seconds(9), fail_late(ErrorCode::cancelled));
  CHECK(word_of(cancelled) == "cancelled");  // the time had not passed: not of this timeout's making
  co_return Result<void>();
}

Task<Result<void>> inner_timeout(Trace* trace, Duration duration) {
  const Result<void> inner = co_await timeout(duration, sleep_for(seconds(10)));
  trace->add("inner:" + word_of(inner));
  const Result<void> after = co_await sleep_for(seconds(2));
  trace->add("after:" + word_of(after));
  co_return inner;
}

Task<Result<void>> inner_first(Trace* trace) {
  const Result<void> outer = co_await timeout(seconds(5), inner_timeout(trace, seconds(1)));
  trace->add("outer:" + word_of(outer));
  co_return Result<void>();
}

Task<Result<void>> outer_first(Trace* trace) {
  const Result<void> outer = co_await timeout(seconds(1), inner_timeout(trace, seconds(5)));
  trace->add("outer:" + word_of(outer));
  co_return Result<void>();
}

Task<Result<void>> both_at_once(Trace* trace) {
  const Result<void> outer = co_await timeout(seconds(3), inner_timeout(trace, seconds(3)));
  trace->add("outer:" + word_of(outer));
  co_return Result<void>();
}

Task<Result<void>> direct_nesting(Trace* trace) {
  const Result<void> tight = co_await timeout(seconds(9), timeout(seconds(1), sleep_for(hours(1))));
  trace->add(word_of(tight));
  const Result<void> wide = co_await timeout(seconds(1), timeout(seconds(9), sleep_for(hours(1))));
  trace->add(word_of(wide));
  CHECK(Loop::current().timers().empty());
  co_return Result<void>();
}

Task<Result<void>> shielded_part(Trace* trace) {
  const Result<void> inside = co_await shield(sleep_for(seconds(4)));
  trace->add("shield:" + word_of(inside));
  const Result<void> after = co_await sleep_for(seconds(1));
  trace->add("after:" + word_of(after));
  co_return after;
}

Task<Result<void>> shield_in_timeout(Trace* trace) {
  const Time began = Loop::current().now();
  const Result<void> outer = co_await timeout(seconds(1), shielded_part(trace));
  trace->add("outer:" + word_of(outer));
  CHECK(passed(began) == 4);
  co_return Result<void>();
}

Task<Result<void>> timeout_in_shield(Trace* trace) {
  const Result<void> inner = co_await shield(timeout(seconds(2), sleep_for(hours(1))));
  trace->add("inner:" + word_of(inner));
  const Result<void> after = co_await yield();
  trace->add("after:" + word_of(after));
  co_return Result<void>();
}

Task<void> tell_plainly(Trace* trace) {
  trace->add("plain");
  co_return;
}

Task<Result<void>> shield_plain_ones(Trace* trace) {
  co_await shield(tell_plainly(trace));
  std::unique_ptr<int> box = co_await ok(shield(give_box()));
  CHECK(*box == 6);
  co_return Result<void>();
}

Task<Result<void>> cancelled_within_time(Trace* trace) {
  const Result<void> result = co_await timeout(seconds(9), sleep_for(hours(1)));
  trace->add(word_of(result));
  co_return Result<void>();
}

Task<Result<void>> longest_time(Trace* trace) {
  const Result<void> result = co_await timeout(Duration::max(), sleep_for(hours(1)));
  trace->add(word_of(result));
  co_return Result<void>();
}

using Story = Task<Result<void>> (*)(Trace*);

std::string tell(Story story) {
  TestLoop test;
  Trace trace;
  const Result<void> result = run(test.loop, story, &trace);
  trace.add(word_of(result));
  CHECK(test.loop.timers().empty());
  return trace.text();
}

std::string tell_with_cancel(Story story) {
  TestLoop test;
  Trace trace;
  Root<Result<void>> root(std::source_location::current(), test.loop, story, &trace);
  test.drive_ready();
  root.cancel();
  test.drive();
  REQUIRE(root.is_done());
  trace.add(word_of(root.take()));
  return trace.text();
}

TEST_SUITE_BEGIN("timeout and shield");

TEST_CASE("what ends in time is passed on, and its timer is disarmed") {
  CHECK(tell(in_time) == "began slept ~local ok");
}

TEST_CASE("what takes too long is cancelled, joined, and reported as timed out") {
  CHECK(tell(too_late) == "began ~local ok");
}

TEST_CASE("an early exit by timeout destroys locals from the inside out") {
  CHECK(tell(leave_by_timeout) == "began ~local ~outer timed out");
}

TEST_CASE("without time an operation is refused before it begins") { CHECK(tell(no_time_at_all) == "began ~local ok"); }

TEST_CASE("a completion that comes in spite of the timeout is delivered, when it comes") {
  CHECK(tell(in_spite_of_it) == "ok");
}

TEST_CASE("another error than cancelled is passed on as it is") { CHECK(tell(other_error) == "ok"); }

TEST_CASE("an inner timeout that fires first leaves the outer one's time to what follows") {
  CHECK(tell(inner_first) == "inner:timed out after:ok outer:timed out ok");
}

TEST_CASE("an outer timeout that fires first is the one that reports") {
  CHECK(tell(outer_first) == "inner:cancelled after:cancelled outer:timed out ok");
  CHECK(tell(both_at_once) == "inner:cancelled after:cancelled outer:timed out ok");
}

TEST_CASE("timeouts directly inside one another report as one") {
  CHECK(tell(direct_nesting) == "timed out timed out ok");
}

TEST_CASE("a shield inside a timeout ends in its own time, and what follows is cancelled") {
  CHECK(tell(shield_in_timeout) == "shield:ok after:cancelled outer:timed out ok");
}

TEST_CASE("a timeout inside a shield fires, and a cancel from outside waits for its end") {
  CHECK(tell(timeout_in_shield) == "inner:timed out after:ok ok");
  CHECK(tell_with_cancel(timeout_in_shield) == "inner:timed out after:cancelled ok");
}

TEST_CASE("a shield passes on what is plain or move-only") { CHECK(tell(shield_plain_ones) == "plain ok"); }

TEST_CASE("a cancel from outside is not reported as a timeout") {
  CHECK(tell_with_cancel(cancelled_within_time) == "cancelled ok");
}

TEST_CASE("the longest timeout does not fire") { CHECK(tell(longest_time) == "ok ok"); }

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
