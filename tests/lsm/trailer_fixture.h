// What the tests of trailers share: a disk of blocks in memory, and a reader.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "lsm/trailer.h"
#include "runtime/random.h"
#include "tests/lsm/block_fixture.h"

namespace spindle {

inline constexpr uint64_t body_size_max = block_size_min - message_header_size;
inline constexpr ClusterId trailer_cluster = {0x1122334455667788u, 0x99aabbccddeeff00u};
using Bytes = std::vector<std::byte>;

/// What came of a read: what is wrong with a block, or with the chain.
struct ReadFault {
  BlockFault block = BlockFault::none;
  TrailerFault trailer = TrailerFault::none;
  bool is_none() const { return block == BlockFault::none && trailer == TrailerFault::none; }
};

inline Trailer make_trailer(BlockPool& pool, TrailerKind kind, uint64_t size_max) {
  Result<Trailer> made = Trailer::create(pool, trailer_cluster, kind, size_max);
  REQUIRE(made.has_value());
  return std::move(*made);
}

/// Blocks by address, as a disk has them.
class BlockDisk {
 public:
  void write(uint64_t address, std::span<const std::byte> sectors) {
    blocks_[address].assign(sectors.begin(), sectors.end());
  }
  void write(const Trailer& trailer) {
    for (uint32_t index = 0; index < trailer.blocks_count(); ++index) {
      write(trailer.reference(index).address, trailer.sectors(index));
      if (trailer.reference(index).address_second != 0) {
        write(trailer.reference(index).address_second, trailer.sectors(index));
      }
    }
  }
  BlockFault read(std::span<std::byte> into, const BlockReference& reference) const {
    const auto found = blocks_.find(reference.address);
    if (found == blocks_.end()) return BlockFault::unreadable;
    std::memcpy(into.data(), found->second.data(), found->second.size());
    return verify_block(into, {trailer_cluster, reference, BlockType::free_set});
  }
  BlockHeader& header_at(uint64_t address) { return block_header_of(std::span<std::byte>(blocks_.at(address))); }
  /// Fits both checksums to what is there now.
  BlockReference seal(uint64_t address) { return seal_block(blocks_.at(address)); }

 private:
  std::map<uint64_t, Bytes> blocks_;
};

inline TrailerMetadata& metadata_of(BlockHeader& header) { return reinterpret_cast<TrailerMetadata&>(header.metadata); }

inline ReadFault read_trailer(Trailer& trailer, const BlockDisk& disk, const TrailerReference& reference) {
  ReadFault fault;
  fault.trailer = trailer.begin_read(reference);
  if (!fault.is_none()) return fault;
  for (uint32_t index = trailer.blocks_count(); index-- > 0;) {
    fault.block = disk.read(trailer.memory(index), trailer.reference(index));
    if (!fault.is_none()) return fault;
    fault.trailer = trailer.take(index);
    if (!fault.is_none()) return fault;
  }
  fault.trailer = trailer.finish();
  return fault;
}

inline Bytes bytes_of(const Trailer& trailer) {
  Bytes bytes;
  for (const std::span<const std::byte> chunk : trailer.chunks()) bytes.insert(bytes.end(), chunk.begin(), chunk.end());
  return bytes;
}

inline Bytes random_bytes(uint64_t size, uint64_t seed) {
  Bytes bytes(size);
  for (uint64_t at = 0; at < size; ++at) bytes[at] = static_cast<std::byte>(mix64(seed * 1'000'003 + at));
  return bytes;
}

inline void fill_stream(const Trailer& trailer, const Bytes& bytes) {
  size_t used = 0;
  for (const std::span<std::byte> body : trailer.bodies()) {
    const size_t size = std::min(body.size(), bytes.size() - used);
    if (size > 0) std::memcpy(body.data(), bytes.data() + used, size);
    used += size;
  }
  REQUIRE(used == bytes.size());
}

inline std::vector<uint64_t> addresses_from(uint64_t first, size_t count) {
  std::vector<uint64_t> addresses(count);
  for (size_t index = 0; index < count; ++index) addresses[index] = first + 3 * index;
  return addresses;
}

inline TrailerReference seal_stream(Trailer& trailer, const Bytes& bytes, uint64_t address_first,
                                    uint32_t copies_count = 1) {
  fill_stream(trailer, bytes);
  trailer.set_size(bytes.size());
  return trailer.seal(addresses_from(address_first, trailer.blocks_count() * copies_count), copies_count);
}

}  // namespace spindle
