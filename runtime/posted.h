// What comes to a loop from outside its thread: signals, and the results of other threads. Whoever has something
// sets a flag of its own and wakes the reactor; the loop asks everybody once per turn.
#pragma once

#include "runtime/intrusive_list.h"

namespace spindle {

class Posted : public ListHook<Posted> {
 public:
  /// On the loop's thread, at the start of a turn: moves what has come into the ready queue.
  virtual void collect() noexcept = 0;

 protected:
  ~Posted() = default;
};

}  // namespace spindle
