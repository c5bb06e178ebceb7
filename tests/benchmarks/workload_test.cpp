// What an extended job does next: directions, order, pace, fsyncs, and one operation per block under --verify.
#include "benchmarks/workload.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

namespace spindle::bench {
namespace {

Job job_of(Pattern rw, uint64_t blocks_count = 64) {
  Job job;
  job.rw = rw;
  job.block_size = 512;
  job.size_bytes = blocks_count * 512;
  return job;
}

TEST_CASE("a mix has about the share of reads that was asked for, and all of one kind at the ends") {
  for (const uint32_t percent : {0u, 30u, 70u, 100u}) {
    Job job = job_of(Pattern::randrw);
    job.read_percent = percent;
    Workload workload(job);
    workload.begin(Phase::measure, 0);
    uint32_t reads_count = 0;
    for (int i = 0; i < 10000; ++i) {
      Step step;
      CHECK(workload.next(step));
      reads_count += !step.is_write;
    }
    CHECK(reads_count >= percent * 95);
    CHECK(reads_count <= percent * 105);
  }
}

TEST_CASE("in a sequential mix each direction goes through the file on its own") {
  const Job job = job_of(Pattern::rw, 4);
  Workload workload(job);
  workload.begin(Phase::measure, 0);
  uint64_t next_offset[2] = {0, 0};
  for (int i = 0; i < 100; ++i) {
    Step step;
    REQUIRE(workload.next(step));
    CHECK(step.offset == next_offset[step.is_write]);
    next_offset[step.is_write] = (step.offset + 512) % 2048;
  }
}

TEST_CASE("pace: operation k of a direction is due k / rate after the start") {
  Job job = job_of(Pattern::randwrite);
  job.rate_iops = 1000;
  Workload workload(job);
  workload.begin(Phase::measure, 5'000'000);
  for (uint64_t i = 0; i < 100; ++i) {
    Step step;
    REQUIRE(workload.next(step));
    CHECK(step.due_ns == 5'000'000 + i * 1'000'000);
  }
}

TEST_CASE("an fsync is due after every N writes") {
  Job job = job_of(Pattern::write);
  job.fsync_every = 3;
  Workload workload(job);
  std::vector<bool> due;
  for (int i = 0; i < 7; ++i) due.push_back(workload.wants_sync());
  CHECK(due == std::vector<bool>{false, false, true, false, false, true, false});
}

TEST_CASE("with verification a block is never in flight twice, even when nearly all are") {
  for (const Pattern rw : {Pattern::randrw, Pattern::rw, Pattern::write}) {
    Job job = job_of(rw, 8);
    job.verify = true;
    job.depth = 8;
    Workload workload(job);
    workload.begin(Phase::measure, 0);
    std::vector<Step> in_flight;
    std::vector<std::byte> block(512);
    Random random(3);
    for (int i = 0; i < 2000; ++i) {
      if (in_flight.size() < 8) {
        Step step;
        REQUIRE(workload.next(step));
        for (const Step& other : in_flight) CHECK(other.offset != step.offset);
        in_flight.push_back(step);
      } else {
        const size_t index = random.below(in_flight.size());
        workload.abandoned(in_flight[index]);
        in_flight.erase(in_flight.begin() + static_cast<ptrdiff_t>(index));
      }
    }
  }
}

// A disk in memory that can lose a write.
struct Disk {
  std::map<uint64_t, std::vector<std::byte>> blocks;
  uint64_t lost_write = UINT64_MAX;
  uint64_t writes_count = 0;

  Failure run(Workload& workload, const Step& step) {
    std::vector<std::byte> block(512);
    if (step.is_write) {
      workload.fill(step, block);
      if (writes_count++ != lost_write) blocks[step.offset] = block;
    } else {
      block = blocks[step.offset];
      block.resize(512);
    }
    return workload.completed(step, block);
  }

  // All phases, `count` steps in the measured one. The first failure ends it.
  Failure run_all(const Job& job, int count) {
    Workload workload(job);
    Failure failure;
    for (const Phase phase : workload.phases()) {
      workload.begin(phase, 0);
      Step step;
      for (int i = 0; !failure && (phase != Phase::measure || i < count) && workload.next(step); ++i) {
        failure = run(workload, step);
      }
    }
    return failure;
  }
};

TEST_CASE("a disk that keeps what is written passes verification") {
  for (const Pattern rw : {Pattern::write, Pattern::randwrite, Pattern::rw, Pattern::randrw}) {
    Job job = job_of(rw);
    job.verify = true;
    Disk disk;
    CHECK(disk.run_all(job, 500).line == "");
  }
}

TEST_CASE("a single lost write is found, though the block before it is whole") {
  Job job = job_of(Pattern::write);
  job.verify = true;
  Disk disk;
  disk.lost_write = 64 + 5;  // the second round: block 5 keeps its first generation
  const Failure failure = disk.run_all(job, 128);
  CHECK(failure.line.find("block at offset 2560 holds write 1 of it, expected was write 2") != std::string::npos);
}

TEST_CASE("the last phase reads back exactly the blocks that were written") {
  Job job = job_of(Pattern::write);
  job.verify = true;
  Workload workload(job);
  workload.begin(Phase::measure, 0);
  std::vector<std::byte> block(512);
  for (int i = 0; i < 10; ++i) {
    Step step;
    REQUIRE(workload.next(step));
    workload.fill(step, block);
    CHECK_FALSE(workload.completed(step, block));
  }
  workload.begin(Phase::check, 0);
  std::set<uint64_t> offsets;
  for (Step step; workload.next(step);) offsets.insert(step.offset);
  CHECK(offsets.size() == 10);
  CHECK(*offsets.rbegin() == 9 * 512);
}

}  // namespace
}  // namespace spindle::bench
