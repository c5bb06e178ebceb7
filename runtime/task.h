// Task<T>: a lazy coroutine. It is awaited in the statement that makes it, or handed to a scope; it carries the
// cancellation context of whoever awaits it. `co_await ok(x)` takes the value of a Result, or leaves the coroutine
// with the error: no macro, no exception.
//
//     Task<Result<uint64_t>> size_of_both(File& a, File& b) {
//       const uint64_t first = co_await ok(a.size());
//       const uint64_t second = co_await ok(b.size());
//       co_return first + second;
//     }
//
// After an early exit the frame stays suspended at the ok() until its owner destroys it, which it does before it
// goes on itself: locks and leases of a failed task are given back before its parent sees the error.
//
// One co_await per statement, at its start or bound to a name there (docs/ARCHITECTURE.md, "Coroutines").
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

#include "runtime/leaf.h"
#include "runtime/loop.h"
#include "runtime/promise.h"
#include "runtime/result.h"

#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::coro_return_type)
#define SPINDLE_TASK_ATTRIBUTES [[clang::coro_return_type, clang::coro_lifetimebound]]
#endif
#endif
#ifndef SPINDLE_TASK_ATTRIBUTES
#define SPINDLE_TASK_ATTRIBUTES
#endif
// For a plain function that returns a Task which another one made: clang's lifetime check needs to be told.
#if defined(SPINDLE_TASK_ATTRIBUTES) && defined(__clang__)
#define SPINDLE_TASK_WRAPPER [[clang::coro_wrapper, clang::coro_disable_lifetimebound]]
#else
#define SPINDLE_TASK_WRAPPER
#endif

namespace spindle {

template <class T>
class Task;
template <class T>
class Promise;

/// Marks an awaitable whose error ends the awaiting task. Made by ok(), consumed in the same statement.
template <class Awaitable>
class Ok {
 public:
  explicit Ok(Awaitable& awaitable) noexcept : awaitable_(awaitable) {}
  Awaitable& awaitable() const noexcept { return awaitable_; }

 private:
  Awaitable& awaitable_;
};

/// `co_await ok(task or leaf)`: the value, or leave with the error.
template <class Awaitable>
Ok<std::remove_reference_t<Awaitable>> ok(Awaitable&& awaitable) noexcept {
  return Ok<std::remove_reference_t<Awaitable>>(awaitable);
}

/// Where a task keeps its result: empty, a value, or an exception of user code.
template <class T>
class ResultSlot {
 public:
  ResultSlot() noexcept {}
  ResultSlot(const ResultSlot&) = delete;
  ResultSlot& operator=(const ResultSlot&) = delete;
  ~ResultSlot() {
    if (held_ == Held::value) std::destroy_at(&value_);
    if (held_ == Held::exception) [[unlikely]]
      std::destroy_at(&exception_);
  }

  template <class... Args>
  void set_value(Args&&... args) {
    SPINDLE_ASSERT_SLOW(held_ == Held::nothing, "a task has two results");
    std::construct_at(&value_, std::forward<Args>(args)...);
    held_ = Held::value;
  }
  void set_exception(std::exception_ptr exception) noexcept {
    // A value may stand here already when a destructor of a local threw after co_return.
    if (held_ == Held::value) std::destroy_at(&value_);
    std::construct_at(&exception_, std::move(exception));
    held_ = Held::exception;
  }
  bool has_value() const noexcept { return held_ == Held::value; }
  bool has_exception() const noexcept { return held_ == Held::exception; }
  /// The value; throws the exception instead where there is one.
  [[gnu::always_inline]] T& get() {
    if (held_ != Held::value) [[unlikely]]
      rethrow();
    return value_;
  }
  std::exception_ptr exception() const noexcept { return exception_; }

 private:
  enum class Held : uint8_t { nothing, value, exception };
  [[noreturn, gnu::noinline]] void rethrow() {
    SPINDLE_ASSERT(held_ == Held::exception, "the result of a task that has none");
    std::rethrow_exception(exception_);
  }
  union {
    T value_;
    std::exception_ptr exception_;
  };
  Held held_ = Held::nothing;
};

struct Unit {};

/// Frames come from the current loop's pool.
class FrameAllocation {
 public:
  static void* operator new(size_t size) { return Loop::current().frames().acquire(size); }
  static void operator delete(void* memory, size_t size) noexcept {
    Loop::current_unchecked().frames().release(memory, size);
  }
};

class FinalAwaiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
    Promise& promise = handle.promise();
    if (promise.parent != nullptr && (promise.hook == nullptr || !promise.has_failed())) [[likely]] {
      promise.phase = PromiseBase::Phase::done;
      return hand_over(promise, promise.parent->handle());
    }
    PromiseBase::finish(&promise);
    return std::noop_coroutine();
  }
  void await_resume() const noexcept {}
};

/// Destroys the frame of a task that is done.
template <class T>
class FinishedTask {
 public:
  explicit FinishedTask(Task<T>& task) noexcept : promise_(task.release()) {}
  FinishedTask(const FinishedTask&) = delete;
  FinishedTask& operator=(const FinishedTask&) = delete;
  ~FinishedTask() { std::coroutine_handle<Promise<T>>::from_promise(promise_).destroy(); }
  auto& result() const { return promise_.slot().get(); }

 private:
  Promise<T>& promise_;
};

/// Awaits a task and passes its result on.
template <class T>
class TaskAwaiter {
 public:
  explicit TaskAwaiter(Task<T>& task) noexcept : task_(task) {}
  bool await_ready() const noexcept { return false; }
  template <class Parent>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Parent> parent) const noexcept {
    return start(parent.promise(), nullptr);
  }
  [[gnu::always_inline]] T await_resume() const {
    const FinishedTask<T> finished(task_);  // the frame dies here, not at the end of the statement
    if constexpr (std::is_void_v<T>) {
      finished.result();
    } else {
      return std::move(finished.result());
    }
  }

 protected:
  std::coroutine_handle<> start(PromiseBase& parent, FinishHook hook) const noexcept {
    Promise<T>& child = task_.promise();
    child.start(*parent.context, &parent, hook);
    return hand_over(parent, child.handle());
  }
  Task<T>& task_;
};

/// Awaits a task of a Result; an error ends the awaiting task.
template <class U>
class OkTaskAwaiter : private TaskAwaiter<Result<U>> {
 public:
  explicit OkTaskAwaiter(Task<Result<U>>& task) noexcept : TaskAwaiter<Result<U>>(task) {}
  using TaskAwaiter<Result<U>>::await_ready;
  template <class Parent>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Parent> parent) const noexcept {
    return this->start(parent.promise(), fail_parent<Parent>);
  }
  [[gnu::always_inline]] U await_resume() const {
    const FinishedTask<Result<U>> finished(this->task_);
    if constexpr (std::is_void_v<U>) {
      finished.result().value();
    } else {
      return std::move(finished.result()).value();
    }
  }

 private:
  /// The hook of a child that may fail: called only when it did.
  template <class Parent>
  static PromiseBase* fail_parent(PromiseBase& finished) noexcept {
    auto& child = static_cast<Promise<Result<U>>&>(finished);
    auto& parent = static_cast<Parent&>(*finished.parent);
    parent.leave_with(child.slot().get().error());
    return &parent;
  }
};

/// Awaits a leaf. (A reference instead of this would do, but g++ 12 copies the awaiter that it refers to.)
template <class L>
class AwaitLeaf {
 public:
  explicit AwaitLeaf(L& leaf) noexcept : leaf_(leaf) {}
  bool await_ready() const noexcept { return false; }
  template <class Parent>
  [[gnu::always_inline]] bool await_suspend(std::coroutine_handle<Parent> parent) const noexcept {
    return leaf_.begin_in(parent.promise(), nullptr);
  }
  decltype(auto) await_resume() const {
    leaf_.settle();
    return leaf_.take();
  }

 private:
  L& leaf_;
};

/// Awaits a leaf whose result is a Result; an error ends the awaiting task.
template <class L>
class OkLeaf {
 public:
  explicit OkLeaf(L& leaf) noexcept : leaf_(leaf) {}
  bool await_ready() const noexcept { return false; }
  template <class Parent>
  [[gnu::always_inline]] bool await_suspend(std::coroutine_handle<Parent> parent) const noexcept {
    if (leaf_.begin_in(parent.promise(), resume_or_fail<Parent>)) return true;
    const Error* failure = leaf_.failure();
    if (failure == nullptr) return false;
    parent.promise().leave_with(*failure);
    PromiseBase::finish(&parent.promise());
    return true;
  }
  auto await_resume() const {
    leaf_.settle();
    return leaf_.take().value();
  }

 private:
  template <class Parent>
  static void resume_or_fail(ReadyNode& node, Loop&) noexcept {
    L& leaf = static_cast<L&>(static_cast<Leaf&>(node));
    auto& parent = static_cast<Parent&>(*leaf.awaiting());
    const Error* failure = leaf.failure();
    if (failure == nullptr) return parent.handle().resume();
    leaf.unsuspend();
    parent.leave_with(*failure);
    PromiseBase::finish(&parent);
  }
  L& leaf_;
};

template <class T>
class PromiseResult : public PromiseBase {
 public:
  using Value = std::conditional_t<std::is_void_v<T>, Unit, T>;
  ResultSlot<Value>& slot() noexcept { return slot_; }
  /// The task ended with an error value: not with an exception.
  bool has_failed() noexcept {
    if constexpr (is_result_v<T>) {
      return slot_.has_value() && !slot_.get().has_value();
    } else {
      return false;
    }
  }
  void unhandled_exception() noexcept { slot_.set_exception(std::current_exception()); }

 protected:
  ResultSlot<Value> slot_;
};

template <class T>
class PromiseReturn : public PromiseResult<T> {
 public:
  template <class U = T>
  void return_value(U&& value) {
    this->slot_.set_value(std::forward<U>(value));
  }
};
template <>
class PromiseReturn<void> : public PromiseResult<void> {
 public:
  void return_void() noexcept { slot_.set_value(); }
};

template <class T>
class Promise final : public PromiseReturn<T>, public FrameAllocation {
  using Where = std::source_location;

 public:
  Task<T> get_return_object() noexcept { return Task<T>(*this); }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }

  template <class U>
  TaskAwaiter<U> await_transform(Task<U>&& task, Where at = Where::current()) noexcept {
    this->awaits_at = at;
    return TaskAwaiter<U>(task);
  }
  template <class U>
  OkTaskAwaiter<U> await_transform(Ok<Task<Result<U>>> awaited, Where at = Where::current()) noexcept {
    static_assert(is_result_v<T>, "ok() needs a task that returns a Result: the error has to go somewhere");
    this->awaits_at = at;
    return OkTaskAwaiter<U>(awaited.awaitable());
  }
  template <LeafType L>
  AwaitLeaf<std::remove_reference_t<L>> await_transform(L&& leaf, Where at = Where::current()) noexcept {
    this->awaits_at = at;
    return AwaitLeaf<std::remove_reference_t<L>>(leaf);
  }
  template <LeafType L>
  OkLeaf<L> await_transform(Ok<L> awaited, Where at = Where::current()) noexcept {
    static_assert(is_result_v<T>, "ok() needs a task that returns a Result: the error has to go somewhere");
    this->awaits_at = at;
    return OkLeaf<L>(awaited.awaitable());
  }

  /// Awaiters of the runtime's own that only need the promise (entering a section).
  template <class A>
    requires requires { typename A::RuntimeAwaiter; }
  A await_transform(A awaiter) noexcept {
    return awaiter;
  }

  /// An early exit: the error becomes this task's result. The frame stays where it is.
  void leave_with(const Error& error) noexcept { this->slot_.set_value(Unexpected(error)); }
};

/// Owns a coroutine frame that has not begun, or is being awaited. Move-only. Destroying one that never began
/// drops its arguments.
template <class T>
class [[nodiscard]] SPINDLE_TASK_ATTRIBUTES Task {
 public:
  using promise_type = Promise<T>;
  using value_type = T;

  Task(Task&& other) noexcept : promise_(std::exchange(other.promise_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (promise_ == nullptr) return;
    SPINDLE_ASSERT(promise_->phase != PromiseBase::Phase::started || Loop::current().is_dying(),
                   "a task was destroyed before it was done");
    std::coroutine_handle<promise_type>::from_promise(*promise_).destroy();
  }

  promise_type& promise() const noexcept {
    SPINDLE_ASSERT(promise_ != nullptr, "a task that was moved away, or awaited already");
    return *promise_;
  }
  /// Gives the frame up: the caller destroys it through its handle.
  promise_type& release() noexcept {
    promise_type& promise = this->promise();
    promise_ = nullptr;
    return promise;
  }

 private:
  friend promise_type;
  explicit Task(promise_type& promise) noexcept : promise_(&promise) {}

  promise_type* promise_;
};

/// What awaiting an A yields.
template <class A>
struct AwaitResult {
  using Type = decltype(std::declval<A&>().take());
};
template <class T>
struct AwaitResult<Task<T>> {
  using Type = T;
};
template <class A>
using AwaitResultOf = typename AwaitResult<std::remove_cvref_t<A>>::Type;

}  // namespace spindle
