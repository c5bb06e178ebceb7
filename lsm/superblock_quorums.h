// Which version of the superblock is the current one, given what its slots hold; and how to put that right. No I/O.
//
// 1. Copies with a fault of their own are dropped. The others are grouped by checksum.
// 2. A group has one vote for each distinct copy index in it, wherever the copy was found: an index that there is not
//    counts as the number of its slot, if that is one. With a read quorum of votes it is valid.
// 3. The winner is the valid group with the highest sequence s; of two with the same one, that with more votes.
// 4. What the other copies say about it:
//      another cluster          ignored
//      s, another checksum      a fork
//      s + 1                    an update that was interrupted: ignored
//      > s + 1                  the winner is not what came before it: parent skipped, always an error
//      s - 1                    must be the winner's parent, else not connected; and not ahead, else not monotonic
//      older                    ignored
//    Forks, what is not connected and what is not monotonic are errors, unless the winner has a write quorum: then
//    they are left from a slot that missed writes, and are written over.
//
// 5. A repair leaves copy i of the winner in slot i, and behind the copies nothing but faults and what is older: a copy
//    of an interrupted update would be a fork of the next one, a stray copy of the winner a vote against it.
//
// A quorum to read and one to write have a copy in common, since together they are one more than there are copies.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "lsm/superblock_format.h"

namespace spindle {

/// What was read of a slot: a copy that is whole, or what is wrong with it.
struct SuperblockSlot {
  SuperblockFault fault = SuperblockFault::unreadable;
  const Superblock* superblock = nullptr;  ///< null unless the fault is none; borrowed
};
using SuperblockSlots = std::array<SuperblockSlot, superblock_slots_count>;

enum class SuperblockVerdict : uint8_t {
  faulty,  ///< see its fault
  current,  ///< of the winner, in its own slot
  misplaced,  ///< of the winner, in another slot, or with an index that there is not
  foreign,  ///< of another cluster
  fork,  ///< as new as the winner, and different
  interrupted,  ///< newer by one: of an update that did not get through
  skipped,  ///< newer by more
  former,  ///< the winner's parent
  unconnected,  ///< older by one, and not the winner's parent
  ahead,  ///< the winner's parent, with a later state
  older,
  undecided,  ///< there is no winner
};
const char* name_of(SuperblockVerdict verdict) noexcept;

/// Why there is no version to go on with; of several reasons the first one in this order.
enum class SuperblockError : uint8_t {
  none,
  not_found,  ///< no whole copy at all
  unsupported,  ///< whole copies only of another format version, or with what this one does not allow
  foreign_cluster,  ///< whole copies only of another cluster than the one that was asked for
  quorum_lost,  ///< whole copies, and none with enough votes
  fork,
  parent_skipped,
  parent_not_connected,
  not_monotonic,
};
const char* name_of(SuperblockError error) noexcept;

/// One write of a repair: a copy of the winner into its own slot, or zeroes.
struct SuperblockRepair {
  uint32_t slot = 0;
  bool wipes = false;
};

struct SuperblockChoice {
  SuperblockError error = SuperblockError::none;
  /// Some slot with a copy of the winner; null: there is none. There may be one in spite of an error.
  const Superblock* winner = nullptr;
  uint32_t votes_count = 0;
  std::array<SuperblockVerdict, superblock_slots_count> verdicts{};
  /// In this order, one after another: a write that is torn never takes the winner its quorum. Empty with an error.
  std::array<SuperblockRepair, superblock_slots_count> repairs{};
  uint32_t repairs_count = 0;

  bool has_write_quorum() const noexcept {
    return winner != nullptr && votes_count >= write_quorum_of(winner->configuration.copies_count);
  }
  std::span<const SuperblockRepair> all_repairs() const noexcept { return {repairs.data(), repairs_count}; }
};

/// `cluster`: the one that must be found; without it, whichever there is.
SuperblockChoice choose_superblock(const SuperblockSlots& slots, std::optional<ClusterId> cluster = {}) noexcept;

/// Votes of one version.
uint32_t count_votes(const SuperblockSlots& slots, const Superblock& version) noexcept;

/// The slots of a format that was interrupted: nothing but one first version below its read quorum, at most one slot
/// that is torn, and zeroes. Nobody has ever opened such a store.
bool is_half_formatted(const SuperblockSlots& slots) noexcept;

}  // namespace spindle
