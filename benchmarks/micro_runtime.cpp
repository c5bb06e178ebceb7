// What the pieces of the runtime cost, each in one loop on one thread. The yardstick stands beside each group: a plain
// call, std::malloc, a std::multimap of deadlines. Fill patterns are stated with each benchmark.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "runtime/channel.h"
#include "runtime/combinators.h"
#include "runtime/root.h"
#include "runtime/semaphore.h"
#include "runtime/sleep.h"

namespace spindle {

namespace {

/// Time stands still; nothing is waited for.
class StillReactor final : public Reactor {
 public:
  Time now() noexcept override { return Time{}; }
  void poll() noexcept override {}
  void wait(Time) noexcept override { SPINDLE_ASSERT(false, "a benchmark waits for what never comes"); }
  void wake() noexcept override {}
  bool has_detached_work() const noexcept override { return false; }
  void attach(Loop*) noexcept override {}
};

// The benchmark's own loop keeps its state in the coroutine's frame, which is a tenth of a task: asked once per batch.
constexpr int64_t batch = 1000;

[[gnu::noinline]] Task<int64_t> identity(int64_t value) { co_return value; }
[[gnu::noinline]] Task<Result<int64_t>> identity_result(int64_t value) { co_return value; }
[[gnu::noinline]] int64_t plain_identity(int64_t value) { return value; }

Task<void> await_tasks(benchmark::State* state) {
  // The argument does not hang on the last result: that would time the way of a value through memory, not the task.
  int64_t sum = 0;
  while (state->KeepRunningBatch(batch)) {
    for (int64_t index = 0; index < batch; ++index) {
      const int64_t value = co_await identity(index);
      sum += value;
    }
  }
  benchmark::DoNotOptimize(sum);
}

Task<Result<void>> await_ok_tasks(benchmark::State* state) {
  int64_t sum = 0;
  while (state->KeepRunningBatch(batch)) {
    for (int64_t index = 0; index < batch; ++index) {
      const int64_t value = co_await ok(identity_result(index));
      sum += value;
    }
  }
  benchmark::DoNotOptimize(sum);
  co_return Result<void>();
}

[[gnu::noinline]] Task<int64_t> descend(int64_t depth) {
  if (depth == 0) co_return 0;
  const int64_t below = co_await descend(depth - 1);
  co_return below + 1;
}

Task<void> await_chains(benchmark::State* state) {
  const int64_t depth = state->range(0);
  for (auto _ : *state) {
    const int64_t reached = co_await descend(depth);
    SPINDLE_ASSERT(reached == depth, "a chain of the wrong depth");
  }
}

Task<Result<void>> yields(benchmark::State* state) {
  for (auto _ : *state) co_await ok(yield());
  co_return Result<void>();
}

Task<Result<void>> semaphores(benchmark::State* state) {
  Semaphore semaphore(1);
  for (auto _ : *state) {
    const Semaphore::Permit permit = co_await ok(semaphore.acquire());
    benchmark::DoNotOptimize(&permit);
  }
  co_return Result<void>();
}

Task<Result<void>> nothing() { co_return Result<void>(); }

Task<Result<void>> spawn_children(Scope& scope, int64_t count) {
  for (int64_t index = 0; index < count; ++index) co_await ok(scope.spawn(nothing));
  co_return Result<void>();
}

Task<Result<void>> scopes(benchmark::State* state) {
  const int64_t count = state->range(0);
  for (auto _ : *state) co_await ok(with_scope(ScopeOptions{}, spawn_children, count));
  co_return Result<void>();
}

Task<Result<void>> send_all(Channel<int64_t>* channel, benchmark::State* state) {
  for (auto _ : *state) co_await ok(channel->send(1));
  channel->close();
  co_return Result<void>();
}

Task<Result<void>> receive_all(Channel<int64_t>* channel) {
  for (;;) {
    const Result<int64_t> value = co_await channel->receive();
    if (!value.has_value()) co_return Result<void>();
  }
}

Task<Result<void>> hand_values_over(benchmark::State* state) {
  Channel<int64_t> channel(static_cast<size_t>(state->range(0)));
  co_await ok(when_all(send_all(&channel, state), receive_all(&channel)));
  co_return Result<void>();
}

template <class Function>
void in_loop(benchmark::State& state, Function function) {
  StillReactor reactor;
  Loop loop(reactor);
  if constexpr (std::is_void_v<decltype(run(loop, function, &state))>) {
    run(loop, function, &state);
  } else {
    const auto done = run(loop, function, &state);
    SPINDLE_ASSERT(done.has_value(), "a benchmark failed");
  }
}

void plain_call(benchmark::State& state) {
  int64_t sum = 0;
  for (auto _ : state) sum = plain_identity(sum) ^ 1;
  benchmark::DoNotOptimize(sum);
}

void malloc_and_free(benchmark::State& state) {
  for (auto _ : state) {
    void* memory = std::malloc(96);
    benchmark::DoNotOptimize(memory);
    std::free(memory);
  }
}

/// `count` timers armed at random deadlines; each round cancels the one that was armed first and arms it anew.
void timer_rearm(benchmark::State& state) {
  const size_t count = static_cast<size_t>(state.range(0));
  TimerHeap heap(static_cast<uint32_t>(count));
  const auto ignore = [](Timer&, Loop&) noexcept {};
  Random random(1);
  std::vector<std::unique_ptr<Timer>> timers;
  for (size_t index = 0; index < count; ++index) {
    timers.push_back(std::make_unique<Timer>(ignore));
    heap.arm(*timers.back(), Time(Duration(static_cast<int64_t>(random.below(1'000'000'000)))));
  }
  size_t index = 0;
  for (auto _ : state) {
    heap.cancel(*timers[index]);
    heap.arm(*timers[index], Time(Duration(static_cast<int64_t>(random.below(1'000'000'000)))));
    if (++index == count) index = 0;
  }
  heap.abandon();
}

/// The same with a std::multimap.
void multimap_rearm(benchmark::State& state) {
  const size_t count = static_cast<size_t>(state.range(0));
  std::multimap<uint64_t, size_t> map;
  std::vector<std::multimap<uint64_t, size_t>::iterator> places;
  Random random(1);
  for (size_t index = 0; index < count; ++index) places.push_back(map.emplace(random.below(1'000'000'000), index));
  size_t index = 0;
  for (auto _ : state) {
    map.erase(places[index]);
    places[index] = map.emplace(random.below(1'000'000'000), index);
    if (++index == count) index = 0;
  }
}

/// `count` timers armed, then fired in order; the time is that of one timer's arm and fire.
void timer_arm_and_fire(benchmark::State& state) {
  const size_t count = static_cast<size_t>(state.range(0));
  StillReactor reactor;
  Loop loop(reactor);
  TimerHeap heap(static_cast<uint32_t>(count));
  const auto ignore = [](Timer&, Loop&) noexcept {};
  std::vector<std::unique_ptr<Timer>> timers;
  for (size_t index = 0; index < count; ++index) timers.push_back(std::make_unique<Timer>(ignore));
  Random random(1);
  for (auto _ : state) {
    for (const auto& timer : timers) {
      heap.arm(*timer, Time(Duration(static_cast<int64_t>(random.below(1'000'000'000)))));
    }
    heap.fire_due(time_never, loop);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(count));
}

BENCHMARK(plain_call);
BENCHMARK(malloc_and_free);
BENCHMARK_CAPTURE(in_loop, task_create_await_destroy, await_tasks);
BENCHMARK_CAPTURE(in_loop, ok_task_create_await_destroy, await_ok_tasks);
BENCHMARK_CAPTURE(in_loop, task_chain, await_chains)->Arg(1)->Arg(10)->Arg(100);
BENCHMARK_CAPTURE(in_loop, yield_through_ready_queue, yields);
BENCHMARK_CAPTURE(in_loop, semaphore_uncontended, semaphores);
BENCHMARK_CAPTURE(in_loop, scope_spawn_join, scopes)->Arg(1)->Arg(100);
BENCHMARK_CAPTURE(in_loop, channel_hand_over, hand_values_over)->Arg(1)->Arg(64);
BENCHMARK(timer_rearm)->Arg(1000)->Arg(1'000'000);
BENCHMARK(multimap_rearm)->Arg(1000)->Arg(1'000'000);
BENCHMARK(timer_arm_and_fire)->Arg(1000)->Arg(1'000'000);

}  // namespace

}  // namespace spindle

BENCHMARK_MAIN();
