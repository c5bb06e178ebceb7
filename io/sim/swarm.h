// Swarm testing (Groce and others: "Swarm testing", 2012): each run leaves out some of the actions and weighs the
// others differently, so that runs reach what a mix of everything never does: a queue is full only where little is
// taken out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/random.h"

namespace spindle::fuzz {

/// The weights of the actions 0 to action_count - 1 of an enum.
template <class Action, size_t action_count>
class Swarm {
 public:
  /// Of each action one draw: about a third is off, the others weigh the unit times 1, 2, 4 or 8.
  explicit Swarm(Random& random, uint32_t unit = 8) noexcept {
    for (uint32_t& weight : weights_) {
      const uint64_t draw = random.below(6);
      weight = draw < 2 ? 0 : unit << (draw - 2);
      sum_ += weight;
    }
  }

  void set(Action action, uint32_t weight) noexcept {
    uint32_t& former = weights_[static_cast<size_t>(action)];
    sum_ = sum_ - former + weight;
    former = weight;
  }
  void limit(Action action, uint32_t most) noexcept { set(action, std::min(weight(action), most)); }
  void raise(Action action, uint32_t least) noexcept { set(action, std::max(weight(action), least)); }
  void add(Action action, uint32_t more) noexcept { set(action, weight(action) + more); }
  uint32_t weight(Action action) const noexcept { return weights_[static_cast<size_t>(action)]; }

  /// An action, by its weight, for a random word. Any of them where all are off.
  Action choose(uint64_t word) const noexcept {
    if (sum_ == 0) return static_cast<Action>(word % action_count);
    uint64_t left = word % sum_;
    size_t index = 0;
    while (left >= weights_[index]) left -= weights_[index++];
    return static_cast<Action>(index);
  }

  /// For --verbose: "push 8, pop 32", without those that are off.
  template <class NameOf>
  std::string text(NameOf name_of) const {
    std::string text;
    for (size_t index = 0; index < action_count; ++index) {
      if (weights_[index] == 0) continue;
      if (!text.empty()) text += ", ";
      text += name_of(static_cast<Action>(index));
      text += ' ' + std::to_string(weights_[index]);
    }
    return text;
  }

 private:
  uint32_t weights_[action_count] = {};
  uint64_t sum_ = 0;
};

}  // namespace spindle::fuzz
