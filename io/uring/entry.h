// Submission entries of the operations that are no transfers, and which of them the kernel's ring knows.
#pragma once

#include <liburing.h>

#include <array>

#include "io/operation.h"

namespace spindle {

/// Fills the zeroed entry; `user_data` is the caller's. Not for transfers, nor for what the ring has no operation for.
void fill_entry(io_uring_sqe& entry, Operation& operation) noexcept;

/// Which operations go through the ring; the others are for a BlockingPool.
class RingOperations {
 public:
  /// Asks the kernel (IORING_REGISTER_PROBE; without an answer only what Linux 5.15 has). `rare_too` false: none of the
  /// rare ones, for tests.
  void probe(io_uring& ring, bool rare_too) noexcept;
  bool has(Opcode opcode) const noexcept { return in_ring_[static_cast<size_t>(opcode)]; }

 private:
  std::array<bool, opcode_count> in_ring_{};
};

}  // namespace spindle
