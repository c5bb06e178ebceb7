// The policy of looking before sleeping, against devices that are made of arithmetic.
#include "io/uring/idle_spin.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "runtime/random.h"

namespace spindle {

namespace {

/// What a wait costs on some machine: how long it takes asleep, and how long until a look finds something.
struct Device {
  std::function<Duration(uint64_t wait)> asleep;
  std::function<Duration(uint64_t wait)> looking;  ///< beyond the limit: nothing was found
};

struct Run {
  uint64_t looks = 0;
  Duration looked{};  ///< in all
  Duration whole{};   ///< of all waits
};

/// `count` waits; `looked` is what the policy burnt.
Run play(IdleSpin& spin, const Device& device, uint64_t count, Time& clock) {
  Run run;
  const Time begin = clock;
  for (uint64_t wait = 0; wait < count; ++wait) {
    const IdleSpin::Way way = spin.next();
    bool found = false;
    if (way == IdleSpin::Way::look) {
      const Duration limit = spin.limit(clock);
      if (limit > Duration::zero()) {
        const Duration wanted = device.looking(wait);
        found = wanted <= limit;
        const Duration took = std::min(wanted, limit);
        clock += took;
        run.looked += took;
        ++run.looks;
        spin.looked(took, found);
      }
    }
    if (found) continue;
    const Duration took = device.asleep(wait);
    clock += took;
    if (way == IdleSpin::Way::sleep_timed) spin.slept(took);
  }
  run.whole = clock - begin;
  return run;
}

Duration us(int64_t count) { return std::chrono::microseconds(count); }

/// A virtual disk: 44 µs, and 24 more to wake the core; a fifth up or down.
Device virtual_disk(Random& random) {
  const auto noisy = [&random](int64_t mean_ns) {
    const int64_t fifth = mean_ns / 5;
    return Duration(mean_ns - fifth + static_cast<int64_t>(random.below(static_cast<uint64_t>(2 * fifth))));
  };
  return {[noisy](uint64_t) { return noisy(68'000); }, [noisy](uint64_t) { return noisy(44'000); }};
}

/// Completions come from the own core: who looks keeps them from happening.
Device own_core() {
  return {[](uint64_t) { return Duration(3'300); }, [](uint64_t) { return us(1'000'000); }};
}

Device steady(Duration asleep, Duration looking) {
  return {[=](uint64_t) { return asleep; }, [=](uint64_t) { return looking; }};
}

}  // namespace

TEST_CASE("where a wake-up costs as much as the disk, nearly every wait is looked for") {
  Random random(1);
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{});
  const Run run = play(spin, virtual_disk(random), 100'000, clock);
  CHECK(run.looks > 98'000);
  CHECK(spin.counters().trials_paid > 0);
}

TEST_CASE("where completions come from the own core, looking costs less than a hundredth of the time") {
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{});
  const Run run = play(spin, own_core(), 100'000, clock);
  CHECK(run.looks > 0);
  CHECK(run.looked * 100 < run.whole);
  CHECK(spin.counters().trials_paid == 0);
}

TEST_CASE("looking that saves less than a tenth is given up, and tried ever more rarely") {
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{});
  play(spin, steady(us(50), us(48)), 100'000, clock);
  const uint64_t trials_early = spin.counters().trials;
  const Run late = play(spin, steady(us(50), us(48)), 1'000'000, clock);
  CHECK(trials_early >= 3);
  CHECK(spin.counters().trials - trials_early <= 7);
  CHECK(late.looks <= 7 * 32);
}

TEST_CASE("a disk slower than the longest look is never looked for") {
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{});
  CHECK(play(spin, steady(us(5'000), us(4'900)), 100'000, clock).looks == 0);
}

TEST_CASE("what completes within the system call is never looked for") {
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{});
  CHECK(play(spin, steady(Duration(200), Duration(0)), 100'000, clock).looks == 0);
}

TEST_CASE("a disk that gets slow ends the looking, one that gets fast again begins it") {
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{});
  play(spin, steady(us(68), us(44)), 10'000, clock);
  REQUIRE(spin.phase() == IdleSpin::Phase::spinning);
  const Run slow = play(spin, steady(us(3'000), us(2'900)), 3'000, clock);
  CHECK(slow.looks <= 34);  // the rest of one window, and half of the next
  CHECK(spin.phase() == IdleSpin::Phase::resting);
  const Run fast = play(spin, steady(us(68), us(44)), 20'000, clock);
  CHECK(fast.looks > 10'000);
}

TEST_CASE("a load for which looking stops paying is noticed, though every look finds something") {
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{});
  play(spin, steady(us(68), us(44)), 10'000, clock);
  REQUIRE(spin.phase() == IdleSpin::Phase::spinning);
  play(spin, steady(us(44), us(44)), 10'000, clock);
  CHECK(spin.phase() == IdleSpin::Phase::resting);
}

TEST_CASE("a budget bounds the share of the time that is spent looking") {
  for (const double budget : {0.05, 0.25, 0.5}) {
    Time clock{us(1)};
    IdleSpin spin(IdleSpinOptions{.budget = budget});
    const Run run = play(spin, steady(us(68), us(44)), 100'000, clock);
    const double share = static_cast<double>(run.looked.count()) / static_cast<double>(run.whole.count());
    CHECK(share <= budget * 1.05 + 0.01);
    CHECK(share >= budget * 0.5);
    CHECK(spin.counters().budget_refusals > 0);
  }
}

TEST_CASE("a budget of nothing never looks and never measures") {
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{.budget = 0});
  CHECK_FALSE(spin.is_enabled());
  for (uint32_t wait = 0; wait < 100'000; ++wait) REQUIRE(spin.next() == IdleSpin::Way::sleep);
}

TEST_CASE("one look is at most as long as its limit allows, whatever was slept") {
  Time clock{us(1)};
  IdleSpin spin(IdleSpinOptions{.longest = us(100)});
  play(spin, steady(us(90), us(60)), 5'000, clock);
  REQUIRE(spin.phase() == IdleSpin::Phase::spinning);
  CHECK(spin.limit(clock) == us(100));
  IdleSpin shorter(IdleSpinOptions{.longest = us(1'000)});
  play(shorter, steady(us(90), us(60)), 5'000, clock);
  CHECK(shorter.limit(clock) == us(180));
}

}  // namespace spindle
