// A counter that survives crashes: the example of docs/SIMULATION.md.
//
// The file holds two slots of 4 KiB. A change goes to the slot that does not hold the value: so a write that is torn
// leaves the other one alone, and the valid record with the highest sequence number is the value.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "io/file.h"
#include "pools/buffer_pool.h"

class Counter {
 public:
  /// The counter in a file, which is made if it is not there. Errors: those of its I/O; EBADMSG when neither slot is
  /// whole, which no crash leaves.
  static spindle::Task<spindle::Result<Counter>> open(std::string path);
  /// The new value. Once it is returned, it stays, whatever dies. One at a time.
  spindle::Task<spindle::Result<uint64_t>> add(uint64_t amount);
  uint64_t value() const noexcept { return last_.value; }
  spindle::Task<spindle::Result<void>> close();

 private:
  struct Record {
    uint64_t sequence = 0;
    uint64_t value = 0;
    uint64_t checksum = 0;
  };
  static uint64_t checksum_of(const Record& record) noexcept;

  Counter(spindle::File file, std::unique_ptr<spindle::AlignedBufferPool> pool,
          spindle::AlignedBufferPool::Lease block) noexcept
      : file_(std::move(file)), pool_(std::move(pool)), block_(std::move(block)) {}

  spindle::File file_;
  std::unique_ptr<spindle::AlignedBufferPool> pool_;
  spindle::AlignedBufferPool::Lease block_;  // memory for direct I/O: one slot
  Record last_;
};
