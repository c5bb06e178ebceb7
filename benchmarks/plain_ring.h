// What the two plain loops (plain_loop.cpp, plain_workload.cpp) share: a ring, an open file, a buffer per slot, all
// registered where the machine allows it.
//
// Frees everything at its end, the ring before the buffers.
#pragma once

#include <errno.h>
#include <liburing.h>

#include <string>
#include <string_view>
#include <vector>

#include "benchmarks/job.h"
#include "benchmarks/target.h"

namespace spindle::bench {

class PlainRing {
 public:
  explicit PlainRing(const Job& job) : job_(job) {}
  PlainRing(const PlainRing&) = delete;
  ~PlainRing();

  /// Checks the job, opens the file, sets the ring up with an entry per slot, maps and registers.
  Failure open();

  io_uring* ring() noexcept { return &ring_; }
  std::byte* buffer(uint32_t slot_index) const noexcept { return arena_ + stride_ * slot_index; }
  std::vector<std::string>& features() noexcept { return features_; }

  /// How many completions to wait for with so many in flight.
  uint32_t wait_count() const noexcept;

  void prepare_transfer(io_uring_sqe* sqe, bool is_write, std::byte* bytes, uint32_t size, uint64_t offset) noexcept {
    const int fd = file_registered_ ? 0 : file_.fd();
    if (is_write) {
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
    if (file_registered_) sqe->flags |= IOSQE_FIXED_FILE;
  }
  void prepare_fsync(io_uring_sqe* sqe) noexcept {
    io_uring_prep_fsync(sqe, file_registered_ ? 0 : file_.fd(), 0);
    if (file_registered_) sqe->flags |= IOSQE_FIXED_FILE;
  }

  /// The line for an operation that failed.
  Failure explain(int number, std::string_view what) const;

  /// EINTR: a signal; EAGAIN, EBUSY: the kernel is short of something; ETIME: a bounded wait. What is staged stays,
  /// and is entered again.
  static bool is_passing(int result) noexcept {
    return result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ETIME;
  }

 private:
  Failure open_ring();
  Failure map_buffers();
  void register_resources();

  const Job& job_;
  io_uring ring_{};
  bool ring_open_ = false;
  bool file_registered_ = false;
  bool buffers_registered_ = false;
  Descriptor file_;
  std::byte* arena_ = nullptr;
  uint64_t arena_size_ = 0;
  uint64_t stride_ = 0;
  std::vector<std::string> features_;
};

}  // namespace spindle::bench
