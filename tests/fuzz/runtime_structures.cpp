// Scopes, sections and combinators of the fuzzer `runtime`. The model opens its contexts in the statement before the
// real ones are opened, and ends a child where the child's last statement runs; nothing comes between.
#include "runtime/combinators.h"
#include "tests/fuzz/runtime_machine.h"

namespace spindle::fuzz {

namespace {

/// Travels with a child's arguments: counts, and does its part however the child ends, or if it never begins.
class Token {
 public:
  Token(Machine& machine, Latch* latch, ModelEvent* opened) noexcept
      : machine_(&machine), latch_(latch), opened_(opened) {
    ++machine.token_live_count;
  }
  Token(Machine& machine, ModelGate& gate, Gate::Pass pass) noexcept
      : machine_(&machine), gate_(&gate), pass_(std::move(pass)) {
    ++machine.token_live_count;
  }
  Token(Token&& other) noexcept
      : machine_(std::exchange(other.machine_, nullptr)),
        latch_(other.latch_),
        opened_(other.opened_),
        gate_(other.gate_),
        pass_(std::move(other.pass_)) {}
  Token& operator=(Token&&) = delete;
  ~Token() {
    if (machine_ == nullptr) return;
    --machine_->token_live_count;
    if (machine_->is_dead) return;
    if (gate_ != nullptr) machine_->model.leave(*gate_);
    if (latch_ == nullptr) return;
    if (latch_->count() == 1) {
      if (!opened_->waiters.empty()) machine_->model.mark(Mark::latch_opened_late);
      machine_->model.set(*opened_);
    }
    latch_->count_down();
  }

 private:
  Machine* machine_;
  Latch* latch_ = nullptr;
  ModelEvent* opened_ = nullptr;
  ModelGate* gate_ = nullptr;
  std::optional<Gate::Pass> pass_;
};

/// The model's side of a scope, for as long as the real one is open.
class OpenScope {
 public:
  OpenScope(Machine& machine, const Place& place, ScopeOptions options) : machine_(machine) {
    model.context = &machine.model.open(place.context);
    model.options = options;
  }
  OpenScope(const OpenScope&) = delete;
  OpenScope& operator=(const OpenScope&) = delete;
  ~OpenScope() {
    if (!machine_.is_dead) std::erase(machine_.scopes, &model);
  }
  /// After the real one was left.
  void close(const Place& place, const Result<void>& result) {
    machine_.check_alive();
    FUZZ_CHECK(model.child_count == 0, "a scope returned before its children were gone");
    FUZZ_CHECK(model.spawners.empty(), "a scope returned while a spawn waited");
    machine_.check_same(result, machine_.model.outcome_of(model), "a scope's result is not what its children left");
    end(place, result);
  }
  void end(const Place& place, const Result<void>& result) {
    machine_.model.close(*model.context);
    if (!result.has_value()) place.strand->last_error = result.error();
  }
  /// A child that a combinator launches.
  ModelContext& add_child() {
    ++model.place_count;
    ++model.child_count;
    return machine_.model.open(model.context);
  }
  ModelScope model;

 private:
  Machine& machine_;
};

Task<Result<void>> run_child(Machine* machine, ModelScope* scope, ModelContext* context, uint32_t budget,
                             std::optional<Token> token) {
  StrandState strand;
  const Place place{context, &strand, scope, 3};
  const Result<void> result = co_await run_block(*machine, place, budget);
  static_cast<void>(token);
  machine->model.end_child(*scope, *context, result);
  co_return result;
}

/// What the scope calls when a spawn has its place: the child's context opens right after the model's.
SPINDLE_TASK_WRAPPER Task<Result<void>> begin_child(Machine* machine, ModelScope* scope, uint32_t budget,
                                                    std::optional<Token> token) {
  ++scope->child_count;
  ModelContext& context = machine->model.open(scope->context);
  machine->model.serve_spawners(*scope);
  return run_child(machine, scope, &context, budget, std::move(token));
}

Task<Result<void>> spawn_child(Machine& machine, Place place, uint32_t budget, std::optional<Token> token) {
  Guard guard(machine, place);
  Ticket ticket(WaitKind::simple, *place.context);
  machine.model.spawn(ticket, *place.scope);
  auto spawning = place.scope->real->spawn(begin_child, &machine, place.scope, budget, std::move(token));
  const Result<void> result = co_await spawning;
  machine.check_wait(ticket, place, result);
  guard.finish();
  co_return result;
}

Task<Result<void>> scope_body(Scope& scope, Machine& machine, Place& place, ModelScope& model, uint32_t budget) {
  model.real = &scope;
  machine.scopes.push_back(&model);
  const Place inside{model.context, place.strand, &model, place.depth + 2};
  const Result<void> result = co_await run_block(machine, inside, budget);
  if (!result.has_value()) machine.model.note_error(model, result.error());
  co_return result;
}

ScopeOptions options_of(const FuzzEvent& event) noexcept {
  ScopeOptions options;
  options.children_max = event.a % 4;
  options.on_error = event.b % 3 == 0 ? OnError::collect : OnError::cancel_others;
  return options;
}

Task<Result<void>> do_scope(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  const ScopeOptions options = options_of(event);
  OpenScope scope(machine, place, options);
  uint32_t budget = 2 + event.c % 8;  // named: the scope's body takes it by reference
  auto scoped = with_scope(options, scope_body, machine, place, scope.model, budget);
  const Result<void> result = co_await std::move(scoped);
  scope.close(place, result);
  guard.finish();
  co_return result;
}

/// Children with a token each; the body waits until all tokens are gone.
Task<Result<void>> spawn_and_wait(Machine& machine, Place place, FuzzEvent event, Latch& latch, ModelEvent& opened) {
  Guard guard(machine, place);
  std::vector<Token> tokens;
  for (uint64_t left = latch.count(); left > 0; --left) tokens.emplace_back(machine, &latch, &opened);
  while (!tokens.empty()) {
    std::optional<Token> token(std::move(tokens.back()));
    tokens.pop_back();
    co_await ok(spawn_child(machine, place, event.c % 4, std::move(token)));
  }
  Ticket ticket(WaitKind::simple, *place.context);
  machine.model.wait(ticket, opened);
  const Result<void> result = co_await latch.wait();
  machine.check_wait(ticket, place, result);
  guard.finish();
  co_return result;
}

Task<Result<void>> spawn_and_close(Machine& machine, Place place, FuzzEvent event, Gate& gate, ModelGate& model) {
  Guard guard(machine, place);
  for (uint32_t count = event.b % 3; count > 0; --count) {
    Result<Gate::Pass> pass = gate.try_enter();
    FUZZ_CHECK(pass.has_value(), "an open gate let nobody in");
    ++model.inside_count;
    std::optional<Token> token(std::in_place, machine, model, std::move(*pass));
    co_await ok(spawn_child(machine, place, event.c % 4, std::move(token)));
  }
  Ticket ticket(WaitKind::simple, *place.context);
  machine.model.close_gate(ticket, model);
  const Result<void> result = co_await gate.close();
  machine.check_wait(ticket, place, result);
  guard.finish();
  co_return result;
}

/// Outlives the scope whose children hold tokens of it.
struct Group {
  explicit Group(const FuzzEvent& from) : event(from), latch(from.b % 3) { opened.is_set = latch.count() == 0; }
  FuzzEvent event;
  Latch latch;
  ModelEvent opened;
  Gate gate;
  ModelGate model_gate;
};

Task<Result<void>> group_body(Scope& scope, Machine& machine, Place& place, ModelScope& model, Group& group) {
  model.real = &scope;
  machine.scopes.push_back(&model);
  const Place inside{model.context, place.strand, &model, place.depth + 2};
  auto waiting = group.event.action == Action::latch
                     ? spawn_and_wait(machine, inside, group.event, group.latch, group.opened)
                     : spawn_and_close(machine, inside, group.event, group.gate, group.model_gate);
  const Result<void> result = co_await std::move(waiting);
  if (!result.has_value()) machine.model.note_error(model, result.error());
  co_return result;
}

Task<Result<void>> do_group(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  Group group(event);
  const ScopeOptions options = options_of(event);
  OpenScope scope(machine, place, options);
  auto scoped = with_scope(options, group_body, machine, place, scope.model, group);
  const Result<void> result = co_await std::move(scoped);
  scope.close(place, result);
  guard.finish();
  co_return result;
}

/// Passes a result on and leaves its error where the caller finds it.
Task<Result<void>> observe(Task<Result<void>> task, std::optional<Error>* error) {
  const Result<void> result = co_await std::move(task);
  if (!result.has_value()) *error = result.error();
  co_return result;
}

Task<Result<void>> do_timeout(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  ModelContext& section = machine.model.open(place.context);
  const uint32_t for_ns = duration_ns_of(event);
  const Duration duration(for_ns);
  machine.model.arm_timeout(section, machine.now_ns(), for_ns);
  std::optional<Error> expected;
  auto nested = observe(run_block(machine, place.inside(section), 1 + event.c % 4), &expected);
  const Result<void> result = co_await timeout(duration, std::move(nested));
  machine.check_alive();
  machine.model.disarm_timeout(section);
  const bool timed_out = section.has_fired && !place.context->is_cancelled;
  if (timed_out && !expected.has_value()) machine.model.mark(Mark::timeout_lost_to_completion);
  if (timed_out && expected.has_value() && expected->code == ErrorCode::cancelled) {
    expected->code = ErrorCode::timed_out;
  }
  machine.check_same(result, expected, "timeout() gave another result than what it ran");
  machine.model.close(section);
  if (!result.has_value()) place.strand->last_error = result.error();
  guard.finish();
  co_return result;
}

Task<Result<void>> do_timeout_leaf(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  ModelContext& section = machine.model.open(place.context);
  const uint32_t for_ns = duration_ns_of(event);
  const Duration duration(for_ns);
  machine.model.arm_timeout(section, machine.now_ns(), for_ns);
  Ticket ticket(WaitKind::simple, section);
  machine.model.wait(ticket, machine.model_events[event.b % 3]);
  const Result<void> result = co_await timeout(duration, machine.primitives->events[event.b % 3].wait());
  machine.check_alive();
  machine.model.disarm_timeout(section);
  const bool timed_out = section.has_fired && !place.context->is_cancelled;
  const ErrorCode wanted = timed_out ? ErrorCode::timed_out : ErrorCode::cancelled;
  FUZZ_CHECK(result.has_value() || result.error().code == wanted, "timeout() of a wait gave another error");
  if (timed_out && result.has_value()) machine.model.mark(Mark::timeout_lost_to_completion);
  machine.check_outcome(ticket, result.has_value(), ErrorCode::cancelled);
  machine.model.close(section);
  if (!result.has_value()) place.strand->last_error = result.error();
  guard.finish();
  co_return result;
}

Task<Result<void>> do_shield(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  ModelContext& section = machine.model.open(place.context, true);
  std::optional<Error> expected;
  auto nested = observe(run_block(machine, place.inside(section), 1 + event.c % 4), &expected);
  const Result<void> result = co_await shield(std::move(nested));
  machine.check_same(result, expected, "shield() gave another result than what it ran");
  machine.model.close(section);
  guard.finish();
  co_return result;
}

template <class T>
Result<void> without_value(const Result<T>& result) {
  if (!result.has_value()) return Unexpected(result.error());
  return {};
}

Task<Result<void>> do_when_all(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  OpenScope scope(machine, place, ScopeOptions());
  ModelContext* const first = &scope.add_child();
  ModelContext* const second = &scope.add_child();
  ModelContext* const third = &scope.add_child();
  auto all = when_all(run_child(&machine, &scope.model, first, event.a % 4, std::nullopt),
                      run_child(&machine, &scope.model, second, event.b % 4, std::nullopt),
                      run_child(&machine, &scope.model, third, event.c % 4, std::nullopt));
  const auto result = co_await std::move(all);
  scope.close(place, without_value(result));
  guard.finish();
  co_return without_value(result);
}

struct RaceModel {
  bool is_decided = false;
  std::optional<Error> error;
};

Task<Result<void>> run_racer(Machine* machine, ModelScope* scope, ModelContext* context, uint32_t budget,
                             RaceModel* race) {
  StrandState strand;
  const Place place{context, &strand, scope, 3};
  const Result<void> result = co_await run_block(*machine, place, budget);
  if (race->is_decided) {
    machine->model.mark(Mark::race_lost);
  } else {
    race->is_decided = true;
    if (!result.has_value()) race->error = result.error();
    machine->model.cancel(*scope->context);
  }
  machine->model.end_child(*scope, *context, Result<void>());
  co_return result;
}

Task<Result<void>> do_race(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  OpenScope scope(machine, place, ScopeOptions());
  RaceModel model;
  ModelContext* const first = &scope.add_child();
  ModelContext* const second = &scope.add_child();
  auto both = race(run_racer(&machine, &scope.model, first, event.a % 5, &model),
                   run_racer(&machine, &scope.model, second, event.b % 5, &model));
  const auto raced = co_await std::move(both);
  const Result<void> result = without_value(raced);
  FUZZ_CHECK(scope.model.child_count == 0, "a race returned before its losers were gone");
  machine.check_same(result, model.error, "a race's result is not the winner's");
  scope.end(place, result);
  guard.finish();
  co_return result;
}

struct EachModel {
  ModelScope* scope;
  uint32_t count_max;
  size_t started_count;
};

SPINDLE_TASK_WRAPPER Task<Result<void>> begin_item(uint32_t budget, Machine& machine, EachModel& each) {
  ++each.started_count;
  ++each.scope->place_count;
  FUZZ_CHECK(each.scope->child_count < each.count_max, "for_each_bounded runs more at once than it may");
  return begin_child(&machine, each.scope, budget, std::nullopt);
}

Task<Result<void>> do_for_each(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  std::vector<uint32_t> budgets;
  for (uint32_t left = event.a % 6; left > 0; --left) budgets.push_back((event.b >> left) % 4);
  OpenScope scope(machine, place, ScopeOptions());
  EachModel each{&scope.model, 1 + event.c % 3, 0};
  const Result<void> result = co_await for_each_bounded(budgets, each.count_max, begin_item, machine, each);
  if (each.started_count < budgets.size()) scope.model.child_was_cancelled = true;
  scope.close(place, result);
  guard.finish();
  co_return result;
}

Task<Result<void>> do_call(Machine& machine, Place place, uint32_t budget) {
  Guard guard(machine, place);
  co_await ok(run_block(machine, place.deeper(), budget));
  guard.finish();
  co_return Result<void>();
}

Task<Result<void>> do_fail(Machine& machine, Place place, FuzzEvent event) {
  Guard guard(machine, place);
  guard.finish();
  place.strand->last_error = Error{ErrorCode::system, static_cast<int32_t>(event.number), "fuzz", 0};
  co_return Unexpected(place.strand->last_error);
}

Task<Result<void>> root_body(Scope& scope, Machine& machine, Place& place, ModelScope& model) {
  model.real = &scope;
  machine.scopes.push_back(&model);
  const Place inside{model.context, place.strand, &model, 1};
  while (machine.has_events() && !model.context->is_cancelled) {
    const Result<void> result = co_await run_block(machine, inside, 8);
    if (!result.has_value()) FUZZ_CHECK(result.error() == place.strand->last_error, "an error changed on its way");
  }
  co_return Result<void>();
}

}  // namespace

SPINDLE_TASK_WRAPPER Task<Result<void>> do_structure(Machine& machine, Place place, FuzzEvent event) {
  switch (event.action) {
    case Action::fail: return do_fail(machine, place, event);
    case Action::scope: return do_scope(machine, place, event);
    case Action::spawn: return spawn_child(machine, place, 1 + event.c % 6, std::nullopt);
    case Action::timeout: return do_timeout(machine, place, event);
    case Action::timeout_leaf: return do_timeout_leaf(machine, place, event);
    case Action::shield: return do_shield(machine, place, event);
    case Action::when_all: return do_when_all(machine, place, event);
    case Action::race: return do_race(machine, place, event);
    case Action::for_each: return do_for_each(machine, place, event);
    case Action::latch:
    case Action::gate: return do_group(machine, place, event);
    default: return do_call(machine, place, 1 + event.c % 4);
  }
}

Task<Result<void>> run_root(Machine& machine) {
  Primitives primitives;
  machine.primitives = &primitives;
  StrandState strand;
  Place place{machine.root, &strand, nullptr, 0};
  Guard guard(machine, place);
  guard.finish();
  const OpenOptions options{.access = Access::read_write, .create = true};
  File file = co_await ok(File::open("data", options));
  co_await ok(file.allocate(0, ExpectedDisk::size));
  machine.file = &file;
  const ScopeOptions collect{.on_error = OnError::collect};
  OpenScope scope(machine, place, collect);
  auto scoped = with_scope(collect, root_body, machine, place, scope.model);
  const Result<void> result = co_await std::move(scoped);
  scope.close(place, result);
  if (machine.value_next % 2 == 0) {
    const Result<void> closed = co_await file.close();
    FUZZ_CHECK(closed.has_value(), "a file could not be closed");
  }
  co_return Result<void>();
}

}  // namespace spindle::fuzz
