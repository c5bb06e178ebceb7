// LostSectors: which sectors of a read could not be read, one bit each, in words that the caller has.
//
//     uint64_t words[LostSectors::words_count(block_size / sector_size)];
//     const StorageReadOptions options{.lost = LostSectors(words)};
//     const Result<void> read = co_await storage.read(zone, offset, block, options);
//     if (!read.has_value() && read.error().code == ErrorCode::lost_sectors) { … options.lost.is_lost(3) … }
//
// Bit i % 64 of word i / 64 is sector i of the read, counted from its offset.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "runtime/assert.h"

namespace spindle {

/// What the memory of a lost sector is filled with. No zeroes, which may be data; and the same byte all over, to be
/// recognised in a dump.
inline constexpr std::byte lost_sector_fill{0xbd};

/// A view; a default one notes nothing.
class LostSectors {
 public:
  static constexpr uint64_t words_count(uint64_t sectors_count) noexcept { return (sectors_count + 63) / 64; }

  LostSectors() noexcept = default;
  /// `words` is borrowed for as long as the view is used.
  explicit LostSectors(std::span<uint64_t> words) noexcept : words_(words) {}

  bool is_lost(uint64_t sector) const noexcept { return (words_[word_of(sector)] >> (sector % 64) & 1) != 0; }
  uint64_t count() const noexcept {
    uint64_t count = 0;
    for (const uint64_t word : words_) count += static_cast<uint64_t>(std::popcount(word));
    return count;
  }

  // For Storage.
  /// Before a read of so many sectors.
  void clear(uint64_t sectors_count) const noexcept {
    if (words_.empty()) return;
    SPINDLE_ASSERT(words_.size() >= words_count(sectors_count), "a read has more sectors than its LostSectors");
    for (uint64_t& word : words_) word = 0;
  }
  void note(uint64_t sector) const noexcept {
    if (!words_.empty()) words_[word_of(sector)] |= uint64_t{1} << (sector % 64);
  }

 private:
  size_t word_of(uint64_t sector) const noexcept {
    SPINDLE_ASSERT(sector / 64 < words_.size(), "a sector that LostSectors has no bit for");
    return static_cast<size_t>(sector / 64);
  }
  std::span<uint64_t> words_;
};
static_assert(std::is_trivially_destructible_v<LostSectors>);

}  // namespace spindle
