// What a thread of an extended job (is_extended) does next: directions in a mix, fsyncs, pace, and verification.
// Shared by the engines of this program, so that they do the same.
//
// With --verify a job has up to three phases, of which only the second is measured:
//
//     fill (mixed jobs): write every block once ─► measure ─► check (jobs that write): read back every block written
//
// Invariants with --verify:
//  1. A block has at most one operation in flight; so what it must hold afterwards is known.
//  2. Every write has a generation of its own block, counted from 1, which reads of this run expect.
//
// Pace: operation k of a direction is due at start + k / rate; who is late catches up. Latency counts from the
// submission, as with fio, not from when it was due.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "benchmarks/job.h"

namespace spindle::bench {

enum class Phase : uint8_t { fill, measure, check };

struct Step {
  uint64_t offset = 0;
  uint64_t due_ns = 0;  ///< not to be submitted before; 0: at once
  bool is_write = false;
};

class Workload {
 public:
  explicit Workload(const Job& job);

  /// The phases of the job, in order.
  std::vector<Phase> phases() const;
  void begin(Phase phase, uint64_t now_ns);
  Phase phase() const noexcept { return phase_; }

  /// False: the phase has no more; Phase::measure never ends by itself. Each step must be ended by completed() or
  /// abandoned().
  bool next(Step& step);
  /// Right before the submission of a write: what it writes.
  void fill(const Step& step, std::span<std::byte> block) noexcept;
  /// A failure: the block read is not the one that was written.
  Failure completed(const Step& step, std::span<const std::byte> block);
  /// The operation was not done, or failed.
  void abandoned(const Step& step) noexcept;
  /// After a completed write: true if an fsync is to follow.
  bool wants_sync() noexcept;

  uint64_t verified_count() const noexcept { return verified_count_; }

 private:
  static constexpr uint32_t busy_bit = 1u << 31;  // the rest is the generation

  uint32_t& state_of(uint64_t offset) noexcept { return states_[(offset - job_.begin_offset) / job_.block_size]; }
  bool next_in_order(Step& step) noexcept;
  uint64_t draw(bool is_write) noexcept;

  const Job& job_;
  OffsetSequence offsets_[2];  // of reads, of writes: each direction of a sequential mix goes its own way
  Random directions_;
  Phase phase_ = Phase::measure;
  uint64_t begin_ns_ = 0;
  uint64_t paced_count_[2] = {};   // operations begun, per direction
  uint64_t index_next_ = 0;        // of the phases that go through all blocks
  uint32_t writes_since_sync_ = 0;
  uint64_t verified_count_ = 0;
  std::vector<uint32_t> states_;  // per block, with --verify
};

}  // namespace spindle::bench
