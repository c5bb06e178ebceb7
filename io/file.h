// File: an open file or block device for direct I/O, as coroutines see it. The same code runs on the ring and in
// the simulated world.
//
//     File file = co_await ok(File::open("data.db", {.access = Access::read_write}));
//     co_await ok(file.write_all_at(0, block));           // block: memory from an AlignedBufferPool
//     co_await ok(file.sync());
//     const Result<void> closed = co_await file.close();  // or just drop it
//
// Reads and writes are leaves: they live in the awaiting frame and need no Task. Memory must stay as it is until
// the await returns (the ledger checks that in debug builds). Alignment, for direct I/O: memory to
// memory_alignment(), offset and size to offset_alignment(), else the error `misaligned`. Ragged edges are served by
// read_any_at() and write_any_at() of a file that was opened for that (OpenOptions::ragged).
//
// Dropping a File is always safe: what is in flight on it is cancelled, then the descriptor is closed, and the
// loop waits for that before it ends.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "io/backend.h"
#include "io/descriptor.h"
#include "io/file_status.h"
#include "io/operation.h"
#include "io/timed_transfer.h"
#include "runtime/task.h"

namespace spindle {

enum class Access : uint8_t { read_only, read_write };
enum class Direct : uint8_t {
  require,  ///< O_DIRECT, or the error `no_direct_io`
  prefer,   ///< O_DIRECT where the file system offers it: see File::is_direct()
  never,    ///< through the page cache; no alignment needed
};

struct OpenOptions {
  Access access = Access::read_only;
  Direct direct = Direct::require;
  bool create = false;     ///< make it if it does not exist
  bool exclusive = false;  ///< with create: fail (EEXIST) if it does exist
  bool truncate = false;   ///< empty it; with Access::read_write, else `invalid_argument`
  bool ragged = false;     ///< read_any_at() and write_any_at() take what is misaligned, too
  uint32_t mode = 0644;    ///< permissions of a file that is made
  DeviceQueue* queue = nullptr;  ///< of its device, borrowed until the file is closed; null: no limit, no classes
};
static_assert(std::is_trivially_destructible_v<OpenOptions>);

enum class LockMode : uint8_t { shared, exclusive };

struct LockOptions {
  /// How long to try again while somebody else has it; zero: one try.
  Duration wait_max = std::chrono::seconds(5);
};
static_assert(std::is_trivially_destructible_v<LockOptions>);

/// A read or write that may be short. Result<uint64_t>: bytes transferred; a read of 0 is the end of the file.
class [[nodiscard]] TransferOnce final : public LeafAwait<TransferOnce, Operation> {
 public:
  TransferOnce(Descriptor& file, Opcode opcode, void* memory, uint64_t size, uint64_t offset) noexcept
      : LeafAwait(*file.backend, opcode, &file) {
    set_transfer(memory, size, offset, Mode::once);
  }
  ~TransferOnce() { abandon_if_dying(); }
  bool begin(Loop&) noexcept { return begin_transfer(); }
  Result<uint64_t> take() const noexcept {
    if (failure() != nullptr) return Unexpected(*failure());
    return transferred();
  }
};

/// A read or write of everything asked for. Result<void>; Error::transferred tells how far a failed one came.
class [[nodiscard]] TransferExact final : public LeafAwait<TransferExact, Operation> {
 public:
  TransferExact(Descriptor& file, Opcode opcode, std::span<std::byte> memory, uint64_t offset,
                WriteOptions options) noexcept
      : LeafAwait(*file.backend, opcode, &file) {
    set_transfer(memory.data(), memory.size(), offset, Mode::exact);
    set_options(options);
  }
  TransferExact(Descriptor& file, Opcode opcode, std::span<iovec> vector, uint64_t offset,
                WriteOptions options) noexcept
      : LeafAwait(*file.backend, opcode, &file) {
    set_vector(vector, offset, Mode::exact);
    set_options(options);
  }
  ~TransferExact() { abandon_if_dying(); }
  bool begin(Loop&) noexcept { return begin_transfer(); }
  Result<void> take() const noexcept {
    if (failure() != nullptr) return Unexpected(*failure());
    return {};
  }
};

/// Sync, allocate, truncate, punch hole, lock, nop, stat, close: Result<void>.
class [[nodiscard]] PlainOperation final : public LeafAwait<PlainOperation, Operation> {
 public:
  PlainOperation(Backend& backend, Opcode opcode, Descriptor* file) noexcept : LeafAwait(backend, opcode, file) {}
  PlainOperation(Descriptor& file, Opcode opcode, uint64_t offset, uint64_t size) noexcept
      : LeafAwait(*file.backend, opcode, &file) {
    offset_ = offset;
    size_ = size;
  }
  PlainOperation(Descriptor& file, Opcode opcode, int32_t flags) noexcept : LeafAwait(*file.backend, opcode, &file) {
    open_flags_ = flags;
  }
  PlainOperation(Descriptor& file, struct statx& status) noexcept : LeafAwait(*file.backend, Opcode::stat, &file) {
    status_ = &status;
  }
  ~PlainOperation() { abandon_if_dying(); }
  bool begin(Loop&) noexcept { return begin_other(); }
  Result<void> take() const noexcept {
    if (failure() != nullptr) return Unexpected(*failure());
    return {};
  }
};

class File {
 public:
  /// Opens `path`. Errors: the errno of open(2) or statx(2); `no_direct_io` under Direct::require, which then leaves
  /// a file that was there as it is, and none that was not. With `exclusive` no error leaves a file. Suspends.
  static Task<Result<File>> open(std::string path, OpenOptions options);

  File(File&& other) noexcept = default;
  File& operator=(File&& other) noexcept;
  /// Hands an open descriptor to the loop, which cancels what is in flight, and closes it.
  ~File();

  bool is_open() const noexcept { return descriptor_ != nullptr && descriptor_->fd >= 0; }
  bool is_direct() const noexcept { return record().is_direct; }
  uint32_t memory_alignment() const noexcept { return record().memory_alignment; }
  /// Of offset and size of writes; enough for reads, too.
  uint32_t offset_alignment() const noexcept { return record().offset_alignment; }
  /// Of offset and size of reads: finer than offset_alignment() where the file system says so (Linux 6.14).
  uint32_t read_offset_alignment() const noexcept { return record().offset_alignment_of_reads(); }
  /// Bytes when it was opened; for a block device, its capacity.
  uint64_t size_at_open() const noexcept { return record().size_at_open; }
  const std::string& path() const noexcept { return record().path; }
  /// A sync or durable write failed: changes are refused from then on with `poisoned`.
  bool is_poisoned() const noexcept { return record().is_poisoned; }

  /// Result<uint64_t>: may be short; 0 at the end of the file.
  TransferOnce read_at(uint64_t offset, std::span<std::byte> memory) noexcept {
    return TransferOnce(record(), Opcode::read, memory.data(), memory.size(), offset);
  }
  /// Result<uint64_t>: may be short.
  TransferOnce write_at(uint64_t offset, std::span<const std::byte> memory) noexcept {
    return TransferOnce(record(), Opcode::write, const_cast<std::byte*>(memory.data()), memory.size(), offset);
  }
  /// Result<void>: all of `memory`, or an error; `end_of_file` when the file is too short.
  TransferExact read_exact_at(uint64_t offset, std::span<std::byte> memory, ReadOptions options = {}) noexcept {
    return TransferExact(record(), Opcode::read, memory, offset, as_write(options));
  }
  /// Result<void>: all of `memory`, or an error; what is short is continued.
  TransferExact write_all_at(uint64_t offset, std::span<const std::byte> memory, WriteOptions options = {}) noexcept {
    return TransferExact(record(), Opcode::write, as_mutable(memory), offset, options);
  }
  /// The same with a deadline: `timed_out` when it passes first. What it had moved by then is in Error::transferred.
  TimedTransfer read_exact_before(Time deadline, uint64_t offset, std::span<std::byte> memory,
                                  ReadOptions options = {}) noexcept {
    return TimedTransfer(deadline, record(), Opcode::read, memory, offset, as_write(options));
  }
  TimedTransfer write_all_before(Time deadline, uint64_t offset, std::span<const std::byte> memory,
                                 WriteOptions options = {}) noexcept {
    return TimedTransfer(deadline, record(), Opcode::write, as_mutable(memory), offset, options);
  }
  /// Vectored forms. The array is borrowed until the await returns, and used up (short counts move its entries).
  TransferExact read_exact_at(uint64_t offset, std::span<iovec> vector, ReadOptions options = {}) noexcept {
    return TransferExact(record(), Opcode::readv, vector, offset, as_write(options));
  }
  TransferExact write_all_at(uint64_t offset, std::span<iovec> vector, WriteOptions options = {}) noexcept {
    return TransferExact(record(), Opcode::writev, vector, offset, options);
  }
  /// Result<void>: fsync(2). Covers what was acknowledged before it began. A failure is final for this file.
  PlainOperation sync() noexcept { return PlainOperation(record(), Opcode::sync, 0, 0); }
  /// Result<void>: fdatasync(2).
  PlainOperation sync_data() noexcept { return PlainOperation(record(), Opcode::sync_data, 0, 0); }
  /// Result<void>: disk space for [offset, offset + size), fallocate(2); the file grows if need be.
  PlainOperation allocate(uint64_t offset, uint64_t size) noexcept {
    return PlainOperation(record(), Opcode::allocate, offset, size);
  }
  /// Result<void>: the size becomes `size`, ftruncate(2): cut off, or grown by a hole. Not durable before a sync.
  PlainOperation truncate(uint64_t size) noexcept { return PlainOperation(record(), Opcode::truncate, 0, size); }
  /// Result<void>: [offset, offset + size) reads as zeroes and gives its disk space back where whole blocks lie in it;
  /// the size stays (fallocate(2), FALLOC_FL_PUNCH_HOLE). EOPNOTSUPP where the file system can't.
  PlainOperation punch_hole(uint64_t offset, uint64_t size) noexcept {
    return PlainOperation(record(), Opcode::punch_hole, offset, size);
  }
  /// Result<FileStatus>: statx(2) of what is open, whatever its name is now.
  StatOperation stat() noexcept { return StatOperation(record()); }

  /// Ragged transfers: Result<void>, everything of `memory` or an error, at any alignment. What is aligned goes
  /// straight; the rest goes through an aligned buffer, chunk by chunk (io/ragged.cpp), if the file was opened with
  /// OpenOptions::ragged, else it is `misaligned`.
  ///
  /// A write reads the blocks at its edges and writes them whole. Ragged writes of one File exclude one another; that
  /// nothing else changes those blocks meanwhile, an aligned write or another File, is up to the caller. A write
  /// past the end lets the file grow to a whole block for a moment, and is cut back to where it ended; a crash in
  /// between leaves zeroes behind the end. It is not cut back when it is longer than that by then, since somebody else
  /// has written there; but nobody should while the cut is under way: the kernel has no way to cut only if the size is
  /// still the same. `memory` is borrowed until the await returns.
  Task<Result<void>> read_any_at(uint64_t offset, std::span<std::byte> memory, ReadOptions options = {});
  Task<Result<void>> write_any_at(uint64_t offset, std::span<const std::byte> memory, WriteOptions options = {});

  /// Advisory lock of the whole file, flock(2): Result<void>. It belongs to the open file description, so it falls when
  /// this File is closed, and not before. (A POSIX lock belongs to the process: it falls when *any* descriptor of the
  /// file is closed, as by a library that only looks.) Asking again changes the mode, which may let another in first.
  ///
  /// The lock of a process that was killed holds on until the operations of its ring have ended: so it is tried again,
  /// at growing intervals of at most 50 ms, for options.wait_max. Errors: `system` with EWOULDBLOCK while somebody
  /// else has it; those of flock(2). Cancellable. Suspends.
  Task<Result<void>> lock(LockMode mode, LockOptions options = {});
  /// One try: Result<void>.
  PlainOperation try_lock(LockMode mode) noexcept;
  /// Result<void>.
  PlainOperation unlock() noexcept;

  /// Cancels what is in flight on the file, waits for its end, and closes it. Not cancellable. The file counts as
  /// closed whatever the result says (close(2)).
  Task<Result<void>> close();

 private:
  friend class FileOpening;
  explicit File(std::unique_ptr<Descriptor> descriptor) noexcept : descriptor_(std::move(descriptor)) {}
  Descriptor& record() const noexcept {
    SPINDLE_ASSERT(descriptor_ != nullptr, "a File that was moved away");
    return *descriptor_;
  }
  static WriteOptions as_write(ReadOptions options) noexcept { return {false, options.io_class}; }
  /// A write's memory is not written to; the operation's struct serves both ways.
  static std::span<std::byte> as_mutable(std::span<const std::byte> memory) noexcept {
    return {const_cast<std::byte*>(memory.data()), memory.size()};
  }

  std::unique_ptr<Descriptor> descriptor_;
};

/// A request that does nothing but go through the backend: Result<void>. For measuring the runtime.
inline PlainOperation nop(Backend& backend) noexcept { return PlainOperation(backend, Opcode::nop, nullptr); }

}  // namespace spindle
