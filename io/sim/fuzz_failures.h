// The folder of seeds that failed, each in a small file that holds its arguments:
//
//     fuzz-failures/canary-99-20000.seed:    canary --seed 99 --events-max 20000
//
// A failing run writes one; a later run begins with them, and removes those that pass. A folder that can't be read or
// written costs a line on standard error and nothing else.
#pragma once

#include <string>
#include <vector>

#include "io/sim/fuzz_case.h"

namespace spindle::fuzz {

/// As the option --failures, then the environment (SPINDLE_FUZZ_FAILURES), then the current folder say.
std::string failures_folder(const std::string& option);
/// Of a whole case, without its folder.
std::string failure_file_name(const Fuzzer& fuzzer, const FuzzCase& of);
/// Those of the fuzzer, by name of their file. What is no such file is said and skipped.
std::vector<FuzzCase> load_failures(const std::string& folder, const Fuzzer& fuzzer);
/// It passes now.
void remove_failure(const std::string& folder, const Fuzzer& fuzzer, const FuzzCase& passed);

}  // namespace spindle::fuzz
