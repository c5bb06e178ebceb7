// A running hash over everything that happens in a simulated world: two runs that agree in it did the same things
// in the same order. The same for every compiler and build type.
#pragma once

#include <cstdint>

#include "runtime/random.h"

namespace spindle {

class EventHash {
 public:
  void mix(uint64_t word) noexcept { value_ = mix64(value_ ^ word); }
  template <class... Words>
  void mix(uint64_t first, Words... others) noexcept {
    mix(first);
    (mix(static_cast<uint64_t>(others)), ...);
  }
  uint64_t value() const noexcept { return value_; }

 private:
  uint64_t value_ = 0;
};

}  // namespace spindle
