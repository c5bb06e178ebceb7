// A counting semaphore and a mutex: FIFO-fair (who waits is served before who comes), cancellable, and held
// through move-only handles, so that an early exit gives back what it holds. Single-threaded.
#pragma once

#include <cstdint>
#include <utility>

#include "runtime/wait_queue.h"

namespace spindle {

class Semaphore {
 public:
  /// Units of a semaphore; gives them back when dropped. Must not outlive the semaphore.
  class [[nodiscard]] Permit {
   public:
    Permit() noexcept = default;
    Permit(Permit&& other) noexcept : semaphore_(std::exchange(other.semaphore_, nullptr)), count_(other.count_) {}
    Permit& operator=(Permit&& other) noexcept {
      if (this != &other) {
        release();
        semaphore_ = std::exchange(other.semaphore_, nullptr);
        count_ = other.count_;
      }
      return *this;
    }
    ~Permit() { release(); }
    void release() noexcept {
      Semaphore* semaphore = std::exchange(semaphore_, nullptr);
      if (semaphore != nullptr && !host_is_dying()) semaphore->give_back(count_);
    }
    bool is_held() const noexcept { return semaphore_ != nullptr; }

   private:
    friend class Semaphore;
    Permit(Semaphore& semaphore, uint64_t count) noexcept : semaphore_(&semaphore), count_(count) {}
    Semaphore* semaphore_ = nullptr;
    uint64_t count_ = 0;
  };

  class [[nodiscard]] Acquire final : public LeafAwait<Acquire, Waiter> {
   public:
    Acquire(Semaphore& semaphore, uint64_t count) noexcept : semaphore_(semaphore), count_(count) {}
    ~Acquire() {
      // Granted, but the task was killed before it took the permit: nobody is left to give it back to.
      abandon_if_dying();
    }
    bool begin(Loop&) noexcept {
      if (semaphore_.waiters_.empty() && count_ <= semaphore_.available_) {
        semaphore_.available_ -= count_;
        return true;
      }
      semaphore_.waiters_.push_back(*this);
      return false;
    }
    Result<Permit> take() noexcept {
      if (failure() != nullptr) return Unexpected(*failure());
      return Permit(semaphore_, count_);
    }
    const char* describe() const noexcept override { return "semaphore"; }

   private:
    friend class Semaphore;
    void on_cancel() noexcept override {
      Waiter::on_cancel();
      semaphore_.serve();  // a large request that left may have blocked smaller ones behind it
    }
    Semaphore& semaphore_;
    uint64_t count_;
  };

  explicit Semaphore(uint64_t count) noexcept : available_(count), total_(count) {}
  /// All permits must have come back.
  ~Semaphore() {
    SPINDLE_ASSERT(available_ == total_ || host_is_dying(), "a semaphore was destroyed with permits out");
  }

  uint64_t available() const noexcept { return available_; }
  /// Result<Permit>: waits for `count` units, behind everybody who came before. More than there ever are is a bug.
  Acquire acquire(uint64_t count = 1) noexcept {
    SPINDLE_ASSERT(count <= total_, "more units were asked of a semaphore than it has");
    return Acquire(*this, count);
  }
  /// A permit, or `exhausted` when somebody waits or too few units are free. Never suspends.
  Result<Permit> try_acquire(uint64_t count = 1) noexcept {
    if (!waiters_.empty() || count > available_) return fail(ErrorCode::exhausted, "semaphore");
    available_ -= count;
    return Permit(*this, count);
  }

 private:
  void give_back(uint64_t count) noexcept {
    available_ += count;
    SPINDLE_ASSERT(available_ <= total_, "a semaphore got back more than it gave");
    serve();
  }
  void serve() noexcept {
    while (Waiter* first = waiters_.first()) {
      Acquire& request = static_cast<Acquire&>(*first);
      if (request.count_ > available_) break;
      available_ -= request.count_;
      request.grant();
    }
  }

  uint64_t available_;
  uint64_t total_;
  WaitQueue waiters_;
};

class Mutex {
 public:
  /// Holds the mutex; unlocks when dropped. Must not outlive the mutex.
  class [[nodiscard]] Lock {
   public:
    Lock(Lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock() { unlock(); }
    void unlock() noexcept {
      Mutex* mutex = std::exchange(mutex_, nullptr);
      if (mutex != nullptr && !host_is_dying()) mutex->unlock();
    }
    Mutex& mutex() const noexcept {
      SPINDLE_ASSERT(mutex_ != nullptr, "a lock that holds no mutex");
      return *mutex_;
    }

   private:
    friend class Mutex;
    explicit Lock(Mutex& mutex) noexcept : mutex_(&mutex) {}
    Mutex* mutex_;
  };

  class [[nodiscard]] Acquire final : public LeafAwait<Acquire, Waiter> {
   public:
    explicit Acquire(Mutex& mutex) noexcept : mutex_(mutex) {}
    ~Acquire() { abandon_if_dying(); }
    bool begin(Loop&) noexcept { return mutex_.lock_or_enqueue(*this); }
    Result<Lock> take() noexcept {
      if (failure() != nullptr) return Unexpected(*failure());
      return Lock(mutex_);
    }
    const char* describe() const noexcept override { return "mutex"; }

   private:
    Mutex& mutex_;
  };

  Mutex() noexcept = default;
  ~Mutex() { SPINDLE_ASSERT(!is_locked_ || host_is_dying(), "a mutex was destroyed while it was locked"); }

  bool is_locked() const noexcept { return is_locked_; }
  /// Result<Lock>: waits behind everybody who came before.
  Acquire lock() noexcept { return Acquire(*this); }

 private:
  friend class Condition;
  bool lock_or_enqueue(Waiter& waiter) noexcept {
    if (is_locked_) {
      waiters_.push_back(waiter);
      return false;
    }
    is_locked_ = true;
    return true;
  }
  /// Hands over to the first who waits.
  void unlock() noexcept {
    SPINDLE_ASSERT(is_locked_, "unlock of a mutex that is not locked");
    if (Waiter* first = waiters_.first()) {
      first->grant();
    } else {
      is_locked_ = false;
    }
  }

  bool is_locked_ = false;
  WaitQueue waiters_;
};

}  // namespace spindle
