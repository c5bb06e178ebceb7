// A census of the blocks of a store that nobody has open: what is in each block that is in use, by what it says of
// itself.
//
//     const BlockCensus census = co_await ok(take_census(place, set));
//
// What a block says of itself shows that it is whole, of this store, and in its place; not that it is the version that
// is meant, which takes a reference. A block that is not whole may have been acquired and not written, or be damaged:
// without a reference nothing says which. So that is a note. A whole block of this store that belongs elsewhere is
// damage: a write went astray, and what it went over is gone.
//
// Blocks that were released are passed over: they are free as soon as the store opens, and were since its last
// checkpoint, so anything may be in them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "io/storage.h"
#include "lsm/block_header.h"
#include "lsm/free_set.h"
#include "runtime/task.h"

namespace spindle {

/// A block of which something is to be said.
struct CensusBlock {
  uint64_t address = 0;  ///< where it lies
  BlockFault fault = BlockFault::none;  ///< of one that is not whole
  uint64_t address_said = 0;  ///< of one that is: where it belongs
};

struct BlockCensus {
  /// Of what is counted, so many of the lowest addresses are listed.
  static constexpr size_t listed_max = 1000;

  uint64_t count_of(BlockType type) const noexcept { return type_counts[static_cast<size_t>(type)]; }
  uint64_t count_of(BlockFault fault) const noexcept { return fault_counts[static_cast<size_t>(fault)]; }

  std::array<uint64_t, block_types_count + 1> type_counts{};  ///< whole blocks, the misplaced ones included
  std::array<uint64_t, static_cast<size_t>(BlockFault::padding) + 1> fault_counts{};  ///< of those that are not whole
  uint64_t not_whole_count = 0;
  uint64_t misplaced_count = 0;
  std::vector<CensusBlock> not_whole;  ///< of fault `cluster`: whole, and of another one
  std::vector<CensusBlock> misplaced;
};

/// Where the blocks are.
struct GridPlace {
  Storage* storage = nullptr;
  ZoneIndex zone{0};
  ClusterId cluster;
  uint32_t block_size = 0;

  uint64_t offset_of(uint64_t address) const noexcept { return (address - 1) * block_size; }
};

/// Reads every block that is acquired and not released; so none of the trailers, which a set that was just opened
/// counts as released. Errors: those of reading, unreadable sectors and the end of the file excepted; ENOMEM. Suspends.
Task<Result<BlockCensus>> take_census(GridPlace place, const FreeSet& set);

}  // namespace spindle
