#include "io/sim/sim_backend.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>

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

}  // namespace

SimBackend::SimBackend(SimFiles& files, const Time& clock, EventHash& hash, const SimBackendOptions& options,
                       DrawKeys& keys)
    : files_(files),
      clock_(clock),
      hash_(hash),
      options_(options),
      keys_(keys),
      faults_(files, options_.faults, options.sector_size, random_) {
  SPINDLE_ASSERT(options.queue_depth > 0, "a backend that never starts an operation");
  SPINDLE_ASSERT(options.latency_ns_min <= options.latency_ns_max, "an empty range of latencies");
  const uint32_t sector_size = options.sector_size;
  const bool is_sector = sector_size >= SimFile::grain_size && sector_size <= SimFile::page_size;
  SPINDLE_ASSERT(is_sector && (sector_size & (sector_size - 1)) == 0, "a sector is 512 to 4096 bytes, a power of two");
  files.space().pages_max = options.capacity / SimFile::page_size;
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
  if (is_write(operation)) check_alone(operation);  // of every two, the later one
  operation.slot = keys_.next(operation.trace_id()).number;  // until it has a place
  if (in_flight_count_ < options_.queue_depth) return start(operation);
  operation.place = Operation::Place::queued;
  queued_.push_back(operation);
  OpenFile* const open_file = is_sync(operation) ? open_file_of(operation) : nullptr;
  if (open_file != nullptr) queued_syncs_.push_back(begin_sync(operation, *open_file->file));
}

SimBackend::QueuedSync SimBackend::begin_sync(Operation& operation, SimFile& file) noexcept {
  file.begin_sync(files_.sequence());
  return {&operation, &file, files_.sequence()};
}

// Without a file if it did not wait.
SimBackend::QueuedSync SimBackend::take_queued_sync(Operation& operation) noexcept {
  const auto found = std::find_if(queued_syncs_.begin(), queued_syncs_.end(),
                                  [&](const QueuedSync& sync) { return sync.operation == &operation; });
  if (found == queued_syncs_.end()) return {&operation, nullptr, 0};
  const QueuedSync taken = *found;
  queued_syncs_.erase(found);
  return taken;
}

void SimBackend::draw_for(FaultId id, Moment moment) noexcept {
  random_ = keys_.random_of(id, static_cast<uint32_t>(moment));
  faults_.begin(id);
}

void SimBackend::start(Operation& operation) noexcept {
  draw_for({operation.trace_id(), operation.slot}, Moment::start);
  const uint64_t latency_ns = random_.between(options_.latency_ns_min, options_.latency_ns_max);
  const uint64_t stall_ns = faults_.draw_stall_ns(target_of(operation));
  ++in_flight_count_;
  hash_.mix(1, static_cast<uint64_t>(operation.opcode()), latency_ns + stall_ns, operation.offset(), operation.size());
  if (stall_ns > 0) stall(stall_ns);
  add_pending(operation, std::max(clock_, stalled_until_) + Duration(latency_ns), Fate::normal, true);
  if (!operation.is_transfer() && !is_sync(operation)) return;
  OpenFile* const open_file = open_file_of(operation);
  if (open_file == nullptr) return;
  Pending& pending = pending_.back();
  pending.file = open_file->file.get();
  prefetch_for(operation);
  if (!is_sync(operation)) return;
  QueuedSync sync = take_queued_sync(operation);
  if (sync.file == nullptr) sync = begin_sync(operation, *pending.file);
  pending.covers = sync.covers;
}

// And the content for the one before: its page is there by now. If that one is gone, any other one's is no loss.
void SimBackend::prefetch_for(const Operation& operation) noexcept {
  const Pending& former = pending_[prefetched_slot_];
  const bool reads = former.file != nullptr && former.operation->reads_into_memory();
  if (reads) former.file->prefetch_content(former.operation->offset());
  prefetched_slot_ = operation.slot;
  pending_[operation.slot].file->prefetch_page(operation.offset());
}

// Nothing ends before the device goes on.
void SimBackend::stall(uint64_t stall_ns) noexcept {
  const Duration delay(stall_ns);
  stalled_until_ = std::max(clock_, stalled_until_) + delay;
  for (Pending& pending : pending_) pending.due += delay;
  find_next();
}

// Which of two writes to one place wins is up to the device: no program can want that. Those that wait for a place in
// the queue of the device count, too: the order there is ours, and no other device's.
void SimBackend::check_alone(Operation& operation) noexcept {
  const OpenFile* const open_file = open_file_of(operation);
  if (open_file == nullptr) return;
  const uint64_t end = operation.offset() + size_to_do(operation);
  const auto check = [&](Operation& other) {
    const uint64_t begin_other = other.offset();
    const uint64_t end_other = begin_other + size_to_do(other);
    if (operation.offset() >= end_other || begin_other >= end) return;
    std::string text;
    operation.explain(text);
    text += ", and ";
    other.explain(text);
    std::fprintf(stderr, "at the same time: %s\n", text.c_str());
    SPINDLE_ASSERT(false, "two writes to one place of a file are in flight");
  };
  for (const Pending& pending : pending_) {
    if (pending.file == open_file->file.get() && is_write(*pending.operation)) check(*pending.operation);
  }
  for (Operation* other = queued_.first(); other != nullptr; other = queued_.next(*other)) {
    if (!is_write(*other)) continue;
    const OpenFile* const other_file = open_file_of(*other);
    if (other_file != nullptr && other_file->file == open_file->file) check(*other);
  }
}

void SimBackend::add_pending(Operation& operation, Time due, Fate fate, bool is_in_flight) noexcept {
  const FaultId id{operation.trace_id(), operation.slot};
  operation.place = Operation::Place::in_flight;
  operation.slot = static_cast<uint32_t>(pending_.size());
  pending_.push_back({&operation, due, sequence_next_++, fate, is_in_flight, nullptr, 0, id});
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
  if (prefetched_slot_ >= pending_.size()) prefetched_slot_ = prefetched_slot_ == pending_.size() ? slot : 0;
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
  const int32_t result = result_of(pending);
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
    const QueuedSync sync = take_queued_sync(operation);
    if (sync.file != nullptr) sync.file->abandon_sync();
    hash_.mix(3);
    return add_pending(operation, clock_, Fate::cancelled, false);
  }
  SPINDLE_ASSERT(operation.place == Operation::Place::in_flight, "a cancel of an operation that is not submitted");
  draw_for(pending_[operation.slot].id, Moment::cancel);
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
    draw_for(pending.id, Moment::death);
    const uint64_t outcome = random_.below(3);
    hash_.mix(5, static_cast<uint64_t>(operation.opcode()), operation.offset(), outcome);
    const bool changes_disk = is_write(operation) || changes_disk_at_once(operation.opcode());
    if (!pending.is_in_flight) {
      // Cancelled before the device had it.
    } else if (pending.file != nullptr && is_sync(operation)) {
      finish_sync(pending, outcome == 1);
    } else if (outcome == 1 && changes_disk) {
      execute(operation);
    } else if (outcome == 2 && is_write(operation)) {
      write_some_sectors(operation);
    }
    note_abandoned(operation);
  }
  pending_.clear();
  prefetched_slot_ = 0;
  in_flight_count_ = 0;
  next_due_ = time_never;
  for (const QueuedSync& sync : queued_syncs_) sync.file->abandon_sync();
  queued_syncs_.clear();
  while (!queued_.empty()) {
    Operation& operation = queued_.pop_front();
    note_abandoned(operation);
  }
  for (OpenFile& open_file : open_files_) close_file(open_file);
}

int32_t SimBackend::result_of(const Pending& pending) noexcept {
  Operation& operation = *pending.operation;
  draw_for(pending.id, Moment::end);
  const bool is_pending_sync = is_sync(operation) && pending.file != nullptr;
  if (pending.fate != Fate::normal) {
    if (is_pending_sync) finish_sync(pending, false);
    const bool is_part = pending.fate == Fate::cancelled_in_part && operation.is_transfer();
    const uint64_t size = is_part ? part_of(size_to_do(operation)) : 0;
    return size == 0 ? -ECANCELED : transfer(operation, size);
  }
  if (operation.opcode() == Opcode::close) return close(operation);
  // EAGAIN of a lock is an answer.
  const bool can_fail = operation.opcode() != Opcode::lock;
  const std::optional<Fault> fault = can_fail ? faults_.draw(group_of(operation), target_of(operation)) : std::nullopt;
  if (!fault.has_value()) return is_pending_sync ? finish_sync(pending, true) : execute(operation);
  hash_.mix(10, static_cast<uint64_t>(*fault));
  if (is_pending_sync && *fault == Fault::failed_sync) return fail_sync(pending);
  if (is_pending_sync) finish_sync(pending, false);
  if (*fault == Fault::again) return -EAGAIN;
  if (*fault == Fault::interrupted) return -EINTR;
  if (*fault == Fault::cancelled) return -ECANCELED;
  return transfer_with(*fault, operation);
}

FaultGroup SimBackend::group_of(const Operation& operation) const noexcept {
  if (is_sync(operation)) return FaultGroup::sync;
  if (!operation.is_transfer()) return FaultGroup::other;
  if (operation.reads_into_memory()) return FaultGroup::read;
  return operation.is_durable() ? FaultGroup::durable_write : FaultGroup::write;
}

FaultTarget SimBackend::target_of(Operation& operation) noexcept {
  const OpenFile* const open_file = operation.descriptor() == nullptr ? nullptr : open_file_of(operation);
  if (open_file == nullptr) return {};
  const uint64_t size = operation.is_transfer() ? size_to_do(operation) : 0;
  return {open_file->file.get(), open_file->path, operation.offset(), size};
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
    case Opcode::sync_data: return -EBADF;  // of an open file, see finish_sync()
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

// A sync has ended: it covers what it was to, or nothing.
int32_t SimBackend::finish_sync(const Pending& pending, bool is_done) noexcept {
  SimFile& file = *pending.file;
  if (!is_done) {
    file.abandon_sync();
    return -ECANCELED;
  }
  file.end_sync(pending.covers);
  if (file.is_directory()) files_.sync_directory(file, pending.covers);
  return 0;
}

int32_t SimBackend::fail_sync(const Pending& pending) noexcept {
  pending.file->fail_sync(pending.covers, random_);
  return -EIO;
}

int32_t SimBackend::transfer(Operation& operation, uint64_t size_max) noexcept {
  OpenFile* open_file = open_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  if (open_file->file->is_directory()) return -EISDIR;
  if ((open_file->flags & O_DIRECT) != 0 && breaks_alignment(operation)) return -EINVAL;
  const uint64_t size = std::min(size_to_do(operation), size_max);
  if (operation.reads_into_memory()) return read(operation, *open_file->file, size);
  if ((open_file->flags & O_ACCMODE) == O_RDONLY) return -EBADF;
  return write(operation, *open_file, size);
}

int32_t SimBackend::read(Operation& operation, SimFile& file, uint64_t size_max) noexcept {
  const uint64_t file_size = file.size();
  const uint64_t left = operation.offset() < file_size ? file_size - operation.offset() : 0;
  const uint64_t size = std::min(size_max, left);
  faults_.note_read({&file, {}, operation.offset(), size});
  if (!file.is_readable(operation.offset(), size)) return -EIO;
  for_each_part(operation, size, [&](std::byte* memory, uint64_t part_size, uint64_t offset) {
    if constexpr (Ledger::enabled) Ledger::unpoison(memory, part_size);
    file.read(offset, {memory, part_size});
  });
  return static_cast<int32_t>(size);
}

int32_t SimBackend::write(Operation& operation, OpenFile& open_file, uint64_t size) noexcept {
  SimFile& file = *open_file.file;
  const uint64_t offset = operation.offset();
  const bool is_past = offset > options_.file_size_max || size > options_.file_size_max - offset;
  if (!file.is_device() && is_past) return -EFBIG;
  const uint64_t room = file.writable_size(offset, size);
  const uint64_t unit = (open_file.flags & O_DIRECT) != 0 ? options_.offset_alignment : 1;
  if (room < size) size = room / unit * unit;
  if (room == 0 && size_to_do(operation) > 0) return -ENOSPC;
  const uint64_t sequence = files_.take_sequence();
  for_each_part(operation, size, [&](std::byte* memory, uint64_t part_size, uint64_t part_offset) {
    file.write(part_offset, {memory, part_size}, sequence);
  });
  const FaultTarget target{&file, open_file.path, offset, size};
  faults_.note_written(target);
  const bool is_durable = operation.is_durable() || (open_file.flags & O_DSYNC) != 0;
  if (is_durable) file.make_durable(offset, size);
  return static_cast<int32_t>(size);
}

// In a dying host, and after an error: some sectors as they should be, the others as they were.
void SimBackend::write_some_sectors(Operation& operation) noexcept {
  OpenFile* open_file = writable_file_of(operation);
  if (open_file == nullptr) return;
  const uint32_t sector_size = options_.sector_size;
  const uint64_t sequence = files_.take_sequence();
  SimFile& file = *open_file->file;
  const uint64_t end = operation.offset() + size_to_do(operation);
  uint64_t sector = UINT64_MAX;
  bool is_there = false;
  for_each_part(operation, size_to_do(operation), [&](std::byte* memory, uint64_t part_size, uint64_t offset) {
    for (uint64_t done = 0; done < part_size;) {
      const uint64_t here = std::min<uint64_t>(sector_size - (offset + done) % sector_size, part_size - done);
      // A sector that lies in several parts of a vector is one all the same.
      const bool is_next = (offset + done) / sector_size != sector;
      sector = (offset + done) / sector_size;
      const uint64_t sector_end = std::min(end, (sector + 1) * sector_size);
      if (is_next) is_there = random_.chance(1, 2) && sector_end <= options_.file_size_max;
      const bool has_room = is_there && file.writable_size(offset + done, here) == here;
      if (has_room) {
        file.write(offset + done, {memory + done, here}, sequence);
        faults_.note_written({&file, open_file->path, offset + done, here});
      }
      done += here;
    }
  });
}

}  // namespace spindle
