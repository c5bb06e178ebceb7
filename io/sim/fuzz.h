// What a fuzzer is: a name, and a run that is a function of its seed alone. fuzz_main.h makes a program of several.
//
//     struct Event { uint32_t number; bool is_push; };
//     std::vector<Event> generate(uint64_t seed, uint64_t events_max);
//     RunResult run_events(const RunOptions& options, std::span<const Event> events, Coverage& coverage);
//     const Fuzzer queue_fuzzer = {"queue", "a queue against std::deque", true, 20'000, fixed_seeds, mark_names,
//                                  run_as<generate, run_events>};
//
// A run is a list of events, and then its execution. So the program can leave events out, and find the shortest list
// that still fails. For that
// 1. event i of the list depends on (seed, events_max, i) only: not on what was drawn for the events before it;
// 2. what an event does depends on its content and on what is there when its turn comes, never on its place in the
//    list, nor on how many events there are; what has to be drawn while it is executed is drawn from its number;
// 3. a list of no events runs, too.
// A failed check ends the process, as a failed assertion does; the program prints the one command that repeats it.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "io/sim/fuzz_selection.h"

namespace spindle::fuzz {

struct RunOptions {
  uint64_t seed = 0;
  uint64_t events_max = 0;  ///< most events to generate
  bool is_verbose = false;
  bool is_only_listed = false;             ///< generate the events, run none
  const EventSelection* events = nullptr;  ///< null: all
  FaultFilter* faults = nullptr;           ///< for FaultPlan::filter; null: all
};

struct RunResult {
  uint64_t hash = 0;          ///< over all that happened
  uint64_t events_count = 0;  ///< events executed; of a run that is only listed: generated
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
  const char* name;  ///< letters, digits and underscores
  const char* purpose;
  bool is_default;      ///< false: has to be asked for by name
  uint64_t events_max;  ///< when --events-max is not given
  std::span<const uint64_t> fixed_seeds;
  std::span<const char* const> marks;  ///< indices of Coverage::mark()
  RunResult (*run)(const RunOptions& options, Coverage& coverage);  ///< run_as<…>
};

/// What a list of events consists of. The program sets the number: 1, 2, …, which stays when others are left out.
template <class Event>
concept NumberedEvent = std::same_as<decltype(Event::number), uint32_t>;

/// An event that --verbose can print.
template <class Event>
concept PrintableEvent = requires(const Event& event) {
  { to_string(event) } -> std::convertible_to<std::string>;
};

/// Prints a line of --verbose.
void print_event(uint32_t number, const std::string& text);

/// Fuzzer::run of `std::vector<Event> generate(seed, events_max)` and
/// `RunResult run_events(const RunOptions&, std::span<const Event>, Coverage&)`.
template <auto generate, auto run_events>
RunResult run_as(const RunOptions& options, Coverage& coverage) {
  auto events = generate(options.seed, options.events_max);
  using Event = typename decltype(events)::value_type;
  static_assert(NumberedEvent<Event>, "an event has a uint32_t number");
  const uint64_t generated_count = events.size();
  uint32_t number_last = 0;
  for (Event& event : events) event.number = ++number_last;
  if (options.events != nullptr) {
    std::erase_if(events, [&](const Event& event) { return !options.events->contains(event.number); });
  }
  if constexpr (PrintableEvent<Event>) {
    for (size_t index = 0; options.is_verbose && index < events.size(); ++index) {
      print_event(events[index].number, to_string(events[index]));
    }
  }
  if (options.is_only_listed) return {0, generated_count};
  return run_events(options, std::span<const Event>(events), coverage);
}

/// Reports a failed check of a fuzzer and ends the process.
[[noreturn]] void failed(const char* file, int line, const char* what) noexcept;

}  // namespace spindle::fuzz

/// `what` says which promise was broken.
#define SPINDLE_FUZZ_CHECK(expression, what) \
  ((expression) ? static_cast<void>(0) : ::spindle::fuzz::failed(__FILE__, __LINE__, what))
