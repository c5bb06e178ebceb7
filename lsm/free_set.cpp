#include "lsm/free_set.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>

namespace spindle {

namespace {

constexpr uint64_t bit_of(uint32_t block) noexcept { return uint64_t{1} << (block % FreeBlocks::word_blocks); }

}  // namespace

FreeSet::FreeSet(FreeBlocks blocks, IndexSet words_with_released, const FreeSetOptions& options) noexcept
    : blocks_(std::move(blocks)),
      words_with_released_(std::move(words_with_released)),
      before_count_max_(options.released_before_durability_max) {}

Result<FreeSet> FreeSet::create(const FreeSetOptions& options) noexcept {
  const bool is_valid = options.blocks_count > 0 && options.blocks_count <= FreeBlocks::blocks_count_max;
  if (!is_valid) return fail(ErrorCode::invalid_argument, "free set");
  Result<FreeBlocks> blocks = FreeBlocks::create(static_cast<uint32_t>(options.blocks_count));
  if (!blocks.has_value()) return Unexpected(blocks.error());
  const uint32_t words_count = blocks->words_count();
  Result<IndexSet> words_with_released = IndexSet::create_empty(words_count);
  if (!words_with_released.has_value()) return Unexpected(words_with_released.error());
  FreeSet set(std::move(*blocks), std::move(*words_with_released), options);
  set.released_.reset(new (std::nothrow) uint64_t[words_count]);
  set.before_.reset(new (std::nothrow) uint64_t[words_count]);
  set.before_list_.reset(new (std::nothrow) uint32_t[set.before_count_max_]);
  const bool is_complete = set.released_ != nullptr && set.before_ != nullptr && set.before_list_ != nullptr;
  if (!is_complete) return fail_errno(ENOMEM, "free set");
  set.clear();
  return set;
}

void FreeSet::clear() noexcept {
  blocks_.clear();
  std::fill_n(released_.get(), blocks_.words_count(), 0);
  std::fill_n(before_.get(), blocks_.words_count(), 0);
  words_with_released_.clear();
  released_count_ = 0;
  before_count_ = 0;
  before_end_ = 0;
  begin_windows();
}

void FreeSet::reset() noexcept {
  clear();
  ++session_;
  reservations_count_ = 0;
  is_forfeiting_ = false;
  is_opened_ = false;
  is_checkpoint_durable_ = false;
  is_encoded_ = false;
}

void FreeSet::begin_windows() noexcept {
  window_begin_ = 0;
  window_free_count_ = blocks_.free_count();
}

std::optional<FreeSet::Reservation> FreeSet::reserve(uint64_t count) noexcept {
  SPINDLE_ASSERT(is_opened_, "blocks were reserved of a free set that is not opened");
  SPINDLE_ASSERT(!is_forfeiting_, "blocks were reserved between the first and the last forfeit");
  if (count > window_free_count_) return std::nullopt;
  const uint32_t blocks_count = static_cast<uint32_t>(count);
  const uint32_t begin = window_begin_;
  window_begin_ = blocks_.range_end(begin, blocks_count);
  window_free_count_ -= blocks_count;
  ++reservations_count_;
  return Reservation(begin, window_begin_, blocks_count, session_);
}

std::optional<uint64_t> FreeSet::reservation_end(uint64_t count) const noexcept {
  if (count > window_free_count_) return std::nullopt;
  return uint64_t{blocks_.range_end(window_begin_, static_cast<uint32_t>(count))} + 1;
}

void FreeSet::check(const Reservation& reservation) const noexcept {
  SPINDLE_ASSERT(reservation.session_ != 0, "a reservation that was forfeited or moved away");
  SPINDLE_ASSERT(reservation.session_ == session_, "a stale reservation: all of its session were forfeited");
}

std::optional<uint64_t> FreeSet::acquire(Reservation& reservation) noexcept {
  check(reservation);
  if (reservation.left_count_ == 0) return std::nullopt;
  const uint32_t block = blocks_.take_lowest_from(reservation.next_);
  SPINDLE_ASSERT(block < reservation.end_, "a window has fewer free blocks than were reserved");
  reservation.next_ = block + 1;
  --reservation.left_count_;
  return uint64_t{block} + 1;
}

void FreeSet::forfeit(Reservation&& reservation) noexcept {
  check(reservation);
  SPINDLE_ASSERT(reservations_count_ > 0, "more reservations were forfeited than made");
  reservation.session_ = 0;
  is_forfeiting_ = true;
  if (--reservations_count_ > 0) return;
  is_forfeiting_ = false;
  ++session_;
  begin_windows();
}

void FreeSet::insert_released(uint32_t block) noexcept {
  const uint32_t word = block / FreeBlocks::word_blocks;
  if (released_[word] == 0) words_with_released_.insert(word);
  released_[word] |= bit_of(block);
  ++released_count_;
}

void FreeSet::insert_before_durability(uint32_t block) noexcept {
  SPINDLE_ASSERT(before_count_ < before_count_max_, "more blocks were released before durability than was stated");
  before_[block / FreeBlocks::word_blocks] |= bit_of(block);
  before_list_[before_count_++] = block;
  before_end_ = std::max(before_end_, block + 1);
}

void FreeSet::release(uint64_t address) noexcept {
  const uint32_t block = block_of(address);
  SPINDLE_ASSERT(is_opened_, "a block was released of a free set that is not opened");
  SPINDLE_ASSERT(!is_encoded_, "a block was released between encoding and the end of durability");
  SPINDLE_ASSERT(!blocks_.is_free(block), "a block was released that is free");
  SPINDLE_ASSERT(!is_released(address), "a block was released twice");
  if (is_checkpoint_durable_) {
    insert_released(block);
  } else {
    insert_before_durability(block);
  }
}

void FreeSet::mark_checkpoint_not_durable() noexcept {
  SPINDLE_ASSERT(is_opened_, "a checkpoint of a free set that is not opened");
  SPINDLE_ASSERT(is_checkpoint_durable_, "a checkpoint was marked not durable twice");
  SPINDLE_ASSERT(before_count_ == 0, "a block was released before durability while the checkpoint was durable");
  is_checkpoint_durable_ = false;
  is_encoded_ = false;
}

void FreeSet::mark_checkpoint_durable() noexcept {
  SPINDLE_ASSERT(is_opened_, "a checkpoint of a free set that is not opened");
  SPINDLE_ASSERT(!is_checkpoint_durable_, "a checkpoint was marked durable twice");
  SPINDLE_ASSERT(reservations_count_ == 0, "a checkpoint was marked durable with a reservation open");
  free_released();
  for (uint32_t index = 0; index < before_count_; ++index) {
    const uint32_t block = before_list_[index];
    before_[block / FreeBlocks::word_blocks] = 0;
    insert_released(block);
  }
  before_count_ = 0;
  before_end_ = 0;
  is_checkpoint_durable_ = true;
  begin_windows();
  SPINDLE_ASSERT_SLOW(is_consistent(), "index, counts and bits of a free set do not agree");
}

// Word by word, those only that have anything.
void FreeSet::free_released() noexcept {
  while (!words_with_released_.empty()) {
    const uint32_t word = words_with_released_.take_lowest();
    blocks_.give_back(word, released_[word]);
    released_[word] = 0;
  }
  released_count_ = 0;
}

uint64_t FreeSet::highest_address_released() const noexcept {
  if (words_with_released_.empty()) return before_end_;
  const uint32_t word = words_with_released_.end() - 1;
  const uint32_t released_end = word * FreeBlocks::word_blocks + static_cast<uint32_t>(std::bit_width(released_[word]));
  return std::max(released_end, before_end_);
}

bool FreeSet::is_released(uint64_t address) const noexcept {
  const uint32_t block = block_of(address);
  return is_in(released_, block) || (before_count_ > 0 && is_in(before_, block));
}

bool FreeSet::to_be_freed_at_checkpoint_durability(uint64_t address) const noexcept {
  return is_in(released_, block_of(address));
}

}  // namespace spindle
