#include "tests/fuzz/scan_buffer_life.h"

#include <cstring>
#include <string>

namespace spindle::fuzz::scan_buffer {

namespace {

void serve(Life& life) {
  while (!life.queue.empty() && !life.free.empty()) {
    grant(life, life.tasks[life.queue.front()]);
    life.queue.pop_front();
    life.mark(Mark::waited);
  }
}

bool is_valid(const Life& life, const Grant& grant) { return grant.session == life.session; }

/// Calls check(block) for each block of a valid buffer.
template <class Visit>
void visit_blocks(const Life& life, const ScanBuffer& buffer, Visit visit) {
  FUZZ_CHECK(buffer.levels_count() == life.shape.options.levels_count, "a buffer with another number of levels");
  for (uint32_t level = 0; level < buffer.levels_count(); ++level) {
    visit(buffer.level(level).index_block().memory());
    visit(buffer.level(level).value_block().memory());
  }
}

// Before the real drop, or after it: it is the same to the model.
void drop_in_model(Life& life, const Grant& grant) {
  if (is_valid(life, grant)) {
    life.free.insert(grant.index);
    return serve(life);
  }
  if (!life.free.contains(grant.index)) life.mark(Mark::stale_dropped_beside_new_one);
}

}  // namespace

const char* name_of(Action action) noexcept {
  constexpr const char* names[] = {"wait", "wait cancelled", "try acquire", "assume", "move",
                                   "drop", "cancel",         "rest",        "reset",  "drop all"};
  static_assert(sizeof(names) / sizeof(names[0]) == action_count);
  return names[static_cast<size_t>(action)];
}

std::string to_string(const Event& event) {
  return std::string(name_of(event.action)) + ' ' + std::to_string(event.a) + ' ' + std::to_string(event.b);
}

Grant take_free(Life& life) {
  const uint32_t index = *life.free.begin();
  life.free.erase(life.free.begin());
  const uint32_t in_use_count = life.shape.options.scans_max - static_cast<uint32_t>(life.free.size());
  if (index + 1 < in_use_count) life.mark(Mark::hole_filled);
  if (in_use_count > 64) life.mark(Mark::second_word);
  return {index, life.session};
}

void grant(Life& life, WaitingTask& task) {
  task.outcome = Outcome::granted;
  task.grant = take_free(life);
  ++life.grants_open_count;
}

void check_held(const Life& life, const Held& held) {
  FUZZ_CHECK(held.buffer.is_valid() == is_valid(life, held.grant), "a handle is valid that should not be, or is not");
  if (!held.buffer.is_valid()) return;
  FUZZ_CHECK(held.buffer.index() == held.grant.index, "a handle of another buffer");
  uint64_t stamp = life.stamps[held.grant.index];
  visit_blocks(life, held.buffer, [&](std::span<std::byte> block) {
    FUZZ_CHECK(std::memcmp(block.data(), &stamp, sizeof(stamp)) == 0, "somebody wrote to a buffer that is in use");
    ++stamp;
  });
}

void hold(Life& life, ScanBuffer buffer, const Grant& expected) {
  const bool is_current = is_valid(life, expected);
  FUZZ_CHECK(buffer.is_valid() == is_current, "a buffer that was handed out is not valid, or is in spite of a reset");
  if (!is_current) life.mark(Mark::reset_overtook_grant);
  if (is_current) {
    FUZZ_CHECK(buffer.index() == expected.index, "another buffer than the free one with the lowest index");
    // No two blocks have the same stamp.
    uint64_t stamp = life.stamps_count;
    life.stamps[expected.index] = stamp;
    visit_blocks(life, buffer, [&](std::span<std::byte> block) {
      std::memcpy(block.data(), &stamp, sizeof(stamp));
      ++stamp;
    });
    life.stamps_count = stamp;
  }
  life.held->push_back({std::move(buffer), expected});
  life.hash.mix(expected.index, expected.session);
}

void drop(Life& life, size_t place) {
  std::vector<Held>& held = *life.held;
  std::swap(held[place], held.back());
  check_held(life, held.back());
  drop_in_model(life, held.back().grant);
  held.pop_back();
}

void move(Life& life, size_t from, size_t into) {
  std::vector<Held>& held = *life.held;
  if (from == into) {
    Held& alias = held[into];
    held[from].buffer = std::move(alias.buffer);
    return check_held(life, held[from]);
  }
  life.mark(is_valid(life, held[into].grant) ? Mark::moved_over_valid : Mark::moved_over_stale);
  check_held(life, held[into]);
  drop_in_model(life, held[into].grant);
  held[into] = std::move(held[from]);
  FUZZ_CHECK(!held[from].buffer.is_valid(), "a handle that was moved away is valid");
  check_held(life, held[into]);
  held.erase(held.begin() + static_cast<ptrdiff_t>(from));
}

void reset(Life& life) {
  const uint32_t scans_max = life.shape.options.scans_max;
  if (life.free.size() < scans_max) life.mark(Mark::reset_with_buffers_out);
  if (!life.queue.empty()) life.mark(Mark::reset_with_waiters);
  if (life.queue.size() > scans_max) life.mark(Mark::reset_with_more_waiters_than_buffers);
  for (uint32_t index = 0; index < scans_max; ++index) life.free.insert(index);
  ++life.session;
  serve(life);
  life.pool->reset();
  for (const Held& held : *life.held) FUZZ_CHECK(!held.buffer.is_valid(), "a handle outlived a reset");
}

void try_acquire(Life& life) {
  Result<ScanBuffer> result = life.pool->try_acquire();
  FUZZ_CHECK(result.has_value() == !life.free.empty(), "a pool with buffers gave none, or one without gave one");
  if (result.has_value()) return hold(life, std::move(*result), take_free(life));
  const bool is_expected =
      result.error().code == ErrorCode::exhausted && std::strcmp(result.error().where, "scans_max exceeded") == 0;
  FUZZ_CHECK(is_expected, "a pool refused for another reason than that all are in use");
  life.mark(Mark::exceeded);
}

}  // namespace spindle::fuzz::scan_buffer
