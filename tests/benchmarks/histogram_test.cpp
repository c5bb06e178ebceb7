// The latency histogram: bounded error, exact maximum, merging.
#include "benchmarks/histogram.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "runtime/random.h"

namespace spindle::bench {
namespace {

TEST_CASE("percentiles are within 0.8 percent of those of the sorted values") {
  Random random(1);
  const auto histogram = std::make_unique<Histogram>();
  std::vector<uint64_t> values;
  for (int i = 0; i < 20000; ++i) {
    const uint64_t value = random.below(uint64_t{1} << (1 + random.below(35)));
    values.push_back(value);
    histogram->record(value);
  }
  std::sort(values.begin(), values.end());
  for (const double percent : {0.01, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    const auto rank = static_cast<size_t>(percent / 100 * 20000 + 0.999999);
    const auto exact = static_cast<double>(values[std::max<size_t>(1, rank) - 1]);
    CHECK(static_cast<double>(histogram->percentile(percent)) == doctest::Approx(exact).epsilon(0.009));
  }
  CHECK(histogram->max() == values.back());
  CHECK(histogram->count() == 20000);
}

TEST_CASE("merged histograms hold what both held") {
  const auto left = std::make_unique<Histogram>();
  const auto right = std::make_unique<Histogram>();
  left->record(10);
  right->record_many(1'000'000, 3);
  left->merge(*right);
  CHECK(left->count() == 4);
  CHECK(left->min() == 10);
  CHECK(left->max() == 1'000'000);
  CHECK(left->percentile(25) == 10);
}

TEST_CASE("an empty histogram has zeroes for everything") {
  const auto histogram = std::make_unique<Histogram>();
  CHECK(histogram->percentile(99) == 0);
  CHECK(histogram->min() == 0);
  CHECK(histogram->mean() == 0);
  CHECK(histogram->standard_deviation() == 0);
}

}  // namespace
}  // namespace spindle::bench
