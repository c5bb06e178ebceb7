// The index over free blocks, at sizes around the borders of its levels.
#include "lsm/free_blocks.h"

#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "runtime/random.h"
#include "tests/death.h"

namespace spindle {
namespace {

FreeBlocks make_blocks(uint32_t blocks_count) {
  Result<FreeBlocks> made = FreeBlocks::create(blocks_count);
  REQUIRE(made.has_value());
  return std::move(*made);
}

// All acquired but some, which are kept beside.
std::vector<uint32_t> thin_out(FreeBlocks& blocks, Random& random, uint64_t one_of) {
  std::vector<uint32_t> free;
  for (uint32_t block = 0; block < blocks.blocks_count(); ++block) {
    if (random.chance(1, one_of)) {
      free.push_back(block);
    } else {
      blocks.take(block);
    }
  }
  return free;
}

TEST_CASE("the next free block, the n-th from a place on and the end agree with a plain list") {
  for (const uint32_t blocks_count : {1u, 63u, 64u, 65u, 4095u, 4096u, 4097u, 262'143u, 262'144u, 262'145u, 600'001u}) {
    for (const uint64_t one_of : {1u, 2u, 70u, 5000u, 300'000u}) {
      CAPTURE(blocks_count);
      CAPTURE(one_of);
      Random random(blocks_count + one_of);
      FreeBlocks blocks = make_blocks(blocks_count);
      const std::vector<uint32_t> free = thin_out(blocks, random, one_of);
      CHECK(blocks.free_count() == free.size());
      CHECK(blocks.is_consistent());
      uint32_t wrong_count = 0;
      for (uint32_t round = 0; round < 200 && !free.empty(); ++round) {
        const size_t first = random.below(free.size());
        const uint32_t low = first == 0 ? 0 : free[first - 1] + 1;
        const uint32_t begin = static_cast<uint32_t>(random.between(low, free[first]));
        const uint64_t count = random.between(1, free.size() - first);
        const uint64_t few = random.between(1, std::min<uint64_t>(count, 3));
        wrong_count += blocks.range_end(begin, static_cast<uint32_t>(count)) != free[first + count - 1] + 1;
        wrong_count += blocks.range_end(begin, static_cast<uint32_t>(few)) != free[first + few - 1] + 1;
        wrong_count += blocks.range_end(begin, 0) != begin;
      }
      for (const uint32_t block : free) wrong_count += blocks.take_lowest_from(block / 2) != block;
      CHECK(wrong_count == 0);
      CHECK(blocks.free_count() == 0);
      CHECK(blocks.acquired_end() == blocks_count);
      CHECK(blocks.is_consistent());
    }
  }
}

TEST_CASE("a grid of more than one unit of the top level finds what is far away") {
  const uint32_t blocks_count = (1u << 25) + 12'345;
  FreeBlocks blocks = make_blocks(blocks_count);
  CHECK(blocks.range_end(0, blocks_count) == blocks_count);
  CHECK(blocks.range_end(5, (1u << 25)) == (1u << 25) + 5);
  CHECK(blocks.range_end((1u << 24) - 1, 2) == (1u << 24) + 1);
  CHECK(blocks.acquired_end() == 0);
  blocks.take(blocks_count - 1);
  CHECK(blocks.acquired_end() == blocks_count);
  CHECK(blocks.range_end(0, blocks_count - 1) == blocks_count - 1);
  blocks.give_back((blocks_count - 1) / 64, uint64_t{1} << ((blocks_count - 1) % 64));
  blocks.take(1u << 24);
  CHECK(blocks.acquired_end() == (1u << 24) + 1);
  CHECK(blocks.is_consistent());
}

TEST_CASE("the end is behind the highest acquired block, wherever that is") {
  for (const uint32_t block : {0u, 63u, 64u, 4095u, 4096u, 262'143u, 262'144u, 262'150u, 270'000u, 599'999u}) {
    CAPTURE(block);
    FreeBlocks blocks = make_blocks(600'000);
    blocks.take(block);
    CHECK(blocks.acquired_end() == block + 1);
    if (block > 0) blocks.take(block - 1);
    CHECK(blocks.acquired_end() == block + 1);
    blocks.give_back(block / 64, uint64_t{1} << (block % 64));
    CHECK(blocks.acquired_end() == block);
    CHECK(blocks.is_consistent());
  }
}

TEST_CASE("blocks are given back word by word") {
  FreeBlocks blocks = make_blocks(130);
  for (uint32_t block = 0; block < 130; ++block) CHECK(blocks.take_lowest_from(0) == block);
  blocks.give_back(1, 0x8000000000000011);
  blocks.give_back(2, 2);
  CHECK(blocks.free_count() == 4);
  CHECK(blocks.is_consistent());
  for (const uint32_t block : {64u, 68u, 127u, 129u}) CHECK(blocks.take_lowest_from(3) == block);
}

TEST_CASE("misuse of the blocks is caught") {
  expect_abort([] { static_cast<void>(make_blocks(70).is_free(70)); }, "a block beyond the end of the grid");
  expect_abort([] { make_blocks(70).give_back(0, 1); }, "a block was freed that is not acquired");
  expect_abort([] { make_blocks(70).give_back(0, 0); }, "a block was freed that is not acquired");
  expect_abort([] { static_cast<void>(make_blocks(70).range_end(0, 71)); }, "more blocks were asked for than are free");
  expect_abort([] { static_cast<void>(make_blocks(70).range_end(70, 1)); }, "more blocks were asked for than are free");
  expect_abort([] { static_cast<void>(make_blocks(4096).range_end(1, 4096)); }, "more blocks were asked for than are");
  const auto use_up = [](FreeBlocks& blocks) {
    for (uint32_t block = 0; block < 70; ++block) blocks.take(block);
  };
  expect_abort(
      [&] {
        FreeBlocks blocks = make_blocks(70);
        use_up(blocks);
        blocks.take_lowest_from(0);
      },
      "there is no free block from there on");
  expect_abort(
      [&] {
        FreeBlocks blocks = make_blocks(70);
        use_up(blocks);
        blocks.take(69);
      },
      "a block was acquired that is not free");
}

}  // namespace
}  // namespace spindle
