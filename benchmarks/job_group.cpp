#include "benchmarks/job_group.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace spindle::bench {

void JobGroup::arrive_and_wait(uint32_t job_index) {
  leave(job_index);
  std::unique_lock lock(mutex_);
  all_here_.wait(lock, [this] { return arrived_count_ == jobs_count_; });
}

void JobGroup::leave(uint32_t job_index) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(arrived_[job_index], 1) != 0) return;
  if (++arrived_count_ == jobs_count_) all_here_.notify_all();
}

double JobGroup::rates_sum() const noexcept {
  double sum = 0;
  for (const std::atomic<double>& rate : rates_) sum += rate.load(std::memory_order_relaxed);
  return sum;
}

Job part_of(const Job& job, uint32_t job_index) {
  Job part = job;
  part.job_index = job_index;
  part.jobs_count = 1;
  if (job_index != 0) {
    part.random_seed = mix64(job.random_seed ^ mix64(job_index));
    part.progress = false;
  }
  if (job.nop || (is_random(job.rw) && !job.verify)) return part;
  const uint64_t blocks_count = job.size_bytes / job.block_size / job.jobs_count;
  part.size_bytes = blocks_count * job.block_size;
  part.begin_offset = job.begin_offset + job_index * part.size_bytes;
  return part;
}

namespace {

void merge_sides(Side& into, const Side& other) {
  into.operations_count += other.operations_count;
  into.bytes += other.bytes;
  into.latency_ns.merge(other.latency_ns);
  // Intervals of all threads began together; what is missing at the end is left out.
  into.iops_intervals.resize(std::min(into.iops_intervals.size(), other.iops_intervals.size()));
  for (size_t i = 0; i < into.iops_intervals.size(); ++i) into.iops_intervals[i] += other.iops_intervals[i];
}

}  // namespace

void merge(Sample& into, Sample&& other) {
  merge_sides(into, other);
  merge_sides(into.reads, other.reads);
  merge_sides(into.writes, other.writes);
  into.sync_latency_ns.merge(other.sync_latency_ns);
  into.elapsed_ns = std::max(into.elapsed_ns, other.elapsed_ns);
  into.user_ns += other.user_ns;
  into.system_ns += other.system_ns;
  // Of the process, so the same for all threads but for the edges of their windows.
  into.process_user_ns = std::max(into.process_user_ns, other.process_user_ns);
  into.process_system_ns = std::max(into.process_system_ns, other.process_system_ns);
  into.switches_voluntary_count += other.switches_voluntary_count;
  into.switches_involuntary_count += other.switches_involuntary_count;
  into.faults_major_count += other.faults_major_count;
  into.faults_minor_count += other.faults_minor_count;
  into.verified_count += other.verified_count;
  into.interrupted = into.interrupted || other.interrupted;
  if (into.error.empty()) into.error = std::move(other.error);
}

Sample run_jobs(const Job& job, const RunOne& run_one) {
  Sample whole;
  Failure failure = check(job);
  if (failure) {
    whole.error = std::move(failure.line);
    return whole;
  }
  if (job.jobs_count == 1) return run_one(job);
  JobGroup group(job.jobs_count);
  std::vector<Sample> samples(job.jobs_count);
  std::vector<std::thread> threads;
  for (uint32_t index = 0; index < job.jobs_count; ++index) {
    threads.emplace_back([&, index] {
      Job part = part_of(job, index);
      part.group = &group;
      samples[index] = run_one(part);
      group.leave(index);
    });
  }
  for (std::thread& thread : threads) thread.join();
  whole = std::move(samples[0]);
  for (uint32_t index = 1; index < job.jobs_count; ++index) merge(whole, std::move(samples[index]));
  return whole;
}

}  // namespace spindle::bench
