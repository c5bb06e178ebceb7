#include "runtime/cancel.h"

#include "runtime/assert.h"
#include "runtime/leaf.h"
#include "runtime/loop.h"

namespace spindle {

CancelContext::~CancelContext() {
  if (!is_open()) return;
  SPINDLE_ASSERT(loop_->is_dying(), "a cancellation context was destroyed while it was open");
  // In a dying loop frames go top down: children may outlive their parent for a moment, and must not follow it.
  for (CancelContext* child = first_child_; child != nullptr; child = child->next_sibling_) {
    child->parent_ = nullptr;
  }
  first_child_ = nullptr;
  close();
}

void CancelContext::open(Loop& loop, CancelContext* parent, std::source_location at) noexcept {
  SPINDLE_ASSERT(!is_open(), "a cancellation context was opened twice");
  loop_ = &loop;
  opened_at_ = at;
  parent_ = parent;
  if (parent == nullptr) return;
  next_sibling_ = parent->first_child_;
  if (next_sibling_ != nullptr) next_sibling_->previous_sibling_ = this;
  parent->first_child_ = this;
  cancelled_ = parent->cancelled_ && kind_ != Kind::shield;
  trace_id_ = parent->trace_id_;
}

void CancelContext::close() noexcept {
  SPINDLE_ASSERT(is_open(), "close of a cancellation context that is not open");
  SPINDLE_ASSERT(first_child_ == nullptr, "a cancellation context was closed before those inside it");
  SPINDLE_ASSERT(waiting_leaf_ == nullptr || loop_->is_dying(), "a context was closed under a suspended leaf");
  if (previous_sibling_ != nullptr) {
    previous_sibling_->next_sibling_ = next_sibling_;
  } else if (parent_ != nullptr) {
    parent_->first_child_ = next_sibling_;
  }
  if (next_sibling_ != nullptr) next_sibling_->previous_sibling_ = previous_sibling_;
  loop_ = nullptr;
  parent_ = next_sibling_ = previous_sibling_ = nullptr;
  waiting_leaf_ = nullptr;
}

void CancelContext::cancel_one() noexcept {
  cancelled_ = true;
  // In a dying loop the leaf may be gone already.
  if (waiting_leaf_ != nullptr && !loop_->is_dying()) waiting_leaf_->request_cancel();
}

// The next context in pre-order below `top`; with `descend` false the subtree of this one is left out.
CancelContext* CancelContext::next_in_tree(const CancelContext* top, bool descend) noexcept {
  if (descend && first_child_ != nullptr) return first_child_;
  CancelContext* at = this;
  while (at != top) {
    if (at->next_sibling_ != nullptr) return at->next_sibling_;
    at = at->parent_;
  }
  return nullptr;
}

void CancelContext::cancel() noexcept {
  SPINDLE_ASSERT(is_open(), "cancel of a context that is not open");
  if (cancelled_) return;
  cancel_one();
  // Without recursion: the tree may be deep. What is cancelled already is so all the way down (invariant 1).
  CancelContext* at = next_in_tree(this, true);
  while (at != nullptr) {
    const bool descend = !at->cancelled_ && at->kind_ != Kind::shield;
    if (descend) at->cancel_one();
    at = at->next_in_tree(this, descend);
  }
}

}  // namespace spindle
