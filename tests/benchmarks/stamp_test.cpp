// The stamp of --verify: what was written is recognized, and everything else is not.
#include "benchmarks/stamp.h"

#include <doctest/doctest.h>

#include <vector>

namespace spindle::bench {
namespace {

std::vector<std::byte> stamped(uint64_t size, uint64_t offset, uint64_t generation) {
  std::vector<std::byte> block(size);
  stamp_block(block, offset, generation);
  return block;
}

TEST_CASE("a stamped block is found to be what was written, at every size") {
  for (const uint64_t size : {64u, 72u, 512u, 4096u, 1u << 20}) {
    const auto block = stamped(size, 3 * size, 7);
    CHECK(check_stamp(block, 3 * size, 7).line == "");
    CHECK(check_stamp(block, 3 * size, generation_any).line == "");
  }
}

TEST_CASE("a block of another place or generation is told apart, with the offset") {
  const auto block = stamped(4096, 8192, 2);
  CHECK(check_stamp(block, 4096, 2).line == "verify: block at offset 4096 holds the block of offset 8192");
  CHECK(check_stamp(block, 8192, 3).line.find("holds write 2 of it, expected was write 3") != std::string::npos);
}

TEST_CASE("every single changed byte is noticed") {
  auto block = stamped(128, 0, 1);
  for (std::byte& byte : block) {
    byte ^= std::byte{0x10};
    CHECK(check_stamp(block, 0, 1));
    byte ^= std::byte{0x10};
  }
  CHECK_FALSE(check_stamp(block, 0, 1));
}

TEST_CASE("zeroes and half a block are no stamped block") {
  const std::vector<std::byte> zeroes(512);
  CHECK(check_stamp(zeroes, 0, generation_any).line.find("has no stamp") != std::string::npos);
  const auto block = stamped(8192, 0, 1);
  CHECK(check_stamp(std::span(block).first(4096), 0, 1));
}

TEST_CASE("generations of a block, and blocks of a generation, differ throughout") {
  const auto first = stamped(4096, 0, 1);
  const auto second = stamped(4096, 0, 2);
  const auto neighbour = stamped(4096, 4096, 1);
  uint32_t equal_count = 0;
  for (uint64_t i = 64; i < 4096; ++i) equal_count += first[i] == second[i] || first[i] == neighbour[i];
  CHECK(equal_count < 4096 / 64);  // about 1 in 128 by chance
}

}  // namespace
}  // namespace spindle::bench
