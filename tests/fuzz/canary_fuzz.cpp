// A fuzzer with a planted bug, which has to fail: the proof that the harness reports what a fuzzer finds, and finds the
// smallest run. The code under test is a bounded queue of numbers that forgets one when it is full and wraps at its end
// at once. For that 7 pops move its beginning to the last place, of 7 values pushed before them, 8 more values fill it,
// and one that it must not take shows it: 23 events are the least.
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "runtime/random.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

namespace {

class QueueWithBug {
 public:
  bool push(uint64_t value) noexcept {
    if (count_ == capacity) return false;
    values_[(first_ + count_) % capacity] = value;
    ++count_;
    if (count_ == capacity && first_ == capacity - 1) --count_;  // the planted bug
    return true;
  }
  bool pop(uint64_t& value) noexcept {
    if (count_ == 0) return false;
    value = values_[first_];
    first_ = (first_ + 1) % capacity;
    --count_;
    return true;
  }
  static constexpr size_t capacity = 8;

 private:
  uint64_t values_[capacity] = {};
  size_t first_ = 0;
  size_t count_ = 0;
};

struct Event {
  uint32_t number;
  bool is_push;
  uint64_t value;
};

std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  std::vector<Event> events;
  for (uint64_t index = 0; index < events_max; ++index) {
    const uint64_t value = mix64(mix64(seed) + index);
    events.push_back({0, value % 2 == 0, value});
  }
  return events;
}

std::string to_string(const Event& event) { return event.is_push ? "push" : "pop"; }

RunResult run_events(const RunOptions&, std::span<const Event> events, Coverage&) {
  QueueWithBug queue;
  std::deque<uint64_t> model;
  RunResult result;
  for (const Event& event : events) {
    if (event.is_push) {
      const bool pushed = queue.push(event.value);
      FUZZ_CHECK(pushed == (model.size() < QueueWithBug::capacity), "the queue took what it has no room for");
      if (pushed) model.push_back(event.value);
    } else {
      uint64_t value = 0;
      const bool popped = queue.pop(value);
      FUZZ_CHECK(popped == !model.empty(), "the queue lost a value");
      FUZZ_CHECK(!popped || value == model.front(), "the queue gave a value out of order");
      if (popped) model.pop_front();
    }
    result.hash = mix64(result.hash ^ model.size());
    ++result.events_count;
  }
  return result;
}

constexpr uint64_t fixed_seeds[] = {1, 2, 3};

}  // namespace

const Fuzzer canary_fuzzer = {"canary", "has a planted bug and must fail", false, 20'000, fixed_seeds,
                              {},       run_as<generate, run_events>};

}  // namespace spindle::fuzz
