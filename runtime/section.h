// Sections: a part of a strand with a cancellation context of its own. timeout() and shield() are built on them,
// and so are scopes. Inside the runtime only: the coroutine that enters a section leaves it itself.
#pragma once

#include <source_location>

#include "runtime/leaf.h"
#include "runtime/promise.h"

namespace spindle {

class Section : public CancelContext {
 public:
  explicit Section(Kind kind) noexcept : CancelContext(kind) {}
  /// An exception that passes through leaves the section too.
  ~Section() {
    if (is_open() && !loop().is_dying()) leave();
  }

  class Enter {
   public:
    using RuntimeAwaiter = void;
    Enter(Section& section, std::source_location at) noexcept : section_(section), at_(at) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
      section_.enter_in(handle.promise(), at_);
      return false;
    }
    void await_resume() const noexcept {}

   private:
    Section& section_;
    std::source_location at_;
  };

  /// `co_await section.enter()`: never suspends; what the coroutine awaits from here on runs in this context.
  Enter enter(std::source_location at = std::source_location::current()) noexcept { return Enter(*this, at); }
  void leave() noexcept {
    promise_->context = parent();
    close();
  }

 private:
  void enter_in(PromiseBase& promise, std::source_location at) noexcept {
    promise_ = &promise;
    open(promise.context->loop(), promise.context, at);
    promise.context = this;
  }
  PromiseBase* promise_ = nullptr;
};

}  // namespace spindle
