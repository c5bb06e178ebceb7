// What the chances of a simulated operation depend on: the seed, the trace for which it was submitted, and how many
// operations that trace had submitted before. Nothing else: whoever leaves out one trace, as the minimizer of a fuzzer
// does, leaves the latencies and faults of all others as they were. What no trace submitted is one trace, 0.
//
// One per host, for all of its processes. One thread.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "io/sim/disk_faults.h"
#include "runtime/random.h"

namespace spindle {

class DrawKeys {
 public:
  explicit DrawKeys(uint64_t seed) noexcept : seed_(mix64(seed)) {}

  /// The next one of the trace.
  FaultId next(uint32_t trace) {
    if (trace == 0) return {0, ++untraced_count_};
    return {trace, ++counts_[trace]};  // looked up, never walked through: its order is of no importance
  }
  /// A generator of the operation's own, for one moment of its life.
  Random random_of(FaultId id, uint32_t moment) const noexcept {
    return Random(mix64(seed_ ^ (uint64_t{id.trace} << 32 | id.number)) + moment);
  }

 private:
  uint64_t seed_;
  uint32_t untraced_count_ = 0;
  std::unordered_map<uint32_t, uint32_t> counts_;
};

}  // namespace spindle
