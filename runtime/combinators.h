// Putting tasks together: timeout, shield, when_all, race, for_each_bounded. Each is a coroutine, awaited in the
// statement that makes it; what it is given by reference must live that long, which temporaries do.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "runtime/scope.h"
#include "runtime/section.h"
#include "runtime/task.h"

namespace spindle {

/// A section that a timer cancels.
class TimeoutSection : public Section {
 public:
  explicit TimeoutSection() noexcept : Section(Kind::timeout), timer_(fired, *this) {}
  ~TimeoutSection() { disarm(); }
  /// After enter(): cancels the section at once when `duration` is not positive.
  void arm(Duration duration) {
    if (duration <= Duration::zero()) {
      has_fired_ = true;
      cancel();
    } else {
      loop().timers().arm(timer_, time_after(loop().now(), duration));
    }
  }
  void disarm() noexcept {
    if (timer_.is_armed()) Loop::current().timers().cancel(timer_);
  }
  /// The time passed, and nobody further out asked for the cancel.
  bool timed_out() const noexcept { return has_fired_ && !parent()->is_cancelled(); }

 private:
  class SectionTimer : public Timer {
   public:
    SectionTimer(Fire fire, TimeoutSection& section) noexcept : Timer(fire), section_(section) {}
    TimeoutSection& section_;
  };
  static void fired(Timer& timer, Loop&) noexcept {
    TimeoutSection& section = static_cast<SectionTimer&>(timer).section_;
    section.has_fired_ = true;
    section.cancel();
  }
  SectionTimer timer_;
  bool has_fired_ = false;
};

/// `co_await timeout(50ms, awaitable)`: cancels the awaitable, a task or leaf of a Result, when the time has passed,
/// and then waits for its end. What completed in spite of the cancel is delivered; Cancelled becomes `timed_out`.
/// With a duration that is not positive the operation is refused before it begins.
template <class Awaitable>
Task<AwaitResultOf<Awaitable>> timeout(Duration duration, Awaitable&& awaitable) {
  static_assert(is_result_v<AwaitResultOf<Awaitable>>, "timeout() needs somewhere to put its error");
  TimeoutSection section;
  co_await section.enter();
  section.arm(duration);
  auto result = co_await std::forward<Awaitable>(awaitable);
  section.disarm();
  const bool timed_out = section.timed_out();
  section.leave();
  if (timed_out && !result.has_value() && result.error().code == ErrorCode::cancelled) {
    co_return fail(ErrorCode::timed_out, result.error().where);
  }
  co_return std::move(result);
}

/// `co_await shield(awaitable)`: no cancel from outside reaches the awaitable; it is seen at the next await after.
template <class Awaitable>
Task<AwaitResultOf<Awaitable>> shield(Awaitable&& awaitable) {
  using Value = AwaitResultOf<Awaitable>;
  Section section(CancelContext::Kind::shield);
  co_await section.enter();
  if constexpr (std::is_void_v<Value>) {
    co_await std::forward<Awaitable>(awaitable);
    section.leave();
  } else {
    auto result = co_await std::forward<Awaitable>(awaitable);
    section.leave();
    co_return std::move(result);
  }
}

/// void becomes std::monostate where a type is needed.
template <class T>
using Stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
Task<Result<void>> store_value(Task<Result<T>> task, std::optional<Stored<T>>* place) {
  auto result = co_await std::move(task);
  if (!result.has_value()) co_return Unexpected(result.error());
  if constexpr (std::is_void_v<T>) {
    place->emplace();
  } else {
    place->emplace(std::move(*result));
  }
  co_return Result<void>();
}

template <class T>
Task<Result<void>> store_result(Task<Result<T>> task, std::optional<Result<T>>* place) {
  auto result = co_await std::move(task);
  place->emplace(std::move(result));
  co_return Result<void>();
}

/// Spawns one wrapper per task; `places` outlives the scope, the tasks are moved away.
template <class Places, class... Ts>
Task<Result<void>> spawn_stores(Scope& scope, Places& places, Task<Result<Ts>>&... tasks) {
  const std::source_location at = std::source_location::current();
  [&]<size_t... I>(std::index_sequence<I...>) {
    (scope.launch(store_value<Ts>(std::move(tasks), &std::get<I>(places)), at), ...);
  }(std::index_sequence_for<Ts...>());
  co_return Result<void>();
}

template <class Places, class... Ts>
Task<Result<void>> spawn_settled(Scope& scope, Places& places, Task<Result<Ts>>&... tasks) {
  const std::source_location at = std::source_location::current();
  [&]<size_t... I>(std::index_sequence<I...>) {
    (scope.launch(store_result<Ts>(std::move(tasks), &std::get<I>(places)), at), ...);
  }(std::index_sequence_for<Ts...>());
  co_return Result<void>();
}

/// `co_await when_all(tasks...)`: Result of a tuple of the values (std::monostate for void). The first error
/// cancels the others, which are joined, and is the result.
template <class... Ts>
Task<Result<std::tuple<Stored<Ts>...>>> when_all(Task<Result<Ts>>... tasks) {
  using Places = std::tuple<std::optional<Stored<Ts>>...>;
  Places places;
  auto scoped = with_scope(ScopeOptions{}, spawn_stores<Places, Ts...>, places, tasks...);
  const Result<void> joined = co_await std::move(scoped);
  if (!joined.has_value()) co_return Unexpected(joined.error());
  co_return std::apply([](auto&... place) { return std::tuple<Stored<Ts>...>(std::move(*place)...); }, places);
}

/// `co_await when_all_settled(tasks...)`: a tuple of all Results; an error cancels nobody.
template <class... Ts>
Task<std::tuple<Result<Ts>...>> when_all_settled(Task<Result<Ts>>... tasks) {
  using Places = std::tuple<std::optional<Result<Ts>>...>;
  Places places;
  auto scoped = with_scope(ScopeOptions{}, spawn_settled<Places, Ts...>, places, tasks...);
  const Result<void> joined = co_await std::move(scoped);
  static_cast<void>(joined);  // the wrappers do not fail; a cancel stands in the results themselves
  co_return std::apply([](auto&... place) { return std::tuple<Result<Ts>...>(std::move(*place)...); }, places);
}

/// Where the first of a race puts its result.
template <class... Ts>
class RaceOutcome {
 public:
  using Winner = std::variant<Stored<Ts>...>;
  bool is_decided() const noexcept { return result_.has_value(); }
  template <size_t Index, class T>
  void decide(Result<T> result) {
    if (!result.has_value()) {
      result_.emplace(Unexpected(result.error()));
    } else if constexpr (std::is_void_v<T>) {
      result_.emplace(Winner(std::in_place_index<Index>));
    } else {
      result_.emplace(Winner(std::in_place_index<Index>, std::move(*result)));
    }
  }
  Result<Winner> take() { return std::move(*result_); }

 private:
  std::optional<Result<Winner>> result_;
};

template <size_t Index, class T, class Outcome>
Task<Result<void>> run_in_race(Task<Result<T>> task, Scope* scope, Outcome* outcome) {
  auto result = co_await std::move(task);
  if (!outcome->is_decided()) {
    outcome->template decide<Index, T>(std::move(result));
    scope->cancel();
  }
  co_return Result<void>();
}

template <class Outcome, class... Ts>
Task<Result<void>> spawn_race(Scope& scope, Outcome& outcome, Task<Result<Ts>>&... tasks) {
  const std::source_location at = std::source_location::current();
  [&]<size_t... I>(std::index_sequence<I...>) {
    (scope.launch(run_in_race<I, Ts, Outcome>(std::move(tasks), &scope, &outcome), at), ...);
  }(std::index_sequence_for<Ts...>());
  co_return Result<void>();
}

/// `co_await race(tasks...)`: the first to end decides, with its value or its error; the losers are cancelled and
/// joined, and what they bring in spite of that is dropped. Result of a variant whose index() names the winner.
template <class... Ts>
Task<Result<std::variant<Stored<Ts>...>>> race(Task<Result<Ts>>... tasks) {
  static_assert(sizeof...(Ts) > 0, "a race needs someone who runs");
  using Outcome = RaceOutcome<Ts...>;
  Outcome outcome;
  auto scoped = with_scope(ScopeOptions{}, spawn_race<Outcome, Ts...>, outcome, tasks...);
  const Result<void> joined = co_await std::move(scoped);
  static_cast<void>(joined);  // the runners do not fail; the outcome was decided by the first
  co_return outcome.take();
}

/// Calls function(item, args...), with function and args by reference.
template <class Function, class... Args>
class CallWith {
 public:
  explicit CallWith(Function& function, Args&... args) noexcept : function_(&function), args_(&args...) {}
  template <class Item>
  SPINDLE_TASK_WRAPPER auto operator()(Item&& item) const {
    return call(std::forward<Item>(item), std::index_sequence_for<Args...>());
  }

 private:
  template <class Item, size_t... I>
  SPINDLE_TASK_WRAPPER auto call(Item&& item, std::index_sequence<I...>) const {
    return (*function_)(std::forward<Item>(item), *std::get<I>(args_)...);
  }
  Function* function_;
  std::tuple<Args*...> args_;
};

template <class Range, class Function, class... Args>
Task<Result<void>> spawn_each(Scope& scope, Range& range, Function& function, Args&... args) {
  const CallWith<Function, Args...> call(function, args...);
  for (auto&& item : range) {
    co_await ok(scope.spawn(call, std::forward<decltype(item)>(item)));
  }
  co_return Result<void>();
}

/// `co_await for_each_bounded(range, count_max, function, args...)`: function(item, args...) for each item, at most
/// count_max at once. Items are stored as values; range, function and args are used by reference until all ended.
/// The first error cancels the rest and is the result.
template <class Range, class Function, class... Args>
Task<Result<void>> for_each_bounded(Range&& range, uint32_t count_max, Function&& function, Args&&... args) {
  SPINDLE_ASSERT(count_max > 0, "for_each_bounded with no child allowed would wait for ever");
  ScopeOptions options;
  options.children_max = count_max;
  using Range_ = std::remove_reference_t<Range>;
  using Function_ = std::remove_reference_t<Function>;
  auto scoped =
      with_scope(options, spawn_each<Range_, Function_, std::remove_reference_t<Args>...>, range, function, args...);
  co_return co_await std::move(scoped);
}

}  // namespace spindle
