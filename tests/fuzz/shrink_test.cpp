// Lists that fail are made shorter.
#include "io/sim/fuzz_shrink.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <numeric>

namespace spindle::fuzz {
namespace {

std::vector<uint32_t> numbers_up_to(uint32_t last) {
  std::vector<uint32_t> numbers(last);
  std::iota(numbers.begin(), numbers.end(), 1u);
  return numbers;
}

/// Fails where the predicate says so; in order and without repetition is what it asserts of each candidate.
template <class Predicate>
class Test final : public ShrinkTest {
 public:
  explicit Test(Predicate predicate, uint64_t calls_max = UINT64_MAX) : predicate_(predicate), calls_max_(calls_max) {}
  bool fails(std::span<const uint32_t> items) override {
    ++calls_count;
    CHECK(std::adjacent_find(items.begin(), items.end(), std::greater_equal<uint32_t>()) == items.end());
    return predicate_(items);
  }
  bool is_over() override { return calls_count >= calls_max_; }
  uint64_t calls_count = 0;

 private:
  Predicate predicate_;
  uint64_t calls_max_;
};

bool has(std::span<const uint32_t> items, uint32_t number) {
  return std::find(items.begin(), items.end(), number) != items.end();
}

TEST_CASE("Only what the failure needs is left") {
  Test test([](std::span<const uint32_t> items) { return has(items, 17) && has(items, 4000) && has(items, 4001); });
  CHECK(shrink(numbers_up_to(10'000), test) == std::vector<uint32_t>{17, 4000, 4001});
  CHECK(test.calls_count < 500);
}

TEST_CASE("A list that fails whatever is in it becomes empty at once") {
  Test test([](std::span<const uint32_t>) { return true; });
  CHECK(shrink(numbers_up_to(10'000), test).empty());
  CHECK(test.calls_count == 1);
}

TEST_CASE("What is needed all stays") {
  Test test([](std::span<const uint32_t> items) { return items.size() == 50; });
  CHECK(shrink(numbers_up_to(50), test) == numbers_up_to(50));
}

TEST_CASE("Two that are in each other's way are left out together") {
  // Like a push and the pop of what was pushed, far apart.
  Test test([](std::span<const uint32_t> items) { return has(items, 30) && has(items, 3) == has(items, 25); });
  CHECK(shrink(numbers_up_to(40), test) == std::vector<uint32_t>{30});
}

TEST_CASE("When the time is over, the shortest list so far is there, and it fails") {
  const auto predicate = [](std::span<const uint32_t> items) { return has(items, 700) && has(items, 3); };
  for (const uint64_t calls_max : {0, 1, 2, 5, 20, 50}) {
    Test test(predicate, calls_max);
    const std::vector<uint32_t> left = shrink(numbers_up_to(1000), test);
    CHECK(predicate(left));
    CHECK(test.calls_count <= calls_max);
  }
}

TEST_CASE("Nothing is made of nothing") {
  Test test([](std::span<const uint32_t>) { return true; });
  CHECK(shrink({}, test).empty());
  CHECK(test.calls_count == 0);
}

}  // namespace
}  // namespace spindle::fuzz
