// Exceptions of user code on their way through the runtime.
#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

enum class When { at_once, later };

Task<Result<int>> throw_up(Trace* trace, When when) {
  const Probe local(*trace, "thrower");
  if (when == When::later) co_await ok(sleep_for(std::chrono::seconds(1)));
  throw std::runtime_error("user code");
}

Task<void> throw_plainly() {
  throw std::logic_error("plain");
  co_return;
}

Task<Result<int>> pass_on(Trace* trace, When when) {
  const Probe local(*trace, "middle");
  const int value = co_await ok(throw_up(trace, when));
  co_return value;
}

Task<Result<int>> catch_it(Trace* trace, When when) {
  std::string text;
  try {
    const Probe local(*trace, "outer");
    const int value = co_await ok(pass_on(trace, when));
    static_cast<void>(value);
  } catch (const std::runtime_error& error) {
    text = error.what();
  }
  trace->add("caught");
  CHECK(text == "user code");
  co_await ok(yield());
  co_return 3;
}

Task<Result<int>> catch_from_timeout(Trace* trace, When when) {
  bool is_caught = false;
  try {
    const Result<int> result = co_await timeout(std::chrono::seconds(9), pass_on(trace, when));
    static_cast<void>(result);
  } catch (const std::runtime_error&) {
    is_caught = true;
  }
  CHECK(is_caught);
  CHECK(Loop::current().timers().empty());
  co_await ok(sleep_for(std::chrono::seconds(20)));  // the section was left: its timer no longer cancels
  co_return 4;
}

Task<Result<int>> catch_from_shield(Trace* trace, When when) {
  bool is_caught = false;
  try {
    const Result<int> result = co_await shield(pass_on(trace, when));
    static_cast<void>(result);
  } catch (const std::runtime_error&) {
    is_caught = true;
  }
  CHECK(is_caught);
  const Result<void> after = co_await yield();
  CHECK(word_of(after) == "cancelled");
  co_return 5;
}

Task<Result<int>> throw_from_child(Trace* trace) {
  const int value = co_await ok(throw_up(trace, When::later));
  co_return value;
}

Task<Result<void>> sleep_long(Trace* trace) {
  const Probe local(*trace, "sleeper");
  const Result<void> slept = co_await sleep_for(std::chrono::hours(1));
  trace->add(word_of(slept));
  co_return Result<void>();
}

Task<Result<void>> body_of_throwers(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_long, trace));
  co_await ok(scope.spawn(throw_from_child, trace));
  const Result<void> slept = co_await sleep_for(std::chrono::hours(1));
  trace->add("body:" + word_of(slept));
  co_return Result<void>();
}

Task<Result<void>> body_that_throws(Scope& scope, Trace* trace) {
  co_await ok(scope.spawn(sleep_long, trace));
  co_await ok(yield());
  throw std::runtime_error("body");
}

using Body = Task<Result<void>> (*)(Scope&, Trace*);

Task<Result<void>> catch_from_scope(Body body, Trace* trace) {
  bool is_caught = false;
  try {
    const Result<void> result = co_await with_scope(ScopeOptions(), body, trace);
    static_cast<void>(result);
  } catch (const std::runtime_error&) {
    is_caught = true;
  }
  CHECK(is_caught);
  trace->add("joined");
  co_await ok(yield());  // the scope's section was left
  co_return Result<void>();
}

Task<Result<int>> catch_from_race(Trace* trace) {
  bool is_caught = false;
  try {
    auto result = co_await race(throw_up(trace, When::later), sleep_long(trace));
    static_cast<void>(result);
  } catch (const std::runtime_error&) {
    is_caught = true;
  }
  CHECK(is_caught);
  co_return 6;
}

Task<Result<int>> catch_from_all(Trace* trace, bool settled) {
  bool is_caught = false;
  try {
    if (settled) {
      auto results = co_await when_all_settled(throw_up(trace, When::later), sleep_long(trace));
      static_cast<void>(results);
    } else {
      auto results = co_await when_all(throw_up(trace, When::later), sleep_long(trace));
      static_cast<void>(results);
    }
  } catch (const std::runtime_error&) {
    is_caught = true;
  }
  CHECK(is_caught);
  co_return 7;
}

TEST_SUITE_BEGIN("exceptions");

TEST_CASE("an exception travels through tasks and ok(), and each frame dies on its way") {
  for (When when : {When::at_once, When::later}) {
    TestLoop test;
    Trace trace;
    CHECK(run(test.loop, catch_it, &trace, when).value() == 3);
    CHECK(trace.text() == "~thrower ~middle ~outer caught");
  }
}

TEST_CASE("an exception leaves run(), and the loop can run again") {
  TestLoop test;
  Trace trace;
  CHECK_THROWS_WITH_AS(static_cast<void>(run(test.loop, pass_on, &trace, When::later)), "user code",
                       std::runtime_error);
  CHECK_THROWS_AS(run(test.loop, throw_plainly), std::logic_error);
  CHECK(run(test.loop, catch_it, &trace, When::at_once).value() == 3);
  CHECK(Probe::live_count == 0);
}

TEST_CASE("an exception through timeout() disarms its timer and leaves its section") {
  for (When when : {When::at_once, When::later}) {
    TestLoop test;
    Trace trace;
    CHECK(run(test.loop, catch_from_timeout, &trace, when).value() == 4);
  }
}

TEST_CASE("an exception through shield() leaves its section") {
  TestLoop test;
  Trace trace;
  Root<Result<int>> root(std::source_location::current(), test.loop, catch_from_shield, &trace, When::later);
  test.drive_ready();
  root.cancel();
  test.drive();
  CHECK(root.take().value() == 5);
}

TEST_CASE("an exception of a child cancels and joins the others before it leaves the scope") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, catch_from_scope, body_of_throwers, &trace).has_value());
  CHECK(trace.text().find("~thrower") == 0);
  CHECK(trace.text().find("cancelled ~sleeper") != std::string::npos);
  CHECK(trace.text().find("body:cancelled") != std::string::npos);
  CHECK(trace.text().rfind(" joined") == trace.text().size() - 7);
  CHECK(test.elapsed() == std::chrono::seconds(1));
}

TEST_CASE("an exception of the body cancels and joins the children before it leaves the scope") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, catch_from_scope, body_that_throws, &trace).has_value());
  CHECK(trace.text() == "cancelled ~sleeper joined");
}

TEST_CASE("an exception through race(), when_all() and when_all_settled() joins the others first") {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, catch_from_race, &trace).value() == 6);
  CHECK(trace.text() == "~thrower cancelled ~sleeper");
  trace.clear();
  CHECK(run(test.loop, catch_from_all, &trace, false).value() == 7);
  CHECK(trace.text() == "~thrower cancelled ~sleeper");
  trace.clear();
  CHECK(run(test.loop, catch_from_all, &trace, true).value() == 7);
  CHECK(trace.text() == "~thrower cancelled ~sleeper");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
