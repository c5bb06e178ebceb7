#include "lsm/free_blocks.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>

namespace spindle {

namespace {

constexpr uint32_t count_of(uint64_t bits) noexcept { return static_cast<uint32_t>(std::popcount(bits)); }

// The place of the n-th bit that is set, n > 0.
uint32_t nth_bit(uint64_t bits, uint32_t n) noexcept {
  while (--n > 0) bits &= bits - 1;
  return static_cast<uint32_t>(std::countr_zero(bits));
}

}  // namespace

FreeBlocks::FreeBlocks(uint32_t blocks_count, IndexSet words_with_free) noexcept
    : blocks_count_(blocks_count),
      words_count_(words_with_free.capacity()),
      free_count_(blocks_count),
      last_word_full_(UINT64_MAX >> (words_count_ * uint64_t{word_blocks} - blocks_count)),
      words_with_free_(std::move(words_with_free)) {}

Result<FreeBlocks> FreeBlocks::create(uint32_t blocks_count) noexcept {
  SPINDLE_ASSERT(blocks_count > 0, "a grid without blocks");
  const uint32_t words_count = blocks_count / word_blocks + (blocks_count % word_blocks != 0);
  Result<IndexSet> words_with_free = IndexSet::create_full(words_count);
  if (!words_with_free.has_value()) return Unexpected(words_with_free.error());
  FreeBlocks blocks(blocks_count, std::move(*words_with_free));
  blocks.acquired_.reset(new (std::nothrow) uint64_t[words_count]);
  bool is_complete = blocks.acquired_ != nullptr;
  for (uint32_t level = 0; level < levels_count; ++level) {
    blocks.free_counts_[level].reset(new (std::nothrow) uint32_t[blocks.units_count(level)]);
    is_complete = is_complete && blocks.free_counts_[level] != nullptr;
  }
  if (!is_complete) return fail_errno(ENOMEM, "free set");
  blocks.clear();
  return blocks;
}

uint32_t FreeBlocks::capacity_of(uint32_t level, uint32_t unit) const noexcept {
  const uint64_t begin = uint64_t{unit} << level_shifts[level];
  return static_cast<uint32_t>(std::min(uint64_t{1} << level_shifts[level], blocks_count_ - begin));
}

// From the top down: the last unit that is not all free.
uint32_t FreeBlocks::acquired_end() const noexcept {
  if (free_count_ == blocks_count_) return 0;
  uint32_t unit = units_count(levels_count - 1) - 1;
  for (uint32_t level = levels_count; level-- > 0;) {
    while (free_counts_[level][unit] == capacity_of(level, unit)) --unit;
    const uint32_t below_count = level > 0 ? units_count(level - 1) : words_count_;
    const uint64_t below_end = (uint64_t{unit} + 1) * fan_out;
    unit = static_cast<uint32_t>(std::min<uint64_t>(below_count, below_end)) - 1;
  }
  while (acquired_[unit] == 0) --unit;
  return unit * word_blocks + static_cast<uint32_t>(std::bit_width(acquired_[unit]));
}

uint32_t FreeBlocks::range_end(uint32_t begin, uint32_t count) const noexcept {
  if (count == 0) return begin;
  SPINDLE_ASSERT(begin < blocks_count_, "more blocks were asked for than are free from there on");
  uint32_t left = count;
  const uint32_t shard = begin / shard_blocks;
  const uint32_t shard_words = shard_blocks / word_blocks;
  uint32_t end = range_end_in_words(begin, (shard + 1) * shard_words, left);
  if (end != 0) return end;
  Place place = unit_with(shard + 1, left);
  while (place.level-- > 0) {
    const uint32_t* const counts = free_counts_[place.level].get();
    place.unit *= fan_out;
    while (counts[place.unit] < place.left) place.left -= counts[place.unit++];
  }
  end = range_end_in_words(place.unit * shard_blocks, (place.unit + 1) * shard_words, place.left);
  SPINDLE_ASSERT(end != 0, "the count of a shard is not that of its bits");
  return end;
}

// The unit in which the search from shard `unit` on ends: of the level of shards up to where 64 of them begin, then of
// the level above.
FreeBlocks::Place FreeBlocks::unit_with(uint32_t unit, uint32_t left) const noexcept {
  uint32_t level = 0;
  for (;;) {
    while (unit % fan_out == 0 && level + 1 < levels_count) {
      unit /= fan_out;
      ++level;
    }
    SPINDLE_ASSERT(unit < units_count(level), "more blocks were asked for than are free from there on");
    const uint32_t count = free_counts_[level][unit];
    if (count >= left) return {level, unit, left};
    left -= count;
    ++unit;
  }
}

uint32_t FreeBlocks::range_end_in_words(uint32_t block, uint32_t word_end, uint32_t& left) const noexcept {
  uint32_t word = block / word_blocks;
  uint64_t bits = free_bits(word) & UINT64_MAX << (block % word_blocks);
  for (;;) {
    const uint32_t count = count_of(bits);
    if (count >= left) return word * word_blocks + nth_bit(bits, left) + 1;
    left -= count;
    word = words_with_free_.lowest_from(word + 1);
    if (word >= word_end || word == words_count_) return 0;
    bits = free_bits(word);
  }
}

void FreeBlocks::acquire_bit(uint32_t word, uint64_t bit) noexcept {
  SPINDLE_ASSERT((free_bits(word) & bit) != 0, "a block was acquired that is not free");
  acquired_[word] |= bit;
  if (acquired_[word] == full_word(word)) words_with_free_.erase(word);
  for (uint32_t level = 0; level < levels_count; ++level) {
    --free_counts_[level][word >> (level_shifts[level] - word_shift)];
  }
  --free_count_;
}

uint32_t FreeBlocks::take_lowest_from(uint32_t begin) noexcept {
  uint32_t word = begin / word_blocks;
  SPINDLE_ASSERT(word < words_count_, "there is no free block from there on");
  uint64_t bits = free_bits(word) & UINT64_MAX << (begin % word_blocks);
  if (bits == 0) {
    word = words_with_free_.lowest_from(word + 1);
    SPINDLE_ASSERT(word < words_count_, "there is no free block from there on");
    bits = free_bits(word);
  }
  acquire_bit(word, bits & (0 - bits));
  return word * word_blocks + static_cast<uint32_t>(std::countr_zero(bits));
}

void FreeBlocks::take(uint32_t block) noexcept {
  SPINDLE_ASSERT(is_free(block), "a block was acquired that is not free");
  acquire_bit(block / word_blocks, uint64_t{1} << (block % word_blocks));
}

void FreeBlocks::give_back(uint32_t word, uint64_t bits) noexcept {
  SPINDLE_ASSERT(bits != 0 && (acquired_[word] & bits) == bits, "a block was freed that is not acquired");
  if (acquired_[word] == full_word(word)) words_with_free_.insert(word);
  acquired_[word] ^= bits;
  const uint32_t count = count_of(bits);
  for (uint32_t level = 0; level < levels_count; ++level) {
    free_counts_[level][word >> (level_shifts[level] - word_shift)] += count;
  }
  free_count_ += count;
}

void FreeBlocks::recount() noexcept {
  SPINDLE_ASSERT(!has_beyond_end(), "a block is acquired that there is not");
  free_count_ = 0;
  words_with_free_.clear();
  for (uint32_t level = 0; level < levels_count; ++level) {
    std::fill_n(free_counts_[level].get(), units_count(level), 0);
  }
  for (uint32_t word = 0; word < words_count_; ++word) {
    const uint64_t bits = free_bits(word);
    if (bits == 0) continue;
    words_with_free_.insert(word);
    for (uint32_t level = 0; level < levels_count; ++level) {
      free_counts_[level][word >> (level_shifts[level] - word_shift)] += count_of(bits);
    }
    free_count_ += count_of(bits);
  }
}

void FreeBlocks::clear() noexcept {
  std::fill_n(acquired_.get(), words_count_, 0);
  recount();
}

bool FreeBlocks::is_consistent() const noexcept {
  if (has_beyond_end() || !words_with_free_.is_consistent()) return false;
  uint32_t free_count = 0;
  uint32_t counts[levels_count] = {};
  for (uint32_t word = 0; word < words_count_; ++word) {
    const uint64_t bits = free_bits(word);
    if (words_with_free_.contains(word) != (bits != 0)) return false;
    free_count += count_of(bits);
    for (uint32_t level = 0; level < levels_count; ++level) {
      const uint32_t unit_words = 1u << (level_shifts[level] - word_shift);
      counts[level] += count_of(bits);
      const bool is_last = (word + 1) % unit_words == 0 || word + 1 == words_count_;
      if (is_last && counts[level] != free_counts_[level][word / unit_words]) return false;
      if (is_last) counts[level] = 0;
    }
  }
  return free_count == free_count_;
}

}  // namespace spindle
