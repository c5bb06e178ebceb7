#include "runtime/trace.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/combinators.h"
#include "runtime/event.h"
#include "runtime/root.h"
#include "runtime/scope.h"
#include "runtime/task_tree.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {

namespace {

using namespace std::chrono_literals;

void add_traces(const CancelContext* context, std::vector<uint32_t>& traces) {
  for (; context != nullptr; context = context->next_sibling()) {
    if (context->waiting_leaf() != nullptr) traces.push_back(context->trace_id());
    add_traces(context->first_child(), traces);
  }
}

/// Of every task that waits, sorted.
std::vector<uint32_t> waiting_traces_of(Loop& loop) {
  std::vector<uint32_t> traces;
  add_traces(loop.root(), traces);
  std::sort(traces.begin(), traces.end());
  return traces;
}

Task<Result<void>> wait_for(Event* event) {
  co_await ok(event->wait());
  co_return Result<void>();
}

Task<Result<void>> wait_within(Event* event) {
  co_await ok(timeout(1h, shield(wait_for(event))));
  co_return Result<void>();
}

Task<Result<void>> spawn_two(Scope& scope, Event& event) {
  co_await ok(scope.spawn(wait_for, &event));
  co_await ok(scope.spawn(wait_within, &event));
  co_return Result<void>();
}

Task<Result<void>> work(Event* event, uint32_t number) {
  co_await set_trace_id(number);
  co_await ok(with_scope(ScopeOptions{}, spawn_two, *event));
  co_return Result<void>();
}

Task<Result<void>> spawn_workers(Scope& scope, Event& event) {
  co_await ok(scope.spawn(work, &event, 7u));
  co_await ok(scope.spawn(wait_for, &event));
  co_await ok(scope.spawn(work, &event, 8u));
  co_return Result<void>();
}

Task<Result<void>> serve(Event& event) {
  co_await ok(with_scope(ScopeOptions{}, spawn_workers, event));
  co_return Result<void>();
}

Task<Result<void>> wait_under(Event* event, uint32_t number) {
  co_await set_trace_id(number);
  co_await ok(event->wait());
  co_return Result<void>();
}

Task<Result<void>> set_within(Event& inner, Event& outer) {
  co_await set_trace_id(1);
  co_await ok(timeout(1h, wait_under(&inner, 2)));
  co_await ok(outer.wait());
  co_return Result<void>();
}

}  // namespace

TEST_CASE("what a task begins has its trace, and what others begin has not") {
  TestReactor reactor;
  Loop loop(reactor);
  Event event;
  Root<Result<void>> root(std::source_location::current(), loop, serve, event);
  while (loop.has_ready()) loop.turn();
  // serve() and each worker wait for their scopes; under each worker are two that wait for the event.
  CHECK(waiting_traces_of(loop) == std::vector<uint32_t>{0, 0, 7, 7, 7, 8, 8, 8});
  event.set();
  loop.run_until_idle();
  CHECK(root.take().has_value());
}

TEST_CASE("a trace that is set within a section ends with it") {
  TestReactor reactor;
  Loop loop(reactor);
  Event inner;
  Event outer;
  Root<Result<void>> root(std::source_location::current(), loop, set_within, inner, outer);
  while (loop.has_ready()) loop.turn();
  CHECK(waiting_traces_of(loop) == std::vector<uint32_t>{2});
  inner.set();
  while (loop.has_ready()) loop.turn();
  CHECK(waiting_traces_of(loop) == std::vector<uint32_t>{1});
  outer.set();
  loop.run_until_idle();
  CHECK(root.take().has_value());
}

TEST_CASE("the task tree tells a trace where it begins") {
  TestReactor reactor;
  Loop loop(reactor);
  Event event;
  Root<Result<void>> root(std::source_location::current(), loop, serve, event);
  while (loop.has_ready()) loop.turn();
  const std::string tree = task_tree(loop);
  INFO(tree);
  const size_t first = tree.find(", trace 7\n");
  REQUIRE(first != std::string::npos);
  CHECK(tree.find(", trace 7", first + 1) == std::string::npos);
  CHECK(tree.find(", trace 8\n") != std::string::npos);
  CHECK(tree.find(", trace 0") == std::string::npos);
  event.set();
  loop.run_until_idle();
  CHECK(root.take().has_value());
}

}  // namespace spindle
