// The naive model of the runtime: what every wait must end with, worked out one step at a time beside the real
// thing. Queues are vectors, trees are vectors of children, timers are searched from end to end.
//
// The order in which a cancel reaches the contexts of a tree is part of the model (parents first, the youngest child
// first), because a cancelled waiter can make room for another that the same cancel reaches later.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/result.h"
#include "runtime/scope.h"

namespace spindle::fuzz {

/// Points that the fuzzer has to reach.
enum class Mark : uint8_t {
  cancelled_while_queued,
  granted_then_cancelled,
  refused_when_cancelled,
  cancelled_while_relocking,
  cancel_unblocked_another,
  early_exit_through_levels,
  timeout_fired,
  timeout_lost_to_completion,
  operation_cancelled,
  operation_completed_after_cancel,
  spawn_waited,
  spawn_refused,
  error_cancelled_siblings,
  cancel_stopped_at_shield,
  race_lost,
  channel_closed_on_waiter,
  latch_opened_late,
  gate_closed_late,
  killed_with_operation_in_flight,
  killed_with_waiters,
  restarted_after_kill,
  deadlock_resolved,
  root_cancelled,
};
inline constexpr const char* mark_names[] = {
    "cancelled while queued",
    "granted, then cancelled",
    "refused in a cancelled context",
    "cancelled while it waits for the lock again",
    "a cancelled waiter made room for another",
    "early exit through four levels",
    "timeout fired",
    "timeout lost to completion",
    "operation cancelled",
    "operation completed in spite of a cancel",
    "spawn waited for a place",
    "spawn refused",
    "an error cancelled the siblings",
    "a cancel stopped at a shield",
    "race lost",
    "channel closed on a waiter",
    "latch opened after somebody waited",
    "gate closed after somebody waited",
    "killed with operation in flight",
    "killed with waiters",
    "restarted after a kill",
    "deadlock resolved from outside",
    "root cancelled",
};
inline constexpr size_t mark_count = sizeof(mark_names) / sizeof(mark_names[0]);
static_assert(static_cast<size_t>(Mark::root_cancelled) + 1 == mark_count);

struct Ticket;

/// A cancellation context.
struct ModelContext {
  ModelContext* parent = nullptr;
  std::vector<ModelContext*> children;  // the oldest first
  bool is_shield = false;
  bool is_cancelled = false;
  bool has_fired = false;               // of a timeout section: its timer did
  Ticket* waiting = nullptr;
};

using Tickets = std::vector<Ticket*>;

enum class WaitKind : uint8_t { simple, semaphore, condition, sleep, operation };
enum class Outcome : uint8_t { waiting, success, cancelled, closed };

/// One wait. `simple`: leaves its queue when it is cancelled, and that is all.
struct Ticket {
  Ticket(WaitKind wait_kind, ModelContext& in) noexcept : kind(wait_kind), context(&in) {}
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  WaitKind kind;
  ModelContext* context;
  Outcome outcome = Outcome::waiting;
  Tickets* queue = nullptr;            // where it waits
  struct ModelSemaphore* semaphore = nullptr;
  struct ModelMutex* mutex = nullptr;
  uint64_t value = 0;                  // units asked for; the value sent or received
  bool is_relocking = false;
  bool is_refused = false;             // a condition's wait: cancelled on its way to the lock
  bool is_cancel_requested = false;
  bool has_waited = false;
};

struct ModelEvent {
  bool is_set = false;
  Tickets waiters;
};
struct ModelSemaphore {
  uint64_t available = 0;
  Tickets waiters;
};
struct ModelMutex {
  bool is_locked = false;
  Tickets waiters;
};
struct ModelCondition {
  Tickets waiters;
};
struct ModelChannel {
  size_t capacity = 1;
  bool is_closed = false;
  std::vector<uint64_t> values;
  Tickets senders;
  Tickets receivers;
};
struct ModelGate {
  uint64_t inside_count = 0;
  Tickets closers;
};
struct ModelScope {
  Scope* real = nullptr;
  ModelContext* context = nullptr;
  ScopeOptions options;
  uint32_t place_count = 0;   // taken: children, and spawns that were granted
  uint32_t child_count = 0;
  bool child_was_cancelled = false;
  std::optional<Error> first_error;
  Tickets spawners;
};

class Model {
 public:
  using Marks = std::vector<uint64_t>;

  explicit Model(Marks& marks) : marks_(marks) {}
  void mark(Mark mark) noexcept { ++marks_[static_cast<size_t>(mark)]; }

  ModelContext& open(ModelContext* parent, bool is_shield = false);
  void close(ModelContext& context) noexcept;
  void cancel(ModelContext& context) noexcept;
  size_t open_count() const noexcept { return open_count_; }

  // Begin a wait, in the statement before the real one.
  void wait(Ticket& ticket, ModelEvent& event) noexcept;
  void acquire(Ticket& ticket, ModelSemaphore& semaphore, uint64_t count) noexcept;
  void lock(Ticket& ticket, ModelMutex& mutex) noexcept;
  void wait(Ticket& ticket, ModelCondition& condition, ModelMutex& mutex) noexcept;
  void send(Ticket& ticket, ModelChannel& channel, uint64_t value) noexcept;
  void receive(Ticket& ticket, ModelChannel& channel) noexcept;
  void close_gate(Ticket& ticket, ModelGate& gate) noexcept;
  void sleep(Ticket& ticket, uint64_t now_ns, uint64_t for_ns);
  void spawn(Ticket& ticket, ModelScope& scope) noexcept;
  void yield(Ticket& ticket) noexcept;
  void operate(Ticket& ticket) noexcept;
  /// The wait is over: the task goes on.
  void end(Ticket& ticket) noexcept { ticket.context->waiting = nullptr; }

  // What wakes others.
  void set(ModelEvent& event) noexcept;
  void release(ModelSemaphore& semaphore, uint64_t count) noexcept;
  void unlock(ModelMutex& mutex) noexcept;
  void notify_one(ModelCondition& condition) noexcept;
  void notify_all(ModelCondition& condition) noexcept;
  void close(ModelChannel& channel) noexcept;
  void leave(ModelGate& gate) noexcept;

  void arm_timeout(ModelContext& section, uint64_t now_ns, uint64_t for_ns);
  void disarm_timeout(ModelContext& section) noexcept;
  void fire_due(uint64_t now_ns) noexcept;
  size_t timer_count() const noexcept { return timers_.size(); }

  void note_error(ModelScope& scope, const Error& error) noexcept;
  void end_child(ModelScope& scope, ModelContext& context, const Result<void>& result) noexcept;
  void serve_spawners(ModelScope& scope) noexcept;
  /// What with_scope() must return: null for success.
  std::optional<Error> outcome_of(const ModelScope& scope) const noexcept;

 private:
  struct ModelTimer {
    uint64_t deadline_ns;
    uint64_t sequence;
    Ticket* sleeper;        // or
    ModelContext* section;
  };

  bool refuse(Ticket& ticket) noexcept;
  void enqueue(Ticket& ticket, Tickets& queue) noexcept;
  void grant(Ticket& ticket, Outcome outcome = Outcome::success) noexcept;
  void relock(Ticket& ticket) noexcept;
  void cancel_ticket(Ticket& ticket) noexcept;
  uint32_t serve(ModelSemaphore& semaphore) noexcept;
  void remove_timer(const Ticket* sleeper, const ModelContext* section) noexcept;

  Marks& marks_;
  std::vector<std::unique_ptr<ModelContext>> contexts_;
  std::vector<ModelContext*> free_;
  size_t open_count_ = 0;
  std::vector<ModelTimer> timers_;
  uint64_t sequence_next_ = 0;
};

}  // namespace spindle::fuzz
