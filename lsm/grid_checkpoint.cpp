// Grid: the free set in its trailers.
#include <algorithm>

#include "lsm/grid.h"
#include "runtime/combinators.h"

namespace spindle {

// ---- open

// From the last block to the first: each names the one before.
Task<Result<void>> Grid::read_trailer(Trailer& trailer, TrailerReference reference) {
  fault_.block.reference = reference.last;
  fault_.trailer = trailer.begin_read(reference);
  if (fault_.trailer != TrailerFault::none) co_return fail(ErrorCode::corrupt, "trailer: reference");
  BlockExpected expected;
  expected.cluster = options_.cluster;
  expected.type = BlockType::free_set;
  for (uint32_t index = trailer.blocks_count(); index-- > 0;) {
    expected.reference = trailer.reference(index);
    BlockReport report;
    const Result<void> read = co_await read_verified(expected, trailer.memory(index), IoClass::foreground, report);
    if (!read.has_value()) {
      fault_.block = report;
      co_return read;
    }
    fault_.block.reference = expected.reference;
    fault_.trailer = trailer.take(index);
    if (fault_.trailer != TrailerFault::none) co_return fail(ErrorCode::corrupt, "trailer: a block out of place");
  }
  fault_.trailer = trailer.finish();
  if (fault_.trailer != TrailerFault::none) co_return fail(ErrorCode::corrupt, "trailer: checksum");
  co_return Result<void>();
}

Result<void> Grid::open_free_set() noexcept {
  addresses_.resize(addresses_.capacity());
  const std::span<uint64_t> all = addresses_;
  uint32_t count = trailer_acquired_.addresses(all);
  count += trailer_released_.addresses(all.subspan(count));
  addresses_.resize(count);
  fault_.free_set = free_set_.open({trailer_acquired_.chunks(), trailer_released_.chunks(), addresses_});
  if (fault_.free_set.fault != FreeSetFault::none) return fail(ErrorCode::corrupt, "free set");
  trailer_blocks_held_count_ = count;
  return {};
}

Task<Result<void>> Grid::open(CheckpointState state) {
  SPINDLE_ASSERT(!is_open(), "a grid was opened twice");
  fault_ = GridFault();
  const uint64_t file_size = storage_.file_size();
  if (state.storage_size > file_size) co_return fail(ErrorCode::end_of_file, "the file ends before its checkpoint");
  co_await ok(read_trailer(trailer_acquired_, state.blocks_acquired));
  co_await ok(read_trailer(trailer_released_, state.blocks_released));
  const Result<void> opened = open_free_set();
  if (!opened.has_value()) co_return opened;
  if (state.storage_size != storage_size()) {
    free_set_.reset();
    co_return fail(ErrorCode::corrupt, "the end of the highest block is not where the checkpoint says");
  }
  allocated_end_ = free_set_.highest_address_acquired() + 1;
  free_set_.mark_checkpoint_durable();
  co_return Result<void>();
}

// The end of the highest block that is acquired.
uint64_t Grid::storage_size() const noexcept {
  const uint64_t highest = free_set_.highest_address_acquired();
  return highest == 0 ? 0 : storage_.zone_begin(zone_) + offset_of(highest + 1);
}

// ---- checkpoint

void Grid::list_copies(Trailer& trailer) {
  for (uint32_t index = 0; index < trailer.blocks_count(); ++index) {
    const BlockReference& reference = trailer.reference(index);
    copies_.push_back({&trailer, index, reference.address});
    if (reference.address_second != 0) copies_.push_back({&trailer, index, reference.address_second});
  }
}

Task<Result<void>> Grid::write_trailer_copy(TrailerCopy copy, Grid& grid) {
  BlockReference place;
  place.address = copy.address;
  GridWrite under_way(grid.transfers_, place, BlockRef());
  grid.cache_.remove(copy.address);
  while (GridTransfer* const reader = grid.transfers_.find_reader(place)) co_await ok(reader->wait_for_end());
  GridPermit permit;
  co_await ok(grid.admit_write(IoClass::foreground, permit));
  const Result<void> written =
      co_await grid.write_copy(copy.address, copy.trailer->sectors(copy.index), IoClass::foreground);
  co_return written;
}

// First copies first: what damages one block, and its neighbours, leaves the other copy alone.
void Grid::acquire_trailers(FreeSet::Reservation& reservation) noexcept {
  const size_t copies_count = options_.metadata_copies_count;
  for (size_t copy = 0; copy < copies_count; ++copy) {
    for (size_t index = copy; index < addresses_.size(); index += copies_count) {
      const std::optional<uint64_t> address = free_set_.acquire(reservation);
      SPINDLE_ASSERT(address.has_value(), "a reservation has fewer blocks than were reserved");
      addresses_[index] = *address;
    }
  }
}

// Room for the largest trailers that there could be, before anything changes; what is not needed goes back.
Task<Result<GridTrailers>> Grid::write_encoding() {
  const uint32_t copies_count = options_.metadata_copies_count;
  auto reservation = co_await ok(reserve_next(trailer_copies_max(), 0));
  is_encoded_ = true;
  const FreeSetEncoded encoded = free_set_.encode(trailer_acquired_.bodies(), trailer_released_.bodies());
  trailer_acquired_.set_size(encoded.acquired_size);
  trailer_released_.set_size(encoded.released_size);
  const size_t acquired_count = size_t{trailer_acquired_.blocks_count()} * copies_count;
  const size_t released_count = size_t{trailer_released_.blocks_count()} * copies_count;
  addresses_.resize(acquired_count + released_count);
  acquire_trailers(reservation);
  forfeit_now(std::move(reservation));
  const std::span<const uint64_t> addresses = addresses_;
  GridTrailers trailers;
  trailers.blocks_acquired = trailer_acquired_.seal(addresses.first(acquired_count), copies_count);
  trailers.blocks_released = trailer_released_.seal(addresses.subspan(acquired_count), copies_count);
  trailers.storage_size = storage_size();
  copies_.clear();
  list_copies(trailer_acquired_);
  list_copies(trailer_released_);
  co_await ok(for_each_bounded(copies_, options_.writes_max, write_trailer_copy, *this));
  co_return trailers;
}

Task<Result<GridTrailers>> Grid::write_trailers() {
  SPINDLE_ASSERT(is_open(), "a checkpoint of a grid that is not open");
  SPINDLE_ASSERT(!is_checkpointing_, "two checkpoints at a time");
  is_checkpointing_ = true;
  auto trailers = co_await lock_and_write();
  if (trailers.has_value()) co_return std::move(trailers);
  end_checkpoint();
  if (!is_encoded_) co_return std::move(trailers);
  checkpoint_failed();
  co_return Unexpected(error_after_encoding(trailers.error()));
}

Task<Result<GridTrailers>> Grid::lock_and_write() {
  auto lock = co_await ok(reserving_.lock());
  if (has_failed_) co_return fail(ErrorCode::poisoned, "checkpoint of a grid");
  SPINDLE_ASSERT(free_set_.reservations_count() == 0, "a checkpoint while a reservation is open");
  checkpoint_lock_.emplace(std::move(lock));
  auto trailers = co_await write_encoding();
  co_return std::move(trailers);
}

// ENOSPC and its like mean that nothing has changed. Where something has, they are no reason to try again.
Error Grid::error_after_encoding(const Error& error) noexcept {
  return is_lack_of_space(error) ? Error{ErrorCode::poisoned, 0, "checkpoint of a grid", 0} : error;
}

void Grid::end_checkpoint() noexcept {
  is_checkpointing_ = false;
  checkpoint_lock_.reset();
}

void Grid::checkpoint_durable() noexcept {
  SPINDLE_ASSERT(checkpoint_lock_.has_value() && is_encoded_, "a checkpoint is durable that was not written");
  free_set_.mark_checkpoint_not_durable();
  is_encoded_ = false;
  for (const uint64_t address : addresses_) free_set_.release(address);
  trailer_blocks_held_count_ = addresses_.size();
  free_set_.mark_checkpoint_durable();
  end_checkpoint();
}

void Grid::checkpoint_failed() noexcept {
  has_failed_ = true;
  end_checkpoint();
}

}  // namespace spindle
