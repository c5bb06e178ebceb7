#include "io/uring/uring_backend.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "io/uring/probe.h"
#include "runtime/loop.h"

namespace spindle {

namespace {

constexpr uint32_t slot_none = UINT32_MAX;
constexpr size_t vector_parts_max = 1024;                 // UIO_MAXIOV

// User data. An operation's is its slot's tag: 32 bits of generation above 32 bits of index. The others have an index
// that no slot has.
constexpr uint64_t data_cancel = UINT32_MAX;
constexpr uint64_t data_wake = UINT32_MAX - 1;
constexpr uint64_t generation_step = uint64_t{1} << 32;

/// Tells the core that this is a loop that looks: its sibling may have it meanwhile.
inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Result<std::unique_ptr<UringBackend>> UringBackend::create(UringOptions options) {
  std::unique_ptr<UringBackend> backend(new UringBackend(options));
  const Result<void> opened = backend->open();
  if (!opened.has_value()) return Unexpected(opened.error());
  return backend;
}

UringBackend::UringBackend(const UringOptions& options)
    : options_(options),
      spin_(options.spin),
      calls_(options.blocking == nullptr ? system_calls() : *options.blocking),
      blocking_pool_(*this, calls_, options.blocking_threads_max) {}

Result<void> UringBackend::open() {
  options_.ring.taskrun_flag = spin_.is_enabled();
  const Result<void> opened = ring_.open(options_.ring);
  if (!opened.has_value()) return opened;
  slots_.resize(ring_.entries());  // a power of two
  slot_mask_ = ring_.entries() - 1;
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    slots_[index].tag = index;
    slots_[index].next_free = index + 1;
  }
  slots_.back().next_free = slot_none;
  wake_descriptor_ = ::eventfd(0, EFD_CLOEXEC);
  if (wake_descriptor_ < 0) return fail_errno(errno, "eventfd");
  const Result<void> tried = try_ring(ring_);
  if (!tried.has_value()) return tried;
  try_registrations();
  describe_ring(ring_, options_.ring, capabilities_);
  ring_operations_.probe(ring_.raw(), options_.rare_ring_operations);
  describe_operations(ring_operations_, options_.rare_ring_operations, capabilities_);
  const bool tells_alignment = describe_alignment(options_.statx_alignment, capabilities_);
  if (!tells_alignment) {
    alignment_source_ = options_.statx_alignment ? AlignmentSource::status_or_reads : AlignmentSource::reads;
  }
  return {};
}

UringBackend::~UringBackend() {
  blocking_pool_.join();
  if (!ring_.is_open()) return;
  forget_dropped();
  SPINDLE_ASSERT(in_flight_count_ == 0 && waiting_.empty(), "a ring was destroyed with operations in flight");
  // The armed wake read points into this object: it must end before the memory does.
  if (wake_is_armed_) {
    const uint64_t one = 1;
    const ssize_t written = ::write(wake_descriptor_, &one, sizeof(one));
    SPINDLE_ASSERT(written == sizeof(one), "an eventfd refused a write");
    while (wake_is_armed_) enter_untimed(1);
  }
  ::close(wake_descriptor_);
}

Time UringBackend::now() noexcept {
  timespec read{};
  ::clock_gettime(CLOCK_MONOTONIC, &read);
  return Time(std::chrono::seconds(read.tv_sec) + std::chrono::nanoseconds(read.tv_nsec));
}

// Submitting.

inline int32_t UringBackend::arena_index(const Operation& operation) const noexcept {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(operation.memory());
  const uintptr_t end = begin + operation.chunk_size();
  for (uint32_t index = 0; index < arenas_end_; ++index) {
    if (begin >= arenas_[index].begin && end <= arenas_[index].end) return static_cast<int32_t>(index);
  }
  return -1;
}

inline void UringBackend::fill_transfer(io_uring_sqe& entry, Operation& operation) noexcept {
  const Descriptor& file = *operation.descriptor();
  const bool is_read = operation.reads_into_memory();
  if (operation.is_vectored()) {
    const size_t parts = operation.vector().size() < vector_parts_max ? operation.vector().size() : vector_parts_max;
    entry.opcode = is_read ? IORING_OP_READV : IORING_OP_WRITEV;
    entry.addr = reinterpret_cast<uint64_t>(operation.vector().data());
    entry.len = static_cast<uint32_t>(parts);
  } else {
    const int32_t arena = arena_index(operation);
    entry.opcode = is_read ? IORING_OP_READ : IORING_OP_WRITE;
    if (arena >= 0) {
      entry.opcode = is_read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
      entry.buf_index = static_cast<uint16_t>(arena);
    }
    entry.addr = reinterpret_cast<uint64_t>(operation.memory());
    entry.len = operation.chunk_size();
  }
  entry.off = operation.offset();
  if (operation.is_durable()) entry.rw_flags = RWF_DSYNC;
  if (file.fixed_index >= 0) {
    entry.fd = file.fixed_index;
    entry.flags = IOSQE_FIXED_FILE;
  } else {
    entry.fd = file.fd;
  }
}

static_assert(IORING_OP_NOP == 0);

[[gnu::always_inline]] inline void UringBackend::start(Operation& operation, io_uring_sqe& entry) noexcept {
  const uint32_t index = free_slot_;
  Slot& slot = slots_[index];
  free_slot_ = slot.next_free;
  slot.operation = &operation;
  operation.slot = index;
  operation.place = Operation::Place::in_flight;
  ++in_flight_count_;
  const Descriptor* file = operation.descriptor();
  slot.is_disk = file != nullptr && file->is_disk;
  disk_operations_count_ += slot.is_disk;
  entry.user_data = slot.tag;
  if (operation.is_transfer()) [[likely]] {
    fill_transfer(entry, operation);
  } else if (operation.opcode() != Opcode::nop) {  // whose entry is all zeroes
    fill_entry(entry, operation);
    entry.user_data = slot.tag;
  }
}

void UringBackend::submit_to_backend(Operation& operation) noexcept {
  if (waiting_.empty() && free_slot_ != slot_none) [[likely]] {
    if (io_uring_sqe* entry = ring_.stage()) [[likely]]
      return start(operation, *entry);
  }
  ++counters_.queued;
  operation.place = Operation::Place::queued;
  waiting_.push_back(operation);
}

void UringBackend::admit() noexcept {
  while (!waiting_.empty() && free_slot_ != slot_none) {
    io_uring_sqe* entry = ring_.stage();
    if (entry == nullptr) break;
    start(waiting_.pop_front(), *entry);
  }
}

void UringBackend::submit_rare_to_backend(Operation& operation) noexcept {
  if (ring_operations_.has(operation.opcode())) return submit_to_backend(operation);
  if (is_quick_call(operation.opcode())) {
    operation.place = Operation::Place::outside;
    operation.deliver(calls_.call(operation));
  } else {
    blocking_pool_.submit(operation, *loop());
  }
}

void UringBackend::attach(Loop* loop) noexcept {
  Backend::attach(loop);
  if (loop == nullptr) blocking_pool_.detach();
}

// Cancelling.

void UringBackend::cancel(Operation& operation) noexcept {
  if (operation.place == Operation::Place::queued) {
    operation.unlink();
    operation.deliver(-ECANCELED);
  } else if (operation.place == Operation::Place::in_flight) {
    operation.place = Operation::Place::in_flight_cancelling;
    cancels_.push_back(operation);
  } else if (operation.place == Operation::Place::pooled) {
    blocking_pool_.cancel(operation);
  }
}

void UringBackend::cancel_all(Descriptor& descriptor) noexcept {
  blocking_pool_.cancel_all(descriptor);
  for (Operation* operation = waiting_.first(); operation != nullptr;) {
    Operation* const next = waiting_.next(*operation);
    if (operation->descriptor() == &descriptor) operation->request_cancel_from_backend();
    operation = next;
  }
  for (Slot& slot : slots_) {
    if (slot.operation != nullptr && slot.operation->descriptor() == &descriptor) {
      slot.operation->request_cancel_from_backend();
    }
  }
}

void UringBackend::abandon(Operation&) noexcept {
  SPINDLE_ASSERT(false, "a loop on the kernel's ring was killed with operations in flight");
}

// A cancel needs staging room and a place in the completion queue of its own; until then it waits in the list.
void UringBackend::stage_cancels() noexcept {
  while (!cancels_.empty() && cancels_in_flight_ + 1 < slots_.size()) {
    io_uring_sqe* entry = ring_.stage();
    if (entry == nullptr) break;
    Operation& operation = cancels_.pop_front();
    operation.place = Operation::Place::in_flight;
    io_uring_prep_cancel64(entry, slots_[operation.slot].tag, 0);
    entry->user_data = data_cancel;
    ++cancels_in_flight_;
    ++counters_.cancels;
  }
}

// Entering and reaping.

uint32_t UringBackend::wait_count() const noexcept {
  if (disk_operations_count_ < options_.batch_depth_min || batch_was_vain_) return 1;
  const uint32_t quarter = disk_operations_count_ / 4;
  const uint32_t count = quarter < options_.batch_count_max ? quarter : options_.batch_count_max;
  return count < 1 ? 1 : count;
}

// What was staged and not taken stays staged and goes with the next enter.
void UringBackend::note_refused(int number) noexcept {
  if (number == EAGAIN || number == EBUSY) ++counters_.refused_enters;
  SPINDLE_ASSERT(number == EAGAIN || number == EBUSY || number == EINTR || number == ETIME,
                 "io_uring_enter refused a call that it must take");
}

inline void UringBackend::after_enter(int number) noexcept {
  ++counters_.enters;
  if (number != 0) [[unlikely]]
    note_refused(number);
  reap();
}

inline void UringBackend::enter_untimed(uint32_t count) noexcept {
  batch_was_vain_ = false;
  after_enter(ring_.enter_untimed(count, count > 0 && disk_operations_count_ == 0));
}

inline void UringBackend::handle(const io_uring_cqe& completion) noexcept {
  const uint64_t tag = completion.user_data;
  const uint32_t index = static_cast<uint32_t>(tag);
  Slot& slot = slots_[index & slot_mask_];
  if (slot.tag != tag) [[unlikely]]
    return handle_special(tag);
  Operation& operation = *slot.operation;
  slot.operation = nullptr;
  slot.tag = tag + generation_step;
  slot.next_free = free_slot_;
  free_slot_ = index;
  --in_flight_count_;
  disk_operations_count_ -= slot.is_disk;
  if (operation.place == Operation::Place::in_flight_cancelling) [[unlikely]]
    operation.unlink();
  operation.deliver_from(*this, completion.res);
}

void UringBackend::handle_special(uint64_t tag) noexcept {
  if (tag == data_cancel) {
    --cancels_in_flight_;  // the target's own completion decides
  } else {
    SPINDLE_ASSERT(tag == data_wake, "a completion for an operation that is not in flight");
    wake_is_armed_ = false;
    is_woken_.exchange(false, std::memory_order_acq_rel);
  }
}

void UringBackend::reap() noexcept {
  counters_.completions += ring_.drain([this](const io_uring_cqe& completion) { handle(completion); });
  if (!waiting_.empty()) admit();
}

void UringBackend::poll() noexcept {
  stage_cancels();
  if (ring_.staged_count() == 0 && in_flight_count_ == 0 && cancels_in_flight_ == 0) return;
  enter_untimed(0);
}

inline bool UringBackend::arm_wake() noexcept {
  if (wake_is_armed_) [[likely]]
    return true;
  io_uring_sqe* entry = ring_.stage();
  if (entry == nullptr) return false;
  io_uring_prep_read(entry, wake_descriptor_, &wake_value_, sizeof(wake_value_), 0);
  entry->user_data = data_wake;
  wake_is_armed_ = true;
  return true;
}

void UringBackend::wait(Time until) noexcept {
  if (!cancels_.empty()) [[unlikely]]
    stage_cancels();
  // What found no staging room goes after what this enter takes: it must not wait for a completion first.
  const bool has_more = !cancels_.empty() || (!waiting_.empty() && free_slot_ != slot_none);
  if (!arm_wake() || has_more || ring_.has_completions()) [[unlikely]]
    return enter_untimed(0);
  const uint32_t count = wait_count();
  if (count == 1 && in_flight_count_ > 0) {
    const IdleSpin::Way way = spin_.next();
    if (way != IdleSpin::Way::sleep) [[unlikely]]
      return wait_watching(until, way);
  }
  if (count == 1 && until == time_never) return enter_untimed(1);
  wait_timed(until, count);
}

void UringBackend::wait_watching(Time until, IdleSpin::Way way) noexcept {
  const Time begin = now();
  if (way == IdleSpin::Way::look && look(begin, until)) return;
  const uint64_t completions_before = counters_.completions;
  if (until == time_never) {
    enter_untimed(1);
  } else {
    wait_timed(until, 1);
  }
  if (way == IdleSpin::Way::sleep_timed && counters_.completions != completions_before) spin_.slept(now() - begin);
}

// True when completions came, and were reaped.
bool UringBackend::look(Time begin, Time until) noexcept {
  const Duration limit = spin_.limit(begin);
  if (limit == Duration::zero()) return false;
  const bool is_cut = until - begin < limit;
  const uint64_t completions_before = counters_.completions;
  enter_untimed(0);  // hands over what is staged
  bool found = counters_.completions != completions_before;
  if (!found && look_until(is_cut ? until : begin + limit)) {
    enter_untimed(0);
    found = counters_.completions != completions_before;
  }
  if (found || !is_cut) spin_.looked(now() - begin, found);
  return found;
}

bool UringBackend::look_until(Time end) noexcept {
  constexpr uint32_t looks_per_clock = 16;
  do {
    for (uint32_t count = 0; count < looks_per_clock; ++count) {
      if (ring_.has_completions() || ring_.has_task_work()) return true;
      relax();
    }
  } while (now() < end);
  return false;
}

void UringBackend::wait_timed(Time until, uint32_t count) noexcept {
  Ring::Wait how;
  how.count = count;
  how.batch_timeout = options_.batch_timeout;
  how.is_idle = disk_operations_count_ == 0;
  if (until != time_never) {
    const Time at = now();
    if (until <= at) return enter_untimed(0);
    how.timeout = until - at;
  }
  if (count > 1) ++counters_.batched_waits;
  const uint64_t completions_before = counters_.completions;
  after_enter(ring_.enter(how));
  batch_was_vain_ = count > 1 && counters_.completions == completions_before;
}

void UringBackend::wake() noexcept {
  // Whoever finds the flag set is covered by the write that is on its way: the loop clears the flag before it looks at
  // what was posted.
  if (is_woken_.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t one = 1;
  const ssize_t written = ::write(wake_descriptor_, &one, sizeof(one));
  SPINDLE_ASSERT(written == sizeof(one), "an eventfd refused a write");
}

}  // namespace spindle
