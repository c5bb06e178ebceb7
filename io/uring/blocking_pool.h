// A small, bounded pool of threads for the operations that the ring has none for.
//
//     submit ─► queue (FIFO) ─► a thread makes the call ─► done list, wake ─► collect(), on the loop's thread: deliver
//
// Threads start when there is work for them, up to threads_max, and are joined by the destructor. Signals are blocked
// in them: they belong to the program's own threads.
//
// Invariants
// 1. Queue, running operations and done list change under the mutex; an operation is in exactly one of them.
// 2. Between submit and deliver a thread touches of an operation only what BlockingCalls names; its links and
//    everything else are the loop thread's, or change under the mutex.
// 3. Results are delivered on the loop's thread.
// A cancel takes a queued operation out. One that runs ends by itself, and its result decides.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "io/operation.h"
#include "io/uring/blocking_calls.h"
#include "runtime/posted.h"
#include "runtime/reactor.h"

namespace spindle {

class BlockingPool final : public Posted {
 public:
  /// All three outlive the pool.
  BlockingPool(Reactor& reactor, BlockingCalls& calls, uint32_t threads_max) noexcept
      : reactor_(reactor), calls_(calls), threads_max_(threads_max) {}
  ~BlockingPool();
  /// Ends the threads, and waits for that: nobody wakes the reactor from then on. Its operations must have ended.
  void join() noexcept;

  // On the loop's thread.
  /// Takes the operation until deliver(). Without any thread to be had its result is ENOMEM.
  void submit(Operation& operation, Loop& loop) noexcept;
  void cancel(Operation& operation) noexcept;
  /// Asks the same of every operation on the descriptor.
  void cancel_all(Descriptor& descriptor) noexcept;
  void collect() noexcept override;
  /// The loop ends.
  void detach() noexcept;
  uint32_t threads_count() const noexcept { return static_cast<uint32_t>(threads_.size()); }

 private:
  /// Operation::slot, here: not with a thread.
  static constexpr uint32_t slot_queued = UINT32_MAX;
  struct Done {
    Operation* operation;
    int32_t result;
  };

  void start_thread() noexcept;
  void work(uint32_t index) noexcept;
  Operation* next_to_cancel(Descriptor& descriptor) noexcept;

  Reactor& reactor_;
  BlockingCalls& calls_;
  const uint32_t threads_max_;
  std::vector<std::thread> threads_;
  std::vector<Done> delivering_;  ///< collect()'s, kept for its capacity
  std::atomic<bool> has_done_{false};

  std::mutex mutex_;  // of all that follows
  std::condition_variable has_work_;
  OperationList queued_;
  uint32_t queued_count_ = 0;
  uint32_t idle_count_ = 0;
  std::vector<Operation*> running_;  ///< by thread; null: idle
  std::vector<Done> done_;
  bool is_ending_ = false;
};

}  // namespace spindle
