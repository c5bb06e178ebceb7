// The simulated backend: operations on the plain files of a simulated host, in virtual time.
//
// Life of an operation: submitted → (more than queue_depth in flight: queued, FIFO) → in flight, with a latency drawn
// by seed → its time comes: it takes effect and is delivered. So operations complete in any order, and a write is
// seen by nobody before it completes.
//
// Invariants
// 1. Nothing is delivered from within submit() or cancel(): every result is an event of the world.
// 2. Every choice is drawn from random_, in the order of events; nothing depends on addresses.
// 3. After forget_all() no operation is known any more, and none is taken.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "io/backend.h"
#include "io/sim/event_hash.h"
#include "io/sim/sim_files.h"
#include "runtime/random.h"

namespace spindle {

/// What a simulated host's kernel and disk are like. Rates are numerators of 1/1000 per operation.
struct SimBackendOptions {
  uint32_t queue_depth = 32;  ///< operations in flight; more wait
  uint64_t latency_ns_min = 1'000;
  uint64_t latency_ns_max = 1'000'000;
  bool offers_direct = true;        ///< false: open with O_DIRECT fails with EINVAL
  bool tells_alignment = true;      ///< false: statx does not, as before Linux 6.1
  uint32_t memory_alignment = 512;  ///< what statx says, and direct transfers must keep
  uint32_t offset_alignment = 512;
  uint32_t read_offset_alignment = 0;  ///< of reads, where it is finer (Linux 6.14); 0: the same
  uint32_t short_rate = 0;                     ///< a transfer of several sectors ends early
  uint32_t again_rate = 0;                     ///< EAGAIN
  uint32_t interrupted_rate = 0;               ///< EINTR
  uint64_t file_size_max = uint64_t{1} << 30;  ///< growing past it fails with EFBIG
};

class SimBackend final : public Backend {
 public:
  static constexpr uint32_t sector_size = 512;

  /// `files`, `clock` (the world's time) and `hash` outlive the backend.
  SimBackend(SimFiles& files, const Time& clock, EventHash& hash, SimBackendOptions options, uint64_t seed);
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
  /// Then all are forgotten.
  void forget_all() noexcept;
  /// After the frames are gone: forgets the files that were dropped.
  void forget_dropped_files() noexcept { forget_dropped(); }

  uint32_t in_flight_count() const noexcept { return in_flight_count_; }
  size_t pending_count() const noexcept { return pending_.size(); }
  uint64_t delivered_count() const noexcept { return delivered_count_; }
  uint32_t open_count() const noexcept { return open_count_; }

 private:
  /// What a cancel made of an operation.
  enum class Fate : uint8_t { normal, cancelled, cancelled_in_part };
  struct Pending {
    Operation* operation;
    Time due;
    uint64_t sequence;
    Fate fate;
    bool is_in_flight;  ///< takes a place of the queue depth; false: cancelled before it got one
  };
  struct OpenFile {
    std::shared_ptr<SimFile> file;  // lives on after its last name is gone
    int32_t flags = 0;
    int32_t lock = 0;  // LOCK_SH, LOCK_EX, or LOCK_UN
  };

  void submit_to_backend(Operation& operation) noexcept override;
  void add_pending(Operation& operation, Time due, Fate fate, bool is_in_flight) noexcept;
  void start(Operation& operation) noexcept;
  void remove_pending(uint32_t slot) noexcept;
  void find_next() noexcept;

  int32_t result_of(Operation& operation, Fate fate) noexcept;
  int32_t execute(Operation& operation) noexcept;
  int32_t transfer(Operation& operation, uint64_t size_max) noexcept;
  int32_t read(Operation& operation, SimFile& file, uint64_t size_max) noexcept;
  int32_t write(Operation& operation, SimFile& file, uint64_t size_max) noexcept;
  int32_t open(Operation& operation) noexcept;
  int32_t stat(Operation& operation) noexcept;
  int32_t allocate(Operation& operation) noexcept;
  int32_t close(Operation& operation) noexcept;
  int32_t execute_rare(Operation& operation) noexcept;
  int32_t truncate(Operation& operation) noexcept;
  int32_t punch_hole(Operation& operation) noexcept;
  int32_t stat_path(Operation& operation) noexcept;
  int32_t lock(Operation& operation) noexcept;
  int32_t set_direct(Operation& operation) noexcept;
  void fill_status(struct statx& status, const SimFile& file) const noexcept;
  void write_some_sectors(Operation& operation) noexcept;
  OpenFile* open_file_of(Operation& operation) noexcept;
  OpenFile* writable_file_of(Operation& operation) noexcept;
  bool breaks_alignment(const Operation& operation) const noexcept;
  uint64_t part_of(uint64_t size) noexcept;

  SimFiles& files_;
  const Time& clock_;
  EventHash& hash_;
  SimBackendOptions options_;
  Random random_;
  std::vector<OpenFile> open_files_;  // by descriptor, from descriptor_first
  uint32_t open_count_ = 0;
  OperationList queued_;
  std::vector<Pending> pending_;  // Operation::slot is the index
  Time next_due_ = time_never;
  uint32_t next_slot_ = 0;  // of next_due_
  uint32_t in_flight_count_ = 0;
  uint64_t sequence_next_ = 0;
  uint64_t delivered_count_ = 0;
};

}  // namespace spindle
