// BlockHeader: the first 256 bytes of every block of the grid. It is a header of a message, of the command `block`: so
// a block can be sent to another member as it is. docs/FORMAT.md draws it.
//
//     0                        64        72               80     82         96                          256
//     | frame of a message     | address | address_second | type | reserved | metadata of the type      |
//
// A reference to a block, its address and the checksum of its header, is kept outside of the block. So what is read is
// either the block that was meant, or known not to be: an old version, another block, or half of one has another
// checksum. The header says where it belongs, too, which only serves to tell these apart.
//
// Where a block has a second address, both copies are the same, byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "lsm/superblock_format.h"
#include "pools/message_command.h"
#include "runtime/assert.h"

namespace spindle {

inline constexpr uint32_t block_size_min = sector_size;
inline constexpr uint32_t block_metadata_size = 160;

/// What a block holds; 0 is no type.
enum class BlockType : uint16_t {
  free_set = 1,
  manifest = 2,
  index = 3,
  value = 4,
};
inline constexpr uint16_t block_types_count = 4;  ///< from 1 on
const char* name_of(BlockType type) noexcept;

struct [[gnu::may_alias]] BlockHeader {
  HeaderFrame frame;
  uint64_t address;  ///< from 1 on
  uint64_t address_second;  ///< of the other copy; 0: there is none
  BlockType type;
  uint8_t reserved_block[14];
  uint8_t metadata[block_metadata_size];  ///< belongs to the type; what it does not use is zero
};
static_assert(sizeof(BlockHeader) == message_header_size && offsetof(BlockHeader, address) == 64);
static_assert(offsetof(BlockHeader, address_second) == 72 && offsetof(BlockHeader, type) == 80);
static_assert(offsetof(BlockHeader, reserved_block) == 82 && offsetof(BlockHeader, metadata) == 96);

template <>
struct HeaderOf<Command::block> {
  using type = BlockHeader;
};
static_assert(RegisteredCommand<Command::block>);

/// What is wrong with a block that was read, in the order in which it is looked for. Up to `reserved` the block by
/// itself, then what was asked for, then what is behind the header.
enum class BlockFault : uint8_t {
  none,
  unreadable,  ///< the medium gave an error
  header_checksum,  ///< nothing in the header can be trusted: torn, rotten, or never written
  protocol,  ///< of another version of the layout
  command,  ///< no block
  size,  ///< smaller than a header, or larger than a block
  type,  ///< none that there is
  reserved,  ///< a reserved byte is not zero
  cluster,  ///< of another cluster
  address,  ///< a block that belongs elsewhere: one of the two transfers went astray
  version,  ///< belongs here, and is not the one that is referred to: an older one, as a rule
  type_expected,  ///< of another type than what was asked for
  body_checksum,
  padding,  ///< what is behind the body, up to the end of its sector, is not zero
};
const char* name_of(BlockFault fault) noexcept;

/// Which block is meant.
struct BlockExpected {
  ClusterId cluster;
  BlockReference reference;
  BlockType type = BlockType::value;
};

inline const BlockHeader& block_header_of(std::span<const std::byte> block) noexcept {
  SPINDLE_ASSERT(block.size() >= message_header_size, "the header of less than a header");
  return *reinterpret_cast<const BlockHeader*>(block.data());
}
inline BlockHeader& block_header_of(std::span<std::byte> block) noexcept {
  SPINDLE_ASSERT(block.size() >= message_header_size, "the header of less than a header");
  return *reinterpret_cast<BlockHeader*>(block.data());
}

/// Starts a block in `block`, memory of the block size: a header of zeroes but for what is given and what all have,
/// and no body.
BlockHeader& start_block(std::span<std::byte> block, ClusterId cluster, BlockType type) noexcept;
/// The block is complete, addresses included: zeroes the rest of its last sector, and computes both checksums. Returns
/// how to refer to it.
BlockReference seal_block(std::span<std::byte> block) noexcept;
/// Bytes up to the end of the last sector in use: what is written.
uint32_t sectors_size_of(const BlockHeader& header) noexcept;

/// What a header says by itself; up to `reserved`.
BlockFault verify_block_header(const BlockHeader& header, uint32_t block_size) noexcept;
/// All of it. `block` is what was read: as many bytes as a block has. Bytes behind the last sector in use are not
/// looked at.
BlockFault verify_block(std::span<const std::byte> block, const BlockExpected& expected) noexcept;

}  // namespace spindle
