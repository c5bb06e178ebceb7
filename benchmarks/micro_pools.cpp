// What the pools cost. Nodes: of 4 KiB, aligned to 4 KiB, a share of them acquired; each round releases 64 random ones
// and acquires as many. The time is that of one release and one acquire, with the drawing of the node, which
// `nodes_harness_only` shows. Beside it: a bit set that is scanned from its beginning, and mimalloc where the program
// is linked with it. mimalloc keeps its free list in the nodes, and so touches them: not tried with 2^20 (4 GiB).
// Messages: acquire and drop, verification of a header, and the checksum of a body beside xxHash as its own header has
// it: without a choice of vector instructions at run time.
#include <benchmark/benchmark.h>
#include <xxhash.h>

#include <bit>
#include <cstring>
#include <vector>

#include "pools/message_pool.h"
#include "pools/node_pool.h"
#include "runtime/random.h"
#include "runtime/root.h"

// mimalloc is optional in the build; null where it is not linked.
extern "C" {
[[gnu::weak]] void* mi_malloc_aligned(size_t size, size_t alignment);
[[gnu::weak]] void mi_free(void* memory);
}

namespace spindle {

namespace {

// Builds with the ledger write to what is free: 4 GiB would be too much for a smoke test.
constexpr size_t node_size = SPINDLE_LEDGER ? 64 : 4096;
constexpr uint32_t round_size = 64;

class SpindleNodes {
 public:
  static bool is_there() noexcept { return true; }
  explicit SpindleNodes(uint32_t count) : pool_(std::move(*NodePool<node_size, node_size>::create(count))) {}
  ~SpindleNodes() { pool_.reset(); }
  void* acquire() noexcept { return pool_.acquire(); }
  void release(void* node) noexcept { pool_.release(static_cast<std::byte*>(node)); }

 private:
  NodePool<node_size, node_size> pool_;
};

/// One bit per node, and no summaries. Nodes are numbers: nothing but the search is timed.
class FlatNodes {
 public:
  static bool is_there() noexcept { return true; }
  explicit FlatNodes(uint32_t count) : words_(count / 64, UINT64_MAX) {}
  /// Without the search, which would take a quadratic time.
  void acquire_all(std::vector<void*>& held) noexcept {
    for (uint64_t& word : words_) word = 0;
    for (size_t index = 0; index < words_.size() * 64; ++index) {
      held.push_back(reinterpret_cast<void*>((index + 1) * node_size));
    }
  }
  void* acquire() noexcept {
    size_t at = 0;
    while (words_[at] == 0) ++at;
    const size_t index = at * 64 + static_cast<size_t>(std::countr_zero(words_[at]));
    words_[at] &= words_[at] - 1;
    return reinterpret_cast<void*>((index + 1) * node_size);
  }
  void release(void* node) noexcept {
    const size_t index = reinterpret_cast<uintptr_t>(node) / node_size - 1;
    words_[index / 64] |= uint64_t{1} << index % 64;
  }

 private:
  std::vector<uint64_t> words_;
};

class MimallocNodes {
 public:
  static bool is_there() noexcept { return mi_malloc_aligned != nullptr && mi_free != nullptr; }
  explicit MimallocNodes(uint32_t) noexcept {}
  void* acquire() noexcept { return mi_malloc_aligned(node_size, node_size); }
  void release(void* node) noexcept { mi_free(node); }
};

/// A stack of what was released last.
class NoNodes {
 public:
  static bool is_there() noexcept { return true; }
  explicit NoNodes(uint32_t count) {
    for (uintptr_t index = 1; index <= count; ++index) free_.push_back(reinterpret_cast<void*>(index));
  }
  void* acquire() noexcept {
    void* const node = free_.back();
    free_.pop_back();
    return node;
  }
  void release(void* node) noexcept { free_.push_back(node); }

 private:
  std::vector<void*> free_;
};

/// Arguments: log2 of the nodes, percent acquired.
template <class Nodes>
void random_releases(benchmark::State& state) {
  if (!Nodes::is_there()) return state.SkipWithError("not linked");
  const uint32_t count = 1u << state.range(0);
  const size_t held_count = size_t{count} * static_cast<size_t>(state.range(1)) / 100;
  Nodes nodes(count);
  Random random(1);
  std::vector<void*> held;
  void* drawn[round_size];
  const auto draw = [&](size_t most) {
    const size_t drawn_count = most < round_size ? most : round_size;
    for (size_t index = 0; index < drawn_count; ++index) {
      const size_t place = random.below(held.size());
      drawn[index] = held[place];
      held[place] = held.back();
      held.pop_back();
    }
    return drawn_count;
  };
  const auto release_drawn = [&](size_t drawn_count) {
    for (size_t index = 0; index < drawn_count; ++index) nodes.release(drawn[index]);
  };
  if constexpr (requires { nodes.acquire_all(held); }) nodes.acquire_all(held);
  while (held.size() < count) held.push_back(nodes.acquire());
  while (held.size() > held_count) release_drawn(draw(held.size() - held_count));
  while (state.KeepRunningBatch(round_size)) {
    // Drawn before the first is released: the list of what is held is larger than the cache, and its misses are not
    // what is asked for.
    release_drawn(draw(round_size));
    for (uint32_t index = 0; index < round_size; ++index) held.push_back(nodes.acquire());
  }
  while (!held.empty()) release_drawn(draw(held.size()));
}

void node_points(benchmark::internal::Benchmark* benchmark) {
  for (const int64_t logarithm : {10, 16, 20}) {
    for (const int64_t percent : {50, 99}) benchmark->Args({logarithm, percent});
  }
}
void node_points_touched(benchmark::internal::Benchmark* benchmark) {
  for (const int64_t logarithm : {10, 16}) {
    for (const int64_t percent : {50, 99}) benchmark->Args({logarithm, percent});
  }
}

constexpr uint32_t message_size_max = 1 << 20;

std::unique_ptr<MessagePool> make_pool() {
  return std::move(*MessagePool::create(MessagePool::Client{}, message_size_max));
}

void message_try_acquire_and_drop(benchmark::State& state) {
  const std::unique_ptr<MessagePool> pool = make_pool();
  for (auto _ : state) {
    Result<MessageRef> message = pool->try_acquire();
    benchmark::DoNotOptimize(&*message);
  }
}

/// Time stands still; nothing is waited for.
class QuietReactor final : public Reactor {
 public:
  Time now() noexcept override { return Time{}; }
  void poll() noexcept override {}
  void wait(Time) noexcept override { SPINDLE_ASSERT(false, "a benchmark waits for what never comes"); }
  void wake() noexcept override {}
  bool has_detached_work() const noexcept override { return false; }
  void attach(Loop*) noexcept override {}
};

Task<Result<void>> await_messages(benchmark::State* state, MessagePool* pool) {
  constexpr int64_t batch = 1000;  // the benchmark's own loop keeps its state in the coroutine's frame
  while (state->KeepRunningBatch(batch)) {
    for (int64_t index = 0; index < batch; ++index) {
      const MessageRef message = co_await ok(pool->acquire());
      benchmark::DoNotOptimize(&message);
    }
  }
  co_return Result<void>();
}

void message_await_and_drop(benchmark::State& state) {
  const std::unique_ptr<MessagePool> pool = make_pool();
  QuietReactor reactor;
  Loop loop(reactor);
  const Result<void> done = run(loop, await_messages, &state, pool.get());
  SPINDLE_ASSERT(done.has_value(), "a benchmark failed");
}

void message_header_verify(benchmark::State& state) {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = std::move(*pool->try_acquire());
  message->build<Command::ping>();
  message->seal();
  for (auto _ : state) {
    benchmark::ClobberMemory();
    const MessageFault fault = verify_header(message->header(), message_size_max);
    SPINDLE_ASSERT(fault == MessageFault::none, "a sealed header does not verify");
  }
}

std::vector<std::byte> random_bytes(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t at = 0; at < size; ++at) bytes[at] = static_cast<std::byte>(mix64(at));
  return bytes;
}

void body_checksum(benchmark::State& state) {
  const std::vector<std::byte> body = random_bytes(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::ClobberMemory();
    benchmark::DoNotOptimize(checksum_of(body));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void xxhash_alone(benchmark::State& state) {
  const std::vector<std::byte> body = random_bytes(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::ClobberMemory();
    benchmark::DoNotOptimize(XXH3_128bits(body.data(), body.size()));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

BENCHMARK_TEMPLATE(random_releases, NoNodes)->Name("nodes_harness_only")->Apply(node_points);
BENCHMARK_TEMPLATE(random_releases, SpindleNodes)->Name("node_pool")->Apply(node_points);
BENCHMARK_TEMPLATE(random_releases, FlatNodes)->Name("flat_bit_set")->Apply(node_points);
BENCHMARK_TEMPLATE(random_releases, MimallocNodes)->Name("mimalloc")->Apply(node_points_touched);
BENCHMARK(message_try_acquire_and_drop);
BENCHMARK(message_await_and_drop);
BENCHMARK(message_header_verify);
BENCHMARK(body_checksum)->Arg(4096)->Arg(1 << 20);
BENCHMARK(xxhash_alone)->Arg(4096)->Arg(1 << 20);

}  // namespace

}  // namespace spindle
