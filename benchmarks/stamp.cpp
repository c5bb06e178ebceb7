#include "benchmarks/stamp.h"

#include <xxhash.h>

#include <cstring>

#include "benchmarks/job.h"

namespace spindle::bench {

namespace {

constexpr uint64_t stamp_magic = 0x31766e6962647073;  // "spdbinv1"

struct Header {
  uint64_t magic;
  uint64_t offset;
  uint64_t generation;
  uint32_t block_size;
  uint32_t zero;
  uint64_t checksum;
};
static_assert(sizeof(Header) == 40);

uint64_t checksum_of(std::span<const std::byte> block, const Header& header) noexcept {
  const uint64_t payload = XXH3_64bits(block.data() + sizeof(Header), block.size() - sizeof(Header));
  return XXH3_64bits_withSeed(&header, offsetof(Header, checksum), payload);
}

}  // namespace

void stamp_block(std::span<std::byte> block, uint64_t offset, uint64_t generation) noexcept {
  fill_incompressible(block.data() + sizeof(Header), block.size() - sizeof(Header), mix64(offset) ^ generation);
  Header header{stamp_magic, offset, generation, static_cast<uint32_t>(block.size()), 0, 0};
  header.checksum = checksum_of(block, header);
  memcpy(block.data(), &header, sizeof(header));
}

Failure check_stamp(std::span<const std::byte> block, uint64_t offset, uint64_t generation) {
  Header header;
  memcpy(&header, block.data(), sizeof(header));
  const std::string where = "verify: block at offset " + std::to_string(offset);
  if (header.magic != stamp_magic) {
    return {where + " has no stamp: it was not written by --verify with this --bs, or was overwritten since"};
  }
  if (header.checksum != checksum_of(block, header)) return {where + ": its checksum does not match what it holds"};
  if (header.block_size != block.size()) {
    return {where + " was written with --bs " + std::to_string(header.block_size) + "; read it with the same"};
  }
  if (header.offset != offset) return {where + " holds the block of offset " + std::to_string(header.offset)};
  if (generation != generation_any && header.generation != generation) {
    return {where + " holds write " + std::to_string(header.generation) + " of it, expected was write " +
            std::to_string(generation)};
  }
  return {};
}

}  // namespace spindle::bench
