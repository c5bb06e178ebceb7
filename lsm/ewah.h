// EWAH: a bit set of mostly equal words as few bytes, and back. Word-aligned run lengths, after Lemire, Kaser, Aouiche:
// "Sorting improves word-aligned bitmap indexes", 2010, with 64-bit words. docs/FORMAT.md has an example byte for byte.
//
//     marker            literals             marker            literals
//     | v | run | n=2 | word   | word      | v | run | n=1 | word   | …         all little-endian
//
//     marker:  bit 0          v: the value of the run's bits
//              bits 1 to 31   the number of uniform words (all bits v) that come first
//              bits 32 to 63  n: the number of literal words that follow the marker
//
// One set, one encoding: the decoder takes exactly what the encoder makes. So a set opened and written again has the
// same checksum, and damage has less room to hide. The rules, each with its EwahFault:
// 1. A marker stands for at least one word, and without a run its v is 0.
// 2. Nothing is split: only the first marker may be without a run, and after a marker without literals the run has the
//    other value. (No count can outgrow its field: a set has ewah_words_max words at most.)
// 3. A literal is neither all zeroes nor all ones.
// 4. Zeroes at the end are not encoded, so that an encoding does not depend on the capacity of the set; the empty set
//    is no bytes at all.
//
// Both directions work in chunks of any number of whole words, and the bytes do not depend on where chunks end: a
// chunk may end anywhere, between a marker and its literals, too.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace spindle {

static_assert(std::endian::native == std::endian::little, "encodings are little-endian, and so are words in memory");

inline constexpr uint32_t ewah_word_size = sizeof(uint64_t);
/// So that a run, the narrower of the two counts, can be all of a set: 16 GiB of bits.
inline constexpr uint64_t ewah_words_max = (uint64_t{1} << 31) - 1;

struct EwahMarker {
  bool run_value = false;
  uint32_t uniform_count = 0;  ///< ewah_words_max at most
  uint32_t literals_count = 0;

  constexpr uint64_t word() const noexcept {
    return uint64_t{run_value} | uint64_t{uniform_count} << 1 | uint64_t{literals_count} << 32;
  }
  static constexpr EwahMarker of(uint64_t word) noexcept {
    return {(word & 1) != 0, static_cast<uint32_t>(word) >> 1, static_cast<uint32_t>(word >> 32)};
  }
};
static_assert(EwahMarker::of(UINT64_MAX).uniform_count == ewah_words_max);

class EwahEncoder {
 public:
  /// The words stay as they are until done(). More than ewah_words_max: a caught bug.
  explicit EwahEncoder(std::span<const uint64_t> words) noexcept;

  /// Fills `chunk`, a whole number of words, from its front, and gives the number of bytes written: all of it, except
  /// when the encoding ends there.
  size_t encode(std::span<std::byte> chunk) noexcept;
  bool done() const noexcept { return position_ == words_end_; }

  /// No encoding of so many words takes more bytes, and an encoding of literals alone takes as many.
  ///
  /// Proof. Let u of the w words be uniform and encoded, l literals: u + l ≤ w. Each marker but the first has a run of
  /// at least one of the u words, and no two have the same: there are at most u + 1 markers. With the literals that
  /// makes u + 1 + l ≤ w + 1 words. Without any words there is no first marker either.
  static constexpr uint64_t encode_size_max(uint64_t words_count) noexcept {
    return words_count == 0 ? 0 : (words_count + 1) * ewah_word_size;
  }

 private:
  class Target;

  void encode_window(Target& target) noexcept;
  void encode_marker(Target& target) noexcept;
  uint64_t copy_literals(Target& target) noexcept;

  const uint64_t* words_;
  uint64_t words_end_;  // behind the last word that is not zero
  uint64_t position_ = 0;  // the first word that is not in the encoding so far
  uint64_t literals_left_ = 0;  // that a marker has announced, and that are not written: from position_ on
};
static_assert(EwahEncoder::encode_size_max(0) == 0 && EwahEncoder::encode_size_max(1) == 16);
static_assert(EwahEncoder::encode_size_max(ewah_words_max) == uint64_t{1} << 34);

/// Which rule an encoding breaks: the first one in the order of its bytes, wherever its chunks end.
enum class EwahFault : uint8_t {
  none,
  size,  ///< a chunk is no whole number of words
  empty_marker,  ///< a marker for no words
  run_value,  ///< a marker without a run that says which value it has
  split,  ///< a marker goes on with what the one before it could have said
  capacity,  ///< more words than the set has
  uniform_literal,  ///< a literal that belongs into a run
  truncated,  ///< the bytes end before the literals of the last marker
  trailing_zeroes,  ///< a run of zeroes at the end
};
const char* name_of(EwahFault fault) noexcept;

/// Total: any bytes give a set or a fault, in time linear in bytes and set; nothing outside of either is touched.
class EwahDecoder {
 public:
  /// `words` is written by decode() and finish(); after a fault its content is unspecified. At most ewah_words_max.
  explicit EwahDecoder(std::span<uint64_t> words) noexcept;

  /// The next bytes of the encoding. Once there is a fault, that is the answer for good.
  EwahFault decode(std::span<const std::byte> chunk) noexcept;
  /// There are no more bytes. Without a fault, all of the set is written now.
  EwahFault finish() noexcept;

  /// Words up to the last one that is not zero, after finish().
  uint64_t words_count() const noexcept { return position_; }

 private:
  class Source;

  EwahFault take_marker(uint64_t word) noexcept;
  EwahFault take_literals(Source& source) noexcept;
  EwahFault decode_short(Source& source) noexcept;
  EwahFault decode_markers(Source source) noexcept;

  uint64_t* words_;
  uint64_t words_count_;
  uint64_t position_ = 0;  // words decoded
  uint64_t literals_left_ = 0;  // of the last marker, still to come
  uint64_t marker_last_ = 0;  // 0: there was none, since no valid marker is 0
  EwahFault fault_ = EwahFault::none;
};

}  // namespace spindle
