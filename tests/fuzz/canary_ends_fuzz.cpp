// Fuzzers with one planted event each that ends the run in another way than by a failed check: the proof that the
// harness reports, repeats and shrinks those, too. And one that never reaches what it should.
#include <unistd.h>

#include <csignal>
#include <string>

#include "runtime/assert.h"
#include "runtime/random.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

namespace {

struct Event {
  uint32_t number;
  bool is_planted;
};

std::string to_string(const Event& event) { return event.is_planted ? "the planted one" : "nothing"; }

/// About one of 64 is planted.
std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  std::vector<Event> events;
  for (uint64_t index = 0; index < events_max; ++index) events.push_back({0, mix64(mix64(seed) + index) % 64 == 0});
  return events;
}

using End = void (*)();

template <End end>
RunResult run_events(const RunOptions&, std::span<const Event> events, Coverage&) {
  for (const Event& event : events) {
    if (event.is_planted) end();
  }
  return {0, events.size()};
}

void hang() {
  for (;;) ::pause();
}
void raise_signal() { std::raise(SIGFPE); }
void fail_assertion() { SPINDLE_ASSERT(false, "a canary"); }
void do_nothing() {}

constexpr uint64_t fixed_seeds[] = {1};
constexpr const char* mark_names[] = {"what no event does"};

}  // namespace

const Fuzzer canary_hang_fuzzer = {
    "canary_hang", "hangs, and must fail", false, 1000, fixed_seeds, {}, run_as<generate, run_events<hang>>};
const Fuzzer canary_signal_fuzzer = {"canary_signal",
                                     "raises a signal, and must fail",
                                     false,
                                     1000,
                                     fixed_seeds,
                                     {},
                                     run_as<generate, run_events<raise_signal>>};
const Fuzzer canary_assert_fuzzer = {"canary_assert",
                                     "fails an assertion, and must fail",
                                     false,
                                     1000,
                                     fixed_seeds,
                                     {},
                                     run_as<generate, run_events<fail_assertion>>};
const Fuzzer canary_marks_fuzzer = {"canary_marks", "misses a mark, and must fail",          false, 1000, fixed_seeds,
                                    mark_names,     run_as<generate, run_events<do_nothing>>};

}  // namespace spindle::fuzz
