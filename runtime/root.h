// The root task of a loop. run() is what a program's main calls; Root is what whoever drives the turns himself
// (the simulated world) keeps.
#pragma once

#include <optional>
#include <source_location>
#include <utility>

#include "runtime/task.h"

namespace spindle {

/// Begins `function(args...)`, which returns a Task<T>, as the root of `loop`. Arguments are passed on as they are:
/// what they refer to must outlive the root. Must not move.
template <class T>
class Root : private Strand {
 public:
  template <class Function, class... Args>
  Root(std::source_location at, Loop& loop, Function&& function, Args&&... args) : Strand(ended), loop_(loop) {
    Loop* const former = Loop::set_current(&loop);
    task_.emplace(std::forward<Function>(function)(std::forward<Args>(args)...));
    launch(loop, nullptr, task_->promise(), at);
    loop.add_root(*this);
    Loop::set_current(former);
  }
  /// Must be done, or the loop be dying: then the frames are destroyed, top down.
  ~Root() {
    if (is_done()) return;
    SPINDLE_ASSERT(loop_.is_dying(), "a root task was destroyed before it was done");
    Loop* const former = Loop::set_current(&loop_);
    task_.reset();
    close();
    loop_.remove_root(*this);
    Loop::set_current(former);
  }

  bool is_done() const noexcept { return !task_.has_value(); }
  /// Requests cancellation of the whole tree.
  void cancel() noexcept {
    if (!is_done()) CancelContext::cancel();
  }
  /// The result, once; throws what user code threw.
  T take() {
    SPINDLE_ASSERT(is_done(), "the result of a root task that is not done");
    if (exception_ != nullptr) std::rethrow_exception(std::exchange(exception_, nullptr));
    if constexpr (!std::is_void_v<T>) return std::move(*value_);
  }

 private:
  static void ended(Strand& strand) noexcept {
    Root& root = static_cast<Root&>(strand);
    auto& slot = root.task_->promise().slot();
    if (slot.has_exception()) {
      root.exception_ = slot.exception();
    } else {
      root.value_.emplace(std::move(slot.get()));
    }
    root.task_.reset();
    root.close();
    root.loop_.remove_root(root);
  }

  Loop& loop_;
  std::optional<Task<T>> task_;
  std::optional<std::conditional_t<std::is_void_v<T>, Unit, T>> value_;
  std::exception_ptr exception_;
};

/// Runs `function(args...)` to its end on `loop`, and everything that it dropped. Blocks the thread. Returns the
/// task's result; throws what user code threw.
template <class Function, class... Args>
auto run(Loop& loop, Function&& function, Args&&... args) {
  using T = typename std::invoke_result_t<Function&, Args...>::value_type;
  Root<T> root(std::source_location::current(), loop, std::forward<Function>(function), std::forward<Args>(args)...);
  loop.run_until_idle();
  return root.take();
}

}  // namespace spindle
