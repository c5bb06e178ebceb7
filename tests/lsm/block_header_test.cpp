// Blocks: their layout, and that whatever is wrong with one is said.
#include "lsm/block_header.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <new>

#include "runtime/random.h"
#include "tests/format_example.h"

namespace spindle {
namespace {

constexpr uint32_t test_block_size = 16384;
constexpr ClusterId test_cluster = {0x1122334455667788u, 0x99aabbccddeeff00u};

struct alignas(sector_size) Block {
  std::byte bytes[test_block_size];

  std::span<std::byte> span() { return bytes; }
  BlockHeader& header() { return block_header_of(span()); }
};

/// A value block at address 42 with that many bytes of body, and memory behind it that is not zero.
std::unique_ptr<Block> make_block(uint32_t body_size, BlockExpected& expected) {
  auto block = std::make_unique<Block>();
  for (uint64_t number = 0; std::byte & byte : block->bytes) byte = static_cast<std::byte>(mix64(++number) | 1);
  BlockHeader& header = start_block(block->span(), test_cluster, BlockType::value);
  header.address = 42;
  header.frame.size += body_size;
  expected = {test_cluster, seal_block(block->span()), BlockType::value};
  return block;
}

std::unique_ptr<Block> make_block(uint32_t body_size) {
  BlockExpected expected;
  return make_block(body_size, expected);
}

/// The fault of a block that was changed, and whose header was made to fit again; so that its checksum is expected.
template <class Change>
BlockFault fault_after(Change change) {
  BlockExpected expected;
  auto block = make_block(5000, expected);
  change(block->header());
  block->header().frame.checksum = checksum_of(reinterpret_cast<MessageHeader&>(block->header()));
  expected.reference.checksum = block->header().frame.checksum;
  return verify_block(block->span(), expected);
}

TEST_CASE("a block that is right is accepted, whatever its size is") {
  for (const uint32_t body_size : {0u, 1u, 3839u, 3840u, 3841u, 8000u, test_block_size - message_header_size}) {
    CAPTURE(body_size);
    BlockExpected expected;
    const auto block = make_block(body_size, expected);
    CHECK(expected.reference.address == 42);
    CHECK(expected.reference.address_second == 0);
    CHECK(verify_block(block->span(), expected) == BlockFault::none);
    CHECK(sectors_size_of(block->header()) == (body_size + 256 + 4095) / 4096 * 4096);
  }
}

TEST_CASE("every single-bit flip in a block's sectors is detected") {
  BlockExpected expected;
  const auto block = make_block(4500, expected);
  const size_t size = sectors_size_of(block->header());
  REQUIRE(size == 8192);
  for (size_t bit = 0; bit < size * 8; ++bit) {
    const auto byte = bit / 8;
    block->bytes[byte] ^= std::byte{1} << (bit % 8);
    const BlockFault fault = verify_block(block->span(), expected);
    const BlockFault wanted = byte < 256    ? BlockFault::header_checksum
                              : byte < 4756 ? BlockFault::body_checksum
                                            : BlockFault::padding;
    if (fault != wanted) FAIL_CHECK("bit ", bit, ": ", name_of(fault));
    block->bytes[byte] ^= std::byte{1} << (bit % 8);
  }
  CHECK(verify_block(block->span(), expected) == BlockFault::none);
}

TEST_CASE("what lies behind the last sector in use is not looked at") {
  BlockExpected expected;
  const auto block = make_block(4500, expected);
  std::memset(block->bytes + 8192, 0x5a, test_block_size - 8192);
  CHECK(verify_block(block->span(), expected) == BlockFault::none);
}

TEST_CASE("each field of a block's header is checked although the checksum fits") {
  CHECK(fault_after([](BlockHeader&) {}) == BlockFault::none);
  CHECK(fault_after([](BlockHeader& header) { header.frame.protocol = 2; }) == BlockFault::protocol);
  CHECK(fault_after([](BlockHeader& header) { header.frame.command = Command::ping; }) == BlockFault::command);
  CHECK(fault_after([](BlockHeader& header) { header.frame.command = Command::none; }) == BlockFault::command);
  CHECK(fault_after([](BlockHeader& header) { header.frame.size = 255; }) == BlockFault::size);
  CHECK(fault_after([](BlockHeader& header) { header.frame.size = test_block_size + 1; }) == BlockFault::size);
  CHECK(fault_after([](BlockHeader& header) { header.frame.size = UINT32_MAX; }) == BlockFault::size);
  CHECK(fault_after([](BlockHeader& header) { header.type = BlockType{0}; }) == BlockFault::type);
  CHECK(fault_after([](BlockHeader& header) { header.type = BlockType{5}; }) == BlockFault::type);
  CHECK(fault_after([](BlockHeader& header) { header.type = BlockType::index; }) == BlockFault::type_expected);
  CHECK(fault_after([](BlockHeader& header) { header.frame.cluster.high = 0; }) == BlockFault::cluster);
  CHECK(fault_after([](BlockHeader& header) { header.address = 41; }) == BlockFault::address);
  CHECK(fault_after([](BlockHeader& header) { header.address_second = 41; }) == BlockFault::address);
  CHECK(fault_after([](BlockHeader& header) { header.frame.size += 1; }) == BlockFault::body_checksum);
  CHECK(fault_after([](BlockHeader& header) { header.frame.checksum_body.low ^= 1; }) == BlockFault::body_checksum);
}

TEST_CASE("each reserved byte of a block's header that is not zero is detected although the checksum fits") {
  for (size_t index = 0; index < sizeof(BlockHeader::reserved_block); ++index) {
    CHECK(fault_after([=](BlockHeader& header) { header.reserved_block[index] = 1; }) == BlockFault::reserved);
  }
  for (size_t index = 0; index < sizeof(HeaderFrame::reserved); ++index) {
    CHECK(fault_after([=](BlockHeader& header) { header.frame.reserved[index] = 0x80; }) == BlockFault::reserved);
  }
}

TEST_CASE("another version of a block, another block and a torn one are told apart") {
  BlockExpected expected;
  const auto block = make_block(8000, expected);
  const auto older = make_block(7999);
  CHECK(verify_block(older->span(), expected) == BlockFault::version);
  older->header().address = 43;
  seal_block(older->span());
  CHECK(verify_block(older->span(), expected) == BlockFault::address);
  older->header().frame.cluster.low += 1;
  seal_block(older->span());
  CHECK(verify_block(older->span(), expected) == BlockFault::cluster);
  older->header().frame.cluster.low -= 1;
  older->header().address = 42;
  older->bytes[5000] ^= std::byte{1};
  seal_block(older->span());
  std::memcpy(older->bytes, block->bytes, sector_size);
  CHECK(verify_block(older->span(), expected) == BlockFault::body_checksum);
}

TEST_CASE("memory that was never a block is none") {
  const BlockExpected expected;
  auto block = std::make_unique<Block>();
  std::memset(block->bytes, 0, sizeof(block->bytes));
  CHECK(verify_block(block->span(), expected) == BlockFault::header_checksum);
  std::memset(block->bytes, 0xff, sizeof(block->bytes));
  CHECK(verify_block(block->span(), expected) == BlockFault::header_checksum);
}

TEST_CASE("faults and types of blocks have names of their own") {
  std::vector<std::string> names;
  for (int fault = 0; fault <= static_cast<int>(BlockFault::padding); ++fault) {
    names.push_back(name_of(static_cast<BlockFault>(fault)));
  }
  for (uint16_t type = 1; type <= block_types_count; ++type) names.push_back(name_of(BlockType{type}));
  for (size_t first = 0; first < names.size(); ++first) {
    CHECK(names[first] != "?");
    for (size_t second = 0; second < first; ++second) CHECK(names[first] != names[second]);
  }
}

TEST_CASE("the example in FORMAT.md is what a block looks like") {
  auto block = std::make_unique<Block>();
  std::memset(block->bytes, 0xee, sizeof(block->bytes));
  BlockHeader& header = start_block(block->span(), test_cluster, BlockType::value);
  header.address = 42;
  header.address_second = 43;
  std::memcpy(block->bytes + message_header_size, "spindle", 7);
  header.frame.size += 7;
  seal_block(block->span());
  const std::vector<std::byte> made(block->bytes, block->bytes + header.frame.size);
  CHECK_MESSAGE(made == format_example("Block"), hex_dump(made));
}

}  // namespace
}  // namespace spindle
