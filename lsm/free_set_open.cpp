// What is linear in the blocks: encoding, opening, the check of all invariants.
#include <algorithm>
#include <bit>

#include "lsm/free_set.h"

namespace spindle {

namespace {

uint64_t encode_words(std::span<const uint64_t> words, std::span<const std::span<std::byte>> chunks) noexcept {
  EwahEncoder encoder(words);
  uint64_t size = 0;
  for (const std::span<std::byte> chunk : chunks) {
    if (encoder.done()) break;
    size += encoder.encode(chunk);
  }
  SPINDLE_ASSERT(encoder.done(), "a free set is encoded into less room than its bound");
  return size;
}

EwahFault decode_words(std::span<const std::span<const std::byte>> chunks, std::span<uint64_t> words) noexcept {
  EwahDecoder decoder(words);
  for (const std::span<const std::byte> chunk : chunks) {
    const EwahFault fault = decoder.decode(chunk);
    if (fault != EwahFault::none) return fault;
  }
  return decoder.finish();
}

uint64_t room_of(std::span<const std::span<std::byte>> chunks) noexcept {
  uint64_t size = 0;
  for (const std::span<std::byte> chunk : chunks) size += chunk.size();
  return size;
}

}  // namespace

const char* name_of(FreeSetFault fault) noexcept {
  switch (fault) {
    case FreeSetFault::none: return "none";
    case FreeSetFault::acquired_encoding: return "acquired_encoding";
    case FreeSetFault::acquired_beyond_end: return "acquired_beyond_end";
    case FreeSetFault::released_encoding: return "released_encoding";
    case FreeSetFault::released_not_acquired: return "released_not_acquired";
    case FreeSetFault::trailers_count: return "trailers_count";
    case FreeSetFault::trailer_address: return "trailer_address";
    case FreeSetFault::trailer_acquired: return "trailer_acquired";
  }
  return "?";
}

FreeSetEncoded FreeSet::encode(std::span<const std::span<std::byte>> acquired,
                               std::span<const std::span<std::byte>> released) noexcept {
  SPINDLE_ASSERT(is_opened_, "a free set was encoded that is not opened");
  SPINDLE_ASSERT(is_checkpoint_durable_, "a free set was encoded while the checkpoint before was not durable");
  const bool has_room = room_of(acquired) >= encode_size_max() && room_of(released) >= encode_size_max();
  SPINDLE_ASSERT(has_room, "a free set is encoded into less room than its bound");
  is_encoded_ = true;
  FreeSetEncoded encoded;
  encoded.acquired_size = encode_words(blocks_.acquired_words(), acquired);
  encoded.released_size = encode_words({released_.get(), blocks_.words_count()}, released);
  return encoded;
}

FreeSetOpened FreeSet::open(const FreeSetEncoding& encoding) noexcept {
  SPINDLE_ASSERT(!is_opened_, "a free set was opened twice");
  const FreeSetOpened opened = take_over(encoding);
  if (opened.fault != FreeSetFault::none) {
    clear();
    return opened;
  }
  is_opened_ = true;
  begin_windows();
  SPINDLE_ASSERT_SLOW(is_consistent(), "index, counts and bits of a free set do not agree");
  return opened;
}

FreeSetOpened FreeSet::take_over(const FreeSetEncoding& encoding) noexcept {
  EwahFault fault = decode_words(encoding.acquired, blocks_.acquired_words_to_write());
  if (fault != EwahFault::none) return {FreeSetFault::acquired_encoding, fault};
  if (blocks_.has_beyond_end()) return {FreeSetFault::acquired_beyond_end, EwahFault::none};
  blocks_.recount();
  fault = decode_words(encoding.released, {released_.get(), blocks_.words_count()});
  if (fault != EwahFault::none) return {FreeSetFault::released_encoding, fault};
  const FreeSetFault released_fault = take_released();
  if (released_fault != FreeSetFault::none) return {released_fault, EwahFault::none};
  return {take_trailers(encoding.trailer_addresses), EwahFault::none};
}

FreeSetFault FreeSet::take_released() noexcept {
  const std::span<const uint64_t> acquired = blocks_.acquired_words();
  for (uint32_t word = 0; word < blocks_.words_count(); ++word) {
    if (released_[word] == 0) continue;
    if ((released_[word] & ~acquired[word]) != 0) return FreeSetFault::released_not_acquired;
    words_with_released_.insert(word);
    released_count_ += static_cast<uint32_t>(std::popcount(released_[word]));
  }
  return FreeSetFault::none;
}

FreeSetFault FreeSet::take_trailers(std::span<const uint64_t> addresses) noexcept {
  if (addresses.size() > before_count_max_) return FreeSetFault::trailers_count;
  for (const uint64_t address : addresses) {
    if (address == 0 || address > blocks_count()) return FreeSetFault::trailer_address;
    if (!is_free(address)) return FreeSetFault::trailer_acquired;
    blocks_.take(block_of(address));
    insert_before_durability(block_of(address));
  }
  return FreeSetFault::none;
}

bool FreeSet::is_consistent() const noexcept {
  const std::span<const uint64_t> acquired = blocks_.acquired_words();
  if (!blocks_.is_consistent() || !words_with_released_.is_consistent()) return false;
  uint64_t released_count = 0;
  uint64_t before_count = 0;
  for (uint32_t word = 0; word < blocks_.words_count(); ++word) {
    if (words_with_released_.contains(word) != (released_[word] != 0)) return false;
    if (((released_[word] | before_[word]) & ~acquired[word]) != 0) return false;
    if ((released_[word] & before_[word]) != 0) return false;
    released_count += static_cast<uint64_t>(std::popcount(released_[word]));
    before_count += static_cast<uint64_t>(std::popcount(before_[word]));
  }
  uint32_t before_end = 0;
  for (uint32_t index = 0; index < before_count_; ++index) {
    if (!is_in(before_, before_list_[index])) return false;
    before_end = std::max(before_end, before_list_[index] + 1);
  }
  const bool has_counts = released_count == released_count_ && before_count == before_count_;
  return has_counts && before_end == before_end_ && (before_count_ == 0 || !is_checkpoint_durable_);
}

}  // namespace spindle
