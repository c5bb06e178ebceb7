#include "runtime/gate.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>

#include "tests/death.h"
#include "tests/runtime/wait_contract.h"

namespace spindle {
namespace {

class GateStation {
 public:
  static constexpr bool may_complete_at_once = true;
  Task<Result<void>> hold() {
    Result<Gate::Pass> pass = gate_.try_enter();
    inside_.emplace(*std::move(pass));
    co_return Result<void>();
  }
  Task<Result<void>> grant() {
    inside_.reset();
    co_return Result<void>();
  }
  Task<Result<void>> wait() { co_return co_await gate_.close(); }

 private:
  Gate gate_;
  std::optional<Gate::Pass> inside_;
};

Task<Result<void>> work_inside(Gate* gate, Trace* trace) {
  Result<Gate::Pass> pass = gate->try_enter();
  if (!pass.has_value()) co_return Unexpected(pass.error());
  co_await ok(sleep_for(std::chrono::seconds(1)));
  trace->add("worked");
  co_return Result<void>();
}

Task<Result<void>> fail_inside(Gate* gate) {
  Result<Gate::Pass> pass = gate->try_enter();
  CHECK(gate->inside_count() == 1);
  co_await ok(yield());
  auto failing = []() -> Task<Result<void>> { co_return fail(ErrorCode::exhausted, "inner"); };
  co_await ok(failing());
  co_return Result<void>();
}

Task<Result<void>> close_waits(Scope& scope, Gate* gate, Trace* trace) {
  co_await ok(scope.spawn(work_inside, gate, trace));
  co_await ok(scope.spawn(work_inside, gate, trace));
  co_await settle();
  CHECK(gate->inside_count() == 2);
  co_await ok(gate->close());
  trace->add("closed");
  CHECK(gate->inside_count() == 0);
  CHECK(gate->try_enter().error().code == ErrorCode::closed);
  co_await ok(gate->close());  // again: nobody is inside
  co_return Result<void>();
}

Task<Result<void>> refuse_while_closing(Scope& scope, Gate* gate, Trace* trace) {
  co_await ok(scope.spawn(work_inside, gate, trace));
  co_await settle();
  const Result<void> late = co_await timeout(Duration(1), gate->close());
  trace->add(word_of(late));
  CHECK(gate->is_closed());  // a cancelled wait leaves it closed
  const Result<void> refused = co_await work_inside(gate, trace);
  trace->add(word_of(refused));
  co_return Result<void>();
}

Task<Result<void>> leave_on_early_exit(Scope&, Gate* gate, Trace*) {
  const Result<void> failed = co_await fail_inside(gate);
  CHECK(word_of(failed) == "capacity exhausted");
  CHECK(gate->inside_count() == 0);
  co_return Result<void>();
}

Task<Result<void>> close_when_cancelled(Scope& scope, Gate* gate, Trace* trace) {
  scope.cancel();
  const Result<void> closed = co_await gate->close();
  trace->add(word_of(closed));
  co_return Result<void>();
}

using Story = Task<Result<void>> (*)(Scope&, Gate*, Trace*);

std::string tell(Story story, Gate& gate) {
  TestLoop test;
  Trace trace;
  CHECK(run(test.loop, with_scope<Story, Gate*, Trace*>, ScopeOptions{}, story, &gate, &trace).has_value());
  return trace.text();
}

TEST_SUITE_BEGIN("gate");

TEST_CASE("closing a gate keeps what every wait promises") { check_wait_contract<GateStation>(); }

TEST_CASE("close() waits until all that is inside has left, and nobody gets in after it") {
  Gate gate;
  CHECK(tell(close_waits, gate) == "worked worked closed");
}

TEST_CASE("a cancelled close() leaves the gate closed, and those inside at their work") {
  Gate gate;
  CHECK(tell(refuse_while_closing, gate) == "timed out closed worked");
}

TEST_CASE("a pass is given back on an early exit before the parent sees the error") {
  Gate gate;
  CHECK(tell(leave_on_early_exit, gate) == "");
}

TEST_CASE("in a cancelled context close() still refuses entry from now on") {
  Gate gate;
  CHECK(tell(close_when_cancelled, gate) == "cancelled");
  CHECK(gate.is_closed());
}

TEST_CASE("a pass moves, and leaves once") {
  Gate gate;
  {
    Gate::Pass first = *gate.try_enter();
    const Gate::Pass second = std::move(first);
    CHECK(gate.inside_count() == 1);
  }
  CHECK(gate.inside_count() == 0);
}

TEST_CASE("a gate that dies with work inside is a caught bug") {
  expect_abort(
      [] {
        auto gate = std::make_unique<Gate>();
        const Gate::Pass pass = *gate->try_enter();
        gate.reset();
      },
      "a gate was destroyed with work inside");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
