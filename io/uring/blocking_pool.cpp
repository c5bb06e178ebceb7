#include "io/uring/blocking_pool.h"

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <system_error>

#include "io/backend.h"
#include "runtime/loop.h"

namespace spindle {

BlockingPool::~BlockingPool() { join(); }

void BlockingPool::join() noexcept {
  {
    const std::lock_guard lock(mutex_);
    SPINDLE_ASSERT(queued_.empty() && done_.empty(), "a blocking pool ended with operations in it");
    is_ending_ = true;
  }
  has_work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  detach();
}

void BlockingPool::detach() noexcept {
  if (is_linked()) unlink();
}

void BlockingPool::submit(Operation& operation, Loop& loop) noexcept {
  if (!is_linked()) loop.add_posted(*this);
  operation.place = Operation::Place::pooled;
  operation.slot = slot_queued;
  bool needs_thread = false;
  {
    const std::lock_guard lock(mutex_);
    needs_thread = idle_count_ < ++queued_count_ && threads_.size() < threads_max_;
    queued_.push_back(operation);
  }
  if (needs_thread) start_thread();
  has_work_.notify_one();
  if (!threads_.empty()) return;
  // Nobody will ever take it. The answer comes with the next turn, as any other.
  {
    const std::lock_guard lock(mutex_);
    operation.unlink();
    operation.slot = 0;
    --queued_count_;
    done_.push_back({&operation, -ENOMEM});
    has_done_.store(true, std::memory_order_release);
  }
  reactor_.wake();
}

void BlockingPool::start_thread() noexcept {
  sigset_t all;
  sigset_t former;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &former);
  try {
    const uint32_t index = threads_count();
    {
      const std::lock_guard lock(mutex_);
      running_.push_back(nullptr);
    }
    threads_.emplace_back([this, index] { work(index); });
  } catch (const std::system_error&) {
    // The threads that there are do the work, if any.
    const std::lock_guard lock(mutex_);
    running_.pop_back();
  }
  ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
}

void BlockingPool::work(uint32_t index) noexcept {
  ::pthread_setname_np(::pthread_self(), "spindle-call");
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_count_;
    has_work_.wait(lock, [this] { return is_ending_ || !queued_.empty(); });
    --idle_count_;
    if (is_ending_) return;
    Operation& operation = queued_.pop_front();
    --queued_count_;
    operation.slot = index;
    running_[index] = &operation;
    lock.unlock();
    const int32_t result = calls_.call(operation);
    lock.lock();
    running_[index] = nullptr;
    done_.push_back({&operation, result});
    has_done_.store(true, std::memory_order_release);
    lock.unlock();
    reactor_.wake();
    lock.lock();
  }
}

void BlockingPool::collect() noexcept {
  if (!has_done_.load(std::memory_order_acquire)) return;
  {
    const std::lock_guard lock(mutex_);
    has_done_.store(false, std::memory_order_relaxed);
    delivering_.swap(done_);
  }
  // A delivery may submit again, and so fill done_, but not call this.
  for (const Done& done : delivering_) {
    done.operation->place = Operation::Place::outside;
    done.operation->deliver(done.result);
  }
  delivering_.clear();
}

void BlockingPool::cancel(Operation& operation) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (operation.slot != slot_queued) return;
    operation.unlink();
    --queued_count_;
  }
  operation.place = Operation::Place::outside;
  operation.deliver(-ECANCELED);
}

void BlockingPool::cancel_all(Descriptor& descriptor) noexcept {
  while (Operation* operation = next_to_cancel(descriptor)) operation->request_cancel_from_backend();
}

// One at a time: a request takes the operation out of the queue, or marks it.
Operation* BlockingPool::next_to_cancel(Descriptor& descriptor) noexcept {
  const auto is_meant = [&descriptor](const Operation* operation) {
    return operation != nullptr && operation->descriptor() == &descriptor && !operation->is_cancel_requested();
  };
  const std::lock_guard lock(mutex_);
  for (Operation* operation = queued_.first(); operation != nullptr; operation = queued_.next(*operation)) {
    if (is_meant(operation)) return operation;
  }
  for (Operation* operation : running_) {
    if (is_meant(operation)) return operation;
  }
  return nullptr;
}

}  // namespace spindle
