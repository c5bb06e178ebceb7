// What a sweep found, and the five lines that it comes down to.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/report.h"

namespace spindle::bench {

struct Findings {
  std::vector<Series> reads;             ///< 4 KiB random reads on this runtime, depth ascending
  std::vector<Series> writes;            ///< the same of writes
  std::vector<Series> sequential_reads;  ///< block size ascending
  std::vector<Series> sequential_writes;
  std::vector<Series> nops;                 ///< plain loop, this runtime; at a large depth
  std::vector<std::vector<Series>> beside;  ///< random reads per depth: plain loop, this runtime, fio...
  std::string fio_absence;                  ///< why there is no fio among them; empty when there is
};

/// The lowest depth that reaches nine tenths of the best IOPS: more depth than that buys little but waiting.
const Series& knee_of(const std::vector<Series>& curve);
const Series& knee_of(std::vector<Series>&& curve) = delete;  // the result is a part of the argument

/// Five lines, "1. this disk: ...". Every list but fio's entries must hold something.
std::string verdict(const Findings& findings);

}  // namespace spindle::bench
