// The event loop: a ready queue with a budget per turn, timers, the pool of coroutine frames, and a Reactor that
// knows the world outside. One loop belongs to one thread. Production calls run(); the simulated world drives the
// turns of all its hosts.
//
// Invariants
// 1. Coroutines are resumed by the nodes of the ready queue, by the trampoline in follow(), and from nowhere else.
// 2. turn() never blocks.
// 3. After kill() nothing of this loop runs any more: completions and releases wake nobody.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <source_location>

#include "runtime/frame_pool.h"
#include "runtime/posted.h"
#include "runtime/random.h"
#include "runtime/reactor.h"
#include "runtime/ready_queue.h"
#include "runtime/time.h"
#include "runtime/timer_heap.h"

namespace spindle {

class Strand;
class CancelContext;

class Loop {
 public:
  struct Options {
    uint32_t ready_budget = 1024;     ///< nodes run per turn before the reactor is polled again
    uint64_t random_seed = 0;         ///< of random(), the only source of randomness for what runs here
    bool schedule_randomly = false;   ///< the simulation's order of the ready queue
    uint32_t frames_per_class = 256;  ///< coroutine frames allocated at start, for each size class …
    uint32_t frame_classes = 16;      ///< … of this many smallest ones (64 bytes apart)
    uint32_t timers_capacity = 1024;  ///< armed timers before the heap has to grow
  };

  Loop(Reactor& reactor, Options options);
  explicit Loop(Reactor& reactor) : Loop(reactor, Options{}) {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  /// No task may be alive; after kill() none is.
  ~Loop();

  /// The loop of this thread. Asking where there is none is a caught bug.
  static Loop& current() noexcept {
    SPINDLE_ASSERT(current_ != nullptr, "tasks live on a loop's thread, and there is no loop here");
    return *current_;
  }
  /// The same, where an earlier current() has checked.
  static Loop& current_unchecked() noexcept { return *current_; }
  static bool has_current() noexcept { return current_ != nullptr; }
  /// Makes `loop` the thread's current one (null: none) and returns the former.
  static Loop* set_current(Loop* loop) noexcept {
    Loop* former = current_;
    current_ = loop;
    return former;
  }

  /// Timers that are due, then at most ready_budget ready nodes. Never blocks. Returns how many nodes ran.
  uint32_t turn() noexcept;
  /// Turns, and waiting, until `strand_count` is zero and detached work is done.
  void run_until_idle() noexcept;

  Time now() noexcept {
    if (!now_is_fresh_) refresh_now();
    return now_;
  }
  Random& random() noexcept { return random_; }
  FramePool& frames() noexcept { return frames_; }
  TimerHeap& timers() noexcept { return timers_; }
  Reactor& reactor() noexcept { return reactor_; }
  bool has_ready() const noexcept { return !ready_.empty(); }

  /// A root strand begins (`add`) or ends. Root contexts are the tops of the task tree.
  void add_root(CancelContext& root) noexcept;
  void remove_root(CancelContext& root) noexcept;
  CancelContext* root() const noexcept { return root_; }
  /// Cancels the root: the clean way to shut down. Never suspends.
  void cancel_root() noexcept;

  /// Marks the loop as dying: nothing runs, wakes or asserts quiescence from now on. The caller destroys the
  /// frames, top down. Not from inside a task of this loop.
  void mark_dying() noexcept;
  bool is_dying() const noexcept { return dying_; }

  /// `posted` is asked once per turn, until it is unlinked.
  void add_posted(Posted& posted) noexcept { posted_.push_back(posted); }

  // For promises, leaves and backends.
  void push_ready(ReadyNode& node) noexcept {
    if (push_is_special_) [[unlikely]]
      return push_special(node);
    ready_.push(node);
  }
  /// The coroutine to resume when the one that runs now suspends.
  void transfer(std::coroutine_handle<> next) noexcept {
    SPINDLE_ASSERT(!transfer_, "two coroutines were to be resumed at once");
    transfer_ = next;
    has_sequel_ = true;
  }
  void note_strand_ended(Strand& strand) noexcept {
    ended_ = &strand;
    has_sequel_ = true;
  }

 private:
  void begin_turn() noexcept;
  uint32_t run_ready() noexcept;
  void follow() noexcept;
  void push_special(ReadyNode& node) noexcept;
  void refresh_now() noexcept;

  inline static constinit thread_local Loop* current_ = nullptr;

  bool has_sequel_ = false;       ///< one of the next two is set
  bool push_is_special_ = false;  ///< dying, or scheduling at random
  bool dying_ = false;
  bool running_ = false;
  bool now_is_fresh_ = false;
  Time now_{};
  std::coroutine_handle<> transfer_;  ///< to be resumed once the one that runs now has suspended
  Strand* ended_ = nullptr;           ///< its root task is done
  Reactor& reactor_;
  Options options_;
  Random random_;
  Random chooser_;
  FramePool frames_;
  TimerHeap timers_;
  ReadyQueue ready_;
  CancelContext* root_ = nullptr;
  IntrusiveList<Posted> posted_;
};

}  // namespace spindle
