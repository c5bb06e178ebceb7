// Timers in user space: a 4-ary heap of (deadline, timer) pairs. One cache line holds the four children of a
// place, so a heap of a million timers is ten lines deep. Arm is O(log n) at worst and O(1) for a deadline later
// than most; cancel and fire are O(log n). Equal deadlines fire in the order in which they were armed.
//
// The array grows by doubling past the capacity given at the start (`grown_count` counts that).
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/time.h"

namespace spindle {

class Loop;

/// An armed timer must stay where it is until it fired or was cancelled; destroying it armed is a caught bug.
class Timer {
 public:
  using Fire = void (*)(Timer& timer, Loop& loop) noexcept;

  explicit Timer(Fire fire) noexcept : fire_(fire) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer();

  bool is_armed() const noexcept { return index_ != index_none; }

 private:
  friend class TimerHeap;
  static constexpr uint32_t index_none = UINT32_MAX;

  Fire fire_;
  uint64_t sequence_ = 0;
  uint32_t index_ = index_none;
};

class TimerHeap {
 public:
  explicit TimerHeap(uint32_t capacity) { places_.reserve(capacity); }
  ~TimerHeap();

  bool empty() const noexcept { return places_.empty(); }
  size_t size() const noexcept { return places_.size(); }
  uint64_t grown_count() const noexcept { return grown_count_; }
  /// The earliest deadline, or time_never.
  Time next() const noexcept { return places_.empty() ? time_never : places_.front().deadline; }

  void arm(Timer& timer, Time deadline);
  /// Disarms an armed timer.
  void cancel(Timer& timer) noexcept;
  /// Fires, in order, what is due at `now`; what they arm for `now` fires too.
  void fire_due(Time now, Loop& loop) noexcept;
  /// Disarms everything without firing: only for a loop that is being killed.
  void abandon() noexcept;

 private:
  struct Place {
    Time deadline;
    Timer* timer;
  };

  static bool before(const Place& left, const Place& right) noexcept {
    if (left.deadline != right.deadline) return left.deadline < right.deadline;
    return left.timer->sequence_ < right.timer->sequence_;
  }
  void put(uint32_t index, Place place) noexcept {
    places_[index] = place;
    place.timer->index_ = index;
  }
  void sift_up(uint32_t index, Place place) noexcept;
  void sift_down(uint32_t index, Place place) noexcept;

  std::vector<Place> places_;
  uint64_t sequence_next_ = 0;
  uint64_t grown_count_ = 0;
};

}  // namespace spindle
