// A reactor on virtual time: nothing happens outside of the loop, and wait() jumps to where the next timer is
// due. A wait without a timer would never end: that is a deadlock of the tasks, and fails at once.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>

#include "runtime/assert.h"
#include "runtime/loop.h"
#include "runtime/reactor.h"

namespace spindle {

class TestReactor final : public Reactor {
 public:
  Time now() noexcept override { return now_; }
  void poll() noexcept override { ++polled_count_; }
  void wait(Time until) noexcept override {
    ++waited_count_;
    if (is_woken_) {
      is_woken_ = false;
      return;
    }
    SPINDLE_ASSERT(until != time_never, "deadlock: tasks wait, and nothing will ever wake them");
    if (until > now_) now_ = until;
  }
  void wake() noexcept override { is_woken_ = true; }
  bool has_detached_work() const noexcept override { return false; }
  void attach(Loop* loop) noexcept override { loop_ = loop; }

  void advance(Duration by) noexcept { now_ += by; }
  Loop* attached() const noexcept { return loop_; }
  uint64_t polled_count() const noexcept { return polled_count_; }
  uint64_t waited_count() const noexcept { return waited_count_; }

 private:
  Time now_ = Time(std::chrono::seconds(1000));
  Loop* loop_ = nullptr;
  bool is_woken_ = false;
  uint64_t polled_count_ = 0;
  uint64_t waited_count_ = 0;
};

/// A loop on virtual time that expects every frame to have come back at its end.
class TestLoop {
 public:
  TestLoop() : TestLoop(Loop::Options()) {}
  explicit TestLoop(const Loop::Options& options) : loop(reactor, options) {}
  ~TestLoop() { CHECK(loop.frames().live_count() == 0); }

  /// Turns until nothing is ready and no timer is armed. For what may get stuck: run() would abort then.
  void drive() {
    for (;;) {
      loop.turn();
      if (loop.has_ready()) continue;
      if (loop.timers().empty()) return;
      reactor.wait(loop.timers().next());
    }
  }
  /// Turns until nothing is ready; time stands still.
  void drive_ready() {
    do {
      loop.turn();
    } while (loop.has_ready());
  }
  /// Nanoseconds since the test began.
  Duration elapsed() { return reactor.now() - began_; }

  TestReactor reactor;
  Loop loop;

 private:
  Time began_ = reactor.now();
};

}  // namespace spindle
