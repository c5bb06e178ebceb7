// What is ready to run. A node is intrusive and carries the function that runs it, so that a completion reaches
// its coroutine, or the finish hook of an early exit, without a frame or an allocation of its own.
//
// Production takes nodes in FIFO order. The simulation takes them at random, by its seed, so that interleavings
// are explored. The random form keeps pointers in a vector (it may allocate; the FIFO form never does).
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/random.h"

namespace spindle {

class Loop;

struct ReadyNode {
  /// Runs the node. Null: it is a leaf, and its task is to be resumed.
  using Run = void (*)(ReadyNode& node, Loop& loop) noexcept;

  ReadyNode* next_ready;  // both are set before the node is pushed, or by that
  Run run;
};

class ReadyQueue {
 public:
  /// With `chooser` (borrowed, may be null) nodes are taken at random.
  explicit ReadyQueue(Random* chooser) noexcept : chooser_(chooser) {}

  bool is_random() const noexcept { return chooser_ != nullptr; }
  bool empty() const noexcept { return head_ == nullptr && unordered_.empty(); }

  void push(ReadyNode& node) noexcept {
    node.next_ready = nullptr;
    *tail_ = &node;
    tail_ = &node.next_ready;
  }
  /// push() for the random form.
  void push_unordered(ReadyNode& node) noexcept { unordered_.push_back(&node); }

  /// The next node, or null.
  ReadyNode* pop() noexcept {
    ReadyNode* node = head_;
    if (node == nullptr) return unordered_.empty() ? nullptr : pop_random();
    head_ = node->next_ready;
    if (head_ == nullptr) tail_ = &head_;
    return node;
  }

  /// Forgets everything: only for a loop that is being killed.
  void abandon() noexcept {
    unordered_.clear();
    head_ = nullptr;
    tail_ = &head_;
  }

 private:
  ReadyNode* pop_random() noexcept {
    const size_t index = chooser_->below(unordered_.size());
    ReadyNode* node = unordered_[index];
    unordered_[index] = unordered_.back();
    unordered_.pop_back();
    return node;
  }

  ReadyNode* head_ = nullptr;
  ReadyNode** tail_ = &head_;
  Random* chooser_;
  std::vector<ReadyNode*> unordered_;
};

}  // namespace spindle
