// How fast the simulated world is: 4 KiB reads and writes of File, half and half, at random over one file on a
// simulated disk with the usual faults, the hash over all events on. One thread.
//
// The yardstick, measured in the same run: copying 4 KiB to and from random places of a plain array of the same size,
// which is what no simulation of a disk that keeps its content can do without.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/meter.h"
#include "io/file.h"
#include "io/sim/world.h"
#include "pools/buffer_pool.h"
#include "runtime/combinators.h"
#include "runtime/random.h"
#include "runtime/scope.h"

namespace spindle::bench {

namespace {

constexpr uint32_t block_size = 4096;
constexpr uint32_t workers_count = 32;

struct Plan {
  uint64_t file_size = uint64_t{1} << 30;
  uint64_t operations_count = 4'000'000;  // of a round
  uint32_t rounds_count = 5;
  uint64_t seed = 1;
};

struct Shared {
  File* file = nullptr;
  AlignedBufferPool* buffers = nullptr;
  uint64_t blocks_count = 0;
  uint64_t operations_left = 0;
  uint64_t operations_count = 0;
  uint64_t failures_count = 0;
};

// Each worker has the blocks of its own number modulo their count: no two write to one place at one time.
Task<Result<void>> work(Shared* shared, uint32_t number) {
  const AlignedBufferPool::Lease lease = co_await ok(shared->buffers->acquire());
  const std::span<std::byte> block = lease.first(block_size);
  Random random(mix64(number));
  while (shared->operations_left > 0) {
    --shared->operations_left;
    const uint64_t place = random.below(shared->blocks_count / workers_count) * workers_count + number;
    const uint64_t offset = place * block_size;
    Result<void> done;
    if (random.chance(1, 2)) {
      done = co_await shared->file->write_all_at(offset, block);
    } else {
      done = co_await shared->file->read_exact_at(offset, block);
    }
    ++shared->operations_count;
    if (!done.has_value()) ++shared->failures_count;
  }
  co_return Result<void>();
}

Task<Result<void>> spawn_workers(Scope& scope, Shared& shared) {
  Shared* const address = &shared;
  for (uint32_t number = 0; number < workers_count; ++number) co_await ok(scope.spawn(work, address, number));
  co_return Result<void>();
}

Task<Result<void>> serve(Shared& shared) {
  OpenOptions how;
  how.access = Access::read_write;
  File file = co_await ok(File::open("data", how));
  shared.file = &file;
  const ScopeOptions options;
  co_await ok(with_scope(options, spawn_workers, shared));
  const Result<void> closed = co_await file.close();
  co_return closed;
}

struct Rates {
  double operations_per_second = 0;
  double simulated_seconds_per_second = 0;
};

class SimulatedDisk {
 public:
  explicit SimulatedDisk(const Plan& plan) : plan_(plan), world_(plan.seed) {
    SimBackendOptions options;
    options.queue_depth = workers_count;
    options.faults.everywhere = FaultRates::usual();
    options.file_size_max = plan.file_size;
    host_ = &world_.add_host("a", options);
    auto buffers = AlignedBufferPool::create({workers_count, block_size, block_size});
    buffers_ = std::move(buffers.value());
    fill();
  }
  /// A process on the same disk.
  Rates round() {
    Shared shared;
    shared.buffers = buffers_.get();
    shared.blocks_count = plan_.file_size / block_size;
    shared.operations_left = plan_.operations_count;
    const Time simulated_begin = world_.now();
    const uint64_t begin_ns = clock_ns();
    host_->start(serve, shared);
    world_.run();
    const double seconds = static_cast<double>(clock_ns() - begin_ns) / 1e9;
    const Result<void> done = host_->take();
    if (!done.has_value()) fprintf(stderr, "spindle-sim-rate: %s\n", describe(done.error()).c_str());
    failures_count_ += shared.failures_count;
    const double simulated = std::chrono::duration<double>(world_.now() - simulated_begin).count();
    return {static_cast<double>(shared.operations_count) / seconds, simulated / seconds};
  }
  uint64_t failures_count() const noexcept { return failures_count_; }
  uint64_t hash() const noexcept { return world_.hash(); }
  uint64_t faults_count() const noexcept {
    uint64_t count = 0;
    for (size_t fault = 0; fault < fault_count; ++fault) {
      count += host_->files().record().count(static_cast<Fault>(fault));
    }
    return count;
  }

 private:
  void fill() {
    std::vector<std::byte> chunk(1u << 20);
    Random random(plan_.seed);
    for (std::byte& byte : chunk) byte = static_cast<std::byte>(random.next());
    SimFile& file = host_->files().create("data");
    for (uint64_t offset = 0; offset < plan_.file_size; offset += chunk.size()) {
      file.write(offset, chunk, host_->files().take_sequence());
    }
    host_->files().settle();
  }

  const Plan& plan_;
  World world_;
  Host* host_;
  std::unique_ptr<AlignedBufferPool> buffers_;
  uint64_t failures_count_ = 0;
};

class PlainArray {
 public:
  explicit PlainArray(const Plan& plan) : plan_(plan), bytes_(plan.file_size) {}
  double round() {
    Random random(plan_.seed);
    std::byte block[block_size] = {};
    const uint64_t begin_ns = clock_ns();
    for (uint64_t count = 0; count < plan_.operations_count; ++count) {
      std::byte* const place = bytes_.data() + random.below(plan_.file_size / block_size) * block_size;
      const bool writes = random.chance(1, 2);
      std::memcpy(writes ? place : block, writes ? block : place, block_size);
      asm volatile("" : : "r"(block) : "memory");
    }
    return static_cast<double>(plan_.operations_count) * 1e9 / static_cast<double>(clock_ns() - begin_ns);
  }

 private:
  const Plan& plan_;
  std::vector<std::byte> bytes_;
};

struct Spread {
  double low;
  double median;
  double high;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values.front(), values[values.size() / 2], values.back()};
}

int run_all(const Plan& plan) {
  SimulatedDisk disk(plan);
  PlainArray array(plan);
  std::vector<double> rates;
  std::vector<double> speeds;
  std::vector<double> copies;
  // Once without counting, so that the memory is there: each page is soon there in two versions.
  disk.round();
  array.round();
  for (uint32_t round = 0; round < plan.rounds_count; ++round) {
    const Rates measured = disk.round();
    rates.push_back(measured.operations_per_second / 1e6);
    speeds.push_back(measured.simulated_seconds_per_second);
    copies.push_back(array.round() / 1e6);
  }
  const Spread rate = spread_of(rates);
  const Spread copy = spread_of(copies);
  printf("4 KiB, half writes, random over %llu MiB, %u in flight, usual faults, hash on; medians of %u rounds\n",
         static_cast<unsigned long long>(plan.file_size >> 20), workers_count, plan.rounds_count);
  printf("  simulated disk   %6.2f M operations/s  %.2f .. %.2f\n", rate.median, rate.low, rate.high);
  printf("  plain copies     %6.2f M operations/s  %.2f .. %.2f   (simulated disk: %.2f of it)\n", copy.median,
         copy.low, copy.high, rate.median / copy.median);
  printf("  simulated time   %6.2f s per second\n", spread_of(speeds).median);
  printf("  faults %llu, operations that failed %llu, hash %016llx\n",
         static_cast<unsigned long long>(disk.faults_count()), static_cast<unsigned long long>(disk.failures_count()),
         static_cast<unsigned long long>(disk.hash()));
  return 0;
}

}  // namespace

}  // namespace spindle::bench

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && std::string(argv[1]) != "--smoke")) {
    fputs("usage: spindle-sim-rate [--smoke]\n", stderr);
    return 2;
  }
  spindle::bench::Plan plan;
  if (argc == 2) {
    plan.file_size = uint64_t{16} << 20;
    plan.operations_count = 20'000;
  }
  return spindle::bench::run_all(plan);
}
