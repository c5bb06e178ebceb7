#include "runtime/leaf.h"

namespace spindle {

void Leaf::abandon() noexcept {
  SPINDLE_ASSERT(Loop::current().is_dying(), "a frame was destroyed while what it awaits is in flight");
  if (state_ == State::waiting) on_abandon();
  // Not through awaiting_: a leaf, or a task that holds it, may be a temporary of the frame around the one that
  // awaits it (`co_await timeout(d, sleep_for(t))`), which is destroyed, with its section, before the temporary.
  state_ = State::done;
}

}  // namespace spindle
