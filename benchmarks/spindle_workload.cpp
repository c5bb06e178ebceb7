#include "benchmarks/spindle_workload.h"

#include <algorithm>

#include "benchmarks/interrupt.h"
#include "runtime/combinators.h"
#include "runtime/sleep.h"

namespace spindle::bench {

namespace {

constexpr Duration nap_max = std::chrono::milliseconds(100);  // how late the end of a paced run may be noticed

uint64_t now_ns(Loop& loop) noexcept { return static_cast<uint64_t>(loop.now().time_since_epoch().count()); }

// One worker: one operation after another, with a buffer of its own.
class Worker {
 public:
  Worker(SharedWorkload* shared, File* file, std::span<std::byte> memory) noexcept
      : shared_(*shared), file_(*file), memory_(memory) {
    fill_incompressible(memory.data(), memory.size(), mix64(shared->job.random_seed ^ shared->filled_count++));
  }

  Task<Result<void>> run();

 private:
  bool is_measured() const noexcept { return shared_.workload.phase() == Phase::measure; }
  bool is_over(uint64_t now_ns) noexcept {
    if (shared_.failure) return true;
    return is_measured() ? !shared_.meter.turn(now_ns) : interrupted();
  }
  Task<Result<void>> wait_until_due();
  Task<Result<void>> transfer();
  Task<Result<void>> sync();
  void record(uint64_t begin_ns) noexcept;

  SharedWorkload& shared_;
  File& file_;
  std::span<std::byte> memory_;
  Step step_;
};

// Returns early when the run ends.
Task<Result<void>> Worker::wait_until_due() {
  Loop& loop = *shared_.loop;
  for (uint64_t now = now_ns(loop); now < step_.due_ns && !is_over(now); now = now_ns(loop)) {
    const Duration left(static_cast<int64_t>(step_.due_ns - now));
    co_await ok(sleep_for(std::min(left, nap_max)));
  }
  co_return Result<void>();
}

Task<Result<void>> Worker::transfer() {
  WriteOptions options;
  options.durable = shared_.job.durable;
  if (step_.is_write) {
    shared_.workload.fill(step_, memory_);
    co_await ok(file_.write_all_at(step_.offset, memory_, options));
  } else {
    co_await ok(file_.read_exact_at(step_.offset, memory_));
  }
  co_return Result<void>();
}

Task<Result<void>> Worker::sync() {
  const uint64_t begin_ns = now_ns(*shared_.loop);
  co_await ok(file_.sync());
  const uint64_t end_ns = now_ns(*shared_.loop);
  if (!shared_.meter.done()) shared_.meter.record_sync(end_ns - begin_ns);
  co_return Result<void>();
}

void Worker::record(uint64_t begin_ns) noexcept {
  const uint64_t end_ns = now_ns(*shared_.loop);
  if (!is_measured() || !shared_.meter.turn(end_ns)) return;
  if (is_mixed(shared_.job.rw)) {
    shared_.meter.record_side(end_ns - begin_ns, step_.is_write);
  } else {
    shared_.meter.record(end_ns - begin_ns);
  }
}

Task<Result<void>> Worker::run() {
  while (!is_over(now_ns(*shared_.loop)) && shared_.workload.next(step_)) {
    if (step_.due_ns != 0) co_await ok(wait_until_due());
    const uint64_t begin_ns = now_ns(*shared_.loop);
    if (begin_ns < step_.due_ns) {
      shared_.workload.abandoned(step_);
      break;
    }
    co_await ok(transfer());
    record(begin_ns);
    Failure failure = shared_.workload.completed(step_, memory_);
    if (failure && !shared_.failure) shared_.failure = std::move(failure);
    const bool goes_on = is_measured() && !shared_.meter.done();
    if (goes_on && step_.is_write && shared_.workload.wants_sync()) co_await ok(sync());
  }
  co_return Result<void>();
}

Task<Result<void>> work(SharedWorkload* shared, File* file) {
  const AlignedBufferPool::Lease lease = co_await ok(shared->pool->acquire());
  Worker worker(shared, file, lease.first(shared->job.block_size));
  co_await ok(worker.run());
  co_return Result<void>();
}

Task<Result<void>> spawn_all(Scope& scope, SharedWorkload& shared, File* file) {
  for (uint32_t index = 0; index < shared.job.depth; ++index) {
    SharedWorkload* const pointer = &shared;
    co_await ok(scope.spawn(work, pointer, file));
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> run_phases(SharedWorkload* shared, File* file) {
  const std::vector<Phase> phases = shared->workload.phases();
  for (const Phase phase : phases) {
    if (shared->failure || interrupted()) break;
    const uint64_t begin_ns = now_ns(*shared->loop);
    shared->workload.begin(phase, begin_ns);
    if (phase == Phase::measure) shared->meter.start(begin_ns);
    const ScopeOptions scope;
    co_await ok(with_scope(scope, spawn_all, *shared, file));
  }
  co_return Result<void>();
}

}  // namespace spindle::bench
