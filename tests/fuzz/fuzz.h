// What a fuzzer is, for spindle-fuzz: a name, and a run that is a function of its seed alone.
//
// A run generates a list of events from the seed, where every choice of event i depends on (seed, i) only, then
// executes it. A failed check ends the process; the program prints the one command that repeats it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spindle::fuzz {

struct RunOptions {
  uint64_t seed = 0;
  uint64_t events_max = 0;  ///< most events to generate
  bool is_verbose = false;
};

struct RunResult {
  uint64_t hash = 0;          ///< over all that happened
  uint64_t events_count = 0;  ///< events executed
};

/// Named points that the default run has to reach.
class Coverage {
 public:
  void expect(std::span<const char* const> names) {
    names_ = names;
    counts_.assign(names.size(), 0);
  }
  void mark(size_t index) noexcept { ++counts_[index]; }
  std::span<const char* const> names() const noexcept { return names_; }
  uint64_t count(size_t index) const noexcept { return counts_[index]; }

 private:
  std::span<const char* const> names_;
  std::vector<uint64_t> counts_;
};

struct Fuzzer {
  const char* name;
  const char* purpose;
  bool is_default;                      ///< false: has to be asked for by name
  uint64_t events_max;                  ///< when --events-max is not given
  std::span<const uint64_t> fixed_seeds;
  std::span<const char* const> marks;   ///< indices of Coverage::mark()
  RunResult (*run)(const RunOptions& options, Coverage& coverage);
};

/// All fuzzers, in the order in which `list` prints them.
std::span<const Fuzzer* const> fuzzers() noexcept;

extern const Fuzzer runtime_fuzzer;
extern const Fuzzer node_pool_fuzzer;
extern const Fuzzer message_pool_fuzzer;
extern const Fuzzer file_fuzzer;
extern const Fuzzer file_ring_fuzzer;
extern const Fuzzer storage_fuzzer;
extern const Fuzzer canary_fuzzer;

/// Reports a failed check of a fuzzer and ends the process.
[[noreturn]] void failed(const char* file, int line, const char* what) noexcept;

}  // namespace spindle::fuzz

/// `what` says which promise was broken.
#define FUZZ_CHECK(expression, what) \
  ((expression) ? static_cast<void>(0) : ::spindle::fuzz::failed(__FILE__, __LINE__, what))
