// What a report is about: a job, the engine that ran it, its runs, and how they spread.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/job.h"
#include "benchmarks/prepare.h"

namespace spindle::bench {

struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
};

/// Of any count of numbers, in any order; of none, zeroes. The median of an even count is the mean of the
/// middle two.
Spread spread_of(std::vector<double> numbers);

/// The runs of one job on one engine.
struct Series {
  std::string name;  ///< fio's jobname
  std::string engine;
  Job job;
  std::vector<Sample> samples;  ///< at least one, all good

  /// The run whose IOPS are the median (of an even count: the lower of the middle two).
  const Sample& median_sample() const;

  template <class Projection>
  Spread spread(Projection projection) const {
    std::vector<double> numbers;
    for (const Sample& sample : samples) numbers.push_back(projection(sample));
    return spread_of(std::move(numbers));
  }
};

inline double iops_of(const Sample& sample) noexcept { return sample.iops(); }

}  // namespace spindle::bench
