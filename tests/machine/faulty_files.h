// A file system of the tests that answers as they want: any errno, a short count or nothing, at the N-th request of
// a kind.
//
// It speaks FUSE's protocol over /dev/fuse itself (no libfuse, so nothing to install) in a child process, and keeps
// its files in memory. Every read and write of a File arrives here as one request (FOPEN_DIRECT_IO, nothing cached),
// up to transfer_size_max bytes. Root only.
//
//     FaultyFiles files(300'000);                                   // has a file `source` of that many bytes
//     files.arm({.request = Request::write, .index = 2, .number = EIO});
//     … the third write fails …
//
// Nothing is left behind: the mount is in a namespace of the process's own (loop_mount.h), and the child ends when the
// test does, killed or not, by the end of a pipe. What then still waits for an answer gets ENOTCONN.
//
// Source: include/uapi/linux/fuse.h.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "tests/io/loop_mount.h"

namespace spindle {

/// The requests that can be made to fail. A release is sent late and its answer is thrown away by the kernel.
enum class Request : uint8_t {
  lookup,
  getattr,
  setattr,
  open,
  create,
  read,
  write,
  fsync,
  allocate,
  flush,
  release,
  rename,
  unlink,
  open_folder,
  fsync_folder,
  other,
};
inline constexpr uint32_t request_kinds_count = static_cast<uint32_t>(Request::other) + 1;
const char* name_of(Request request) noexcept;

struct Fault {
  Request request = Request::other;
  uint32_t index = 0;  ///< of the first request of that kind that is hit, from 0
  uint32_t times = 1;  ///< how many in a row
  int32_t number = 0;  ///< the errno; 0: a read or write is short
  uint32_t short_size = 0;  ///< the bytes that a short one transfers at most
  uint32_t short_every = 0; ///< n: every n-th of those hit is short, the others get the errno
  bool hangs = false;  ///< no answer at all, until the kernel gives the request up; then EINTR
  /// Reads are made by a worker of the kernel, not in the loop's thread: always where they are short or hang.
  bool in_worker = false;
};

/// Shared with the child. The test writes the fault while nothing is asked.
struct FaultPlan {
  std::atomic<uint32_t> served[request_kinds_count];
  std::atomic<uint32_t> hits;
  std::atomic<bool> is_armed;
  Fault fault;
};

class FaultyFiles {
 public:
  static constexpr uint32_t transfer_size_max = 128 << 10;

  explicit FaultyFiles(uint64_t source_size);
  FaultyFiles(const FaultyFiles&) = delete;
  FaultyFiles& operator=(const FaultyFiles&) = delete;
  ~FaultyFiles();

  bool is_mounted() const noexcept { return obstacle_.empty(); }
  /// Why it is not mounted.
  const char* obstacle() const noexcept { return obstacle_.c_str(); }
  std::string file(const char* name) const { return at_ + "/" + name; }

  /// Counts from zero, and answers as `fault` says.
  void arm(const Fault& fault);
  /// Counts from zero, and answers well.
  void disarm();
  /// Requests of a kind since then.
  uint32_t served_count(Request request) const noexcept {
    return plan_->served[static_cast<uint32_t>(request)].load(std::memory_order_relaxed);
  }
  /// How often the fault was answered.
  uint32_t hits_count() const noexcept { return plan_->hits.load(std::memory_order_relaxed); }

 private:
  std::string start(uint64_t source_size);

  TemporaryFolder folder_;  // the last to go
  std::string at_;
  FaultPlan* plan_ = nullptr;
  int lifeline_ = -1;  ///< the child ends when this is closed
  pid_t child_ = -1;
  std::string obstacle_;
};

}  // namespace spindle
