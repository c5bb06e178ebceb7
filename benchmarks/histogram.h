// A latency histogram with bounded relative error and a constant, small recording cost.
//
// Values below 128 have a bucket each. Above, every power of two is cut into 64 buckets of equal width, so a
// bucket is at most 1/64 of its values wide, and the middle of it, which is what percentiles report, is wrong
// by at most 0.8 %. The index needs no table:
//
//     shift = max(0, bit_width(value) - 7)         value >> shift lies in [64, 128) when shift > 0
//     index = shift * 64 + (value >> shift)        100 -> 0*64+100 = 100;  1000 -> 3*64+125 = 317
//
// Values from 2^42 (73 minutes in nanoseconds) on are counted in the last bucket. The largest value is kept
// exactly. Recording is about 2 ns. It is the scheme of HdrHistogram and of fio; Debian 12 packages no
// library of it, hence our own.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace spindle::bench {

class Histogram {
 public:
  static constexpr uint32_t sub_buckets_bits = 6;
  static constexpr uint32_t sub_buckets_count = 1u << sub_buckets_bits;
  static constexpr uint32_t value_bits_max = 42;
  static constexpr uint32_t buckets_count = (value_bits_max - sub_buckets_bits + 1) * sub_buckets_count;

  void record(uint64_t value) noexcept { record_many(value, 1); }

  void record_many(uint64_t value, uint64_t count) noexcept {
    buckets_[index_of(value)] += count;
    if (value > value_max_) value_max_ = value;
  }

  /// Adds everything the other one holds.
  void merge(const Histogram& other) noexcept;
  void reset() noexcept { *this = Histogram{}; }

  uint64_t count() const noexcept;
  uint64_t max() const noexcept { return value_max_; }
  /// The lowest bucket in use, by its lower end; 0 when nothing was recorded.
  uint64_t min() const noexcept;
  double mean() const noexcept;
  double standard_deviation() const noexcept;
  /// The value at the nearest rank; percent in (0, 100]. 0 when nothing was recorded.
  uint64_t percentile(double percent) const noexcept;
  /// How many recorded values lie in [begin, end), to the width of a bucket.
  uint64_t count_between(uint64_t begin, uint64_t end) const noexcept;

  /// Calls visit(value, count) for every bucket in use, in ascending order; `value` is the bucket's middle.
  template <class Visit>
  void for_each(Visit visit) const {
    for (uint32_t i = 0; i < buckets_count; ++i) {
      if (buckets_[i] != 0) visit(middle_of(i), buckets_[i]);
    }
  }

  static constexpr uint32_t index_of(uint64_t value) noexcept {
    constexpr uint64_t value_max = (uint64_t{1} << value_bits_max) - 1;
    if (value > value_max) value = value_max;
    // The lowest 6 bits set make the width at least 7, so that shift can't be negative: no branch.
    const auto shift = static_cast<uint32_t>(std::bit_width(value | (sub_buckets_count * 2 - 1))) - 7;
    return shift * sub_buckets_count + static_cast<uint32_t>(value >> shift);
  }
  /// The smallest value that belongs to the bucket.
  static constexpr uint64_t lower_end(uint32_t index) noexcept {
    if (index < 2 * sub_buckets_count) return index;
    const uint32_t shift = index / sub_buckets_count - 1;
    return uint64_t{index - shift * sub_buckets_count} << shift;
  }

 private:
  uint64_t middle_of(uint32_t index) const noexcept;

  std::array<uint64_t, buckets_count> buckets_{};  // values per bucket
  uint64_t value_max_ = 0;
};

static_assert(Histogram::index_of(127) == 127 && Histogram::index_of(128) == 128);
static_assert(Histogram::index_of(1000) == 317 && Histogram::lower_end(317) == 1000);
static_assert(Histogram::index_of(UINT64_MAX) == Histogram::buckets_count - 1);

}  // namespace spindle::bench
