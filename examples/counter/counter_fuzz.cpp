// The fuzzer `counter`: the counter on a simulated host that is killed and loses its power, against a number.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "counter.h"
#include "io/sim/fuzz_main.h"
#include "io/sim/swarm.h"
#include "io/sim/world.h"
#include "runtime/trace.h"

using namespace spindle;
using namespace spindle::fuzz;

namespace {

enum class Action : uint8_t { add, reopen, kill, lose_power };
constexpr size_t action_count = 4;
constexpr std::array<const char*, action_count> action_names = {"add", "reopen", "kill", "lose power"};

struct Event {
  uint32_t number = 0;  // set by the program: 1, 2, …
  Action action = Action::add;
  uint32_t word = 0;
};

std::string to_string(const Event& event) {
  const std::string name = action_names[static_cast<size_t>(event.action)];
  return event.action == Action::add ? name + " " + std::to_string(event.word % 100) : name;
}

std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  Random random(mix64(seed));
  Swarm<Action, action_count> swarm(random);
  swarm.add(Action::add, 16);
  std::vector<Event> events(random.between(1, events_max));
  for (size_t index = 0; index < events.size(); ++index) {
    const uint64_t word = mix64(mix64(seed) + index);
    events[index].action = swarm.choose(word);
    events[index].word = static_cast<uint32_t>(word >> 32);
  }
  return events;
}

enum class Mark : uint8_t { died_in_add, add_was_lost, add_was_kept };
constexpr const char* mark_names[] = {"died in an add", "an add in flight was lost", "an add in flight was kept"};

/// What the counter must say, and the death that is due.
struct Model {
  std::span<const Event> events;
  Coverage* coverage = nullptr;
  size_t event_next = 0;
  uint64_t acknowledged = 0;
  uint64_t amount_in_flight = 0;
  std::optional<Event> death;
  uint32_t steps_left = 0;

  void mark(Mark reached) { coverage->mark(static_cast<size_t>(reached)); }
};

void check_after_open(Model& model, uint64_t value) {
  const uint64_t with_flight = model.acknowledged + model.amount_in_flight;
  SPINDLE_FUZZ_CHECK(value == model.acknowledged || value == with_flight, "an acknowledged value is gone");
  if (model.amount_in_flight > 0) {
    model.mark(value == with_flight ? Mark::add_was_kept : Mark::add_was_lost);
  }
  model.acknowledged = value;
  model.amount_in_flight = 0;
}

Task<Result<void>> serve(Model* model) {
  Counter counter = co_await ok(Counter::open("counter"));
  check_after_open(*model, counter.value());
  while (model->event_next < model->events.size()) {
    const Event& event = model->events[model->event_next++];
    co_await set_trace_id(event.number);
    if (event.action == Action::reopen) break;
    if (event.action != Action::add) {
      model->death = event;
      model->steps_left = event.word % 16;
      continue;
    }
    model->amount_in_flight = event.word % 100;
    const uint64_t sum = co_await ok(counter.add(model->amount_in_flight));
    model->acknowledged += model->amount_in_flight;
    model->amount_in_flight = 0;
    SPINDLE_FUZZ_CHECK(sum == model->acknowledged, "the sum is wrong");
  }
  const Result<void> closed = co_await counter.close();
  co_return closed;
}

void die(Host& host, Model& model) {
  if (model.amount_in_flight > 0) model.mark(Mark::died_in_add);
  if (model.death->action == Action::kill) {
    host.kill_process();
  } else {
    host.lose_power(model.death->number);
  }
  host.restart();
  model.death.reset();
}

/// One process: to its end, or to its death.
void live(World& world, Host& host, Model& model) {
  host.start(serve, &model);
  while (world.step() == World::Step::worked) {
    const bool is_due = model.death.has_value() && model.steps_left-- == 0;
    if (is_due) return die(host, model);
  }
  SPINDLE_FUZZ_CHECK(!host.is_running(), "a task waits for ever");
  SPINDLE_FUZZ_CHECK(host.take().has_value(), "the counter failed on a disk that works");
  if (model.death.has_value()) die(host, model);
}

RunResult run_events(const RunOptions& options, std::span<const Event> events, Coverage& coverage) {
  SimBackendOptions disk;
  disk.faults.everywhere = FaultRates::passing();
  disk.faults.filter = options.faults;
  World world(options.seed);
  Host& host = world.add_host("a", disk);
  Model model;
  model.events = events;
  model.coverage = &coverage;
  while (model.event_next < events.size()) live(world, host, model);
  live(world, host, model);  // and what is there in the end
  return {world.hash(), events.size()};
}

constexpr uint64_t fixed_seeds[] = {1, 2, 3, 4};
constexpr Fuzzer counter_fuzzer = {"counter",  "a durable counter against a number", true, 200, fixed_seeds,
                                   mark_names, run_as<generate, run_events>};

}  // namespace

int main(int argc, char** argv) {
  static constexpr const Fuzzer* fuzzers[] = {&counter_fuzzer};
  return fuzz_main(argc, argv, fuzzers);
}
