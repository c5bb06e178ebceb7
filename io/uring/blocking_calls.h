// The system calls behind the operations that go to no ring: made by a thread that may block in them.
#pragma once

#include <cstdint>

#include "io/operation.h"

namespace spindle {

/// Makes the call; virtual so that tests can hold it. On any thread, which reads of the operation what the backend may
/// read, and writes what its result pointers lead to. Returns 0 or -errno.
class BlockingCalls {
 public:
  virtual int32_t call(Operation& operation) noexcept;

 protected:
  ~BlockingCalls() = default;
};

/// Never blocks and touches no disk: answered on the loop's thread, at once.
inline bool is_quick_call(Opcode opcode) noexcept {
  return opcode == Opcode::set_direct || opcode == Opcode::device_size;
}

/// The calls of the system itself.
BlockingCalls& system_calls() noexcept;

}  // namespace spindle
