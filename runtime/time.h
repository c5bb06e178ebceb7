// Time as the runtime sees it: nanoseconds on a monotonic clock that the Reactor provides: the kernel's
// CLOCK_MONOTONIC in production, virtual time in the simulation. Nothing else may be asked for the time.
#pragma once

#include <chrono>

namespace spindle {

using Duration = std::chrono::nanoseconds;

struct LoopClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<LoopClock>;
  static constexpr bool is_steady = true;
};

using Time = LoopClock::time_point;

inline constexpr Time time_never = Time::max();

/// `duration` after `now`, or time_never where that lies beyond the clock.
constexpr Time time_after(Time now, Duration duration) noexcept {
  return duration > time_never - now ? time_never : now + duration;
}

}  // namespace spindle
