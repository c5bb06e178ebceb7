// The simulated backend: operations on the plain files of a simulated host, in virtual time.
//
// Life of an operation: submitted → (more than queue_depth in flight: queued, FIFO) → in flight, with a latency drawn
// by seed → its time comes: it takes effect, or a fault does, and is delivered. So operations complete in any order,
// and a write is seen by nobody before it completes. Two writes to one place at one time are a bug of the program: it
// is reported, and the process ends.
//
// Invariants
// 1. Nothing is delivered from within submit() or cancel(): every result is an event of the world.
// 2. Every choice is drawn from random_, which is set anew for each operation and moment (DrawKeys): it depends on the
//    seed, the operation's trace and its number there; nothing depends on what else goes on, or on addresses.
// 3. After forget_all() no operation is known any more, and none is taken.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "io/backend.h"
#include "io/sim/disk_faults.h"
#include "io/sim/draw_keys.h"
#include "io/sim/event_hash.h"
#include "io/sim/fault_injector.h"
#include "io/sim/sim_files.h"
#include "io/sim/transfer_parts.h"
#include "runtime/random.h"

namespace spindle {

/// What a simulated host's kernel and disk are like.
struct SimBackendOptions {
  uint32_t queue_depth = 32;  ///< operations in flight; more wait
  uint64_t latency_ns_min = 1'000;
  uint64_t latency_ns_max = 1'000'000;
  bool offers_direct = true;        ///< false: open with O_DIRECT fails with EINVAL
  bool tells_alignment = true;      ///< false: statx does not, as before Linux 6.1
  uint32_t memory_alignment = 512;  ///< what statx says, and direct transfers must keep
  uint32_t offset_alignment = 512;
  uint32_t read_offset_alignment = 0;          ///< of reads, where it is finer (Linux 6.14); 0: the same
  uint32_t sector_size = 4096;                 ///< what fails, tears and rots as one: 512 to 4096, a power of two
  uint64_t file_size_max = uint64_t{1} << 30;  ///< growing past it fails with EFBIG
  uint64_t capacity = UINT64_MAX;              ///< bytes, in pages of 4 KiB; more fails with ENOSPC
  FaultPlan faults;
};

class SimBackend final : public Backend {
 public:
  /// `files`, `clock` (the world's time), `hash` and `keys` outlive the backend.
  SimBackend(SimFiles& files, const Time& clock, EventHash& hash, const SimBackendOptions& options, DrawKeys& keys);
  ~SimBackend();

  void cancel(Operation& operation) noexcept override;
  void cancel_all(Descriptor& descriptor) noexcept override;
  void abandon(Operation& operation) noexcept override;
  /// There is no table to register in: these do nothing.
  Result<void> register_arena(std::span<std::byte>) noexcept override { return {}; }
  void unregister_arena(std::span<std::byte>) noexcept override {}
  AlignmentSource alignment_source() const noexcept override {
    return options_.tells_alignment ? AlignmentSource::status : AlignmentSource::status_or_reads;
  }

  Time now() noexcept override { return clock_; }
  void poll() noexcept override {}
  /// The world drives the turns; nobody waits here.
  void wait(Time until) noexcept override;
  void wake() noexcept override {}

  // For the world.
  /// When the next operation completes, or time_never.
  Time next_due() const noexcept { return next_due_; }
  /// Completes the operation that is due first.
  void complete_next() noexcept;
  /// In a dying loop: by seed each operation in flight has taken effect, wholly, in some of its sectors, or not.
  /// Then all are forgotten, and all files closed.
  void forget_all() noexcept;
  /// visit(file, offset, content) for each contiguous part of a write that is in flight.
  template <class Visit>
  void for_each_write_in_flight(Visit visit) const;
  /// After the frames are gone: forgets the files that were dropped.
  void forget_dropped_files() noexcept { forget_dropped(); }

  uint32_t in_flight_count() const noexcept { return in_flight_count_; }
  size_t pending_count() const noexcept { return pending_.size(); }
  uint64_t delivered_count() const noexcept { return delivered_count_; }
  uint32_t open_count() const noexcept { return open_count_; }

 private:
  /// What a cancel made of an operation.
  enum class Fate : uint8_t { normal, cancelled, cancelled_in_part };
  /// Of an operation's life, each with chances of its own.
  enum class Moment : uint8_t { start, end, cancel, death };
  struct Pending {
    Operation* operation;
    Time due;
    uint64_t sequence;
    Fate fate;
    bool is_in_flight;   ///< takes a place of the queue depth; false: cancelled before it got one
    SimFile* file;       ///< of a write or sync; null: of no interest to others
    uint64_t covers;     ///< sync: the changes up to this one
    FaultId id;
  };
  /// A sync that waits for a place: it covers what was there when it was submitted.
  struct QueuedSync {
    Operation* operation;
    SimFile* file;
    uint64_t covers;
  };
  struct OpenFile {
    std::shared_ptr<SimFile> file;  // lives on after its last name is gone
    std::string path;               // as it was opened
    int32_t flags = 0;
    int32_t lock = 0;  // LOCK_SH, LOCK_EX, or LOCK_UN
  };

  void submit_to_backend(Operation& operation) noexcept override;
  void add_pending(Operation& operation, Time due, Fate fate, bool is_in_flight) noexcept;
  void start(Operation& operation) noexcept;
  void draw_for(FaultId id, Moment moment) noexcept;
  void prefetch_for(const Operation& operation) noexcept;
  QueuedSync begin_sync(Operation& operation, SimFile& file) noexcept;
  QueuedSync take_queued_sync(Operation& operation) noexcept;
  void remove_pending(uint32_t slot) noexcept;
  void find_next() noexcept;

  int32_t result_of(const Pending& pending) noexcept;
  int32_t execute(Operation& operation) noexcept;
  int32_t finish_sync(const Pending& pending, bool is_done) noexcept;
  int32_t fail_sync(const Pending& pending) noexcept;
  int32_t transfer(Operation& operation, uint64_t size_max) noexcept;
  int32_t transfer_with(Fault fault, Operation& operation) noexcept;
  int32_t read(Operation& operation, SimFile& file, uint64_t size_max) noexcept;
  int32_t read_with(Fault fault, Operation& operation, const FaultTarget& target) noexcept;
  int32_t write(Operation& operation, OpenFile& open_file, uint64_t size_max) noexcept;
  int32_t write_with(Fault fault, Operation& operation, const FaultTarget& target) noexcept;
  int32_t write_misplaced(Fault fault, Operation& operation, const FaultTarget& target) noexcept;
  int32_t open(Operation& operation) noexcept;
  int32_t stat(Operation& operation) noexcept;
  int32_t allocate(Operation& operation) noexcept;
  int32_t close(Operation& operation) noexcept;
  void close_file(OpenFile& open_file) noexcept;
  void cut(SimFile& file, uint64_t size) noexcept;
  int32_t execute_rare(Operation& operation) noexcept;
  int32_t truncate(Operation& operation) noexcept;
  int32_t punch_hole(Operation& operation) noexcept;
  int32_t stat_path(Operation& operation) noexcept;
  int32_t lock(Operation& operation) noexcept;
  int32_t set_direct(Operation& operation) noexcept;
  int32_t device_size(Operation& operation) noexcept;
  void fill_status(struct statx& status, const SimFile& file) const noexcept;
  void write_some_sectors(Operation& operation) noexcept;
  FaultGroup group_of(const Operation& operation) const noexcept;
  FaultTarget target_of(Operation& operation) noexcept;
  void check_alone(Operation& operation) noexcept;
  void stall(uint64_t stall_ns) noexcept;
  OpenFile* open_file_of(Operation& operation) noexcept;
  OpenFile* writable_file_of(Operation& operation) noexcept;
  bool breaks_alignment(const Operation& operation) const noexcept;
  uint64_t part_of(uint64_t size) noexcept;

  SimFiles& files_;
  const Time& clock_;
  EventHash& hash_;
  SimBackendOptions options_;
  DrawKeys& keys_;
  Random random_{0};
  FaultInjector faults_;  // draws from random_
  Time stalled_until_{};
  std::vector<OpenFile> open_files_;  // by descriptor, from descriptor_first
  uint32_t open_count_ = 0;
  OperationList queued_;
  std::vector<QueuedSync> queued_syncs_;
  std::vector<Pending> pending_;  // Operation::slot is the index
  Time next_due_ = time_never;
  uint32_t next_slot_ = 0;  // of next_due_
  uint32_t prefetched_slot_ = 0;  // whose page was asked for last
  uint32_t in_flight_count_ = 0;
  uint64_t sequence_next_ = 0;
  uint64_t delivered_count_ = 0;
};

template <class Visit>
void SimBackend::for_each_write_in_flight(Visit visit) const {
  for (const Pending& pending : pending_) {
    if (pending.file == nullptr || pending.fate == Fate::cancelled || !is_write(*pending.operation)) continue;
    for_each_part(*pending.operation, UINT64_MAX, [&](std::byte* memory, uint64_t size, uint64_t offset) {
      visit(*pending.file, offset, std::span<const std::byte>(memory, size));
    });
  }
}

}  // namespace spindle
