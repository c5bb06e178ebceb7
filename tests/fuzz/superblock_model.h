// What the fuzzer `superblock` knows of a store: every version that was ever begun, what each slot holds, and what may
// open, must open, or may be refused, which is said by counting slots, not by the rules of lsm/superblock_quorums.h.
//
// The promises
// 1. What opens was written, in full, and is on the slots half as often as it has copies. Damage can't make a version.
// 2. What opens is the durable version or one that was begun after it. Anything else needs slots that were given
//    former contents, as many as a quorum to read.
// 3. The durable version or one after it opens after any crash; and the durable one when no update is under way and
//    only a minority of its copies was damaged, as long as nothing of a store before the last format came back.
// 4. certain(): whatever happened, a version with half of its copies in their places opens, where no other one could
//    win, or says that it should not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "lsm/superblock_format.h"

namespace spindle::fuzz {

/// What a slot holds, as far as a reader can tell.
struct SlotImage {
  enum class Kind : uint8_t {
    zero,
    version,      ///< a copy of a version that was begun
    unsupported,  ///< whole, and never written by this program
    torn,
    unreadable,
  };
  Kind kind = Kind::zero;
  size_t version = 0;
  uint64_t copy = 0;
  uint64_t hash = 0;  ///< of the bytes

  bool is_of(size_t other) const noexcept { return kind == Kind::version && version == other; }
  friend bool operator==(const SlotImage&, const SlotImage&) = default;
};
using SlotImages = std::array<SlotImage, superblock_slots_count>;
using AskedCluster = std::optional<ClusterId>;

class SuperblockModel {
 public:
  /// A version that is going to be written. Of a format: `is_first`.
  size_t begin(const Superblock& version, bool is_first);
  /// It is there, or was opened: nothing before it may open any more.
  void settle(size_t version);
  /// The one begun last: nothing of it was written this time; it may have been begun before.
  void take_back(size_t version);

  const Superblock& at(size_t version) const { return versions_[version]; }
  SlotImage classify(const Superblock& slot, bool is_readable) const;
  /// Which version this is, in all but the copy index.
  std::optional<size_t> find(const Superblock& superblock) const;

  uint32_t in_place_count(const SlotImages& images, size_t version) const;
  static uint32_t anywhere_count(const SlotImages& images, size_t version);
  bool is_whole(const SlotImages& images, size_t version) const {
    return in_place_count(images, version) == at(version).configuration.copies_count;
  }
  /// The version that must open, if there is one; see promise 4.
  std::optional<size_t> certain(const SlotImages& images, AskedCluster asked) const;
  /// Promise 3: nothing that happened excuses an open that is refused.
  bool must_open(const SlotImages& images, AskedCluster asked) const;
  /// Promises 1 and 2.
  bool may_open(const SlotImages& images, size_t version, AskedCluster asked) const;
  /// A format without force must go through; must be refused. Neither: either.
  bool must_format(const SlotImages& images) const;
  bool must_refuse_format(const SlotImages& images) const;
  /// Slots of the durable version that may still be damaged within the bound.
  uint32_t damage_left() const;
  bool is_candidate(size_t version) const;

  std::optional<size_t> durable;
  std::vector<size_t> flights;  ///< begun since, and not known to be there
  bool is_format_in_flight = false;
  uint32_t damaged_slots = 0;  ///< bits: since the last time that all copies were whole
  uint32_t former_slots = 0;   ///< of these: with a content that was somewhere, or some time, right

 private:
  using Key = std::pair<uint64_t, uint64_t>;
  static Key key_of(const Superblock& version) { return {version.checksum.low, version.checksum.high}; }
  bool is_asked(size_t version, AskedCluster asked) const { return !asked || at(version).cluster == *asked; }
  bool has_rival(const SlotImages& images, size_t version, AskedCluster asked) const;
  bool has_hazard(const SlotImages& images, size_t version) const;
  bool has_former_store(const SlotImages& images) const;

  std::vector<Superblock> versions_;
  std::vector<uint32_t> generations_;  // how many formats were begun before
  uint32_t generation_ = 0;
  std::map<Key, size_t> indices_;
};

}  // namespace spindle::fuzz
