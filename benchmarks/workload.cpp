#include "benchmarks/workload.h"

#include <stdio.h>

#include "benchmarks/stamp.h"

namespace spindle::bench {

namespace {

// The writes of a random mix have offsets of their own.
Job for_writes(const Job& job) {
  Job other = job;
  if (is_mixed(job.rw)) other.random_seed = mix64(job.random_seed + 1);
  return other;
}

}  // namespace

Workload::Workload(const Job& job)
    : job_(job),
      offsets_{OffsetSequence(job), OffsetSequence(for_writes(job))},
      directions_(mix64(job.random_seed ^ 0x6d6978)),
      states_(job.verify ? job.size_bytes / job.block_size : 0) {}

std::vector<Phase> Workload::phases() const {
  if (!job_.verify || !has_writes(job_.rw)) return {Phase::measure};
  if (!is_mixed(job_.rw)) return {Phase::measure, Phase::check};
  return {Phase::fill, Phase::measure, Phase::check};
}

void Workload::begin(Phase phase, uint64_t now_ns) {
  phase_ = phase;
  begin_ns_ = now_ns;
  index_next_ = 0;
  paced_count_[0] = paced_count_[1] = 0;
  if (job_.progress && phase != Phase::measure) {
    fprintf(stderr, "\r%s: %s \x1b[K", job_.progress_label.c_str(),
            phase == Phase::fill ? "writing every block once" : "reading everything back");
  }
}

bool Workload::next(Step& step) {
  if (phase_ != Phase::measure) return next_in_order(step);
  step.is_write = has_writes(job_.rw);
  if (is_mixed(job_.rw)) step.is_write = directions_.below(100) >= job_.read_percent;
  step.offset = draw(step.is_write);
  step.due_ns = 0;
  if (job_.rate_iops != 0) {
    const double seconds = static_cast<double>(paced_count_[step.is_write]++) / static_cast<double>(job_.rate_iops);
    step.due_ns = begin_ns_ + static_cast<uint64_t>(seconds * 1e9);
  }
  return true;
}

uint64_t Workload::draw(bool is_write) noexcept {
  uint64_t offset = offsets_[is_write].next();
  if (!job_.verify) return offset;
  // There are at least as many blocks as operations in flight (check() saw to it), so one is free; a few draws find
  // it unless nearly all are taken.
  constexpr uint32_t draws_max = 64;
  for (uint32_t i = 0; i < draws_max && (state_of(offset) & busy_bit) != 0; ++i) offset = offsets_[is_write].next();
  const uint64_t end = job_.begin_offset + states_.size() * job_.block_size;
  while ((state_of(offset) & busy_bit) != 0) {
    offset += job_.block_size;
    if (offset == end) offset = job_.begin_offset;
  }
  state_of(offset) |= busy_bit;
  return offset;
}

bool Workload::next_in_order(Step& step) noexcept {
  if (phase_ == Phase::check) {
    while (index_next_ < states_.size() && states_[index_next_] == 0) ++index_next_;
  }
  if (index_next_ >= states_.size()) return false;
  states_[index_next_] |= busy_bit;
  step = {job_.begin_offset + index_next_++ * job_.block_size, 0, phase_ == Phase::fill};
  return true;
}

void Workload::fill(const Step& step, std::span<std::byte> block) noexcept {
  if (!job_.verify) return;
  const uint32_t generation = (state_of(step.offset) & ~busy_bit) + 1;
  state_of(step.offset) = generation | busy_bit;
  stamp_block(block, step.offset, generation);
}

Failure Workload::completed(const Step& step, std::span<const std::byte> block) {
  if (!job_.verify) return {};
  uint32_t& state = state_of(step.offset);
  SPINDLE_ASSERT((state & busy_bit) != 0, "a block that was not in flight");
  state &= ~busy_bit;
  if (step.is_write) return {};
  ++verified_count_;
  return check_stamp(block, step.offset, state == 0 ? generation_any : state);
}

void Workload::abandoned(const Step& step) noexcept {
  if (job_.verify) state_of(step.offset) &= ~busy_bit;
}

bool Workload::wants_sync() noexcept {
  if (job_.fsync_every == 0 || ++writes_since_sync_ < job_.fsync_every) return false;
  writes_since_sync_ = 0;
  return true;
}

}  // namespace spindle::bench
