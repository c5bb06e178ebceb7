// One benchmark job and what running it yields: the language that all engines share.
//
// Invariants, so that engines can be compared:
//  1. Every engine takes the offsets of a job from OffsetSequence (fio, which has its own, draws them the
//     same way: uniform, with repetition).
//  2. Every engine measures with Meter (benchmarks/meter.h): the same window, clocks and histogram.
//  3. Exactly `depth` operations are kept in flight (fewer only while Job::rate_iops holds them back); no engine reads
//     ahead, merges or skips.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "benchmarks/failure.h"
#include "benchmarks/histogram.h"
#include "runtime/random.h"

namespace spindle::bench {

enum class Pattern : uint8_t { read, write, randread, randwrite, rw, randrw };
inline constexpr Pattern patterns[] = {Pattern::read,      Pattern::write, Pattern::randread,
                                       Pattern::randwrite, Pattern::rw,    Pattern::randrw};

constexpr bool is_mixed(Pattern pattern) noexcept { return pattern == Pattern::rw || pattern == Pattern::randrw; }
constexpr bool has_writes(Pattern pattern) noexcept {
  return pattern == Pattern::write || pattern == Pattern::randwrite || is_mixed(pattern);
}
constexpr bool has_reads(Pattern pattern) noexcept {
  return pattern == Pattern::read || pattern == Pattern::randread || is_mixed(pattern);
}
constexpr bool is_random(Pattern pattern) noexcept {
  return pattern == Pattern::randread || pattern == Pattern::randwrite || pattern == Pattern::randrw;
}
/// The name on the command line, fio's: "randread".
std::string_view name_of(Pattern pattern) noexcept;

class JobGroup;

struct Job {
  std::string filename;       ///< what engines open: an existing file or device
  uint64_t begin_offset = 0;  ///< operations lie in [begin_offset, begin_offset + size_bytes) of it
  uint64_t size_bytes = 0;
  Pattern rw = Pattern::randread;
  uint32_t read_percent = 50;  ///< of a mixed pattern
  uint32_t block_size = 4096;
  uint32_t depth = 1;        ///< operations in flight, per thread
  uint32_t jobs_count = 1;   ///< threads, each with its own ring
  uint32_t fsync_every = 0;  ///< an fsync after so many writes; 0: none
  bool durable = false;      ///< each write is on the device when it completes (RWF_DSYNC)
  bool verify = false;       ///< see benchmarks/workload.h
  uint64_t rate_iops = 0;    ///< at most so many reads, and so many writes, a second and thread; 0: as many as go
  double runtime_s = 2;      ///< measured time, after the ramp
  double ramp_s = 0.2;       ///< time that runs first and is not measured
  bool direct = true;        ///< O_DIRECT
  uint64_t random_seed = 1;
  bool nop = false;             ///< ring NOPs in place of I/O; no file is opened
  bool registered = true;       ///< fixed buffers and file, where the machine allows it
  uint64_t operations_max = 0;  ///< ends the measured part early; 0 = run for runtime_s
  uint32_t wait_count = 0;      ///< completions that one wait waits for; 0 = automatic_wait_count(depth)
  double spin = 1;              ///< spindle: share of a core for looking before sleeping, where it pays; 0: never
  bool progress = false;        ///< a line of progress on standard error while it runs
  std::string progress_label;   ///< what the line begins with: "randread on spindle, run 2 of 5"
  double later_s = 0;           ///< what follows this run takes about so long: the line adds it to the time left
  std::string disk;             ///< "vda": whose counters belong to the result; empty: unknown
  uint32_t job_index = 0;       ///< which of jobs_count
  JobGroup* group = nullptr;    ///< the threads of this job, while they run; null: there is one
};

/// More than one kind of operation, or more to do than to submit the next one: see benchmarks/workload.h. All others
/// run on the short path.
constexpr bool is_extended(const Job& job) noexcept {
  return is_mixed(job.rw) || job.fsync_every != 0 || job.durable || job.verify || job.rate_iops != 0;
}

/// The job can be run at all: sizes fit each other and the bounds of the programs.
Failure check(const Job& job);

/// How many completions to wait for when `depth` operations are in flight. Below depth 8 each completion is
/// wanted at once. Above, an enter per completion costs more than the wait adds: on zram, pinned to one core,
/// where completions come one by one, waiting for a quarter instead of one gave 1.22 times the IOPS at depth
/// 8, 1.46 at 32 and 1.53 at 128, with a lower median latency too. On a virtio disk, which completes in
/// batches, no difference could be told from noise. More than 32 brought nothing further.
constexpr uint32_t automatic_wait_count(uint32_t depth) noexcept {
  if (depth < 8) return 1;
  return depth / 4 < 32 ? depth / 4 : 32;
}

/// The offsets of a job, in order, without an end: uniform random (with repetition) or sequential (wrapping),
/// always aligned to the block size and within the job's range. A few instructions per call.
class OffsetSequence {
 public:
  explicit OffsetSequence(const Job& job) noexcept;

  uint64_t next() noexcept {
    if (random_) return begin_offset_ + generator_.below(blocks_count_) * block_size_;
    const uint64_t index = index_next_;
    index_next_ = index + 1 == blocks_count_ ? 0 : index + 1;
    return begin_offset_ + index * block_size_;
  }

 private:
  Random generator_;
  uint64_t begin_offset_;
  uint64_t blocks_count_;
  uint64_t index_next_ = 0;
  uint32_t block_size_;
  bool random_;
};

/// Fills memory with bytes that neither compression nor zero detection can shrink; `seed` makes them
/// distinct.
void fill_incompressible(std::byte* bytes, uint64_t size, uint64_t seed) noexcept;

/// What was done in one direction, or in both.
struct Side {
  uint64_t operations_count = 0;
  uint64_t bytes = 0;
  Histogram latency_ns;
  std::vector<double> iops_intervals;  ///< IOPS of each full half second
};

/// What the disk counted meanwhile, as /proc/diskstats has it.
struct DiskUse {
  uint64_t ios[2] = {};     ///< reads, writes
  uint64_t merges[2] = {};  ///< of them, merged with another
  uint64_t ticks_ms[2] = {};
  uint64_t busy_ms = 0;
  uint64_t queue_ms = 0;
  uint64_t elapsed_ms = 0;  ///< 0: not measured
};

/// What a run yields; the Side it is itself is that of all operations. Everything but `disk`, `verified_count` and
/// what follows it covers the measured window alone.
struct Sample : Side {
  Side reads;   ///< of a mixed job; else empty
  Side writes;  ///< of a mixed job; else empty
  Histogram sync_latency_ns;
  uint64_t elapsed_ns = 0;
  uint64_t user_ns = 0;  ///< CPU time of the threads that drive the rings
  uint64_t system_ns = 0;
  uint64_t process_user_ns = 0;  ///< CPU time of the whole process, kernel workers of the ring included
  uint64_t process_system_ns = 0;
  uint64_t switches_voluntary_count = 0;
  uint64_t switches_involuntary_count = 0;
  uint64_t faults_major_count = 0;
  uint64_t faults_minor_count = 0;
  DiskUse disk;
  uint64_t verified_count = 0;        ///< blocks that were read and found as written
  std::vector<std::string> features;  ///< what was in use: "DEFER_TASKRUN", "fixed buffers", ...
  std::string command;                ///< command line that repeats this run
  std::string error;                  ///< empty when the run is whole and good
  bool interrupted = false;           ///< Ctrl-C ended it; error is set too

  double iops() const noexcept;
  double bytes_per_second() const noexcept;
  double user_ns_per_operation() const noexcept;
  double system_ns_per_operation() const noexcept;
};

/// Something that can run a job. Engines hold no state between runs.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string_view name() const noexcept = 0;
  /// Blocks until the job is done. Operating errors are in Sample::error; it throws nothing.
  virtual Sample run(const Job& job) = 0;
};

}  // namespace spindle::bench
