// The trace that a task works for: a number of the caller's choice, of a request for example. What the task begins
// from there on (tasks that it awaits or spawns into scopes of its own, time limits, operations) inherits it. It stands
// in the task tree, and in a simulated world the faults that an operation meets depend on it: see io/sim/world.h.
//
//     co_await set_trace_id(request.number);
//
// It belongs to the innermost section: what a task sets within a timeout() or a shield() ends with it. 0: none.
#pragma once

#include <coroutine>
#include <cstdint>

#include "runtime/promise.h"

namespace spindle {

class SetTraceId {
 public:
  using RuntimeAwaiter = void;
  explicit SetTraceId(uint32_t trace_id) noexcept : trace_id_(trace_id) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
    handle.promise().context->set_trace_id(trace_id_);
    return false;
  }
  void await_resume() const noexcept {}

 private:
  uint32_t trace_id_;
};

/// Awaited: never suspends, never fails.
inline SetTraceId set_trace_id(uint32_t trace_id) noexcept { return SetTraceId(trace_id); }

}  // namespace spindle
