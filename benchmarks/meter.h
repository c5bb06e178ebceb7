// The stop watch of an engine: ramp, measured window, end; latencies, CPU time, switches, progress.
//
//     start --ramp_s--> window opens --runtime_s, operations_max or Ctrl-C--> it closes --drain--> finish
//
// An engine reads the clock once per turn of its loop, after its wait, and uses that stamp for three things:
// as the completion time of what the turn reaped, as the submission time of what it submits next, and for
// turn(). So a latency includes the time an operation stood in the queue before it was entered, and is never
// too small.
//
// One thread uses a Meter: the one that drives the ring.
#pragma once

#include <sys/resource.h>
#include <time.h>

#include <cstdint>

#include "benchmarks/job.h"

namespace spindle::bench {

inline uint64_t clock_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

class Meter {
 public:
  explicit Meter(const Job& job) noexcept;

  /// Right before the first submission.
  void start(uint64_t now_ns) noexcept;

  /// Once per turn, before the completions of the turn are recorded. False: submit nothing more, and record
  /// nothing; let what is in flight come home, then finish().
  bool turn(uint64_t now_ns) noexcept {
    if (now_ns >= event_ns_) [[unlikely]]
      event(now_ns);
    return state_ != State::done;
  }

  /// A whole operation has completed.
  void record(uint64_t latency_ns) noexcept {
    sample_.latency_ns.record(latency_ns);
    ++operations_count_;
    if (operations_count_ >= operations_end_) [[unlikely]]
      event_ns_ = 0;  // the next turn closes the window
  }

  /// The same of a mixed job.
  void record_side(uint64_t latency_ns, bool is_write) noexcept {
    Side& side = is_write ? sample_.writes : sample_.reads;
    side.latency_ns.record(latency_ns);
    ++side.operations_count;
    record(latency_ns);
  }
  /// An fsync has completed; it is no operation of the job.
  void record_sync(uint64_t latency_ns) noexcept { sample_.sync_latency_ns.record(latency_ns); }

  bool done() const noexcept { return state_ == State::done; }

  /// The measured window. `error` is the engine's own, empty when it had none.
  Sample finish(std::string error);

 private:
  enum class State : uint8_t { ramp, measure, done };

  void event(uint64_t now_ns) noexcept;
  void open_window(uint64_t now_ns) noexcept;
  void close_window(uint64_t now_ns) noexcept;
  void tick(uint64_t now_ns) noexcept;
  void tick_side(Side& side, uint64_t& tick_count, double seconds) noexcept;
  void print_progress(uint64_t now_ns, double iops) const;

  const Job& job_;
  State state_ = State::ramp;
  uint64_t operations_count_ = 0;         // recorded since the window opened
  uint64_t operations_end_ = UINT64_MAX;  // ends the window when reached
  uint64_t event_ns_ = 0;                 // when event() has something to do
  uint64_t window_begin_ns_ = 0;
  uint64_t window_end_ns_ = 0;
  uint64_t tick_ns_ = 0;                // the last tick
  uint64_t tick_operations_count_ = 0;  // operations_count_ then
  uint64_t tick_reads_count_ = 0;       // and of the sides of a mixed job
  uint64_t tick_writes_count_ = 0;
  rusage thread_begin_{};
  rusage process_begin_{};
  Sample sample_;
};

}  // namespace spindle::bench
