// The waits of the fuzzer `runtime`: each tells the model what it is about to do, does it, and compares.
#include "runtime/sleep.h"
#include "tests/fuzz/runtime_machine.h"

namespace spindle::fuzz {

namespace {

/// Units of a semaphore, given back to the model and to the real one at the same moment.
class HeldPermit {
 public:
  HeldPermit(Machine& machine, ModelSemaphore& model, uint64_t count, Semaphore::Permit permit) noexcept
      : machine_(machine), model_(model), count_(count), permit_(std::move(permit)) {}
  HeldPermit(const HeldPermit&) = delete;
  HeldPermit& operator=(const HeldPermit&) = delete;
  ~HeldPermit() {
    if (!machine_.is_dead) machine_.model.release(model_, count_);
  }

 private:
  Machine& machine_;
  ModelSemaphore& model_;
  uint64_t count_;
  Semaphore::Permit permit_;
};

class HeldLock {
 public:
  HeldLock(Machine& machine, ModelMutex& model, Mutex::Lock lock) noexcept
      : machine_(machine), model_(model), lock_(std::move(lock)) {}
  HeldLock(const HeldLock&) = delete;
  HeldLock& operator=(const HeldLock&) = delete;
  ~HeldLock() {
    if (!machine_.is_dead) machine_.model.unlock(model_);
  }
  Mutex::Lock& lock() noexcept { return lock_; }

 private:
  Machine& machine_;
  ModelMutex& model_;
  Mutex::Lock lock_;
};

Task<Result<void>> do_yield(Machine& machine, Place place) {
  Guard guard(machine, place);
  Ticket ticket(WaitKind::simple, *place.context);
  machine.model.yield(ticket);
  const Result<void> result = co_await yield();
  machine.check_wait(ticket, place, result);
  guard.finish();
  co_return result;
}

Task<Result<void>> do_sleep(Machine& machine, Place place, uint32_t for_ns) {
  Guard guard(machine, place);
  Ticket ticket(WaitKind::sleep, *place.context);
  machine.model.sleep(ticket, machine.now_ns(), for_ns);
  const Duration duration(for_ns);
  const Result<void> result = co_await sleep_for(duration);
  machine.check_wait(ticket, place, result);
  guard.finish();
  co_return result;
}

Task<Result<void>> do_wait_event(Machine& machine, Place place, uint32_t which) {
  Guard guard(machine, place);
  Ticket ticket(WaitKind::simple, *place.context);
  machine.model.wait(ticket, machine.model_events[which]);
  const Result<void> result = co_await machine.primitives->events[which].wait();
  machine.check_wait(ticket, place, result);
  guard.finish();
  co_return result;
}

Task<Result<void>> do_acquire(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  const uint32_t which = event.a % 2;
  const uint64_t count = 1 + event.b % (which == 0 ? 3 : 2);
  Ticket ticket(WaitKind::semaphore, *place.context);
  machine.model.acquire(ticket, machine.model_semaphores[which], count);
  Result<Semaphore::Permit> permit = co_await machine.primitives->semaphores[which].acquire(count);
  machine.check_wait(ticket, place, permit);
  if (!permit.has_value()) {
    guard.finish();
    co_return Unexpected(permit.error());
  }
  const HeldPermit held(machine, machine.model_semaphores[which], count, std::move(*permit));
  co_await ok(run_block(machine, place.deeper(), event.c % 4));
  guard.finish();
  co_return Result<void>();
}

Task<Result<void>> do_lock(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  const uint32_t which = event.a % 2;
  ModelMutex& model = machine.model_mutexes[which];
  Ticket ticket(WaitKind::simple, *place.context);
  machine.model.lock(ticket, model);
  Result<Mutex::Lock> lock = co_await machine.primitives->mutexes[which].lock();
  machine.check_wait(ticket, place, lock);
  if (!lock.has_value()) {
    guard.finish();
    co_return Unexpected(lock.error());
  }
  HeldLock held(machine, model, std::move(*lock));
  if (event.action == Action::wait_condition) {
    Ticket waiting(WaitKind::condition, *place.context);
    machine.model.wait(waiting, machine.model_conditions[which], model);
    const Result<void> notified = co_await machine.primitives->conditions[which].wait(held.lock());
    machine.check_wait(waiting, place, notified);
    FUZZ_CHECK(model.is_locked && machine.primitives->mutexes[which].is_locked(),
               "a wait on a condition came back without the lock");
    if (!notified.has_value() && event.propagates) co_return notified;
  }
  co_await ok(run_block(machine, place.deeper(), event.c % 4));
  guard.finish();
  co_return Result<void>();
}

Task<Result<void>> do_send(Machine& machine, Place place, uint32_t which) {
  Guard guard(machine, place);
  const uint64_t value = machine.value_next++;
  Ticket ticket(WaitKind::simple, *place.context);
  machine.model.send(ticket, machine.model_channels[which], value);
  const Result<void> result = co_await machine.primitives->channels[which].send(value);
  machine.check_wait(ticket, place, result);
  guard.finish();
  co_return result;
}

Task<Result<void>> do_receive(Machine& machine, Place place, uint32_t which) {
  Guard guard(machine, place);
  Ticket ticket(WaitKind::simple, *place.context);
  machine.model.receive(ticket, machine.model_channels[which]);
  const Result<uint64_t> result = co_await machine.primitives->channels[which].receive();
  machine.check_wait(ticket, place, result);
  guard.finish();
  if (!result.has_value()) co_return Unexpected(result.error());
  FUZZ_CHECK(result.value() == ticket.value, "a channel gave a value out of order");
  co_return Result<void>();
}

void cancel(Machine& machine, ModelScope& scope) {
  machine.model.cancel(*scope.context);
  scope.real->cancel();
}

}  // namespace

bool is_wait(Action action) noexcept {
  switch (action) {
    case Action::yield:
    case Action::sleep:
    case Action::wait_event:
    case Action::acquire:
    case Action::lock:
    case Action::wait_condition:
    case Action::send:
    case Action::receive: return true;
    default: return false;
  }
}

SPINDLE_TASK_WRAPPER Task<Result<void>> do_wait(Machine& machine, Place place, FuzzEvent event) {
  switch (event.action) {
    case Action::sleep: return do_sleep(machine, place, duration_ns_of(event));
    case Action::wait_event: return do_wait_event(machine, place, event.a % 3);
    case Action::acquire: return do_acquire(machine, place, event);
    case Action::lock:
    case Action::wait_condition: return do_lock(machine, place, event);
    case Action::send: return do_send(machine, place, event.a % 2);
    case Action::receive: return do_receive(machine, place, event.a % 2);
    default: return do_yield(machine, place);
  }
}

bool do_at_once(Machine& machine, const Place& place, const FuzzEvent& event) {
  Model& model = machine.model;
  Primitives& real = *machine.primitives;
  switch (event.action) {
    case Action::set_event:
      model.set(machine.model_events[event.a % 3]);
      real.events[event.a % 3].set();
      return true;
    case Action::reset_event:
      machine.model_events[event.a % 3].is_set = false;
      real.events[event.a % 3].reset();
      return true;
    case Action::notify_one:
      model.notify_one(machine.model_conditions[event.a % 2]);
      real.conditions[event.a % 2].notify_one();
      return true;
    case Action::notify_all:
      model.notify_all(machine.model_conditions[event.a % 2]);
      real.conditions[event.a % 2].notify_all();
      return true;
    case Action::close_channel:
      if (event.b % 4 != 0) return true;
      model.close(machine.model_channels[event.a % 2]);
      real.channels[event.a % 2].close();
      return true;
    case Action::cancel_scope:
      if (place.scope->real == nullptr) return true;
      if (place.scope != machine.scopes.front() || event.b % 16 == 0) cancel(machine, *place.scope);
      return true;
    case Action::cancel_any_scope:
      if (const size_t index = event.a % machine.scopes.size(); index != 0 || event.b % 16 == 0) {
        cancel(machine, *machine.scopes[index]);
      }
      return true;
    case Action::cancel_root: machine.cancel_root_in_steps = event.a % 20; return true;
    case Action::kill: machine.kill_in_steps = event.a % 20; return true;
    default: return false;
  }
}

}  // namespace spindle::fuzz
