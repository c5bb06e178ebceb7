// The file or device that a job runs on: opened, and described for the report.
#pragma once

#include <cstdint>
#include <string>

#include "benchmarks/failure.h"
#include "benchmarks/job.h"

namespace spindle::bench {

/// Owns a descriptor. Move-only.
class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  int fd() const noexcept { return fd_; }
  int release() noexcept;

 private:
  int fd_ = -1;
};

struct Target {
  enum class Kind : uint8_t { missing, file, block_device, character_device, other };

  Kind kind = Kind::missing;
  uint64_t size_bytes = 0;        ///< 0 for a character device: it has no end
  bool alignment_known = false;   ///< statx told us (Linux 6.1), or the device's sector size did
  uint32_t memory_alignment = 0;  ///< direct I/O; 0 with alignment_known: not supported here
  uint32_t offset_alignment = 0;
  std::string file_system;  ///< "ext4"; empty for a device
  std::string disk;         ///< "vda": the name of the device in /proc/diskstats; empty where unknown
  std::string device;       ///< "vda, 256 GiB, scheduler mq-deadline"; empty where unknown

  bool direct_refused() const noexcept { return alignment_known && offset_alignment == 0; }
};

/// Looks at a path without opening it for writing. A path that does not exist is Kind::missing, not a
/// failure.
Checked<Target> describe_target(const std::string& path);

/// Opens the job's file the way every engine must: O_DIRECT if asked for, read-only for reads, never created,
/// never truncated.
Checked<Descriptor> open_target(const Job& job);

/// The line that says that direct I/O is not possible here.
Failure refuse_direct(const std::string& path, const Target& target);

/// The job's block size, buffers and range fit the alignment that direct I/O needs on the target.
Failure check_alignment(const Job& job, const Target& target);

}  // namespace spindle::bench
