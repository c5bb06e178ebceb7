#include "runtime/cancel.h"

#include <doctest/doctest.h>

#include <deque>
#include <string>

#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using Kind = CancelContext::Kind;
using std::chrono::hours;
using std::chrono::seconds;

/// A tree of contexts by hand, each inside one that was made before it.
class Tree {
 public:
  explicit Tree(Loop& loop) : loop_(loop) {}
  ~Tree() {
    while (!contexts_.empty()) {
      contexts_.back().close();
      contexts_.pop_back();
    }
  }
  CancelContext& add(CancelContext* parent, Kind kind = Kind::strand) {
    CancelContext& context = contexts_.emplace_back(kind);
    context.open(loop_, parent, std::source_location::current());
    return context;
  }

 private:
  Loop& loop_;
  std::deque<CancelContext> contexts_;
};

Task<Result<void>> shielded_sleep(Trace* trace) {
  const Result<void> inside = co_await shield(sleep_for(seconds(2)));
  trace->add(word_of(inside));
  const Result<void> after = co_await sleep_for(seconds(2));
  trace->add(word_of(after));
  const Result<void> again = co_await shield(sleep_for(seconds(1)));
  trace->add(word_of(again));
  const Result<void> last = co_await yield();
  trace->add(word_of(last));
  co_return Result<void>();
}

Task<Result<void>> sleep_all(Trace* trace) {
  const Result<void> first = co_await sleep_for(hours(1));
  trace->add(word_of(first));
  const Result<void> second = co_await sleep_for(seconds(0));
  trace->add(word_of(second));
  const Result<void> third = co_await sleep_until(Loop::current().now() - seconds(5));
  trace->add(word_of(third));
  co_return first;
}

Task<Result<int>> stubborn_task() { co_return co_await Stubborn(seconds(3), 5); }

Task<Result<void>> sleep_for_hours() { co_return co_await sleep_for(hours(2)); }

Task<Result<void>> shielded_scope(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_for_hours));
  const Result<void> slept = co_await sleep_for(hours(1));
  trace->add("body:" + word_of(slept));
  co_return Result<void>();
}

Task<Result<void>> shield_a_scope(Trace* trace) {
  const Result<void> joined = co_await shield(with_scope(ScopeOptions(), shielded_scope, trace));
  trace->add("scope:" + word_of(joined));
  const Result<void> after = co_await yield();
  trace->add(word_of(after));
  co_return Result<void>();
}

template <class T, class Function, class... Args>
Result<T> cancel_in_the_middle(Function function, Args... args) {
  TestLoop test;
  Root<Result<T>> root(std::source_location::current(), test.loop, function, args...);
  test.drive_ready();
  CHECK_FALSE(root.is_done());
  root.cancel();
  root.cancel();  // idempotent
  test.drive();
  return root.take();
}

Task<Result<void>> leave_a_probe(Trace* trace) {
  const Probe local(*trace, "local");
  co_await ok(sleep_for(hours(1)));
  co_return Result<void>();
}

Task<Result<void>> deep_leave(Trace* trace, int depth) {
  const Probe local(*trace, std::to_string(depth));
  if (depth == 0) {
    co_await ok(leave_a_probe(trace));
  } else {
    co_await ok(deep_leave(trace, depth - 1));
  }
  co_return Result<void>();
}

TEST_SUITE_BEGIN("cancel");

TEST_CASE("a cancel reaches all below, and nobody beside or above") {
  TestLoop test;
  Tree tree(test.loop);
  CancelContext& root = tree.add(nullptr);
  CancelContext& left = tree.add(&root);
  CancelContext& right = tree.add(&root);
  CancelContext& below = tree.add(&left);
  CancelContext& deeper = tree.add(&below);
  CancelContext& beside = tree.add(&below);
  left.cancel();
  CHECK_FALSE(root.is_cancelled());
  CHECK(left.is_cancelled());
  CHECK_FALSE(right.is_cancelled());
  CHECK(below.is_cancelled());
  CHECK(deeper.is_cancelled());
  CHECK(beside.is_cancelled());
  root.cancel();
  CHECK(right.is_cancelled());
}

TEST_CASE("a shield stops a cancel, and covers all below it") {
  TestLoop test;
  Tree tree(test.loop);
  CancelContext& root = tree.add(nullptr);
  CancelContext& shielded = tree.add(&root, Kind::shield);
  CancelContext& below = tree.add(&shielded);
  CancelContext& beside = tree.add(&root);
  root.cancel();
  CHECK_FALSE(shielded.is_cancelled());
  CHECK_FALSE(below.is_cancelled());
  CHECK(beside.is_cancelled());
  shielded.cancel();
  CHECK(below.is_cancelled());
}

TEST_CASE("what opens inside a cancelled context is cancelled, unless a shield stands between") {
  TestLoop test;
  Tree tree(test.loop);
  CancelContext& root = tree.add(nullptr);
  root.cancel();
  CHECK(tree.add(&root, Kind::timeout).is_cancelled());
  CancelContext& shielded = tree.add(&root, Kind::shield);
  CHECK_FALSE(shielded.is_cancelled());
  CHECK_FALSE(tree.add(&shielded).is_cancelled());
}

TEST_CASE("a tree of a hundred thousand levels is cancelled without recursion") {
  TestLoop test;
  Tree tree(test.loop);
  CancelContext* lowest = &tree.add(nullptr);
  CancelContext& root = *lowest;
  for (int level = 0; level < 100000; ++level) lowest = &tree.add(lowest);
  root.cancel();
  CHECK(lowest->is_cancelled());
}

TEST_CASE("contexts leave the tree in any order among siblings") {
  TestLoop test;
  CancelContext root(Kind::strand), one(Kind::strand), two(Kind::strand), three(Kind::strand);
  const std::source_location here = std::source_location::current();
  root.open(test.loop, nullptr, here);
  one.open(test.loop, &root, here);
  two.open(test.loop, &root, here);
  three.open(test.loop, &root, here);
  two.close();
  root.cancel();
  CHECK((one.is_cancelled() && three.is_cancelled() && !two.is_cancelled()));
  three.close();
  one.close();
  CHECK(root.first_child() == nullptr);
  root.close();
}

TEST_CASE("cancelled is a level: every further wait is refused, one that would complete at once too") {
  Trace trace;
  const Result<void> result = cancel_in_the_middle<void>(sleep_all, &trace);
  CHECK(result.error().code == ErrorCode::cancelled);
  CHECK(trace.text() == "cancelled cancelled cancelled");
}

TEST_CASE("a shield delivers the cancel at the first wait after its section") {
  Trace trace;
  CHECK(cancel_in_the_middle<void>(shielded_sleep, &trace).has_value());
  CHECK(trace.text() == "ok cancelled ok cancelled");
}

TEST_CASE("a shield covers a scope within it, with its children") {
  Trace trace;
  CHECK(cancel_in_the_middle<void>(shield_a_scope, &trace).has_value());
  CHECK(trace.text() == "body:ok scope:ok cancelled");
}

TEST_CASE("a completion that comes in spite of the cancel is delivered") {
  Stubborn::asked_count = 0;
  CHECK(cancel_in_the_middle<int>(stubborn_task).value() == 5);
  CHECK(Stubborn::asked_count == 1);  // the second cancel asks nobody again
}

TEST_CASE("a cancel unwinds a chain of ok() from its leaf to its root") {
  Trace trace;
  const Result<void> result = cancel_in_the_middle<void>(deep_leave, &trace, 3);
  CHECK(result.error().code == ErrorCode::cancelled);
  CHECK(trace.text() == "~local ~0 ~1 ~2 ~3");
}

TEST_CASE("a context that is misused is a caught bug") {
  static const std::source_location here = std::source_location::current();
  expect_abort(
      [] {
        TestLoop test;
        CancelContext context(Kind::strand);
        context.open(test.loop, nullptr, here);
      },
      "a cancellation context was destroyed while it was open");
  expect_abort(
      [] {
        TestLoop test;
        CancelContext outer(Kind::strand), inner(Kind::strand);
        outer.open(test.loop, nullptr, here);
        inner.open(test.loop, &outer, here);
        outer.close();
      },
      "a cancellation context was closed before those inside it");
  expect_abort(
      [] {
        CancelContext context(Kind::strand);
        context.cancel();
      },
      "cancel of a context that is not open");
  expect_abort(
      [] {
        TestLoop test;
        CancelContext context(Kind::strand);
        context.open(test.loop, nullptr, here);
        context.open(test.loop, nullptr, here);
      },
      "a cancellation context was opened twice");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
