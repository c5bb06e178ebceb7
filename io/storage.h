// Storage: named zones over one file or block device, opened for direct I/O and locked. What a storage engine stands
// on; it knows sectors, and nothing of what they hold.
//
//     const ZoneOptions zones[] = {{.name = "superblock", .size = 64 << 10},
//                                  {.name = "grid", .size = grid_size, .alignment = block_size}};
//     Storage storage = co_await ok(Storage::create("data.db", zones));   // later: Storage::open
//     co_await ok(storage.write_through(superblock));    // once, at format time
//     co_await ok(storage.allocate(grid, 0, 64 << 20));  // ENOSPC here is a warning, and harms nothing
//     co_await ok(storage.write(grid, 0, block));        // durable when it returns
//     co_await ok(storage.read(grid, 0, block, {.lost = lost}));
//
// Invariants
// 1. The file is locked (flock(2); exclusive, unless it is only read) before anything is changed, and until it is
//    closed.
// 2. Every access is to whole sectors within one zone, from memory that is aligned to sectors: anything else is a
//    caught bug. Concurrent writes to one sector are another (checked in builds with the ledger).
// 3. The first write or sync that fails, with whatever errno, stops the storage: nothing is known then about what the
//    device had cached. No change succeeds after that, those under way included, and none goes to the backend: they
//    end with `poisoned`. Reads go on. stop_reason() says what happened; wait_until_stopped() ends.
// 4. What can't be read is reported, sector by sector, and its memory filled with lost_sector_fill: it can't be taken
//    for zeroes that are data.
//
// Space: allocate() awaits real disk space and makes it durable, before anything is promised. That promise is void on
// a file system that writes elsewhere than where the data are: Btrfs, for files without NOCOW (chattr +C on the empty
// file), needs space for every write. Nothing is done about that here.
//
// Cancellation: every await here can be cancelled, and no write is shielded. One that is cancelled leaves each of its
// sectors old, new or torn; that is no failure and does not stop the storage. Whoever must know shields (grid,
// journal). EINTR, EAGAIN and an ECANCELED that nobody asked for are tried again by the operation itself, at most
// operation_retries_max times without progress; then they are an errno like any other: a read returns it, a write
// stops the storage.
//
// Dropping a Storage is always safe: what is in flight is cancelled, the file closed, and the lock falls with it. Calls
// under way end with `cancelled` or `closed`. It may be moved while calls are under way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "io/file.h"
#include "io/lost_sectors.h"
#include "io/zone_layout.h"
#include "runtime/task.h"

namespace spindle {

class StorageRecord;

struct StorageOptions {
  uint32_t sector_size = 4096;  ///< bytes; a power of two from 512 on, at least what direct I/O on the file needs
  Direct direct = Direct::require;
  bool overwrite = false;  ///< create(): take a file that is not empty, or a block device, and lose what it holds
  /// open(): for reading, under a shared lock, which several may have. A change is a caught bug then.
  bool read_only = false;
  uint32_t mode = 0644;  ///< create(): permissions of a file that is made
  LockOptions lock{};  ///< how long to wait for the file while somebody else has it
  DeviceQueue* queue = nullptr;  ///< see OpenOptions
};
static_assert(std::is_trivially_destructible_v<StorageOptions>);

struct StorageReadOptions {
  LostSectors lost{};  ///< told which sectors are lost; default: nobody is
  IoClass io_class = IoClass::foreground;  ///< of no effect without a DeviceQueue
};
struct StorageWriteOptions {
  bool durable = true;  ///< false: on the device after the next sync()
  IoClass io_class = IoClass::foreground;
};
static_assert(std::is_trivially_destructible_v<StorageReadOptions>);
static_assert(std::is_trivially_destructible_v<StorageWriteOptions>);

class Storage {
 public:
  /// Makes the file, or takes an empty one (with `overwrite` any), and gives it the size that its zones need. A file
  /// reads as zeroes then, and has no disk space yet; a block device reads as it did: see write_through(). Its name is
  /// durable. `zones` is borrowed until the await returns.
  ///
  /// Errors: those of open(); `system` with EEXIST for a file that is not empty, or a block device, unless told to
  /// overwrite it; those of truncating and syncing. After an error, or a cancel, a file that was not there is not
  /// there (unless somebody else took it meanwhile), and one that was empty is empty (unless its own sync failed).
  /// Suspends.
  static Task<Result<Storage>> create(std::string path, std::span<const ZoneOptions> zones,
                                      StorageOptions options = {});
  /// Errors: the errno of open(2); `system` with EWOULDBLOCK while somebody else has the lock, with ESTALE when the
  /// name came to mean another file while the lock was waited for; `no_direct_io`; `misaligned` when direct I/O on this
  /// file needs larger sectors; `end_of_file` when the file is shorter than its zones; `invalid_argument` for zones or
  /// a sector size that can't be (see ZoneLayout), and for what is neither a file nor a block device. Nothing is
  /// changed. Suspends.
  static Task<Result<Storage>> open(std::string path, std::span<const ZoneOptions> zones, StorageOptions options = {});

  Storage(Storage&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}
  Storage& operator=(Storage&& other) noexcept;
  ~Storage();

  /// One more zone, behind the others: for those whose sizes stand in the first. Errors: those of ZoneLayout::add;
  /// end_of_file when the file is too short for it. Does not suspend.
  Result<ZoneIndex> add_zone(const ZoneOptions& options);

  /// Result<void>: all of `memory`, from `offset` of the zone on. What is short goes on where it stopped.
  ///
  /// An unreadable sector is looked for: the read is tried again in halves down to one sector, which is tried a second
  /// time and then lost. That costs at most three requests per sector, and happens after is_medium_error() only; all
  /// other errors are returned at once. Then everything that can be read has been read, `options.lost` tells which
  /// sectors are not, and Error::transferred how many bytes are.
  /// Errors: `lost_sectors`; `end_of_file` beyond what the file has; `system`; `cancelled`; `closed`. Suspends.
  Task<Result<void>> read(ZoneIndex zone, uint64_t offset, std::span<std::byte> memory,
                          StorageReadOptions options = {});
  /// Result<void>: all of `memory`, to `offset` of the zone on; durable, unless the options say otherwise.
  /// Errors: `system`, `short_transfer` (both stop the storage); `poisoned`; `cancelled`; `closed`. Suspends.
  Task<Result<void>> write(ZoneIndex zone, uint64_t offset, std::span<const std::byte> memory,
                           StorageWriteOptions options = {});
  /// Result<void>: the writes that returned before are durable (fdatasync(2)). Errors: as for write(). Suspends.
  Task<Result<void>> sync();

  /// Result<void>: disk space for [offset, offset + size) of the zone, durable; the file grows if need be. On a block
  /// device only a check that it is that large (ENOSPC).
  ///
  /// Errors of fallocate(2), ENOSPC, EDQUOT and EFBIG among them, stop nothing, and nothing that was promised has
  /// changed; what could be allocated in part stays with the file, for the next try. An error of the sync that follows
  /// stops the storage. `poisoned`, `cancelled`, `closed` as for write(). Suspends.
  Task<Result<void>> allocate(ZoneIndex zone, uint64_t offset, uint64_t size);
  /// Result<void>: allocates the zone, or `size` bytes of it, writes zeroes over all of that, and makes it durable:
  /// durable writes into space that was allocated and never written cost about twice as much. At format time; what was
  /// there is gone. Errors: those of allocate() and write(); ENOMEM. Suspends.
  Task<Result<void>> write_through(ZoneIndex zone, uint64_t offset = 0, uint64_t size = zone_whole);

  /// Cancels what is in flight, waits for its end, and closes the file, which unlocks it. Not cancellable. Suspends.
  Task<Result<void>> close();
  /// Takes back the create() that this came from, and closes the file: one that was not there is removed (unless
  /// somebody else took it meanwhile), one that was there is emptied, so that its disk space is free again. A block
  /// device, and what was opened, is only closed. Nothing is in flight. Not cancellable. Errors: the first one; it is
  /// closed all the same. Suspends.
  Task<Result<void>> discard();

  bool is_stopped() const noexcept;
  /// One line: file, operation, zone, offset, size, errno, and what to do. Empty while the storage is not stopped.
  const std::string& stop_reason() const noexcept;
  /// Result<void>: returns when the storage has stopped; `closed` when it was closed or dropped instead. Suspends.
  Task<Result<void>> wait_until_stopped();

  uint32_t sector_size() const noexcept;
  bool is_device() const noexcept;
  /// Bytes that the file is known to have; all of them when it was opened, and it may be more since.
  uint64_t file_size() const noexcept;
  uint64_t zone_size(ZoneIndex zone) const noexcept;
  /// Where the zone begins in the file.
  uint64_t zone_begin(ZoneIndex zone) const noexcept;
  const std::string& path() const noexcept;

 private:
  friend class StorageOpening;
  explicit Storage(StorageRecord& record) noexcept : record_(&record) {}
  StorageRecord& record() const noexcept {
    SPINDLE_ASSERT(record_ != nullptr, "a Storage that was moved away");
    return *record_;
  }

  StorageRecord* record_;  // counted: see StorageUse
};

/// What Linux says of a sector that can't be read: EIO; of block devices ENODATA ("critical medium"), EREMOTEIO
/// ("critical target") and EILSEQ ("protection"), see blk_errors in the kernel's block/blk-core.c; EBADMSG of file
/// systems with checksums. Everything else is about the device, the path to it, or the request.
bool is_medium_error(const Error& error) noexcept;

}  // namespace spindle
