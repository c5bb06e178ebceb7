// The fuzzer `scan_buffer`: tasks that wait for scan buffers, take them, move and drop handles, with resets, cancels
// and kills, against a model that has a set of free indices, a queue of waiters, and the session of each handle.
//
// Checked: the free buffer with the lowest index goes to who came first; a cancel takes a waiter out, and does not take
// back what was granted; a reset frees everything and serves who waits; a handle from before is not valid, and does
// nothing when it is dropped; nobody writes to the blocks of a buffer that somebody has; all blocks go back to the
// grid's pool, or to who waits for one; nothing of a host that was killed goes on.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "io/sim/swarm.h"
#include "tests/fuzz/scan_buffer_life.h"

namespace spindle::fuzz {

using namespace scan_buffer;

namespace {

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

void finish_wait(Life& life, uint32_t number, Result<ScanBuffer> result) {
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
  hold(life, std::move(*result), task.grant);
}

Task<Result<void>> wait_for_buffer(Life* life, uint32_t number) {
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
  Result<ScanBuffer> result = co_await life->pool->acquire();
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
    const bool is_between = place != life.queue.begin() && place + 1 != life.queue.end();
    life.mark(is_between ? Mark::cancelled_in_the_middle : Mark::cancelled_while_waiting);
    life.queue.erase(place);
    task.outcome = Outcome::cancelled;
  }
  task.scope->cancel();
}

void do_at_once(Life& life, const Event& event) {
  std::vector<Held>& held = *life.held;
  switch (event.action) {
    case Action::try_acquire:
      if (held.size() < 256) try_acquire(life);
      break;
    case Action::assume:
      if (!life.free.empty() && held.size() < 256) hold(life, life.pool->acquire_assume_capacity(), take_free(life));
      break;
    case Action::move:
      if (!held.empty()) move(life, event.a % held.size(), event.b % held.size());
      break;
    case Action::drop:
      if (!held.empty()) drop(life, event.a % held.size());
      break;
    case Action::cancel: cancel_one(life, event.a); break;
    case Action::reset: reset(life); break;
    case Action::drop_all:
      while (!held.empty()) drop(life, held.size() - 1);
      break;
    case Action::wait:
    case Action::wait_cancelled:
    case Action::rest: break;
  }
  FUZZ_CHECK(life.pool->in_use_count() == life.shape.options.scans_max - life.free.size(), "a wrong count in use");
  FUZZ_CHECK(life.pool->session() == life.session, "a wrong session");
  if (!held.empty()) check_held(life, held[event.b % held.size()]);
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
      co_await ok(scope.spawn(cancellable_part<decltype(&wait_for_buffer), Life*, uint32_t>, handle, &wait_for_buffer,
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

Task<Result<void>> wait_for_block(Life* life, BlockPool* blocks) {
  const BlockLease lease = co_await ok(blocks->acquire());
  FUZZ_CHECK(lease.is_held(), "a wait for a block ended without one");
  ++life->blocks_served_count;
  co_return Result<void>();
}

// Others wait for blocks of the grid, of which there are none, and get those of the buffers.
Task<Result<void>> destroy(Scope& scope, Life* life, BlockPool* blocks, std::unique_ptr<ScanBufferPool>* pool) {
  std::vector<BlockLease> spare;
  while (blocks->in_use_count() < blocks->capacity()) {
    Result<BlockLease> lease = blocks->try_acquire();
    FUZZ_CHECK(lease.has_value(), "a pool with free blocks gave none");
    spare.push_back(std::move(*lease));
  }
  for (uint32_t count = 0; count < life->shape.block_waiters_count; ++count) {
    co_await ok(scope.spawn(wait_for_block, life, blocks));
  }
  for (int rests = 0; rests < 40; ++rests) co_await ok(yield());
  FUZZ_CHECK(life->blocks_served_count == 0, "a block was handed out that the buffers have");
  pool->reset();
  life->pool = nullptr;
  if (life->shape.block_waiters_count > 0) life->mark(Mark::blocks_went_to_waiter);
  co_return Result<void>();
}

/// The blocks for the buffers, less one: nothing is taken.
void check_too_few(Life& life, const ScanBufferOptions& options, uint32_t blocks_count) {
  Result<std::unique_ptr<BlockPool>> blocks = BlockPool::create(blocks_count - 1, block_size_min);
  FUZZ_CHECK(blocks.has_value(), "a block pool could not be made");
  const auto made = ScanBufferPool::create(**blocks, options);
  FUZZ_CHECK(!made.has_value() && made.error().code == ErrorCode::exhausted, "buffers were made of too few blocks");
  FUZZ_CHECK((*blocks)->in_use_count() == 0, "a pool of buffers that was not made has blocks");
  life.mark(Mark::too_few_blocks);
}

Task<Result<void>> live(Life* life) {
  const ScanBufferOptions options = life->shape.options;
  const uint32_t blocks_count = 2 * options.levels_count * options.scans_max;
  check_too_few(*life, options, blocks_count);
  const auto blocks = BlockPool::create(blocks_count + life->shape.spare_blocks_count, block_size_min);
  FUZZ_CHECK(blocks.has_value(), "a block pool could not be made");
  auto made = ScanBufferPool::create(**blocks, options);
  FUZZ_CHECK(made.has_value(), "a pool of scan buffers could not be made");
  std::unique_ptr<ScanBufferPool> pool = std::move(*made);
  FUZZ_CHECK((*blocks)->in_use_count() == blocks_count, "scan buffers have another number of blocks than they need");
  std::vector<Held> held;
  life->pool = pool.get();
  life->held = &held;
  for (uint32_t index = 0; index < options.scans_max; ++index) life->free.insert(index);
  life->stamps.assign(options.scans_max, 0);
  auto scoped = with_scope(ScopeOptions{}, live_in, life);
  const Result<void> result = co_await std::move(scoped);
  FUZZ_CHECK(result.has_value() && held.empty() && pool->in_use_count() == 0, "buffers were left at the end");
  BlockPool* const blocks_address = blocks->get();
  std::unique_ptr<ScanBufferPool>* const pool_address = &pool;
  auto destroying = with_scope(ScopeOptions{}, destroy, life, blocks_address, pool_address);
  const Result<void> destroyed = co_await std::move(destroying);
  FUZZ_CHECK(destroyed.has_value(), "the pool could not be destroyed");
  FUZZ_CHECK(life->blocks_served_count == life->shape.block_waiters_count, "a waiter got no block");
  FUZZ_CHECK((*blocks)->in_use_count() == 0, "blocks were left at the end");
  co_return Result<void>();
}

void mark_kill(Life& life) {
  if (!life.queue.empty()) life.mark(Mark::killed_with_waiters);
  if (life.grants_open_count > 0) life.mark(Mark::killed_with_grant);
  if (life.held != nullptr && !life.held->empty()) life.mark(Mark::killed_with_buffers_out);
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
  mix.swarm.limit(Action::drop_all, 2);
  mix.swarm.limit(Action::reset, 4);
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

// Few buffers, so that they are exceeded; sometimes more than the bits of a word.
Shape shape_of(Random& random) {
  Shape shape;
  const bool is_large = random.chance(1, 8);
  shape.options.scans_max = static_cast<uint32_t>(is_large ? random.between(65, 70) : random.between(1, 6));
  shape.options.levels_count = static_cast<uint32_t>(is_large ? 1 : random.between(1, 4));
  shape.spare_blocks_count = static_cast<uint32_t>(random.below(3));
  const uint32_t blocks_count = 2 * shape.options.scans_max * shape.options.levels_count;
  shape.block_waiters_count = static_cast<uint32_t>(random.below(std::min(blocks_count, 8u) + 1));
  return shape;
}

/// From the start of the root task to its end, or to the kill.
void run_life(Life& life, Random& random) {
  StillReactor reactor;
  Loop::Options options;
  options.ready_budget = 1;
  options.random_seed = random.next();
  options.schedule_randomly = random.chance(1, 2);
  options.frames_per_class = 64;
  life.shape = shape_of(random);
  const uint64_t kill_at_turn = random.chance(1, 2) ? random.below(4000) : UINT64_MAX;
  Loop loop(reactor, options);
  {
    Root<Result<void>> root(std::source_location::current(), loop, live, &life);
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

const Fuzzer scan_buffer_fuzzer = {"scan_buffer",
                                   "scan buffers: waits, moves, resets, cancels and kills against a model",
                                   true,
                                   20'000,
                                   fixed_seeds,
                                   mark_names,
                                   run_as<generate, run_events>};

}  // namespace spindle::fuzz
