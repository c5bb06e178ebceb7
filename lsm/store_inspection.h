// What is in the file of a store, without a change to it: every slot of the superblock, which version wins, its free
// set and blocks (lsm/grid_inspection.h), and what is wrong. It works on what does not open, too.
//
//     const StoreInspection found = co_await ok(inspect_store("data.db"));
//     for (const StoreFinding& finding : found.findings) …
//
// The file is opened for reading, under a shared lock: several may look at one time, nobody while the store is open.
// A check of something more (blocks that a layer above refers to) adds its kinds to StoreFault, and a function to
// find_faults() that appends to the findings.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "io/storage.h"
#include "lsm/grid_inspection.h"
#include "lsm/superblock_quorums.h"
#include "runtime/task.h"

namespace spindle {

/// What a format would find.
enum class StoreContent : uint8_t {
  nothing,  ///< there is no file, or it is empty
  half_formatted,  ///< a format began, and has not ended
  store,  ///< or what is left of one: copies of a superblock
  other,
};
const char* name_of(StoreContent content) noexcept;

enum class StoreFault : uint8_t {
  no_store,  ///< the file holds something else
  half_formatted,
  no_version,  ///< copies, but none to go on with: StoreInspection::choice.error says why
  copy,  ///< a slot that has not the copy that belongs there
  leftover,  ///< a slot behind the copies that has one
  zone_cut,  ///< the file ends before a zone that must be there as a whole
  storage_size,  ///< the checkpoint ends where none can
  storage_cut,  ///< the file ends before the checkpoint does
  trailer_copy,  ///< one of two copies of a block of a trailer; the other one is whole
  trailer_block,  ///< of a trailer, without a whole copy: the store does not open
  trailer,  ///< its blocks are whole, and no chain: the store does not open
  free_set,  ///< the trailers hold no free set: the store does not open
  storage_end,  ///< the checkpoint ends elsewhere than its highest acquired block
  block_misplaced,  ///< a whole block of this store lies where another one belongs
};
const char* name_of(StoreFault fault) noexcept;

struct StoreFinding {
  StoreFault fault = StoreFault::no_store;
  uint64_t offset = 0;  ///< in the file
  uint64_t size = 0;
  std::optional<uint32_t> slot;  ///< of the superblock
  const char* zone = "";
  bool is_healed_by_open = false;
  std::optional<uint64_t> address;  ///< of a block of the grid
  uint64_t address_other = 0;  ///< of the other copy of a trailer's block; where a misplaced block belongs
  std::optional<TrailerKind> trailer;
  BlockFault block_fault = BlockFault::none;
  TrailerFault trailer_fault = TrailerFault::none;
};

/// Moved, and not copied: slots and choice refer to the copies.
struct StoreInspection {
  StoreInspection() = default;
  StoreInspection(const StoreInspection&) = delete;
  StoreInspection& operator=(const StoreInspection&) = delete;
  StoreInspection(StoreInspection&&) noexcept = default;
  StoreInspection& operator=(StoreInspection&&) noexcept = default;
  ~StoreInspection() = default;

  const Superblock* winner() const noexcept { return choice.winner; }
  /// A version wins, and no error speaks against it.
  bool has_version() const noexcept { return winner() != nullptr && choice.error == SuperblockError::none; }

  StoreContent content = StoreContent::nothing;
  bool is_device = false;
  uint64_t file_size = 0;  ///< bytes; of a device its capacity
  bool has_mark = false;  ///< of a format under way, as a whole (lsm/format_mark.h)
  std::vector<Superblock> copies;  ///< by slot; of no meaning where the slot has a fault
  SuperblockSlots slots{};
  SuperblockChoice choice;
  std::optional<GridInspection> grid;  ///< where a version wins, and unless it was not to be looked at
  std::vector<StoreFinding> findings;  ///< empty: the store is whole
};

struct StoreInspectionOptions {
  std::optional<ClusterId> cluster{};  ///< the one that must be found; without it, whichever there is
  Direct direct = Direct::require;
  LockOptions lock{.wait_max = Duration::zero()};
  GridLook grid = GridLook::trailers;
};
static_assert(std::is_trivially_destructible_v<StoreInspectionOptions>);

/// Errors: those of Storage::open and Storage::read, unreadable sectors excepted; ENOMEM. What is wrong with the store
/// is no error, but a finding. Suspends.
Task<Result<StoreInspection>> inspect_store(std::string path, StoreInspectionOptions options = {});

/// The same of what is open, whose first zone is superblock_zone_of(0). Without the grid, and the findings. Suspends.
Task<Result<StoreInspection>> look_at(Storage& storage, std::optional<ClusterId> cluster = {});

/// Everything wrong that the slots, the sizes and the grid show. No I/O.
std::vector<StoreFinding> find_faults(const StoreInspection& inspection);

}  // namespace spindle
