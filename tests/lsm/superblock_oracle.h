// How the current version of the superblock is chosen, written down a second time from docs/FORMAT.md and the contract
// in lsm/superblock_quorums.h, with sets and maps and without any care for speed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "lsm/superblock_quorums.h"

namespace spindle::superblock_oracle {

struct Choice {
  SuperblockError error = SuperblockError::none;
  bool has_winner = false;
  /// Two versions have the most votes: which one is called the winner is open; it is a fork in any case.
  bool is_tie = false;
  Checksum winner;
  uint32_t votes_count = 0;
  std::array<SuperblockVerdict, superblock_slots_count> verdicts{};
};

/// As the table in docs/FORMAT.md has them.
constexpr uint32_t read_quorum_of(uint32_t copies_count) { return copies_count == 4 ? 2 : copies_count == 6 ? 3 : 4; }
constexpr uint32_t write_quorum_of(uint32_t copies_count) { return copies_count == 4 ? 3 : copies_count == 6 ? 4 : 5; }
uint32_t count_votes(const SuperblockSlots& slots, const Superblock& version);
Choice choose(const SuperblockSlots& slots, std::optional<ClusterId> cluster);
bool is_half_formatted(const SuperblockSlots& slots);

}  // namespace spindle::superblock_oracle
