// What `spindle-bench` without a job does: in about two minutes, on a file of its own, what this disk can do
// with direct I/O, and what the runtime costs on it.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/prepare.h"
#include "benchmarks/report.h"

namespace spindle::bench {

struct SweepOptions {
  bool smoke = false;     ///< milliseconds per run, one round, few depths, no fio: does it work at all?
  bool progress = false;  ///< which run is under way, on standard error
  uint64_t random_seed = 1;
};

struct SweepResult {
  std::vector<Series> series;  ///< everything that ran, for JSON
  std::string text;            ///< tables and the verdict
  std::string verdict;         ///< the verdict alone
  Failure failure;             ///< the first run that failed; the rest then means nothing
};

/// Blocks. Writes to the file.
SweepResult sweep(const TestFile& file, const SweepOptions& options);

}  // namespace spindle::bench
