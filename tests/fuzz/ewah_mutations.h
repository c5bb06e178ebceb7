// Changes to valid encodings, for the fuzzers of what reads them: noise dies at its first marker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/random.h"

namespace spindle::fuzz {

/// One change: to a bit, to a field of what may be a marker, to a word, to the order or the number of words.
inline void mutate_encoding(std::vector<std::byte>& bytes, Random& random) {
  std::vector<uint64_t> words(bytes.size() / 8);
  if (!words.empty()) std::memcpy(words.data(), bytes.data(), words.size() * 8);
  const uint64_t kind = words.empty() ? 8 : random.below(11);
  const size_t place = random.below(words.size() + (words.empty() ? 1 : 0));
  const size_t other = random.below(words.size() + (words.empty() ? 1 : 0));
  const uint64_t bit = random.below(64);
  const uint64_t drawn = random.next();
  const auto at = words.begin() + static_cast<ptrdiff_t>(words.empty() ? 0 : place);
  switch (kind) {
    case 0: *at ^= uint64_t{1} << bit; break;
    case 1: *at += 2; break;                       // one more uniform word
    case 2: *at -= 2; break;
    case 3: *at += uint64_t{1} << 32; break;       // one more literal
    case 4: *at -= uint64_t{1} << 32; break;
    case 5: *at = drawn % 2 == 0 ? 0 : UINT64_MAX; break;
    case 6: *at = (drawn & 0x0000'0007'0000'000f) % 2 == 0 ? drawn & 0x0000'0007'0000'000f : drawn; break;
    case 7: words.erase(at); break;
    case 8: words.insert(at, drawn % 4 == 0 ? drawn & 0x0000'0003'0000'0007 : drawn); break;
    case 9: std::swap(words[place], words[other]); break;
    default: words.resize(place); break;
  }
  bytes.resize(words.size() * 8);
  if (!words.empty()) std::memcpy(bytes.data(), words.data(), bytes.size());
  // Rarely: not whole words.
  if (random.chance(1, 32)) bytes.resize(bytes.size() + 1 + random.below(7), std::byte{1});
}

}  // namespace spindle::fuzz
