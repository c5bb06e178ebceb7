// A checkpoint trailer: a byte stream in a chain of blocks. docs/FORMAT.md draws it.
//
//     first block            second block                    last block
//     | header | body ………… | header, previous: first | … | header, previous: the one before | body … |
//
// Every block but the last has a full body. Each header names the block before, by address and checksum, and the offset
// of its body in the stream: so a chain that is cut, crossed with another, or bitten into its own tail is noticed at
// the block where it happens. Read from the last block to the first; the reference in the superblock has the size and a
// checksum of the stream as a whole.
//
// No I/O here: blocks in memory only. Nothing allocates after creation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lsm/block_header.h"
#include "lsm/block_pool.h"

namespace spindle {

/// Which stream; 0 is none.
enum class TrailerKind : uint16_t {
  blocks_acquired = 1,
  blocks_released = 2,
};

/// BlockHeader::metadata of a block of a trailer.
struct [[gnu::may_alias]] TrailerMetadata {
  BlockReference previous;  ///< zeroes in the first block
  uint64_t offset;  ///< of the body in the stream
  TrailerKind kind;
  uint8_t reserved[118];
};
static_assert(sizeof(TrailerMetadata) == block_metadata_size && std::is_standard_layout_v<TrailerMetadata>);
static_assert(std::has_unique_object_representations_v<TrailerMetadata>);
static_assert(offsetof(TrailerMetadata, offset) == 32 && offsetof(TrailerMetadata, kind) == 40);
static_assert(offsetof(TrailerMetadata, reserved) == 42);

/// What is wrong with a trailer whose blocks are whole, in the order in which it is looked for.
enum class TrailerFault : uint8_t {
  none,
  reference,  ///< the superblock refers to a stream that can't be
  kind,  ///< a block of another stream
  reserved,  ///< a reserved byte is not zero
  offset,  ///< a block with more or less of the stream than its place says
  previous,  ///< the first block names one before it, or a later one names none
  checksum,  ///< of the stream
};
const char* name_of(TrailerFault fault) noexcept;

class Trailer {
 public:
  /// Takes the blocks for `size_max` bytes from the pool, for good. Errors: `exhausted`.
  static Result<Trailer> create(BlockPool& pool, ClusterId cluster, TrailerKind kind, uint64_t size_max);
  Trailer(Trailer&&) noexcept = default;
  Trailer& operator=(Trailer&&) = delete;

  static uint64_t blocks_count_of(uint64_t size, uint32_t block_size) noexcept {
    const uint64_t body_size = block_size - message_header_size;
    return size / body_size + (size % body_size != 0);  // whatever the size is: it may come from a disk
  }
  uint32_t blocks_max() const noexcept { return static_cast<uint32_t>(blocks_.size()); }

  // Writing: fill bodies(), set_size(), then seal().
  std::span<const std::span<std::byte>> bodies() const noexcept { return bodies_; }
  /// The stream is the first `size` bytes of the bodies.
  void set_size(uint64_t size) noexcept;
  /// Blocks that the stream takes; none for an empty one.
  uint32_t blocks_count() const noexcept { return blocks_count_; }
  /// Of an empty stream: zeroes, as in a store that was just formatted. Else gives each block its address, or both:
  /// those of block i are at i × copies_count. Returns what the superblock keeps.
  TrailerReference seal(std::span<const uint64_t> addresses, uint32_t copies_count) noexcept;
  const BlockReference& reference(uint32_t index) const noexcept { return references_[index]; }
  std::span<const std::byte> sectors(uint32_t index) const noexcept {
    const std::span<const std::byte> memory = blocks_[index].memory();
    return memory.first(sectors_size_of(block_header_of(memory)));
  }

  // Reading: begin_read(), then fill memory(index) and take(index), from the last block to the first, then finish().
  /// Errors that a reference can have by itself. Sets blocks_count().
  TrailerFault begin_read(const TrailerReference& reference) noexcept;
  std::span<std::byte> memory(uint32_t index) const noexcept { return blocks_[index].memory(); }
  /// Of the block that was read and verified: is it that part of the stream? Sets reference(index - 1).
  TrailerFault take(uint32_t index) noexcept;
  /// Of all of them.
  TrailerFault finish() noexcept;
  /// The stream, after finish(): valid until the next call that changes something.
  std::span<const std::span<const std::byte>> chunks() const noexcept { return {chunks_.data(), blocks_count_}; }
  /// Of all blocks, second ones included, from the first on. Those of the last seal(), or of what was read.
  uint32_t addresses(std::span<uint64_t> into) const noexcept;

 private:
  Trailer(ClusterId cluster, TrailerKind kind) noexcept : cluster_(cluster), kind_(kind) {}
  static const TrailerMetadata& metadata_of(const BlockHeader& header) noexcept {
    return reinterpret_cast<const TrailerMetadata&>(header.metadata);
  }
  uint64_t body_size_max() const noexcept { return bodies_.front().size(); }
  /// Of the body of block `index` in a stream of size_ bytes.
  uint64_t body_size(uint32_t index) const noexcept;

  ClusterId cluster_;
  TrailerKind kind_;
  uint32_t blocks_count_ = 0;
  uint64_t size_ = 0;
  Checksum checksum_;  // of the stream that is read
  std::vector<BlockLease> blocks_;
  std::vector<std::span<std::byte>> bodies_;
  std::vector<std::span<const std::byte>> chunks_;
  std::vector<BlockReference> references_;
};

}  // namespace spindle
