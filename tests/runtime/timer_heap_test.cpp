#include "runtime/timer_heap.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "runtime/random.h"
#include "tests/death.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

Time at(int64_t nanoseconds) { return Time(Duration(nanoseconds)); }

/// A timer that tells a list when it fires.
class Telling : public Timer {
 public:
  Telling(std::vector<int>& fired, int number) : Timer(tell), fired_(&fired), number_(number) {}
  int number() const noexcept { return number_; }

 private:
  static void tell(Timer& timer, Loop&) noexcept {
    Telling& self = static_cast<Telling&>(timer);
    CHECK_FALSE(self.is_armed());
    self.fired_->push_back(self.number_);
  }
  std::vector<int>* fired_;
  int number_;
};

class Rearming : public Timer {
 public:
  Rearming(TimerHeap& heap, Time deadline) : Timer(again), heap_(heap), deadline_(deadline) {}
  int fired_count = 0;

 private:
  static void again(Timer& timer, Loop&) noexcept {
    Rearming& self = static_cast<Rearming&>(timer);
    if (++self.fired_count < 3) self.heap_.arm(self, self.deadline_);
  }
  TimerHeap& heap_;
  Time deadline_;
};

using Model = std::multimap<Time, Telling*>;  // equal keys stay in the order of insertion

void forget(Model& model, const Telling* timer) {
  for (auto entry = model.begin(); entry != model.end(); ++entry) {
    if (entry->second != timer) continue;
    model.erase(entry);
    return;
  }
}

// One random step on both; after it the heads must agree.
void step_both(Random& random, TimerHeap& heap, Model& model, std::vector<std::unique_ptr<Telling>>& timers,
               std::vector<int>& fired, Loop& loop) {
  Telling& timer = *timers[random.below(timers.size())];
  if (random.chance(1, 20)) {
    const Time now = at(static_cast<int64_t>(random.below(200)));
    fired.clear();
    heap.fire_due(now, loop);
    std::vector<int> expected;
    while (!model.empty() && model.begin()->first <= now) {
      expected.push_back(model.begin()->second->number());
      model.erase(model.begin());
    }
    CHECK(fired == expected);
  } else if (timer.is_armed()) {
    heap.cancel(timer);
    forget(model, &timer);
  } else {
    const Time deadline = at(static_cast<int64_t>(random.below(random.chance(1, 2) ? 8 : 1000)));
    heap.arm(timer, deadline);
    model.emplace(deadline, &timer);
  }
  REQUIRE(heap.size() == model.size());
  REQUIRE(heap.next() == (model.empty() ? time_never : model.begin()->first));
}

TEST_SUITE_BEGIN("timer heap");

TEST_CASE("timers fire in the order of their deadlines, equal ones as they were armed") {
  TestLoop test;
  TimerHeap heap(8);
  std::vector<int> fired;
  Telling one(fired, 1), two(fired, 2), three(fired, 3), four(fired, 4);
  heap.arm(four, at(40));
  heap.arm(two, at(20));
  heap.arm(one, at(10));
  heap.arm(three, at(20));
  CHECK(heap.next() == at(10));
  heap.fire_due(at(9), test.loop);
  CHECK(fired.empty());
  heap.fire_due(at(20), test.loop);
  CHECK(fired == std::vector<int>{1, 2, 3});
  heap.fire_due(at(40), test.loop);
  CHECK(fired.back() == 4);
  CHECK(heap.empty());
  CHECK(heap.next() == time_never);
}

TEST_CASE("a cancelled timer does not fire, and may be armed again") {
  TestLoop test;
  TimerHeap heap(8);
  std::vector<int> fired;
  Telling one(fired, 1), two(fired, 2);
  heap.arm(one, at(10));
  heap.arm(two, at(5));
  heap.cancel(two);
  CHECK_FALSE(two.is_armed());
  heap.arm(two, at(15));
  heap.fire_due(at(100), test.loop);
  CHECK(fired == std::vector<int>{1, 2});
}

TEST_CASE("what a timer arms for now fires in the same round") {
  TestLoop test;
  TimerHeap heap(8);
  Rearming timer(heap, at(10));
  heap.arm(timer, at(10));
  heap.fire_due(at(10), test.loop);
  CHECK(timer.fired_count == 3);
}

TEST_CASE("an abandoned heap disarms its timers without firing them") {
  TestLoop test;
  TimerHeap heap(8);
  std::vector<int> fired;
  Telling one(fired, 1);
  heap.arm(one, at(10));
  heap.abandon();
  CHECK_FALSE(one.is_armed());
  heap.fire_due(at(100), test.loop);
  CHECK(fired.empty());
}

TEST_CASE("a heap grows past its capacity, and counts that") {
  TimerHeap heap(4);
  std::vector<int> fired;
  std::vector<std::unique_ptr<Telling>> timers;
  for (int number = 0; number < 5; ++number) {
    CHECK(heap.grown_count() == 0);
    timers.push_back(std::make_unique<Telling>(fired, number));
    heap.arm(*timers.back(), at(number));
  }
  CHECK(heap.grown_count() == 1);
  for (auto& timer : timers) heap.cancel(*timer);
}

TEST_CASE("a heap behaves as a sorted multimap does, whatever is done to it") {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    TestLoop test;
    Random random(seed);
    TimerHeap heap(16);
    Model model;
    std::vector<int> fired;
    std::vector<std::unique_ptr<Telling>> timers;
    for (int number = 0; number < 150; ++number) timers.push_back(std::make_unique<Telling>(fired, number));
    for (int step = 0; step < 10000; ++step) step_both(random, heap, model, timers, fired, test.loop);
    heap.fire_due(at(1000), test.loop);
  }
}

TEST_CASE("a million timers are armed, half are cancelled in random order, the rest fire in order") {
  TestLoop test;
  const int timers_count = 1000000;
  Random random(7);
  TimerHeap heap(1024);
  std::vector<int> fired;
  std::vector<std::unique_ptr<Telling>> timers;
  std::vector<int> order;
  for (int number = 0; number < timers_count; ++number) {
    timers.push_back(std::make_unique<Telling>(fired, number));
    order.push_back(number);
  }
  for (size_t index = order.size() - 1; index > 0; --index) std::swap(order[index], order[random.below(index + 1)]);
  for (int number : order) heap.arm(*timers[number], at(number));
  for (size_t index = order.size() - 1; index > 0; --index) std::swap(order[index], order[random.below(index + 1)]);
  std::vector<int> expected(order.begin() + timers_count / 2, order.end());
  for (int index = 0; index < timers_count / 2; ++index) heap.cancel(*timers[order[index]]);
  std::sort(expected.begin(), expected.end());
  heap.fire_due(at(timers_count), test.loop);
  CHECK((fired == expected));
  CHECK(heap.empty());
}

TEST_CASE("a timer that is armed twice, cancelled unarmed, or dies armed is a caught bug") {
  static std::vector<int> fired;
  expect_abort(
      [] {
        TimerHeap heap(8);
        Telling one(fired, 1);
        heap.arm(one, at(1));
        heap.arm(one, at(2));
      },
      "a timer was armed twice");
  expect_abort(
      [] {
        TimerHeap heap(8);
        Telling one(fired, 1);
        heap.cancel(one);
      },
      "cancel of a timer that is not armed");
  expect_abort(
      [] {
        TimerHeap heap(8);
        Telling one(fired, 1);
        heap.arm(one, at(1));
      },
      "a timer was destroyed while it was armed");
  expect_abort(
      [] {
        Telling one(fired, 1);
        TimerHeap heap(8);
        heap.arm(one, at(1));
      },
      "a timer heap was destroyed with armed timers");
  expect_abort(
      [] {
        TimerHeap heap(8), other(8);
        Telling one(fired, 1);
        heap.arm(one, at(1));
        other.cancel(one);
      },
      "a timer of another heap");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
