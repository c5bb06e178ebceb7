#include "pools/index_set.h"

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

Result<IndexSet> IndexSet::create_full(uint32_t capacity) noexcept {
  SPINDLE_ASSERT(capacity > 0, "a set of indices without room for any");
  IndexSet set(capacity);
  set.words_.reset(new (std::nothrow) uint64_t[set.words_count_]);
  if (set.words_ == nullptr) return fail_errno(ENOMEM, "index set");
  set.fill();
  return set;
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
  return index;
}

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
