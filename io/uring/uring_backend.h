// The backend on the kernel's ring.
//
// One ring per loop, made on the loop's thread. Operations get a slot; a completion carries slot and generation, and
// so does a cancel, so neither can hit an operation that came later (never a bare pointer).
//
//     submit ─► free slot and staging room? ──yes──► staged ──enter──► in the kernel ──► completion ─► deliver
//                     │ no                                                                    │
//                     └──► waiting_ (FIFO) ◄── admitted when slots and room come back ◄───────┘
//
// Invariants
// 1. At most N operations, N − 1 cancels and the wake read are in the kernel, N being the ring's entries: the
//    completion queue holds 2N, so it can't overflow (admission).
// 2. Submissions are gathered and entered once per turn, together with the wait.
// 3. More than one completion is waited for only while many file operations are in flight, and only for
//    batch_timeout. Idle waits do not count.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "io/backend.h"
#include "io/uring/blocking_pool.h"
#include "io/uring/capabilities.h"
#include "io/uring/entry.h"
#include "io/uring/idle_spin.h"
#include "io/uring/ring.h"

namespace spindle {

struct UringOptions {
  RingOptions ring;
  uint32_t files_max = 256;      ///< places in the ring's file table
  uint32_t arenas_max = 16;      ///< registered memory ranges (each ≤ 1 GiB)
  bool registered_files = true;  ///< used where the kernel has them, unless forced off
  bool registered_buffers = true;
  uint32_t batch_count_max = 32;  ///< most completions to wait for at once; 1: never wait for a second
  uint32_t batch_depth_min = 8;   ///< file operations in flight before more than one is waited for
  /// The longest that a second completion is waited for. Not shorter than a kernel tick: measured, a nearer deadline
  /// costs more than batching brings (docs/ARCHITECTURE.md, "Batching").
  Duration batch_timeout = std::chrono::milliseconds(8);
  IdleSpinOptions spin;               ///< looking for a completion before sleeping, where that is measured to pay
  uint32_t blocking_threads_max = 2;    ///< for what the ring has no operation for; started when first needed
  bool rare_ring_operations = true;     ///< off: those of opcode_rare_first and above go to threads, for tests
  bool statx_alignment = true;          ///< off: that of direct I/O is found by reading, as before Linux 6.1
  BlockingCalls* blocking = nullptr;    ///< borrowed; null: the system's
};

class UringBackend final : public Backend {
 public:
  /// Sets the ring up and tries it out. Errors: the errno of io_uring_setup(2); explain_setup_failure() has the
  /// remedy. On the thread that will run the loop.
  static Result<std::unique_ptr<UringBackend>> create(UringOptions options);
  /// The operations must have ended; the loop must be gone.
  ~UringBackend() override;

  /// What is in use, what is not, why, and what would help.
  const Capabilities& capabilities() const noexcept { return capabilities_; }

  struct Counters {
    uint64_t enters = 0;
    uint64_t completions = 0;
    uint64_t batched_waits = 0;   ///< enters that waited for more than one completion
    uint64_t queued = 0;          ///< operations that had to wait for a slot or staging room
    uint64_t cancels = 0;         ///< cancel requests handed to the kernel
    uint64_t refused_enters = 0;  ///< EAGAIN, EBUSY
  };
  const Counters& counters() const noexcept { return counters_; }
  const IdleSpin& spin() const noexcept { return spin_; }
  uint32_t in_flight_count() const noexcept { return in_flight_count_; }

  Time now() noexcept override;
  void poll() noexcept override;
  void wait(Time until) noexcept override;
  void wake() noexcept override;

  void cancel(Operation& operation) noexcept override;
  void cancel_all(Descriptor& descriptor) noexcept override;
  void abandon(Operation& operation) noexcept override;
  void register_descriptor(Descriptor& descriptor) noexcept override;
  void unregister_descriptor(Descriptor& descriptor) noexcept override;
  /// A refusal is in capabilities() too, with the size that would have to be lockable.
  Result<void> register_arena(std::span<std::byte> arena) noexcept override;
  void unregister_arena(std::span<std::byte> arena) noexcept override;
  AlignmentSource alignment_source() const noexcept override { return alignment_source_; }
  void attach(Loop* loop) noexcept override;
  const BlockingPool& blocking_pool() const noexcept { return blocking_pool_; }

 protected:
  void submit_to_backend(Operation& operation) noexcept override;
  void submit_rare_to_backend(Operation& operation) noexcept override;

 private:
  struct Slot {
    uint64_t tag = 0;                ///< the user data of its operation: generation and index
    Operation* operation = nullptr;  ///< null: free
    uint32_t next_free = 0;
    uint32_t is_disk = 0;  ///< 1: counts for batching
  };
  struct Arena {
    uintptr_t begin = 0;
    uintptr_t end = 0;  ///< 0: the place is free
  };

  explicit UringBackend(const UringOptions& options);
  Result<void> open();
  void try_registrations();
  bool arm_wake() noexcept;
  void start(Operation& operation, io_uring_sqe& entry) noexcept;
  void fill_transfer(io_uring_sqe& entry, Operation& operation) noexcept;
  int32_t arena_index(const Operation& operation) const noexcept;
  void admit() noexcept;
  void stage_cancels() noexcept;
  uint32_t wait_count() const noexcept;
  void wait_timed(Time until, uint32_t count) noexcept;
  void wait_watching(Time until, IdleSpin::Way way) noexcept;
  bool look(Time begin, Time until) noexcept;
  bool look_until(Time end) noexcept;
  void enter_untimed(uint32_t count) noexcept;
  void after_enter(int number) noexcept;
  void note_refused(int number) noexcept;
  void reap() noexcept;
  void handle(const io_uring_cqe& completion) noexcept;
  void handle_special(uint64_t tag) noexcept;

  UringOptions options_;
  IdleSpin spin_;
  Ring ring_;
  Capabilities capabilities_;
  Counters counters_;
  std::vector<Slot> slots_;
  uint32_t slot_mask_ = 0;
  uint32_t free_slot_ = 0;
  uint32_t in_flight_count_ = 0;
  bool batch_was_vain_ = false;         ///< the last batched wait ended by its timeout, with nothing
  uint32_t disk_operations_count_ = 0;  ///< in flight: what batching counts
  uint32_t cancels_in_flight_ = 0;
  OperationList waiting_;  ///< FIFO, for a slot
  OperationList cancels_;  ///< in flight, to be cancelled at the next enter
  std::vector<bool> file_places_;
  std::vector<Arena> arenas_;
  uint32_t arenas_end_ = 0;  ///< those before it may be in use

  int wake_descriptor_ = -1;
  uint64_t wake_value_ = 0;  ///< the kernel writes here while the wake read is armed
  bool wake_is_armed_ = false;
  std::atomic<bool> is_woken_{false};  ///< the eventfd was written and not read yet: one write is enough

  AlignmentSource alignment_source_ = AlignmentSource::status;
  RingOperations ring_operations_;
  BlockingCalls& calls_;
  BlockingPool blocking_pool_;  // last: its threads wake this
};

}  // namespace spindle
