// A manual-reset event and a latch. FIFO, cancellable, single-threaded.
#pragma once

#include <cstdint>

#include "runtime/wait_queue.h"

namespace spindle {

class Event {
 public:
  class [[nodiscard]] Wait final : public LeafAwait<Wait, Waiter> {
   public:
    explicit Wait(Event& event) noexcept : event_(event) {}
    ~Wait() { abandon_if_dying(); }
    bool begin(Loop&) noexcept {
      if (event_.is_set_) return true;
      event_.waiters_.push_back(*this);
      return false;
    }
    Result<void> take() const noexcept { return outcome(); }
    const char* describe() const noexcept override { return "event"; }

   private:
    Event& event_;
  };

  bool is_set() const noexcept { return is_set_; }
  /// Wakes everybody who waits, and lets pass who comes, until reset().
  void set() noexcept {
    is_set_ = true;
    if (!host_is_dying()) waiters_.grant_all();
  }
  void reset() noexcept { is_set_ = false; }
  /// Result<void>: waits until the event is set.
  Wait wait() noexcept { return Wait(*this); }

 private:
  bool is_set_ = false;
  WaitQueue waiters_;
};

/// Opens once, when it was counted down to zero.
class Latch {
 public:
  explicit Latch(uint64_t count) noexcept : count_(count) {
    if (count == 0) opened_.set();
  }
  void count_down(uint64_t by = 1) noexcept {
    SPINDLE_ASSERT(by <= count_, "a latch was counted down below zero");
    count_ -= by;
    if (count_ == 0) opened_.set();
  }
  uint64_t count() const noexcept { return count_; }
  /// Result<void>: waits until the count is zero.
  Event::Wait wait() noexcept { return opened_.wait(); }

 private:
  uint64_t count_;
  Event opened_;
};

}  // namespace spindle
