// When to look for a completion for a while before sleeping on it.
//
// Waking an idle core costs 20 to 25 µs on a virtual machine, which is more than a fast disk's read: looking instead of
// sleeping makes a loop with one read in flight half as fast again. Where completions come from the own core (zram, or
// a ring pinned beside its worker), or take longer than a spin may, looking only burns the core, or worse: keeps the
// completion from happening. So it is measured, on the load that is there:
//
//     resting ──countdown──► sleeping (a window of timed waits) ──► trying (a window of spins) ──pays──► spinning
//        ▲                        │ too slow, or too fast             │ does not pay, or misses             │
//        └────────────────────────┴───────────────────────────────────┴──────────── misses, or no longer pays ┘
//
// A window is compared by its median. What does not pay is tried again after a rest that doubles each time; while
// spinning, sleeping is tried again now and then.
//
// Invariants
// 1. The time spent looking, over any stretch of time, is at most `budget` of it (plus 10 ms at once).
// 2. A single look is at most `longest`, and at most twice the wait that it replaces.
// 3. This is policy only: it reads no clock and enters no ring.
#pragma once

#include <array>
#include <cstdint>

#include "runtime/time.h"

namespace spindle {

struct IdleSpinOptions {
  double budget = 1.0;  ///< share of a core; 0: never look
  Duration longest = std::chrono::microseconds(200);  ///< a wait longer than this is slept through
};

class IdleSpin {
 public:
  enum class Way : uint8_t {
    sleep,  ///< and do not measure
    sleep_timed,  ///< and tell slept()
    look,  ///< for at most limit(), and tell looked(); then sleep
  };
  enum class Phase : uint8_t { resting, sleeping, trying, spinning };

  explicit IdleSpin(const IdleSpinOptions& options) noexcept;

  bool is_enabled() const noexcept { return options_.budget > 0; }
  /// How to wait for one completion now. `now` is asked for only outside of a rest.
  Way next() noexcept {
    if (rest_ > 0) [[likely]] {
      --rest_;
      return Way::sleep;
    }
    return choose();
  }
  /// The longest look that is allowed at `now`; zero: the budget is used up, sleep.
  Duration limit(Time now) noexcept;
  /// A timed sleep ended, with a completion, after `took`.
  void slept(Duration took) noexcept;
  /// A look took `took`, and found something, or not.
  void looked(Duration took, bool found) noexcept;

  struct Counters {
    uint64_t looks = 0;
    uint64_t finds = 0;  ///< looks that found a completion
    uint64_t looked_ns = 0;  ///< time spent looking
    uint64_t trials = 0;  ///< windows of looking that were compared with one of sleeping
    uint64_t trials_paid = 0;
    uint64_t budget_refusals = 0;
  };
  const Counters& counters() const noexcept { return counters_; }
  Phase phase() const noexcept { return phase_; }

 private:
  static constexpr uint32_t window_size = 32;

  Way choose() noexcept;
  bool add(Duration took) noexcept;
  uint64_t median_ns() noexcept;
  void begin_window(Phase phase) noexcept;
  void rest_longer() noexcept;
  void compare() noexcept;

  IdleSpinOptions options_;
  Counters counters_;
  Phase phase_ = Phase::resting;
  uint32_t rest_;  ///< waits until the next measurement
  uint32_t rest_next_;  ///< the rest after the next trial that does not pay
  uint32_t window_count_ = 0;
  uint32_t misses_ = 0;  ///< in this window
  uint32_t spins_left_ = 0;  ///< until sleeping is tried again
  uint64_t sleep_ns_ = 0;  ///< median of the last window of sleeping
  std::array<uint64_t, window_size> window_{};
  double credit_ns_;  ///< of the budget
  Time credited_at_{};
};

}  // namespace spindle
