// EWAH, written down a second time from docs/FORMAT.md: bit by bit, one word after another, without any care for speed.
// What the codec is compared with, in unit tests and in the fuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "lsm/ewah.h"

namespace spindle::ewah_oracle {

enum class Kind : uint8_t { zeroes, ones, literal };

inline Kind kind_of(uint64_t word) {
  uint32_t ones_count = 0;
  for (uint32_t bit = 0; bit < 64; ++bit) ones_count += (word >> bit & 1) != 0;
  return ones_count == 0 ? Kind::zeroes : ones_count == 64 ? Kind::ones : Kind::literal;
}

inline uint64_t word_at(std::span<const std::byte> bytes, size_t index) {
  uint64_t word = 0;
  for (size_t byte = 8; byte-- > 0;) word = word * 256 + std::to_integer<uint64_t>(bytes[index * 8 + byte]);
  return word;
}

inline void append(std::vector<std::byte>& bytes, uint64_t word) {
  for (uint32_t byte = 0; byte < 8; ++byte) bytes.push_back(static_cast<std::byte>(word >> (8 * byte) & 255));
}

inline std::vector<std::byte> encode(std::vector<uint64_t> words) {
  while (!words.empty() && kind_of(words.back()) == Kind::zeroes) words.pop_back();
  std::vector<std::byte> bytes;
  size_t at = 0;
  while (at < words.size()) {
    const Kind first = kind_of(words[at]);
    uint64_t run_count = 0;
    while (first != Kind::literal && at < words.size() && kind_of(words[at]) == first) ++run_count, ++at;
    const size_t literals_begin = at;
    while (at < words.size() && kind_of(words[at]) == Kind::literal) ++at;
    const uint64_t value = first == Kind::ones ? 1 : 0;
    append(bytes, value + run_count * 2 + (at - literals_begin) * (uint64_t{1} << 32));
    for (size_t index = literals_begin; index < at; ++index) append(bytes, words[index]);
  }
  return bytes;
}

struct Decoded {
  EwahFault fault = EwahFault::none;
  std::vector<uint64_t> words;
};

/// What is wrong with one marker that may stand there.
inline EwahFault fault_of(uint64_t value, uint64_t run_count, uint64_t literals_count, const uint64_t* former,
                          uint64_t room) {
  if (run_count + literals_count == 0) return EwahFault::empty_marker;
  if (run_count == 0 && value == 1) return EwahFault::run_value;
  if (run_count == 0 && former != nullptr) return EwahFault::split;
  const bool follows_run = former != nullptr && *former / (uint64_t{1} << 32) == 0;
  if (follows_run && *former % 2 == value) return EwahFault::split;
  return run_count + literals_count > room ? EwahFault::capacity : EwahFault::none;
}

inline Decoded decode(std::span<const std::byte> bytes, size_t words_count) {
  Decoded decoded;
  auto& [fault, words] = decoded;
  const size_t count = bytes.size() / 8;
  uint64_t marker = 0;
  bool has_marker = false;
  uint64_t literals_missing = 0;
  for (size_t index = 0; index < count && fault == EwahFault::none; ++index) {
    const uint64_t word = word_at(bytes, index);
    if (literals_missing > 0) {
      --literals_missing;
      words.push_back(word);
      if (kind_of(word) != Kind::literal) fault = EwahFault::uniform_literal;
      continue;
    }
    const uint64_t value = word % 2;
    const uint64_t run_count = word / 2 % (uint64_t{1} << 31);
    literals_missing = word / (uint64_t{1} << 32);
    fault = fault_of(value, run_count, literals_missing, has_marker ? &marker : nullptr, words_count - words.size());
    if (fault == EwahFault::none) words.insert(words.end(), run_count, value == 1 ? UINT64_MAX : 0);
    marker = word;
    has_marker = true;
  }
  if (fault != EwahFault::none) return decoded;
  if (bytes.size() % 8 != 0) {
    fault = EwahFault::size;
  } else if (literals_missing > 0) {
    fault = EwahFault::truncated;
  } else if (!words.empty() && words.back() == 0) {
    fault = EwahFault::trailing_zeroes;
  }
  words.resize(words_count);
  return decoded;
}

}  // namespace spindle::ewah_oracle
