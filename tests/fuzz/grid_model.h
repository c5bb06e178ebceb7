// What the fuzzer `grid` knows of a store: of each address whether it is free, of each block what it holds, and what
// the checkpoints refer to. A flag per address and a map: too simple to be wrong. What the disk holds is looked up on
// the disk itself (grid_machine.h), so there is no model of damage.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "lsm/block_header.h"
#include "lsm/free_set.h"

namespace spindle::fuzz {

inline constexpr ClusterId grid_fuzz_cluster = {0x6772, 0x6964};

/// A block by what it was made from.
struct StoredBlock {
  BlockReference reference;
  BlockType type = BlockType::value;
  uint64_t number = 0;  ///< its body follows from that
  uint32_t body_size = 0;

  uint32_t copies_count() const noexcept { return reference.address_second == 0 ? 1 : 2; }
  uint64_t address(uint32_t copy) const noexcept { return copy == 0 ? reference.address : reference.address_second; }
};

/// Fills memory of a whole block, seals it, and sets the checksum of the reference.
void make_block(StoredBlock& block, std::span<std::byte> memory);

enum class AddressState : uint8_t { free, acquired, released };

/// A window as grid.reserve() made it.
struct WindowModel {
  uint64_t number = 0;
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t next = 0;  ///< nothing from the beginning to here is free
  uint64_t left_count = 0;
};

/// What a checkpoint refers to. Its own trailers are known only once it was written.
struct GridImage {
  uint64_t op = 0;
  std::vector<AddressState> states;  ///< by address
  std::map<uint64_t, StoredBlock> live;  ///< by first address
  std::set<uint64_t> empty;  ///< acquired, and never written
  std::set<uint64_t> log;  ///< of those: what stands for the log of a layer above
};

class GridModel {
 public:
  explicit GridModel(uint64_t blocks_count);

  uint64_t blocks_count() const noexcept { return image_.states.size() - 1; }
  AddressState state(uint64_t address) const noexcept { return image_.states[address]; }
  uint64_t count(AddressState state) const noexcept;
  uint64_t highest_acquired() const noexcept;
  const std::map<uint64_t, StoredBlock>& live() const noexcept { return image_.live; }
  const std::set<uint64_t>& empty() const noexcept { return image_.empty; }
  const std::set<uint64_t>& log() const noexcept { return image_.log; }
  void set_log(std::set<uint64_t> addresses) { image_.log = std::move(addresses); }
  /// Whether the store refers to exactly that block now.
  bool is_live(const BlockReference& reference) const noexcept;

  // Windows.
  /// Checks a window that was just made, `count` blocks wide.
  WindowModel begin_window(const FreeSet::Reservation& reservation, uint64_t count);
  /// Checks what acquire() gave.
  void acquire(WindowModel& window, uint64_t address);
  /// `may_wait`: somebody reserves, so that it may take effect later.
  void end_window(const WindowModel& window, bool may_wait);
  /// All windows that ended are closed.
  void note_no_windows() noexcept {
    window_end_ = 1;
    may_be_deferred_ = false;
  }
  size_t windows_count() const noexcept { return windows_.size(); }
  /// Free blocks that a window could take now, at least and at most.
  uint64_t unreserved_min() const noexcept;
  uint64_t unreserved_max() const noexcept;
  /// The address behind the next `count` free ones that a window could take; the last one where there are not as many.
  uint64_t end_of_next(uint64_t count) const noexcept;

  // Blocks.
  void note_written(const StoredBlock& block);
  void release(const BlockReference& reference);

  // Checkpoints.
  GridImage image(uint64_t op) const;
  /// That checkpoint is durable, with these trailers: now, or since a restart.
  void take_over(const GridImage& image, std::span<const uint64_t> trailers);

  /// The free set is the same, block by block.
  void check(const FreeSet& set, bool looks_at_all) const;

 private:
  uint64_t free_from(uint64_t address) const noexcept;

  GridImage image_;
  std::vector<WindowModel> windows_;
  uint64_t window_number_ = 0;
  uint64_t window_end_ = 1;  // of the last one
  bool may_be_deferred_ = false;  // windows that ended may still be open
};

}  // namespace spindle::fuzz
