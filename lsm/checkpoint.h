// The checkpoint of a store: its order, in one place.
//
//     1. the log is flushed, and what else the layers above have      by the caller
//     2. the free set is encoded into trailers, and written           Grid::write_trailers()
//     3. the superblock refers to all that: written, read back        SuperblockCopies::update()
//     4. the free set: this checkpoint is not durable yet             Grid::checkpoint_durable(), all that follows
//     5. the blocks of the trailers are released; not earlier: they would be freed while the superblock refers to them
//     6. durable: what was released before this checkpoint is free
#pragma once

#include <cstdint>
#include <type_traits>

#include "lsm/grid.h"
#include "lsm/superblock.h"
#include "runtime/task.h"

namespace spindle {

/// What of a CheckpointState is not the grid's.
struct CheckpointInput {
  uint64_t op = 0;  ///< not below that of the former
  BlockReference manifest_oldest;
  BlockReference manifest_newest;
  uint64_t manifest_blocks_count = 0;
};
static_assert(std::is_trivially_destructible_v<CheckpointInput>);

/// Result<void>: the store opens with all this from here on. No reservation is open; none is made, and nothing
/// released, until it returns. A cancel is seen afterwards. Errors: ENOSPC, EDQUOT, EFBIG, where nothing has changed,
/// and it may be tried again; after an error of a write the storage has stopped, and the former checkpoint opens,
/// or this one. Suspends.
Task<Result<void>> checkpoint(Grid& grid, SuperblockCopies& superblock, CheckpointInput input);

}  // namespace spindle
