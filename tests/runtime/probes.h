// What the tests of the runtime watch with: a trace of events, objects that count their lives, a wait that
// does not obey a cancel, and a part of a scope that can be cancelled on its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "runtime/combinators.h"
#include "runtime/event.h"
#include "runtime/leaf.h"
#include "runtime/root.h"
#include "runtime/scope.h"
#include "runtime/sleep.h"
#include "runtime/task.h"

namespace spindle {

/// Words in the order in which they were added.
class Trace {
 public:
  void add(const std::string& word) {
    if (!text_.empty()) text_ += ' ';
    text_ += word;
  }
  const std::string& text() const noexcept { return text_; }
  void clear() noexcept { text_.clear(); }

 private:
  std::string text_;
};

/// Adds "~name" to its trace when it dies, once, wherever it was moved to in between. Move-only.
class Probe {
 public:
  Probe(Trace& trace, std::string name) : trace_(&trace), name_(std::move(name)) { ++live_count; }
  Probe(Probe&& other) noexcept : trace_(std::exchange(other.trace_, nullptr)), name_(std::move(other.name_)) {
    ++live_count;
  }
  Probe& operator=(Probe&&) = delete;
  ~Probe() {
    --live_count;
    if (trace_ != nullptr) trace_->add("~" + name_);
  }
  const std::string& name() const noexcept { return name_; }

  inline static int64_t live_count = 0;  ///< moved-from ones too

 private:
  Trace* trace_;
  std::string name_;
};

/// "ok", or the name of the error's code.
template <class T>
std::string word_of(const Result<T>& result) {
  return result.has_value() ? "ok" : name_of(result.error().code);
}

/// Lets everything else run until it waits, in a cancelled context too.
inline Task<void> settle() {
  for (int round = 0; round < 32; ++round) {
    const Result<void> rested = co_await shield(yield());
    static_cast<void>(rested);
  }
}

/// A leaf that ends after `duration` with `value`, whatever is asked of it in between: an operation whose
/// completion comes in spite of the cancel.
class [[nodiscard]] Stubborn final : public LeafAwait<Stubborn> {
 public:
  Stubborn(Duration duration, int value) noexcept : duration_(duration), value_(value), timer_(fired, *this) {}
  ~Stubborn() { abandon_if_dying(); }

  bool begin(Loop& loop) {
    ++begun_count;
    loop.timers().arm(timer_, loop.now() + duration_);
    return false;
  }
  bool is_cancellable() const noexcept { return true; }
  void refuse(Error error) noexcept { error_ = error, failed_ = true; }
  const Error* failure() const noexcept { return failed_ ? &error_ : nullptr; }
  Result<int> take() const noexcept {
    if (failed_) return Unexpected(error_);
    return value_;
  }
  const char* describe() const noexcept override { return "stubborn"; }

  inline static uint64_t begun_count = 0;
  inline static uint64_t asked_count = 0;

 private:
  class OwnTimer : public Timer {
   public:
    OwnTimer(Fire fire, Stubborn& owner) noexcept : Timer(fire), owner_(owner) {}
    Stubborn& owner_;
  };
  static void fired(Timer& timer, Loop&) noexcept { static_cast<OwnTimer&>(timer).owner_.complete(); }
  void on_cancel() noexcept override { ++asked_count; }
  void on_abandon() noexcept override {}

  Duration duration_;
  int value_;
  bool failed_ = false;
  Error error_;
  OwnTimer timer_;
};

template <class Body, class... Args>
Task<Result<void>> publish_scope(Scope& scope, Scope** handle, Body& body, Args&... args) {
  *handle = &scope;
  auto running = body(args...);
  const Result<void> result = co_await std::move(running);
  *handle = nullptr;
  co_return result;
}

/// Runs body(args...), a Task<Result<void>>, as a part that can be cancelled on its own through `*handle`.
template <class Body, class... Args>
Task<Result<void>> cancellable_part(Scope** handle, Body body, Args... args) {
  auto scoped = with_scope(ScopeOptions{}, publish_scope<Body, Args...>, handle, body, args...);
  co_return co_await std::move(scoped);
}

}  // namespace spindle
