#include "runtime/scope.h"

#include <new>

namespace spindle {

/// A child's strand; lives in the frame pool.
class Scope::Child : public Strand {
 public:
  Child(Scope& scope, Settle settle) noexcept : Strand(child_ended), scope_(scope), settle_(settle) {}
  Scope& scope_;
  Settle settle_;
};

Scope::~Scope() {
  if (live_count_ == 0) return;
  SPINDLE_ASSERT(host_is_dying(), "a scope was destroyed before its children ended");
  while (!children_.empty()) destroy_child(static_cast<Child&>(children_.front()));
}

bool Scope::Join::begin(Loop&) noexcept {
  if (scope_.live_count_ == 0) {
    scope_.is_joined_ = true;
    return true;
  }
  SPINDLE_ASSERT(scope_.join_ == nullptr, "a scope was joined twice at once");
  scope_.join_ = this;
  return false;
}

bool Scope::reserve_or_enqueue(Waiter& waiter) noexcept {
  if (is_joined_ || is_cancelled()) {
    const ErrorCode code = is_joined_ ? ErrorCode::closed : ErrorCode::cancelled;
    waiter.refuse(Error{code, 0, "spawn", 0});
    return true;
  }
  if (options_.children_max == 0 || live_count_ < options_.children_max) {
    ++live_count_;
    return true;
  }
  spawners_.push_back(waiter);
  return false;
}

void Scope::start_child(PromiseBase& root, Settle settle, std::source_location at) noexcept {
  Loop& loop = section_.loop();
  Child* child = new (loop.frames().acquire(sizeof(Child))) Child(*this, settle);
  children_.push_back(*child);
  ++live_count_;
  child->launch(loop, &section_, root, at);
}

void Scope::destroy_child(Child& child) noexcept {
  PromiseBase& root = child.root();
  root.handle().destroy();
  static_cast<ListHook<Strand>&>(child).unlink();
  child.close();
  child.~Child();
  Loop::current().frames().release(&child, sizeof(Child));
}

void Scope::child_ended(Strand& strand) noexcept {
  Child& child = static_cast<Child&>(strand);
  Scope& scope = child.scope_;
  child.settle_(scope, child.root());
  scope.destroy_child(child);
  scope.leave_place();
}

void Scope::leave_place() noexcept {
  SPINDLE_ASSERT(live_count_ > 0, "a scope lost count of its children");
  --live_count_;
  while (Waiter* first = spawners_.first()) {
    if (is_cancelled()) {
      first->grant_error(Error{ErrorCode::cancelled, 0, "spawn", 0});
    } else if (live_count_ < options_.children_max) {
      ++live_count_;
      first->grant();
    } else {
      break;
    }
  }
  if (live_count_ == 0 && join_ != nullptr) {
    is_joined_ = true;
    std::exchange(join_, nullptr)->complete();
  }
}

void Scope::note_error(const Error& error) noexcept {
  if (error.code == ErrorCode::cancelled && is_cancelled()) {
    child_was_cancelled_ = true;
    return;
  }
  ++failed_count_;
  if (!first_error_.has_value()) first_error_ = error;
  if (options_.on_error == OnError::cancel_others) cancel();
}

void Scope::note_exception(std::exception_ptr exception) noexcept {
  ++failed_count_;
  if (first_exception_ == nullptr) first_exception_ = std::move(exception);
  cancel();
}

Result<void> Scope::outcome() {
  if (first_exception_ != nullptr) {
    std::exception_ptr exception = std::exchange(first_exception_, nullptr);
    std::rethrow_exception(std::move(exception));
  }
  if (first_error_.has_value()) return Unexpected(*first_error_);
  const CancelContext* outer = section_.parent();
  if (child_was_cancelled_ && outer != nullptr && outer->is_cancelled()) {
    return fail(ErrorCode::cancelled, "scope");
  }
  return {};
}

}  // namespace spindle
