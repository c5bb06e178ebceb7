#include "lsm/ewah.h"

#include <algorithm>
#include <cstring>

#include "runtime/assert.h"

namespace spindle {

namespace {

// Words whose classes are found at once; and words that are copied at once, since a copy of a constant size that is
// mostly too long costs less than a branch that is mostly wrong: at 1 % of the bits set, half of the words are zero,
// and neither runs nor literals have a length that can be guessed.
constexpr uint64_t window_words = 64;
constexpr uint64_t stride_words = 8;

constexpr bool is_uniform(uint64_t word) noexcept { return word + 1 < 2; }
constexpr uint64_t uniform_word(bool value) noexcept { return value ? UINT64_MAX : 0; }

template <uint64_t count>
void copy_words(void* to, const void* from) noexcept {
  std::memcpy(to, from, count * ewah_word_size);
}

// Bit i: words[i] is uniform.
template <uint64_t count>
uint64_t uniform_mask(const uint64_t* words) noexcept {
  uint64_t mask = 0;
  for (uint64_t index = count; index-- > 0;) mask = mask << 1 | uint64_t{is_uniform(words[index])};
  return mask;
}

// Bit i of `uniform`: words[i] is; bit i of `lowest_bits`: its lowest bit. In four parts at once, since a shift waits
// for the one before it.
struct Classes {
  uint64_t uniform = 0;
  uint64_t lowest_bits = 0;
};
template <bool with_lowest_bits>
Classes classes_of(const uint64_t* words) noexcept {
  constexpr uint64_t parts_count = 4;
  constexpr uint64_t part_words = window_words / parts_count;
  uint64_t uniform[parts_count] = {};
  uint64_t lowest_bits[parts_count] = {};
  for (uint64_t index = part_words; index-- > 0;) {
    for (uint64_t part = 0; part < parts_count; ++part) {
      const uint64_t word = words[part * part_words + index];
      uniform[part] = uniform[part] << 1 | uint64_t{is_uniform(word)};
      if (with_lowest_bits) lowest_bits[part] = lowest_bits[part] << 1 | (word & 1);
    }
  }
  Classes classes;
  for (uint64_t part = 0; part < parts_count; ++part) {
    classes.uniform |= uniform[part] << (part * part_words);
    classes.lowest_bits |= lowest_bits[part] << (part * part_words);
  }
  return classes;
}

// How many words from `begin` on are `word`.
uint64_t count_equal(const uint64_t* begin, const uint64_t* end, uint64_t word) noexcept {
  const uint64_t* at = begin;
  while (static_cast<uint64_t>(end - at) >= stride_words * 2) {
    uint64_t difference = 0;
    for (uint64_t index = 0; index < stride_words * 2; ++index) difference |= at[index] ^ word;
    if (difference != 0) break;
    at += stride_words * 2;
  }
  while (at < end && *at == word) ++at;
  return static_cast<uint64_t>(at - begin);
}

uint64_t end_without_zeroes(const uint64_t* words, uint64_t count) noexcept {
  while (count >= stride_words * 2) {
    uint64_t any = 0;
    for (uint64_t index = 1; index <= stride_words * 2; ++index) any |= words[count - index];
    if (any != 0) break;
    count -= stride_words * 2;
  }
  while (count > 0 && words[count - 1] == 0) --count;
  return count;
}

}  // namespace

// What is left of a chunk.
class EwahEncoder::Target {
 public:
  explicit Target(std::span<std::byte> chunk) noexcept
      : at_(chunk.data()), words_left_(chunk.size() / ewah_word_size) {}

  uint64_t words_left() const noexcept { return words_left_; }
  std::byte* take(uint64_t count) noexcept {
    std::byte* const place = at_;
    at_ += count * ewah_word_size;
    words_left_ -= count;
    return place;
  }
  std::byte* at() const noexcept { return at_; }
  void copy(const uint64_t* words, uint64_t count) noexcept {
    if (count > 0) std::memcpy(take(count), words, count * ewah_word_size);
  }

 private:
  std::byte* at_;
  uint64_t words_left_;
};

EwahEncoder::EwahEncoder(std::span<const uint64_t> words) noexcept
    : words_(words.data()), words_end_(end_without_zeroes(words.data(), words.size())) {
  SPINDLE_ASSERT(words.size() <= ewah_words_max, "a bit set of more words than a run can count");
}

size_t EwahEncoder::encode(std::span<std::byte> chunk) noexcept {
  SPINDLE_ASSERT(chunk.size() % ewah_word_size == 0, "a chunk that is no whole number of words");
  Target target(chunk);
  const uint64_t announced = std::min(literals_left_, target.words_left());
  target.copy(words_ + position_, announced);
  position_ += announced;
  literals_left_ -= announced;
  while (position_ < words_end_ && target.words_left() > 0) {
    const uint64_t position = position_;
    // A copy of a stride may reach as far beyond the window and what the window becomes.
    const bool is_roomy =
        words_end_ - position_ >= window_words + stride_words && target.words_left() >= window_words + 1 + stride_words;
    if (is_roomy) encode_window(target);
    if (position == position_) encode_marker(target);
  }
  return chunk.size() - target.words_left() * ewah_word_size;
}

// Those of the next markers that end within the window: there, nothing has to be looked at word by word. What goes
// beyond is left to encode_marker(), or to the window that begins there. A marker ends where the next one begins; so
// the loop takes bits off two masks, where markers and where literals begin, and no round waits long for another.
void EwahEncoder::encode_window(Target& target) noexcept {
  const uint64_t* const words = words_ + position_;
  const auto [uniform, lowest_bits] = classes_of<true>(words);
  const uint64_t ones = uniform & lowest_bits;
  const uint64_t zeroes = uniform ^ ones;
  const uint64_t going_on = (ones & ones << 1) | (zeroes & zeroes << 1);
  uint64_t markers = uniform & ~going_on & ~uint64_t{1};  // without the first
  uint64_t literals = ~uniform & (uniform << 1 | 1);
  std::byte* at = target.at();
  uint64_t begin = 0;
  while (markers != 0) {
    const uint64_t next = markers & (0 - markers);
    const uint64_t end = static_cast<uint64_t>(std::countr_zero(markers));
    const uint64_t literals_begin = static_cast<uint64_t>(std::countr_zero(literals | next));
    const uint64_t literals_count = end - literals_begin;
    const uint64_t marker = (ones >> begin & 1) | (literals_begin - begin) << 1 | literals_count << 32;
    std::memcpy(at, &marker, ewah_word_size);
    at += ewah_word_size;
    copy_words<stride_words>(at, words + literals_begin);
    for (uint64_t done = stride_words; done < literals_count; done += stride_words) [[unlikely]] {
      copy_words<stride_words>(at + done * ewah_word_size, words + literals_begin + done);
    }
    at += literals_count * ewah_word_size;
    markers ^= next;
    literals &= 0 - next;
    begin = end;
  }
  target.take(static_cast<uint64_t>(at - target.at()) / ewah_word_size);
  position_ += begin;
}

// One marker, of any size, and those of its literals that fit in.
void EwahEncoder::encode_marker(Target& target) noexcept {
  std::byte* const place = target.take(1);
  EwahMarker marker;
  const uint64_t first = words_[position_];
  if (is_uniform(first)) {
    marker.run_value = first != 0;
    marker.uniform_count = static_cast<uint32_t>(count_equal(words_ + position_, words_ + words_end_, first));
    position_ += marker.uniform_count;
  }
  const uint64_t literals_begin = position_;
  const uint64_t literals_end = copy_literals(target);
  marker.literals_count = static_cast<uint32_t>(literals_end - literals_begin);
  literals_left_ = literals_end - position_;
  const uint64_t word = marker.word();
  std::memcpy(place, &word, ewah_word_size);
}

// Finds the end of the literals, and writes them on the way as long as they fit in: so what is long is read from memory
// once. Each word is looked at here once, however small the chunks.
uint64_t EwahEncoder::copy_literals(Target& target) noexcept {
  uint64_t end = position_;
  uint64_t count;
  do {
    if (words_end_ - end >= window_words) {
      count = static_cast<uint64_t>(std::countr_zero(classes_of<false>(words_ + end).uniform));
    } else {
      count = 0;
      while (end + count < words_end_ && !is_uniform(words_[end + count])) ++count;
    }
    end += count;
    const uint64_t fitting = std::min(end - position_, target.words_left());
    target.copy(words_ + position_, fitting);
    position_ += fitting;
  } while (count == window_words);
  return end;
}

const char* name_of(EwahFault fault) noexcept {
  switch (fault) {
    case EwahFault::none: return "none";
    case EwahFault::size: return "size";
    case EwahFault::empty_marker: return "empty_marker";
    case EwahFault::run_value: return "run_value";
    case EwahFault::split: return "split";
    case EwahFault::capacity: return "capacity";
    case EwahFault::uniform_literal: return "uniform_literal";
    case EwahFault::truncated: return "truncated";
    case EwahFault::trailing_zeroes: return "trailing_zeroes";
  }
  return "?";
}

// What is left of a chunk.
class EwahDecoder::Source {
 public:
  explicit Source(std::span<const std::byte> chunk) noexcept
      : at_(chunk.data()), words_left_(chunk.size() / ewah_word_size) {}

  uint64_t words_left() const noexcept { return words_left_; }
  const std::byte* take(uint64_t count) noexcept {
    const std::byte* const place = at_;
    at_ += count * ewah_word_size;
    words_left_ -= count;
    return place;
  }
  const std::byte* at() const noexcept { return at_; }
  uint64_t take_word() noexcept {
    uint64_t word;
    std::memcpy(&word, take(1), ewah_word_size);
    return word;
  }

 private:
  const std::byte* at_;
  uint64_t words_left_;
};

EwahDecoder::EwahDecoder(std::span<uint64_t> words) noexcept : words_(words.data()), words_count_(words.size()) {
  SPINDLE_ASSERT(words.size() <= ewah_words_max, "a bit set of more words than a run can count");
}

EwahFault EwahDecoder::decode(std::span<const std::byte> chunk) noexcept {
  if (fault_ != EwahFault::none) return fault_;
  fault_ = decode_markers(Source(chunk.first(chunk.size() / ewah_word_size * ewah_word_size)));
  if (fault_ == EwahFault::none && chunk.size() % ewah_word_size != 0) fault_ = EwahFault::size;
  return fault_;
}

EwahFault EwahDecoder::decode_markers(Source source) noexcept {
  EwahFault fault = take_literals(source);
  while (fault == EwahFault::none && source.words_left() > 0) {
    fault = decode_short(source);
    if (fault != EwahFault::none || source.words_left() == 0) break;
    fault = take_marker(source.take_word());
    if (fault != EwahFault::none) break;
    const EwahMarker marker = EwahMarker::of(marker_last_);
    std::fill_n(words_ + position_, marker.uniform_count, uniform_word(marker.run_value));
    position_ += marker.uniform_count;
    literals_left_ = marker.literals_count;
    fault = take_literals(source);
  }
  return fault;
}

// Markers whose words are few, one after another: run and literals are written as a stride each, beyond their ends,
// where what comes next will overwrite it. Ends where that would not fit in, and at a marker that says more or breaks a
// rule: so the order of the rules is in take_marker() alone.
EwahFault EwahDecoder::decode_short(Source& source) noexcept {
  constexpr uint64_t uniform_max = stride_words * 4;
  uint64_t* at = words_ + position_;
  const uint64_t* const end = words_ + words_count_;
  uint64_t last = marker_last_;
  EwahFault fault = EwahFault::none;
  while (source.words_left() > stride_words && static_cast<uint64_t>(end - at) >= uniform_max + stride_words) {
    uint64_t word;
    std::memcpy(&word, source.at(), ewah_word_size);
    const EwahMarker marker = EwahMarker::of(word);
    if (marker.uniform_count - 1 >= uniform_max || marker.literals_count > stride_words) break;
    const bool is_split = last >> 32 == 0 && ((last ^ word) & 1) == 0;
    if (is_split) [[unlikely]]
      break;
    last = word;
    const uint64_t filling = uniform_word(marker.run_value);
    uint64_t done = 0;
    do {
      for (uint64_t index = 0; index < stride_words; ++index) at[done + index] = filling;
      done += stride_words;
    } while (done < marker.uniform_count);
    at += marker.uniform_count;
    source.take(1);
    uint64_t literals[stride_words];
    copy_words<stride_words>(literals, source.at());
    copy_words<stride_words>(at, literals);
    const bool is_half = marker.literals_count <= stride_words / 2;
    const uint64_t uniform = is_half ? uniform_mask<stride_words / 2>(literals) : uniform_mask<stride_words>(literals);
    if ((uniform & ((uint64_t{1} << marker.literals_count) - 1)) != 0) [[unlikely]] {
      fault = EwahFault::uniform_literal;
      break;
    }
    at += marker.literals_count;
    source.take(marker.literals_count);
  }
  position_ = static_cast<uint64_t>(at - words_);
  marker_last_ = last;
  return fault;
}

EwahFault EwahDecoder::take_marker(uint64_t word) noexcept {
  const EwahMarker marker = EwahMarker::of(word);
  const EwahMarker last = EwahMarker::of(marker_last_);
  const bool is_first = marker_last_ == 0;
  if (word == 0) return EwahFault::empty_marker;
  if (marker.uniform_count == 0) {
    if (marker.literals_count == 0) return EwahFault::empty_marker;
    if (marker.run_value) return EwahFault::run_value;
    if (!is_first) return EwahFault::split;
  }
  if (!is_first && last.literals_count == 0 && last.run_value == marker.run_value) return EwahFault::split;
  const uint64_t words_left = words_count_ - position_;
  if (uint64_t{marker.uniform_count} + marker.literals_count > words_left) return EwahFault::capacity;
  marker_last_ = word;
  return EwahFault::none;
}

EwahFault EwahDecoder::take_literals(Source& source) noexcept {
  uint64_t left = std::min(literals_left_, source.words_left());
  literals_left_ -= left;
  while (left > 0) {
    const uint64_t count = std::min(left, window_words);
    uint64_t* const at = words_ + position_;
    std::memcpy(at, source.take(count), count * ewah_word_size);
    uint64_t any = 0;
    for (uint64_t index = 0; index < count; ++index) any |= uint64_t{is_uniform(at[index])};
    if (any != 0) return EwahFault::uniform_literal;
    position_ += count;
    left -= count;
  }
  return EwahFault::none;
}

EwahFault EwahDecoder::finish() noexcept {
  if (fault_ != EwahFault::none) return fault_;
  const EwahMarker last = EwahMarker::of(marker_last_);
  const bool ends_with_run = marker_last_ != 0 && last.literals_count == 0;
  if (literals_left_ > 0) {
    fault_ = EwahFault::truncated;
  } else if (ends_with_run && !last.run_value) {
    fault_ = EwahFault::trailing_zeroes;
  } else {
    std::fill(words_ + position_, words_ + words_count_, 0);
  }
  return fault_;
}

}  // namespace spindle
