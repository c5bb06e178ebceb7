// A leaf is what a task finally waits for: an operation of a backend, a timer, a place in a wait queue. It lives
// in the awaiting frame (as a temporary of the await expression), is immovable, and needs neither a Task frame
// nor an allocation.
//
// A leaf class derives from Leaf, is awaited through LeafAwait<Self>, and provides
//   bool begin(Loop&)            start; true when it is complete already (no suspension)
//   void refuse(Error)           the context is cancelled: complete with this error, begin() was not called
//   const Error* failure()       null, or why it failed (for ok())
//   R take()                     the result; called once
//   void on_cancel()             asked to end early; must end through complete(), now or later
//   void on_abandon()            the host was killed: forget the leaf without running anything
//   describe()                   one phrase for the task tree
//
// States: idle → waiting (suspended) → queued (complete, in the ready queue) → done.
#pragma once

#include <coroutine>
#include <cstdint>
#include <string>

#include "runtime/loop.h"
#include "runtime/promise.h"

namespace spindle {

inline std::coroutine_handle<> hand_over(const PromiseBase& from, std::coroutine_handle<> next) noexcept {
  if constexpr (has_tail_calls) return next;
  from.context->loop().transfer(next);
  return std::noop_coroutine();
}

class Leaf : public ReadyNode {
 public:
  enum class State : uint8_t { idle, done, waiting, queued };

  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;

  State state() const noexcept { return state_; }
  PromiseBase* awaiting() const noexcept { return awaiting_; }
  /// When it suspended; only builds with the ledger know.
  Time waiting_since() const noexcept {
#if SPINDLE_LEDGER
    return waiting_since_;
#else
    return Time{};
#endif
  }
  /// The name of the operation or wait, with static lifetime: Error::where.
  virtual const char* describe() const noexcept = 0;
  /// Appends what stands in the task tree: "read of 4096 bytes at 8192 on data.db".
  virtual void explain(std::string& text) const { text += describe(); }

  /// The cancel request of the context. What completed already stays as it is.
  void request_cancel() noexcept {
    if (state_ == State::waiting) on_cancel();
  }

 protected:
  Leaf() noexcept = default;
  /// In flight here means that somebody outside still points at this memory.
  ~Leaf() { SPINDLE_ASSERT_SLOW(state_ != State::waiting, "a leaf class does not call abandon_if_dying()"); }

  virtual void on_cancel() noexcept = 0;
  virtual void on_abandon() noexcept = 0;
  /// The most derived destructor calls this first: in a dying loop a waiting leaf leaves quietly.
  void abandon_if_dying() noexcept {
    if (state_ > State::done) [[unlikely]]
      abandon();
  }
  /// The result is there: the awaiting task becomes ready.
  void complete() noexcept { complete_on(awaiting_->context->loop()); }
  [[gnu::always_inline]] void complete_on(Loop& loop) noexcept {
    SPINDLE_ASSERT(state_ == State::waiting, "a leaf completed twice, or before it began");
    state_ = State::queued;
    loop.push_ready(*this);
  }
  [[gnu::always_inline]] void suspend_in(PromiseBase& awaiting, ReadyNode::Run resume) noexcept {
    SPINDLE_ASSERT(state_ == State::idle, "a leaf was awaited twice");
    awaiting_ = &awaiting;
    run = resume;
    state_ = State::waiting;
    awaiting.context->set_waiting_leaf(this);
#if SPINDLE_LEDGER
    waiting_since_ = awaiting.context->loop().now();
#endif
  }
  void unsuspend() noexcept {
    awaiting_->context->set_waiting_leaf(nullptr);
    state_ = State::done;
  }
  /// The first thing that the resumed task does.
  [[gnu::always_inline]] void settle() noexcept {
    if (state_ == State::queued) awaiting_->context->set_waiting_leaf(nullptr);
    state_ = State::done;
  }
  /// Before complete(), of a leaf that succeeded: `run` has nothing to look at.
  void resume_directly() noexcept { run = nullptr; }

 private:
  template <class Self, class Base>
  friend class LeafAwait;
  template <class Self>
  friend class AwaitLeaf;
  template <class Self>
  friend class OkLeaf;

  void abandon() noexcept;

  PromiseBase* awaiting_;
#if SPINDLE_LEDGER
  Time waiting_since_{};
#endif
  State state_ = State::idle;
};

/// Makes `Self` awaitable; Base is Leaf or a class derived from it.
template <class Self, class Base = Leaf>
class LeafAwait : public Base {
 public:
  using Base::Base;

 private:
  template <class>
  friend class AwaitLeaf;
  template <class>
  friend class OkLeaf;

  /// True when the awaiting task is suspended now. `resume` is null, or looks at failure() first.
  [[gnu::always_inline]] bool begin_in(PromiseBase& promise, ReadyNode::Run resume) noexcept {
    Self* self = static_cast<Self*>(this);
    CancelContext& context = *promise.context;
    if (context.is_cancelled() && self->is_cancellable()) [[unlikely]] {
      refuse_cancelled();
      return false;
    }
    this->suspend_in(promise, resume);
    if (!self->begin(context.loop())) return true;
    this->unsuspend();
    return false;
  }
  [[gnu::noinline]] void refuse_cancelled() noexcept {
    Self* self = static_cast<Self*>(this);
    self->refuse(Error{ErrorCode::cancelled, 0, self->describe(), 0});
    this->state_ = Leaf::State::done;
  }
};

template <class T>
concept LeafType = std::is_base_of_v<Leaf, std::remove_cvref_t<T>>;

}  // namespace spindle
