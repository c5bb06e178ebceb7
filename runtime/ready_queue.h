// What is ready to run. A node is intrusive and carries the function that runs it, so that a completion reaches
// its coroutine, or the finish hook of an early exit, without a frame or an allocation of its own.
//
// Production takes nodes in FIFO order. The simulation takes them at random, by its seed, so that interleavings
// are explored. The random form keeps pointers in a vector (it may allocate; the FIFO form never does).
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/assert.h"
#include "runtime/random.h"

namespace spindle {

class Loop;

struct ReadyNode {
  using Run = void (*)(ReadyNode& node, Loop& loop) noexcept;

  ReadyNode* next_ready = nullptr;
  Run run = nullptr;
};

class ReadyQueue {
 public:
  /// With `chooser` (borrowed, may be null) nodes are taken at random.
  explicit ReadyQueue(Random* chooser) noexcept : chooser_(chooser) {}

  bool empty() const noexcept { return count_ == 0; }
  size_t size() const noexcept { return count_; }

  void push(ReadyNode& node) noexcept {
    ++count_;
    if (chooser_ != nullptr) [[unlikely]] {
      unordered_.push_back(&node);
      return;
    }
    node.next_ready = nullptr;
    *tail_ = &node;
    tail_ = &node.next_ready;
  }

  ReadyNode& pop() noexcept {
    SPINDLE_ASSERT(count_ > 0, "pop of an empty ready queue");
    --count_;
    if (chooser_ != nullptr) [[unlikely]] return pop_random();
    ReadyNode* node = head_;
    head_ = node->next_ready;
    if (head_ == nullptr) tail_ = &head_;
    return *node;
  }

  /// Forgets everything: only for a loop that is being killed.
  void abandon() noexcept {
    unordered_.clear();
    head_ = nullptr;
    tail_ = &head_;
    count_ = 0;
  }

 private:
  ReadyNode& pop_random() noexcept {
    const size_t index = chooser_->below(unordered_.size());
    ReadyNode* node = unordered_[index];
    unordered_[index] = unordered_.back();
    unordered_.pop_back();
    return *node;
  }

  ReadyNode* head_ = nullptr;
  ReadyNode** tail_ = &head_;
  size_t count_ = 0;
  Random* chooser_;
  std::vector<ReadyNode*> unordered_;
};

}  // namespace spindle
