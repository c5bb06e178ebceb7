// Signals as awaitable events.
//
//     Signals signals(loop, Signals::set_of(SIGTERM, SIGINT));
//     const int number = co_await ok(signals.next());
//
// The handler does two things that are safe in a signal handler: it sets a bit and wakes the reactor. Several of
// one number before anybody looks are one. While a Signals lives it owns its numbers in the whole process; when it
// dies the former handlers come back. The simulated world calls deliver() instead.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstdint>

#include "runtime/posted.h"
#include "runtime/wait_queue.h"

namespace spindle {

class Signals final : public Posted {
 public:
  class [[nodiscard]] Next final : public LeafAwait<Next, Waiter> {
   public:
    explicit Next(Signals& signals) noexcept : signals_(signals) {}
    ~Next() { abandon_if_dying(); }
    bool begin(Loop&) noexcept;
    Result<int> take() const noexcept {
      if (failure() != nullptr) return Unexpected(*failure());
      return number_;
    }
    const char* describe() const noexcept override { return "signal"; }

   private:
    friend class Signals;
    Signals& signals_;
    int number_ = 0;
  };

  /// A bit for each signal number, 1 to 63.
  template <class... Numbers>
  static constexpr uint64_t set_of(Numbers... numbers) noexcept {
    return ((uint64_t{1} << numbers) | ... | 0);
  }

  /// Installs handlers for the numbers in `set`. A number that another Signals owns is a caught bug.
  Signals(Loop& loop, uint64_t set);
  ~Signals();

  /// Result<int>: waits for a signal of the set, FIFO; each is given to one waiter. Cancellable.
  Next next() noexcept { return Next(*this); }
  /// As if the signal had come. On the loop's thread.
  void deliver(int number) noexcept;

  void collect() noexcept override;

 private:
  static void handle(int number) noexcept;
  int take_pending() noexcept;
  static constexpr int number_end = 64;

  Loop& loop_;
  uint64_t set_;
  std::atomic<uint64_t> arrived_{0};  // set by the handler
  uint64_t pending_ = 0;              // not given to a waiter yet
  WaitQueue waiters_;
  struct sigaction former_[number_end];
};

}  // namespace spindle
