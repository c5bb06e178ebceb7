// What is in the grid of a store that nobody has open, without a change to it: the trailers with all copies of their
// blocks, the free set as counts and as a picture, and the blocks by type. Grid::open() would write bad copies again.
//
//     GridInspection grid = co_await ok(inspect_grid(storage, zone, superblock, GridLook::blocks));
//     if (grid.is_known()) … grid.counts.free_count … grid.picture.cells[0] …
//
// What is wrong is told, and never an error.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "io/storage.h"
#include "lsm/block_census.h"
#include "lsm/free_set.h"
#include "lsm/superblock_format.h"
#include "lsm/trailer.h"
#include "runtime/task.h"

namespace spindle {

/// How much of the grid is read.
enum class GridLook : uint8_t {
  none,
  trailers,
  blocks,  ///< all that are in use: takes as long as reading them
};

/// A block of a trailer. Each of its copies was read.
struct TrailerBlock {
  bool has_second() const noexcept { return reference.address_second != 0; }
  bool is_lost() const noexcept {
    return fault != BlockFault::none && (!has_second() || fault_second != BlockFault::none);
  }
  bool is_whole() const noexcept { return fault == BlockFault::none && fault_second == BlockFault::none; }

  uint32_t index = 0;  ///< in the stream
  BlockReference reference;
  BlockFault fault = BlockFault::none;
  BlockFault fault_second = BlockFault::none;  ///< none: there is none, or it is whole
};

struct TrailerInspection {
  TrailerKind kind = TrailerKind::blocks_acquired;
  TrailerReference reference;
  TrailerFault fault = TrailerFault::none;  ///< of the chain; where it is about a block, of the last one of `blocks`
  bool is_read = false;  ///< the whole stream
  std::vector<TrailerBlock> blocks;  ///< from the last one on, as far as each names the one before
};
const char* name_of(TrailerKind kind) noexcept;

struct GridCounts {
  uint64_t blocks_count = 0;
  uint64_t free_count = 0;
  uint64_t acquired_count = 0;  ///< all that are not free
  uint64_t released_count = 0;  ///< of those: free as soon as the store opens; without the trailers
  uint64_t trailer_blocks_count = 0;  ///< of those: with copies; they are free after the next checkpoint
  uint64_t highest_address_acquired = 0;  ///< 0: none
};

/// Addresses next to each other.
struct GridCell {
  uint64_t acquired_count = 0;
  uint64_t released_count = 0;  ///< of those; with the trailers
};

/// The address space, from address 1 on, in cells of one size; the last one may have less.
struct GridPicture {
  static constexpr uint64_t row_cells_count = 64;
  static constexpr uint64_t cells_max = row_cells_count * 16;

  uint64_t cell_blocks_count = 0;
  std::vector<GridCell> cells;
};

struct GridInspection {
  /// Counts and picture say something.
  bool is_known() const noexcept { return has_free_set && free_set.fault == FreeSetFault::none; }

  TrailerInspection acquired;
  TrailerInspection released{TrailerKind::blocks_released, {}, TrailerFault::none, false, {}};
  bool has_free_set = false;  ///< both trailers were read
  FreeSetOpened free_set;
  GridCounts counts;
  GridPicture picture;
  std::optional<BlockCensus> census;  ///< of GridLook::blocks, where the free set is known
};

/// `zone` is the grid, and need not be in the file as a whole; `superblock` a version that wins. Both are borrowed.
/// Errors: those of reading, unreadable sectors and the end of the file excepted; ENOMEM. Suspends.
Task<Result<GridInspection>> inspect_grid(Storage& storage, ZoneIndex zone, const Superblock& superblock,
                                          GridLook look);

}  // namespace spindle
