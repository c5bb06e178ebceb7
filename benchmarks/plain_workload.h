// The plain loop for extended jobs (is_extended): mixes, fsyncs, durable writes, pace, verification. Kept apart from
// plain_loop.cpp so that what a job does not ask for costs it nothing.
#pragma once

#include "benchmarks/job.h"

namespace spindle::bench {

/// Runs one thread's job. Blocks.
Sample run_workload(const Job& job);

}  // namespace spindle::bench
