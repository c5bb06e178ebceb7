#include "benchmarks/plain_workload.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "benchmarks/interrupt.h"
#include "benchmarks/job_group.h"
#include "benchmarks/meter.h"
#include "benchmarks/plain_ring.h"
#include "benchmarks/workload.h"

namespace spindle::bench {

namespace {

constexpr uint32_t retries_max = 1000;                // in a row, of one operation
constexpr uint64_t wait_ns_max = 100'000'000;         // with a pace: how late the end of the run may be noticed
constexpr uint64_t nanoseconds_per_s = 1'000'000'000;

struct Slot {
  Step step;
  uint64_t submitted_ns = 0;
  uint32_t transferred = 0;
  uint32_t retries_count = 0;
  std::byte* buffer = nullptr;
  bool is_sync = false;
};

class WorkloadRun {
 public:
  explicit WorkloadRun(const Job& job) : job_(job), workload_(job), meter_(job), ring_(job), slots_(job.depth) {}

  Sample run();

 private:
  bool is_measured() const noexcept { return workload_.phase() == Phase::measure; }
  bool is_over() const noexcept { return failure_ || (is_measured() ? meter_.done() : interrupted()); }
  Failure run_phase(Phase phase);
  void begin_due(uint64_t now_ns);
  int wait(uint64_t now_ns);
  void reap(uint64_t now_ns);
  void complete(Slot& slot, int result, uint64_t now_ns);
  bool is_whole(Slot& slot, int result);
  void end_operation(Slot& slot, uint64_t now_ns);
  void prepare(Slot& slot);

  const Job& job_;
  Workload workload_;
  Meter meter_;
  PlainRing ring_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> idle_;     // slots without an operation
  std::optional<Step> step_held_;  // drawn, and not due yet
  bool is_exhausted_ = false;      // the phase has no more steps
  uint32_t in_flight_count_ = 0;
  Failure failure_;  // the first one; the loop drains, then reports it
};

Sample WorkloadRun::run() {
  Failure failure = ring_.open();
  if (!failure) {
    for (uint32_t i = 0; i < job_.depth; ++i) slots_[i].buffer = ring_.buffer(i);
    if (job_.group != nullptr) job_.group->arrive_and_wait(job_.job_index);
    for (const Phase phase : workload_.phases()) {
      if (!failure && !interrupted()) failure = run_phase(phase);
    }
  }
  if (!failure && interrupted()) failure = {"interrupted"};
  Sample sample = meter_.finish(std::move(failure.line));
  sample.verified_count = workload_.verified_count();
  sample.features = std::move(ring_.features());
  return sample;
}

Failure WorkloadRun::run_phase(Phase phase) {
  uint64_t now_ns = clock_ns();
  workload_.begin(phase, now_ns);
  if (phase == Phase::measure) meter_.start(now_ns);
  is_exhausted_ = false;
  idle_.clear();
  for (uint32_t i = 0; i < job_.depth; ++i) idle_.push_back(i);
  begin_due(now_ns);
  while (in_flight_count_ > 0 || (!is_over() && !is_exhausted_)) {
    const int result = wait(now_ns);
    if (!PlainRing::is_passing(result)) return failure_errno(-result, "io_uring_enter", job_.filename);
    now_ns = clock_ns();
    if (phase == Phase::measure) meter_.turn(now_ns);
    reap(now_ns);
    begin_due(now_ns);
  }
  if (step_held_) workload_.abandoned(*step_held_);
  step_held_.reset();
  return std::move(failure_);
}

// Gives the idle slots what is due.
void WorkloadRun::begin_due(uint64_t now_ns) {
  while (!idle_.empty() && !is_over() && !is_exhausted_) {
    if (!step_held_) {
      Step step;
      is_exhausted_ = !workload_.next(step);
      if (is_exhausted_) return;
      step_held_ = step;
    }
    if (step_held_->due_ns > now_ns) return;
    Slot& slot = slots_[idle_.back()];
    idle_.pop_back();
    slot.step = *step_held_;
    slot.submitted_ns = now_ns;
    slot.transferred = slot.retries_count = 0;
    slot.is_sync = false;
    step_held_.reset();
    if (slot.step.is_write) workload_.fill(slot.step, {slot.buffer, job_.block_size});
    prepare(slot);
  }
}

int WorkloadRun::wait(uint64_t now_ns) {
  const uint32_t count = std::min(step_held_ ? 1 : ring_.wait_count(), in_flight_count_);
  if (!step_held_) return io_uring_submit_and_wait(ring_.ring(), count);
  const uint64_t due_ns = std::max(step_held_->due_ns, now_ns);
  const uint64_t left_ns = std::min(due_ns - now_ns, wait_ns_max);
  __kernel_timespec timeout{static_cast<int64_t>(left_ns / nanoseconds_per_s),
                            static_cast<long long>(left_ns % nanoseconds_per_s)};
  io_uring_cqe* cqe = nullptr;
  return io_uring_submit_and_wait_timeout(ring_.ring(), &cqe, std::max(1u, count), &timeout, nullptr);
}

void WorkloadRun::reap(uint64_t now_ns) {
  unsigned head = 0;
  unsigned reaped_count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(ring_.ring(), head, cqe) {
    ++reaped_count;
    if (cqe->user_data == LIBURING_UDATA_TIMEOUT) continue;
    --in_flight_count_;
    complete(slots_[cqe->user_data], cqe->res, now_ns);
  }
  io_uring_cq_advance(ring_.ring(), reaped_count);
}

void WorkloadRun::complete(Slot& slot, int result, uint64_t now_ns) {
  if (!is_whole(slot, result)) {
    if (failure_) idle_.push_back(static_cast<uint32_t>(&slot - slots_.data()));
    return;
  }
  if (slot.is_sync) {
    if (is_measured() && !meter_.done()) meter_.record_sync(now_ns - slot.submitted_ns);
  } else {
    end_operation(slot, now_ns);
    if (slot.step.is_write && is_measured() && !is_over() && workload_.wants_sync()) {
      slot.is_sync = true;
      slot.submitted_ns = now_ns;
      slot.retries_count = 0;
      prepare(slot);
      return;
    }
  }
  idle_.push_back(static_cast<uint32_t>(&slot - slots_.data()));
}

void WorkloadRun::end_operation(Slot& slot, uint64_t now_ns) {
  Failure failure = workload_.completed(slot.step, {slot.buffer, job_.block_size});
  if (failure && !failure_) failure_ = std::move(failure);
  if (!is_measured() || meter_.done()) return;
  if (is_mixed(job_.rw)) {
    meter_.record_side(now_ns - slot.submitted_ns, slot.step.is_write);
  } else {
    meter_.record(now_ns - slot.submitted_ns);
  }
}

// False: it was submitted again for the rest, or has failed. Goes on after the end of the run too: what is verified
// later must have been written whole.
bool WorkloadRun::is_whole(Slot& slot, int result) {
  const bool again = result == -EAGAIN || result == -EINTR;
  const uint32_t rest = job_.block_size - slot.transferred;
  if (slot.is_sync ? result == 0 : (result > 0 && static_cast<uint32_t>(result) == rest)) return true;
  const char* const what = slot.is_sync ? "fsync" : slot.step.is_write ? "write" : "read";
  Failure failure;
  if (result == 0) {
    failure = {job_.filename + ": ended at offset " + std::to_string(slot.step.offset + slot.transferred) +
               "; give a --size within the file"};
  } else if ((result < 0 && !again) || ++slot.retries_count > retries_max) {
    failure = ring_.explain(result < 0 ? -result : EIO, what);
  } else {
    if (result > 0) slot.transferred += static_cast<uint32_t>(result);
    prepare(slot);
    return false;
  }
  if (!slot.is_sync) workload_.abandoned(slot.step);
  if (!failure_) failure_ = std::move(failure);
  return false;
}

void WorkloadRun::prepare(Slot& slot) {
  // An entry per slot, as in plain_loop.cpp; a bounded wait needs none, as the kernel takes its timeout as an argument.
  io_uring_sqe* const sqe = io_uring_get_sqe(ring_.ring());
  if (slot.is_sync) {
    ring_.prepare_fsync(sqe);
  } else {
    ring_.prepare_transfer(sqe, slot.step.is_write, slot.buffer + slot.transferred, job_.block_size - slot.transferred,
                           slot.step.offset + slot.transferred);
    if (slot.step.is_write && job_.durable) sqe->rw_flags = RWF_DSYNC;
  }
  sqe->user_data = static_cast<uint64_t>(&slot - slots_.data());
  ++in_flight_count_;
}

}  // namespace

Sample run_workload(const Job& job) { return WorkloadRun(job).run(); }

}  // namespace spindle::bench
