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
  auto scoped = with_scope(options, scope_body, machine, place, scope.model, 2 + event.c % 8);
  const Result<void> result = co_await std::move(scoped);
  scope.close(place, result);
  guard.finish();
  co_return result;
}

Task<Result<void>> latch_body(Scope& scope, Machine& machine, Place& place, ModelScope& model, uint32_t count) {
  model.real = &scope;
  machine.scopes.push_back(&model);
  const Place inside{model.context, place.strand, &model, place.depth + 2};
  co_await ok(run_block(machine, inside, count));
  co_return Result<void>();
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

Task<Result<void>> group_body(Scope& scope, Machine& machine, Place& place, ModelScope& model, FuzzEvent& event) {
  model.real = &scope;
  machine.scopes.push_back(&model);
  const Place inside{model.context, place.strand, &model, place.depth + 2};
  Result<void> result;
  if (event.action == Action::latch) {
    Guard guard(machine, inside);
    guard.finish();
    result = co_await latch_body(scope, machine, place, model, 0);
  }
  static_cast<void>(inside);
  co_return result;
}

}  // namespace
}  // namespace spindle::fuzz
