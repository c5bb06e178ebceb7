#include "runtime/task_tree.h"

#include <doctest/doctest.h>

#include <string>

#include "runtime/combinators.h"
#include "runtime/event.h"
#include "runtime/root.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {

namespace {

using namespace std::chrono_literals;

Task<Result<void>> wait_for(Event* event) {
  co_await ok(event->wait());
  co_return Result<void>();
}

Task<Result<void>> wait_in_timeout(Event* event) {
  co_await ok(timeout(1h, wait_for(event)));
  co_return Result<void>();
}

Task<Result<void>> spawn_two(Scope& scope, Event& event) {
  co_await ok(scope.spawn(wait_for, &event));
  co_await ok(scope.spawn(wait_in_timeout, &event));
  co_return Result<void>();
}

Task<Result<void>> stuck(Event& event) {
  co_await ok(with_scope(ScopeOptions{}, spawn_two, event));
  co_return Result<void>();
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("the task tree names every context, leaf and await of a stuck program") {
  TestReactor reactor;
  Loop loop(reactor);
  CHECK(task_tree(loop) == "no task\n");
  Event event;
  Root<Result<void>> root(std::source_location::current(), loop, stuck, event);
  loop.turn();
  loop.turn();
  const std::string tree = task_tree(loop);
  INFO(tree);
  CHECK(tree.starts_with("root task from task_tree_test.cpp:"));
  CHECK(count_of(tree, "scope from ") == 1);
  CHECK(count_of(tree, "\n    task from task_tree_test.cpp:") == 2);
  CHECK(count_of(tree, "timeout from ") == 1);
  CHECK(count_of(tree, "event") >= 2);
  CHECK(count_of(tree, "join of a scope") == 1);
  CHECK(tree.find("wait_in_timeout") != std::string::npos);
  event.set();
  loop.run_until_idle();
  CHECK(root.take().has_value());
}

TEST_CASE("a cancelled context is marked in the task tree") {
  TestReactor reactor;
  Loop loop(reactor);
  Event event;
  Root<Result<void>> root(std::source_location::current(), loop, stuck, event);
  loop.turn();
  root.cancel();
  CHECK(task_tree(loop).find("(cancelled)") != std::string::npos);
  loop.run_until_idle();
  CHECK(root.take().error().code == ErrorCode::cancelled);
}

}  // namespace spindle
