// What is wrong with blocks of a grid, in words: for reports, and for programs that look at a store.
#pragma once

#include <cstdint>
#include <string>

#include "lsm/block_header.h"
#include "lsm/free_set.h"
#include "lsm/trailer.h"
#include "runtime/result.h"

namespace spindle {

/// What was wrong with each copy of a block that was read. The second one is looked at only when the first is bad.
struct BlockReport {
  BlockReference reference;
  BlockFault fault = BlockFault::none;
  BlockFault fault_second = BlockFault::none;
  bool is_healed = false;  ///< a bad copy was written again
};

/// Why a grid does not open: the first of these that is not none.
struct GridFault {
  BlockReport block;
  TrailerFault trailer = TrailerFault::none;
  FreeSetOpened free_set;
};

/// `corrupt` or `lost_sectors`, with a name for the check that failed.
Error error_of(BlockFault fault) noexcept;
/// One line: "block 12: body_checksum; its copy 13: unreadable"; "none" where nothing was found.
std::string describe(const BlockReport& report);
std::string describe(const GridFault& fault);

}  // namespace spindle
