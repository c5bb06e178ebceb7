// An operation: one request to a backend, as plain data, and the leaf that a task awaits. It lives in the awaiting
// frame. The same struct goes to the kernel's ring and to the simulated world.
//
// Life: idle → (begin: checks) → submitted to the backend: queued there, or in flight → deliver(result) → maybe
// again (short count, EAGAIN, EINTR) → complete: the awaiting task is ready.
//
// Invariants
// 1. From submit to deliver the backend owns the operation and what it points to; nobody else touches either.
// 2. The operation's own completion decides its outcome. A cancel is a request: what was transferred before it took
//    effect is reported.
// 3. A detached operation (the closing of a dropped file) has no task; its `detached` function ends it.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "runtime/leaf.h"

struct statx;

namespace spindle {

class Backend;
struct Descriptor;
struct DirectoryEntry;

enum class Opcode : uint8_t {
  nop,
  read,
  write,
  readv,
  writev,
  sync,
  sync_data,
  allocate,
  open,
  stat,
  close,
  // Rare, from here on: what a kernel may have no ring operation for.
  truncate,
  punch_hole,
  stat_path,
  rename,
  unlink,
  remove_directory,
  make_directory,
  list_directory,
  lock,
  set_direct,
  device_size,
};
inline constexpr Opcode opcode_rare_first = Opcode::truncate;
inline constexpr uint32_t opcode_count = 22;
const char* name_of(Opcode opcode) noexcept;

/// How often an operation is tried again after EAGAIN, EINTR or an ECANCELED that nobody asked for, before the
/// errno is the answer.
inline constexpr uint8_t operation_retries_max = 64;
/// Most bytes that are asked of a backend at once; longer transfers are split. Below Linux's own limit
/// (MAX_RW_COUNT, 2 GiB minus a page) and a multiple of every block size.
inline constexpr uint64_t transfer_size_max = uint64_t{1} << 30;

/// Who may make whom wait on a device: see DeviceQueue.
enum class IoClass : uint8_t { foreground, background };
inline constexpr size_t io_class_count = 2;

/// How a transfer is to be done. (Aggregates without a destructor: safe to be made in an awaiting expression.)
struct ReadOptions {
  IoClass io_class = IoClass::foreground;  ///< of no effect without a DeviceQueue
};
struct WriteOptions {
  bool durable = false;  ///< RWF_DSYNC: data, and the metadata needed to read it, are on the device when it completes
  IoClass io_class = IoClass::foreground;
};
static_assert(std::is_trivially_destructible_v<ReadOptions> && std::is_trivially_destructible_v<WriteOptions>);

class Operation : public Leaf, public UncheckedListHook<Operation> {
 public:
  /// once: a short count is a result. exact: go on until everything is transferred.
  enum class Mode : uint8_t { once, exact };
  /// Where the backend has it; of no meaning before it is submitted. Linked into a list of the device queue's while it
  /// is held there, of the backend's while it is queued, or in flight with a cancel that was not handed over yet.
  /// pooled: with the threads of a BlockingPool.
  enum class Place : uint8_t { outside, held, queued, in_flight, in_flight_cancelling, pooled };

  Operation(Backend& backend, Opcode opcode, Descriptor* descriptor) noexcept
      : opcode_(opcode), backend_(&backend), descriptor_(descriptor) {}
  // No destructor of its own: every final class calls abandon_if_dying().

  // What the backend reads.
  Opcode opcode() const noexcept { return opcode_; }
  Descriptor* descriptor() const noexcept { return descriptor_; }
  bool is_transfer() const noexcept { return opcode_ >= Opcode::read && opcode_ <= Opcode::writev; }
  bool reads_into_memory() const noexcept { return opcode_ == Opcode::read || opcode_ == Opcode::readv; }
  bool is_vectored() const noexcept { return opcode_ == Opcode::readv || opcode_ == Opcode::writev; }
  /// The part of the transfer that is to be done next.
  void* memory() const noexcept { return memory_; }
  uint32_t chunk_size() const noexcept {
    return static_cast<uint32_t>(left_ < transfer_size_max ? left_ : transfer_size_max);
  }
  uint64_t offset() const noexcept { return offset_; }
  std::span<iovec> vector() const noexcept { return {parts_, parts_count_}; }
  IoClass io_class() const noexcept { return io_class_; }
  bool is_durable() const noexcept { return is_durable_; }  ///< write with RWF_DSYNC
  const char* path() const noexcept { return path_; }  ///< see has_path()
  /// open, stat_path, rename, unlink, remove_directory, make_directory, list_directory.
  bool has_path() const noexcept {
    return opcode_ == Opcode::open || (opcode_ >= Opcode::stat_path && opcode_ <= Opcode::list_directory);
  }
  const char* target_path() const noexcept { return target_path_; }  ///< rename: the new name
  int32_t open_flags() const noexcept { return open_flags_; }  ///< open; lock: LOCK_…; set_direct: 0 or 1
  uint32_t open_mode() const noexcept { return open_mode_; }  ///< open, make_directory
  struct statx* status() const noexcept { return status_; }  ///< stat, stat_path: written by the backend
  std::vector<DirectoryEntry>* entries() const noexcept { return entries_; }  ///< list_directory: filled
  uint64_t* number() const noexcept { return number_; }  ///< device_size: written
  /// transfer, allocate, punch_hole: bytes in all; truncate: the new size
  uint64_t size() const noexcept { return size_; }
  uint64_t transferred() const noexcept { return is_transfer() ? size_ - left_ : 0; }
  bool is_cancel_requested() const noexcept { return is_cancel_requested_; }
  /// For backends that cancel all operations of a descriptor: the outcome of each is its own completion's.
  void request_cancel_from_backend() noexcept { on_cancel(); }
  bool is_detached() const noexcept { return is_detached_; }
  /// Of the awaiting task, see runtime/trace.h; 0 of a detached operation.
  uint32_t trace_id() const noexcept { return is_detached_ ? 0 : awaiting()->context->trace_id(); }

  // What the backend keeps here.
  Place place;
  uint32_t slot;  ///< while queued or in flight

  /// The backend's answer: a count or descriptor ≥ 0, or a negative errno.
  void deliver(int32_t result) noexcept { deliver_from(*backend_, result); }
  /// The same; `backend` is its own.
  void deliver_from(Backend& backend, int32_t result) noexcept;

  // For awaiting.
  bool begin(Loop&) noexcept { return is_transfer() ? begin_transfer() : begin_other(); }
  bool is_cancellable() const noexcept { return opcode_ != Opcode::close; }
  void refuse(Error error) noexcept { fail_with(error); }
  const Error* failure() const noexcept { return failed_ ? &error_ : nullptr; }
  const char* describe() const noexcept override { return name_of(opcode_); }
  void explain(std::string& text) const override;

 protected:
  using Detached = void (*)(Operation& operation, int32_t result) noexcept;

  ~Operation() = default;
  void on_cancel() noexcept override;
  void on_abandon() noexcept override;
  void set_transfer(void* memory, uint64_t size, uint64_t offset, Mode mode) noexcept {
    memory_ = memory;
    size_ = left_ = size;
    offset_ = offset;
    mode_ = mode;
  }
  void set_vector(std::span<iovec> vector, uint64_t offset, Mode mode) noexcept;
  void set_options(WriteOptions options) noexcept {
    is_durable_ = options.durable;
    io_class_ = options.io_class;
  }
  void fail_with(Error error) noexcept {
    failed_ = true;
    error_ = error;
    error_.transferred = transferred();
  }
  /// True when there is nothing to wait for: refused, or empty.
  bool begin_transfer() noexcept;
  bool begin_plain() noexcept;
  bool begin_rare() noexcept;
  bool begin_other() noexcept { return opcode_ >= opcode_rare_first ? begin_rare() : begin_plain(); }
  /// Submits without a task; `detached` gets the result.
  void submit_detached(Detached detached) noexcept;

  Opcode opcode_;
  Mode mode_ = Mode::once;
  bool is_durable_ = false;
  bool is_cancel_requested_ = false;
  bool failed_ = false;
  bool is_detached_ = false;
  uint8_t retry_count_ = 0;
  IoClass io_class_ = IoClass::foreground;
  int32_t result_ = 0;  ///< open: the descriptor
  Backend* backend_;
  Descriptor* descriptor_;
  uint64_t size_ = 0;
  uint64_t left_ = 0;  ///< transfers: of size_, what is still to be done
  uint64_t offset_ = 0;
  // What only some opcodes have stays as it is for the others: this object is made for every read of a block.
  union {
    void* memory_;  ///< read, write: what is left of it
    const char* target_path_;  ///< rename
    struct statx* status_;  ///< stat, stat_path
    std::vector<DirectoryEntry>* entries_;  ///< list_directory
    uint64_t* number_;  ///< device_size
  };
  uint32_t parts_count_;  ///< readv, writev
  uint32_t open_mode_;  ///< open, make_directory
  int32_t open_flags_;  ///< open, lock, set_direct
  union {
    iovec* parts_;  ///< readv, writev: what is left of it
    const char* path_;  ///< see has_path()
    Detached detached_done_;  ///< detached operations have no such argument
  };
  union {
    Error error_;  ///< with failed_
  };

 private:
  uint32_t offset_alignment() const noexcept;
  bool is_aligned() const noexcept;
  bool check_transfer() noexcept;
  bool check_descriptor() noexcept;
  void deliver_other(int32_t result) noexcept;
  bool retry_after(int32_t result) noexcept;
  void fail_from(int32_t number) noexcept;
  void fail_short() noexcept;
  bool advance(uint32_t count) noexcept;
  void finish(Backend& backend) noexcept;
  void resubmit() noexcept;
};

using OperationList = IntrusiveList<Operation, UncheckedListHook<Operation>>;

}  // namespace spindle
