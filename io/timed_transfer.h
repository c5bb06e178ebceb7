// A transfer with a deadline. The plain transfers of File are leaner, and made far more often.
#pragma once

#include "io/backend.h"
#include "runtime/timer_heap.h"

namespace spindle {

/// A read or write of everything asked for. Result<void>: `timed_out` when the deadline passed first;
/// Error::transferred tells how far a failed one came. A deadline that has passed already submits nothing; one that
/// passes later asks for an early end, wherever the request is, and the request's own completion decides.
class [[nodiscard]] TimedTransfer final : public LeafAwait<TimedTransfer, Operation> {
 public:
  TimedTransfer(Time deadline, Descriptor& file, Opcode opcode, std::span<std::byte> memory, uint64_t offset,
                WriteOptions options) noexcept
      : LeafAwait(*file.backend, opcode, &file), deadline_(deadline), timer_(expired, *this) {
    set_transfer(memory.data(), memory.size(), offset, Mode::exact);
    set_options(options);
  }
  ~TimedTransfer() { abandon_if_dying(); }

  bool begin(Loop& loop) noexcept;
  const Error* failure() noexcept;
  Result<void> take() noexcept {
    const Error* failed = failure();
    if (failed != nullptr) return Unexpected(*failed);
    return {};
  }

 private:
  class DeadlineTimer : public Timer {
   public:
    DeadlineTimer(Fire fire, TimedTransfer& transfer) noexcept : Timer(fire), transfer_(transfer) {}
    TimedTransfer& transfer_;
  };

  static void expired(Timer& timer, Loop&) noexcept;
  void disarm() noexcept;

  Time deadline_;
  bool is_expired_ = false;
  DeadlineTimer timer_;
};

}  // namespace spindle
