// The coverage-guided target for blocks: any bytes, and any reference (libFuzzer, llvm.org/docs/LibFuzzer.html).
// Nothing may be read outside of the block, and what is wrong with it must be what docs/FORMAT.md says, which is
// written down here a second time.
//
// The input: a byte that says what the reader asks for, then the block up to the end of what is not zero. Noise dies at
// the first checksum. So nine of ten inputs are changed and then sealed again, half of these with their body.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "lsm/block_header.h"

using namespace spindle;

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t size_max);

namespace {

constexpr size_t block_size = 2 * 4096;
constexpr size_t prefix_size = 1;
constexpr uint64_t sector = 4096;
constexpr ClusterId cluster{7, 8};

void require(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "block: %s\n", what);
  std::abort();
}

template <class T>
T at(const uint8_t* bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes + offset, sizeof(value));
  return value;
}

bool is_zero(const uint8_t* bytes, size_t begin, size_t end) {
  return std::all_of(bytes + begin, bytes + end, [](uint8_t byte) { return byte == 0; });
}

Checksum checksum_in(const uint8_t* bytes, size_t begin, size_t end) {
  return checksum_of(std::as_bytes(std::span(bytes + begin, end - begin)));
}

/// Nothing of the code under test but the hash itself.
BlockFault expected_of_header(const uint8_t* block) {
  const Checksum checksum = checksum_in(block, 16, 256);
  if (std::memcmp(block, &checksum, sizeof(checksum)) != 0) return BlockFault::header_checksum;
  if (at<uint16_t>(block, 54) != 1) return BlockFault::protocol;
  // A message first: command 0 is none. Which one it is comes after the rest of what a message's header says.
  if (at<uint16_t>(block, 52) == 0) return BlockFault::command;
  const uint32_t size = at<uint32_t>(block, 48);
  if (size < 256 || size > block_size) return BlockFault::size;
  if (at<uint64_t>(block, 56) != 0) return BlockFault::reserved;
  if (at<uint16_t>(block, 52) != 3) return BlockFault::command;
  const uint16_t type = at<uint16_t>(block, 80);
  if (type < 1 || type > 4) return BlockFault::type;
  return is_zero(block, 82, 96) ? BlockFault::none : BlockFault::reserved;
}

BlockFault expected_of(const uint8_t* block, const BlockExpected& expected) {
  const BlockFault fault = expected_of_header(block);
  if (fault != BlockFault::none) return fault;
  if (at<uint64_t>(block, 32) != cluster.low || at<uint64_t>(block, 40) != cluster.high) return BlockFault::cluster;
  const bool is_here = at<uint64_t>(block, 64) == expected.reference.address &&
                       at<uint64_t>(block, 72) == expected.reference.address_second;
  if (!is_here) return BlockFault::address;
  if (std::memcmp(block, &expected.reference.checksum, 16) != 0) return BlockFault::version;
  if (at<uint16_t>(block, 80) != static_cast<uint16_t>(expected.type)) return BlockFault::type_expected;
  const uint32_t size = at<uint32_t>(block, 48);
  const Checksum body = checksum_in(block, 256, size);
  if (std::memcmp(block + 16, &body, sizeof(body)) != 0) return BlockFault::body_checksum;
  const uint64_t sectors_end = (size + sector - 1) / sector * sector;
  return is_zero(block, size, sectors_end) ? BlockFault::none : BlockFault::padding;
}

/// The byte in front: each of its bits is something that is asked for and not there; none, as a rule.
BlockExpected asked_of(uint8_t word, const uint8_t* block) {
  BlockExpected expected{cluster, {1, 0, {}}, BlockType::value};
  expected.reference.address = at<uint64_t>(block, 64) + (word == 1);
  expected.reference.address_second = at<uint64_t>(block, 72) + (word == 2);
  expected.reference.checksum = at<Checksum>(block, 0);
  if (word == 3) ++expected.reference.checksum.low;
  if (word == 4) ++expected.reference.checksum.high;
  expected.type = static_cast<BlockType>(at<uint16_t>(block, 80));
  if (word == 5) expected.type = expected.type == BlockType::index ? BlockType::value : BlockType::index;
  return expected;
}

void seal(uint8_t* block, size_t size, bool with_body) {
  if (with_body) {
    const uint32_t size_in_header = at<uint32_t>(block, 48);
    const size_t body_end = size_in_header >= 256 && size_in_header <= size ? size_in_header : size;
    const uint32_t whole = static_cast<uint32_t>(body_end);
    std::memcpy(block + 48, &whole, sizeof(whole));
    const Checksum body = checksum_in(block, 256, body_end);
    std::memcpy(block + 16, &body, sizeof(body));
  }
  const Checksum header = checksum_in(block, 16, 256);
  std::memcpy(block, &header, sizeof(header));
}

/// A header in front of whatever is there.
size_t make_valid(uint8_t* block, size_t size) {
  const size_t whole = std::max<size_t>(size, 256);
  if (size < 256) std::memset(block + size, 0, 256 - size);
  std::memset(block, 0, 96);
  const uint64_t words[] = {cluster.low, cluster.high};
  std::memcpy(block + 32, words, sizeof(words));
  const uint16_t command_and_protocol[] = {3, 1};
  std::memcpy(block + 52, command_and_protocol, sizeof(command_and_protocol));
  block[64] = 9;
  block[80] = static_cast<uint8_t>(1 + size % 4);
  seal(block, whole, true);
  return whole;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t size_max, unsigned seed) {
  constexpr size_t least = prefix_size + 256;
  if (size_max < least) return LLVMFuzzerMutate(bytes, size, size_max);
  const bool is_new = size < least || seed / 20 % 64 == 0;
  if (is_new) size = prefix_size + make_valid(bytes + prefix_size, size < prefix_size ? 0 : size - prefix_size);
  // Half of the changes are in the header, which is a small part of most inputs.
  if (seed / 1280 % 2 == 0) {
    LLVMFuzzerMutate(bytes + prefix_size, 256, 256);
  } else {
    size = LLVMFuzzerMutate(bytes, size, size_max);
  }
  if (size >= least && seed % 10 != 0) seal(bytes + prefix_size, size - prefix_size, seed / 10 % 2 == 0);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < prefix_size || size > prefix_size + block_size) return 0;
  // Memory of exactly that size, so that the address sanitizer sees a byte too much.
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  const std::unique_ptr<uint8_t, Free> block(static_cast<uint8_t*>(std::aligned_alloc(sector, block_size)));
  std::memset(block.get(), 0, block_size);
  std::memcpy(block.get(), data + prefix_size, size - prefix_size);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(block.get(), block_size));

  const BlockHeader& header = block_header_of(bytes);
  const BlockFault of_header = verify_block_header(header, block_size);
  require(of_header == expected_of_header(block.get()), "verify_block_header() says something else than the format");
  const BlockExpected expected = asked_of(data[0], block.get());
  const BlockFault fault = verify_block(bytes, expected);
  require(fault == expected_of(block.get(), expected), "verify_block() says something else than the format");
  require(name_of(fault)[0] != '?', "a fault without a name");
  if (of_header != BlockFault::none) return 0;
  require(name_of(header.type)[0] != '?', "a type without a name");
  const uint32_t sectors_size = sectors_size_of(header);
  require(sectors_size % sector == 0 && sectors_size >= header.frame.size && sectors_size <= block_size,
          "a block that is valid is larger than a block");
  return 0;
}
