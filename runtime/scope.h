// Scope: the only way to run tasks side by side. Children are spawned into it, and with_scope() returns only when
// all of them have ended.
//
//     Task<Result<void>> serve(Scope& scope, Listener& listener) { … co_await ok(scope.spawn(echo, std::move(s))); }
//     co_await ok(with_scope({.children_max = 64}, serve, listener));
//
// Invariants
// 1. A child's frame is destroyed before the child counts as joined.
// 2. The first error cancels the others (or not: OnError::collect) and is the scope's result. Being cancelled by
//    one's own scope is not an error of the scope.
// 3. What is spawned holds values, or references to what outlives the scope. The body's own locals do not: the body
//    may return before its children end.
#pragma once

#include <exception>
#include <optional>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

#include "runtime/section.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace spindle {

enum class OnError : uint8_t {
  cancel_others,  ///< the first error cancels the siblings and the body
  collect,        ///< everybody goes on; the first error is still the scope's result
};

struct ScopeOptions {
  uint32_t children_max = 0;  ///< 0: no limit. At the limit spawn() waits.
  OnError on_error = OnError::cancel_others;
};
static_assert(std::is_trivially_destructible_v<ScopeOptions>);

template <class Function, class... Args>
class Spawn;

class Scope {
 public:
  /// Awaits the end of all children. Not cancellable: cancelling reaches the children themselves.
  class [[nodiscard]] Join final : public LeafAwait<Join> {
   public:
    explicit Join(Scope& scope) noexcept : scope_(scope) {}
    ~Join() { abandon_if_dying(); }
    bool begin(Loop&) noexcept;
    bool is_cancellable() const noexcept { return false; }
    void refuse(Error) noexcept {}
    const Error* failure() const noexcept { return nullptr; }
    void take() const noexcept {}
    const char* describe() const noexcept override { return "join of a scope"; }

   private:
    friend class Scope;
    void on_cancel() noexcept override {}
    void on_abandon() noexcept override { scope_.join_ = nullptr; }
    Scope& scope_;
  };

  explicit Scope(ScopeOptions options) noexcept : options_(options) {}
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  /// No child may be alive, unless the host is being killed: then their frames are destroyed here.
  ~Scope();

  /// `co_await scope.spawn(function, args...)`: Result<void>. Waits while children_max are running, FIFO. Runs
  /// function(args...), a Task<void> or Task<Result<…>>, as a child. Refused (cancelled, or the scope is joined)
  /// it drops its arguments. Arguments are stored as values.
  template <class Function, class... Args>
  Spawn<Function, Args...> spawn(Function function, Args... args) {
    return Spawn<Function, Args...>(*this, std::move(function), std::move(args)...);
  }

  /// Cancels all children and the body. Not an error of the scope.
  void cancel() noexcept { section_.cancel(); }
  bool is_cancelled() const noexcept { return section_.is_cancelled(); }
  uint32_t live_count() const noexcept { return live_count_; }
  uint64_t failed_count() const noexcept { return failed_count_; }

  // For with_scope() and the combinators.
  Section& section() noexcept { return section_; }
  Join join() noexcept { return Join(*this); }
  /// An error of the body or of a child.
  void note_error(const Error& error) noexcept;
  void note_exception(std::exception_ptr exception) noexcept;
  /// The scope's result after join(), before its section is left. Throws an exception that a child threw.
  Result<void> outcome();
  /// Spawns at once, past any limit: function(args...) is made here.
  template <class T>
  void launch(Task<T> task, std::source_location at) noexcept {
    start_child(task.release(), settle<T>, at);
  }

 private:
  template <class Function, class... Args>
  friend class Spawn;

  /// Reads the result of a child that is done.
  using Settle = void (*)(Scope& scope, PromiseBase& root) noexcept;
  class Child;

  template <class T>
  static void settle(Scope& scope, PromiseBase& root) noexcept {
    auto& slot = static_cast<Promise<T>&>(root).slot();
    if (slot.has_exception()) {
      scope.note_exception(slot.exception());
    } else if constexpr (is_result_v<T>) {
      if (!slot.get().has_value()) scope.note_error(slot.get().error());
    } else {
      static_assert(std::is_void_v<T>, "a child returns Task<void> or Task<Result<…>>");
    }
  }
  /// Takes a free place; false: none is free, and `waiter` waits for one. A failed waiter was refused.
  bool reserve_or_enqueue(Waiter& waiter) noexcept;
  void start_child(PromiseBase& root, Settle settle, std::source_location at) noexcept;
  static void child_ended(Strand& strand) noexcept;
  void leave_place() noexcept;
  void destroy_child(Child& child) noexcept;

  Section section_{CancelContext::Kind::scope};
  ScopeOptions options_;
  uint32_t live_count_ = 0;  ///< children, and places granted to spawns that have not used them yet
  bool is_joined_ = false;
  uint64_t failed_count_ = 0;
  bool child_was_cancelled_ = false;
  std::optional<Error> first_error_;
  std::exception_ptr first_exception_;
  Join* join_ = nullptr;
  WaitQueue spawners_;
  IntrusiveList<Strand> children_;
};

template <class Function, class... Args>
class [[nodiscard]] Spawn final : public LeafAwait<Spawn<Function, Args...>, Waiter> {
 public:
  Spawn(Scope& scope, Function function, Args... args) noexcept
      : scope_(scope), function_(std::move(function)), args_(std::move(args)...) {}
  ~Spawn() { this->abandon_if_dying(); }

  bool begin(Loop&) noexcept { return scope_.reserve_or_enqueue(*this); }
  Result<void> take() {
    if (this->failure() != nullptr) return Unexpected(*this->failure());
    const Place place(scope_);  // becomes the child's; free again if making the task throws
    scope_.launch(make(std::index_sequence_for<Args...>()), this->awaiting()->awaits_at);
    return {};
  }
  const char* describe() const noexcept override { return "spawn"; }

 private:
  /// The place that was granted.
  class Place {
   public:
    explicit Place(Scope& scope) noexcept : scope_(scope) {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { scope_.leave_place(); }

   private:
    Scope& scope_;
  };
  template <size_t... I>
  SPINDLE_TASK_WRAPPER auto make(std::index_sequence<I...>) {
    return function_(std::get<I>(std::move(args_))...);
  }
  Scope& scope_;
  Function function_;
  std::tuple<Args...> args_;
};

/// `co_await with_scope(options, body, args...)`: runs body(scope, args...), a Task<Result<T>>, then joins all
/// children. The result: the first error of a child or the body, else the body's value. `args` are used by
/// reference from the moment it is awaited: await it in the statement that makes it, or keep what they refer to.
template <class Body, class... Args>
auto with_scope(ScopeOptions options, Body body, Args&&... args) -> std::invoke_result_t<Body&, Scope&, Args...> {
  using Value = typename std::invoke_result_t<Body&, Scope&, Args...>::value_type;
  Scope scope(options);
  co_await scope.section().enter();
  std::optional<Value> result;
  try {
    auto running = body(scope, std::forward<Args>(args)...);
    Value value = co_await std::move(running);
    result.emplace(std::move(value));
    if (!result->has_value()) scope.note_error(result->error());
  } catch (...) {
    scope.note_exception(std::current_exception());
  }
  co_await scope.join();
  const Result<void> outcome = scope.outcome();
  scope.section().leave();
  if (!outcome.has_value()) co_return Unexpected(outcome.error());
  if constexpr (std::is_void_v<typename Value::value_type>) {
    co_return Value();
  } else {
    co_return std::move(*result);
  }
}

}  // namespace spindle
