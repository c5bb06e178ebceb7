// The fuzzer `message_pool`: tasks that wait for messages, take references and drop them, with cancels and kills,
// against a model that has a stack of free messages, a queue of waiters, and a count of references for each message.
//
// Checked: who waits is served in order, with the message that came back; a cancel takes a waiter out, and does not
// take back what was granted; fresh messages are fresh; counts; nobody writes to what somebody holds; a header or body
// that was damaged is found out, with the fault that the damage deserves; nothing is left at the end, and nothing of a
// host that was killed goes on.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "io/sim/event_hash.h"
#include "io/sim/swarm.h"
#include "pools/message_pool.h"
#include "tests/fuzz/fuzz.h"
#include "tests/runtime/probes.h"

namespace spindle::fuzz {

namespace {

enum class Mark : uint8_t {
  waited,
  granted_then_cancelled,
  cancelled_while_waiting,
  cancelled_in_the_middle,
  refused_in_cancelled_context,
  exhausted,
  dropped_one_of_several,
  killed_with_waiters,
  killed_with_grant,
  killed_with_messages_out,
  typed,
};
constexpr const char* mark_names[] = {
    "waited, then granted",
    "granted, then cancelled",
    "cancelled while waiting",
    "cancelled between others that wait",
    "refused in a cancelled context",
    "exhausted",
    "one of several references dropped",
    "killed with waiters",
    "killed with a grant that was not taken",
    "killed with messages out",
    "typed",
};
static_assert(static_cast<size_t>(Mark::typed) + 1 == sizeof(mark_names) / sizeof(mark_names[0]));

enum class Action : uint8_t { wait, wait_cancelled, try_acquire, ref, drop, cancel, rest, damage, drop_all };
constexpr size_t action_count = static_cast<size_t>(Action::drop_all) + 1;

const char* name_of(Action action) noexcept {
  constexpr const char* names[] = {"wait",   "wait cancelled", "try acquire", "ref",     "drop",
                                   "cancel", "rest",           "damage",      "drop all"};
  static_assert(sizeof(names) / sizeof(names[0]) == action_count);
  return names[static_cast<size_t>(action)];
}

struct Event {
  uint32_t number;
  Action action;
  uint32_t a;
  uint32_t b;
};

std::string to_string(const Event& event) {
  return std::string(name_of(event.action)) + ' ' + std::to_string(event.a) + ' ' + std::to_string(event.b);
}

/// Time stands still.
class StillReactor final : public Reactor {
 public:
  Time now() noexcept override { return Time{}; }
  void poll() noexcept override {}
  void wait(Time) noexcept override { FUZZ_CHECK(false, "the loop waits although nobody drives it"); }
  void wake() noexcept override {}
  bool has_detached_work() const noexcept override { return false; }
  void attach(Loop*) noexcept override {}
};

enum class Outcome : uint8_t { waiting, granted, cancelled };

struct WaitingTask {
  Outcome outcome = Outcome::waiting;
  uint32_t message = 0;  // granted
  bool is_cancelled = false;  // its context
  Scope* scope = nullptr;  // while it lives
};

struct Held {
  MessageRef reference;
  uint32_t message;
};

/// One life of the host. Pool and references die with the root's frame.
struct Life {
  Life(std::span<const Event> event_list, size_t& next, Coverage& to_mark)
      : events(event_list), event_next(next), coverage(to_mark) {}
  void mark(Mark reached) { coverage.mark(static_cast<size_t>(reached)); }

  const std::span<const Event> events;
  size_t& event_next;
  Coverage& coverage;
  bool is_dead = false;
  EventHash hash;
  MessagePool* pool = nullptr;
  std::vector<Held>* held = nullptr;
  // The model.
  std::vector<uint32_t> free;  // a stack
  std::deque<uint32_t> queue;  // of waiting tasks
  std::vector<uint32_t> references_count;  // of each message
  std::vector<uint64_t> stamps;  // at the end of each buffer
  std::deque<WaitingTask> tasks;
  uint64_t tasks_live_count = 0;
  uint64_t grants_open_count = 0;  // granted, and not resumed yet
  uint32_t high_water_count = 0;
};

uint32_t take_free(Life& life) {
  const uint32_t message = life.free.back();
  life.free.pop_back();
  const uint32_t in_use_count = static_cast<uint32_t>(life.references_count.size() - life.free.size());
  life.high_water_count = std::max(life.high_water_count, in_use_count);
  return message;
}

void grant(Life& life, WaitingTask& task) {
  task.outcome = Outcome::granted;
  task.message = take_free(life);
  ++life.grants_open_count;
}

// Before the real drop.
void drop_in_model(Life& life, uint32_t message) {
  if (--life.references_count[message] > 0) return;
  life.free.push_back(message);
  if (life.queue.empty()) return;
  grant(life, life.tasks[life.queue.front()]);
  life.queue.pop_front();
  life.mark(Mark::waited);
}

std::span<std::byte> stamp_of(Message& message) { return message.buffer().last(sizeof(uint64_t)); }

void check_stamp(Life& life, const Held& held) {
  const std::span<std::byte> stamp = stamp_of(*held.reference);
  FUZZ_CHECK(std::memcmp(stamp.data(), &life.stamps[held.message], stamp.size()) == 0,
             "somebody wrote to a message that is held");
  FUZZ_CHECK(held.reference->references_count() == life.references_count[held.message], "a wrong count of references");
}

void hold(Life& life, MessageRef reference, uint32_t expected) {
  Message& message = *reference;
  const size_t offset = static_cast<size_t>(message.buffer().data() - life.pool->arena().data());
  FUZZ_CHECK(offset == size_t{expected} * life.pool->message_size_max(), "another message than the one that was free");
  FUZZ_CHECK(message.references_count() == 1, "a fresh message has one reference");
  uint8_t any = 0;
  for (const std::byte byte : message.buffer().first(message_header_size)) any |= static_cast<uint8_t>(byte);
  FUZZ_CHECK(any == 0, "a fresh message has a header of zeroes");
  life.references_count[expected] = 1;
  life.stamps[expected] = mix64(life.hash.value());
  std::memcpy(stamp_of(message).data(), &life.stamps[expected], sizeof(uint64_t));
  life.held->push_back({std::move(reference), expected});
  life.hash.mix(expected);
}

void drop(Life& life, size_t place) {
  std::vector<Held>& held = *life.held;
  std::swap(held[place], held.back());
  const Held last = std::move(held.back());
  held.pop_back();
  check_stamp(life, last);
  const bool is_last = life.references_count[last.message] == 1;
  if (is_last && last.message % 2 == 0) std::memset(last.reference->buffer().data(), 0xee, message_header_size);
  drop_in_model(life, last.message);
}

void finish_wait(Life& life, uint32_t number, Result<MessageRef> result) {
  FUZZ_CHECK(!life.is_dead, "a task of a killed host went on");
  WaitingTask& task = life.tasks[number];
  FUZZ_CHECK(task.outcome != Outcome::waiting, "a wait ended that nothing had ended");
  FUZZ_CHECK(result.has_value() == (task.outcome == Outcome::granted), "a wait ended with another result");
  life.hash.mix(number, static_cast<uint64_t>(task.outcome), task.is_cancelled);
  if (!result.has_value()) {
    FUZZ_CHECK(result.error().code == ErrorCode::cancelled, "a wait failed for no reason");
    return;
  }
  --life.grants_open_count;
  if (task.is_cancelled) life.mark(Mark::granted_then_cancelled);
  hold(life, std::move(*result), task.message);
}

Task<Result<void>> wait_for_message(Life* life, uint32_t number) {
  WaitingTask& task = life->tasks[number];
  if (task.is_cancelled) {
    task.scope->cancel();
    task.outcome = Outcome::cancelled;
    life->mark(Mark::refused_in_cancelled_context);
  } else if (life->free.empty()) {
    life->queue.push_back(number);
  } else {
    grant(*life, task);
  }
  Result<MessageRef> result = co_await life->pool->acquire();
  finish_wait(*life, number, std::move(result));
  --life->tasks_live_count;
  co_return Result<void>();
}

void cancel_one(Life& life, uint32_t choice) {
  if (life.tasks.empty()) return;
  // One of the last ones: earlier ones are done, mostly.
  const size_t window = std::min<size_t>(life.tasks.size(), 8);
  const uint32_t number = static_cast<uint32_t>(life.tasks.size() - 1 - choice % window);
  WaitingTask& task = life.tasks[number];
  if (task.scope == nullptr || task.is_cancelled) return;
  task.is_cancelled = true;
  const auto place = std::find(life.queue.begin(), life.queue.end(), number);
  if (place != life.queue.end()) {
    life.mark(place != life.queue.begin() && place + 1 != life.queue.end() ? Mark::cancelled_in_the_middle
                                                                           : Mark::cancelled_while_waiting);
    life.queue.erase(place);
    task.outcome = Outcome::cancelled;
  }
  task.scope->cancel();
}

void try_acquire(Life& life) {
  Result<MessageRef> result = life.pool->try_acquire();
  FUZZ_CHECK(result.has_value() == !life.free.empty(), "a pool with messages gave none, or one without gave one");
  if (result.has_value()) return hold(life, std::move(*result), take_free(life));
  FUZZ_CHECK(result.error().code == ErrorCode::exhausted, "a pool refused for another reason than that it is empty");
  life.mark(Mark::exhausted);
}

/// Damages a header in one field, fits the checksum to it, and says which fault that is.
MessageFault damage_header(MessageHeader& header, uint32_t size_max, uint32_t choice) {
  MessageFault fault = MessageFault::none;
  switch (choice % 6) {
    case 0:
      header.frame.protocol ^= static_cast<uint16_t>(1u << choice / 6 % 16), fault = MessageFault::protocol;
      break;
    case 1: header.frame.command = Command::none, fault = MessageFault::command; break;
    case 2: header.frame.size = choice / 6 % message_header_size, fault = MessageFault::size; break;
    case 3: header.frame.size = size_max + 1 + choice / 6, fault = MessageFault::size; break;
    case 4: header.frame.reserved[choice / 6 % 8] = 1, fault = MessageFault::reserved; break;
    default: ++header.frame.size, fault = MessageFault::body_checksum; break;
  }
  header.frame.checksum = checksum_of(header);
  return fault;
}

void damage(Life& life, const Event& event) {
  if (life.held->empty()) return;
  const Held& held = (*life.held)[event.a % life.held->size()];
  Message& message = *held.reference;
  message.build<Command::pong>().header().sent_at_ns = event.b;
  message.set_body_size(event.b % 600);
  std::memset(message.body().data(), static_cast<int>(event.a % 256), message.body().size());
  message.seal();
  FUZZ_CHECK(message.verify() == MessageFault::none, "a sealed message does not verify");
  FUZZ_CHECK(message.into<Command::pong>().has_value(), "a pong is no pong");
  FUZZ_CHECK(!message.into<Command::ping>().has_value(), "a pong is a ping");
  life.mark(Mark::typed);
  const uint32_t bit = event.b / 600 % (message.header().frame.size * 8);
  std::byte& flipped = message.buffer()[bit / 8];
  flipped ^= std::byte{1} << (bit % 8);
  const MessageFault of_flip =
      bit / 8 < message_header_size ? MessageFault::header_checksum : MessageFault::body_checksum;
  FUZZ_CHECK(message.verify() == of_flip, "a flipped bit was not found");
  flipped ^= std::byte{1} << (bit % 8);
  const MessageFault fault = damage_header(message.header(), life.pool->message_size_max(), event.a / 256);
  FUZZ_CHECK(message.verify() == fault, "a damaged header was not found, or for another fault");
  check_stamp(life, held);
}

void do_at_once(Life& life, const Event& event) {
  std::vector<Held>& held = *life.held;
  switch (event.action) {
    case Action::try_acquire: try_acquire(life); break;
    case Action::ref:
      if (held.empty() || held.size() > 64) break;
      ++life.references_count[held[event.a % held.size()].message];
      held.push_back({held[event.a % held.size()].reference.ref(), held[event.a % held.size()].message});
      break;
    case Action::drop:
      if (held.empty()) break;
      if (life.references_count[held[event.a % held.size()].message] > 1) life.mark(Mark::dropped_one_of_several);
      drop(life, event.a % held.size());
      break;
    case Action::cancel: cancel_one(life, event.a); break;
    case Action::damage: damage(life, event); break;
    case Action::drop_all:
      while (!held.empty()) drop(life, held.size() - 1);
      break;
    case Action::wait:
    case Action::wait_cancelled:
    case Action::rest: break;
  }
  FUZZ_CHECK(life.pool->in_use_count() == life.references_count.size() - life.free.size(), "a wrong count in use");
  FUZZ_CHECK(life.pool->high_water_count() == life.high_water_count, "a wrong high water count");
  life.hash.mix(static_cast<uint64_t>(event.action), held.size(), life.queue.size());
}

Task<Result<void>> live_in(Scope& scope, Life* life) {
  while (life->event_next < life->events.size()) {
    const Event event = life->events[life->event_next++];
    const bool waits = event.action == Action::wait || event.action == Action::wait_cancelled;
    if (waits && life->tasks_live_count < 24) {
      const uint32_t number = static_cast<uint32_t>(life->tasks.size());
      life->tasks.emplace_back();
      life->tasks.back().is_cancelled = event.action == Action::wait_cancelled;
      ++life->tasks_live_count;
      Scope** const handle = &life->tasks.back().scope;
      co_await ok(scope.spawn(cancellable_part<decltype(&wait_for_message), Life*, uint32_t>, handle, &wait_for_message,
                              life, number));
    }
    do_at_once(*life, event);
    for (uint32_t rests = event.action == Action::rest ? event.a % 4 : 0; rests > 0; --rests) co_await ok(yield());
  }
  while (life->tasks_live_count > 0 || !life->held->empty()) {
    while (!life->held->empty()) drop(*life, life->held->size() - 1);
    co_await ok(yield());
  }
  co_return Result<void>();
}

Task<Result<void>> live(Life* life, MessagePool::Client options) {
  Result<std::unique_ptr<MessagePool>> made =
      MessagePool::create(options, 2 * sector_size);  // stamps lie behind what is sealed
  FUZZ_CHECK(made.has_value(), "a pool could not be made");
  const std::unique_ptr<MessagePool> pool = std::move(*made);
  std::vector<Held> held;
  life->pool = pool.get();
  life->held = &held;
  const uint32_t capacity = pool->capacity();
  for (uint32_t index = capacity; index-- > 0;) life->free.push_back(index);
  life->references_count.assign(capacity, 0);
  life->stamps.assign(capacity, 0);
  auto scoped = with_scope(ScopeOptions{}, live_in, life);
  const Result<void> result = co_await std::move(scoped);
  FUZZ_CHECK(result.has_value(), "the root failed");
  FUZZ_CHECK(pool->in_use_count() == 0 && held.empty(), "messages were left at the end");
  co_return Result<void>();
}

void mark_kill(Life& life) {
  if (!life.queue.empty()) life.mark(Mark::killed_with_waiters);
  if (life.grants_open_count > 0) life.mark(Mark::killed_with_grant);
  if (life.held != nullptr && !life.held->empty()) life.mark(Mark::killed_with_messages_out);
}

struct Mix {
  Swarm<Action, action_count> swarm;
  uint64_t events_count = 0;
};

Mix mix_of(uint64_t seed, uint64_t events_max) {
  Random random(mix64(seed ^ 0x5a));
  Mix mix{Swarm<Action, action_count>(random, 4)};
  mix.swarm.add(Action::wait, 8);
  mix.swarm.add(Action::drop, 4);
  mix.swarm.add(Action::rest, 4);
  mix.swarm.limit(Action::drop_all, 4);
  mix.swarm.limit(Action::damage, 8);
  mix.events_count = random.between(std::min<uint64_t>(events_max, 50), events_max);
  return mix;
}

std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  const Mix mix = mix_of(seed, events_max);
  std::vector<Event> events;
  events.reserve(mix.events_count);
  for (uint64_t index = 0; index < mix.events_count; ++index) {
    const Action action = mix.swarm.choose(mix64(mix64(seed) + index * 2));
    const uint64_t word = mix64(mix64(seed) + index * 2 + 1);
    events.push_back({0, action, static_cast<uint32_t>(word), static_cast<uint32_t>(word >> 32)});
  }
  return events;
}

/// From the start of the root task to its end, or to the kill.
void run_life(Life& life, Random& random) {
  StillReactor reactor;
  Loop::Options options;
  options.ready_budget = 1;
  options.random_seed = random.next();
  options.schedule_randomly = random.chance(1, 2);
  options.frames_per_class = 64;
  MessagePool::Client client;
  client.connections_max = static_cast<uint32_t>(random.between(1, 3));
  client.send_queue_max = static_cast<uint32_t>(random.between(1, 5));
  const uint64_t kill_at_turn = random.chance(1, 2) ? random.below(4000) : UINT64_MAX;
  Loop loop(reactor, options);
  {
    Root<Result<void>> root(std::source_location::current(), loop, live, &life, client);
    for (uint64_t turn = 0; turn < kill_at_turn && !root.is_done(); ++turn) {
      FUZZ_CHECK(loop.has_ready(), "a wait that was ended never came back");
      loop.turn();
    }
    if (!root.is_done()) {
      mark_kill(life);
      life.is_dead = true;
      loop.mark_dying();
    }
  }
  FUZZ_CHECK(loop.frames().live_count() == 0, "coroutine frames were leaked");
}

RunResult run_events(const RunOptions& options, std::span<const Event> events, Coverage& coverage) {
  Random random(mix64(options.seed ^ 0xb0));
  EventHash hash;
  size_t event_next = 0;
  uint64_t lives_count = 0;
  while (event_next < events.size()) {
    Life life(events, event_next, coverage);
    run_life(life, random);
    hash.mix(life.hash.value(), event_next, life.is_dead);
    ++lives_count;
  }
  if (options.is_verbose) {
    const Mix mix = mix_of(options.seed, options.events_max);
    std::printf("  %zu events, %llu lives; weights: %s\n", events.size(), static_cast<unsigned long long>(lives_count),
                mix.swarm.text(name_of).c_str());
  }
  return {hash.value(), event_next};
}

constexpr uint64_t fixed_seeds[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

}  // namespace

const Fuzzer message_pool_fuzzer = {"message_pool",
                                    "messages, references, waits, cancels and kills against a model",
                                    true,
                                    20'000,
                                    fixed_seeds,
                                    mark_names,
                                    run_as<generate, run_events>};

}  // namespace spindle::fuzz
