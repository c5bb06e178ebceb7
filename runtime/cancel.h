// Cancellation contexts: the tree along which a cancel request travels, and at the same time the tree that
// answers "why is it stuck?".
//
//     root strand ─┬─ scope ─┬─ strand (child task) ── timeout section
//                  │         └─ strand (child task)          └ waits on: read of 4096 bytes …
//                  └─ …
//
// A strand is one chain of tasks that await one another; a section (timeout, shield, scope) is a part of a strand
// with a context of its own. At any moment at most one leaf (an operation or wait) is suspended in a context.
//
// Invariants
// 1. Cancelled is a level: once set it stays. A context inside a cancelled one is cancelled, unless a shield
//    stands between them.
// 2. cancel() runs no user code: it asks the suspended leaves, whose completions go through the ready queue.
// 3. A context is closed before its parent.
#pragma once

#include <cstdint>
#include <source_location>

namespace spindle {

class Loop;
class Leaf;

class CancelContext {
 public:
  enum class Kind : uint8_t { strand, scope, timeout, shield };

  explicit CancelContext(Kind kind) noexcept : kind_(kind) {}
  CancelContext(const CancelContext&) = delete;
  CancelContext& operator=(const CancelContext&) = delete;
  /// Must be closed, or its loop be dying.
  ~CancelContext();

  /// Becomes a child of `parent` (null: a root), and cancelled if the parent is, unless this is a shield.
  void open(Loop& loop, CancelContext* parent, std::source_location at) noexcept;
  /// Leaves the tree. No child may be left.
  void close() noexcept;

  /// Requests cancellation of this context and of all below that no shield protects. Idempotent; never suspends.
  void cancel() noexcept;

  bool is_open() const noexcept { return loop_ != nullptr; }
  bool is_cancelled() const noexcept { return cancelled_; }
  Kind kind() const noexcept { return kind_; }
  Loop& loop() const noexcept { return *loop_; }
  CancelContext* parent() const noexcept { return parent_; }
  CancelContext* first_child() const noexcept { return first_child_; }
  CancelContext* next_sibling() const noexcept { return next_sibling_; }
  const std::source_location& opened_at() const noexcept { return opened_at_; }
  /// See runtime/trace.h; that of the parent, unless it is set.
  uint32_t trace_id() const noexcept { return trace_id_; }
  void set_trace_id(uint32_t trace_id) noexcept { trace_id_ = trace_id; }
  /// The leaf suspended in this context, or null.
  Leaf* waiting_leaf() const noexcept { return waiting_leaf_; }
  void set_waiting_leaf(Leaf* leaf) noexcept { waiting_leaf_ = leaf; }

 private:
  void cancel_one() noexcept;
  CancelContext* next_in_tree(const CancelContext* top, bool descend) noexcept;

  Loop* loop_ = nullptr;
  Leaf* waiting_leaf_ = nullptr;
  bool cancelled_ = false;
  Kind kind_;
  uint32_t trace_id_ = 0;
  CancelContext* parent_ = nullptr;
  CancelContext* first_child_ = nullptr;
  CancelContext* next_sibling_ = nullptr;
  CancelContext* previous_sibling_ = nullptr;
  std::source_location opened_at_;
};

}  // namespace spindle
