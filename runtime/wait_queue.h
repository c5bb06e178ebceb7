// FIFO queues of suspended tasks, the core of every wait primitive.
//
// Invariants
// 1. Who came first is served first; a cancelled waiter leaves the queue and is not served.
// 2. What a waiter was granted stays granted: a cancel that comes later is seen at the next await.
// 3. A queue that dies with waiters is a caught bug, unless the host is being killed.
#pragma once

#include "runtime/intrusive_list.h"
#include "runtime/leaf.h"

namespace spindle {

/// A suspended task in a WaitQueue. Its outcome is success (granted) or an error.
class Waiter : public Leaf, public ListHook<Waiter> {
 public:
  const Error* failure() const noexcept { return failed_ ? &error_ : nullptr; }
  void refuse(Error error) noexcept {
    failed_ = true;
    error_ = error;
  }
  bool is_cancellable() const noexcept { return true; }
  /// Takes the waiter out of its queue and makes its task ready, successful.
  void grant() noexcept {
    unlink();
    complete();
  }
  /// The same, with an error.
  void grant_error(Error error) noexcept {
    refuse(error);
    grant();
  }

 protected:
  ~Waiter() = default;
  void on_cancel() noexcept override { grant_error(Error{ErrorCode::cancelled, 0, describe(), 0}); }
  void on_abandon() noexcept override {
    if (is_linked()) unlink();
  }
  Result<void> outcome() const noexcept {
    if (failed_) return Unexpected(error_);
    return {};
  }

 private:
  bool failed_ = false;
  Error error_;
};

class WaitQueue {
 public:
  WaitQueue() noexcept = default;
  ~WaitQueue() {
    if (waiters_.empty()) return;
    SPINDLE_ASSERT(Loop::current().is_dying(), "a wait primitive was destroyed with tasks waiting on it");
    waiters_.clear();
  }
  bool empty() const noexcept { return waiters_.empty(); }
  Waiter* first() noexcept { return waiters_.first(); }
  void push_back(Waiter& waiter) noexcept { waiters_.push_back(waiter); }
  void grant_all() noexcept {
    while (!waiters_.empty()) waiters_.front().grant();
  }
  void fail_all(Error error) noexcept {
    while (!waiters_.empty()) waiters_.front().grant_error(error);
  }

 private:
  IntrusiveList<Waiter> waiters_;
};

/// True where handles must touch nothing any more: what they refer to may be gone.
inline bool host_is_dying() noexcept { return Loop::has_current() && Loop::current().is_dying(); }

}  // namespace spindle
