#include "benchmarks/plain_loop.h"

#include <errno.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <vector>

#include "benchmarks/meter.h"
#include "benchmarks/target.h"

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

// One run of one job. Frees everything at its end, the ring before the buffers.
class PlainRun {
 public:
  explicit PlainRun(const Job& job)
      : job_(job),
        offsets_(job),
        meter_(job),
        slots_(job.depth),
        wait_count_(std::min(job.wait_count == 0 ? automatic_wait_count(job.depth) : job.wait_count, job.depth)) {}
  PlainRun(const PlainRun&) = delete;
  ~PlainRun();

  Sample run();

 private:
  Failure open_ring();
  Failure map_buffers();
  void register_resources();
  Failure loop();
  void complete(const io_uring_cqe& cqe, uint64_t now_ns);
  bool advance(Slot& slot, int result);
  void prepare_next(Slot& slot, uint64_t now_ns);
  void prepare(Slot& slot);
  void fail(int number, std::string_view what);

  const Job& job_;
  OffsetSequence offsets_;
  Meter meter_;
  std::vector<Slot> slots_;
  uint32_t wait_count_;
  uint32_t in_flight_count_ = 0;
  io_uring ring_{};
  bool ring_open_ = false;
  bool file_registered_ = false;
  bool buffers_registered_ = false;
  Descriptor file_;
  std::byte* arena_ = nullptr;
  uint64_t arena_size_ = 0;
  std::vector<std::string> features_;
  Failure failure_;  // the first one of an operation; the loop drains, then reports it
};

PlainRun::~PlainRun() {
  if (ring_open_) io_uring_queue_exit(&ring_);
  if (arena_ != nullptr) munmap(arena_, arena_size_);
}

struct RingFlags {
  unsigned flags;
  std::vector<std::string> names;
};

Failure PlainRun::open_ring() {
  const RingFlags steps[] = {
      {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
       {"SINGLE_ISSUER", "DEFER_TASKRUN", "SUBMIT_ALL"}},
      {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL, {"COOP_TASKRUN", "SUBMIT_ALL"}},
      {IORING_SETUP_SUBMIT_ALL, {"SUBMIT_ALL"}},
      {0, {}},
  };
  int result = 0;
  for (const RingFlags& step : steps) {
    result = io_uring_queue_init(job_.depth, &ring_, step.flags);
    if (result == 0) {
      ring_open_ = true;
      features_ = step.names;
      return {};
    }
    if (result != -EINVAL) break;  // EINVAL: a flag that this kernel doesn't know
  }
  std::string_view remedy;
  if (result == -ENOMEM) remedy = "raise the locked-memory limit (ulimit -l), or lower --iodepth";
  if (result == -EPERM) remedy = "io_uring is switched off: see sysctl kernel.io_uring_disabled, or a seccomp filter";
  if (result == -ENOSYS) remedy = "io_uring is missing or filtered: Linux 5.15 or newer is needed";
  return failure_errno(-result, "cannot set up the ring", "", remedy);
}

Failure PlainRun::map_buffers() {
  // Each buffer starts on a page of its own, which suits every direct I/O alignment there is.
  constexpr uint64_t page_size = 4096;
  const uint64_t stride = (job_.block_size + page_size - 1) / page_size * page_size;
  arena_size_ = stride * job_.depth;
  void* const memory =
      mmap(nullptr, arena_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    return failure_errno(errno, "cannot map the buffers", "", "lower --bs or --iodepth");
  }
  arena_ = static_cast<std::byte*>(memory);
  fill_incompressible(arena_, arena_size_, job_.random_seed);
  for (uint32_t i = 0; i < job_.depth; ++i) slots_[i].buffer = arena_ + stride * i;
  return {};
}

// A refused registration (locked-memory limit, old kernel) costs speed, not correctness: the report names
// what is in use.
void PlainRun::register_resources() {
  if (!job_.registered || job_.nop) return;
  const int fd = file_.fd();
  file_registered_ = io_uring_register_files(&ring_, &fd, 1) == 0;
  const iovec whole{arena_, arena_size_};
  buffers_registered_ = io_uring_register_buffers(&ring_, &whole, 1) == 0;
  if (file_registered_) features_.emplace_back("fixed file");
  if (buffers_registered_) features_.emplace_back("fixed buffers");
}

Sample PlainRun::run() {
  Failure failure = check(job_);
  if (!failure && !job_.nop) {
    auto opened = open_target(job_);
    failure = std::move(opened.failure);
    file_ = std::move(opened.value);
  }
  if (!failure) failure = open_ring();
  if (!failure && !job_.nop) failure = map_buffers();
  if (!failure) {
    register_resources();
    features_.push_back("wait for " + std::to_string(wait_count_));
    failure = loop();
  }
  Sample sample = meter_.finish(std::move(failure.line));
  sample.features = std::move(features_);
  return sample;
}

Failure PlainRun::loop() {
  uint64_t now_ns = clock_ns();
  meter_.start(now_ns);
  for (Slot& slot : slots_) prepare_next(slot, now_ns);
  while (in_flight_count_ > 0) {
    const int result = io_uring_submit_and_wait(&ring_, std::min(wait_count_, in_flight_count_));
    // EINTR: a signal; EAGAIN, EBUSY: the kernel is short of something. What is staged stays, and is entered
    // again.
    if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
      return failure_errno(-result, "io_uring_enter", job_.filename);
    }
    now_ns = clock_ns();
    meter_.turn(now_ns);
    unsigned head = 0;
    unsigned reaped_count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      complete(*cqe, now_ns);
      ++reaped_count;
    }
    io_uring_cq_advance(&ring_, reaped_count);
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
    fail(result < 0 ? -result : EIO, is_write(job_.rw) ? "write" : "read");
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
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  std::byte* const bytes = slot.buffer + slot.transferred;
  const uint32_t size = job_.block_size - slot.transferred;
  const uint64_t offset = slot.offset + slot.transferred;
  const int fd = file_registered_ ? 0 : file_.fd();
  if (job_.nop) {
    io_uring_prep_nop(sqe);
  } else if (is_write(job_.rw)) {
    if (buffers_registered_) {
      io_uring_prep_write_fixed(sqe, fd, bytes, size, offset, 0);
    } else {
      io_uring_prep_write(sqe, fd, bytes, size, offset);
    }
  } else {
    if (buffers_registered_) {
      io_uring_prep_read_fixed(sqe, fd, bytes, size, offset, 0);
    } else {
      io_uring_prep_read(sqe, fd, bytes, size, offset);
    }
  }
  sqe->user_data = static_cast<uint64_t>(&slot - slots_.data());
  if (file_registered_) sqe->flags |= IOSQE_FIXED_FILE;
  ++in_flight_count_;
}

void PlainRun::fail(int number, std::string_view what) {
  if (failure_) return;
  std::string_view remedy;
  if (number == EINVAL) remedy = "direct I/O may need a larger --bs here, or --direct 0";
  if (number == ENOSPC) remedy = "free some space";
  failure_ = failure_errno(number, what, job_.filename, remedy);
}

class PlainEngine final : public Engine {
 public:
  std::string_view name() const noexcept override { return "plain loop"; }
  Sample run(const Job& job) override { return PlainRun(job).run(); }
};

}  // namespace

std::unique_ptr<Engine> make_plain_engine() { return std::make_unique<PlainEngine>(); }

}  // namespace spindle::bench
