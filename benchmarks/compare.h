// The same job on several engines, in alternating runs, as a table with the ratio to a yardstick.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "benchmarks/report.h"

namespace spindle::bench {

struct Comparison {
  std::vector<Series> series;  ///< one per engine, in their order; the first is the yardstick
  Failure failure;             ///< the first run that failed; the series then mean nothing
};

/// Runs every engine once per round; each round starts with another engine, so that none always follows the
/// same. `name` is the jobname of all series.
Comparison compare(const Job& job, const std::vector<std::unique_ptr<Engine>>& engines, uint32_t rounds_count,
                   const std::string& name);

/// About how long compare() takes.
double comparison_s(const Job& job, const std::vector<std::unique_ptr<Engine>>& engines, uint32_t rounds_count);

/// The table: per engine the median IOPS with the spread, its ratio to the first, latency, CPU per I/O.
std::string comparison_table(const std::vector<Series>& all);

/// The command line of each series.
std::string comparison_commands(const std::vector<Series>& all);

}  // namespace spindle::bench
