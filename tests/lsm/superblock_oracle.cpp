#include "tests/lsm/superblock_oracle.h"

#include <algorithm>
#include <set>
#include <vector>

namespace spindle::superblock_oracle {

namespace {

bool is_whole(const SuperblockSlot& slot) { return slot.fault == SuperblockFault::none; }

/// Whole, though this version of the code can't use it.
bool is_unsupported(const SuperblockSlot& slot) {
  return slot.fault == SuperblockFault::version || slot.fault == SuperblockFault::configuration ||
         slot.fault == SuperblockFault::reserved;
}

SuperblockVerdict verdict_of(const Superblock& copy, uint32_t slot, const Superblock& winner) {
  if (copy.checksum == winner.checksum) {
    const bool is_in_place = copy.copy == slot && copy.copy < winner.configuration.copies_count;
    return is_in_place ? SuperblockVerdict::current : SuperblockVerdict::misplaced;
  }
  if (copy.cluster != winner.cluster) return SuperblockVerdict::foreign;
  if (copy.sequence == winner.sequence) return SuperblockVerdict::fork;
  if (copy.sequence == winner.sequence + 1) return SuperblockVerdict::interrupted;
  if (copy.sequence > winner.sequence) return SuperblockVerdict::skipped;
  if (copy.sequence + 1 < winner.sequence) return SuperblockVerdict::older;
  if (copy.checksum != winner.parent) return SuperblockVerdict::unconnected;
  return copy.state.op > winner.state.op ? SuperblockVerdict::ahead : SuperblockVerdict::former;
}

SuperblockError error_of(SuperblockVerdict verdict, bool has_write_quorum) {
  if (verdict == SuperblockVerdict::skipped) return SuperblockError::parent_skipped;
  if (has_write_quorum) return SuperblockError::none;
  if (verdict == SuperblockVerdict::fork) return SuperblockError::fork;
  if (verdict == SuperblockVerdict::unconnected) return SuperblockError::parent_not_connected;
  return verdict == SuperblockVerdict::ahead ? SuperblockError::not_monotonic : SuperblockError::none;
}

/// Why there is no winner.
SuperblockError error_without_winner(const SuperblockSlots& slots, std::optional<ClusterId> cluster) {
  const auto is_asked_for = [&](const SuperblockSlot& slot) {
    return is_whole(slot) && (!cluster || slot.superblock->cluster == *cluster);
  };
  if (std::any_of(slots.begin(), slots.end(), is_asked_for)) return SuperblockError::quorum_lost;
  if (std::any_of(slots.begin(), slots.end(), is_unsupported)) return SuperblockError::unsupported;
  const bool is_any_whole = std::any_of(slots.begin(), slots.end(), is_whole);
  return is_any_whole ? SuperblockError::foreign_cluster : SuperblockError::not_found;
}

/// All versions that may win, best first: the highest sequence, and of those most votes.
std::vector<const Superblock*> valid_versions(const SuperblockSlots& slots, std::optional<ClusterId> cluster) {
  std::vector<const Superblock*> versions;
  for (const SuperblockSlot& slot : slots) {
    if (!is_whole(slot) || (cluster && slot.superblock->cluster != *cluster)) continue;
    const uint32_t votes_count = superblock_oracle::count_votes(slots, *slot.superblock);
    if (votes_count >= superblock_oracle::read_quorum_of(slot.superblock->configuration.copies_count))
      versions.push_back(slot.superblock);
  }
  std::sort(versions.begin(), versions.end(), [&](const Superblock* left, const Superblock* right) {
    if (left->sequence != right->sequence) return left->sequence > right->sequence;
    return superblock_oracle::count_votes(slots, *left) > superblock_oracle::count_votes(slots, *right);
  });
  return versions;
}

}  // namespace

uint32_t count_votes(const SuperblockSlots& slots, const Superblock& version) {
  const uint64_t copies_count = version.configuration.copies_count;
  std::set<uint64_t> voters;
  for (uint64_t slot = 0; slot < slots.size(); ++slot) {
    if (!is_whole(slots[slot]) || slots[slot].superblock->checksum != version.checksum) continue;
    const uint64_t copy = slots[slot].superblock->copy;
    const uint64_t voter = copy < copies_count ? copy : slot;
    if (voter < copies_count) voters.insert(voter);
  }
  return static_cast<uint32_t>(voters.size());
}

Choice choose(const SuperblockSlots& slots, std::optional<ClusterId> cluster) {
  Choice choice;
  for (uint32_t slot = 0; slot < slots.size(); ++slot) {
    choice.verdicts[slot] = is_whole(slots[slot]) ? SuperblockVerdict::undecided : SuperblockVerdict::faulty;
  }
  const std::vector<const Superblock*> versions = valid_versions(slots, cluster);
  if (versions.empty()) {
    choice.error = error_without_winner(slots, cluster);
    return choice;
  }
  const Superblock& winner = *versions.front();
  choice.has_winner = true;
  choice.winner = winner.checksum;
  choice.votes_count = superblock_oracle::count_votes(slots, winner);
  for (const Superblock* version : versions) {
    choice.is_tie |= version->checksum != winner.checksum && version->sequence == winner.sequence &&
                     superblock_oracle::count_votes(slots, *version) == choice.votes_count;
  }
  const bool has_write_quorum =
      choice.votes_count >= superblock_oracle::write_quorum_of(winner.configuration.copies_count);
  std::set<SuperblockError> errors;
  if (choice.is_tie) errors.insert(SuperblockError::fork);
  for (uint32_t slot = 0; slot < slots.size(); ++slot) {
    if (!is_whole(slots[slot])) continue;
    choice.verdicts[slot] = verdict_of(*slots[slot].superblock, slot, winner);
    errors.insert(error_of(choice.verdicts[slot], has_write_quorum));
  }
  errors.erase(SuperblockError::none);
  if (!errors.empty()) choice.error = *errors.begin();
  return choice;
}

bool is_half_formatted(const SuperblockSlots& slots) {
  uint32_t torn_count = 0;
  std::set<std::pair<uint64_t, uint64_t>> versions;
  for (const SuperblockSlot& slot : slots) {
    if (slot.fault == SuperblockFault::zero) continue;
    if (slot.fault == SuperblockFault::checksum) {
      ++torn_count;
      continue;
    }
    if (!is_whole(slot) || slot.superblock->sequence != 1) return false;
    versions.insert({slot.superblock->checksum.low, slot.superblock->checksum.high});
    const uint32_t quorum = superblock_oracle::read_quorum_of(slot.superblock->configuration.copies_count);
    if (superblock_oracle::count_votes(slots, *slot.superblock) >= quorum) return false;
  }
  return torn_count <= 1 && versions.size() <= 1;
}

}  // namespace spindle::superblock_oracle
