// The fuzzer `node_pool`: random acquires, releases and resets of pools of many shapes, against a std::set of the free
// indices, over an arena that is filled with a random sentinel.
//
// Checked: acquire gives the lowest free index, aligned, or says that there is none; counts; an id that is written all
// through an acquired node is there when it is released; at the end, the whole arena is the sentinel again.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "io/sim/event_hash.h"
#include "pools/node_pool.h"
#include "pools/poison.h"
#include "runtime/random.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

namespace {

enum class Mark : uint8_t {
  used_up,
  used_up_and_back,
  all_released,
  hole_filled,
  first_level_word_empty,
  second_level_word_empty,
  reset_with_nodes_held,
  reset_when_used_up,
  one_node_only,
};
constexpr const char* mark_names[] = {
    "used up",
    "a node acquired after the pool was used up",
    "all nodes released",
    "a hole below others was filled",
    "a whole word of the first level acquired",
    "a whole word of the second level acquired",
    "reset with nodes held",
    "reset of a pool that was used up",
    "a pool of one node",
};
static_assert(static_cast<size_t>(Mark::one_node_only) + 1 == sizeof(mark_names) / sizeof(mark_names[0]));

enum class Action : uint8_t { acquire, release, reset };

struct Event {
  uint32_t number;
  Action action;
  uint64_t value;
};

std::string to_string(const Event& event) {
  constexpr const char* names[] = {"acquire ", "release ", "reset "};
  return names[static_cast<size_t>(event.action)] + std::to_string(event.value);
}

struct Proportions {
  uint64_t acquire_percent;  // of the first half; the second half has the rest
  uint64_t reset_rate;       // of 10,000
  uint64_t events_count;
};

Proportions proportions_of(uint64_t seed, uint64_t events_max) {
  Random random(mix64(seed ^ 0x5a));
  Proportions proportions{};
  proportions.acquire_percent = random.chance(1, 2) ? 60 : random.between(50, 95);
  proportions.reset_rate = random.chance(1, 2) ? 0 : random.below(20);
  proportions.events_count = random.between(std::min<uint64_t>(events_max, 50), events_max);
  return proportions;
}

std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  const Proportions proportions = proportions_of(seed, events_max);
  std::vector<Event> events;
  events.reserve(proportions.events_count);
  for (uint64_t index = 0; index < proportions.events_count; ++index) {
    const uint64_t word = mix64(mix64(seed) + index * 2);
    const bool is_first_half = index * 2 < proportions.events_count;
    const uint64_t percent = is_first_half ? proportions.acquire_percent : 100 - proportions.acquire_percent;
    Action action = word % 100 < percent ? Action::acquire : Action::release;
    if ((word >> 32) % 10'000 < proportions.reset_rate) action = Action::reset;
    events.push_back({0, action, mix64(mix64(seed) + index * 2 + 1)});
  }
  return events;
}

template <class Pool>
class Machine {
 public:
  Machine(uint64_t seed, uint32_t node_count, Coverage& coverage)
      : pool_(make(node_count)), coverage_(coverage), sentinel_(pool_.arena().size()) {
    Random random(mix64(seed ^ 0x5e));
    for (std::byte& byte : sentinel_) byte = static_cast<std::byte>(random.next());
    for (uint32_t index = 0; index < node_count; ++index) free_.insert(index);
    unpoison_acquired(pool_.arena());
    restore(0, sentinel_.size());
    if (node_count == 1) mark(Mark::one_node_only);
  }

  void take(const Event& event) {
    switch (event.action) {
      case Action::acquire: acquire(event.value); break;
      case Action::release:
        if (!held_.empty()) release(event.value % held_.size());
        break;
      case Action::reset: reset(); break;
    }
    FUZZ_CHECK(pool_.in_use_count() == held_.size(), "a wrong count of nodes in use");
    FUZZ_CHECK(pool_.high_water_count() == high_water_count_, "a wrong high water count");
    hash_.mix(static_cast<uint64_t>(event.action), held_.size());
  }

  uint64_t finish() {
    while (!held_.empty()) release(held_.size() - 1);
    unpoison_acquired(pool_.arena());
    FUZZ_CHECK(std::memcmp(pool_.arena().data(), sentinel_.data(), sentinel_.size()) == 0,
               "memory was written that nobody had acquired");
    return hash_.value();
  }

 private:
  struct Held {
    uint32_t index;
    uint64_t id;
  };
  static constexpr size_t id_size = Pool::node_size < 8 ? Pool::node_size : 8;
  // All of a small node, and a word per sector of a large one: the end check sees whole nodes anyway.
  static constexpr size_t id_stride = Pool::node_size > 512 ? 512 : id_size;

  static Pool make(uint32_t node_count) {
    Result<Pool> made = Pool::create(node_count);
    FUZZ_CHECK(made.has_value(), "a pool could not be made");
    return std::move(*made);
  }
  void mark(Mark reached) { coverage_.mark(static_cast<size_t>(reached)); }
  std::byte* node_at(uint32_t index) { return pool_.arena().data() + size_t{index} * Pool::node_size; }
  void restore(size_t offset, size_t size) {
    std::memcpy(pool_.arena().data() + offset, sentinel_.data() + offset, size);
  }
  // Builds that fill what is released have overwritten the sentinel.
  void restore_after_fill([[maybe_unused]] size_t offset, [[maybe_unused]] size_t size) {
#if SPINDLE_LEDGER && !SPINDLE_POISON_WITH_ASAN
    restore(offset, size);
#endif
  }

  void acquire(uint64_t id) {
    std::byte* const node = pool_.try_acquire();
    FUZZ_CHECK((node == nullptr) == free_.empty(), "a pool with free nodes gave none, or one without gave one");
    if (node == nullptr) {
      was_used_up_ = true;
      return mark(Mark::used_up);
    }
    const uint32_t index = *free_.begin();
    free_.erase(free_.begin());
    FUZZ_CHECK(node == node_at(index), "a node that is not the one with the lowest index");
    FUZZ_CHECK(reinterpret_cast<uintptr_t>(node) % Pool::node_alignment == 0, "a node that is not aligned");
    for (size_t at = 0; at < Pool::node_size; at += id_stride) std::memcpy(node + at, &id, id_size);
    held_.push_back({index, id});
    high_water_count_ = std::max(high_water_count_, static_cast<uint32_t>(held_.size()));
    mark_acquired(index);
    hash_.mix(index);
  }
  void mark_acquired(uint32_t index) {
    if (was_used_up_) mark(Mark::used_up_and_back);
    was_used_up_ = false;
    if (index + 1 < held_.size()) mark(Mark::hole_filled);
    const uint32_t lowest_free = free_.empty() ? pool_.capacity() : *free_.begin();
    if (lowest_free >= 64) mark(Mark::first_level_word_empty);
    if (lowest_free >= 4096) mark(Mark::second_level_word_empty);
  }
  void check_id(const Held& held) {
    const std::byte* const node = node_at(held.index);
    for (size_t at = 0; at < Pool::node_size; at += id_stride) {
      FUZZ_CHECK(std::memcmp(node + at, &held.id, id_size) == 0, "an acquired node was written by somebody else");
    }
    restore(size_t{held.index} * Pool::node_size, Pool::node_size);
  }
  void release(size_t place) {
    const Held held = held_[place];
    held_[place] = held_.back();
    held_.pop_back();
    check_id(held);
    pool_.release(node_at(held.index));
    restore_after_fill(size_t{held.index} * Pool::node_size, Pool::node_size);
    free_.insert(held.index);
    if (held_.empty()) mark(Mark::all_released);
    hash_.mix(held.index);
  }
  void reset() {
    if (!held_.empty()) mark(Mark::reset_with_nodes_held);
    if (free_.empty()) mark(Mark::reset_when_used_up);
    for (const Held& held : held_) {
      check_id(held);
      free_.insert(held.index);
    }
    held_.clear();
    pool_.reset();
    restore_after_fill(0, sentinel_.size());
  }

  Pool pool_;
  Coverage& coverage_;
  std::vector<std::byte> sentinel_;
  std::set<uint32_t> free_;
  std::vector<Held> held_;
  uint32_t high_water_count_ = 0;
  bool was_used_up_ = false;
  EventHash hash_;
};

using Play = uint64_t (*)(std::span<const Event> events, uint64_t seed, uint32_t node_count, Coverage& coverage);

template <size_t size, size_t alignment>
uint64_t play(std::span<const Event> events, uint64_t seed, uint32_t node_count, Coverage& coverage) {
  Machine<NodePool<size, alignment>> machine(seed, node_count, coverage);
  for (const Event& event : events) machine.take(event);
  return machine.finish();
}

struct Shape {
  Play play;
  uint32_t node_count_max;
};
constexpr Shape shapes[] = {
    {play<1, 1>, 20'000},   {play<4, 4>, 10'000},    {play<8, 8>, 10'000},  {play<64, 8>, 10'000},
    {play<64, 64>, 10'000}, {play<128, 16>, 5000},   {play<512, 512>, 400}, {play<4096, 512>, 130},
    {play<4096, 4096>, 70}, {play<16384, 4096>, 20},
};

RunResult run_events(const RunOptions& options, std::span<const Event> events, Coverage& coverage) {
  Random random(mix64(options.seed ^ 0xb0));
  const Shape& shape = shapes[random.below(sizeof(shapes) / sizeof(shapes[0]))];
  // Small pools are used up often; pools of several levels sometimes.
  const bool is_large = random.chance(1, 4);
  const uint32_t most = is_large ? shape.node_count_max : std::min(shape.node_count_max, 200u);
  const uint32_t node_count = random.chance(1, 16) ? 1 : static_cast<uint32_t>(random.between(1, most));
  if (options.is_verbose) {
    const Proportions proportions = proportions_of(options.seed, options.events_max);
    std::printf("  %zu events, %u nodes; acquired first %llu of 100, reset %llu of 10,000\n", events.size(), node_count,
                static_cast<unsigned long long>(proportions.acquire_percent),
                static_cast<unsigned long long>(proportions.reset_rate));
  }
  return {shape.play(events, options.seed, node_count, coverage), events.size()};
}

constexpr uint64_t fixed_seeds[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

}  // namespace

const Fuzzer node_pool_fuzzer = {"node_pool",
                                 "a pool of memory nodes against a set of indices",
                                 true,
                                 40'000,
                                 fixed_seeds,
                                 mark_names,
                                 run_as<generate, run_events>};

}  // namespace spindle::fuzz
