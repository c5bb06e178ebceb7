#include "runtime/channel.h"

#include <doctest/doctest.h>

#include <deque>
#include <memory>
#include <string>

#include "runtime/random.h"
#include "tests/death.h"
#include "tests/runtime/wait_contract.h"

namespace spindle {
namespace {

class SendStation {
 public:
  static constexpr bool may_complete_at_once = true;
  Task<Result<void>> hold() {
    co_await ok(channel_.send(0));
    co_return Result<void>();
  }
  Task<Result<void>> grant() {
    const int value = co_await ok(channel_.receive());
    CHECK(value == 0);
    co_return Result<void>();
  }
  Task<Result<void>> wait() { co_return co_await channel_.send(0); }

 private:
  Channel<int> channel_{1};
};

class ReceiveStation {
 public:
  static constexpr bool may_complete_at_once = true;
  Task<Result<void>> hold() { co_return Result<void>(); }
  Task<Result<void>> grant() {
    co_await ok(channel_.send(std::make_unique<int>(sent_count_++)));
    co_return Result<void>();
  }
  Task<Result<void>> wait() {
    const std::unique_ptr<int> value = co_await ok(channel_.receive());
    CHECK(*value == received_count_++);
    co_return Result<void>();
  }

 private:
  Channel<std::unique_ptr<int>> channel_{4};
  int sent_count_ = 0;
  int received_count_ = 0;
};

using Names = Channel<Probe>;

Task<Result<void>> send_named(Names* names, Trace* trace, const char* name) {
  const Result<void> sent = co_await names->send(Probe(*trace, name));
  trace->add(name + word_of(sent));
  co_return Result<void>();
}

Task<Result<void>> receive_named(Names* names, Trace* trace, int id) {
  const Result<Probe> received = co_await names->receive();
  trace->add(std::to_string(id) + (received.has_value() ? received->name() : word_of(received)));
  co_return Result<void>();
}

Task<Result<void>> close_on_senders(Scope& scope, Names* names, Trace* trace) {
  for (const char* name : {"a", "b", "c", "d"}) co_await ok(scope.spawn(send_named, names, trace, name));
  co_await settle();
  CHECK(trace->text() == "aok bok");
  trace->clear();
  names->close();
  CHECK(names->size() == 2);
  co_await settle();
  CHECK(trace->text() == "~c cclosed ~d dclosed");
  trace->clear();
  co_await ok(send_named(names, trace, "e"));
  CHECK(trace->text() == "~e eclosed");
  trace->clear();
  for (int id = 1; id <= 3; ++id) co_await ok(receive_named(names, trace, id));
  CHECK(trace->text() == "1a ~a 2b ~b 3closed");
  co_return Result<void>();
}

Task<Result<void>> close_on_receivers(Scope& scope, Names* names, Trace* trace) {
  co_await ok(scope.spawn(receive_named, names, trace, 1));
  co_await ok(scope.spawn(receive_named, names, trace, 2));
  co_await settle();
  co_await ok(send_named(names, trace, "a"));
  names->close();
  names->close();
  CHECK(names->is_closed());
  co_await settle();
  CHECK(trace->text() == "aok 1a ~a 2closed");
  co_return Result<void>();
}

Task<Result<void>> leave_values_behind(Scope&, Names* names, Trace* trace) {
  co_await ok(send_named(names, trace, "a"));
  co_await ok(send_named(names, trace, "b"));
  const Result<void> late = co_await timeout(Duration(1), names->send(Probe(*trace, "c")));
  trace->add(word_of(late));
  co_return Result<void>();
}

Task<Result<void>> leave_by_send(Names* names, Trace* trace) {
  const Probe local(*trace, "local");
  co_await ok(names->send(Probe(*trace, "value")));
  trace->add("unreached");
  co_return Result<void>();
}

Task<Result<void>> drop_on_early_exit(Scope&, Names* names, Trace* trace) {
  names->close();
  const Result<void> left = co_await leave_by_send(names, trace);
  trace->add(word_of(left));
  co_return Result<void>();
}

Task<Result<void>> hand_over_directly(Scope& scope, Names* names, Trace* trace) {
  co_await ok(scope.spawn(receive_named, names, trace, 1));
  co_await settle();
  co_await ok(send_named(names, trace, "a"));
  CHECK(names->size() == 0);  // it went to who waits
  co_await ok(send_named(names, trace, "b"));
  co_await ok(receive_named(names, trace, 2));  // does not take what was handed to the other one
  co_await settle();
  CHECK(trace->text() == "aok bok 2b ~b 1a ~a");
  co_return Result<void>();
}

Task<Result<void>> refill_from_senders(Scope& scope, Names* names, Trace* trace) {
  for (const char* name : {"a", "b", "c", "d"}) co_await ok(scope.spawn(send_named, names, trace, name));
  co_await settle();
  trace->clear();
  for (int id = 1; id <= 4; ++id) co_await ok(receive_named(names, trace, id));
  CHECK(trace->text() == "1a ~a 2b ~b 3c ~c 4d ~d");
  CHECK(names->size() == 0);
  co_return Result<void>();
}

using Story = Task<Result<void>> (*)(Scope&, Names*, Trace*);

std::string tell(Story story) {
  Trace trace;
  {
    TestLoop test;
    Names names(2);
    CHECK(run(test.loop, with_scope<Story, Names*, Trace*>, ScopeOptions{}, story, &names, &trace).has_value());
  }
  CHECK(Probe::live_count == 0);
  return trace.text();
}

struct Traffic {
  Channel<uint64_t> channel;
  uint64_t sum_sent = 0;
  uint64_t sum_received = 0;
  uint64_t sum_dropped = 0;
};

Task<Result<void>> send_much(Traffic* traffic, uint64_t seed) {
  Random random(seed);
  for (int index = 0; index < 300; ++index) {
    const uint64_t value = random.below(1000);
    const Duration patience(static_cast<int64_t>(random.below(4)));
    const Result<void> sent = co_await timeout(patience, traffic->channel.send(value));
    traffic->sum_sent += value;
    if (!sent.has_value()) traffic->sum_dropped += value;
    if (random.chance(1, 4)) co_await ok(sleep_for(Duration(2)));
  }
  co_return Result<void>();
}

Task<Result<void>> receive_much(Traffic* traffic, uint64_t seed) {
  Random random(seed);
  for (;;) {
    const Duration patience(static_cast<int64_t>(random.below(6)));
    const Result<uint64_t> received = co_await timeout(patience, traffic->channel.receive());
    if (received.has_value()) traffic->sum_received += *received;
    if (!received.has_value() && received.error().code == ErrorCode::closed) co_return Result<void>();
    co_await ok(sleep_for(Duration(static_cast<int64_t>(random.below(3)))));
  }
}

Task<Result<void>> send_all(Scope& scope, Traffic* traffic) {
  for (uint64_t seed = 0; seed < 4; ++seed) co_await ok(scope.spawn(send_much, traffic, seed));
  co_return Result<void>();
}

Task<Result<void>> carry_traffic(Scope& scope, Traffic* traffic) {
  for (uint64_t seed = 10; seed < 13; ++seed) co_await ok(scope.spawn(receive_much, traffic, seed));
  co_await ok(with_scope(ScopeOptions(), send_all, traffic));
  traffic->channel.close();
  co_return Result<void>();
}

Task<Result<void>> wait_on_dying(Scope& scope) {
  auto channel = std::make_unique<Channel<int>>(1);
  auto receive = [](Channel<int>* from) -> Task<Result<void>> {
    const Result<int> received = co_await from->receive();
    static_cast<void>(received);
    co_return Result<void>();
  };
  co_await ok(scope.spawn(receive, channel.get()));
  co_await settle();
  channel.reset();
  co_return Result<void>();
}

TEST_SUITE_BEGIN("channel");

TEST_CASE("sending keeps what every wait promises") { check_wait_contract<SendStation>(); }

TEST_CASE("receiving keeps what every wait promises") { check_wait_contract<ReceiveStation>(); }

TEST_CASE("closing fails the senders that wait, drops their values, and leaves the buffered ones") {
  tell(close_on_senders);
}

TEST_CASE("closing fails the receivers that wait; what one was handed before it keeps") { tell(close_on_receivers); }

TEST_CASE("a cancelled send drops its value, and values left in a channel die with it") {
  CHECK(tell(leave_values_behind).find("aok bok ~c timed out ~") == 0);
}

TEST_CASE("a send that ends its task by an early exit drops its value first") {
  CHECK(tell(drop_on_early_exit) == "~value ~local closed");
}

TEST_CASE("a value goes to the receiver that waits, past the buffer") { tell(hand_over_directly); }

TEST_CASE("a receive makes room for the first who waits to send, in order") { tell(refill_from_senders); }

TEST_CASE("no value is lost or doubled between senders and receivers that give up at random") {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    Loop::Options options;
    options.schedule_randomly = seed > 0;
    options.random_seed = seed;
    TestLoop test(options);
    Traffic traffic{Channel<uint64_t>(3)};
    CHECK(run(test.loop, with_scope<decltype(&carry_traffic), Traffic*>, ScopeOptions{}, &carry_traffic, &traffic)
              .has_value());
    CHECK(traffic.sum_received > 0);
    CHECK(traffic.sum_dropped > 0);
    CHECK(traffic.sum_sent == traffic.sum_received + traffic.sum_dropped);
  }
}

TEST_CASE("misuse of a channel is caught") {
  expect_abort([] { Channel<int> channel(0); }, "a channel needs room for at least one value");
  expect_abort(
      [] {
        TestLoop test;
        static_cast<void>(run(test.loop, with_scope<decltype(&wait_on_dying)>, ScopeOptions{}, &wait_on_dying));
      },
      "a wait primitive was destroyed with tasks waiting on it");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
