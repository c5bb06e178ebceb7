#include "runtime/random.h"

#include <doctest/doctest.h>

#include <array>
#include <set>

#include "tests/death.h"

namespace spindle {
namespace {

TEST_SUITE_BEGIN("random");

TEST_CASE("the numbers of a seed are the same for ever") {
  // splitmix64 as published, from state 0; xoshiro256** seeded through it.
  CHECK(mix64(0) == 0xe220a8397b1dcdafu);
  CHECK(mix64(0x9e3779b97f4a7c15u) == 0x6e789e6aa1b965f4u);
  Random random(0);
  CHECK(random.next() == 0x99ec5f36cb75f2b4u);
  CHECK(random.next() == 0xbf6e1f784956452au);
  CHECK(random.next() == 0x1a5f849d4933e6e0u);
}

TEST_CASE("they are known while compiling") {
  constexpr uint64_t first = Random(0).next();
  static_assert(first == 0x99ec5f36cb75f2b4u);
}

TEST_CASE("two seeds give two sequences") {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 1000; ++seed) seen.insert(Random(seed).next());
  CHECK(seen.size() == 1000);
}

TEST_CASE("below() reaches every number under its end, evenly, and none at it") {
  Random random(1);
  std::array<int, 7> counts{};
  for (int draw = 0; draw < 70000; ++draw) {
    const uint64_t number = random.below(7);
    REQUIRE(number < 7);
    ++counts[number];
  }
  for (int count : counts) CHECK((count > 9500 && count < 10500));
  CHECK(random.below(1) == 0);
}

TEST_CASE("between() includes both ends, over the whole range too") {
  Random random(2);
  std::set<uint64_t> seen;
  for (int draw = 0; draw < 1000; ++draw) seen.insert(random.between(5, 8));
  CHECK(seen == std::set<uint64_t>{5, 6, 7, 8});
  CHECK(random.between(9, 9) == 9);
  CHECK(random.between(0, UINT64_MAX) != random.between(0, UINT64_MAX));
  CHECK(random.between(UINT64_MAX, UINT64_MAX) == UINT64_MAX);
}

TEST_CASE("chance() is true as often as it was asked to be") {
  Random random(3);
  int hits = 0;
  for (int draw = 0; draw < 10000; ++draw) hits += random.chance(1, 4) ? 1 : 0;
  CHECK((hits > 2300 && hits < 2700));
  for (int draw = 0; draw < 100; ++draw) {
    CHECK(random.chance(3, 3));
    CHECK_FALSE(random.chance(0, 3));
  }
}

TEST_CASE("a range without numbers is a caught bug") {
  expect_abort([] { static_cast<void>(Random(1).below(0)); }, "a random number below zero does not exist");
  expect_abort([] { static_cast<void>(Random(1).between(2, 1)); }, "an empty range");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
