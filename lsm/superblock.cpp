#include "lsm/superblock.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "runtime/combinators.h"

namespace spindle {

namespace {

/// Says that a call is under way, as long as its frame is there.
class Busy {
 public:
  explicit Busy(bool& is_busy) noexcept : is_busy_(is_busy) {
    SPINDLE_ASSERT(!is_busy, "two calls on a superblock at a time");
    is_busy_ = true;
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() {
    // In a dying loop the superblock may be gone before the frame of its call.
    if (!host_is_dying()) is_busy_ = false;
  }

 private:
  bool& is_busy_;
};

uint64_t offset_of(uint32_t slot) noexcept { return uint64_t{slot} * superblock_slot_stride; }

std::span<std::byte> bytes_of(Superblock& superblock) noexcept {
  return std::as_writable_bytes(std::span(&superblock, 1));
}

const char* where_of(SuperblockError error) noexcept {
  switch (error) {
    case SuperblockError::none: return "superblock: too few copies stay written";
    case SuperblockError::not_found: return "superblock: not found";
    case SuperblockError::unsupported: return "superblock: of another format version";
    case SuperblockError::foreign_cluster: return "superblock: of another cluster";
    case SuperblockError::quorum_lost: return "superblock: quorum lost";
    case SuperblockError::fork: return "superblock: fork";
    case SuperblockError::parent_skipped: return "superblock: parent skipped";
    case SuperblockError::parent_not_connected: return "superblock: parent not connected";
    case SuperblockError::not_monotonic: return "superblock: not monotonic";
  }
  return "superblock";
}

}  // namespace

SuperblockCopies::SuperblockCopies(Storage& storage, ZoneIndex zone)
    : storage_(storage), zone_(zone), memory_(std::make_unique<Memory>()) {
  SPINDLE_ASSERT(storage.zone_size(zone) == superblock_zone_size, "a superblock in a zone of another size");
  SPINDLE_ASSERT(storage.sector_size() <= superblock_size, "a superblock is one sector, or several");
  std::memset(static_cast<void*>(&memory_->zeroes), 0, sizeof(memory_->zeroes));
}

const Superblock& SuperblockCopies::working() const noexcept {
  SPINDLE_ASSERT(is_open_, "the current version of a superblock that is not open");
  return memory_->working.superblock;
}

// ---- slots

Task<Result<void>> SuperblockCopies::read_slot(uint32_t slot) {
  Superblock& superblock = memory_->slots[slot].superblock;
  const std::span<std::byte> memory = bytes_of(superblock);
  const Result<void> read = co_await storage_.read(zone_, offset_of(slot), memory);
  const bool is_lost = !read.has_value() && read.error().code == ErrorCode::lost_sectors;
  if (!read.has_value() && !is_lost) co_return Unexpected(read.error());
  slots_[slot].fault = is_lost ? SuperblockFault::unreadable : verify(superblock);
  slots_[slot].superblock = slots_[slot].fault == SuperblockFault::none ? &superblock : nullptr;
  co_return Result<void>();
}

Task<Result<void>> SuperblockCopies::read_slots() {
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) co_await ok(read_slot(slot));
  co_return Result<void>();
}

// What a process wrote that was killed can be read, and be gone after a loss of power: so a sync comes first.
Task<Result<void>> SuperblockCopies::read_durable_slots() {
  co_await ok(storage_.sync());
  co_await ok(read_slots());
  co_return Result<void>();
}

// The copy of the stage that belongs into the slot.
Task<Result<void>> SuperblockCopies::write_copy(uint32_t slot) {
  Superblock& stage = memory_->stage.superblock;
  stage.copy = slot;
  const std::span<const std::byte> memory = bytes_of(stage);
  const Result<void> written = co_await storage_.write(zone_, offset_of(slot), memory);
  co_return written;
}

Task<Result<void>> SuperblockCopies::write_copies() {
  const uint32_t copies_count = memory_->stage.superblock.configuration.copies_count;
  for (uint32_t slot = 0; slot < copies_count; ++slot) co_await ok(write_copy(slot));
  co_return Result<void>();
}

Task<Result<void>> SuperblockCopies::wipe(uint32_t slot) {
  const std::span<const std::byte> memory = bytes_of(memory_->zeroes.superblock);
  const Result<void> written = co_await storage_.write(zone_, offset_of(slot), memory);
  co_return written;
}

Task<Result<void>> SuperblockCopies::inspect() {
  const Busy busy(is_busy_);
  SPINDLE_ASSERT(!is_open_, "an inspection of a superblock that is open");
  co_await ok(read_slots());
  choice_ = choose_superblock(slots_);
  co_return Result<void>();
}

// ---- format

Task<Result<void>> SuperblockCopies::format(SuperblockFormat options) {
  const Busy busy(is_busy_);
  SPINDLE_ASSERT(!is_open_, "a format of a superblock that is open");
  if (!is_valid(options.configuration)) co_return fail(ErrorCode::invalid_argument, "format of a superblock");
  co_await ok(read_durable_slots());
  choice_ = choose_superblock(slots_);
  const bool has_store = choice_.error != SuperblockError::not_found && !is_half_formatted(slots_);
  if (has_store && !options.force) co_return fail_errno(EEXIST, "format of a superblock");
  // What can't be read may be a store, and may be readable again tomorrow.
  const bool has_unreadable = std::any_of(slots_.begin(), slots_.end(), [](const SuperblockSlot& slot) {
    return slot.fault == SuperblockFault::unreadable;
  });
  if (has_unreadable && !options.force) co_return fail(ErrorCode::lost_sectors, "format of a superblock");
  Superblock& stage = memory_->stage.superblock;
  stage = Superblock();
  stage.sequence = 1;
  stage.cluster = options.cluster;
  stage.configuration = options.configuration;
  stage.checksum = checksum_of(stage);
  auto writing = write_first();
  const Result<void> written = co_await shield(std::move(writing));
  co_return written;
}

// Zeroes first: an old version would win by its sequence, and another first one would be a fork. From the last slot on:
// of a format that was interrupted the torn slot is the last one, and goes before another one may be torn.
Task<Result<void>> SuperblockCopies::write_first() {
  for (uint32_t slot = superblock_slots_count; slot-- > 0;) {
    if (slots_[slot].fault != SuperblockFault::zero) co_await ok(wipe(slot));
  }
  co_await ok(write_copies());
  co_await ok(read_slots());
  choice_ = choose_superblock(slots_);
  const Superblock& stage = memory_->stage.superblock;
  const bool is_there = choice_.error == SuperblockError::none && choice_.winner->checksum == stage.checksum &&
                        choice_.votes_count == stage.configuration.copies_count && choice_.repairs_count == 0;
  if (!is_there) co_return fail(ErrorCode::corrupt, where_of(SuperblockError::none));
  co_return Result<void>();
}

// ---- open

Task<Result<void>> SuperblockCopies::open(std::optional<ClusterId> cluster) {
  const Busy busy(is_busy_);
  SPINDLE_ASSERT(!is_open_, "a superblock was opened twice");
  co_await ok(read_durable_slots());
  choice_ = choose_superblock(slots_, cluster);
  if (choice_.error != SuperblockError::none) co_return fail(ErrorCode::corrupt, where_of(choice_.error));
  memory_->stage.superblock = *choice_.winner;
  if (choice_.repairs_count > 0) {
    auto repairing = write_repairs();
    co_await ok(shield(std::move(repairing)));
    co_await ok(read_slots());
    choice_ = choose_superblock(slots_, cluster);
    const bool is_same =
        choice_.error == SuperblockError::none && choice_.winner->checksum == memory_->stage.superblock.checksum;
    if (!is_same) co_return fail(ErrorCode::corrupt, where_of(choice_.error));
  }
  if (!choice_.has_write_quorum()) co_return fail(ErrorCode::corrupt, where_of(SuperblockError::none));
  memory_->working.superblock = memory_->stage.superblock;
  is_open_ = true;
  co_return Result<void>();
}

Task<Result<void>> SuperblockCopies::write_repairs() {
  const SuperblockChoice choice = choice_;
  for (const SuperblockRepair& repair : choice.all_repairs()) {
    if (repair.wipes) {
      co_await ok(wipe(repair.slot));
    } else {
      co_await ok(write_copy(repair.slot));
    }
  }
  co_return Result<void>();
}

// ---- update

Task<Result<void>> SuperblockCopies::update(CheckpointState state) {
  const Busy busy(is_busy_);
  SPINDLE_ASSERT(is_open_, "an update of a superblock that is not open");
  if (is_poisoned_) co_return fail(ErrorCode::poisoned, "update of a superblock");
  const Superblock& working = memory_->working.superblock;
  SPINDLE_ASSERT(state.op >= working.state.op, "a checkpoint that is older than the one before");
  Superblock& stage = memory_->stage.superblock;
  stage = working;
  stage.sequence = working.sequence + 1;
  stage.parent = working.checksum;
  stage.state = state;
  stage.checksum = checksum_of(stage);
  SPINDLE_ASSERT(verify(stage) == SuperblockFault::none, "a checkpoint state with reserved bytes that are not zero");
  auto writing = write_update();
  const Result<void> written = co_await shield(std::move(writing));
  is_poisoned_ = !written.has_value();
  co_return written;
}

Task<Result<void>> SuperblockCopies::write_update() {
  co_await ok(write_copies());
  co_await ok(read_slots());
  choice_ = choose_superblock(slots_, memory_->stage.superblock.cluster);
  const Superblock& stage = memory_->stage.superblock;
  const bool is_there = choice_.error == SuperblockError::none && choice_.winner->checksum == stage.checksum &&
                        choice_.has_write_quorum();
  if (!is_there) co_return fail(ErrorCode::corrupt, where_of(choice_.error));
  memory_->working.superblock = stage;
  co_return Result<void>();
}

}  // namespace spindle
