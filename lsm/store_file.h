// The file of a store: making it, and opening it.
//
//     const StoreFormer former = co_await ok(format_store("data.db", {.cluster = cluster, .configuration = sizes}));
//     const auto store = co_await ok(open_store("data.db"));
//     co_await ok(store->superblock().update(state));
//     co_await ok(store->storage().write(store->zones().grid, 0, block));
//
// Invariants
// 1. A format writes over nothing but an empty file, and what a format that was interrupted has left, unless forced.
// 2. A crash in a format leaves a file that is empty, or one that the next format takes without force, or a store that
//    opens. In this order, each durable before the next: a file of nothing that ends where the mark will
//    (lsm/format_mark.h); the mark; zeroes over the rest of the superblock's zone; the journal's zone; the superblock;
//    the mark is gone.
// 3. A file is looked at, and changed, under one lock; but for what is overwritten with force, where others may come in
//    between the two.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "io/storage.h"
#include "lsm/store_inspection.h"
#include "lsm/store_layout.h"
#include "lsm/superblock.h"
#include "runtime/task.h"

namespace spindle {

/// What a format found, and is gone.
struct StoreFormer {
  StoreContent content = StoreContent::nothing;
  bool is_device = false;
  uint64_t file_size = 0;
  std::optional<ClusterId> cluster;  ///< of a store with a version that wins, and of that …
  uint64_t sequence = 0;  ///< … the number
};

struct StoreOptions {
  std::optional<ClusterId> cluster{};  ///< open: the one that must be found; without it, whichever there is
  Direct direct = Direct::require;
  LockOptions lock{};
  DeviceQueue* queue = nullptr;  ///< see OpenOptions
};
static_assert(std::is_trivially_destructible_v<StoreOptions>);

/// Makes a store, in a file that is made for it, in one that is there, or on a block device.
///
/// Errors: `system` with EEXIST for a block device, a store, and whatever else is not empty, unless forced or left by a
/// format that was interrupted; invalid_argument for a configuration that can't be; end_of_file for a device too small
/// for it; those of Storage::create, Storage::write_through, SuperblockCopies::format. After an error, or a cancel, a
/// file that was not there is not there, and one that was empty is empty; what was overwritten with force is gone.
/// Suspends.
Task<Result<StoreFormer>> format_store(std::string path, SuperblockFormat format, StoreOptions options = {});

/// A store that is open. Stays where it is.
class StoreFile {
 public:
  explicit StoreFile(Storage storage) : storage_(std::move(storage)), superblock_(storage_, zones_.superblock) {}
  StoreFile(const StoreFile&) = delete;
  StoreFile& operator=(const StoreFile&) = delete;

  Storage& storage() noexcept { return storage_; }
  SuperblockCopies& superblock() noexcept { return superblock_; }
  const StoreZones& zones() const noexcept { return zones_; }

 private:
  friend Task<Result<std::unique_ptr<StoreFile>>> open_store(std::string path, StoreOptions options);
  Task<Result<void>> open(std::optional<ClusterId> cluster);

  StoreZones zones_;
  Storage storage_;
  SuperblockCopies superblock_;
};

/// The superblock is open, and repaired; all zones are there. Errors: those of Storage::open, SuperblockCopies::open;
/// `corrupt` for a format that has not ended, and for a checkpoint that can't be; end_of_file when the file is shorter
/// than what the checkpoint says. Suspends.
Task<Result<std::unique_ptr<StoreFile>>> open_store(std::string path, StoreOptions options = {});

}  // namespace spindle
