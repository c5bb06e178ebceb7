// The threads of a job: their parts of the file, their start together, their results as one.
#include "benchmarks/job_group.h"

#include <doctest/doctest.h>

#include <atomic>
#include <set>

namespace spindle::bench {
namespace {

Job job_of(Pattern rw, uint32_t jobs_count) {
  Job job;
  job.rw = rw;
  job.jobs_count = jobs_count;
  job.size_bytes = 10 * 4096;
  return job;
}

TEST_CASE("jobs in sequence have a part each, without overlap; random ones the whole file and a seed each") {
  const Job job = job_of(Pattern::write, 3);
  uint64_t end = 0;
  for (uint32_t i = 0; i < 3; ++i) {
    const Job part = part_of(job, i);
    CHECK(part.begin_offset == end);
    CHECK(part.size_bytes == 3 * 4096);
    CHECK(check(part).line == "");
    end = part.begin_offset + part.size_bytes;
  }
  CHECK(end <= job.size_bytes);
  std::set<uint64_t> seeds;
  for (uint32_t i = 0; i < 3; ++i) {
    const Job part = part_of(job_of(Pattern::randread, 3), i);
    CHECK(part.begin_offset == 0);
    CHECK(part.size_bytes == job.size_bytes);
    seeds.insert(part.random_seed);
  }
  CHECK(seeds.size() == 3);
}

TEST_CASE("offsets stay within the part") {
  Job job = job_of(Pattern::randwrite, 2);
  job.verify = true;
  const Job part = part_of(job, 1);
  OffsetSequence offsets(part);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t offset = offsets.next();
    CHECK(offset >= part.begin_offset);
    CHECK(offset + 4096 <= part.begin_offset + part.size_bytes);
    CHECK(offset % 4096 == 0);
  }
}

TEST_CASE("the seed decides the sequence of offsets, and of threads all differ") {
  Job job = job_of(Pattern::randread, 2);
  job.size_bytes = 1 << 20;
  const auto sequence_of = [](const Job& one) {
    OffsetSequence offsets(one);
    std::vector<uint64_t> sequence;
    for (int i = 0; i < 20; ++i) sequence.push_back(offsets.next());
    return sequence;
  };
  const auto first = sequence_of(part_of(job, 0));
  CHECK(sequence_of(part_of(job, 0)) == first);
  CHECK(sequence_of(part_of(job, 1)) != first);
  job.random_seed = 2;
  CHECK(sequence_of(part_of(job, 0)) != first);
}

TEST_CASE("all threads start together, and one that fails early holds nobody up") {
  std::atomic<int> arrived_count{0};
  std::atomic<int> early_count{0};
  const Sample sample = run_jobs(job_of(Pattern::randread, 4), [&](const Job& job) {
    Sample one;
    if (job.job_index == 2) {
      one.error = "no ring";
      return one;
    }
    ++arrived_count;
    job.group->arrive_and_wait(job.job_index);
    if (arrived_count != 3) ++early_count;
    return one;
  });
  CHECK(early_count == 0);
  CHECK(sample.error == "no ring");
}

TEST_CASE("results add up; the longest window is that of all") {
  const Sample sample = run_jobs(job_of(Pattern::randrw, 3), [](const Job& job) {
    Sample one;
    one.operations_count = 10;
    one.reads.operations_count = 6;
    one.writes.operations_count = 4;
    one.latency_ns.record(100 * (job.job_index + 1));
    one.elapsed_ns = 1000 + job.job_index;
    one.user_ns = 5;
    one.process_user_ns = 15;
    one.iops_intervals = {1.0, 2.0};
    if (job.job_index == 1) one.iops_intervals.pop_back();
    return one;
  });
  CHECK(sample.operations_count == 30);
  CHECK(sample.reads.operations_count == 18);
  CHECK(sample.writes.operations_count == 12);
  CHECK(sample.latency_ns.count() == 3);
  CHECK(sample.latency_ns.max() == 300);
  CHECK(sample.elapsed_ns == 1002);
  CHECK(sample.user_ns == 15);
  CHECK(sample.process_user_ns == 15);
  CHECK(sample.iops_intervals == std::vector<double>{3.0});
}

}  // namespace
}  // namespace spindle::bench
