// A job on the runtime, the way a user of it would write it: `depth` coroutines, each awaiting one operation after
// another on a File, with buffers from a registered pool.
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "benchmarks/engines.h"
#include "benchmarks/interrupt.h"
#include "benchmarks/job_group.h"
#include "benchmarks/meter.h"
#include "benchmarks/spindle_workload.h"
#include "benchmarks/units.h"
#include "io/file.h"
#include "io/uring/uring_backend.h"
#include "pools/buffer_pool.h"
#include "runtime/combinators.h"
#include "runtime/root.h"

namespace spindle::bench {

namespace {

constexpr uint32_t buffer_alignment = 4096;

/// What the workers of one run share.
struct Run {
  explicit Run(const Job& wanted) : job(wanted), offsets(wanted), meter(wanted) {}
  const Job& job;
  OffsetSequence offsets;
  Meter meter;
  Loop* loop = nullptr;
  Backend* backend = nullptr;
  AlignedBufferPool* pool = nullptr;
  uint64_t filled_count = 0;
  bool in_task = false;  // a Task frame around each operation
  SharedWorkload* extended = nullptr;  // for jobs that are

  uint64_t now_ns() noexcept { return static_cast<uint64_t>(loop->now().time_since_epoch().count()); }
  /// Records an operation that began at `submitted_ns`; returns the time now. False in `go_on` ends the worker.
  uint64_t record(uint64_t submitted_ns, bool& go_on) noexcept {
    const uint64_t now = now_ns();
    go_on = meter.turn(now);
    if (go_on) meter.record(now - submitted_ns);
    return now;
  }
};

Task<Result<void>> read_in_task(File* file, uint64_t offset, std::span<std::byte> memory) {
  const Result<void> done = co_await file->read_exact_at(offset, memory);
  co_return done;
}

Task<Result<void>> nop_in_task(Backend* backend) {
  const Result<void> done = co_await nop(*backend);
  co_return done;
}

Task<Result<void>> no_operations(Run* run) {
  uint64_t submitted_ns = run->now_ns();
  for (bool go_on = true; go_on;) {
    if (run->in_task) {
      co_await ok(nop_in_task(run->backend));
    } else {
      co_await ok(nop(*run->backend));
    }
    submitted_ns = run->record(submitted_ns, go_on);
  }
  co_return Result<void>();
}

Task<Result<void>> reads(Run* run, File* file) {
  const AlignedBufferPool::Lease lease = co_await ok(run->pool->acquire());
  const std::span<std::byte> memory = lease.first(run->job.block_size);
  uint64_t submitted_ns = run->now_ns();
  for (bool go_on = true; go_on;) {
    const uint64_t offset = run->offsets.next();
    if (run->in_task) {
      co_await ok(read_in_task(file, offset, memory));
    } else {
      co_await ok(file->read_exact_at(offset, memory));
    }
    submitted_ns = run->record(submitted_ns, go_on);
  }
  co_return Result<void>();
}

Task<Result<void>> writes(Run* run, File* file) {
  const AlignedBufferPool::Lease lease = co_await ok(run->pool->acquire());
  const std::span<std::byte> memory = lease.first(run->job.block_size);
  fill_incompressible(memory.data(), memory.size(), mix64(run->job.random_seed ^ run->filled_count++));
  uint64_t submitted_ns = run->now_ns();
  for (bool go_on = true; go_on;) {
    co_await ok(file->write_all_at(run->offsets.next(), memory));
    submitted_ns = run->record(submitted_ns, go_on);
  }
  co_return Result<void>();
}

Task<Result<void>> spawn_workers(Scope& scope, Run& run, File* file) {
  run.meter.start(run.now_ns());
  for (uint32_t index = 0; index < run.job.depth; ++index) {
    if (file == nullptr) {
      co_await ok(scope.spawn(no_operations, &run));
    } else if (has_writes(run.job.rw)) {
      co_await ok(scope.spawn(writes, &run, file));
    } else {
      co_await ok(scope.spawn(reads, &run, file));
    }
  }
  co_return Result<void>();
}

Task<Result<void>> run_job(Run& run) {
  const ScopeOptions scope;
  if (run.job.nop) {
    File* const none = nullptr;
    co_await ok(with_scope(scope, spawn_workers, run, none));
    co_return Result<void>();
  }
  OpenOptions how;
  how.access = has_writes(run.job.rw) ? Access::read_write : Access::read_only;
  how.direct = run.job.direct ? Direct::require : Direct::never;
  File file = co_await ok(File::open(run.job.filename, how));
  File* const opened = &file;
  if (run.extended != nullptr) {
    co_await ok(run_phases(run.extended, opened));
  } else {
    co_await ok(with_scope(scope, spawn_workers, run, opened));
  }
  const Result<void> closed = co_await file.close();
  co_return closed;
}

Failure failure_of(const Error& error, const Job& job) {
  if (error.code == ErrorCode::misaligned) {
    return {job.filename + ": " + describe(error) + "; use a larger --bs, or --direct 0"};
  }
  if (error.code == ErrorCode::end_of_file) {
    return {job.filename + ": ended early; give a --size within the file"};
  }
  return {job.filename + ": " + describe(error)};
}

class SpindleEngine final : public Engine {
 public:
  explicit SpindleEngine(bool in_task) noexcept : in_task_(in_task) {}
  std::string_view name() const noexcept override { return in_task_ ? "spindle-task" : "spindle"; }

  Sample run(const Job& job) override {
    return run_jobs(job, [this](const Job& one) { return run_one(one); });
  }

 private:
  Sample run_one(const Job& job) {
    Run run(job);
    run.in_task = in_task_;
    if (Failure failure = check(job)) return run.meter.finish(std::move(failure.line));
    UringOptions options;
    options.ring.entries = job.depth + 1;  // and one for the wake-up
    options.registered_files = options.registered_buffers = job.registered;
    if (job.wait_count != 0) options.batch_count_max = job.wait_count;
    options.spin.budget = job.spin;
    auto backend = UringBackend::create(options);
    if (!backend.has_value()) return run.meter.finish(explain_setup_failure(backend.error().number));
    auto pool = AlignedBufferPool::create({job.depth, buffer_size(job), buffer_alignment});
    if (!pool.has_value()) return run.meter.finish(describe(pool.error()) + ": lower --bs or --iodepth");
    return run_with(run, **backend, **pool);
  }

  static uint32_t buffer_size(const Job& job) noexcept {
    return (job.block_size + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
  }

  Sample run_with(Run& run, UringBackend& backend, AlignedBufferPool& pool) {
    const bool wants_fixed = run.job.registered && !run.job.nop;
    const bool has_fixed = wants_fixed && backend.register_arena(pool.arena()).has_value();
    std::string line;
    SharedWorkload extended(run.job, run.meter);
    if (is_extended(run.job)) run.extended = &extended;
    {
      Loop loop(backend);
      run.loop = &loop;
      run.backend = &backend;
      run.pool = extended.pool = &pool;
      extended.loop = &loop;
      if (run.job.group != nullptr) run.job.group->arrive_and_wait(run.job.job_index);
      const Result<void> done = spindle::run(loop, run_job, run);
      if (!done.has_value()) line = failure_of(done.error(), run.job).line;
    }
    if (line.empty()) line = std::move(extended.failure.line);
    if (line.empty() && interrupted()) line = "interrupted";
    if (has_fixed) backend.unregister_arena(pool.arena());
    Sample sample = run.meter.finish(std::move(line));
    sample.verified_count = extended.workload.verified_count();
    for (const Capability& feature : backend.capabilities().entries()) {
      if (feature.in_use) sample.features.push_back(feature.name);
    }
    const IdleSpin::Counters& spin = backend.spin().counters();
    if (spin.looks > 0) {
      const double found = 100.0 * static_cast<double>(spin.finds) / static_cast<double>(spin.looks);
      sample.features.push_back("looked " + text_of_count(static_cast<double>(spin.looks)) +
                                " times before sleeping, " + text_of("%.0f", found) + " % found");
    }
    return sample;
  }

  bool in_task_;
};

}  // namespace

std::unique_ptr<Engine> make_spindle_engine(bool in_task) { return std::make_unique<SpindleEngine>(in_task); }

}  // namespace spindle::bench
