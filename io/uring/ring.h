// One io_uring: set-up with the best flags that this kernel takes, staging of submissions, entering, reaping.
// Knows nothing of operations. liburing sets the ring up and maps it; entering is done here, because submission,
// the wait, its timeout and the kernel's min-wait go into one system call (liburing 2.3 has no call for that).
//
// Sources: io_uring_setup(2), io_uring_enter(2), include/uapi/linux/io_uring.h.
#pragma once

#include <liburing.h>

#include <cstdint>

#include "runtime/result.h"
#include "runtime/time.h"

namespace spindle {

/// The system call, so that tests can make it short, refuse, or look at what it is asked. Returns a count or -errno.
class RingEntry {
 public:
  virtual int enter(unsigned descriptor, unsigned to_submit, unsigned wait_count, unsigned flags, void* argument,
                    size_t argument_size) noexcept {
    return io_uring_enter2(descriptor, to_submit, wait_count, flags, static_cast<sigset_t*>(argument), argument_size);
  }

 protected:
  ~RingEntry() = default;
};

struct RingOptions {
  uint32_t entries = 256;     ///< submissions staged at once; the completion queue has twice as many
  bool single_issuer = true;  ///< each of these is used where the kernel has it, unless it is forced off
  bool defer_taskrun = true;
  bool submit_all = true;
  bool min_wait = false;  ///< off: measured, it costs half the IOPS that batching gains (docs/ARCHITECTURE.md)
  bool no_iowait = true;
  bool taskrun_flag = false;   ///< with defer_taskrun: has_task_work() tells
  RingEntry* entry = nullptr;  ///< borrowed; null: the kernel
};

class Ring {
 public:
  Ring() noexcept = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  /// Sets the ring up. With too little locked memory it takes a smaller one, down to 8 entries. Errors: the errno
  /// of io_uring_setup(2).
  Result<void> open(const RingOptions& options);
  bool is_open() const noexcept { return is_open_; }

  uint32_t entries() const noexcept { return entries_; }
  uint32_t completion_entries() const noexcept { return ring_.cq.ring_entries; }
  uint32_t setup_flags() const noexcept { return setup_flags_; }
  uint32_t features() const noexcept { return ring_.features; }
  bool has_min_wait() const noexcept { return has_min_wait_; }
  bool has_no_iowait() const noexcept { return no_iowait_flag_ != 0; }
  struct io_uring& raw() noexcept { return ring_; }

  /// A zeroed submission entry, or null while all are staged. It counts as staged at once.
  io_uring_sqe* stage() noexcept {
    if (tail_ == tail_end_) [[unlikely]] {
      tail_end_ = __atomic_load_n(ring_.sq.khead, __ATOMIC_ACQUIRE) + ring_.sq.ring_entries;
      if (tail_ == tail_end_) return nullptr;
    }
    io_uring_sqe* entry = &ring_.sq.sqes[tail_++ & ring_.sq.ring_mask];
    *entry = io_uring_sqe{};
    return entry;
  }
  /// Staged and not yet taken by the kernel (all of them after a failed or short enter).
  uint32_t staged_count() const noexcept { return tail_ - __atomic_load_n(ring_.sq.khead, __ATOMIC_ACQUIRE); }
  bool has_completions() const noexcept { return *ring_.cq.khead != __atomic_load_n(ring_.cq.ktail, __ATOMIC_ACQUIRE); }

  /// Completions are there, once the ring is entered (with RingOptions::taskrun_flag).
  bool has_task_work() const noexcept {
    return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN) != 0;
  }

  struct Wait {
    uint32_t count = 0;                  ///< completions to wait for; 0: do not block
    Duration timeout = Duration::max();  ///< the longest time to block
    Duration batch_timeout{};            ///< count > 1: after this long, one completion is enough
    bool is_idle = false;                ///< no disk operation in flight: do not count as iowait
  };
  /// Hands over what is staged and waits. Returns 0, or the errno of a try that did nothing (EAGAIN, EBUSY, EINTR,
  /// ETIME among them); what the kernel did not take stays staged.
  int enter(const Wait& wait) noexcept;
  /// The same for `count` of 0 or 1 and no time limit.
  int enter_untimed(uint32_t count, bool is_idle) noexcept {
    uint32_t flags = IORING_ENTER_GETEVENTS;
    if (is_idle) flags |= no_iowait_flag_;
    return enter_kernel(count, flags, nullptr, 0);
  }

  /// Calls `handle(const io_uring_cqe&)` for each completion until there is none. Returns how many there were.
  template <class Handle>
  uint32_t drain(Handle&& handle) noexcept {
    uint32_t count = 0;
    unsigned head = *ring_.cq.khead;
    for (;;) {
      const unsigned tail = __atomic_load_n(ring_.cq.ktail, __ATOMIC_ACQUIRE);
      if (head == tail) break;
      for (; head != tail; ++head, ++count) {
        const io_uring_cqe completion = ring_.cq.cqes[head & ring_.cq.ring_mask];
        handle(completion);
      }
      __atomic_store_n(ring_.cq.khead, head, __ATOMIC_RELEASE);
    }
    return count;
  }

 private:
  int set_up(uint32_t entries, uint32_t flags) noexcept;
  int enter_kernel(uint32_t wait_count, uint32_t flags, void* argument, size_t argument_size) noexcept {
    __atomic_store_n(ring_.sq.ktail, tail_, __ATOMIC_RELEASE);
    const unsigned descriptor = static_cast<unsigned>(ring_.ring_fd);
    const uint32_t staged = staged_count();
    sigset_t* const passed = static_cast<sigset_t*>(argument);
    const int result = entry_ == nullptr
                           ? io_uring_enter2(descriptor, staged, wait_count, flags, passed, argument_size)
                           : entry_->enter(descriptor, staged, wait_count, flags, argument, argument_size);
    return result < 0 ? -result : 0;
  }

  struct io_uring ring_{};
  bool is_open_ = false;
  bool has_min_wait_ = false;
  uint32_t no_iowait_flag_ = 0;  ///< for enter, where the kernel knows it
  uint32_t entries_ = 0;
  uint32_t setup_flags_ = 0;
  unsigned tail_ = 0;           ///< the next entry to stage
  unsigned tail_end_ = 0;       ///< entries before it are known to be free
  RingEntry* entry_ = nullptr;  ///< null: the kernel
};

}  // namespace spindle
