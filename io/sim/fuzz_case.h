// One run of a fuzzer, as a command line says it: what the program repeats, saves and shrinks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "io/sim/fuzz.h"

namespace spindle::fuzz {

struct FuzzCase {
  uint64_t seed = 0;
  uint64_t events_max = 0;
  std::optional<EventSelection> events;  ///< no value: all
  std::optional<FaultSelection> faults;  ///< no value: all

  bool is_whole() const noexcept { return !events.has_value() && !faults.has_value(); }
};

/// "canary --seed 1 --events-max 100", and the selections that it has.
std::string arguments_of(const Fuzzer& fuzzer, const FuzzCase& of);
/// Runs it in this process. `filter`: asked about faults instead of the case's selection.
RunResult run_case(const Fuzzer& fuzzer, FuzzCase& of, bool is_verbose, FaultFilter* filter, Coverage& coverage);
/// The number of events that it generates. Prints those that it selects, if it should and they can be printed.
uint64_t list_events(const Fuzzer& fuzzer, const FuzzCase& of, bool prints);

}  // namespace spindle::fuzz
