#include "benchmarks/histogram.h"

#include <algorithm>
#include <cmath>

namespace spindle::bench {

void Histogram::merge(const Histogram& other) noexcept {
  for (uint32_t i = 0; i < buckets_count; ++i) buckets_[i] += other.buckets_[i];
  value_max_ = std::max(value_max_, other.value_max_);
}

uint64_t Histogram::count() const noexcept {
  uint64_t count = 0;
  for (const uint64_t bucket : buckets_) count += bucket;
  return count;
}

uint64_t Histogram::min() const noexcept {
  for (uint32_t i = 0; i < buckets_count; ++i) {
    if (buckets_[i] != 0) return lower_end(i);
  }
  return 0;
}

double Histogram::mean() const noexcept {
  const uint64_t values_count = count();
  if (values_count == 0) return 0;
  double sum = 0;
  for (uint32_t i = 0; i < buckets_count; ++i) {
    if (buckets_[i] != 0) sum += static_cast<double>(buckets_[i]) * static_cast<double>(middle_of(i));
  }
  return sum / static_cast<double>(values_count);
}

double Histogram::standard_deviation() const noexcept {
  const uint64_t values_count = count();
  if (values_count == 0) return 0;
  const double center = mean();
  double sum = 0;
  for (uint32_t i = 0; i < buckets_count; ++i) {
    const double distance = static_cast<double>(middle_of(i)) - center;
    sum += static_cast<double>(buckets_[i]) * distance * distance;
  }
  return std::sqrt(sum / static_cast<double>(values_count));
}

uint64_t Histogram::percentile(double percent) const noexcept {
  const uint64_t values_count = count();
  if (values_count == 0) return 0;
  const auto wanted = static_cast<uint64_t>(std::ceil(percent / 100.0 * static_cast<double>(values_count)));
  const uint64_t rank = std::clamp<uint64_t>(wanted, 1, values_count);
  uint64_t seen = 0;
  for (uint32_t i = 0; i < buckets_count; ++i) {
    seen += buckets_[i];
    if (seen >= rank) return middle_of(i);
  }
  return value_max_;
}

uint64_t Histogram::count_between(uint64_t begin, uint64_t end) const noexcept {
  uint64_t count = 0;
  for (uint32_t i = 0; i < buckets_count; ++i) {
    const uint64_t low = lower_end(i);
    if (low >= begin && low < end) count += buckets_[i];
  }
  return count;
}

uint64_t Histogram::middle_of(uint32_t index) const noexcept {
  const uint64_t low = lower_end(index);
  const uint64_t high = lower_end(index + 1) - 1;
  return std::min(low + (high - low) / 2, value_max_);
}

}  // namespace spindle::bench
