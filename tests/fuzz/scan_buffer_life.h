// One life of a host with scan buffers, for the fuzzer `scan_buffer`: the real handles, the model, and what is done to
// both at once.
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "io/sim/event_hash.h"
#include "lsm/scan_buffer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/runtime/probes.h"

namespace spindle::fuzz::scan_buffer {

enum class Mark : uint8_t {
  waited,
  granted_then_cancelled,
  cancelled_while_waiting,
  cancelled_in_the_middle,
  refused_in_cancelled_context,
  exceeded,
  hole_filled,
  second_word,
  moved_over_valid,
  moved_over_stale,
  stale_dropped_beside_new_one,
  reset_with_buffers_out,
  reset_with_waiters,
  reset_with_more_waiters_than_buffers,
  reset_overtook_grant,
  too_few_blocks,
  blocks_went_to_waiter,
  killed_with_waiters,
  killed_with_grant,
  killed_with_buffers_out,
};
inline constexpr const char* mark_names[] = {
    "waited, then granted",
    "granted, then cancelled",
    "cancelled while waiting",
    "cancelled between others that wait",
    "refused in a cancelled context",
    "scans_max exceeded",
    "a buffer below others was handed out",
    "more buffers than bits of a word in use",
    "a handle moved over one with a buffer",
    "a handle moved over one from before a reset",
    "a handle dropped whose buffer is somebody else's by now",
    "reset with buffers out",
    "reset with waiters",
    "reset with more waiters than buffers",
    "a reset between a grant and its turn",
    "fewer blocks than the buffers need",
    "blocks of destroyed buffers went to who waited",
    "killed with waiters",
    "killed with a grant that was not taken",
    "killed with buffers out",
};
static_assert(static_cast<size_t>(Mark::killed_with_buffers_out) + 1 == sizeof(mark_names) / sizeof(mark_names[0]));

enum class Action : uint8_t { wait, wait_cancelled, try_acquire, assume, move, drop, cancel, rest, reset, drop_all };
inline constexpr size_t action_count = static_cast<size_t>(Action::drop_all) + 1;

struct Event {
  uint32_t number;
  Action action;
  uint32_t a;
  uint32_t b;
};

const char* name_of(Action action) noexcept;
std::string to_string(const Event& event);

enum class Outcome : uint8_t { waiting, granted, cancelled };

/// Which buffer, and in which session it was handed out.
struct Grant {
  uint32_t index = 0;
  uint64_t session = 0;
};

struct WaitingTask {
  Outcome outcome = Outcome::waiting;
  Grant grant;
  bool is_cancelled = false;  // its context
  Scope* scope = nullptr;  // while it lives
};

struct Held {
  ScanBuffer buffer;
  Grant grant;
};

struct Shape {
  ScanBufferOptions options;
  uint32_t spare_blocks_count = 0;
  uint32_t block_waiters_count = 0;  // at the end, when the buffers are destroyed
};

/// One life of the host. Pools and handles die with the root's frame.
struct Life {
  Life(std::span<const Event> event_list, size_t& next, Coverage& to_mark)
      : events(event_list), event_next(next), coverage(to_mark) {}
  void mark(Mark reached) { coverage.mark(static_cast<size_t>(reached)); }

  const std::span<const Event> events;
  size_t& event_next;
  Coverage& coverage;
  bool is_dead = false;
  EventHash hash;
  ScanBufferPool* pool = nullptr;
  std::vector<Held>* held = nullptr;
  // The model.
  Shape shape;
  std::set<uint32_t> free;
  uint64_t session = 1;
  std::deque<uint32_t> queue;  // of waiting tasks
  std::vector<uint64_t> stamps;  // of each buffer: what its blocks begin with
  uint64_t stamps_count = 0;
  std::deque<WaitingTask> tasks;
  uint64_t tasks_live_count = 0;
  uint64_t grants_open_count = 0;  // granted, and not resumed yet
  uint64_t blocks_served_count = 0;
};

/// Hands the free buffer with the lowest index out, in the model.
Grant take_free(Life& life);
/// The same, to a task.
void grant(Life& life, WaitingTask& task);
/// The handle is what the model says, and nobody wrote to its blocks.
void check_held(const Life& life, const Held& held);
/// Keeps a buffer that was handed out, after a look at it.
void hold(Life& life, ScanBuffer buffer, const Grant& expected);
void try_acquire(Life& life);
void drop(Life& life, size_t place);
/// One handle takes the place of another, whose buffer goes back.
void move(Life& life, size_t from, size_t into);
void reset(Life& life);

}  // namespace spindle::fuzz::scan_buffer
