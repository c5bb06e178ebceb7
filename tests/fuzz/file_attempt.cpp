// Which errors an operation may end with: each has a cause, in what the program did or in what the disk's record says.
#include <cerrno>
#include <cstdio>

#include "tests/fuzz/file_machine.h"

namespace spindle::fuzz {

namespace {

bool changes_file(FileAction action) noexcept {
  switch (action) {
    case FileAction::write_exact:
    case FileAction::write_once:
    case FileAction::write_vectored:
    case FileAction::write_ragged:
    case FileAction::write_durable:
    case FileAction::write_ragged_durable:
    case FileAction::sync:
    case FileAction::sync_data:
    case FileAction::allocate:
    case FileAction::truncate:
    case FileAction::punch_hole:
    case FileAction::publish: return true;
    default: return false;
  }
}

}  // namespace

Attempt::Attempt(FileMachine& machine, Slot* slot, const FileEvent& event, Kind kind)
    : machine_(machine),
      slot_(slot),
      kind_(kind),
      action_(event.action),
      may_be_cut_short_(event.cut_short != CutShort::nobody),
      is_deadline_(event.cut_short == CutShort::deadline) {
  for (size_t index = 0; index < fault_count; ++index)
    counts_[index] = machine.fault_count_of(static_cast<Fault>(index));
  if (machine.disk != nullptr) pages_before_ = machine.disk->space().pages_count;
  pages_in_flight_before_ = machine.pages_in_flight();
  if (slot == nullptr) return;
  had_remembered_ = machine.has_remembered(*slot->node);
  machine.trace("  on file", slot->node->id, slot->node->file.size_high());
  generation_ = slot->generation;
  has_coarse_alignment_ = slot->is_alignment_coarse;
  const bool is_poisoned = slot->file->is_poisoned();
  FUZZ_CHECK(slot->syncs_count > 0 || is_poisoned == slot->is_poisoned,
             "a file is poisoned that should not be, or is not");
  was_poisoned_ = is_poisoned && changes_file(action_);
  ++slot->operations_count;
  if (kind == Kind::sync || kind == Kind::durable_write) ++slot->syncs_count;
}

Attempt::~Attempt() {
  if (machine_.is_dead || slot_ == nullptr || !is_same_file()) return;
  --slot_->operations_count;
  if (kind_ == Kind::sync || kind_ == Kind::durable_write) --slot_->syncs_count;
}

void Attempt::set_range(uint64_t offset, uint64_t size) {
  range_offset_ = offset;
  range_size_ = size;
  if (slot_ != nullptr) was_damaged_ = machine_.is_damaged(*slot_->node, offset, size);
}

uint64_t Attempt::rise_of(Fault fault) const noexcept {
  return machine_.fault_count_of(fault) - counts_[static_cast<size_t>(fault)];
}

bool Attempt::damage_rose() const noexcept {
  if (had_remembered_) return true;
  for (size_t index = 0; index < fault_count; ++index) {
    const Fault fault = static_cast<Fault>(index);
    if ((is_damage(fault) || fault == Fault::misdirected_read) && rose(fault)) return true;
  }
  return false;
}

bool Attempt::may_be_full() const noexcept {
  if (machine_.disk == nullptr) return false;
  const SimSpace& space = machine_.disk->space();
  const uint64_t pages_most = std::max(pages_before_, space.pages_count);
  const uint64_t in_flight = pages_in_flight_before_ + machine_.pages_in_flight() + range_size_ / 4096 + 2;
  return space.pages_max != UINT64_MAX && pages_most + in_flight > space.pages_max;
}

void Attempt::check_errno(int32_t number) const {
  const bool reads = kind_ == Kind::read || reads_too_;
  const bool writes = kind_ == Kind::write || kind_ == Kind::durable_write;
  const bool syncs = kind_ == Kind::sync || kind_ == Kind::durable_write;
  switch (number) {
    case EIO:
      FUZZ_CHECK((reads && (rose(Fault::latent_error) || rose(Fault::transient_error) || was_damaged_)) ||
                     (writes && rose(Fault::write_error)) || (syncs && rose(Fault::failed_sync)),
                 "EIO that no fault explains");
      if (reads && was_damaged_) machine_.mark(FileMark::unreadable_sector_refused);
      return;
    case ENOSPC:
      FUZZ_CHECK((writes && rose(Fault::no_space)) || may_be_full(), "ENOSPC that nothing explains");
      if (may_be_full()) machine_.mark(FileMark::capacity_used_up);
      return;
    case EFBIG:
      FUZZ_CHECK(range_offset_ + range_size_ > machine_.file_size_max(), "EFBIG that nothing explains");
      return machine_.mark(FileMark::file_size_limit);
    default: std::fprintf(stderr, "errno %d\n", number); FUZZ_CHECK(false, "an errno that nothing explains");
  }
}

void Attempt::check_error(const Error& error) const {
  const bool is_poisoned = is_same_file() && slot_ != nullptr && slot_->file->is_poisoned();
  switch (error.code) {
    case ErrorCode::cancelled: FUZZ_CHECK(may_be_cut_short(), "an operation was cancelled though nobody asked"); return;
    case ErrorCode::timed_out:
      FUZZ_CHECK(is_deadline_, "an operation without a deadline timed out");
      return machine_.mark(FileMark::timed_out);
    case ErrorCode::closed: FUZZ_CHECK(!is_same_file(), "an open file is said to be closed"); return;
    case ErrorCode::poisoned:
      FUZZ_CHECK(was_poisoned_ || (has_steps_ && (is_poisoned || !is_same_file())),
                 "an operation was refused as poisoned");
      return machine_.mark(FileMark::poisoned_refused);
    case ErrorCode::system: return check_errno(error.number);
    case ErrorCode::short_transfer:
      FUZZ_CHECK(has_coarse_alignment_ && rose(Fault::short_write), "a write gave up early");
      return;
    case ErrorCode::end_of_file:  // these are checked where they are expected
    case ErrorCode::misaligned:
    case ErrorCode::no_direct_io: return;
    default: std::fprintf(stderr, "%s\n", describe(error).c_str()); FUZZ_CHECK(false, "an error that nothing explains");
  }
}

// A failed sync or durable write is final; nothing else is.
void Attempt::check_poison(const Result<void>& result) {
  if (slot_ == nullptr || !is_same_file()) return;
  const bool is_poisoned = slot_->file->is_poisoned();
  const bool is_sync = kind_ == Kind::sync || kind_ == Kind::durable_write;
  if (is_sync && !result.has_value()) {
    const bool is_final = result.error().code == ErrorCode::system && !has_steps_;
    FUZZ_CHECK(!is_final || is_poisoned, "a sync or durable write failed, and the file goes on");
    FUZZ_CHECK(is_poisoned || !slot_->is_poisoned, "a poisoned file goes on");
    slot_->is_poisoned = is_poisoned;
    return;
  }
  const uint32_t others_count = slot_->syncs_count - (is_sync ? 1 : 0);
  FUZZ_CHECK(others_count > 0 || is_poisoned == slot_->is_poisoned,
             "a file is poisoned for no reason, or not any more");
}

void Attempt::end(const Result<void>& result) {
  machine_.check_alive();
  for (size_t index = 0; machine_.is_verbose && index < fault_count; ++index) {
    const Fault fault = static_cast<Fault>(index);
    if (rose(fault)) machine_.trace(spindle::name_of(fault), rise_of(fault));
  }
  check_poison(result);
  if (!result.has_value()) check_error(result.error());
  const bool is_refused =
      !result.has_value() && (result.error().code == ErrorCode::poisoned ||
                              result.error().code == ErrorCode::cancelled || result.error().code == ErrorCode::closed);
  // A ragged write reads first, and may fail in that.
  const bool has_failed = !result.has_value() && (has_steps_ || is_refused);
  FUZZ_CHECK(!was_poisoned_ || has_failed, "a poisoned file was changed");
  const uint64_t code = result.has_value() ? 0 : 1 + static_cast<uint64_t>(result.error().code);
  const uint64_t number = result.has_value() ? 0 : static_cast<uint64_t>(result.error().number);
  machine_.trace(name_of(action_), code, number);
  if (slot_ != nullptr && is_same_file()) machine_.trace("  ended on file", slot_->node->id);
  machine_.hash.mix(static_cast<uint64_t>(action_), code, number);
}

}  // namespace spindle::fuzz
