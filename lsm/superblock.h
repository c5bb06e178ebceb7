// The superblock of a store, in a zone of its storage: format, open, update and repair.
//
//     SuperblockCopies superblock(storage, zone);
//     co_await ok(superblock.open());                      // the newest version with a quorum, repaired
//     CheckpointState state = superblock.working().state;
//     …                                                    // write all that the next checkpoint refers to
//     co_await ok(superblock.update(state));               // from here on that is what opens
//
// Invariants
// 1. Copies are written one after another, each durable before the next: a torn write hurts one copy.
// 2. working() has been read back from a write quorum of slots. Only then may anything be freed or written over that
//    the version before refers to.
// 3. open() and format() begin with a sync. What a process wrote that was killed is read by the next one, and may be
//    gone after a loss of power: a version that was chosen by such copies would be, too.
// 4. After an error of update() nothing is known of which version will open: the next update is refused (`poisoned`).
//    A storage stops by itself when a write fails; here also when what was written is not read back.
// One call at a time; none is cut short by a cancel once it has begun to write. Memory: made once, at construction.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "io/storage.h"
#include "lsm/superblock_quorums.h"
#include "runtime/task.h"

namespace spindle {

struct SuperblockFormat {
  ClusterId cluster;
  StoreConfiguration configuration;
  bool force = false;  ///< also over a store that is there
};
static_assert(std::is_trivially_destructible_v<SuperblockFormat>);

class SuperblockCopies {
 public:
  /// The zone has superblock_zone_size bytes. `storage` stays where it is, and outlives this.
  SuperblockCopies(Storage& storage, ZoneIndex zone);
  SuperblockCopies(const SuperblockCopies&) = delete;
  SuperblockCopies& operator=(const SuperblockCopies&) = delete;

  /// Reads all slots and chooses, see choice(); changes nothing. Errors: those of reading, unreadable sectors excepted.
  /// Suspends.
  Task<Result<void>> inspect();
  /// Writes the first version: zeroes over whatever the slots hold, then all copies, which are read back. A crash
  /// leaves what opens as the first version, or what can be formatted again without force; a forced format of a store
  /// that was there may also leave that, or what is left of it. Errors: EEXIST where there is a store, or something of
  /// one, and lost_sectors where a slot can't be read, unless forced; `corrupt` when what was written is not read
  /// back; those of reading and writing; invalid_argument for a configuration that can't be. Suspends.
  Task<Result<void>> format(SuperblockFormat options);
  /// Finds the current version, repairs its copies, and reads them back. Errors: `corrupt`, where choice().error says
  /// why, or is none: then the repair did not reach a write quorum; those of reading and writing. Suspends.
  Task<Result<void>> open(std::optional<ClusterId> cluster = {});
  /// Makes `state` the current one. `state.op` is not below that of the former. Errors: those of writing and reading;
  /// `corrupt` when no write quorum is read back; `poisoned` after any of these. Suspends.
  Task<Result<void>> update(CheckpointState state);

  bool is_open() const noexcept { return is_open_; }
  /// The current version, while it is open.
  const Superblock& working() const noexcept;
  /// Of the last time that the slots were read.
  const SuperblockChoice& choice() const noexcept { return choice_; }
  const SuperblockSlots& slots() const noexcept { return slots_; }

 private:
  struct alignas(superblock_size) Sector {
    Superblock superblock;
  };
  struct Memory {
    std::array<Sector, superblock_slots_count> slots;
    Sector working;
    Sector stage;
    Sector zeroes;
  };

  Task<Result<void>> read_slots();
  Task<Result<void>> read_durable_slots();
  Task<Result<void>> read_slot(uint32_t slot);
  Task<Result<void>> write_copy(uint32_t slot);
  Task<Result<void>> write_copies();
  Task<Result<void>> wipe(uint32_t slot);
  Task<Result<void>> write_first();
  Task<Result<void>> write_repairs();
  Task<Result<void>> write_update();

  Storage& storage_;
  ZoneIndex zone_;
  std::unique_ptr<Memory> memory_;
  SuperblockSlots slots_{};
  SuperblockChoice choice_;
  bool is_open_ = false;
  bool is_busy_ = false;
  bool is_poisoned_ = false;
};

}  // namespace spindle
