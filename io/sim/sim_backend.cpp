#include "io/sim/sim_backend.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/loop.h"

namespace spindle {

namespace {

/// Changes what the disk holds, in one step: done or not when the process dies.
bool changes_disk_at_once(Opcode opcode) noexcept {
  switch (opcode) {
    case Opcode::allocate:
    case Opcode::open:
    case Opcode::truncate:
    case Opcode::punch_hole:
    case Opcode::rename:
    case Opcode::unlink:
    case Opcode::remove_directory:
    case Opcode::make_directory: return true;
    default: return false;
  }
}

uint64_t size_to_do(const Operation& operation) noexcept {
  if (!operation.is_vectored()) return operation.chunk_size();
  uint64_t size = 0;
  for (const iovec& part : operation.vector()) size += part.iov_len;
  return size;
}

/// visit(memory, size, offset in the file) for each contiguous part of the first `size` bytes.
template <class Visit>
void for_each_part(Operation& operation, uint64_t size, Visit visit) {
  if (!operation.is_vectored()) {
    if (size > 0) visit(static_cast<std::byte*>(operation.memory()), size, operation.offset());
    return;
  }
  uint64_t offset = operation.offset();
  for (const iovec& part : operation.vector()) {
    const uint64_t here = std::min<uint64_t>(part.iov_len, size);
    if (here > 0) visit(static_cast<std::byte*>(part.iov_base), here, offset);
    offset += here;
    size -= here;
  }
}

}  // namespace

SimBackend::SimBackend(SimFiles& files, const Time& clock, EventHash& hash, SimBackendOptions options, uint64_t seed)
    : files_(files), clock_(clock), hash_(hash), options_(options), random_(seed) {
  SPINDLE_ASSERT(options.queue_depth > 0, "a backend that never starts an operation");
  SPINDLE_ASSERT(options.latency_ns_min <= options.latency_ns_max, "an empty range of latencies");
}

SimBackend::~SimBackend() {
  SPINDLE_ASSERT(pending_.empty() && queued_.empty(), "a simulated backend ended with operations in flight");
}

void SimBackend::wait(Time) noexcept {
  SPINDLE_ASSERT(false, "a loop of the simulated world waited by itself: the world drives the turns");
}

void SimBackend::submit_to_backend(Operation& operation) noexcept {
  operation.place = Operation::Place::outside;
  if (loop()->is_dying()) return;
  if (in_flight_count_ < options_.queue_depth) return start(operation);
  operation.place = Operation::Place::queued;
  queued_.push_back(operation);
}

void SimBackend::start(Operation& operation) noexcept {
  const uint64_t latency_ns = random_.between(options_.latency_ns_min, options_.latency_ns_max);
  ++in_flight_count_;
  hash_.mix(1, static_cast<uint64_t>(operation.opcode()), latency_ns, operation.offset(), operation.size());
  add_pending(operation, clock_ + Duration(latency_ns), Fate::normal, true);
}

void SimBackend::add_pending(Operation& operation, Time due, Fate fate, bool is_in_flight) noexcept {
  operation.place = Operation::Place::in_flight;
  operation.slot = static_cast<uint32_t>(pending_.size());
  pending_.push_back({&operation, due, sequence_next_++, fate, is_in_flight});
  if (due >= next_due_) return;
  next_due_ = due;
  next_slot_ = operation.slot;
}

void SimBackend::remove_pending(uint32_t slot) noexcept {
  Pending& removed = pending_[slot];
  removed.operation->place = Operation::Place::outside;
  if (removed.is_in_flight) --in_flight_count_;
  removed = pending_.back();
  removed.operation->slot = slot;
  pending_.pop_back();
  find_next();
}

// Linear: there are as many as the queue is deep, and then some that were cancelled.
void SimBackend::find_next() noexcept {
  next_due_ = time_never;
  uint64_t sequence = 0;
  for (uint32_t slot = 0; slot < pending_.size(); ++slot) {
    const Pending& pending = pending_[slot];
    if (pending.due > next_due_ || (pending.due == next_due_ && pending.sequence > sequence)) continue;
    next_due_ = pending.due;
    next_slot_ = slot;
    sequence = pending.sequence;
  }
}

void SimBackend::complete_next() noexcept {
  SPINDLE_ASSERT(next_due_ <= clock_, "an operation was completed before its time");
  const Pending pending = pending_[next_slot_];
  Operation& operation = *pending.operation;
  remove_pending(next_slot_);
  const int32_t result = result_of(operation, pending.fate);
  hash_.mix(2, static_cast<uint64_t>(operation.opcode()), operation.offset(), operation.size(),
            static_cast<uint32_t>(result));
  ++delivered_count_;
  while (!queued_.empty() && in_flight_count_ < options_.queue_depth) start(queued_.pop_front());
  operation.deliver(result);
}

void SimBackend::cancel(Operation& operation) noexcept {
  if (loop()->is_dying()) return;
  if (operation.place == Operation::Place::queued) {
    operation.unlink();
    hash_.mix(3);
    return add_pending(operation, clock_, Fate::cancelled, false);
  }
  SPINDLE_ASSERT(operation.place == Operation::Place::in_flight, "a cancel of an operation that is not submitted");
  const bool takes_effect = random_.chance(1, 2);
  const bool in_part = random_.chance(1, 4);
  hash_.mix(4, takes_effect, in_part);
  if (!takes_effect) return;
  Pending& pending = pending_[operation.slot];
  pending.fate = in_part ? Fate::cancelled_in_part : Fate::cancelled;
  const Time soon = clock_ + Duration(random_.below(options_.latency_ns_min + 1));
  pending.due = std::min(pending.due, soon);
  find_next();
}

void SimBackend::cancel_all(Descriptor& descriptor) noexcept {
  if (loop()->is_dying()) return;
  // A cancel moves a queued operation to the end of pending_, so those in flight come first.
  const size_t count = pending_.size();
  for (size_t slot = 0; slot < count; ++slot) {
    if (pending_[slot].operation->descriptor() == &descriptor) pending_[slot].operation->request_cancel_from_backend();
  }
  Operation* next = nullptr;
  for (Operation* operation = queued_.first(); operation != nullptr; operation = next) {
    next = queued_.next(*operation);
    if (operation->descriptor() == &descriptor) operation->request_cancel_from_backend();
  }
}

void SimBackend::abandon(Operation& operation) noexcept {
  SPINDLE_ASSERT(operation.place == Operation::Place::outside,
                 "a frame of a killed host was destroyed before its operations were resolved");
}

void SimBackend::forget_all() noexcept {
  SPINDLE_ASSERT(loop()->is_dying(), "operations of a live host were forgotten");
  for (const Pending& pending : pending_) {
    Operation& operation = *pending.operation;
    const uint64_t outcome = random_.below(3);
    hash_.mix(5, static_cast<uint64_t>(operation.opcode()), operation.offset(), outcome);
    const bool is_write = operation.opcode() == Opcode::write || operation.opcode() == Opcode::writev;
    const bool changes_disk = is_write || changes_disk_at_once(operation.opcode());
    if (outcome == 1 && changes_disk) execute(operation);
    if (outcome == 2 && is_write) write_some_sectors(operation);
    note_abandoned(operation);
  }
  pending_.clear();
  in_flight_count_ = 0;
  next_due_ = time_never;
  while (!queued_.empty()) {
    Operation& operation = queued_.pop_front();
    note_abandoned(operation);
  }
}

int32_t SimBackend::result_of(Operation& operation, Fate fate) noexcept {
  if (fate == Fate::cancelled) return -ECANCELED;
  if (fate == Fate::cancelled_in_part) {
    const uint64_t size = operation.is_transfer() ? part_of(size_to_do(operation)) : 0;
    return size == 0 ? -ECANCELED : transfer(operation, size);
  }
  if (operation.opcode() == Opcode::close) return close(operation);
  // EAGAIN of a lock is an answer.
  if (options_.again_rate > 0 && operation.opcode() != Opcode::lock && random_.chance(options_.again_rate, 1000))
    return -EAGAIN;
  if (options_.interrupted_rate > 0 && random_.chance(options_.interrupted_rate, 1000)) return -EINTR;
  if (operation.is_transfer() && options_.short_rate > 0 && random_.chance(options_.short_rate, 1000)) {
    const uint64_t size = part_of(size_to_do(operation));
    if (size > 0) return transfer(operation, size);
  }
  return execute(operation);
}

// A multiple of the offset alignment below `size`; may be 0.
uint64_t SimBackend::part_of(uint64_t size) noexcept {
  const uint64_t units = (size + options_.offset_alignment - 1) / options_.offset_alignment;
  return units == 0 ? 0 : random_.below(units) * options_.offset_alignment;
}

int32_t SimBackend::execute(Operation& operation) noexcept {
  switch (operation.opcode()) {
    case Opcode::nop: return 0;
    case Opcode::read:
    case Opcode::readv:
    case Opcode::write:
    case Opcode::writev: return transfer(operation, UINT64_MAX);
    case Opcode::sync:
    case Opcode::sync_data: return open_file_of(operation) == nullptr ? -EBADF : 0;
    case Opcode::allocate: return allocate(operation);
    case Opcode::open: return open(operation);
    case Opcode::stat: return stat(operation);
    case Opcode::close: return close(operation);
    default: return execute_rare(operation);
  }
}

bool SimBackend::breaks_alignment(const Operation& operation) const noexcept {
  const bool has_own = operation.reads_into_memory() && options_.read_offset_alignment != 0;
  const uint64_t offset_mask = (has_own ? options_.read_offset_alignment : options_.offset_alignment) - 1;
  const uint64_t memory_mask = options_.memory_alignment - 1;
  uint64_t bits = operation.offset() & offset_mask;
  if (!operation.is_vectored()) {
    bits |= operation.chunk_size() & offset_mask;
    bits |= reinterpret_cast<uintptr_t>(operation.memory()) & memory_mask;
    return bits != 0;
  }
  for (const iovec& part : operation.vector()) {
    bits |= part.iov_len & offset_mask;
    bits |= reinterpret_cast<uintptr_t>(part.iov_base) & memory_mask;
  }
  return bits != 0;
}

int32_t SimBackend::transfer(Operation& operation, uint64_t size_max) noexcept {
  OpenFile* open_file = open_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  if ((open_file->flags & O_DIRECT) != 0 && breaks_alignment(operation)) return -EINVAL;
  const uint64_t size = std::min(size_to_do(operation), size_max);
  if (operation.reads_into_memory()) return read(operation, *open_file->file, size);
  if ((open_file->flags & O_ACCMODE) == O_RDONLY) return -EBADF;
  return write(operation, *open_file->file, size);
}

int32_t SimBackend::read(Operation& operation, SimFile& file, uint64_t size_max) noexcept {
  const uint64_t file_size = file.bytes.size();
  const uint64_t left = operation.offset() < file_size ? file_size - operation.offset() : 0;
  const uint64_t size = std::min(size_max, left);
  for_each_part(operation, size, [&](std::byte* memory, uint64_t part_size, uint64_t offset) {
    if constexpr (Ledger::enabled) Ledger::unpoison(memory, part_size);
    std::memcpy(memory, file.bytes.data() + offset, part_size);
  });
  return static_cast<int32_t>(size);
}

int32_t SimBackend::write(Operation& operation, SimFile& file, uint64_t size) noexcept {
  if (operation.offset() > options_.file_size_max || size > options_.file_size_max - operation.offset()) {
    return -EFBIG;
  }
  file.bytes.resize(std::max<uint64_t>(file.bytes.size(), operation.offset() + size));
  for_each_part(operation, size, [&](std::byte* memory, uint64_t part_size, uint64_t offset) {
    std::memcpy(file.bytes.data() + offset, memory, part_size);
  });
  return static_cast<int32_t>(size);
}

void SimBackend::write_some_sectors(Operation& operation) noexcept {
  OpenFile* open_file = open_file_of(operation);
  if (open_file == nullptr || (open_file->flags & O_ACCMODE) == O_RDONLY) return;
  std::vector<std::byte>& bytes = open_file->file->bytes;
  for_each_part(operation, size_to_do(operation), [&](std::byte* memory, uint64_t part_size, uint64_t offset) {
    for (uint64_t done = 0; done < part_size; done += sector_size) {
      const uint64_t here = std::min<uint64_t>(sector_size, part_size - done);
      if (!random_.chance(1, 2) || offset + done + here > options_.file_size_max) continue;
      bytes.resize(std::max<uint64_t>(bytes.size(), offset + done + here));
      std::memcpy(bytes.data() + offset + done, memory + done, here);
    }
  });
}

}  // namespace spindle
