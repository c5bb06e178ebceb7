// The system call of a ring as a test wants it: short, refused, held back, and noted. And a view of what is
// staged, so that a test can look at a submission, or spoil it.
#pragma once

#include <liburing.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "io/uring/ring.h"

namespace spindle {

class ScriptedEntry final : public RingEntry {
 public:
  struct Call {
    unsigned to_submit = 0;
    unsigned wait_count = 0;
    uint32_t min_wait_us = 0;
    bool has_timeout = false;
    uint64_t timeout_ns = 0;
  };
  std::vector<Call> calls;  ///< the first ones since it was cleared: calls_max at most
  Call last;
  unsigned submit_max = UINT32_MAX;  ///< takes no more than that at once
  bool holds_submissions = false;    ///< takes none, but collects completions
  int refusal = 0;                   ///< an errno …
  uint32_t refusals_left = 0;        ///< … for so many calls that have entries staged
  uint32_t refused_count = 0;
  uint32_t short_count = 0;
  /// Runs before the kernel sees what is staged.
  void (*inspect)(ScriptedEntry& entry, int descriptor) = nullptr;

  int enter(unsigned descriptor, unsigned to_submit, unsigned wait_count, unsigned flags, void* argument,
            size_t argument_size) noexcept override {
    note(to_submit, wait_count, argument);
    if (refusals_left > 0 && to_submit > 0) {
      --refusals_left;
      ++refused_count;
      return -refusal;
    }
    if (inspect != nullptr && to_submit > 0) inspect(*this, static_cast<int>(descriptor));
    if (holds_submissions) return RingEntry::enter(descriptor, 0, 0, IORING_ENTER_GETEVENTS, nullptr, _NSIG / 8);
    if (to_submit > submit_max) {
      ++short_count;
      return RingEntry::enter(descriptor, submit_max, 0, IORING_ENTER_GETEVENTS, nullptr, _NSIG / 8);
    }
    return RingEntry::enter(descriptor, to_submit, wait_count, flags, argument, argument_size);
  }

 private:
  static constexpr size_t calls_max = 4096;

  void note(unsigned to_submit, unsigned wait_count, const void* argument) {
    Call call{.to_submit = to_submit, .wait_count = wait_count};
    if (argument != nullptr) {
      // struct io_uring_getevents_arg: signal mask, its size, min_wait_usec, address of the timeout.
      const std::byte* bytes = static_cast<const std::byte*>(argument);
      uint64_t timeout_address = 0;
      std::memcpy(&call.min_wait_us, bytes + 12, 4);
      std::memcpy(&timeout_address, bytes + 16, 8);
      call.has_timeout = timeout_address != 0;
      if (call.has_timeout) {
        __kernel_timespec timeout{};
        std::memcpy(&timeout, reinterpret_cast<const void*>(timeout_address), sizeof timeout);
        const int64_t timeout_ns = timeout.tv_sec * 1'000'000'000 + timeout.tv_nsec;
        call.timeout_ns = static_cast<uint64_t>(timeout_ns);
      }
    }
    last = call;
    if (calls.size() < calls_max) calls.push_back(call);
  }
};

/// The submission entries of a ring through a mapping of one's own. Those that were taken stay visible until
/// they are staged again.
class SubmissionView {
 public:
  SubmissionView(int descriptor, uint32_t entries_count) : count_(entries_count) {
    void* mapped =
        ::mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, IORING_OFF_SQES);
    if (mapped != MAP_FAILED) entries_ = static_cast<io_uring_sqe*>(mapped);
  }
  SubmissionView(const SubmissionView&) = delete;
  SubmissionView& operator=(const SubmissionView&) = delete;
  ~SubmissionView() {
    if (entries_ != nullptr) ::munmap(entries_, size());
  }
  io_uring_sqe* begin() noexcept { return entries_; }
  io_uring_sqe* end() noexcept { return entries_ == nullptr ? nullptr : entries_ + count_; }

 private:
  size_t size() const noexcept { return count_ * sizeof(io_uring_sqe); }
  uint32_t count_;
  io_uring_sqe* entries_ = nullptr;
};

}  // namespace spindle
