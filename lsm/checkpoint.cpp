#include "lsm/checkpoint.h"

#include "runtime/combinators.h"

namespace spindle {

namespace {

Task<Result<void>> write_checkpoint(Grid& grid, SuperblockCopies& superblock, CheckpointInput input) {
  const GridTrailers trailers = co_await ok(grid.write_trailers());
  CheckpointState state;
  state.op = input.op;
  state.storage_size = trailers.storage_size;
  state.manifest_oldest = input.manifest_oldest;
  state.manifest_newest = input.manifest_newest;
  state.manifest_blocks_count = input.manifest_blocks_count;
  state.blocks_acquired = trailers.blocks_acquired;
  state.blocks_released = trailers.blocks_released;
  const Result<void> updated = co_await superblock.update(state);
  if (updated.has_value()) {
    grid.checkpoint_durable();
    co_return updated;
  }
  grid.checkpoint_failed();
  co_return Unexpected(Grid::error_after_encoding(updated.error()));
}

}  // namespace

Task<Result<void>> checkpoint(Grid& grid, SuperblockCopies& superblock, CheckpointInput input) {
  auto writing = write_checkpoint(grid, superblock, input);
  const Result<void> written = co_await shield(std::move(writing));
  co_return written;
}

}  // namespace spindle
