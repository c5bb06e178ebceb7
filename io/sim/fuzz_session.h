// Runs of one fuzzer in this process, one after the other: the first that fails ends the process, with its report.
#pragma once

#include <cstdint>
#include <string>

#include "io/sim/fuzz_case.h"
#include "io/sim/fuzz_report.h"

namespace spindle::fuzz {

/// What the command line says, apart from the fuzzer and the case.
struct FuzzSettings {
  std::string program;          ///< as the shell finds it
  std::string failures_folder;  ///< where seeds that fail are saved
  uint64_t seconds = 0;         ///< 0: not said
  bool has_own_size = false;    ///< --events-max was said
  bool is_verbose = false;
  bool prints_hash = false;
};

/// The one command that repeats a case, with its line feed.
std::string repeat_line(const FuzzSettings& settings, const Fuzzer& fuzzer, const FuzzCase& of);
/// What the process leaves if the case fails.
FailureReport report_of(const FuzzSettings& settings, const Fuzzer& fuzzer, const FuzzCase& of);
/// In quotes where a shell needs them.
std::string shell_word(const std::string& text);

class FuzzSession {
 public:
  FuzzSession(const Fuzzer& fuzzer, const FuzzSettings& settings);

  RunResult run(FuzzCase of);
  /// `first`, and then others that follow from its seed, until the time is over.
  void run_until(FuzzCase first, uint64_t end_ms);
  void report() const;
  /// Says which marks were not reached.
  bool reached_everything() const;

 private:
  const Fuzzer& fuzzer_;
  const FuzzSettings& settings_;
  Coverage coverage_;
  uint64_t events_count_ = 0;
  uint64_t runs_count_ = 0;
};

/// --seed was said.
int run_one_seed(const Fuzzer& fuzzer, const FuzzSettings& settings, const FuzzCase& of);
/// The saved seeds, the fixed ones, and a new one.
int run_default(const Fuzzer& fuzzer, const FuzzSettings& settings, uint64_t events_max);

uint64_t new_seed();
/// A fuzzer's fixed seed at its own size.
bool is_fixed(const Fuzzer& fuzzer, const FuzzCase& of) noexcept;
/// Of a clock that only goes forward.
uint64_t milliseconds_now() noexcept;

}  // namespace spindle::fuzz
