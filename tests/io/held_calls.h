// The blocking calls of a backend as a test wants them: held until it lets them go, and counted.
#pragma once

#include <condition_variable>
#include <mutex>

#include "io/uring/blocking_calls.h"

namespace spindle {

class HeldCalls final : public BlockingCalls {
 public:
  int32_t call(Operation& operation) noexcept override {
    if (is_quick_call(operation.opcode())) return BlockingCalls::call(operation);
    std::unique_lock lock(mutex_);
    ++entered_count_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !is_held_; });
    lock.unlock();
    const int32_t result = BlockingCalls::call(operation);
    lock.lock();
    ++returned_count_;
    changed_.notify_all();
    return result;
  }

  void hold() {
    const std::lock_guard lock(mutex_);
    is_held_ = true;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    is_held_ = false;
    changed_.notify_all();
  }
  void forget_counts() {
    const std::lock_guard lock(mutex_);
    entered_count_ = returned_count_ = 0;
  }
  /// Block the thread that asks.
  void await_entered(uint32_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, count] { return entered_count_ >= count; });
  }
  void await_returned(uint32_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, count] { return returned_count_ >= count; });
  }
  uint32_t entered_count() {
    const std::lock_guard lock(mutex_);
    return entered_count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_held_ = false;
  uint32_t entered_count_ = 0;
  uint32_t returned_count_ = 0;
};

}  // namespace spindle
