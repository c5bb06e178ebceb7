// The smallest run that still fails: fewer events, then fewer faults, then once more fewer events. Each candidate runs
// in a process of its own, and counts as failing only where it fails of the same (see fuzz_child.h).
#pragma once

#include <cstdint>
#include <optional>

#include "io/sim/fuzz_session.h"

namespace spindle::fuzz {

/// Prints what is left, and the command that repeats it. Without a case: of a seed that fails, which it looks for among
/// the saved ones, the fixed ones and new ones. Searching and shrinking take settings.seconds each, 60 if not said.
/// Returns the program's exit status: 0 where nothing fails, else 1.
int minimize(const Fuzzer& fuzzer, const FuzzSettings& settings, const std::optional<FuzzCase>& given,
             uint64_t events_max);

}  // namespace spindle::fuzz
