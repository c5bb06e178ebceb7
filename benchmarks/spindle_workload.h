// Extended jobs (is_extended) on the runtime: mixes, fsyncs, durable writes, pace, verification.
#pragma once

#include "benchmarks/meter.h"
#include "benchmarks/workload.h"
#include "io/file.h"
#include "pools/buffer_pool.h"
#include "runtime/task.h"

namespace spindle::bench {

/// What the workers of one thread share.
struct SharedWorkload {
  SharedWorkload(const Job& wanted, Meter& stop_watch) : job(wanted), workload(wanted), meter(stop_watch) {}
  const Job& job;
  Workload workload;
  Meter& meter;
  Loop* loop = nullptr;
  AlignedBufferPool* pool = nullptr;
  uint64_t filled_count = 0;
  Failure failure;  // of verification: the first one ends the run
};

/// All phases of the job on an open file, one after another.
Task<Result<void>> run_phases(SharedWorkload* shared, File* file);

}  // namespace spindle::bench
