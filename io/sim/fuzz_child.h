// A run in a process of its own, which may fail as it likes: what it failed of, what it printed, which faults it met.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/sim/fuzz_case.h"

namespace spindle::fuzz {

/// A fault that happened.
struct SeenFault {
  FaultId id;
  Fault fault;
};

struct ChildOutcome {
  /// What it failed of: the line of the check or assertion, a sanitizer's headline, a signal, that it took too long.
  /// Runs with the same one fail alike. Empty: it passed.
  std::string signature;
  std::vector<SeenFault> faults;
  bool has_all_faults = true;  ///< false: there were more than have room
  uint64_t duration_ms = 0;
};

/// Ends the program with status 2 where the machine has no room for a child. The child is killed after `limit_ms`. It
/// leaves no report, no core dump, and no child when this process dies.
ChildOutcome run_in_child(const Fuzzer& fuzzer, const FuzzCase& of, uint64_t limit_ms);

}  // namespace spindle::fuzz
