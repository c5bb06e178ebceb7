// A condition variable for Mutex. A notified (or cancelled) waiter moves to the mutex's queue and is resumed with
// the lock held, so a notify wakes nobody in vain.
#pragma once

#include "runtime/semaphore.h"

namespace spindle {

class Condition {
 public:
  class [[nodiscard]] Wait final : public LeafAwait<Wait, Waiter> {
   public:
    Wait(Condition& condition, Mutex& mutex) noexcept : condition_(condition), mutex_(mutex) {}
    ~Wait() { abandon_if_dying(); }
    bool begin(Loop&) noexcept {
      condition_.waiters_.push_back(*this);
      mutex_.unlock();
      return false;
    }
    Result<void> take() const noexcept { return outcome(); }
    const char* describe() const noexcept override { return is_relocking_ ? "condition (relocking)" : "condition"; }

   private:
    friend class Condition;
    /// Out of the condition's queue and after the lock. Getting the lock back can't be cancelled.
    void relock() noexcept {
      is_relocking_ = true;
      unlink();
      if (mutex_.lock_or_enqueue(*this)) complete();
    }
    void on_cancel() noexcept override {
      if (is_relocking_) return;
      refuse(Error{ErrorCode::cancelled, 0, "condition", 0});
      relock();
    }
    Condition& condition_;
    Mutex& mutex_;
    bool is_relocking_ = false;
  };

  /// Result<void>: gives the lock up, waits for a notify, and has the lock again when it returns, whether it
  /// succeeded or was cancelled. Check the predicate in a loop.
  Wait wait(Mutex::Lock& lock) noexcept { return Wait(*this, lock.mutex()); }
  void notify_one() noexcept {
    if (!waiters_.empty() && !host_is_dying()) first().relock();
  }
  void notify_all() noexcept {
    while (!waiters_.empty() && !host_is_dying()) first().relock();
  }

 private:
  Wait& first() noexcept { return static_cast<Wait&>(*waiters_.first()); }
  WaitQueue waiters_;
};

}  // namespace spindle
