#include "benchmarks/plain_loop.h"

#include <algorithm>
#include <vector>

#include "benchmarks/job_group.h"
#include "benchmarks/meter.h"
#include "benchmarks/plain_ring.h"
#include "benchmarks/plain_workload.h"

namespace spindle::bench {

namespace {

// EAGAIN, EINTR and short counts are part of direct I/O; this many in a row for one operation are not.
constexpr uint32_t retries_max = 1000;

struct Slot {
  uint64_t submitted_ns = 0;
  uint64_t offset = 0;       // of the whole operation
  uint32_t transferred = 0;  // of block_size, by earlier short completions
  uint32_t retries_count = 0;
  std::byte* buffer = nullptr;
};

// One run of one job that is not extended.
class PlainRun {
 public:
  explicit PlainRun(const Job& job)
      : job_(job), is_write_(has_writes(job.rw)), offsets_(job), meter_(job), ring_(job), slots_(job.depth) {}

  Sample run();

 private:
  Failure loop();
  void complete(const io_uring_cqe& cqe, uint64_t now_ns);
  bool advance(Slot& slot, int result);
  void prepare_next(Slot& slot, uint64_t now_ns);
  void prepare(Slot& slot);
  void fail(int number, std::string_view what);

  const Job& job_;
  const bool is_write_;
  OffsetSequence offsets_;
  Meter meter_;
  PlainRing ring_;
  std::vector<Slot> slots_;
  uint32_t in_flight_count_ = 0;
  Failure failure_;  // the first one of an operation; the loop drains, then reports it
};

Sample PlainRun::run() {
  Failure failure = ring_.open();
  if (!failure) {
    for (uint32_t i = 0; i < job_.depth && !job_.nop; ++i) slots_[i].buffer = ring_.buffer(i);
    if (job_.group != nullptr) job_.group->arrive_and_wait(job_.job_index);
    failure = loop();
  }
  Sample sample = meter_.finish(std::move(failure.line));
  sample.features = std::move(ring_.features());
  return sample;
}

Failure PlainRun::loop() {
  const uint32_t wait_count = ring_.wait_count();
  uint64_t now_ns = clock_ns();
  meter_.start(now_ns);
  for (Slot& slot : slots_) prepare_next(slot, now_ns);
  while (in_flight_count_ > 0) {
    const int result = io_uring_submit_and_wait(ring_.ring(), std::min(wait_count, in_flight_count_));
    if (!PlainRing::is_passing(result)) return failure_errno(-result, "io_uring_enter", job_.filename);
    now_ns = clock_ns();
    meter_.turn(now_ns);
    unsigned head = 0;
    unsigned reaped_count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(ring_.ring(), head, cqe) {
      complete(*cqe, now_ns);
      ++reaped_count;
    }
    io_uring_cq_advance(ring_.ring(), reaped_count);
  }
  return std::move(failure_);
}

void PlainRun::complete(const io_uring_cqe& cqe, uint64_t now_ns) {
  Slot& slot = slots_[cqe.user_data];
  --in_flight_count_;
  if (!job_.nop && cqe.res != static_cast<int>(job_.block_size)) [[unlikely]] {
    if (!advance(slot, cqe.res)) return;
  } else if (job_.nop && cqe.res < 0) [[unlikely]] {
    fail(-cqe.res, "NOP");
  }
  if (meter_.done() || failure_) return;
  meter_.record(now_ns - slot.submitted_ns);
  prepare_next(slot, now_ns);
}

// A completion that isn't simply the whole block. True: with it the operation is whole. False: it was
// submitted again for the rest, or has failed.
bool PlainRun::advance(Slot& slot, int result) {
  const bool again = result == -EAGAIN || result == -EINTR;
  const uint32_t rest = job_.block_size - slot.transferred;
  if (result > 0 && static_cast<uint32_t>(result) == rest) return true;
  if (result == 0) {
    failure_ = {job_.filename + ": ended at offset " + std::to_string(slot.offset + slot.transferred) +
                "; give a --size within the file"};
  } else if ((result < 0 && !again) || ++slot.retries_count > retries_max) {
    fail(result < 0 ? -result : EIO, is_write_ ? "write" : "read");
  }
  if (failure_ || meter_.done()) return false;
  if (result > 0) slot.transferred += static_cast<uint32_t>(result);
  prepare(slot);
  return false;
}

void PlainRun::prepare_next(Slot& slot, uint64_t now_ns) {
  slot.offset = offsets_.next();
  slot.submitted_ns = now_ns;
  slot.transferred = 0;
  slot.retries_count = 0;
  prepare(slot);
}

void PlainRun::prepare(Slot& slot) {
  // The ring has an entry per slot, and a slot is prepared only after its completion: one is always free.
  io_uring_sqe* const sqe = io_uring_get_sqe(ring_.ring());
  if (job_.nop) {
    io_uring_prep_nop(sqe);
  } else {
    ring_.prepare_transfer(sqe, is_write_, slot.buffer + slot.transferred, job_.block_size - slot.transferred,
                           slot.offset + slot.transferred);
  }
  sqe->user_data = static_cast<uint64_t>(&slot - slots_.data());
  ++in_flight_count_;
}

void PlainRun::fail(int number, std::string_view what) {
  if (!failure_) failure_ = ring_.explain(number, what);
}

class PlainEngine final : public Engine {
 public:
  std::string_view name() const noexcept override { return "plain loop"; }
  Sample run(const Job& job) override {
    return run_jobs(job, [](const Job& one) { return is_extended(one) ? run_workload(one) : PlainRun(one).run(); });
  }
};

}  // namespace

std::unique_ptr<Engine> make_plain_engine() { return std::make_unique<PlainEngine>(); }

}  // namespace spindle::bench
