// Waiting for time to pass, and giving way to others.
#pragma once

#include "runtime/leaf.h"

namespace spindle {

/// `co_await sleep_until(t)`, `co_await sleep_for(d)`: Result<void>, cancellable. A time that has passed completes
/// at once, without suspending.
class [[nodiscard]] Sleep final : public LeafAwait<Sleep> {
 public:
  explicit Sleep(Time until) noexcept : until_(until), timer_(fired, *this) {}
  explicit Sleep(Duration duration) noexcept : for_(duration), is_relative_(true), timer_(fired, *this) {}
  ~Sleep() { abandon_if_dying(); }

  bool begin(Loop& loop) {
    if (is_relative_) until_ = time_after(loop.now(), for_);
    if (until_ <= loop.now()) return true;
    loop.timers().arm(timer_, until_);
    return false;
  }
  bool is_cancellable() const noexcept { return true; }
  void refuse(Error error) noexcept { error_ = error, failed_ = true; }
  const Error* failure() const noexcept { return failed_ ? &error_ : nullptr; }
  Result<void> take() const noexcept {
    if (failed_) return Unexpected(error_);
    return {};
  }
  const char* describe() const noexcept override { return "sleep"; }

 private:
  class SleepTimer : public Timer {
   public:
    SleepTimer(Fire fire, Sleep& sleep) noexcept : Timer(fire), sleep_(sleep) {}
    Sleep& sleep_;
  };
  static void fired(Timer& timer, Loop&) noexcept { static_cast<SleepTimer&>(timer).sleep_.complete(); }
  void on_cancel() noexcept override {
    awaiting()->context->loop().timers().cancel(timer_);
    refuse(Error{ErrorCode::cancelled, 0, describe(), 0});
    complete();
  }
  void on_abandon() noexcept override {}

  Time until_{};
  Duration for_{};
  bool is_relative_ = false;
  bool failed_ = false;
  Error error_;
  SleepTimer timer_;
};

inline Sleep sleep_for(Duration duration) noexcept { return Sleep(duration); }
inline Sleep sleep_until(Time until) noexcept { return Sleep(until); }

/// `co_await yield()`: goes to the end of the ready queue, so that a long computation leaves room for others and
/// for the reactor. Result<void>: Cancelled when the context is.
class [[nodiscard]] Yield final : public LeafAwait<Yield> {
 public:
  Yield() noexcept = default;
  ~Yield() { abandon_if_dying(); }

  bool begin(Loop&) noexcept {
    complete();
    return false;
  }
  bool is_cancellable() const noexcept { return true; }
  void refuse(Error error) noexcept { error_ = error, failed_ = true; }
  const Error* failure() const noexcept { return failed_ ? &error_ : nullptr; }
  Result<void> take() const noexcept {
    if (failed_) return Unexpected(error_);
    return {};
  }
  const char* describe() const noexcept override { return "yield"; }

 private:
  void on_cancel() noexcept override {}
  void on_abandon() noexcept override {}

  bool failed_ = false;
  Error error_;
};

inline Yield yield() noexcept { return Yield(); }

}  // namespace spindle
