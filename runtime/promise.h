// The part of a coroutine's promise that does not depend on its result type, and the strand: a chain of tasks
// that await one another, with the cancellation context that they share.
//
// How a task ends. At its final suspend point a task calls its finish hook, which its awaiter chose:
//   await        resumes the parent
//   await ok()   with a value, resumes the parent; with an error, stores the error as the parent's own result and
//                goes on with the parent's hook. The parent's frame stays suspended where it was; its owner
//                destroys it, which runs the destructors of its locals.
//   strand root  tells the owner of the strand
// Nothing is resumed from inside a coroutine: hooks and awaiters name the next coroutine, and either the compiler makes
// a tail call of that (symmetric transfer: clang always, g++ when it optimises with -foptimize-sibling-calls, which
// SPINDLE_TAIL_CALLS promises), or the loop's trampoline resumes it. So millions of synchronous completions overflow no
// stack with any compiler, and no frame is destroyed within its own await_suspend.
#pragma once

#include <coroutine>
#include <cstdint>
#include <source_location>

#include "runtime/cancel.h"
#include "runtime/intrusive_list.h"
#include "runtime/ready_queue.h"
#include "runtime/result.h"

namespace spindle {

class PromiseBase;

/// Called when `finished` has failed (with a parent), or is done (without one). Returns the parent,
/// which has failed with it, or null. No hook at all: the parent wants the result, whatever it is.
using FinishHook = PromiseBase* (*)(PromiseBase& finished) noexcept;

class PromiseBase {
 public:
  enum class Phase : uint8_t { created, started, done };

  PromiseBase() noexcept {}
  PromiseBase(const PromiseBase&) = delete;
  PromiseBase& operator=(const PromiseBase&) = delete;

  std::coroutine_handle<> handle() noexcept { return std::coroutine_handle<PromiseBase>::from_promise(*this); }
  /// Begins the task under `hook`; the caller transfers to handle().
  void start(CancelContext& under, PromiseBase* awaiting, FinishHook finish_hook) noexcept {
    SPINDLE_ASSERT(phase == Phase::created, "a task was awaited or spawned twice");
    phase = Phase::started;
    context = &under;
    parent = awaiting;
    hook = finish_hook;
  }
  /// The task failed, or is the root of a strand: goes up until a parent that wants the result, or the top.
  static void finish(PromiseBase* finished) noexcept;

  // Set by start(); a task is made too often to set anything twice.
  CancelContext* context;
  PromiseBase* parent;  ///< who awaits this task; null for the root of a strand
  FinishHook hook;
  union {
    std::source_location awaits_at;  ///< the last co_await that this task came to: set by each
  };
  Phase phase = Phase::created;
};

#if defined(__clang__)
inline constexpr bool has_tail_calls = true;
#elif defined(SPINDLE_TAIL_CALLS) && defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
inline constexpr bool has_tail_calls = true;
#else
inline constexpr bool has_tail_calls = false;
#endif

/// For an await_suspend that returns a handle: `next` itself, or the trampoline's turn.
inline std::coroutine_handle<> hand_over(const PromiseBase& from, std::coroutine_handle<> next) noexcept;

/// One chain of tasks. `ended` is called from the loop, outside of any coroutine, once the root task is done; it
/// destroys the root's frame and may destroy the strand.
class Strand : public CancelContext, public ReadyNode, public ListHook<Strand> {
 public:
  using Ended = void (*)(Strand& strand) noexcept;

  explicit Strand(Ended ended) noexcept : CancelContext(Kind::strand), ended_(ended) {}

  /// Opens the context under `under` and puts the strand into the ready queue.
  void launch(Loop& loop, CancelContext* under, PromiseBase& root, std::source_location at) noexcept;
  void tell_ended() noexcept { ended_(*this); }
  PromiseBase& root() noexcept { return *root_; }

 private:
  PromiseBase* root_ = nullptr;
  Ended ended_;
};

}  // namespace spindle
