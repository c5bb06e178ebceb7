#include "runtime/loop.h"

#include <utility>

#include "runtime/leaf.h"
#include "runtime/promise.h"

namespace spindle {

Loop::Loop(Reactor& reactor, Options options)
    : reactor_(reactor),
      options_(options),
      random_(options.random_seed),
      chooser_(mix64(options.random_seed ^ 0x5c4ed01e)),
      frames_(options.frames_per_class, options.frame_classes),
      timers_(options.timers_capacity),
      ready_(options.schedule_randomly ? &chooser_ : nullptr) {
  SPINDLE_ASSERT(options.ready_budget > 0, "a budget of no work per turn");
  push_is_special_ = ready_.is_random();
  if (current_ == nullptr) current_ = this;
  reactor_.attach(this);
}

Loop::~Loop() {
  SPINDLE_ASSERT(root_ == nullptr, "a loop was destroyed while its root task was alive");
  SPINDLE_ASSERT(dying_ || ready_.empty(), "a loop was destroyed with work in its ready queue");
  reactor_.attach(nullptr);
  if (current_ == this) current_ = nullptr;
}

void Loop::refresh_now() noexcept {
  const Time read = reactor_.now();
  SPINDLE_ASSERT(read >= now_, "the monotonic clock went backwards");
  now_ = read;
  now_is_fresh_ = true;
}

// After a node has run: the coroutines that follow from it, one after another. They name their successor, and it is
// resumed here, so the stack never grows with the number of synchronous completions.
void Loop::follow() noexcept {
  while (transfer_) std::exchange(transfer_, nullptr).resume();
  if (ended_ != nullptr) std::exchange(ended_, nullptr)->tell_ended();
  has_sequel_ = false;
}

void Loop::push_special(ReadyNode& node) noexcept {
  if (!dying_) ready_.push_unordered(node);
}

inline void Loop::begin_turn() noexcept {
  SPINDLE_ASSERT(!dying_, "a killed loop was driven");
  now_is_fresh_ = false;
  for (Posted* posted = posted_.first(); posted != nullptr; posted = posted_.next(*posted)) posted->collect();
  if (!timers_.empty() && timers_.next() <= now()) timers_.fire_due(now(), *this);
}

inline uint32_t Loop::run_ready() noexcept {
  uint32_t count = 0;
  while (count < options_.ready_budget) {
    ReadyNode* node = ready_.pop();
    if (node == nullptr) break;
    if (node->run == nullptr) {
      static_cast<Leaf*>(node)->awaiting()->handle().resume();
    } else {
      node->run(*node, *this);
    }
    if (has_sequel_) [[unlikely]]
      follow();
    ++count;
  }
  return count;
}

uint32_t Loop::turn() noexcept {
  SPINDLE_ASSERT(!running_, "turn() was called from inside a task");
  Loop* const former = set_current(this);
  running_ = true;
  begin_turn();
  const uint32_t count = run_ready();
  running_ = false;
  set_current(former);
  return count;
}

void Loop::run_until_idle() noexcept {
  SPINDLE_ASSERT(!running_, "run_until_idle() was called from inside a task");
  Loop* const former = set_current(this);
  for (;;) {
    running_ = true;
    begin_turn();
    run_ready();
    running_ = false;
    if (!ready_.empty()) {
      reactor_.poll();
    } else if (root_ != nullptr || reactor_.has_detached_work()) {
      reactor_.wait(timers_.next());
    } else {
      break;
    }
  }
  set_current(former);
}

void Loop::add_root(CancelContext& root) noexcept {
  SPINDLE_ASSERT(root_ == nullptr, "a loop runs one root task at a time: spawn the others in its scope");
  root_ = &root;
}

void Loop::remove_root(CancelContext& root) noexcept {
  SPINDLE_ASSERT(root_ == &root, "a root that is not this loop's");
  root_ = nullptr;
}

void Loop::cancel_root() noexcept {
  if (root_ != nullptr) root_->cancel();
}

void Loop::mark_dying() noexcept {
  SPINDLE_ASSERT(!running_, "a loop was killed from inside one of its tasks");
  dying_ = push_is_special_ = true;
  ready_.abandon();
  timers_.abandon();
}

}  // namespace spindle
