#include "io/operation.h"

#include <cerrno>

#include "io/backend.h"
#include "io/device_queue.h"

namespace spindle {

const char* name_of(Opcode opcode) noexcept {
  switch (opcode) {
    case Opcode::nop: return "nop";
    case Opcode::read: return "read";
    case Opcode::write: return "write";
    case Opcode::readv: return "vectored read";
    case Opcode::writev: return "vectored write";
    case Opcode::sync: return "sync";
    case Opcode::sync_data: return "sync of data";
    case Opcode::allocate: return "allocate";
    case Opcode::open: return "open";
    case Opcode::stat: return "stat";
    case Opcode::close: return "close";
    case Opcode::truncate: return "truncate";
    case Opcode::punch_hole: return "punch hole";
    case Opcode::stat_path: return "stat of a path";
    case Opcode::rename: return "rename";
    case Opcode::unlink: return "unlink";
    case Opcode::remove_directory: return "remove directory";
    case Opcode::make_directory: return "make directory";
    case Opcode::list_directory: return "list directory";
    case Opcode::lock: return "lock";
    case Opcode::set_direct: return "set direct";
    case Opcode::device_size: return "device size";
  }
  return "unknown operation";
}

void Operation::explain(std::string& text) const {
  text += name_of(opcode_);
  if (size_ > 0) text += " of " + std::to_string(size_) + " bytes";
  const bool has_range = is_transfer() || opcode_ == Opcode::allocate || opcode_ == Opcode::punch_hole;
  if (has_range) text += " at " + std::to_string(offset_);
  if (descriptor_ != nullptr) text += " on " + descriptor_->path;
  if (has_path()) text += std::string(" ") + path_;
  if (opcode_ == Opcode::rename) text += std::string(" to ") + target_path_;
  if (place == Place::held) text += " (held by the device's queue)";
  if (place == Place::queued) text += " (queued)";
  if (is_cancel_requested_) text += " (cancel requested)";
}

void Operation::set_vector(std::span<iovec> vector, uint64_t offset, Mode mode) noexcept {
  uint64_t size = 0;
  for (const iovec& part : vector) size += part.iov_len;
  parts_ = vector.data();
  parts_count_ = static_cast<uint32_t>(vector.size());
  size_ = left_ = size;
  offset_ = offset;
  mode_ = mode;
}

// Refuses what the kernel would answer with a bare EINVAL, or worse, half do. False: failed.
bool Operation::check_descriptor() noexcept {
  const Descriptor& file = *descriptor_;
  if (!file.is_impeded()) return true;
  const bool closing_itself = opcode_ == Opcode::close;
  if (file.fd < 0 || (file.is_closing && !closing_itself)) {
    fail_with(Error{ErrorCode::closed, 0, describe(), 0});
    return false;
  }
  const bool changes_data = opcode_ == Opcode::write || opcode_ == Opcode::writev || opcode_ == Opcode::sync ||
                            opcode_ == Opcode::sync_data || opcode_ == Opcode::allocate ||
                            opcode_ == Opcode::truncate || opcode_ == Opcode::punch_hole;
  if (!file.is_poisoned || !changes_data) return true;
  fail_with(Error{ErrorCode::poisoned, 0, describe(), 0});
  return false;
}

bool Operation::check_transfer() noexcept {
  if (!check_descriptor()) return false;
  if (is_aligned()) return true;
  fail_with(Error{ErrorCode::misaligned, 0, describe(), 0});
  return false;
}

// Reads may have a finer alignment than writes. The path that every transfer takes asks for the coarser one first.
uint32_t Operation::offset_alignment() const noexcept {
  return reads_into_memory() ? descriptor_->offset_alignment_of_reads() : descriptor_->offset_alignment;
}

bool Operation::is_aligned() const noexcept {
  const uint64_t memory_mask = descriptor_->memory_alignment - 1;
  const uint64_t offset_mask = offset_alignment() - 1;
  if (!is_vectored()) {
    return ((reinterpret_cast<uintptr_t>(memory_) & memory_mask) | ((size_ | offset_) & offset_mask)) == 0;
  }
  uint64_t bits = offset_ & offset_mask;
  for (const iovec& part : vector()) {
    bits |= reinterpret_cast<uintptr_t>(part.iov_base) & memory_mask;
    bits |= part.iov_len & offset_mask;
  }
  return bits == 0;
}

// Everything but the whole of what was asked for.
void Operation::deliver_other(int32_t result) noexcept {
  if (result > 0 && is_transfer()) {
    SPINDLE_ASSERT(static_cast<uint32_t>(result) < left_, "a backend transferred more than it was asked for");
    left_ -= static_cast<uint32_t>(result);
    const bool goes_on = mode_ == Mode::exact;
    if (goes_on && advance(static_cast<uint32_t>(result))) return resubmit();
    return finish(*backend_);
  }
  if (result < 0 && retry_after(result)) return resubmit();
  result_ = result;
  if (result < 0) {
    fail_from(-result);
  } else if (mode_ == Mode::exact && is_transfer()) {
    fail_short();
  }
  finish(*backend_);
}

// The rest can't be had, and there is no errno to blame.
void Operation::fail_short() noexcept {
  fail_with(Error{reads_into_memory() ? ErrorCode::end_of_file : ErrorCode::short_transfer, 0, describe(), 0});
  if (is_durable_ && descriptor_ != nullptr) descriptor_->is_poisoned = true;
}

void Operation::fail_from(int32_t number) noexcept {
  const bool interrupted = number == ECANCELED || number == EINTR || number == EAGAIN;
  if (interrupted && is_cancel_requested_) return fail_with(Error{ErrorCode::cancelled, 0, describe(), 0});
  fail_with(Error{ErrorCode::system, number, describe(), 0});
  // After a failed sync, or a write that promised durability, nothing is known about what else was cached
  // (Linux marks the pages clean): the file stays failed.
  const bool promised = opcode_ == Opcode::sync || opcode_ == Opcode::sync_data || is_durable_;
  if (promised && descriptor_ != nullptr) descriptor_->is_poisoned = true;
}

// EAGAIN and EINTR say nothing about the data, and ECANCELED that nobody asked for neither: a bounded number of tries.
// EAGAIN of a lock is its answer: somebody else has it.
bool Operation::retry_after(int32_t result) noexcept {
  const bool transient = result == -EAGAIN || result == -EINTR || result == -ECANCELED;
  if (!transient || is_cancel_requested_ || opcode_ == Opcode::close) return false;
  if (retry_count_ == operation_retries_max || (opcode_ == Opcode::lock && result == -EAGAIN)) return false;
  ++retry_count_;
  return true;
}

// Moves on past `count` bytes. False when the rest can't be asked for: a cancel has come, or the count is ragged,
// which direct I/O only gives at the end of the file.
bool Operation::advance(uint32_t count) noexcept {
  offset_ += count;
  if (is_cancel_requested_) {
    fail_with(Error{ErrorCode::cancelled, 0, describe(), 0});
    return false;
  }
  if (descriptor_ != nullptr && (count & (offset_alignment() - 1)) != 0) {
    fail_short();
    return false;
  }
  retry_count_ = 0;
  if (!is_vectored()) {
    memory_ = static_cast<std::byte*>(memory_) + count;
    return true;
  }
  uint64_t past = count;
  while (past >= parts_->iov_len) {
    past -= parts_->iov_len;
    ++parts_;
    --parts_count_;
  }
  parts_->iov_base = static_cast<std::byte*>(parts_->iov_base) + past;
  parts_->iov_len -= past;
  return true;
}

bool Operation::begin_rare() noexcept {
  if (descriptor_ != nullptr && !check_descriptor()) return true;
  backend_->submit_rare(*this);
  return false;
}

void Operation::resubmit() noexcept {
  if (opcode_ >= opcode_rare_first) return backend_->resubmit_rare(*this);
  backend_->resubmit(*this);
}

void Operation::on_cancel() noexcept {
  if (is_cancel_requested_ || !is_cancellable()) return;
  is_cancel_requested_ = true;
  if (place == Place::held) return backend_->cancel_held(*this);
  backend_->cancel(*this);
}

void Operation::on_abandon() noexcept {
  if (place != Place::held) return backend_->abandon(*this);
  descriptor_->queue->remove(*this);
  backend_->abandon(*this);
}

void Operation::submit_detached(Detached detached) noexcept {
  is_detached_ = true;
  detached_done_ = detached;
  backend_->submit(*this);
}

}  // namespace spindle
