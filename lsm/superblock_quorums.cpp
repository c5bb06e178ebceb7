#include "lsm/superblock_quorums.h"

#include <bit>

#include "runtime/assert.h"

namespace spindle {

namespace {

constexpr uint32_t no_copy = UINT32_MAX;

bool is_whole(const SuperblockSlot& slot) noexcept { return slot.fault == SuperblockFault::none; }

bool is_of(const SuperblockSlot& slot, const Superblock& version) noexcept {
  return is_whole(slot) && slot.superblock->checksum == version.checksum;
}

/// Which copy of its version a whole slot has; no_copy: one that there is not.
uint32_t copy_in(const SuperblockSlots& slots, uint32_t slot) noexcept {
  const Superblock& superblock = *slots[slot].superblock;
  const uint32_t copies_count = superblock.configuration.copies_count;
  if (superblock.copy < copies_count) return static_cast<uint32_t>(superblock.copy);
  return slot < copies_count ? slot : no_copy;
}

/// The winner, or null. `is_tied`: there are two.
const Superblock* find_winner(const SuperblockSlots& slots, const std::optional<ClusterId>& cluster,
                              bool& is_tied) noexcept {
  const Superblock* winner = nullptr;
  uint32_t winner_votes = 0;
  is_tied = false;
  for (const SuperblockSlot& slot : slots) {
    if (!is_whole(slot) || (cluster.has_value() && slot.superblock->cluster != *cluster)) continue;
    const Superblock& candidate = *slot.superblock;
    if (winner != nullptr && candidate.checksum == winner->checksum) continue;
    const uint32_t votes = count_votes(slots, candidate);
    if (votes < read_quorum_of(candidate.configuration.copies_count)) continue;
    const bool is_as_new = winner != nullptr && candidate.sequence == winner->sequence;
    const bool is_better =
        winner == nullptr || candidate.sequence > winner->sequence || (is_as_new && votes > winner_votes);
    if (is_as_new && votes == winner_votes) is_tied = true;
    if (!is_better) continue;
    winner = &candidate;
    winner_votes = votes;
    is_tied = false;
  }
  return winner;
}

SuperblockVerdict judge(const Superblock& other, const Superblock& winner) noexcept {
  if (other.cluster != winner.cluster) return SuperblockVerdict::foreign;
  if (other.sequence == winner.sequence) return SuperblockVerdict::fork;
  if (other.sequence > winner.sequence) {
    return other.sequence - winner.sequence == 1 ? SuperblockVerdict::interrupted : SuperblockVerdict::skipped;
  }
  if (winner.sequence - other.sequence > 1) return SuperblockVerdict::older;
  if (other.checksum != winner.parent) return SuperblockVerdict::unconnected;
  return other.state.op > winner.state.op ? SuperblockVerdict::ahead : SuperblockVerdict::former;
}

SuperblockVerdict judge_slot(const SuperblockSlots& slots, uint32_t slot, const Superblock& winner) noexcept {
  if (!is_whole(slots[slot])) return SuperblockVerdict::faulty;
  if (!is_of(slots[slot], winner)) return judge(*slots[slot].superblock, winner);
  const bool is_in_place = slots[slot].superblock->copy == slot && slot < winner.configuration.copies_count;
  return is_in_place ? SuperblockVerdict::current : SuperblockVerdict::misplaced;
}

bool has(const SuperblockChoice& choice, SuperblockVerdict verdict) noexcept {
  for (const SuperblockVerdict other : choice.verdicts) {
    if (other == verdict) return true;
  }
  return false;
}

SuperblockError error_of(const SuperblockChoice& choice, bool is_tied) noexcept {
  const bool is_strict = !choice.has_write_quorum();
  if (is_tied || (is_strict && has(choice, SuperblockVerdict::fork))) return SuperblockError::fork;
  if (has(choice, SuperblockVerdict::skipped)) return SuperblockError::parent_skipped;
  if (is_strict && has(choice, SuperblockVerdict::unconnected)) return SuperblockError::parent_not_connected;
  if (is_strict && has(choice, SuperblockVerdict::ahead)) return SuperblockError::not_monotonic;
  return SuperblockError::none;
}

SuperblockError error_without_winner(const SuperblockSlots& slots, const std::optional<ClusterId>& cluster) noexcept {
  bool has_own = false;
  bool has_foreign = false;
  bool has_unsupported = false;
  for (const SuperblockSlot& slot : slots) {
    const bool is_own = is_whole(slot) && (!cluster.has_value() || slot.superblock->cluster == *cluster);
    has_own = has_own || is_own;
    has_foreign = has_foreign || (is_whole(slot) && !is_own);
    has_unsupported = has_unsupported || slot.fault >= SuperblockFault::version;
  }
  if (has_own) return SuperblockError::quorum_lost;
  if (has_unsupported) return SuperblockError::unsupported;
  return has_foreign ? SuperblockError::foreign_cluster : SuperblockError::not_found;
}

/// The slots while they are being repaired: which copy of the winner each one has.
class RepairPlan {
 public:
  RepairPlan(const SuperblockSlots& slots, SuperblockChoice& choice) noexcept : choice_(choice) {
    for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
      copies_[slot] = is_of(slots[slot], *choice.winner) ? copy_in(slots, slot) : no_copy;
      is_right_[slot] = choice.verdicts[slot] == SuperblockVerdict::current;
    }
  }
  // First, behind the copies, what might be an error or win when the winner has fewer votes; then where there is
  // nothing of the winner to lose; then where there is a second one of what is written over, until there is none. By
  // then every copy is somewhere, and the rest can be written over in place, one less at a time. Last, what is behind
  // the copies and is of the winner: it may have been a vote.
  void make() noexcept {
    const uint32_t copies_count = choice_.winner->configuration.copies_count;
    for (uint32_t slot = copies_count; slot < superblock_slots_count; ++slot) {
      if (is_leftover(choice_.verdicts[slot])) add({slot, true});
    }
    for (uint32_t slot = 0; slot < copies_count; ++slot) {
      if (copies_[slot] == no_copy) write(slot);
    }
    while (write_second_one()) {
    }
    for (uint32_t slot = 0; slot < copies_count; ++slot) {
      if (!is_right_[slot]) write(slot);
    }
    for (uint32_t slot = copies_count; slot < superblock_slots_count; ++slot) {
      if (choice_.verdicts[slot] == SuperblockVerdict::misplaced) add({slot, true});
    }
  }

 private:
  // One of an interrupted update would be a fork of the next version, while that has no write quorum yet. One of
  // another cluster might win where none is asked for.
  static bool is_leftover(SuperblockVerdict verdict) noexcept {
    return verdict == SuperblockVerdict::fork || verdict == SuperblockVerdict::interrupted ||
           verdict == SuperblockVerdict::unconnected || verdict == SuperblockVerdict::ahead ||
           verdict == SuperblockVerdict::foreign;
  }
  /// Writes over one misplaced copy that is elsewhere, too, if there is such a one.
  bool write_second_one() noexcept {
    for (uint32_t slot = 0; slot < choice_.winner->configuration.copies_count; ++slot) {
      if (is_right_[slot] || count_of(copies_[slot]) < 2) continue;
      write(slot);
      return true;
    }
    return false;
  }
  uint32_t count_of(uint32_t copy) const noexcept {
    uint32_t count = 0;
    for (const uint32_t other : copies_) count += other == copy;
    return count;
  }
  void write(uint32_t slot) noexcept {
    copies_[slot] = slot;
    is_right_[slot] = true;
    add({slot, false});
  }
  void add(SuperblockRepair repair) noexcept {
    SPINDLE_ASSERT(choice_.repairs_count < superblock_slots_count, "a slot was to be repaired twice");
    choice_.repairs[choice_.repairs_count++] = repair;
  }

  SuperblockChoice& choice_;
  std::array<uint32_t, superblock_slots_count> copies_{};
  std::array<bool, superblock_slots_count> is_right_{};
};

}  // namespace

const char* name_of(SuperblockVerdict verdict) noexcept {
  switch (verdict) {
    case SuperblockVerdict::faulty: return "faulty";
    case SuperblockVerdict::current: return "current";
    case SuperblockVerdict::misplaced: return "misplaced";
    case SuperblockVerdict::foreign: return "foreign";
    case SuperblockVerdict::fork: return "fork";
    case SuperblockVerdict::interrupted: return "interrupted";
    case SuperblockVerdict::skipped: return "skipped";
    case SuperblockVerdict::former: return "former";
    case SuperblockVerdict::unconnected: return "unconnected";
    case SuperblockVerdict::ahead: return "ahead";
    case SuperblockVerdict::older: return "older";
    case SuperblockVerdict::undecided: return "undecided";
  }
  return "?";
}

const char* name_of(SuperblockError error) noexcept {
  switch (error) {
    case SuperblockError::none: return "none";
    case SuperblockError::not_found: return "not found";
    case SuperblockError::unsupported: return "unsupported";
    case SuperblockError::foreign_cluster: return "foreign cluster";
    case SuperblockError::quorum_lost: return "quorum lost";
    case SuperblockError::fork: return "fork";
    case SuperblockError::parent_skipped: return "parent skipped";
    case SuperblockError::parent_not_connected: return "parent not connected";
    case SuperblockError::not_monotonic: return "not monotonic";
  }
  return "?";
}

uint32_t count_votes(const SuperblockSlots& slots, const Superblock& version) noexcept {
  uint32_t copies = 0;
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    if (!is_of(slots[slot], version)) continue;
    const uint32_t copy = copy_in(slots, slot);
    if (copy != no_copy) copies |= 1u << copy;
  }
  return static_cast<uint32_t>(std::popcount(copies));
}

SuperblockChoice choose_superblock(const SuperblockSlots& slots, std::optional<ClusterId> cluster) noexcept {
  SuperblockChoice choice;
  bool is_tied = false;
  choice.winner = find_winner(slots, cluster, is_tied);
  if (choice.winner == nullptr) {
    for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
      choice.verdicts[slot] = is_whole(slots[slot]) ? SuperblockVerdict::undecided : SuperblockVerdict::faulty;
    }
    choice.error = error_without_winner(slots, cluster);
    return choice;
  }
  choice.votes_count = count_votes(slots, *choice.winner);
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    choice.verdicts[slot] = judge_slot(slots, slot, *choice.winner);
  }
  choice.error = error_of(choice, is_tied);
  if (choice.error == SuperblockError::none) RepairPlan(slots, choice).make();
  return choice;
}

bool is_half_formatted(const SuperblockSlots& slots) noexcept {
  const Superblock* version = nullptr;
  uint32_t torn_count = 0;
  for (const SuperblockSlot& slot : slots) {
    if (slot.fault == SuperblockFault::zero) continue;
    if (slot.fault == SuperblockFault::checksum) {
      ++torn_count;
      continue;
    }
    if (!is_whole(slot)) return false;
    if (version != nullptr && slot.superblock->checksum != version->checksum) return false;
    version = slot.superblock;
  }
  if (torn_count > 1) return false;
  if (version == nullptr) return true;
  return version->sequence == 1 && count_votes(slots, *version) < read_quorum_of(version->configuration.copies_count);
}

}  // namespace spindle
