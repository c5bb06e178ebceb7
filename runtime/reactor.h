// What the runtime needs of the world outside: the time, waiting, and being woken. Backends implement it
// (io/uring, io/sim); runtime knows no descriptor and no ring.
#pragma once

#include "runtime/time.h"

namespace spindle {

class Loop;

class Reactor {
 public:
  virtual Time now() noexcept = 0;
  /// Hands gathered requests over and collects what has completed, without blocking. Completions go to the
  /// ready queue of the loop that is attached.
  virtual void poll() noexcept = 0;
  /// The same, but blocks until something completed, wake() was called, or `until` has come.
  virtual void wait(Time until) noexcept = 0;
  /// Ends a wait() that is under way or the next one. From any thread, and from a signal handler.
  virtual void wake() noexcept = 0;
  /// True while detached work (the closing of dropped files) is under way: run() waits for its end.
  virtual bool has_detached_work() const noexcept = 0;
  /// Called by the loop that uses this reactor, at its start and (with null) at its end.
  virtual void attach(Loop* loop) noexcept = 0;

 protected:
  ~Reactor() = default;
};

}  // namespace spindle
