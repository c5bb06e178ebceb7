#include "io/uring/ring.h"

#include <cerrno>
#include <cstring>

namespace spindle {

namespace {

// Newer than liburing 2.3's header; values from the kernel's include/uapi/linux/io_uring.h (6.12 and 6.15).
constexpr uint32_t feature_min_timeout = 1u << 15;
constexpr uint32_t feature_no_iowait = 1u << 17;
constexpr uint32_t enter_no_iowait = 1u << 7;

/// struct io_uring_getevents_arg since 6.12, where its padding became min_wait_usec.
struct EnterArgument {
  uint64_t signal_mask = 0;
  uint32_t signal_mask_size = 0;
  uint32_t min_wait_us = 0;
  uint64_t timeout = 0;
};
static_assert(sizeof(EnterArgument) == sizeof(io_uring_getevents_arg));

constexpr uint32_t entries_min = 8;

}  // namespace

Ring::~Ring() {
  if (is_open_) io_uring_queue_exit(&ring_);
}

int Ring::set_up(uint32_t entries, uint32_t flags) noexcept {
  io_uring_params parameters{};
  parameters.flags = flags;
  const int result = io_uring_queue_init_params(entries, &ring_, &parameters);
  if (result < 0) return -result;
  entries_ = parameters.sq_entries;
  setup_flags_ = flags;
  return 0;
}

Result<void> Ring::open(const RingOptions& options) {
  SPINDLE_ASSERT(!is_open_, "a ring was opened twice");
  // From the best set of flags to none: each kernel takes a prefix of this ladder (5.15: none of them).
  uint32_t ladder[5];
  uint32_t steps = 0;
  const uint32_t submit_all = options.submit_all ? uint32_t{IORING_SETUP_SUBMIT_ALL} : 0;
  const uint32_t single = options.single_issuer ? uint32_t{IORING_SETUP_SINGLE_ISSUER} : 0;
  const bool defer = options.defer_taskrun && options.single_issuer;
  const uint32_t deferred = submit_all | single | IORING_SETUP_DEFER_TASKRUN;
  if (defer && options.taskrun_flag) ladder[steps++] = deferred | IORING_SETUP_TASKRUN_FLAG;
  if (defer) ladder[steps++] = deferred;
  ladder[steps++] = submit_all | single;
  ladder[steps++] = submit_all;
  ladder[steps++] = 0;
  int number = 0;
  uint32_t entries = options.entries < entries_min ? entries_min : options.entries;
  for (uint32_t step = 0; step < steps;) {
    number = set_up(entries, ladder[step]);
    if (number == 0) break;
    if (number == ENOMEM && entries / 2 >= entries_min) {
      entries /= 2;  // RLIMIT_MEMLOCK: a smaller ring is better than none
    } else if (number == EINVAL) {
      ++step;
    } else {
      break;
    }
  }
  if (number != 0) return fail_errno(number, "io_uring_setup");
  is_open_ = true;
  entry_ = options.entry;
  has_min_wait_ = options.min_wait && (ring_.features & feature_min_timeout) != 0;
  if (options.no_iowait && (ring_.features & feature_no_iowait) != 0) no_iowait_flag_ = enter_no_iowait;
  tail_ = tail_end_ = *ring_.sq.ktail;
  if (ring_.sq.array != nullptr) {
    // The indirection is the identity for good: entries are staged in ring order.
    for (unsigned index = 0; index < ring_.sq.ring_entries; ++index) ring_.sq.array[index] = index;
  }
  return {};
}

int Ring::enter(const Wait& wait) noexcept {
  EnterArgument argument;
  __kernel_timespec timeout{};
  uint32_t flags = IORING_ENTER_GETEVENTS;
  if (wait.is_idle) flags |= no_iowait_flag_;
  void* passed = nullptr;
  size_t passed_size = 0;
  Duration longest = wait.timeout;
  if (wait.count > 1) {
    if (has_min_wait_) {
      argument.min_wait_us = static_cast<uint32_t>(wait.batch_timeout.count() / 1000);
    } else if (wait.batch_timeout < longest) {
      longest = wait.batch_timeout;
    }
  }
  if (wait.count > 0 && (longest != Duration::max() || argument.min_wait_us > 0)) {
    if (longest != Duration::max()) {
      timeout.tv_sec = longest.count() / 1'000'000'000;
      timeout.tv_nsec = longest.count() % 1'000'000'000;
      argument.timeout = reinterpret_cast<uint64_t>(&timeout);
    }
    flags |= IORING_ENTER_EXT_ARG;
    passed = &argument;
    passed_size = sizeof(argument);
  }
  return enter_kernel(wait.count, flags, passed, passed_size);
}

}  // namespace spindle
