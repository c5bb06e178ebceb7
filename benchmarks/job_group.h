// The threads of one job (fio's --numjobs), and their results as one (fio's group_reporting).
//
// Each thread runs the whole engine: own ring, own buffers, own random sequence. Jobs in sequence and jobs that
// verify get a part of the file each; random ones all of it. They set themselves up, wait for one another, and start.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "benchmarks/job.h"

namespace spindle::bench {

class JobGroup {
 public:
  explicit JobGroup(uint32_t jobs_count) : jobs_count_(jobs_count), rates_(jobs_count), arrived_(jobs_count) {}

  /// Blocks until every thread has arrived or left.
  void arrive_and_wait(uint32_t job_index);
  /// A thread that ended without arriving holds nobody up. Does nothing after arrive_and_wait.
  void leave(uint32_t job_index);

  /// For the line of progress, which the first thread prints for all.
  void set_rate(uint32_t job_index, double iops) noexcept { rates_[job_index].store(iops, std::memory_order_relaxed); }
  double rates_sum() const noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  uint32_t jobs_count_;
  uint32_t arrived_count_ = 0;
  std::vector<std::atomic<double>> rates_;
  std::vector<char> arrived_;
};

using RunOne = std::function<Sample(const Job&)>;

/// Calls `run_one` on as many threads as the job has, and on none but this one if that is one. Blocks.
Sample run_jobs(const Job& job, const RunOne& run_one);

/// The job of one thread: its seed and its part of the file.
Job part_of(const Job& job, uint32_t job_index);

/// Adds the result of a thread to that of another.
void merge(Sample& into, Sample&& other);

}  // namespace spindle::bench
