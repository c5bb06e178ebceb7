// Parts and values of grains, for the model of files of the fuzzer `file`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/fuzz/file_model.h"

namespace spindle::fuzz {

inline constexpr GrainBytes zeroes{};

inline const std::byte* bytes_of(const GrainValue& value) noexcept {
  return value == nullptr ? zeroes.data() : value->data();
}

inline bool is_same(const GrainValue& left, const GrainValue& right) noexcept {
  return left == right || std::memcmp(bytes_of(left), bytes_of(right), grain_size) == 0;
}

inline void add_value(std::vector<GrainValue>& values, const GrainValue& value) {
  const bool is_there =
      std::any_of(values.begin(), values.end(), [&](const auto& other) { return is_same(other, value); });
  if (!is_there) values.push_back(value);
}

inline void add_values(std::vector<GrainValue>& values, const std::vector<GrainValue>& others) {
  for (const GrainValue& value : others) add_value(values, value);
}

/// The part of grain `index` in [begin, end), relative to it.
struct Part {
  size_t first;
  size_t last;  // exclusive
  Part(uint64_t index, uint64_t begin, uint64_t end) noexcept
      : first(
            static_cast<size_t>(std::clamp(begin, index * grain_size, (index + 1) * grain_size) - index * grain_size)),
        last(static_cast<size_t>(std::clamp(end, index * grain_size, (index + 1) * grain_size) - index * grain_size)) {}
  bool is_empty() const noexcept { return first >= last; }
  bool is_whole() const noexcept { return first == 0 && last == grain_size; }
};

/// Some of it is not the content of the write.
inline bool is_edge(const Change& change, uint64_t index) noexcept {
  return !Part(index, change.offset, change.end()).is_whole();
}

}  // namespace spindle::fuzz
