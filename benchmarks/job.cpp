#include "benchmarks/job.h"

#include <algorithm>
#include <cstring>

namespace spindle::bench {

namespace {
constexpr uint32_t depth_max = 4096;
constexpr uint32_t jobs_max = 256;
constexpr uint32_t block_size_max = 64u << 20;
constexpr uint32_t verify_block_size_min = 64;
constexpr uint64_t verify_blocks_max = uint64_t{1} << 28;  // each takes 4 bytes of memory
constexpr uint64_t buffers_size_max = uint64_t{1} << 30;  // one registration takes at most 1 GiB
}  // namespace

std::string_view name_of(Pattern pattern) noexcept {
  switch (pattern) {
    case Pattern::read: return "read";
    case Pattern::write: return "write";
    case Pattern::randread: return "randread";
    case Pattern::randwrite: return "randwrite";
    case Pattern::rw: return "rw";
    case Pattern::randrw: return "randrw";
  }
  return "";
}

namespace {

// Of what only is_extended() jobs have.
Failure check_extended(const Job& job) {
  if (!is_extended(job)) return {};
  if (job.nop)
    return {"--nop has neither reads nor writes: leave out --fsync, --sync, --verify, --rate_iops and mixes"};
  if (job.read_percent > 100) return {"--rwmixread must be 0 to 100"};
  if (job.rate_iops > 1'000'000'000) return {"--rate_iops must be at most 1000000000"};
  if (!has_writes(job.rw) && (job.fsync_every != 0 || job.durable)) {
    return {"--fsync and --sync=dsync are for jobs that write; --rw is " + std::string(name_of(job.rw))};
  }
  if (!job.verify) return {};
  if (job.block_size < verify_block_size_min || job.block_size % 8 != 0) {
    return {"--verify needs a --bs of at least 64 bytes, and a multiple of 8"};
  }
  const uint64_t blocks_count = job.size_bytes / job.block_size / job.jobs_count;
  if (job.size_bytes != UINT64_MAX && blocks_count > verify_blocks_max) {
    return {"--verify remembers each block, at most 268435456 of them: give a smaller --size or a larger --bs"};
  }
  if (blocks_count < job.depth) {
    return {"--verify needs at least as many blocks as operations in flight: give a larger --size"};
  }
  return {};
}

}  // namespace

Failure check(const Job& job) {
  if (job.depth == 0 || job.depth > depth_max) {
    return {"--iodepth " + std::to_string(job.depth) + ": must be 1 to " + std::to_string(depth_max)};
  }
  if (job.jobs_count == 0 || job.jobs_count > jobs_max) {
    return {"--numjobs " + std::to_string(job.jobs_count) + ": must be 1 to " + std::to_string(jobs_max)};
  }
  if (job.block_size == 0 || job.block_size > block_size_max) {
    return {"--bs " + std::to_string(job.block_size) + ": must be 1 byte to 64m"};
  }
  if (uint64_t{job.block_size} * job.depth > buffers_size_max) {
    return {"--bs times --iodepth is more than 1 GiB of buffers; lower one of them"};
  }
  if (!(job.runtime_s > 0) || !(job.ramp_s >= 0) || job.runtime_s > 1e6 || job.ramp_s > 1e6) {
    return {"--runtime must be above 0 and --ramp_time at least 0 seconds, both at most 1000000"};
  }
  if (!job.nop && job.size_bytes / job.jobs_count < job.block_size) {
    return {"only " + std::to_string(job.size_bytes) + " bytes to work on: not even one block of " +
            std::to_string(job.block_size) + " bytes per job; give a larger --size or file, or a smaller --bs"};
  }
  return check_extended(job);
}

OffsetSequence::OffsetSequence(const Job& job) noexcept
    : generator_(job.random_seed),
      begin_offset_(job.begin_offset),
      blocks_count_(std::max<uint64_t>(1, job.size_bytes / std::max<uint32_t>(1, job.block_size))),
      block_size_(job.block_size),
      random_(is_random(job.rw)) {}

void fill_incompressible(std::byte* bytes, uint64_t size, uint64_t seed) noexcept {
  uint64_t state = mix64(seed);
  while (size > 0) {
    const uint64_t word = mix64(state++);
    const uint64_t count = std::min<uint64_t>(size, sizeof(word));
    std::memcpy(bytes, &word, count);
    bytes += count;
    size -= count;
  }
}

namespace {
double ratio(uint64_t numerator, uint64_t denominator) noexcept {
  return denominator == 0 ? 0 : static_cast<double>(numerator) / static_cast<double>(denominator);
}
}  // namespace

double Sample::iops() const noexcept { return 1e9 * ratio(operations_count, elapsed_ns); }
double Sample::bytes_per_second() const noexcept { return 1e9 * ratio(bytes, elapsed_ns); }
double Sample::user_ns_per_operation() const noexcept { return ratio(user_ns, operations_count); }
double Sample::system_ns_per_operation() const noexcept { return ratio(system_ns, operations_count); }

}  // namespace spindle::bench
