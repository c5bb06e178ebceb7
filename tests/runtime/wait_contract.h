// What every wait promises, whatever it waits for. A station wraps one primitive:
//   Task<Result<void>> hold()   from now on wait() has to wait
//   Task<Result<void>> grant()  serves the first who waits; where nobody does, the next wait()
//                               completes at once
//   Task<Result<void>> wait()   waits, and gives back what it got
// hold() and grant() never suspend, so nothing runs between a grant and what follows it.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {

template <class Station>
class WaitContract {
 public:
  static Task<Result<void>> wait_and_tell(WaitContract* contract, int id) {
    auto waiting = contract->station.wait();
    const Result<void> result = co_await std::move(waiting);
    contract->trace.add(word_of(result) + std::to_string(id));
    co_return Result<void>();
  }
  static Task<Result<void>> tell(WaitContract* contract) {
    contract->trace.add("other");
    co_return Result<void>();
  }
  static Task<Result<void>> spawn_waiters(Scope* scope, WaitContract* contract, int count) {
    co_await ok(contract->station.hold());
    for (int id = 1; id <= count; ++id) {
      co_await ok(scope->spawn(cancellable_part<decltype(&wait_and_tell), WaitContract*, int>, &contract->parts[id],
                               &wait_and_tell, contract, id));
    }
    co_await settle();
    CHECK(contract->trace.text() == "");
    co_return Result<void>();
  }

  static Task<Result<void>> completes_at_once(Scope& scope, WaitContract& contract) {
    co_await ok(contract.station.hold());
    co_await ok(contract.station.grant());
    co_await ok(scope.spawn(&tell, &contract));
    co_await ok(wait_and_tell(&contract, 1));
    CHECK(contract.trace.text() == "ok1");
    co_return Result<void>();
  }
  static Task<Result<void>> serves_in_order(Scope& scope, WaitContract& contract) {
    co_await ok(spawn_waiters(&scope, &contract, 3));
    for (int round = 0; round < 3; ++round) {
      co_await ok(contract.station.grant());
      co_await settle();
    }
    CHECK(contract.trace.text() == "ok1 ok2 ok3");
    co_return Result<void>();
  }
  static Task<Result<void>> lets_a_cancelled_one_go(Scope& scope, WaitContract& contract) {
    co_await ok(spawn_waiters(&scope, &contract, 3));
    contract.parts[2]->cancel();
    CHECK(contract.trace.text() == "");  // a cancel runs nothing by itself
    co_await settle();
    CHECK(contract.trace.text() == "cancelled2");
    co_await ok(contract.station.grant());
    co_await settle();
    co_await ok(contract.station.grant());
    co_await settle();
    CHECK(contract.trace.text() == "cancelled2 ok1 ok3");
    co_return Result<void>();
  }
  static Task<Result<void>> keeps_what_was_granted(Scope& scope, WaitContract& contract) {
    co_await ok(spawn_waiters(&scope, &contract, 1));
    co_await ok(contract.station.grant());
    contract.parts[1]->cancel();
    co_await settle();
    CHECK(contract.trace.text() == "ok1");
    co_return Result<void>();
  }
  static Task<Result<void>> cancel_then_wait(Scope& scope, WaitContract& contract) {
    scope.cancel();
    co_await ok(wait_and_tell(&contract, 1));
    co_return Result<void>();
  }
  static Task<Result<void>> refuses_the_cancelled(Scope&, WaitContract& contract) {
    co_await ok(contract.station.hold());
    co_await ok(contract.station.grant());
    co_await ok(with_scope(ScopeOptions(), cancel_then_wait, contract));
    CHECK(contract.trace.text() == "cancelled1");
    co_return Result<void>();
  }
  static Task<Result<void>> refusal_takes_nothing(Scope& scope, WaitContract& contract) {
    co_await ok(refuses_the_cancelled(scope, contract));
    co_await ok(wait_and_tell(&contract, 2));
    CHECK(contract.trace.text() == "cancelled1 ok2");
    co_return Result<void>();
  }

  using Scenario = Task<Result<void>> (*)(Scope& scope, WaitContract& contract);
  static void check(Scenario scenario) {
    TestLoop test;
    WaitContract contract;
    const Result<void> result = run(test.loop, with_scope<Scenario, WaitContract&>, ScopeOptions{}, scenario, contract);
    CHECK(result.has_value());
  }

  Station station;
  Trace trace;
  Scope* parts[4] = {};
};

template <class Station>
void check_wait_contract() {
  using Contract = WaitContract<Station>;
  if constexpr (Station::may_complete_at_once) {
    SUBCASE("what is there already is taken without suspending") { Contract::check(Contract::completes_at_once); }
    SUBCASE("a refused wait takes nothing away") { Contract::check(Contract::refusal_takes_nothing); }
  }
  SUBCASE("those who wait are served in the order in which they came") { Contract::check(Contract::serves_in_order); }
  SUBCASE("a cancelled one leaves, the others are served") { Contract::check(Contract::lets_a_cancelled_one_go); }
  SUBCASE("what was granted before a cancel is kept") { Contract::check(Contract::keeps_what_was_granted); }
  SUBCASE("in a cancelled context a wait is refused") { Contract::check(Contract::refuses_the_cancelled); }
}

}  // namespace spindle
