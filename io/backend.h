// Backend: the seam below File. Two implementations, io/uring (the kernel) and io/sim (the simulated world);
// everything above is written once and can't tell them apart. It is also the loop's Reactor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "io/descriptor.h"
#include "io/ledger.h"
#include "io/operation.h"
#include "runtime/reactor.h"
#include "runtime/result.h"

namespace spindle {

/// Where the alignment for direct I/O comes from.
enum class AlignmentSource : uint8_t {
  status,           ///< statx; where it does not set STATX_DIOALIGN there is no direct I/O (Linux 6.1)
  status_or_reads,  ///< statx, where it does; else it means nothing, and the alignment is found by reading
  reads,            ///< reading
};

class Backend : public Reactor {
 public:
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend();

  /// The backend of the current loop. A loop without one is a caught bug.
  static Backend& current() noexcept;

  /// Takes the operation until deliver(). Never fails: what can't go now waits, FIFO. Does not suspend.
  void submit(Operation& operation) noexcept {
    Descriptor* const descriptor = operation.descriptor();
    if (descriptor != nullptr) ++descriptor->live_count;
    if constexpr (Ledger::enabled) ledger_.note_submit(operation);
    if (descriptor != nullptr && descriptor->queue != nullptr) [[unlikely]]
      return submit_to_queue(operation);
    submit_to_backend(operation);
  }
  /// The same for an opcode from opcode_rare_first on: a way of its own, so that the others need not ask.
  void submit_rare(Operation& operation) noexcept;
  /// Asks for an early end of a submitted operation. Its own completion decides.
  virtual void cancel(Operation& operation) noexcept = 0;
  /// The same, of an operation that a device queue holds.
  void cancel_held(Operation& operation) noexcept;
  /// Asks the same of every operation on the descriptor that the backend has.
  virtual void cancel_all(Descriptor& descriptor) noexcept = 0;
  /// And of those that its device queue holds.
  void cancel_all_of(Descriptor& descriptor) noexcept;
  /// The operation's frame is going away in a dying loop: forget it.
  virtual void abandon(Operation& operation) noexcept = 0;

  /// Puts an open descriptor into the ring's file table, if there is one.
  virtual void register_descriptor(Descriptor& descriptor) noexcept { static_cast<void>(descriptor); }
  virtual void unregister_descriptor(Descriptor& descriptor) noexcept { static_cast<void>(descriptor); }
  /// Registers memory that operations will use again and again. Failing is no harm: they go unregistered.
  virtual Result<void> register_arena(std::span<std::byte> arena) noexcept = 0;
  virtual void unregister_arena(std::span<std::byte> arena) noexcept = 0;

  /// A File was dropped: cancels what is in flight on it, then closes it. Joined by Loop::run_until_idle().
  void drop(std::unique_ptr<Descriptor> descriptor) noexcept;
  /// The close() of a file that was dropped meanwhile has ended: frees the record.
  void free_dropped(Descriptor& descriptor) noexcept;
  bool has_detached_work() const noexcept override { return dropped_count_ > 0; }
  uint64_t dropped_count() const noexcept { return dropped_count_; }

  // For operations.
  /// The operation has its final result and belongs to the task again.
  void note_final(Operation& operation) noexcept {
    if constexpr (Ledger::enabled) ledger_.note_final(operation);
    Descriptor* descriptor = operation.descriptor();
    if (descriptor == nullptr) return;
    if (descriptor->queue != nullptr) [[unlikely]]
      release_to_queue(operation);
    note_unused(*descriptor);
  }
  /// One operation or use of the descriptor less; the last one lets it be closed.
  void note_unused(Descriptor& descriptor) noexcept {
    if (--descriptor.live_count > 0) return;
    if (descriptor.is_closing || descriptor.is_dropped) [[unlikely]]
      note_drained(descriptor);
  }
  /// Another round of an operation that is submitted already: a short count, or an errno to be tried again.
  void resubmit(Operation& operation) noexcept { submit_to_backend(operation); }
  void resubmit_rare(Operation& operation) noexcept { submit_rare_to_backend(operation); }

  virtual AlignmentSource alignment_source() const noexcept { return AlignmentSource::status; }

  void attach(Loop* loop) noexcept override { loop_ = loop; }
  Loop* loop() const noexcept { return loop_; }

 protected:
  Backend() noexcept = default;
  virtual void submit_to_backend(Operation& operation) noexcept = 0;
  virtual void submit_rare_to_backend(Operation& operation) noexcept { submit_to_backend(operation); }
  /// For a host that was killed: the operation ends without anybody being told.
  void note_abandoned(Operation& operation) noexcept;
  /// For a host that was killed: dropped files are forgotten, not closed.
  void forget_dropped() noexcept;

  Ledger ledger_;  // empty, and untouched, where it is not enabled

 private:
  friend class ClosingOperation;
  void note_drained(Descriptor& descriptor) noexcept;
  void submit_to_queue(Operation& operation) noexcept;
  void release_to_queue(Operation& operation) noexcept;
  void close_dropped(Descriptor& descriptor) noexcept;

  Loop* loop_ = nullptr;
  uint64_t dropped_count_ = 0;
  IntrusiveList<Descriptor> dropped_;
};

// The paths that every operation takes, inline.

[[gnu::always_inline]] inline bool Operation::begin_transfer() noexcept {
  const bool is_simple =
      !is_vectored() && !descriptor_->is_impeded() && descriptor_->is_aligned(memory_, size_ | offset_);
  if (!is_simple) [[unlikely]] {
    if (!check_transfer()) return true;
  }
  if (size_ == 0) [[unlikely]]
    return true;
  backend_->submit(*this);
  return false;
}

[[gnu::always_inline]] inline bool Operation::begin_plain() noexcept {
  if (descriptor_ != nullptr && descriptor_->is_impeded()) [[unlikely]] {
    if (!check_descriptor()) return true;
  }
  backend_->submit(*this);
  return false;
}

[[gnu::always_inline]] inline void Operation::deliver_from(Backend& backend, int32_t result) noexcept {
  // The whole of what is left of a transfer, or 0 where nothing is transferred.
  if (static_cast<uint64_t>(static_cast<int64_t>(result)) != left_) [[unlikely]]
    return deliver_other(result);
  left_ = 0;
  resume_directly();
  finish(backend);
}

[[gnu::always_inline]] inline void Operation::finish(Backend& backend) noexcept {
  backend.note_final(*this);
  if (is_detached_) [[unlikely]]
    return detached_done_(*this, result_);
  complete_on(*backend.loop());
}

}  // namespace spindle
