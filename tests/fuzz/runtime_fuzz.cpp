// The fuzzer `runtime`: random trees of tasks, scopes, sections and waits, with cancels, early exits and kills at any
// await, against a model that says for every wait how it must end. See runtime_model.h for the model, and
// runtime_machine.h for how tasks take their events.
//
// Checked: every wait ends, once, with the result that the model worked out; grants are FIFO; locals are destroyed
// once, in reverse order; children are gone before their scope returns; results of scopes, races and sections;
// sectors read are sectors written; nothing is left at the end; nothing runs after a kill.
#include <algorithm>
#include <cstdio>
#include <new>

#include "io/sim/swarm.h"
#include "runtime/trace.h"
#include "tests/fuzz/runtime_machine.h"

namespace spindle::fuzz {

const char* name_of(Action action) noexcept {
  constexpr const char* names[] = {"yield",    "sleep",        "wait event",    "set event",    "reset event",
                                   "acquire",  "lock",         "wait for",      "notify one",   "notify all",
                                   "send",     "receive",      "close channel", "call",         "fail",
                                   "leave",    "scope",        "spawn",         "cancel scope", "cancel any scope",
                                   "timeout",  "timeout leaf", "shield",        "when all",     "race",
                                   "for each", "write",        "read",          "sync",         "latch",
                                   "gate",     "cancel root",  "kill"};
  static_assert(sizeof(names) / sizeof(names[0]) == action_count);
  return names[static_cast<size_t>(action)];
}

std::string to_string(const FuzzEvent& event) {
  return std::string(name_of(event.action)) + ' ' + std::to_string(event.a) + ' ' + std::to_string(event.b) + ' ' +
         std::to_string(event.c) + (event.propagates ? " or leave" : "");
}

Machine::Machine(World& in, Host& on, std::span<const FuzzEvent> event_list, size_t& next, ExpectedDisk& expected,
                 Model::Marks& marks)
    : world(in), host(on), events(event_list), event_next(next), disk(expected), model(marks) {
  root = &model.open(nullptr);
  model_semaphores[0].available = 3;
  model_semaphores[1].available = 2;
  model_channels[0].capacity = 1;
  model_channels[1].capacity = 3;
  buffers_.reset(new (std::align_val_t{512}) std::byte[size_t{buffer_count} * buffer_size]);
  for (uint32_t index = 0; index < buffer_count; ++index) buffers_free.push_back(index);
}

const FuzzEvent* Machine::next_event() noexcept {
  check_alive();
  exit_levels = 0;
  return event_next < events.size() ? &events[event_next++] : nullptr;
}

void Machine::check_outcome(Ticket& ticket, bool has_value, ErrorCode code) {
  check_alive();
  FUZZ_CHECK(ticket.outcome != Outcome::waiting, "a wait ended that nothing had ended");
  FUZZ_CHECK(has_value == (ticket.outcome == Outcome::success), "a wait ended with another result than it should");
  const ErrorCode wanted = ticket.outcome == Outcome::closed ? ErrorCode::closed : ErrorCode::cancelled;
  FUZZ_CHECK(has_value || code == wanted, "a wait ended with another error than it should");
  hash.mix(static_cast<uint64_t>(ticket.kind), static_cast<uint64_t>(ticket.outcome), ticket.value);
  model.end(ticket);
}

void Machine::check_operation(Ticket& ticket, const Place& place, const Result<void>& result) {
  check_alive();
  const bool is_refused = ticket.outcome == Outcome::cancelled;
  FUZZ_CHECK(!is_refused || !result.has_value(), "an operation began in a cancelled context");
  if (result.has_value()) {
    if (ticket.is_cancel_requested) model.mark(Mark::operation_completed_after_cancel);
  } else {
    FUZZ_CHECK(result.error().code == ErrorCode::cancelled, "an operation failed for no reason");
    FUZZ_CHECK(is_refused || ticket.is_cancel_requested, "an operation was cancelled though nobody asked");
    if (!is_refused) model.mark(Mark::operation_cancelled);
    place.strand->last_error = result.error();
  }
  hash.mix(static_cast<uint64_t>(ticket.kind), result.has_value(), ticket.is_cancel_requested);
  model.end(ticket);
}

void Machine::check_same(const Result<void>& result, const std::optional<Error>& expected, const char* what) const {
  check_alive();
  FUZZ_CHECK(result.has_value() != expected.has_value(), what);
  FUZZ_CHECK(result.has_value() || result.error() == *expected, what);
}

void Machine::check_quiet() {
  FUZZ_CHECK(guard_live_count == 0 && token_live_count == 0, "locals or arguments were not destroyed");
  FUZZ_CHECK(scopes.empty(), "a scope is still open");
  FUZZ_CHECK(root->children.empty() && model.open_count() == 1, "a context is still open");
  FUZZ_CHECK(model.timer_count() == 0 && host.loop().timers().empty(), "a timer is still armed");
  FUZZ_CHECK(host.loop().frames().live_count() == 0, "coroutine frames were leaked");
  FUZZ_CHECK(host.backend().pending_count() == 0 && host.backend().open_count() == 0, "a file is still open");
  FUZZ_CHECK(!host.backend().has_detached_work(), "a dropped file was not closed");
  FUZZ_CHECK(buffers_free.size() == buffer_count, "a buffer was not given back");
}

Task<Result<void>> run_block(Machine& machine, Place place, uint32_t budget) {
  Guard guard(machine, place);
  for (uint32_t left = budget; left > 0; --left) {
    const FuzzEvent* next = machine.next_event();
    if (next == nullptr || next->action == Action::leave) break;
    FuzzEvent event = *next;
    co_await set_trace_id(event.number);
    if (do_at_once(machine, place, event)) continue;
    const bool is_transfer =
        event.action == Action::write || event.action == Action::read || event.action == Action::sync;
    const bool is_leaf_scope = place.scope->real == nullptr && event.action == Action::spawn;
    if (is_leaf_scope || (!is_transfer && place.depth > 12)) event.action = Action::yield;
    auto action = is_transfer             ? do_transfer(machine, place, event)
                  : is_wait(event.action) ? do_wait(machine, place, event)
                                          : do_structure(machine, place, event);
    if (event.propagates) {
      co_await ok(action);
    } else {
      const Result<void> result = co_await std::move(action);
      machine.check_alive();
      FUZZ_CHECK(result.has_value() || result.error() == place.strand->last_error, "an error changed on its way");
    }
  }
  guard.finish();
  co_return Result<void>();
}

namespace {

/// A grant that never reached its task, or an operation that nobody will complete.
void check_stuck(const ModelContext& context) {
  const Ticket* ticket = context.waiting;
  FUZZ_CHECK(ticket == nullptr || ticket->outcome == Outcome::waiting, "a wait that was ended never came back");
  FUZZ_CHECK(ticket == nullptr || (ticket->kind != WaitKind::operation && ticket->kind != WaitKind::sleep),
             "an operation or a sleep never ended");
  for (const ModelContext* child : context.children) check_stuck(*child);
}

bool has_queued(const ModelContext& context) {
  if (context.waiting != nullptr && context.waiting->queue != nullptr) return true;
  return std::any_of(context.children.begin(), context.children.end(),
                     [](const ModelContext* child) { return has_queued(*child); });
}

/// From outside of the tasks, with ever harder means.
enum class Rescue : uint8_t { wake, close, cancel, kill };

class Life {
 public:
  Life(World& world, Host& host, std::span<const FuzzEvent> events, size_t& event_next, ExpectedDisk& disk,
       Model::Marks& marks)
      : machine_(world, host, events, event_next, disk, marks) {}

  /// From the start of the root task to its end, or to the kill. Returns true when it was killed.
  bool run(EventHash& hash) {
    machine_.host.start(run_root, machine_);
    bool killed = false;
    while (!killed) {
      do_requests(killed);
      if (killed) break;
      const World::Step step = machine_.world.step();
      if (step == World::Step::idle) break;
      if (step == World::Step::deadlock) rescue(killed);
    }
    if (!killed) end_quietly();
    hash.mix(machine_.hash.value(), killed);
    return killed;
  }
  void before_turn() noexcept { machine_.model.fire_due(machine_.now_ns()); }

 private:
  static bool is_due(std::optional<uint32_t>& in_steps) noexcept {
    if (!in_steps.has_value()) return false;
    if (*in_steps > 0) {
      --*in_steps;
      return false;
    }
    in_steps.reset();
    return true;
  }

  void do_requests(bool& killed) {
    if (is_due(machine_.cancel_root_in_steps)) cancel_root();
    if (is_due(machine_.kill_in_steps)) killed = kill();
  }

  void cancel_root() {
    if (!machine_.host.is_running()) return;
    machine_.model.mark(Mark::root_cancelled);
    machine_.model.cancel(*machine_.root);
    machine_.host.cancel();
  }

  bool kill() {
    if (!machine_.host.is_running()) return false;
    if (machine_.host.backend().in_flight_count() > 0) machine_.model.mark(Mark::killed_with_operation_in_flight);
    if (has_queued(*machine_.root)) machine_.model.mark(Mark::killed_with_waiters);
    machine_.is_dead = true;
    machine_.host.kill_process();
    FUZZ_CHECK(machine_.guard_live_count == 0, "a kill left locals alive");
    FUZZ_CHECK(machine_.token_live_count == 0, "a kill left arguments alive");
    FUZZ_CHECK(machine_.world.step() == World::Step::idle, "something goes on after a kill");
    check_disk(machine_.host, machine_.disk);
    machine_.host.restart();
    machine_.model.mark(Mark::restarted_after_kill);
    return true;
  }

  void rescue(bool& killed) {
    check_stuck(*machine_.root);
    machine_.model.mark(Mark::deadlock_resolved);
    if (machine_.event_next != rescued_at_event_) rescue_ = Rescue::wake;
    rescued_at_event_ = machine_.event_next;
    Loop* const former = Loop::set_current(&machine_.host.loop());
    switch (rescue_) {
      case Rescue::wake: wake_all(); break;
      case Rescue::close: close_channels(); break;
      case Rescue::cancel: cancel_root(); break;
      case Rescue::kill: break;
    }
    Loop::set_current(former);
    if (rescue_ == Rescue::kill) {
      killed = kill();
    } else {
      rescue_ = static_cast<Rescue>(static_cast<uint8_t>(rescue_) + 1);
    }
  }

  void wake_all() {
    for (size_t index = 0; index < 3; ++index) {
      machine_.model.set(machine_.model_events[index]);
      machine_.primitives->events[index].set();
    }
    for (size_t index = 0; index < 2; ++index) {
      machine_.model.notify_all(machine_.model_conditions[index]);
      machine_.primitives->conditions[index].notify_all();
    }
  }

  void close_channels() {
    for (size_t index = 0; index < 2; ++index) {
      machine_.model.close(machine_.model_channels[index]);
      machine_.primitives->channels[index].close();
    }
  }

  void end_quietly() {
    const Result<void> result = machine_.host.take();
    const bool was_cancelled = machine_.root->is_cancelled;
    FUZZ_CHECK(result.has_value() || (was_cancelled && result.error().code == ErrorCode::cancelled),
               "the root task failed");
    machine_.check_quiet();
    check_disk(machine_.host, machine_.disk);
  }

  Machine machine_;
  Rescue rescue_ = Rescue::wake;
  size_t rescued_at_event_ = 0;
};

/// Hands the turns of the world to the life that is under way.
class Follower final : public TurnObserver {
 public:
  void before_turn(Host&) noexcept override {
    if (life != nullptr) life->before_turn();
  }
  Life* life = nullptr;
};

struct Mix {
  Swarm<Action, action_count> swarm;
  uint32_t propagate_percent = 0;
  uint64_t events_count = 0;
};

Mix mix_of(uint64_t seed, uint64_t events_max) {
  Random random(mix64(seed ^ 0x5a));
  Mix mix{Swarm<Action, action_count>(random)};
  mix.swarm.limit(Action::kill, 1);
  mix.swarm.limit(Action::cancel_root, 1);
  mix.swarm.limit(Action::close_channel, 4);
  mix.swarm.limit(Action::cancel_any_scope, 16);
  mix.swarm.limit(Action::fail, 32);
  mix.swarm.add(Action::yield, 4);
  mix.swarm.add(Action::spawn, 32);
  mix.propagate_percent = static_cast<uint32_t>(random.between(10, 90));
  const uint64_t events_min = std::min<uint64_t>(events_max, 50);
  mix.events_count = random.between(events_min, events_max);
  return mix;
}

FuzzEvent event_at(uint64_t seed, uint64_t index, const Mix& mix) {
  uint64_t word = mix64(mix64(seed) + index * 3);
  FuzzEvent event{};
  event.action = mix.swarm.choose(word);
  event.propagates = (word >> 32) % 100 < mix.propagate_percent;
  word = mix64(mix64(seed) + index * 3 + 1);
  event.a = static_cast<uint32_t>(word);
  event.b = static_cast<uint32_t>(word >> 32);
  event.c = static_cast<uint32_t>(mix64(word));
  return event;
}

std::vector<FuzzEvent> generate(uint64_t seed, uint64_t events_max) {
  const Mix mix = mix_of(seed, events_max);
  std::vector<FuzzEvent> events;
  events.reserve(mix.events_count);
  for (uint64_t index = 0; index < mix.events_count; ++index) events.push_back(event_at(seed, index, mix));
  return events;
}

SimBackendOptions backend_of(const RunOptions& run) {
  Random random(mix64(run.seed ^ 0xb0));
  SimBackendOptions options;
  options.queue_depth = static_cast<uint32_t>(random.between(1, 16));
  options.latency_ns_min = random.between(1, 1000);
  options.latency_ns_max = options.latency_ns_min + random.below(100'000);
  options.sector_size = ExpectedDisk::sector_size;
  options.faults.filter = run.faults;
  FaultRates& rates = options.faults.everywhere;
  const uint32_t short_rate = static_cast<uint32_t>(random.below(300'000));
  rates.set(Fault::short_read, short_rate).set(Fault::short_write, short_rate);
  rates.set(Fault::again, static_cast<uint32_t>(random.below(100'000)));
  rates.set(Fault::interrupted, static_cast<uint32_t>(random.below(100'000)));
  return options;
}

RunResult run_events(const RunOptions& options, std::span<const FuzzEvent> events, Coverage& coverage) {
  Model::Marks marks(mark_count, 0);
  ExpectedDisk disk;
  World world(options.seed);
  Host& host = world.add_host("a", backend_of(options));
  Follower follower;
  world.observe(&follower);
  EventHash hash;
  size_t event_next = 0;
  uint64_t lives_count = 0;
  while (event_next < events.size()) {
    Life life(world, host, events, event_next, disk, marks);
    follower.life = &life;
    life.run(hash);
    follower.life = nullptr;
    ++lives_count;
  }
  if (options.is_verbose) {
    std::printf("  %zu events, %llu lives, %llu steps\n", events.size(), static_cast<unsigned long long>(lives_count),
                static_cast<unsigned long long>(world.steps_count()));
    const Mix mix = mix_of(options.seed, options.events_max);
    std::printf("  weights: %s\n", mix.swarm.text([](Action action) { return name_of(action); }).c_str());
  }
  for (size_t index = 0; index < mark_count; ++index) {
    for (uint64_t left = marks[index]; left > 0; --left) coverage.mark(index);
  }
  hash.mix(world.hash(), event_next);
  return {hash.value(), event_next};
}

constexpr uint64_t fixed_seeds[] = {
    1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17,
    18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 39, 8983580182596178123u};

}  // namespace

const Fuzzer runtime_fuzzer = {"runtime",
                               "tasks, scopes, cancellation, waits and kills against a model",
                               true,
                               4000,
                               fixed_seeds,
                               mark_names,
                               run_as<generate, run_events>};

}  // namespace spindle::fuzz
