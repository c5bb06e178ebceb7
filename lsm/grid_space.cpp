// Grid: addresses, and disk space for them.
#include <algorithm>
#include <cerrno>

#include "lsm/grid.h"

namespace spindle {

bool is_lack_of_space(const Error& error) noexcept {
  const bool is_space = error.number == ENOSPC || error.number == EDQUOT || error.number == EFBIG;
  return error.code == ErrorCode::system && is_space;
}

uint64_t Grid::trailer_copies_max() const noexcept {
  const uint64_t blocks_max = uint64_t{trailer_acquired_.blocks_max()} + trailer_released_.blocks_max();
  return options_.metadata_copies_count * blocks_max;
}

uint64_t Grid::checkpoint_blocks_count() const noexcept {
  return options_.metadata_copies_count * options_.log_blocks_max + 2 * trailer_copies_max();
}

Task<Result<Grid::Reservation>> Grid::reserve(uint64_t count, ReservePurpose purpose) {
  SPINDLE_ASSERT(is_open(), "blocks were reserved of a grid that is not open");
  const auto lock = co_await ok(reserving_.lock());
  co_await ok(no_forfeits_.wait());
  if (has_failed_) co_return fail(ErrorCode::poisoned, "reserve of blocks");
  is_allocating_ = true;
  auto window = co_await reserve_next(count, kept_count(purpose));
  is_allocating_ = false;
  for (FreeSet::Reservation& deferred : forfeits_deferred_) forfeit_now(std::move(deferred));
  forfeits_deferred_.clear();
  if (!window.has_value()) co_return Unexpected(window.error());
  co_return Reservation(*this, std::move(*window));
}

// Free blocks that a reservation has to leave. For a log: those that the trailers of its checkpoint may take.
uint64_t Grid::kept_count(ReservePurpose purpose) const noexcept {
  const uint64_t needed = checkpoint_blocks_count();
  const uint64_t held = trailer_blocks_held_count_ + log_blocks_held_count_;
  switch (purpose) {
    case ReservePurpose::data: return held < needed ? needed - held : 0;
    case ReservePurpose::checkpoint: return trailer_copies_max();
  }
  return 0;
}

// Space first, for all that the window spans, and for what a checkpoint needs behind it. Nobody else reserves
// meanwhile, and what is forfeited is so later: so the window is the same one afterwards.
Task<Result<FreeSet::Reservation>> Grid::reserve_next(uint64_t count, uint64_t kept_count) {
  if (free_set_.reservations_count() >= options_.reservations_max) {
    co_return fail(ErrorCode::exhausted, "reservations of a grid");
  }
  const uint64_t free_count = free_set_.unreserved_count();
  const bool is_full = count > free_count || kept_count > free_count - count;
  if (is_full) co_return fail_errno(ENOSPC, "reserve of blocks: the grid is full");
  const uint64_t end = *free_set_.reservation_end(count + kept_count);
  co_await ok(allocate(end));
  auto reservation = free_set_.reserve(count);
  SPINDLE_ASSERT(reservation.has_value(), "free blocks went while their space was allocated");
  co_return std::move(*reservation);
}

Task<Result<void>> Grid::allocate_to(uint64_t address_end) {
  const uint64_t begin = offset_of(allocated_end_);
  co_await ok(storage_.allocate(zone_, begin, offset_of(address_end) - begin));
  allocated_end_ = address_end;
  co_return Result<void>();
}

// In large steps; what is left where there is no room for one. After a reopen space is asked for that the file has
// already, which a full disk does not refuse. Its size says nothing: a crash, or a copy, may have left it without
// space.
Task<Result<void>> Grid::allocate(uint64_t address_end) {
  if (address_end <= allocated_end_) co_return Result<void>();
  const uint64_t step = std::max<uint64_t>(options_.allocation_step / options_.block_size, 1);
  const uint64_t generous_end = std::min((address_end + step - 1) / step * step, options_.blocks_count + 1);
  const Result<void> generous = co_await allocate_to(std::max(generous_end, address_end));
  if (generous.has_value() || !is_lack_of_space(generous.error())) co_return generous;
  const Result<void> exact = co_await allocate_to(address_end);
  co_return exact;
}

std::optional<uint64_t> Grid::acquire(Reservation& reservation) noexcept {
  if (has_failed_) return std::nullopt;
  SPINDLE_ASSERT(!is_encoded_, "a block was acquired while a checkpoint is written");
  SPINDLE_ASSERT(reservation.grid_ == this, "a reservation that was forfeited or moved away, or is another grid's");
  return free_set_.acquire(reservation.window_);
}

void Grid::forfeit_now(FreeSet::Reservation&& window) noexcept {
  free_set_.forfeit(std::move(window));
  if (free_set_.reservations_count() > 0) {
    no_forfeits_.reset();
  } else {
    no_forfeits_.set();
  }
}

void Grid::forfeit(Reservation&& reservation) noexcept {
  SPINDLE_ASSERT(reservation.grid_ == this, "a reservation that was forfeited or moved away, or is another grid's");
  reservation.grid_ = nullptr;
  if (!is_allocating_) {
    forfeit_now(std::move(reservation.window_));
    return;
  }
  SPINDLE_ASSERT(forfeits_deferred_.size() < options_.reservations_max, "more reservations were forfeited than made");
  forfeits_deferred_.push_back(std::move(reservation.window_));
}

void Grid::release(const BlockReference& reference) noexcept {
  if (has_failed_) return;
  SPINDLE_ASSERT(!is_checkpointing_, "a block was released while a checkpoint is written");
  free_set_.release(reference.address);
  if (reference.address_second != 0) free_set_.release(reference.address_second);
}

}  // namespace spindle
