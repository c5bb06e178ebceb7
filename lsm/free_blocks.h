// FreeBlocks: which blocks of a grid are acquired, and quick answers about those that are free. The ground of FreeSet.
//
// A bit per block, and above the bits two trees of fan-out 64, one of bits and one of counts:
//
//     2^24 blocks                                 count        ┐ where the n-th free block from here is
//     2^18 blocks                                 count        │ (a window of a reservation)
//     4096 blocks: a shard          bit           count        ┘
//       64 blocks: a word           bit    ← the word is not full: where the next free block is (an IndexSet)
//        1 block                    acquired?
//
// Invariants
// 1. A bit of the index is set if and only if its word, or its word of words, has a free block. The level of shards
//    says which shards are full, the level above which 64 shards are, and so on.
// 2. A count is the number of free blocks below it.
// 3. Bits at blocks_count and beyond are not acquired, so that they are not encoded, and not free: nobody gets them.
//
// Costs for 2^25 blocks, nearly full: the next free block is a bit of the word at hand or at most nine words of the
// index, which are hot (64 KiB and 1 KiB); the n-th is at most 64 words, 64 counts per level up and down again, each
// four cache lines in a row, whatever n is. All counts of shards together are 32 KiB.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "pools/index_set.h"
#include "runtime/result.h"

namespace spindle {

class FreeBlocks {
 public:
  static constexpr uint32_t word_blocks = 64;
  static constexpr uint32_t shard_blocks = 4096;
  /// The end of every window is a block index, too.
  static constexpr uint64_t blocks_count_max = UINT32_MAX;

  /// All blocks free; blocks_count > 0. All memory is allocated here. Error: ENOMEM.
  static Result<FreeBlocks> create(uint32_t blocks_count) noexcept;

  uint32_t blocks_count() const noexcept { return blocks_count_; }
  uint32_t words_count() const noexcept { return words_count_; }
  uint32_t free_count() const noexcept { return free_count_; }
  bool is_free(uint32_t block) const noexcept {
    SPINDLE_ASSERT(block < blocks_count_, "a block beyond the end of the grid");
    return (acquired_[block / word_blocks] >> (block % word_blocks) & 1) == 0;
  }
  /// Behind the last block that is acquired; 0 when none is.
  uint32_t acquired_end() const noexcept;
  /// The end of the shortest range from `begin` on with `count` free blocks. There must be as many.
  uint32_t range_end(uint32_t begin, uint32_t count) const noexcept;

  /// Acquires the lowest free block from `begin` on. There must be one.
  uint32_t take_lowest_from(uint32_t begin) noexcept;
  /// Acquires a block that is free.
  void take(uint32_t block) noexcept;
  /// Frees blocks of word `word`: those of `bits`, which are acquired, and at least one.
  void give_back(uint32_t word, uint64_t bits) noexcept;

  /// Bit by bit, for the encoding.
  std::span<const uint64_t> acquired_words() const noexcept { return {acquired_.get(), words_count_}; }
  /// For whoever writes all of them, and calls recount() before anything else.
  std::span<uint64_t> acquired_words_to_write() noexcept { return {acquired_.get(), words_count_}; }
  /// Whether a block beyond the last one is acquired, after all of them were written.
  bool has_beyond_end() const noexcept { return (acquired_[words_count_ - 1] & ~full_word(words_count_ - 1)) != 0; }
  /// Index and counts follow the bits. O(blocks).
  void recount() noexcept;
  /// Frees everything. O(blocks).
  void clear() noexcept;
  /// O(blocks): the invariants hold.
  bool is_consistent() const noexcept;

 private:
  static constexpr uint32_t levels_count = 3;
  static constexpr uint32_t word_shift = 6;
  static constexpr uint32_t level_shifts[levels_count] = {12, 18, 24};
  static_assert(shard_blocks == 1u << level_shifts[0] && word_blocks == 1u << word_shift);
  static constexpr uint32_t fan_out = 64;

  /// A unit of some level of counts, and how many free blocks of it are still to be counted.
  struct Place {
    uint32_t level;
    uint32_t unit;
    uint32_t left;
  };

  FreeBlocks(uint32_t blocks_count, IndexSet words_with_free) noexcept;
  uint32_t units_count(uint32_t level) const noexcept {
    return static_cast<uint32_t>(((uint64_t{blocks_count_} - 1) >> level_shifts[level]) + 1);
  }
  /// Blocks of one unit: the last one may be cut off.
  uint32_t capacity_of(uint32_t level, uint32_t unit) const noexcept;
  /// What a word without a free block is.
  uint64_t full_word(uint32_t word) const noexcept { return word + 1 == words_count_ ? last_word_full_ : UINT64_MAX; }
  uint64_t free_bits(uint32_t word) const noexcept { return ~acquired_[word] & full_word(word); }
  void acquire_bit(uint32_t word, uint64_t bit) noexcept;
  Place unit_with(uint32_t unit, uint32_t left) const noexcept;
  /// Goes on from word to word below `word_end`; the block behind the one searched for, or 0 and a smaller `left`.
  uint32_t range_end_in_words(uint32_t block, uint32_t word_end, uint32_t& left) const noexcept;

  uint32_t blocks_count_;
  uint32_t words_count_;
  uint32_t free_count_;
  uint64_t last_word_full_;
  std::unique_ptr<uint64_t[]> acquired_;
  std::unique_ptr<uint32_t[]> free_counts_[levels_count];
  IndexSet words_with_free_;
};

}  // namespace spindle
