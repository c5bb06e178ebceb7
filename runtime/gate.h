// A gate lets work in until it is closed, and closing waits until all that is inside has left: the way to end a
// component that others still use.
#pragma once

#include <cstdint>
#include <utility>

#include "runtime/wait_queue.h"

namespace spindle {

class Gate {
 public:
  /// Being inside; leaves when dropped. Must not outlive the gate.
  class [[nodiscard]] Pass {
   public:
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ != nullptr && !host_is_dying()) gate_->leave();
    }

   private:
    friend class Gate;
    explicit Pass(Gate& gate) noexcept : gate_(&gate) {}
    Gate* gate_;
  };

  class [[nodiscard]] Close final : public LeafAwait<Close, Waiter> {
   public:
    explicit Close(Gate& gate) noexcept : gate_(gate) {}
    ~Close() { abandon_if_dying(); }
    bool begin(Loop&) noexcept {
      if (gate_.inside_count_ == 0) return true;
      gate_.closers_.push_back(*this);
      return false;
    }
    Result<void> take() const noexcept { return outcome(); }
    const char* describe() const noexcept override { return "gate"; }

   private:
    Gate& gate_;
  };

  Gate() noexcept = default;
  ~Gate() { SPINDLE_ASSERT(inside_count_ == 0 || host_is_dying(), "a gate was destroyed with work inside"); }

  bool is_closed() const noexcept { return is_closed_; }
  uint64_t inside_count() const noexcept { return inside_count_; }
  /// A pass, or `closed`. Never suspends.
  Result<Pass> try_enter() noexcept {
    if (is_closed_) return fail(ErrorCode::closed, "gate");
    ++inside_count_;
    return Pass(*this);
  }
  /// Result<void>: refuses entry from now on and waits until nobody is inside. A cancelled wait leaves it closed.
  Close close() noexcept {
    is_closed_ = true;  // here already: a wait that is refused leaves the gate closed too
    return Close(*this);
  }

 private:
  void leave() noexcept {
    SPINDLE_ASSERT(inside_count_ > 0, "a gate was left more often than entered");
    if (--inside_count_ == 0) closers_.grant_all();
  }

  bool is_closed_ = false;
  uint64_t inside_count_ = 0;
  WaitQueue closers_;
};

}  // namespace spindle
