// The superblock on disk: which checkpoint is the current one. docs/FORMAT.md draws it.
//
//     slot  0           1                       7
//           | copy 0    | copy 1    | …  | zeroes    |     a slot every superblock_slot_stride bytes
//
// A store has 4, 6 or 8 copies of each version, copy i in slot i; the zone has 8 slots, whatever that number is, and
// all are read. A copy is one sector of 4096 bytes. The checksum covers everything behind the copy index: so all copies
// of a version have the same one, and the copy index, which nothing protects, is only ever a hint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "pools/message_header.h"

namespace spindle {

inline constexpr uint32_t superblock_size = 4096;
inline constexpr uint32_t superblock_slots_count = 8;
/// Far enough apart that what damages one slot, a page of flash for example, leaves its neighbours alone.
inline constexpr uint32_t superblock_slot_stride = 64 << 10;
inline constexpr uint64_t superblock_zone_size = uint64_t{superblock_slots_count} * superblock_slot_stride;
inline constexpr uint16_t superblock_format_version = 1;
inline constexpr uint32_t block_size_max = 64 << 20;

/// A block of the grid: where, and what its header's checksum is. The second address is that of an identical copy; 0:
/// there is none. Address 0 in the first: no block.
struct BlockReference {
  uint64_t address = 0;
  uint64_t address_second = 0;
  Checksum checksum;
  friend bool operator==(const BlockReference&, const BlockReference&) noexcept = default;
};

/// A byte stream in a chain of blocks.
struct TrailerReference {
  BlockReference last;
  uint64_t size = 0;  ///< bytes of the stream
  uint64_t reserved = 0;
  Checksum checksum;  ///< of the stream
  friend bool operator==(const TrailerReference&, const TrailerReference&) noexcept = default;
};

/// What a checkpoint consists of.
struct CheckpointState {
  uint64_t op = 0;  ///< the last operation that it contains; never goes back
  uint64_t storage_size = 0;  ///< bytes of the data file: the end of the highest acquired block
  BlockReference manifest_oldest;
  BlockReference manifest_newest;
  uint64_t manifest_blocks_count = 0;
  uint64_t reserved = 0;
  TrailerReference blocks_acquired;
  TrailerReference blocks_released;
  friend bool operator==(const CheckpointState&, const CheckpointState&) noexcept = default;
};

/// Fixed when the store is formatted.
struct StoreConfiguration {
  uint32_t sector_size = 4096;
  uint32_t block_size = 512 << 10;
  uint32_t copies_count = 4;  ///< of the superblock: 4, 6 or 8
  uint32_t reserved = 0;
  uint64_t journal_size = 0;
  uint64_t blocks_max = 0;  ///< of the grid
  friend bool operator==(const StoreConfiguration&, const StoreConfiguration&) noexcept = default;
};

struct Superblock {
  Checksum checksum;  ///< of bytes 24 to 4095
  uint64_t copy = 0;  ///< which one this is
  uint16_t format_version = superblock_format_version;
  uint16_t reserved_first = 0;
  uint32_t reserved_second = 0;
  uint64_t sequence = 0;  ///< 1 for the first version, one more for each
  uint64_t reserved_third = 0;
  ClusterId cluster;
  Checksum parent;  ///< the checksum of the version before; 0 of the first
  StoreConfiguration configuration;
  CheckpointState state;
  uint8_t reserved[3760] = {};
};
static_assert(sizeof(BlockReference) == 32 && sizeof(TrailerReference) == 64);
static_assert(sizeof(CheckpointState) == 224 && sizeof(StoreConfiguration) == 32);
static_assert(sizeof(Superblock) == superblock_size && std::is_standard_layout_v<Superblock>);
static_assert(std::is_trivially_copyable_v<Superblock>);
static_assert(std::has_unique_object_representations_v<Superblock>, "no padding: every byte is checked");
static_assert(offsetof(Superblock, copy) == 16 && offsetof(Superblock, format_version) == 24);
static_assert(offsetof(Superblock, sequence) == 32 && offsetof(Superblock, cluster) == 48);
static_assert(offsetof(Superblock, parent) == 64 && offsetof(Superblock, configuration) == 80);
static_assert(offsetof(Superblock, state) == 112 && offsetof(Superblock, reserved) == 336);
static_assert(offsetof(CheckpointState, manifest_oldest) == 16 && offsetof(CheckpointState, manifest_newest) == 48);
static_assert(offsetof(CheckpointState, blocks_acquired) == 96 && offsetof(CheckpointState, blocks_released) == 160);

/// What is wrong with a copy by itself, in the order in which it is looked for.
enum class SuperblockFault : uint8_t {
  none,
  unreadable,  ///< the medium gave an error
  zero,  ///< never written, or wiped
  checksum,  ///< nothing in it can be trusted
  version,  ///< whole, and of another format version
  configuration,  ///< whole, and says what can't be
  reserved,  ///< a reserved byte is not zero
};
const char* name_of(SuperblockFault fault) noexcept;

/// The checksum that belongs into superblock.checksum.
Checksum checksum_of(const Superblock& superblock) noexcept;
/// Of a copy that could be read.
SuperblockFault verify(const Superblock& superblock) noexcept;
/// Of what somebody asks for, or a disk says.
bool is_valid(const StoreConfiguration& configuration) noexcept;

/// Copies with one checksum that a version needs to be valid: 2 of 4, 3 of 6, 4 of 8.
constexpr uint32_t read_quorum_of(uint32_t copies_count) noexcept { return copies_count / 2; }
/// Copies that a version needs before anything may depend on it: 3 of 4, 4 of 6, 5 of 8.
constexpr uint32_t write_quorum_of(uint32_t copies_count) noexcept { return copies_count / 2 + 1; }
static_assert(read_quorum_of(4) + write_quorum_of(4) == 5, "two versions can't both have what they need");

}  // namespace spindle
