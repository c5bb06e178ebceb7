#include "io/timed_transfer.h"

#include "runtime/loop.h"

namespace spindle {

bool TimedTransfer::begin(Loop& loop) noexcept {
  if (deadline_ <= loop.now()) {
    fail_with(Error{ErrorCode::timed_out, 0, describe(), 0});
    return true;
  }
  if (begin_transfer()) return true;
  if (deadline_ == time_never) return false;
  loop.timers().arm(timer_, deadline_);
  return false;
}

void TimedTransfer::expired(Timer& timer, Loop&) noexcept {
  TimedTransfer& transfer = static_cast<DeadlineTimer&>(timer).transfer_;
  transfer.is_expired_ = true;
  transfer.request_cancel();
}

void TimedTransfer::disarm() noexcept {
  if (timer_.is_armed()) awaiting()->context->loop().timers().cancel(timer_);
}

// Cancelled by the deadline and by nobody else: timed out.
const Error* TimedTransfer::failure() noexcept {
  disarm();
  if (!failed_) return nullptr;
  const bool by_deadline = is_expired_ && error_.code == ErrorCode::cancelled;
  if (by_deadline && !awaiting()->context->is_cancelled()) error_.code = ErrorCode::timed_out;
  return &error_;
}

}  // namespace spindle
