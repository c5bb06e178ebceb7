// The floor: a plain liburing loop, one thread, no coroutines, a switch on what completed.
//
// It is what a careful programmer would write for this one job, and so what the runtime is measured against:
//  - SINGLE_ISSUER | DEFER_TASKRUN | SUBMIT_ALL, dropped step by step where the kernel lacks them;
//  - a registered file and one registered arena of buffers, so READ_FIXED and WRITE_FIXED;
//  - one io_uring_enter per turn: it submits what the last turn prepared and waits for Job::wait_count
//    completions;
//  - completions are reaped in place until the queue is empty, and the head is moved once;
//  - one clock read per turn (see benchmarks/meter.h).
#pragma once

#include <memory>

#include "benchmarks/job.h"

namespace spindle::bench {

std::unique_ptr<Engine> make_plain_engine();

}  // namespace spindle::bench
