// IndexSet: a set of indices below a fixed capacity that gives out its lowest one, or the next one from a place on. The
// set of free nodes of a NodePool, and of the words of a FreeSet that have free blocks.
//
// A bit per index, and above the bits levels of summaries: a bit of level k+1 says that a word of level k is not zero.
//
//     level 2                     1                        one word; bit w: word w of level 1 is not zero
//     level 1                 0 1 … 1                      bit w: word w of level 0 is not zero
//     level 0   000…0   0…0100   …   1…1                   bit i: index i is in the set
//
// Taking the lowest goes down from the top, one bit scan per level, and up again; putting one in goes up. So neither
// depends on how many indices are in, and even 2^32 of them have six levels only. A flat scan for the lowest would be
// linear in the capacity.
//
// Invariant: a summary bit is set if and only if its word is not zero; bits beyond the capacity never are.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "runtime/result.h"

namespace spindle {

class IndexSet {
 public:
  /// Every index in [0, capacity) is in it; capacity > 0. One allocation. Error: ENOMEM.
  static Result<IndexSet> create_full(uint32_t capacity) noexcept;
  /// The same with none in it.
  static Result<IndexSet> create_empty(uint32_t capacity) noexcept;

  IndexSet(IndexSet&&) noexcept = default;
  IndexSet& operator=(IndexSet&&) = delete;

  uint32_t capacity() const noexcept { return capacity_; }
  bool empty() const noexcept { return level(levels_count_ - 1)[0] == 0; }
  bool contains(uint32_t index) const noexcept {
    SPINDLE_ASSERT(index < capacity_, "an index beyond the capacity of its set");
    return (words_[index / word_bits] >> (index % word_bits) & 1) != 0;
  }
  /// Takes the lowest index out. Of an empty set: a caught bug.
  uint32_t take_lowest() noexcept;
  /// Puts an index in that is not in.
  void insert(uint32_t index) noexcept;
  /// Takes an index out that is in.
  void erase(uint32_t index) noexcept;
  /// The lowest index from `begin` on, which may be the capacity or more; the capacity when there is none.
  uint32_t lowest_from(uint32_t begin) const noexcept;
  /// One more than the highest index; 0 of an empty set.
  uint32_t end() const noexcept;
  /// Everything is in again.
  void fill() noexcept;
  /// Nothing is.
  void clear() noexcept;
  /// O(capacity): every summary bit says the truth.
  bool is_consistent() const noexcept;
  /// Words of memory that a set of this capacity takes, all levels together.
  static constexpr uint32_t words_count_of(uint32_t capacity) noexcept {
    uint32_t count = 0;
    uint32_t bits = capacity;
    do {
      bits = words_of(bits);
      count += bits;
    } while (bits > 1);
    return count;
  }

 private:
  static constexpr uint32_t word_bits = 64;
  static constexpr uint32_t levels_max = 6;
  static_assert((uint64_t{1} << (6 * levels_max)) > UINT32_MAX, "a level has 64 times the words of the one above");

  explicit IndexSet(uint32_t capacity) noexcept;
  /// Words for so many bits.
  static constexpr uint32_t words_of(uint32_t bits) noexcept { return bits / word_bits + (bits % word_bits != 0); }
  static Result<IndexSet> create(uint32_t capacity) noexcept;
  void remove(uint32_t index) noexcept;
  uint64_t* level(uint32_t number) const noexcept { return words_.get() + level_offsets_[number]; }

  uint32_t capacity_;
  uint32_t levels_count_ = 0;
  uint32_t words_count_ = 0;
  uint32_t level_offsets_[levels_max] = {};  // where each level begins in words_; level 0 at 0
  std::unique_ptr<uint64_t[]> words_;
};

}  // namespace spindle
