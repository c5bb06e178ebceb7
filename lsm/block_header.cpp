#include "lsm/block_header.h"

#include <cstring>

namespace spindle {

namespace {

BlockFault fault_of(MessageFault fault) noexcept {
  switch (fault) {
    case MessageFault::none: return BlockFault::none;
    case MessageFault::header_checksum: return BlockFault::header_checksum;
    case MessageFault::protocol: return BlockFault::protocol;
    case MessageFault::command: return BlockFault::command;
    case MessageFault::size: return BlockFault::size;
    case MessageFault::reserved: return BlockFault::reserved;
    case MessageFault::body_size:
    case MessageFault::body_checksum: return BlockFault::body_checksum;
  }
  return BlockFault::header_checksum;
}

const MessageHeader& message_header_of(const BlockHeader& header) noexcept {
  return reinterpret_cast<const MessageHeader&>(header);
}

std::span<const uint8_t> bytes_of(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

bool is_type(BlockType type) noexcept {
  const uint16_t number = static_cast<uint16_t>(type);
  return number >= 1 && number <= block_types_count;
}

}  // namespace

const char* name_of(BlockType type) noexcept {
  switch (type) {
    case BlockType::free_set: return "free_set";
    case BlockType::manifest: return "manifest";
    case BlockType::index: return "index";
    case BlockType::value: return "value";
  }
  return "?";
}

const char* name_of(BlockFault fault) noexcept {
  switch (fault) {
    case BlockFault::none: return "none";
    case BlockFault::unreadable: return "unreadable";
    case BlockFault::header_checksum: return "header_checksum";
    case BlockFault::protocol: return "protocol";
    case BlockFault::command: return "command";
    case BlockFault::size: return "size";
    case BlockFault::type: return "type";
    case BlockFault::reserved: return "reserved";
    case BlockFault::cluster: return "cluster";
    case BlockFault::address: return "address";
    case BlockFault::version: return "version";
    case BlockFault::type_expected: return "type_expected";
    case BlockFault::body_checksum: return "body_checksum";
    case BlockFault::padding: return "padding";
  }
  return "?";
}

BlockHeader& start_block(std::span<std::byte> block, ClusterId cluster, BlockType type) noexcept {
  BlockHeader& header = block_header_of(block);
  header = BlockHeader();
  header.frame.cluster = cluster;
  header.frame.size = message_header_size;
  header.frame.command = Command::block;
  header.frame.protocol = message_protocol;
  header.type = type;
  return header;
}

uint32_t sectors_size_of(const BlockHeader& header) noexcept {
  return (header.frame.size + sector_size - 1) / sector_size * sector_size;
}

BlockReference seal_block(std::span<std::byte> block) noexcept {
  BlockHeader& header = block_header_of(block);
  const uint32_t size = header.frame.size;
  SPINDLE_ASSERT(size >= message_header_size && size <= block.size(), "a block is sealed whose size can't be");
  SPINDLE_ASSERT(header.frame.command == Command::block && is_type(header.type), "a block is sealed that has no type");
  SPINDLE_ASSERT(header.address != 0 && header.address != header.address_second, "addresses of a block that can't be");
  const std::span<std::byte> padding = block.first(sectors_size_of(header)).subspan(size);
  if (!padding.empty()) std::memset(padding.data(), 0, padding.size());
  header.frame.checksum_body = checksum_of(block.first(size).subspan(message_header_size));
  header.frame.checksum = checksum_of(message_header_of(header));
  return {header.address, header.address_second, header.frame.checksum};
}

BlockFault verify_block_header(const BlockHeader& header, uint32_t block_size) noexcept {
  const BlockFault fault = fault_of(verify_header(message_header_of(header), block_size));
  if (fault != BlockFault::none) return fault;
  if (header.frame.command != Command::block) return BlockFault::command;
  if (!is_type(header.type)) return BlockFault::type;
  if (!are_zero(header.reserved_block)) return BlockFault::reserved;
  return BlockFault::none;
}

BlockFault verify_block(std::span<const std::byte> block, const BlockExpected& expected) noexcept {
  const BlockHeader& header = block_header_of(block);
  const BlockFault fault = verify_block_header(header, static_cast<uint32_t>(block.size()));
  if (fault != BlockFault::none) return fault;
  const BlockReference& reference = expected.reference;
  if (header.frame.cluster != expected.cluster) return BlockFault::cluster;
  if (header.address != reference.address || header.address_second != reference.address_second) {
    return BlockFault::address;
  }
  if (header.frame.checksum != reference.checksum) return BlockFault::version;
  if (header.type != expected.type) return BlockFault::type_expected;
  const uint32_t size = header.frame.size;
  const std::span<const std::byte> body = block.first(size).subspan(message_header_size);
  if (header.frame.checksum_body != checksum_of(body)) return BlockFault::body_checksum;
  if (!are_zero(bytes_of(block.first(sectors_size_of(header)).subspan(size)))) return BlockFault::padding;
  return BlockFault::none;
}

}  // namespace spindle
