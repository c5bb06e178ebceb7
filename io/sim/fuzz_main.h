// The program around fuzzers: the command line, the seeds that failed, and the smallest run that fails.
//
//     int main(int argc, char** argv) {
//       static constexpr const spindle::fuzz::Fuzzer* fuzzers[] = {&queue_fuzzer};
//       return spindle::fuzz::fuzz_main(argc, argv, fuzzers);
//     }
//
//     PROGRAM list [--default]      names, whether they run by default, purposes; or the names of those only
//     PROGRAM NAME                  the saved seeds, the fixed ones and a new one, for 5 s
//     PROGRAM NAME --seed N         one run; with --hash, --verbose
//     PROGRAM NAME --minimize       the shortest list of events and faults that fails
//
// Whatever ends a run prints the one command that repeats it, and saves the seed below --failures. With the library
// spindle-fuzz; see fuzz.h for what a fuzzer is.
#pragma once

#include <span>

#include "io/sim/fuzz.h"

namespace spindle::fuzz {

/// Returns the exit status: 0, 1 for a failure, 2 for a command line that makes no sense.
int fuzz_main(int argc, char** argv, std::span<const Fuzzer* const> fuzzers);

}  // namespace spindle::fuzz
