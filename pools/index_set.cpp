#include "pools/index_set.h"

#include <algorithm>
#include <cerrno>
#include <new>

namespace spindle {

IndexSet::IndexSet(uint32_t capacity) noexcept : capacity_(capacity) {
  uint32_t bits = capacity;
  do {
    level_offsets_[levels_count_++] = words_count_;
    bits = words_of(bits);
    words_count_ += bits;
  } while (bits > 1);
}

Result<IndexSet> IndexSet::create(uint32_t capacity) noexcept {
  SPINDLE_ASSERT(capacity > 0, "a set of indices without room for any");
  IndexSet set(capacity);
  set.words_.reset(new (std::nothrow) uint64_t[set.words_count_]);
  if (set.words_ == nullptr) return fail_errno(ENOMEM, "index set");
  return set;
}

Result<IndexSet> IndexSet::create_full(uint32_t capacity) noexcept {
  Result<IndexSet> made = create(capacity);
  if (made.has_value()) made->fill();
  return made;
}

Result<IndexSet> IndexSet::create_empty(uint32_t capacity) noexcept {
  Result<IndexSet> made = create(capacity);
  if (made.has_value()) made->clear();
  return made;
}

void IndexSet::fill() noexcept {
  uint32_t bits = capacity_;
  for (uint32_t number = 0; number < levels_count_; ++number) {
    uint64_t* const words = level(number);
    const uint32_t whole_count = bits / word_bits;
    const uint32_t rest = bits % word_bits;
    for (uint32_t index = 0; index < whole_count; ++index) words[index] = UINT64_MAX;
    if (rest > 0) words[whole_count] = (uint64_t{1} << rest) - 1;
    bits = whole_count + (rest > 0);
  }
}

uint32_t IndexSet::take_lowest() noexcept {
  SPINDLE_ASSERT(!empty(), "the lowest index of an empty set");
  uint32_t index = 0;
  for (uint32_t number = levels_count_; number-- > 0;) {
    index = index * word_bits + static_cast<uint32_t>(std::countr_zero(level(number)[index]));
  }
  remove(index);
  return index;
}

void IndexSet::erase(uint32_t index) noexcept {
  SPINDLE_ASSERT(contains(index), "an index was taken out of a set that it is not in");
  remove(index);
}

void IndexSet::remove(uint32_t index) noexcept {
  // All levels, without a branch: whether a word becomes zero is a matter of luck in a set that is nearly empty, and a
  // wrong guess costs more than the stores.
  uint32_t bit = index;
  uint64_t is_gone = 1;
  for (uint32_t number = 0; number < levels_count_; ++number) {
    uint64_t& word = level(number)[bit / word_bits];
    word &= ~(is_gone << (bit % word_bits));
    is_gone = word == 0;
    bit /= word_bits;
  }
}

uint32_t IndexSet::lowest_from(uint32_t begin) const noexcept {
  uint32_t bit = begin;
  uint32_t bits = capacity_;
  for (uint32_t number = 0; number < levels_count_; ++number) {
    if (bit >= bits) return capacity_;
    const uint64_t rest = level(number)[bit / word_bits] & UINT64_MAX << (bit % word_bits);
    if (rest != 0) {
      uint32_t index = bit / word_bits * word_bits + static_cast<uint32_t>(std::countr_zero(rest));
      while (number-- > 0) {
        index = index * word_bits + static_cast<uint32_t>(std::countr_zero(level(number)[index]));
      }
      return index;
    }
    bit = bit / word_bits + 1;
    bits = words_of(bits);
  }
  return capacity_;
}

uint32_t IndexSet::end() const noexcept {
  if (empty()) return 0;
  uint32_t index = 0;
  for (uint32_t number = levels_count_; number-- > 0;) {
    index = index * word_bits + static_cast<uint32_t>(std::bit_width(level(number)[index])) - 1;
  }
  return index + 1;
}

void IndexSet::clear() noexcept { std::fill_n(words_.get(), words_count_, 0); }

void IndexSet::insert(uint32_t index) noexcept {
  SPINDLE_ASSERT(!contains(index), "an index was put into a set that it is in");
  uint32_t bit = index;
  for (uint32_t number = 0; number < levels_count_; ++number) {
    level(number)[bit / word_bits] |= uint64_t{1} << (bit % word_bits);
    bit /= word_bits;
  }
}

bool IndexSet::is_consistent() const noexcept {
  uint32_t bits = capacity_;
  for (uint32_t number = 0; number < levels_count_; ++number) {
    const uint32_t words_count = bits / word_bits + (bits % word_bits != 0);
    for (uint32_t index = 0; index < words_count; ++index) {
      const uint64_t word = level(number)[index];
      const bool is_last = index + 1 == words_count && bits % word_bits != 0;
      if (is_last && word >> (bits % word_bits) != 0) return false;
      if (number + 1 == levels_count_) continue;
      const bool is_noted = (level(number + 1)[index / word_bits] >> (index % word_bits) & 1) != 0;
      if (is_noted != (word != 0)) return false;
    }
    bits = words_count;
  }
  return true;
}

}  // namespace spindle
