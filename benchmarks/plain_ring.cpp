#include "benchmarks/plain_ring.h"

#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>

namespace spindle::bench {

PlainRing::~PlainRing() {
  if (ring_open_) io_uring_queue_exit(&ring_);
  if (arena_ != nullptr) munmap(arena_, arena_size_);
}

Failure PlainRing::open() {
  Failure failure = check(job_);
  if (!failure && !job_.nop) {
    auto opened = open_target(job_);
    failure = std::move(opened.failure);
    file_ = std::move(opened.value);
  }
  if (!failure) failure = open_ring();
  if (!failure && !job_.nop) failure = map_buffers();
  if (failure) return failure;
  register_resources();
  features_.push_back("wait for " + std::to_string(wait_count()));
  return {};
}

uint32_t PlainRing::wait_count() const noexcept {
  return std::min(job_.wait_count == 0 ? automatic_wait_count(job_.depth) : job_.wait_count, job_.depth);
}

namespace {
struct RingFlags {
  unsigned flags;
  std::vector<std::string> names;
};
}  // namespace

Failure PlainRing::open_ring() {
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

Failure PlainRing::map_buffers() {
  // Each buffer starts on a page of its own, which suits every direct I/O alignment there is.
  constexpr uint64_t page_size = 4096;
  stride_ = (job_.block_size + page_size - 1) / page_size * page_size;
  arena_size_ = stride_ * job_.depth;
  void* const memory =
      mmap(nullptr, arena_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    return failure_errno(errno, "cannot map the buffers", "", "lower --bs or --iodepth");
  }
  arena_ = static_cast<std::byte*>(memory);
  fill_incompressible(arena_, arena_size_, job_.random_seed);
  return {};
}

// A refused registration (locked-memory limit, old kernel) costs speed, not correctness: the report names
// what is in use.
void PlainRing::register_resources() {
  if (!job_.registered || job_.nop) return;
  const int fd = file_.fd();
  file_registered_ = io_uring_register_files(&ring_, &fd, 1) == 0;
  const iovec whole{arena_, arena_size_};
  buffers_registered_ = io_uring_register_buffers(&ring_, &whole, 1) == 0;
  if (file_registered_) features_.emplace_back("fixed file");
  if (buffers_registered_) features_.emplace_back("fixed buffers");
}

Failure PlainRing::explain(int number, std::string_view what) const {
  std::string_view remedy;
  if (number == EINVAL) remedy = "direct I/O may need a larger --bs here, or --direct 0";
  if (number == EOPNOTSUPP && job_.durable) remedy = "no durable writes here: use --fsync 1 in place of --sync=dsync";
  if (number == ENOSPC) remedy = "free some space";
  return failure_errno(number, what, job_.filename, remedy);
}

}  // namespace spindle::bench
