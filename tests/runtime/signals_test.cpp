#include "runtime/signals.h"

#include <doctest/doctest.h>

#include <csignal>

#include "runtime/combinators.h"
#include "runtime/root.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {

namespace {

using namespace std::chrono_literals;

Task<Result<int>> next_of(Signals& signals) {
  const int number = co_await ok(signals.next());
  co_return number;
}

Task<Result<int>> raise_then_wait(Signals& signals) {
  std::raise(SIGUSR1);
  std::raise(SIGUSR1);
  const int number = co_await ok(signals.next());
  const Result<int> again = co_await timeout(1ms, signals.next());
  CHECK(again.error().code == ErrorCode::timed_out);
  co_return number;
}

}  // namespace

TEST_CASE("a signal that came before anybody waited is delivered once") {
  TestReactor reactor;
  Loop loop(reactor);
  Signals signals(loop, Signals::set_of(SIGUSR1, SIGUSR2));
  const Result<int> number = run(loop, raise_then_wait, signals);
  CHECK(number.value() == SIGUSR1);
}

TEST_CASE("a waiting task gets the signal, and the former handler comes back") {
  struct sigaction before{};
  sigaction(SIGUSR2, nullptr, &before);
  TestReactor reactor;
  Loop loop(reactor);
  {
    Signals signals(loop, Signals::set_of(SIGUSR2));
    Root<Result<int>> root(std::source_location::current(), loop, next_of, signals);
    loop.turn();
    CHECK(!root.is_done());
    std::raise(SIGUSR2);
    loop.run_until_idle();
    CHECK(root.take().value() == SIGUSR2);
  }
  struct sigaction after{};
  sigaction(SIGUSR2, nullptr, &after);
  const bool is_restored = after.sa_handler == before.sa_handler;
  CHECK(is_restored);
}

TEST_CASE("deliver() is a signal without the system, and goes to the first who waits") {
  TestReactor reactor;
  Loop loop(reactor);
  Signals signals(loop, Signals::set_of(SIGTERM));
  Root<Result<int>> root(std::source_location::current(), loop, next_of, signals);
  loop.turn();
  signals.deliver(SIGTERM);
  loop.run_until_idle();
  CHECK(root.take().value() == SIGTERM);
}

TEST_CASE("waiting for a signal can be cancelled") {
  TestReactor reactor;
  Loop loop(reactor);
  Signals signals(loop, Signals::set_of(SIGTERM));
  Root<Result<int>> root(std::source_location::current(), loop, next_of, signals);
  loop.turn();
  root.cancel();
  loop.run_until_idle();
  CHECK(root.take().error().code == ErrorCode::cancelled);
}

}  // namespace spindle
