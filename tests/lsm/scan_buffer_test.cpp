// Scan buffers: all or none at start, the lowest one first, what a reset leaves of handles, and what is caught.
#include "lsm/scan_buffer.h"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/death.h"
#include "tests/lsm/scan_buffer_fixture.h"

namespace spindle {
namespace {

TEST_CASE("scan buffers take two blocks for each level of each, and give all of them back") {
  struct Case {
    uint32_t scans_max;
    uint32_t levels_count;
  };
  for (const Case& shape : {Case{1, 1}, Case{6, 7}, Case{1, 7}, Case{65, 1}}) {
    const uint32_t blocks_count = 2 * shape.scans_max * shape.levels_count;
    const auto blocks = make_block_pool(blocks_count + 3);
    const BlockLease other = lease_block(*blocks);
    {
      const ScanPoolPointer pool = make_scan_pool(*blocks, shape.scans_max, shape.levels_count);
      CHECK(pool->scans_max() == shape.scans_max);
      CHECK(pool->levels_count() == shape.levels_count);
      CHECK(pool->in_use_count() == 0);
      CHECK(blocks->in_use_count() == blocks_count + 1);
    }
    CHECK(blocks->in_use_count() == 1);
  }
}

TEST_CASE("the default is the memory of six scans over seven levels") {
  const auto blocks = make_block_pool(84);
  const auto made = ScanBufferPool::create(*blocks, {});
  REQUIRE(made.has_value());
  CHECK(blocks->in_use_count() == 84);
}

TEST_CASE("scan buffers for which there are not enough blocks take none") {
  const auto blocks = make_block_pool(12);
  {
    const BlockLease other = lease_block(*blocks);
    const auto made = ScanBufferPool::create(*blocks, {.levels_count = 2, .scans_max = 3});
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::exhausted);
    CHECK(blocks->in_use_count() == 1);
  }
  for (const ScanBufferOptions& options :
       {ScanBufferOptions{13, 1}, ScanBufferOptions{1, 7}, ScanBufferOptions{1u << 31, 1u << 31},
        ScanBufferOptions{1u << 31, 2}, ScanBufferOptions{UINT32_MAX, UINT32_MAX}}) {
    const auto made = ScanBufferPool::create(*blocks, options);
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::exhausted);
    CHECK(blocks->in_use_count() == 0);
  }
  static_cast<void>(make_scan_pool(*blocks, 3));  // exactly as many
}

TEST_CASE("scan buffers without levels, or none of them, are refused") {
  const auto blocks = make_block_pool(12);
  for (const ScanBufferOptions& options : {ScanBufferOptions{0, 1}, ScanBufferOptions{1, 0}, ScanBufferOptions{0, 0}}) {
    const auto made = ScanBufferPool::create(*blocks, options);
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::invalid_argument);
  }
  CHECK(blocks->in_use_count() == 0);
}

TEST_CASE("each level of each buffer has two blocks of its own") {
  ScanPools pools;
  std::vector<ScanBuffer> buffers = take_all_scans(*pools.scans);
  std::set<std::byte*> starts;
  for (ScanBuffer& buffer : buffers) {
    CHECK(buffer.levels_count() == 2);
    for (uint32_t level = 0; level < buffer.levels_count(); ++level) {
      for (BlockLease* const block : {&buffer.level(level).index_block(), &buffer.level(level).value_block()}) {
        CHECK(block->memory().size() == block_size_min);
        CHECK(pools.blocks->arena().data() <= block->memory().data());
        starts.insert(block->memory().data());
      }
    }
  }
  CHECK(starts.size() == 12);
}

TEST_CASE("a buffer is the same memory whenever it is handed out") {
  ScanPools pools;
  ScanBuffer first = take_scan(*pools.scans);
  const std::byte* const memory = first.level(1).value_block().memory().data();
  first.release();
  const ScanBuffer again = take_scan(*pools.scans);
  CHECK(again.index() == 0);
  CHECK(again.level(1).value_block().memory().data() == memory);
}

TEST_CASE("the free buffer with the lowest index is handed out") {
  const auto blocks = make_block_pool(2 * 70);
  const ScanPoolPointer pool = make_scan_pool(*blocks, 70, 1);
  std::vector<ScanBuffer> buffers = take_all_scans(*pool);
  REQUIRE(buffers.size() == 70);
  for (uint32_t index = 0; index < 70; ++index) CHECK(buffers[index].index() == index);
  for (const uint32_t index : {66u, 3u, 65u, 0u, 69u}) buffers[index].release();
  CHECK(pool->in_use_count() == 65);
  std::vector<ScanBuffer> again = take_all_scans(*pool);
  std::string order;
  for (const ScanBuffer& buffer : again) order += std::to_string(buffer.index()) + ' ';
  CHECK(order == "0 3 65 66 69 ");
}

TEST_CASE("who does not want to wait is told that scans_max is exceeded") {
  ScanPools pools;
  std::vector<ScanBuffer> buffers = take_all_scans(*pools.scans);
  const Result<ScanBuffer> refused = pools.scans->try_acquire();
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::exhausted);
  CHECK(std::string(refused.error().where) == "scans_max exceeded");
  CHECK(pools.scans->in_use_count() == 3);
  buffers[1].release();
  CHECK(take_scan(*pools.scans).index() == 1);
}

TEST_CASE("who has reserved takes a buffer without asking") {
  ScanPools pools;
  const ScanBuffer first = pools.scans->acquire_assume_capacity();
  const ScanBuffer second = pools.scans->acquire_assume_capacity();
  CHECK(first.index() == 0);
  CHECK(second.index() == 1);
  CHECK(second.is_valid());
  CHECK(pools.scans->in_use_count() == 2);
}

TEST_CASE("a buffer goes back when its handle is dropped, once") {
  ScanPools pools;
  ScanBuffer none;
  CHECK_FALSE(none.is_valid());
  none.release();
  {
    const ScanBuffer first = take_scan(*pools.scans);
    ScanBuffer second = take_scan(*pools.scans);
    CHECK(pools.scans->in_use_count() == 2);
    second.release();
    CHECK_FALSE(second.is_valid());
    second.release();
    CHECK(pools.scans->in_use_count() == 1);
  }
  CHECK(pools.scans->in_use_count() == 0);
}

TEST_CASE("a handle moves, and drops what an assignment replaces") {
  ScanPools pools;
  ScanBuffer first = take_scan(*pools.scans);
  ScanBuffer second = take_scan(*pools.scans);
  ScanBuffer moved(std::move(second));
  CHECK_FALSE(second.is_valid());
  CHECK(moved.index() == 1);
  first = std::move(moved);
  CHECK_FALSE(moved.is_valid());
  CHECK(first.index() == 1);
  CHECK(pools.scans->in_use_count() == 1);
  ScanBuffer& alias = first;
  first = std::move(alias);
  CHECK(first.is_valid());
  CHECK(pools.scans->in_use_count() == 1);
  CHECK(take_scan(*pools.scans).index() == 0);
}

// reset()

TEST_CASE("after a reset all buffers are free, and handles from before are not valid") {
  ScanPools pools;
  const uint64_t session = pools.scans->session();
  std::vector<ScanBuffer> before = take_all_scans(*pools.scans);
  pools.scans->reset();
  CHECK(pools.scans->session() > session);
  CHECK(pools.scans->in_use_count() == 0);
  for (const ScanBuffer& buffer : before) CHECK_FALSE(buffer.is_valid());
  const std::vector<ScanBuffer> after = take_all_scans(*pools.scans);
  REQUIRE(after.size() == 3);
  for (uint32_t index = 0; index < 3; ++index) {
    CHECK(after[index].is_valid());
    CHECK(after[index].index() == index);
  }
}

TEST_CASE("a handle from before a reset gives nothing back, not even where its buffer is handed out again") {
  ScanPools pools;
  std::vector<ScanBuffer> before = take_all_scans(*pools.scans);
  pools.scans->reset();
  before.pop_back();  // free
  ScanBuffer after = take_scan(*pools.scans);
  CHECK(after.index() == 0);
  before[0].release();  // somebody else has it
  CHECK(pools.scans->in_use_count() == 1);
  CHECK(after.is_valid());
  CHECK(take_scan(*pools.scans).index() == 1);
  before[1] = std::move(after);
  CHECK(before[1].is_valid());
  before.clear();
  CHECK(pools.scans->in_use_count() == 0);
}

TEST_CASE("a handle from two resets ago is not valid either, and a moved one stays what it was") {
  ScanPools pools;
  ScanBuffer oldest = take_scan(*pools.scans);
  pools.scans->reset();
  ScanBuffer older = take_scan(*pools.scans);
  pools.scans->reset();
  const ScanBuffer current = take_scan(*pools.scans);
  ScanBuffer moved = std::move(oldest);
  CHECK_FALSE(moved.is_valid());
  CHECK_FALSE(older.is_valid());
  moved.release();
  older.release();
  CHECK(current.is_valid());
  CHECK(pools.scans->in_use_count() == 1);
}

TEST_CASE("a reset of a pool that nobody uses changes nothing but the session") {
  ScanPools pools;
  for (int round = 0; round < 3; ++round) pools.scans->reset();
  CHECK(pools.scans->in_use_count() == 0);
  CHECK(take_all_scans(*pools.scans).size() == 3);
  CHECK(pools.blocks->in_use_count() == 12);
}

// What is caught.

void expect_caught(void (*misuse)(ScanPools& pools, ScanBuffer& buffer), const char* message) {
  expect_abort(
      [misuse] {
        ScanPools pools;
        ScanBuffer buffer = take_scan(*pools.scans);
        misuse(pools, buffer);
      },
      message);
}

TEST_CASE("a use of a buffer that was given back, moved away, or is from before a reset is caught") {
  void (*const ends[])(ScanPools&, ScanBuffer&) = {
      [](ScanPools&, ScanBuffer& buffer) { buffer.release(); },
      [](ScanPools&, ScanBuffer& buffer) { const ScanBuffer moved = std::move(buffer); },
      [](ScanPools& pools, ScanBuffer&) { pools.scans->reset(); },
  };
  for (const auto end : ends) {
    for (const bool asks_for_level : {false, true}) {
      expect_abort(
          [=] {
            ScanPools pools;
            ScanBuffer buffer = take_scan(*pools.scans);
            end(pools, buffer);
            if (asks_for_level) static_cast<void>(buffer.level(0));
            static_cast<void>(buffer.index());
          },
          "a scan buffer that was given back, moved away, or is from before a reset");
    }
  }
  expect_abort([] { static_cast<void>(ScanBuffer().levels_count()); },
               "a scan buffer that was given back or moved away");
}

TEST_CASE("a level that there is not is caught") {
  const char* const message = "a level that a scan buffer does not have";
  expect_caught([](ScanPools&, ScanBuffer& buffer) { static_cast<void>(buffer.level(2)); }, message);
  expect_caught([](ScanPools&, ScanBuffer& buffer) { static_cast<void>(buffer.level(UINT32_MAX)); }, message);
}

TEST_CASE("taking for granted a buffer that is not there is caught") {
  expect_caught(
      [](ScanPools& pools, ScanBuffer&) {
        const std::vector<ScanBuffer> rest = take_all_scans(*pools.scans);
        static_cast<void>(pools.scans->acquire_assume_capacity());
      },
      "a scan buffer was taken for granted, and none is free");
}

TEST_CASE("destroying a pool of scan buffers with buffers out is caught") {
  expect_caught([](ScanPools& pools, ScanBuffer&) { pools.scans.reset(); },
                "a scan buffer pool was destroyed with buffers out");
  expect_caught(
      [](ScanPools& pools, ScanBuffer&) {
        pools.scans->reset();
        const ScanBuffer after = take_scan(*pools.scans);
        pools.scans.reset();
      },
      "a scan buffer pool was destroyed with buffers out");
}

TEST_CASE("a block that was taken out of a scan buffer is missed when the pool is destroyed") {
  const char* const message = "a block of a scan buffer was taken away from it";
  expect_caught(
      [](ScanPools& pools, ScanBuffer& buffer) {
        const BlockLease taken = std::move(buffer.level(1).index_block());
        buffer.release();
        pools.scans.reset();
      },
      message);
  expect_caught(
      [](ScanPools& pools, ScanBuffer& buffer) {
        buffer.level(0).value_block().release();
        buffer.release();
        pools.scans.reset();
      },
      message);
  expect_caught(
      [](ScanPools& pools, ScanBuffer& buffer) {
        const auto other = make_block_pool(1);
        buffer.level(0).value_block() = lease_block(*other);
        buffer.release();
        pools.scans.reset();
      },
      message);
}

TEST_CASE("a block of the grid may take the place of another one") {
  ScanPools pools;
  ScanBuffer buffer = take_scan(*pools.scans);
  BlockLease other = lease_block(*pools.blocks);
  std::swap(buffer.level(0).value_block(), other);
  buffer.release();
  other.release();
  pools.scans.reset();
  CHECK(pools.blocks->in_use_count() == 0);
}

}  // namespace
}  // namespace spindle
