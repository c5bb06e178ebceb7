#include "tests/fuzz/runtime_model.h"

#include <algorithm>

#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

ModelContext& Model::open(ModelContext* parent, bool is_shield) {
  if (free_.empty()) {
    contexts_.push_back(std::make_unique<ModelContext>());
    free_.push_back(contexts_.back().get());
  }
  ModelContext& context = *free_.back();
  free_.pop_back();
  context.children.clear();
  context.parent = parent;
  context.is_shield = is_shield;
  context.is_cancelled = parent != nullptr && parent->is_cancelled && !is_shield;
  context.has_fired = false;
  context.waiting = nullptr;
  if (parent != nullptr) parent->children.push_back(&context);
  ++open_count_;
  return context;
}

void Model::close(ModelContext& context) noexcept {
  FUZZ_CHECK(context.children.empty(), "a context was closed before those inside it");
  FUZZ_CHECK(context.waiting == nullptr, "a context was closed under a wait");
  if (context.parent != nullptr) std::erase(context.parent->children, &context);
  --open_count_;
  free_.push_back(&context);
}

void Model::cancel(ModelContext& context) noexcept {
  if (context.is_cancelled) return;
  context.is_cancelled = true;
  if (context.waiting != nullptr) cancel_ticket(*context.waiting);
  for (size_t left = context.children.size(); left > 0; --left) {
    ModelContext& child = *context.children[left - 1];
    if (child.is_shield) {
      mark(Mark::cancel_stopped_at_shield);
    } else {
      cancel(child);
    }
  }
}

void Model::cancel_ticket(Ticket& ticket) noexcept {
  if (ticket.outcome != Outcome::waiting) return mark(Mark::granted_then_cancelled);
  ticket.is_cancel_requested = true;
  switch (ticket.kind) {
    case WaitKind::operation: return;  // its own completion decides
    case WaitKind::simple: break;
    case WaitKind::semaphore: {
      grant(ticket, Outcome::cancelled);
      mark(Mark::cancelled_while_queued);
      if (serve(*ticket.semaphore) > 0) mark(Mark::cancel_unblocked_another);
      return;
    }
    case WaitKind::condition:
      if (ticket.is_relocking) return mark(Mark::cancelled_while_relocking);
      ticket.is_refused = true;
      return relock(ticket);
    case WaitKind::sleep:
      remove_timer(&ticket, nullptr);
      ticket.outcome = Outcome::cancelled;
      return;
  }
  mark(Mark::cancelled_while_queued);
  grant(ticket, Outcome::cancelled);
}

bool Model::refuse(Ticket& ticket) noexcept {
  if (!ticket.context->is_cancelled) return false;
  ticket.outcome = Outcome::cancelled;
  mark(Mark::refused_when_cancelled);
  return true;
}

void Model::enqueue(Ticket& ticket, Tickets& queue) noexcept {
  ticket.context->waiting = &ticket;
  ticket.queue = &queue;
  ticket.has_waited = true;
  queue.push_back(&ticket);
}

void Model::grant(Ticket& ticket, Outcome outcome) noexcept {
  FUZZ_CHECK(ticket.outcome == Outcome::waiting, "a wait ended twice");
  std::erase(*ticket.queue, &ticket);
  ticket.outcome = ticket.is_refused ? Outcome::cancelled : outcome;
}

void Model::wait(Ticket& ticket, ModelEvent& event) noexcept {
  if (refuse(ticket)) return;
  if (event.is_set) {
    ticket.outcome = Outcome::success;
  } else {
    enqueue(ticket, event.waiters);
  }
}

void Model::set(ModelEvent& event) noexcept {
  event.is_set = true;
  while (!event.waiters.empty()) grant(*event.waiters.front());
}

void Model::acquire(Ticket& ticket, ModelSemaphore& semaphore, uint64_t count) noexcept {
  ticket.value = count;
  ticket.semaphore = &semaphore;
  if (refuse(ticket)) return;
  enqueue(ticket, semaphore.waiters);
  if (semaphore.waiters.size() > 1) return;
  ticket.has_waited = serve(semaphore) == 0;
}

uint32_t Model::serve(ModelSemaphore& semaphore) noexcept {
  uint32_t count = 0;
  while (!semaphore.waiters.empty() && semaphore.waiters.front()->value <= semaphore.available) {
    semaphore.available -= semaphore.waiters.front()->value;
    grant(*semaphore.waiters.front());
    ++count;
  }
  return count;
}

void Model::release(ModelSemaphore& semaphore, uint64_t count) noexcept {
  semaphore.available += count;
  serve(semaphore);
}

void Model::lock(Ticket& ticket, ModelMutex& mutex) noexcept {
  if (refuse(ticket)) return;
  if (mutex.is_locked) return enqueue(ticket, mutex.waiters);
  mutex.is_locked = true;
  ticket.outcome = Outcome::success;
}

void Model::unlock(ModelMutex& mutex) noexcept {
  FUZZ_CHECK(mutex.is_locked, "the model unlocked a mutex that is not locked");
  mutex.is_locked = !mutex.waiters.empty();
  if (mutex.is_locked) grant(*mutex.waiters.front());
}

void Model::wait(Ticket& ticket, ModelCondition& condition, ModelMutex& mutex) noexcept {
  ticket.mutex = &mutex;
  if (refuse(ticket)) return;
  enqueue(ticket, condition.waiters);
  unlock(mutex);
}

void Model::relock(Ticket& ticket) noexcept {
  ticket.is_relocking = true;
  std::erase(*ticket.queue, &ticket);
  enqueue(ticket, ticket.mutex->waiters);
  if (ticket.mutex->is_locked) return;
  ticket.mutex->is_locked = true;
  grant(ticket);
}

void Model::notify_one(ModelCondition& condition) noexcept {
  if (!condition.waiters.empty()) relock(*condition.waiters.front());
}

void Model::notify_all(ModelCondition& condition) noexcept {
  while (!condition.waiters.empty()) relock(*condition.waiters.front());
}

void Model::send(Ticket& ticket, ModelChannel& channel, uint64_t value) noexcept {
  ticket.value = value;
  if (refuse(ticket)) return;
  if (channel.is_closed) {
    ticket.outcome = Outcome::closed;
  } else if (!channel.receivers.empty()) {
    channel.receivers.front()->value = value;
    grant(*channel.receivers.front());
    ticket.outcome = Outcome::success;
  } else if (channel.values.size() < channel.capacity) {
    channel.values.push_back(value);
    ticket.outcome = Outcome::success;
  } else {
    enqueue(ticket, channel.senders);
  }
}

void Model::receive(Ticket& ticket, ModelChannel& channel) noexcept {
  if (refuse(ticket)) return;
  if (channel.values.empty()) {
    if (!channel.is_closed) return enqueue(ticket, channel.receivers);
    ticket.outcome = Outcome::closed;
    return;
  }
  ticket.value = channel.values.front();
  channel.values.erase(channel.values.begin());
  ticket.outcome = Outcome::success;
  if (channel.senders.empty()) return;
  channel.values.push_back(channel.senders.front()->value);
  grant(*channel.senders.front());
}

void Model::close(ModelChannel& channel) noexcept {
  channel.is_closed = true;
  if (!channel.senders.empty() || !channel.receivers.empty()) mark(Mark::channel_closed_on_waiter);
  while (!channel.senders.empty()) grant(*channel.senders.front(), Outcome::closed);
  while (!channel.receivers.empty()) grant(*channel.receivers.front(), Outcome::closed);
}

void Model::close_gate(Ticket& ticket, ModelGate& gate) noexcept {
  if (refuse(ticket)) return;
  if (gate.inside_count > 0) return enqueue(ticket, gate.closers);
  ticket.outcome = Outcome::success;
}

void Model::leave(ModelGate& gate) noexcept {
  if (--gate.inside_count > 0) return;
  if (!gate.closers.empty()) mark(Mark::gate_closed_late);
  while (!gate.closers.empty()) grant(*gate.closers.front());
}

void Model::yield(Ticket& ticket) noexcept {
  if (refuse(ticket)) return;
  ticket.outcome = Outcome::success;
  ticket.context->waiting = &ticket;
}

void Model::operate(Ticket& ticket) noexcept {
  if (!refuse(ticket)) ticket.context->waiting = &ticket;
}

void Model::sleep(Ticket& ticket, uint64_t now_ns, uint64_t for_ns) {
  if (refuse(ticket)) return;
  if (for_ns == 0) {
    ticket.outcome = Outcome::success;
    return;
  }
  ticket.context->waiting = &ticket;
  timers_.push_back({now_ns + for_ns, sequence_next_++, &ticket, nullptr});
}

void Model::arm_timeout(ModelContext& section, uint64_t now_ns, uint64_t for_ns) {
  if (for_ns == 0) {
    section.has_fired = true;
    return cancel(section);
  }
  timers_.push_back({now_ns + for_ns, sequence_next_++, nullptr, &section});
}

void Model::disarm_timeout(ModelContext& section) noexcept { remove_timer(nullptr, &section); }

void Model::remove_timer(const Ticket* sleeper, const ModelContext* section) noexcept {
  std::erase_if(timers_, [=](const ModelTimer& timer) { return timer.sleeper == sleeper && timer.section == section; });
}

void Model::fire_due(uint64_t now_ns) noexcept {
  while (!timers_.empty()) {
    const auto first = std::min_element(timers_.begin(), timers_.end(), [](const ModelTimer& a, const ModelTimer& b) {
      return a.deadline_ns != b.deadline_ns ? a.deadline_ns < b.deadline_ns : a.sequence < b.sequence;
    });
    if (first->deadline_ns > now_ns) return;
    const ModelTimer timer = *first;
    timers_.erase(first);
    if (timer.sleeper != nullptr) {
      timer.sleeper->outcome = Outcome::success;
    } else {
      timer.section->has_fired = true;
      mark(Mark::timeout_fired);
      cancel(*timer.section);
    }
  }
}

void Model::spawn(Ticket& ticket, ModelScope& scope) noexcept {
  if (refuse(ticket)) return mark(Mark::spawn_refused);
  if (scope.context->is_cancelled) {
    ticket.outcome = Outcome::cancelled;
    return mark(Mark::spawn_refused);
  }
  if (scope.options.children_max == 0 || scope.place_count < scope.options.children_max) {
    ++scope.place_count;
    ticket.outcome = Outcome::success;
    return;
  }
  mark(Mark::spawn_waited);
  enqueue(ticket, scope.spawners);
}

void Model::note_error(ModelScope& scope, const Error& error) noexcept {
  if (error.code == ErrorCode::cancelled && scope.context->is_cancelled) {
    scope.child_was_cancelled = true;
    return;
  }
  if (!scope.first_error.has_value()) scope.first_error = error;
  if (scope.options.on_error != OnError::cancel_others) return;
  if (scope.child_count > 1) mark(Mark::error_cancelled_siblings);
  cancel(*scope.context);
}

void Model::end_child(ModelScope& scope, ModelContext& context, const Result<void>& result) noexcept {
  if (!result.has_value()) note_error(scope, result.error());
  close(context);
  --scope.child_count;
  --scope.place_count;
  serve_spawners(scope);
}

// Whoever waits for a place is served when a child ends, and when one begins: a spawn that was granted its place before
// the scope was cancelled still uses it, and those behind it, shielded from the cancel until then, are refused.
void Model::serve_spawners(ModelScope& scope) noexcept {
  while (!scope.spawners.empty()) {
    if (scope.context->is_cancelled) {
      grant(*scope.spawners.front(), Outcome::cancelled);
    } else if (scope.place_count < scope.options.children_max) {
      ++scope.place_count;
      grant(*scope.spawners.front());
    } else {
      break;
    }
  }
}

std::optional<Error> Model::outcome_of(const ModelScope& scope) const noexcept {
  if (scope.first_error.has_value()) return scope.first_error;
  const ModelContext* outer = scope.context->parent;
  if (scope.child_was_cancelled && outer->is_cancelled) return Error{ErrorCode::cancelled, 0, "scope", 0};
  return std::nullopt;
}

}  // namespace spindle::fuzz
