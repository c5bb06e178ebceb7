#include "benchmarks/report.h"

#include <algorithm>

namespace spindle::bench {

Spread spread_of(std::vector<double> numbers) {
  if (numbers.empty()) return {};
  std::sort(numbers.begin(), numbers.end());
  const size_t middle = numbers.size() / 2;
  const bool odd = numbers.size() % 2 == 1;
  const double median = odd ? numbers[middle] : (numbers[middle - 1] + numbers[middle]) / 2;
  return {median, numbers.front(), numbers.back()};
}

const Sample& Series::median_sample() const {
  std::vector<const Sample*> sorted;
  for (const Sample& sample : samples) sorted.push_back(&sample);
  std::sort(sorted.begin(), sorted.end(),
            [](const Sample* left, const Sample* right) { return left->iops() < right->iops(); });
  SPINDLE_ASSERT(!sorted.empty(), "a series without a run has no median");
  return *sorted[(sorted.size() - 1) / 2];
}

}  // namespace spindle::bench
