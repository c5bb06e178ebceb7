// The fuzzer `free_set`: random lives of a free set, with checkpoints, crashes and damaged trailers, against sets of
// addresses (free_set_model.h).
//
// Checked: each window, and that it gives out the addresses that it had when it was made, in order, in whatever turns
// the reservations acquire; counts, extremes, states of blocks; encodings byte for byte; what opens, what does not and
// why.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "io/sim/swarm.h"
#include "tests/fuzz/free_set_machine.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

namespace {

enum class Action : uint8_t {
  reserve,
  acquire,
  forfeit,
  release,
  encode,
  mark_not_durable,
  mark_durable,
  reopen,
  reset
};
constexpr size_t actions_count = static_cast<size_t>(Action::reset) + 1;
constexpr const char* action_names[] = {"reserve",          "acquire",      "forfeit", "release", "encode",
                                        "mark not durable", "mark durable", "reopen",  "reset"};
static_assert(sizeof(action_names) / sizeof(action_names[0]) == actions_count);
constexpr const char* name_of_action(Action action) { return action_names[static_cast<size_t>(action)]; }

struct Event {
  uint32_t number;
  Action action;
  uint64_t value;
};

std::string to_string(const Event& event) {
  return std::string(name_of_action(event.action)) + ' ' + std::to_string(event.value);
}

using FreeSetSwarm = Swarm<Action, actions_count>;

// What throws everything away is rare, or nothing would grow old.
FreeSetSwarm swarm_of(uint64_t seed) {
  Random random(mix64(seed ^ 0x5a));
  FreeSetSwarm swarm(random, 16);
  swarm.limit(Action::reopen, 4);
  swarm.limit(Action::reset, 1);
  swarm.raise(Action::reserve, 8);
  swarm.raise(Action::acquire, 8);
  return swarm;
}

std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  const FreeSetSwarm swarm = swarm_of(seed);
  Random random(mix64(seed ^ 0x5b));
  const uint64_t events_count = random.between(std::min<uint64_t>(events_max, 50), events_max);
  std::vector<Event> events;
  events.reserve(events_count);
  for (uint64_t index = 0; index < events_count; ++index) {
    const uint64_t word = mix64(mix64(seed) + index * 2);
    events.push_back({0, swarm.choose(word), mix64(mix64(seed) + index * 2 + 1)});
  }
  return events;
}

void take(FreeSetMachine& machine, const Event& event) {
  Random random(event.value);
  switch (event.action) {
    case Action::reserve: machine.reserve(random); break;
    case Action::acquire: machine.acquire(random); break;
    case Action::forfeit: machine.forfeit(random); break;
    case Action::release: machine.release(random); break;
    case Action::encode: machine.encode(random); break;
    case Action::mark_not_durable: machine.mark_not_durable(random); break;
    case Action::mark_durable: machine.mark_durable(random); break;
    case Action::reopen: machine.reopen(random); break;
    case Action::reset: machine.reset(random); break;
  }
  machine.check(random);
}

RunResult run_events(const RunOptions& options, std::span<const Event> events, Coverage& coverage) {
  if (options.is_verbose) {
    std::printf("  %zu events: %s\n", events.size(), swarm_of(options.seed).text(name_of_action).c_str());
  }
  FreeSetMachine machine(options.seed, coverage);
  for (const Event& event : events) take(machine, event);
  return {machine.finish(), events.size()};
}

constexpr uint64_t fixed_seeds[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

}  // namespace

const Fuzzer free_set_fuzzer = {"free_set",
                                "which blocks are in use, against sets of addresses",
                                true,
                                4000,
                                fixed_seeds,
                                free_set_mark_names,
                                run_as<generate, run_events>};

}  // namespace spindle::fuzz
