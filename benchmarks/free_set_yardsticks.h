// What FreeSet is measured against: the same reservations, releases and checkpoints, over one bit per block and nothing
// above it, and over one bit per shard of 4096 blocks. A word at a time; without the checks for misuse.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

namespace spindle::bench {

/// A window, in blocks.
struct Window {
  uint32_t next = 0;  ///< no block before it is free, as far as the window knows
  uint32_t end = 0;
};

/// is_sharded: looks into those shards only that are not full; else at every word. has_cursor: a window remembers where
/// its last block was; else the lowest free block is looked for from its begin on.
template <bool is_sharded, bool has_cursor>
class PlainFreeSet {
 public:
  explicit PlainFreeSet(uint32_t blocks_count)
      : acquired_(blocks_count / word_blocks),
        released_(acquired_.size()),
        full_shards_((acquired_.size() / shard_words + word_blocks - 1) / word_blocks),
        free_count_(blocks_count),
        window_free_count_(blocks_count) {}

  std::optional<Window> reserve(uint32_t count) {
    if (count > window_free_count_) return std::nullopt;
    const Window window{window_begin_, end_of(window_begin_, count)};
    window_begin_ = window.end;
    window_free_count_ -= count;
    return window;
  }
  std::optional<uint32_t> acquire(Window& window) {
    const uint32_t block = next_free(window.next);
    if (block >= window.end) return std::nullopt;
    const uint32_t word = block / word_blocks;
    acquired_[word] |= uint64_t{1} << (block % word_blocks);
    if (is_sharded && acquired_[word] == UINT64_MAX) note_full(word / shard_words);
    if (has_cursor) window.next = block + 1;
    --free_count_;
    return block;
  }
  /// The lowest blocks at once: without a cursor it would take the square of that.
  void fill(uint32_t count) {
    for (uint32_t block = 0; block < count; ++block) {
      acquired_[block / word_blocks] |= uint64_t{1} << (block % word_blocks);
    }
    free_count_ -= count;
    forfeit_all();
  }
  void forfeit_all() {
    window_begin_ = 0;
    window_free_count_ = free_count_;
  }
  void release(uint32_t block) { released_[block / word_blocks] |= uint64_t{1} << (block % word_blocks); }
  void mark_checkpoint_durable() {
    for (uint32_t shard = 0; shard < acquired_.size() / shard_words; ++shard) free_shard(shard);
    forfeit_all();
  }
  bool is_free(uint32_t block) const { return (acquired_[block / word_blocks] >> (block % word_blocks) & 1) == 0; }
  bool is_released(uint32_t block) const { return (released_[block / word_blocks] >> (block % word_blocks) & 1) != 0; }

 private:
  static constexpr uint32_t word_blocks = 64;
  static constexpr uint32_t shard_words = 64;

  bool is_full(uint32_t shard) const { return (full_shards_[shard / word_blocks] >> (shard % word_blocks) & 1) != 0; }
  void note_full(uint32_t shard) {
    uint64_t all = UINT64_MAX;
    for (uint32_t word = 0; word < shard_words; ++word) all &= acquired_[shard * shard_words + word];
    if (all == UINT64_MAX) full_shards_[shard / word_blocks] |= uint64_t{1} << (shard % word_blocks);
  }
  void free_shard(uint32_t shard) {
    uint64_t any = 0;
    for (uint32_t word = shard * shard_words; word < (shard + 1) * shard_words; ++word) any |= released_[word];
    if (any == 0) return;
    for (uint32_t word = shard * shard_words; word < (shard + 1) * shard_words; ++word) {
      acquired_[word] &= ~released_[word];
      free_count_ += static_cast<uint32_t>(std::popcount(released_[word]));
      released_[word] = 0;
    }
    full_shards_[shard / word_blocks] &= ~(uint64_t{1} << (shard % word_blocks));
  }
  // The first word from there on that may have a free block.
  uint32_t next_word(uint32_t word) const {
    if (!is_sharded || word % shard_words != 0) return word;
    uint32_t shard = word / shard_words;
    uint64_t open = ~full_shards_[shard / word_blocks] & UINT64_MAX << (shard % word_blocks);
    while (open == 0) {
      shard = (shard / word_blocks + 1) * word_blocks;
      open = ~full_shards_[shard / word_blocks];
    }
    return (shard / word_blocks * word_blocks + static_cast<uint32_t>(std::countr_zero(open))) * shard_words;
  }
  uint32_t next_free(uint32_t block) const {
    uint32_t word = block / word_blocks;
    uint64_t free = ~acquired_[word] & UINT64_MAX << (block % word_blocks);
    while (free == 0) {
      word = next_word(word + 1);
      free = ~acquired_[word];
    }
    return word * word_blocks + static_cast<uint32_t>(std::countr_zero(free));
  }
  uint32_t end_of(uint32_t block, uint32_t count) const {
    uint32_t word = block / word_blocks;
    uint64_t free = ~acquired_[word] & UINT64_MAX << (block % word_blocks);
    for (;;) {
      const uint32_t here = free == 0 ? 0 : static_cast<uint32_t>(std::popcount(free));
      if (here >= count) break;
      count -= here;
      word = next_word(word + 1);
      free = ~acquired_[word];
    }
    while (--count > 0) free &= free - 1;
    return word * word_blocks + static_cast<uint32_t>(std::countr_zero(free)) + 1;
  }

  std::vector<uint64_t> acquired_;
  std::vector<uint64_t> released_;
  std::vector<uint64_t> full_shards_;
  uint32_t free_count_;
  uint32_t window_begin_ = 0;
  uint32_t window_free_count_;
};

}  // namespace spindle::bench
