// A fuzzer on a simulated disk with a planted bug that shows only when one fault comes in the right place: the proof
// that faults are left out and made fewer like events. The code under test is a table of records of several sectors,
// which takes a short count for a whole write where a record is written over. So a store, one more to the same place
// that is cut short, and a load are the least: 3 events and 1 fault.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>

#include "io/file.h"
#include "io/sim/swarm.h"
#include "io/sim/world.h"
#include "runtime/trace.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

namespace {

constexpr uint32_t sector_size = 512;
constexpr uint32_t record_size = 8 * sector_size;
constexpr uint32_t records_count = 16;

enum class Action : uint8_t { store, load, sync };
constexpr size_t action_count = static_cast<size_t>(Action::sync) + 1;

const char* name_of(Action action) noexcept {
  constexpr const char* names[action_count] = {"store", "load", "sync"};
  return names[static_cast<size_t>(action)];
}

struct Event {
  uint32_t number;
  Action action;
  uint32_t record;
};

std::string to_string(const Event& event) {
  return std::string(name_of(event.action)) + ' ' + std::to_string(event.record);
}

/// Memory for direct I/O.
struct RecordMemory {
  alignas(sector_size) std::array<std::byte, record_size> bytes;
};

class TableWithBug {
 public:
  explicit TableWithBug(File& file) noexcept : file_(file) {}

  Task<Result<void>> store(uint32_t record, std::byte value) {
    memory_->bytes.fill(value);
    const std::span<const std::byte> from(memory_->bytes);
    const uint64_t offset = uint64_t{record} * record_size;
    if (!is_stored_[record]) {
      co_await ok(file_.write_all_at(offset, from));
      is_stored_[record] = true;
      co_return Result<void>();
    }
    for (;;) {
      const Result<uint64_t> written = co_await file_.write_at(offset, from);
      if (written.has_value()) co_return Result<void>();  // the planted bug: of any size
      const int32_t number = written.error().number;
      if (number != EAGAIN && number != EINTR) co_return Unexpected(written.error());
    }
  }
  /// See loaded().
  Task<Result<void>> load(uint32_t record) {
    const std::span<std::byte> into(memory_->bytes);
    const uint64_t offset = uint64_t{record} * record_size;
    co_await ok(file_.read_exact_at(offset, into));
    co_return Result<void>();
  }
  std::span<const std::byte> loaded() const noexcept { return memory_->bytes; }
  bool is_stored(uint32_t record) const noexcept { return is_stored_[record]; }

 private:
  File& file_;
  std::unique_ptr<RecordMemory> memory_ = std::make_unique<RecordMemory>();
  bool is_stored_[records_count] = {};
};

Swarm<Action, action_count> swarm_of(uint64_t seed) {
  Random random(mix64(seed ^ 0x5a));
  Swarm<Action, action_count> swarm(random);
  swarm.raise(Action::store, 8);
  swarm.raise(Action::load, 8);
  return swarm;
}

std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  const Swarm<Action, action_count> swarm = swarm_of(seed);
  std::vector<Event> events;
  for (uint64_t index = 0; index < events_max; ++index) {
    const uint64_t word = mix64(mix64(seed) + index);
    events.push_back({0, swarm.choose(word), static_cast<uint32_t>(mix64(word) % records_count)});
  }
  return events;
}

struct Life {
  std::span<const Event> events;
  EventHash hash;
};

Task<Result<void>> serve(Life* life) {
  OpenOptions options;
  options.access = Access::read_write;
  options.create = true;
  File file = co_await ok(File::open("table", options));
  TableWithBug table(file);
  std::byte expected[records_count] = {};
  for (const Event& event : life->events) {
    co_await set_trace_id(event.number);
    if (event.action == Action::store) {
      expected[event.record] = static_cast<std::byte>(event.number % 251);
      co_await ok(table.store(event.record, expected[event.record]));
    } else if (event.action == Action::sync) {
      co_await ok(file.sync());
    } else if (table.is_stored(event.record)) {
      co_await ok(table.load(event.record));
      const auto is_stored = [&](std::byte byte) { return byte == expected[event.record]; };
      const std::span<const std::byte> loaded = table.loaded();
      FUZZ_CHECK(std::all_of(loaded.begin(), loaded.end(), is_stored), "a record is not what was stored");
    }
    life->hash.mix(event.number);
  }
  co_return co_await file.close();
}

RunResult run_events(const RunOptions& run, std::span<const Event> events, Coverage&) {
  if (run.is_verbose) std::printf("  weights: %s\n", swarm_of(run.seed).text(name_of).c_str());
  SimBackendOptions options;
  options.sector_size = sector_size;
  options.faults.filter = run.faults;
  FaultRates& rates = options.faults.everywhere;
  rates.set(Fault::short_read, 200'000).set(Fault::again, 100'000).set(Fault::interrupted, 100'000);
  rates.set(Fault::short_write, 20'000).set(Fault::stall, 50'000);
  World world(run.seed);
  Host& host = world.add_host("a", options);
  Life life{events, EventHash()};
  host.start(serve, &life);
  FUZZ_CHECK(world.run() == World::Outcome::idle, "the host is stuck");
  const Result<void> result = host.take();
  FUZZ_CHECK(result.has_value(), "the root task failed");
  return {mix64(life.hash.value() ^ world.hash()), events.size()};
}

constexpr uint64_t fixed_seeds[] = {1, 2, 3};

}  // namespace

const Fuzzer canary_disk_fuzzer = {"canary_disk",
                                   "has a planted bug that needs a fault, and must fail",
                                   false,
                                   2000,
                                   fixed_seeds,
                                   {},
                                   run_as<generate, run_events>};

}  // namespace spindle::fuzz
