// spawn() at the limit of a scope: it is a wait as any other.
#include <doctest/doctest.h>

#include <string>

#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

/// A scope with room for one child, which is taken until `leave` is set, and spawners from outside of it.
struct Crowd {
  Scope* limited = nullptr;
  Event leave;
  Trace trace;
  Scope* parts[5] = {};
};

Task<Result<void>> occupy(Crowd* crowd) { co_return co_await crowd->leave.wait(); }

Task<Result<void>> child(Crowd* crowd, Probe name) {
  crowd->trace.add("child" + name.name());
  co_await ok(yield());
  co_return Result<void>();
}

Task<Result<void>> spawner(Crowd* crowd, int id) {
  Probe name(crowd->trace, std::to_string(id));
  const Result<void> spawned = co_await crowd->limited->spawn(child, crowd, std::move(name));
  crowd->trace.add(word_of(spawned) + std::to_string(id));
  co_return Result<void>();
}

Task<Result<void>> spawn_spawners(Scope* scope, Crowd* crowd) {
  for (int id = 1; id <= 3; ++id) {
    co_await ok(
        scope->spawn(cancellable_part<decltype(&spawner), Crowd*, int>, &crowd->parts[id], &spawner, crowd, id));
  }
  co_await settle();
  CHECK(crowd->trace.text() == "");
  CHECK(crowd->limited->live_count() == 1);
  co_return Result<void>();
}

Task<Result<void>> all_get_in(Scope& scope, Crowd* crowd) {
  co_await ok(spawn_spawners(&scope, crowd));
  crowd->leave.set();
  co_return Result<void>();
}

Task<Result<void>> one_gives_up(Scope& scope, Crowd* crowd) {
  co_await ok(spawn_spawners(&scope, crowd));
  crowd->parts[2]->cancel();
  co_await settle();
  CHECK(crowd->trace.text() == "~2 cancelled2");
  crowd->leave.set();
  co_return Result<void>();
}

Task<Result<void>> granted_then_cancelled(Scope& scope, Crowd* crowd) {
  co_await ok(spawn_spawners(&scope, crowd));
  crowd->leave.set();
  co_await ok(yield());  // the occupant left, and the first spawner is queued behind this task
  CHECK(crowd->trace.text() == "");
  crowd->parts[1]->cancel();
  co_return Result<void>();
}

Task<Result<void>> scope_is_cancelled(Scope& scope, Crowd* crowd) {
  co_await ok(spawn_spawners(&scope, crowd));
  crowd->limited->cancel();
  co_return Result<void>();
}

using Story = Task<Result<void>> (*)(Scope&, Crowd*);

Task<Result<void>> limited_body(Scope& scope, Crowd* crowd, Story story) {
  crowd->limited = &scope;
  co_await ok(scope.spawn(occupy, crowd));
  const Result<void> told = co_await shield(with_scope(ScopeOptions(), story, crowd));
  co_return told;
}

std::string tell(Story story) {
  TestLoop test;
  Crowd crowd;
  ScopeOptions options;
  options.children_max = 1;
  CHECK(run(test.loop, with_scope<decltype(&limited_body), Crowd*, Story&>, options, &limited_body, &crowd, story)
            .has_value());
  CHECK(Probe::live_count == 0);
  return crowd.trace.text();
}

TEST_SUITE_BEGIN("spawn at the limit");

TEST_CASE("spawners get their places in the order in which they came, one at a time") {
  CHECK(tell(all_get_in) == "ok1 child1 ~1 ok2 child2 ~2 ok3 child3 ~3");
}

TEST_CASE("a cancelled spawner drops its arguments, and the others get in") {
  CHECK(tell(one_gives_up) == "~2 cancelled2 ok1 child1 ~1 ok3 child3 ~3");
}

TEST_CASE("a place that was granted before the cancel is used") {
  CHECK(tell(granted_then_cancelled) == "ok1 child1 ~1 ok2 child2 ~2 ok3 child3 ~3");
}

TEST_CASE("when the scope is cancelled those who wait for a place are refused") {
  const std::string text = tell(scope_is_cancelled);
  CHECK(text == "~1 cancelled1 ~2 cancelled2 ~3 cancelled3");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
