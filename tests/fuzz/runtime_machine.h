// The machine that the fuzzer `runtime` executes: tasks that take their next event from one list, the primitives that
// they share, the model beside them, and a file on the simulated disk.
//
// One Machine is one life of the host: from the start of its root task to its end or to the kill. The disk's expected
// contents live longer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/sim/world.h"
#include "runtime/channel.h"
#include "runtime/condition.h"
#include "runtime/event.h"
#include "runtime/gate.h"
#include "runtime/semaphore.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/runtime_model.h"

namespace spindle::fuzz {

enum class Action : uint8_t {
  yield,
  sleep,
  wait_event,
  set_event,
  reset_event,
  acquire,
  lock,
  wait_condition,
  notify_one,
  notify_all,
  send,
  receive,
  close_channel,
  call,
  fail,
  leave,
  scope,
  spawn,
  cancel_scope,
  cancel_any_scope,
  timeout,
  timeout_leaf,
  shield,
  when_all,
  race,
  for_each,
  write,
  read,
  sync,
  latch,
  gate,
  cancel_root,
  kill,
};
inline constexpr size_t action_count = static_cast<size_t>(Action::kill) + 1;

const char* name_of(Action action) noexcept;

struct FuzzEvent {
  uint32_t number;
  Action action;
  bool propagates;  ///< an error of the action ends the task that did it
  uint32_t a;
  uint32_t b;
  uint32_t c;
};
std::string to_string(const FuzzEvent& event);

/// A duration; half of them are round, so that several end at the same moment.
inline uint32_t duration_ns_of(const FuzzEvent& event) noexcept {
  if (event.a % 8 == 0) return 0;
  const uint32_t any = event.a / 8 % 60'000;
  return event.c % 2 == 0 ? any : any / 10'000 * 10'000;
}

/// What the disk should hold: the tag that fills each sector, and the one that is being written over it.
struct ExpectedDisk {
  static constexpr uint32_t region_count = 32;
  static constexpr uint32_t region_sectors = 4;
  static constexpr uint32_t sector_size = 512;
  static constexpr uint64_t size = uint64_t{region_count} * region_sectors * sector_size;
  struct SectorTags {
    uint64_t written = 0;
    uint64_t pending = 0;  // 0: none
  };
  SectorTags sectors[region_count * region_sectors];
  uint64_t tag_next = 1;
};

/// One chain of tasks: its guards, innermost last, and the last error that left an action of it.
struct StrandState {
  static constexpr size_t guards_max = 128;
  uint32_t guards[guards_max];
  size_t guard_count = 0;
  Error last_error;
};

/// Where a task stands; passed down by value.
struct Place {
  ModelContext* context = nullptr;
  StrandState* strand = nullptr;
  ModelScope* scope = nullptr;  // the innermost around it
  uint32_t depth = 0;

  Place deeper() const noexcept { return {context, strand, scope, depth + 1}; }
  Place inside(ModelContext& section) const noexcept { return {&section, strand, scope, depth + 1}; }
};

/// Lives in the root's frame, so that it dies with it.
struct Primitives {
  Event events[3];
  Semaphore semaphores[2] = {Semaphore(3), Semaphore(2)};
  Mutex mutexes[2];
  Condition conditions[2];
  Channel<uint64_t> channels[2] = {Channel<uint64_t>(1), Channel<uint64_t>(3)};
};

class Machine {
 public:
  Machine(World& world, Host& host, std::span<const FuzzEvent> events, size_t& event_next, ExpectedDisk& disk,
          Model::Marks& marks);

  /// The next event of the list, or null at its end.
  const FuzzEvent* next_event() noexcept;
  bool has_events() const noexcept { return event_next < events.size(); }
  uint64_t now_ns() const noexcept { return static_cast<uint64_t>(world.now().time_since_epoch().count()); }

  /// Compares what a wait returned with the model. For all waits but operations.
  template <class T>
  void check_wait(Ticket& ticket, const Place& place, const Result<T>& result) {
    const ErrorCode code = result.has_value() ? ErrorCode::cancelled : result.error().code;
    check_outcome(ticket, result.has_value(), code);
    if (!result.has_value()) place.strand->last_error = result.error();
  }
  void check_outcome(Ticket& ticket, bool has_value, ErrorCode code);
  /// An operation that was cancelled may still have completed.
  void check_operation(Ticket& ticket, const Place& place, const Result<void>& result);
  void check_alive() const { FUZZ_CHECK(!is_dead, "a task of a killed host ran on"); }
  void check_same(const Result<void>& result, const std::optional<Error>& expected, const char* what) const;
  /// Everything came back.
  void check_quiet();

  World& world;
  Host& host;
  const std::span<const FuzzEvent> events;
  size_t& event_next;
  ExpectedDisk& disk;
  Model model;
  EventHash hash;

  bool is_dead = false;
  ModelContext* root = nullptr;
  Primitives* primitives = nullptr;
  File* file = nullptr;
  ModelEvent model_events[3];
  ModelSemaphore model_semaphores[2];
  ModelMutex model_mutexes[2];
  ModelCondition model_conditions[2];
  ModelChannel model_channels[2];
  std::vector<ModelScope*> scopes;  // open ones whose body has begun
  uint64_t value_next = 1;

  uint32_t guard_next = 0;
  uint64_t guard_live_count = 0;
  uint64_t token_live_count = 0;
  uint32_t exit_levels = 0;
  std::optional<uint32_t> kill_in_steps;
  std::optional<uint32_t> cancel_root_in_steps;

  // Transfers: a region is written by one at a time, and read by nobody meanwhile.
  static constexpr uint32_t buffer_count = 64;
  static constexpr uint32_t buffer_size = ExpectedDisk::region_sectors * ExpectedDisk::sector_size;
  std::byte* buffer(uint32_t index) noexcept { return buffers_.get() + size_t{index} * buffer_size; }
  int32_t region_users[ExpectedDisk::region_count] = {};  // readers, or -1: a writer
  std::vector<uint32_t> buffers_free;

 private:
  struct FreeAligned {
    void operator()(std::byte* memory) const noexcept { ::operator delete[](memory, std::align_val_t{512}); }
  };
  std::unique_ptr<std::byte[], FreeAligned> buffers_;
};

/// A local whose destructor checks that it runs once, and after those of all locals that came later.
class Guard {
 public:
  Guard(Machine& machine, const Place& place) noexcept
      : machine_(machine), strand_(*place.strand), id_(++machine.guard_next) {
    machine.check_alive();
    FUZZ_CHECK(strand_.guard_count < StrandState::guards_max, "tasks nest deeper than the fuzzer allows");
    strand_.guards[strand_.guard_count++] = id_;
    ++machine.guard_live_count;
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard() {
    FUZZ_CHECK(strand_.guard_count > 0 && strand_.guards[strand_.guard_count - 1] == id_,
               "a local was destroyed twice, or out of order");
    --strand_.guard_count;
    --machine_.guard_live_count;
    if (is_finished_ || machine_.is_dead) return;
    if (++machine_.exit_levels == 4) machine_.model.mark(Mark::early_exit_through_levels);
  }
  void finish() noexcept { is_finished_ = true; }

 private:
  Machine& machine_;
  StrandState& strand_;
  uint32_t id_;
  bool is_finished_ = false;
};

/// Takes events and does what they say, until `budget` are done, the list is at its end, or an error leaves it.
Task<Result<void>> run_block(Machine& machine, Place place, uint32_t budget);
Task<Result<void>> run_root(Machine& machine);

// runtime_waits.cpp
Task<Result<void>> do_wait(Machine& machine, Place place, FuzzEvent event);
bool is_wait(Action action) noexcept;
/// What needs no await. False when the event is none of these.
bool do_at_once(Machine& machine, const Place& place, const FuzzEvent& event);

// runtime_structures.cpp
Task<Result<void>> do_structure(Machine& machine, Place place, FuzzEvent event);

// runtime_transfers.cpp
Task<Result<void>> do_transfer(Machine& machine, Place place, FuzzEvent event);
/// Compares the disk with what is expected; after a kill, what was in flight may have happened in part.
void check_disk(Host& host, ExpectedDisk& disk);

}  // namespace spindle::fuzz
