#include "io/file.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>

#include "runtime/combinators.h"
#include "runtime/sleep.h"

namespace spindle {

File& File::operator=(File&& other) noexcept {
  if (this == &other) return *this;
  File former(std::move(descriptor_));
  descriptor_ = std::move(other.descriptor_);
  return *this;
}

File::~File() {
  if (descriptor_ == nullptr) return;
  Backend& backend = *descriptor_->backend;
  backend.drop(std::move(descriptor_));
}

Task<Result<void>> File::close() {
  Descriptor& descriptor = record();
  if (descriptor.fd < 0 || descriptor.is_closing) co_return fail(ErrorCode::closed, "close");
  Section shielded(CancelContext::Kind::shield);
  co_await shielded.enter();
  descriptor.is_closing = true;  // nothing new begins from here on
  if (descriptor.live_count > 0) {
    descriptor.backend->cancel_all_of(descriptor);
    if (descriptor.live_count > 0) {
      const Result<void> drained = co_await descriptor.drained.wait();
      SPINDLE_ASSERT(drained.has_value(), "a shielded wait was cancelled");
    }
  }
  descriptor.backend->unregister_descriptor(descriptor);
  const Result<void> closed = co_await PlainOperation(*descriptor.backend, Opcode::close, &descriptor);
  descriptor.fd = -1;
  shielded.leave();
  if (descriptor.is_dropped) descriptor.backend->free_dropped(descriptor);
  co_return closed;
}

// Locks.

namespace {

constexpr Duration lock_interval_first = std::chrono::milliseconds(1);
constexpr Duration lock_interval_max = std::chrono::milliseconds(50);

// Always a try: a thread that waits in flock(2) could not be called back.
int32_t flags_of(LockMode mode) noexcept { return (mode == LockMode::exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB; }

}  // namespace

PlainOperation File::try_lock(LockMode mode) noexcept { return PlainOperation(record(), Opcode::lock, flags_of(mode)); }

PlainOperation File::unlock() noexcept { return PlainOperation(record(), Opcode::lock, LOCK_UN); }

Task<Result<void>> File::lock(LockMode mode, LockOptions options) {
  Descriptor& descriptor = record();
  const DescriptorUse use(descriptor);  // the File may be dropped while this sleeps
  Loop& loop = Loop::current();
  const Time until = time_after(loop.now(), options.wait_max);
  Duration interval = lock_interval_first;
  for (;;) {
    if (use.is_ending()) co_return fail(ErrorCode::closed, "lock");
    const Result<void> tried = co_await PlainOperation(descriptor, Opcode::lock, flags_of(mode));
    if (tried.has_value()) co_return tried;
    const Error error = tried.error();
    const bool is_taken = error.code == ErrorCode::system && error.number == EWOULDBLOCK;
    if (!is_taken || loop.now() >= until) co_return tried;
    const Duration rest = std::min(interval, until - loop.now());
    co_await ok(sleep_for(rest));
    interval = std::min(2 * interval, lock_interval_max);
  }
}

}  // namespace spindle
