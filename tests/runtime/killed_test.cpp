// A killed loop: its frames are destroyed from the top down at any moment; nothing runs afterwards, and
// nothing leaks.
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "runtime/channel.h"
#include "runtime/condition.h"
#include "runtime/gate.h"
#include "runtime/random.h"
#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using std::chrono::microseconds;

/// Dies with the frame that it lives in, and is counted.
struct Resident {
  Resident() noexcept { ++live_count; }
  Resident(const Resident&) noexcept { ++live_count; }
  ~Resident() { --live_count; }
  inline static int64_t live_count = 0;
};

/// All that a host's tasks share, and how often one of them has run.
struct Host {
  Event event;
  Semaphore semaphore{5};
  Mutex mutex;
  Condition condition;
  Gate gate;
  Channel<std::unique_ptr<int>> channel{2};
  Channel<int> nobody_sends{1};
  uint64_t ran_count = 0;
};

Duration random_rest() { return microseconds(Loop::current().random().below(20)); }

Task<Result<void>> rest(Host* host) {
  const Resident local;
  ++host->ran_count;
  co_await ok(sleep_for(random_rest()));
  ++host->ran_count;
  co_await ok(yield());
  ++host->ran_count;
  co_return Result<void>();
}

Task<Result<void>> hold_lock(Host* host) {
  const Mutex::Lock lock = co_await ok(host->mutex.lock());
  co_await ok(rest(host));
  host->condition.notify_one();
  co_return Result<void>();
}

Task<Result<void>> await_condition(Host* host) {
  Mutex::Lock lock = co_await ok(host->mutex.lock());
  const Resident local;
  co_await ok(host->condition.wait(lock));
  ++host->ran_count;
  co_return Result<void>();
}

Task<Result<void>> hold_permits(Host* host) {
  const uint64_t count = Loop::current().random().between(1, 5);
  const Semaphore::Permit permit = co_await ok(host->semaphore.acquire(count));
  co_await ok(rest(host));
  co_return Result<void>();
}

Task<Result<void>> pass_gate(Host* host) {
  Result<Gate::Pass> pass = host->gate.try_enter();
  co_await ok(rest(host));
  if (!pass.has_value()) co_return Result<void>();
  if (host->gate.inside_count() == 1) host->event.set();
  co_return Result<void>();
}

Task<Result<void>> send_one(Host* host) {
  const Resident local;
  co_await ok(host->channel.send(std::make_unique<int>(1)));
  ++host->ran_count;
  co_return Result<void>();
}

Task<Result<void>> receive_one(Host* host) {
  const std::unique_ptr<int> value = co_await ok(host->channel.receive());
  ++host->ran_count;
  CHECK(*value == 1);
  co_return Result<void>();
}

Task<Result<void>> await_event(Host* host) {
  host->event.reset();
  co_await ok(host->event.wait());
  ++host->ran_count;
  co_return Result<void>();
}

Task<Result<int>> rest_and_give(Host* host) {
  co_await ok(rest(host));
  co_return 1;
}

Task<Result<void>> race_others(Host* host) {
  const auto winner = co_await race(rest_and_give(host), await_event(host), receive_one(host));
  CHECK((winner.has_value() || winner.error().code == ErrorCode::cancelled));
  const auto all = co_await when_all(rest_and_give(host), rest(host));
  static_cast<void>(all);
  const auto settled = co_await when_all_settled(rest(host), rest_and_give(host));
  static_cast<void>(settled);
  co_return Result<void>();
}

Task<Result<void>> family_child(Host* host, Event* done) {
  co_await ok(rest(host));
  done->set();
  co_await ok(rest(host));
  co_return Result<void>();
}

Task<Result<void>> family(Scope& scope, Host* host, Event* done) {
  const Resident local;
  for (int index = 0; index < 4; ++index) co_await ok(scope.spawn(family_child, host, done));
  co_await ok(done->wait());
  if (Loop::current().random().chance(1, 4)) scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> raise_family(Host* host) {
  Event done;
  ScopeOptions options;
  options.children_max = 2;
  co_await ok(with_scope(options, family, host, &done));
  co_return Result<void>();
}

Task<Result<void>> shielded(Host* host) {
  co_await ok(shield(rest(host)));
  const Result<void> late = co_await shield(timeout(microseconds(5), rest(host)));
  static_cast<void>(late);
  co_return Result<void>();
}

SPINDLE_TASK_WRAPPER Task<Result<void>> do_one(Host* host) {
  switch (Loop::current().random().below(10)) {
    case 0: return hold_lock(host);
    case 1: return await_condition(host);
    case 2: return hold_permits(host);
    case 3: return pass_gate(host);
    case 4: return send_one(host);
    case 5: return receive_one(host);
    case 6: return await_event(host);
    case 7: return race_others(host);
    case 8: return raise_family(host);
    default: return shielded(host);
  }
}

Task<Result<void>> worker(Host* host) {
  const Resident local;
  for (;;) {
    auto one = do_one(host);
    const Result<void> done = co_await timeout(microseconds(30), std::move(one));
    if (!done.has_value()) CHECK(done.error().code == ErrorCode::timed_out);
  }
}

Task<Result<void>> spawn_workers(Scope& scope, Host* host) {
  const Resident local;
  for (int index = 0; index < 12; ++index) co_await ok(scope.spawn(worker, host));
  co_await ok(sleep_for(std::chrono::hours(1)));
  co_return Result<void>();
}

Task<Result<void>> live_with(Host* host) {
  const Resident local;
  co_await ok(with_scope(ScopeOptions(), spawn_workers, host));
  co_return Result<void>();
}

Task<Result<void>> live(Host** host_out) {
  Host host;  // dies with its root's frame
  *host_out = &host;
  co_await ok(live_with(&host));
  co_return Result<void>();
}

/// Runs `turns_count` turns, a node each, and kills the loop. Returns how often tasks had run by then.
uint64_t kill_after(uint64_t seed, uint64_t turns_count) {
  Loop::Options options;
  options.ready_budget = 1;
  options.random_seed = seed;
  options.schedule_randomly = seed % 2 == 1;
  TestLoop test(options);
  Host host;
  uint64_t ran_count = 0;
  {
    Root<Result<void>> root(std::source_location::current(), test.loop, live_with, &host);
    for (uint64_t turn = 0; turn < turns_count; ++turn) {
      if (test.loop.turn() == 0) test.reactor.wait(test.loop.timers().next());
    }
    test.loop.mark_dying();
    ran_count = host.ran_count;
  }
  CHECK(host.ran_count == ran_count);
  CHECK_FALSE(test.loop.has_ready());
  CHECK(test.loop.frames().live_count() == 0);
  CHECK(Resident::live_count == 0);
  return ran_count;
}

void kill_with_its_host(uint64_t seed, uint64_t turns_count) {
  Loop::Options options;
  options.ready_budget = 1;
  options.random_seed = seed;
  TestLoop test(options);
  Host* host = nullptr;
  Root<Result<void>> root(std::source_location::current(), test.loop, live, &host);
  for (uint64_t turn = 0; turn < turns_count; ++turn) {
    if (test.loop.turn() == 0) test.reactor.wait(test.loop.timers().next());
  }
  test.loop.mark_dying();
}

/// Kills a loop while `story` waits.
template <class Story, class... Args>
void kill_while_waiting(Story story, Args... args) {
  TestLoop test;
  Root<Result<void>> root(std::source_location::current(), test.loop, story, args...);
  test.drive_ready();
  CHECK_FALSE(root.is_done());
  test.loop.mark_dying();
}

Task<Result<void>> probe_chain(Trace* trace, int depth) {
  const Probe local(*trace, std::to_string(depth));
  if (depth == 0) {
    co_await ok(sleep_for(std::chrono::hours(1)));
  } else {
    co_await ok(probe_chain(trace, depth - 1));
  }
  co_return Result<void>();
}

Task<Result<void>> probe_child(Trace* trace, Probe argument) {
  static_cast<void>(argument);
  const Probe local(*trace, "child");
  co_await ok(sleep_for(std::chrono::hours(1)));
  co_return Result<void>();
}

Task<Result<void>> probe_body(Scope& scope, Trace* trace) {
  const Probe local(*trace, "body");
  co_await ok(scope.spawn(probe_child, trace, Probe(*trace, "argument")));
  co_await ok(sleep_for(std::chrono::hours(1)));
  co_return Result<void>();
}

Task<Result<void>> probe_scope(Trace* trace) {
  const Probe local(*trace, "root");
  co_await ok(with_scope(ScopeOptions(), probe_body, trace));
  co_return Result<void>();
}

Task<Result<void>> leaf_in_timeout() {
  Event event;
  const Result<void> result = co_await timeout(std::chrono::hours(1), event.wait());
  co_return result;
}

Task<Result<void>> leaf_in_shield() {
  Mutex mutex;
  const Mutex::Lock lock = co_await ok(mutex.lock());
  const Result<Mutex::Lock> again = co_await shield(mutex.lock());
  static_cast<void>(again);
  co_return Result<void>();
}

Task<Result<void>> leaf_in_both() {
  co_await ok(shield(timeout(std::chrono::hours(2), sleep_for(std::chrono::hours(1)))));
  co_return Result<void>();
}

class CancelsOnExit {
 public:
  explicit CancelsOnExit(Scope& scope) noexcept : scope_(scope) {}
  ~CancelsOnExit() { scope_.cancel(); }

 private:
  Scope& scope_;
};

Task<Result<void>> sleep_for_hours() { co_return co_await sleep_for(std::chrono::hours(1)); }

Task<Result<void>> body_with_guard(Scope& scope) {
  const CancelsOnExit guard(scope);
  co_await ok(scope.spawn(sleep_for_hours));
  co_await ok(sleep_for(std::chrono::hours(2)));
  co_return Result<void>();
}

Task<Result<void>> guarded() {
  co_await ok(with_scope(ScopeOptions(), body_with_guard));
  co_return Result<void>();
}

Task<Result<void>> descend(int depth) {
  if (depth == 0) {
    co_await ok(sleep_for(std::chrono::hours(1)));
  } else {
    co_await ok(descend(depth - 1));
  }
  co_return Result<void>();
}

TEST_SUITE_BEGIN("killed loop");

TEST_CASE("a mixed workload dies at any moment without a leak, and nothing runs afterwards") {
  Random random(5);
  uint64_t ran_count = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) ran_count += kill_after(seed, random.below(3000));
  CHECK(ran_count > 10000);
  for (uint64_t turns_count = 0; turns_count < 100; ++turns_count) kill_after(1000 + turns_count, turns_count);
}

TEST_CASE("primitives that live in the killed frames die with their waiters and holders") {
  Random random(6);
  for (uint64_t seed = 0; seed < 100; ++seed) kill_with_its_host(seed, random.below(2000));
  CHECK(Resident::live_count == 0);
}

TEST_CASE("a chain dies from its leaf to its root, locals in reverse order") {
  Trace trace;
  kill_while_waiting(probe_chain, &trace, 3);
  CHECK(trace.text() == "~0 ~1 ~2 ~3");
}

TEST_CASE("a scope's body dies, then its children with their arguments, then what is around it") {
  Trace trace;
  kill_while_waiting(probe_scope, &trace);
  CHECK(trace.text() == "~body ~child ~argument ~root");
  CHECK(Probe::live_count == 0);
}

TEST_CASE("a leaf that waits directly inside timeout() or shield() dies with it") {
  kill_while_waiting(leaf_in_timeout);
  kill_while_waiting(leaf_in_shield);
  kill_while_waiting(leaf_in_both);
}

TEST_CASE("a destructor in a killed frame may cancel a scope") {
  expect_survival([] { kill_while_waiting(guarded); });
}

TEST_CASE("ten thousand tasks that await one another die with their loop") {
  expect_survival([] { kill_while_waiting(descend, 10000); });
}

TEST_CASE("a root that never began dies with its loop") {
  TestLoop test;
  Trace trace;
  Root<Result<void>> root(std::source_location::current(), test.loop, probe_child, &trace, Probe(trace, "argument"));
  test.loop.mark_dying();
  CHECK(trace.text() == "");
  CHECK(Probe::live_count == 1);
}

TEST_CASE("a loop with nothing to do can be killed") {
  TestLoop test;
  test.loop.mark_dying();
  CHECK(test.loop.is_dying());
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
