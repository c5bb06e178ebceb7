#include "io/sim/fuzz_case.h"

namespace spindle::fuzz {

std::string arguments_of(const Fuzzer& fuzzer, const FuzzCase& of) {
  std::string text = fuzzer.name;
  text += " --seed " + std::to_string(of.seed) + " --events-max " + std::to_string(of.events_max);
  if (of.events.has_value()) text += " --events " + of.events->text();
  if (of.faults.has_value()) text += " --faults " + of.faults->text();
  return text;
}

RunResult run_case(const Fuzzer& fuzzer, FuzzCase& of, bool is_verbose, FaultFilter* filter, Coverage& coverage) {
  RunOptions options;
  options.seed = of.seed;
  options.events_max = of.events_max;
  options.is_verbose = is_verbose;
  options.events = of.events.has_value() ? &*of.events : nullptr;
  options.faults = filter != nullptr ? filter : of.faults.has_value() ? &*of.faults : nullptr;
  return fuzzer.run(options, coverage);
}

uint64_t list_events(const Fuzzer& fuzzer, const FuzzCase& of, bool prints) {
  Coverage coverage;
  coverage.expect(fuzzer.marks);
  RunOptions options;
  options.seed = of.seed;
  options.events_max = of.events_max;
  options.is_verbose = prints;
  options.is_only_listed = true;
  options.events = of.events.has_value() ? &*of.events : nullptr;
  return fuzzer.run(options, coverage).events_count;
}

}  // namespace spindle::fuzz
