// Random numbers that are the same on every machine and compiler: xoshiro256** (Blackman, Vigna: "Scrambled
// linear pseudorandom number generators", 2021), seeded through splitmix64 (Steele, Lea, Flood, 2014), with
// integer distributions of our own. No floating point, no <random>.
#pragma once

#include <cstdint>

#include "runtime/assert.h"

namespace spindle {

/// splitmix64: one step of the sequence, and a good 64-bit mixer.
constexpr uint64_t mix64(uint64_t value) noexcept {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

class Random {
 public:
  constexpr explicit Random(uint64_t seed) noexcept : state_{} {
    for (uint64_t& word : state_) {
      word = mix64(seed);
      seed += 0x9e3779b97f4a7c15u;
    }
  }

  constexpr uint64_t next() noexcept {
    const uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate_left(state_[3], 45);
    return result;
  }
  /// Uniform in [0, end), end > 0. Multiply and shift (Lemire 2019) without the rejection step: the bias is below
  /// end / 2^64.
  constexpr uint64_t below(uint64_t end) noexcept {
    SPINDLE_ASSERT(end > 0, "a random number below zero does not exist");
    return static_cast<uint64_t>((static_cast<Wide>(next()) * end) >> 64);
  }
  /// Uniform in [low, high], both inclusive.
  constexpr uint64_t between(uint64_t low, uint64_t high) noexcept {
    SPINDLE_ASSERT(low <= high, "an empty range");
    return high - low == UINT64_MAX ? next() : low + below(high - low + 1);
  }
  /// True in `numerator` of `denominator` cases.
  constexpr bool chance(uint64_t numerator, uint64_t denominator) noexcept { return below(denominator) < numerator; }

 private:
  __extension__ using Wide = unsigned __int128;

  static constexpr uint64_t rotate_left(uint64_t value, int count) noexcept {
    return (value << count) | (value >> (64 - count));
  }
  uint64_t state_[4];
};

}  // namespace spindle
