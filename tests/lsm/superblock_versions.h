// Versions of a superblock that stand in every relation to one of them, and slots filled with copies of them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lsm/superblock_quorums.h"

namespace spindle {

/// What a slot may hold: a fault, or a copy of a version. "Winner" is what the others are named after: it need not win.
enum class Filling : uint8_t {
  zero,
  torn,
  unreadable,
  unsupported,
  winner,
  parent,
  older,
  fork,
  other_fork,
  unconnected,
  parent_ahead,  ///< older by one, with a later op; the winner's parent in the family of that name
  next,
  other_next,
  skipped,
  foreign,  ///< newer, of another cluster and with as many copies
  foreign_other,  ///< as new, of another cluster, and with another number of copies
};
inline constexpr uint32_t fillings_count = 16;
inline constexpr uint32_t first_version = static_cast<uint32_t>(Filling::winner);
/// Copy indices run from 0 to this one; the last of them stands for one that is far too large.
inline constexpr uint32_t copies_max = 11;

struct Content {
  Filling filling = Filling::zero;
  uint32_t copy = 0;
  friend bool operator==(const Content&, const Content&) = default;
};
using Contents = std::array<Content, superblock_slots_count>;

inline constexpr ClusterId test_cluster{7, 8};

inline bool is_version(Filling filling) { return static_cast<uint32_t>(filling) >= first_version; }

/// Every copy of every version, made once.
class SuperblockVersions {
 public:
  SuperblockVersions(uint32_t copies_count, bool is_parent_ahead) : copies_count_(copies_count) {
    Superblock parent = version(9, 90);
    parent.parent = {80, 80};
    Superblock ahead = version(9, 101);
    ahead.parent = {80, 80};
    seal(parent), seal(ahead);
    put(Filling::parent, parent);
    put(Filling::parent_ahead, ahead);
    put(Filling::older, version(8, 80));
    put(Filling::unconnected, version(9, 91));
    const Checksum connected = is_parent_ahead ? ahead.checksum : parent.checksum;
    const Superblock winner = put(Filling::winner, with_parent(version(10, 100), connected));
    put(Filling::fork, with_parent(version(10, 99), connected));
    put(Filling::other_fork, with_parent(version(10, 102), {1, 2}));
    put(Filling::next, with_parent(version(11, 110), winner.checksum));
    put(Filling::other_next, with_parent(version(11, 111), {1, 2}));
    put(Filling::skipped, version(12, 120));
    Superblock foreign = version(20, 200);
    foreign.cluster = {9, 9};
    put(Filling::foreign, foreign);
    foreign = version(10, 200);
    foreign.cluster = {9, 9};
    foreign.configuration.copies_count = copies_count == 4 ? 6 : 4;
    put(Filling::foreign_other, foreign);
  }

  /// With a winner that is the first version of a store, and a fork that is the first one of another.
  static SuperblockVersions first(uint32_t copies_count) {
    SuperblockVersions versions(copies_count, false);
    Superblock superblock = versions.version(1, 0);
    const Superblock winner = versions.put(Filling::winner, superblock);
    versions.put(Filling::next, with_parent(versions.version(2, 10), winner.checksum));
    superblock.configuration.blocks_max = 999;
    versions.put(Filling::fork, superblock);
    return versions;
  }

  uint32_t copies_count() const { return copies_count_; }
  const Superblock& at(Filling filling, uint32_t copy = 0) const {
    return copies_[(static_cast<size_t>(filling) - first_version) * (copies_max + 1) + copy];
  }
  SuperblockSlots slots_of(const Contents& contents) const {
    SuperblockSlots slots;
    for (uint32_t slot = 0; slot < slots.size(); ++slot) {
      const auto [filling, copy] = contents[slot];
      switch (filling) {
        case Filling::zero: slots[slot].fault = SuperblockFault::zero; break;
        case Filling::torn: slots[slot].fault = SuperblockFault::checksum; break;
        case Filling::unreadable: slots[slot].fault = SuperblockFault::unreadable; break;
        case Filling::unsupported: slots[slot].fault = SuperblockFault::version; break;
        default: slots[slot] = {SuperblockFault::none, &at(filling, copy)};
      }
    }
    return slots;
  }
  /// Which version has this checksum.
  Filling filling_of(const Checksum& checksum) const {
    for (uint32_t filling = first_version; filling < fillings_count; ++filling) {
      if (at(Filling(filling)).checksum == checksum) return Filling(filling);
    }
    return Filling::zero;
  }

 private:
  static void seal(Superblock& superblock) { superblock.checksum = checksum_of(superblock); }
  static Superblock with_parent(Superblock superblock, Checksum parent) {
    superblock.parent = parent;
    return superblock;
  }
  Superblock version(uint64_t sequence, uint64_t op) const {
    Superblock superblock;
    superblock.sequence = sequence;
    superblock.cluster = test_cluster;
    superblock.configuration.copies_count = copies_count_;
    superblock.configuration.blocks_max = 1000;
    superblock.state.op = op;
    return superblock;
  }
  Superblock put(Filling filling, Superblock superblock) {
    seal(superblock);
    for (uint32_t copy = 0; copy <= copies_max; ++copy) {
      superblock.copy = copy == copies_max ? UINT64_MAX - 1 : copy;
      copies_[(static_cast<size_t>(filling) - first_version) * (copies_max + 1) + copy] = superblock;
    }
    return superblock;
  }

  uint32_t copies_count_;
  std::vector<Superblock> copies_ = std::vector<Superblock>(size_t{fillings_count - first_version} * (copies_max + 1));
};

inline const char* name_of(Filling filling) {
  static constexpr const char* names[fillings_count] = {
      "zero",       "torn",        "unreadable",   "unsupported", "winner",     "parent",  "older",   "fork",
      "other fork", "unconnected", "parent ahead", "next",        "other next", "skipped", "foreign", "foreign other"};
  return names[static_cast<size_t>(filling)];
}

inline std::string text_of(const Contents& contents) {
  std::string text;
  for (const auto& [filling, copy] : contents) {
    text += name_of(filling);
    if (is_version(filling)) text += " " + std::to_string(copy);
    text += " | ";
  }
  return text;
}

}  // namespace spindle
