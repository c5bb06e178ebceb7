#include "runtime/timer_heap.h"

#include "runtime/assert.h"

namespace spindle {

namespace {
constexpr uint32_t arity = 4;
}

Timer::~Timer() { SPINDLE_ASSERT(!is_armed(), "a timer was destroyed while it was armed"); }

TimerHeap::~TimerHeap() { SPINDLE_ASSERT(places_.empty(), "a timer heap was destroyed with armed timers"); }

void TimerHeap::arm(Timer& timer, Time deadline) {
  SPINDLE_ASSERT(!timer.is_armed(), "a timer was armed twice");
  SPINDLE_ASSERT(places_.size() < Timer::index_none, "more timers than 32 bits can count");
  timer.sequence_ = sequence_next_++;
  if (places_.size() == places_.capacity()) ++grown_count_;
  const uint32_t index = static_cast<uint32_t>(places_.size());
  places_.push_back({deadline, &timer});
  sift_up(index, {deadline, &timer});
}

void TimerHeap::cancel(Timer& timer) noexcept {
  SPINDLE_ASSERT(timer.is_armed(), "cancel of a timer that is not armed");
  const uint32_t index = timer.index_;
  SPINDLE_ASSERT(index < places_.size() && places_[index].timer == &timer, "a timer of another heap");
  timer.index_ = Timer::index_none;
  const Place last = places_.back();
  places_.pop_back();
  if (index == places_.size()) return;
  // The last place fills the gap; it may belong above or below it.
  if (index > 0 && before(last, places_[(index - 1) / arity])) {
    sift_up(index, last);
  } else {
    sift_down(index, last);
  }
}

void TimerHeap::fire_due(Time now, Loop& loop) noexcept {
  while (!places_.empty() && places_.front().deadline <= now) {
    Timer& timer = *places_.front().timer;
    cancel(timer);
    timer.fire_(timer, loop);
  }
}

void TimerHeap::abandon() noexcept {
  for (const Place& place : places_) place.timer->index_ = Timer::index_none;
  places_.clear();
}

void TimerHeap::sift_up(uint32_t index, Place place) noexcept {
  while (index > 0) {
    const uint32_t parent = (index - 1) / arity;
    if (!before(place, places_[parent])) break;
    put(index, places_[parent]);
    index = parent;
  }
  put(index, place);
}

void TimerHeap::sift_down(uint32_t index, Place place) noexcept {
  const uint32_t count = static_cast<uint32_t>(places_.size());
  for (;;) {
    const uint64_t first = uint64_t{index} * arity + 1;
    if (first >= count) break;
    uint32_t least = static_cast<uint32_t>(first);
    const uint32_t end = first + arity < count ? least + arity : count;
    for (uint32_t child = least + 1; child < end; ++child) {
      if (before(places_[child], places_[least])) least = child;
    }
    if (!before(places_[least], place)) break;
    put(index, places_[least]);
    index = least;
  }
  put(index, place);
}

}  // namespace spindle
