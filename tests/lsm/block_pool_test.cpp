// The memory of blocks: leases, references, and what is caught.
#include "lsm/block_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <set>
#include <vector>

#include "lsm/block_cache.h"
#include "pools/poison.h"
#include "tests/death.h"
#include "tests/lsm/block_fixture.h"

namespace spindle {
namespace {

TEST_CASE("blocks are aligned to sectors, of the size that was asked for, apart from one another, in the arena") {
  for (const uint32_t size : {4096u, 8192u, 12288u, 65536u, 1u << 20}) {
    CAPTURE(size);
    const auto pool = make_block_pool(5, size);
    CHECK(pool->block_size() == size);
    CHECK(pool->capacity() == 5);
    CHECK(pool->arena().size() == size_t{5} * size);
    const std::vector<BlockLease> leases = lease_all(*pool);
    std::set<std::byte*> starts;
    for (const BlockLease& lease : leases) {
      const std::span<std::byte> memory = lease.memory();
      CHECK(memory.size() == size);
      CHECK(reinterpret_cast<uintptr_t>(memory.data()) % sector_size == 0);
      CHECK(memory.data() >= pool->arena().data());
      CHECK((memory.data() - pool->arena().data()) % size == 0);
      CHECK(memory.data() + size <= pool->arena().data() + pool->arena().size());
      std::memset(memory.data(), 0x5a, size);
      starts.insert(memory.data());
    }
    CHECK(starts.size() == 5);
  }
}

TEST_CASE("a block pool that can't be is refused") {
  struct Case {
    uint32_t blocks_count;
    uint32_t block_size;
  };
  for (const Case wrong : {Case{0, 4096}, Case{4, 0}, Case{4, 512}, Case{4, 4095}, Case{4, 4096 + 512}}) {
    const auto made = BlockPool::create(wrong.blocks_count, wrong.block_size);
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::invalid_argument);
  }
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("a block pool that does not fit into memory is refused with ENOMEM") {
  const auto made = BlockPool::create(1u << 30, 1u << 31);
  REQUIRE(!made.has_value());
  CHECK(made.error().number == ENOMEM);
}
#endif

TEST_CASE("an empty block pool refuses who does not want to wait, and counts what is out and was at most") {
  const auto pool = make_block_pool(3);
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 0);
  lease_block(*pool).release();
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 1);
  {
    const std::vector<BlockLease> leases = lease_all(*pool);
    CHECK(pool->in_use_count() == 3);
    const Result<BlockLease> refused = pool->try_acquire();
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == ErrorCode::exhausted);
    CHECK(pool->in_use_count() == 3);
  }
  CHECK(pool->in_use_count() == 0);
  CHECK(pool->high_water_count() == 3);
  CHECK(lease_all(*pool).size() == 3);
}

TEST_CASE("a lease that is dropped, once or again, gives its block back once") {
  const auto pool = make_block_pool(3);
  BlockLease none;
  CHECK_FALSE(none.is_held());
  none.release();
  BlockLease lease = lease_block(*pool);
  const std::byte* const memory = lease.memory().data();
  CHECK(lease.is_held());
  CHECK(&lease.header() == static_cast<const void*>(memory));
  lease.release();
  lease.release();
  CHECK_FALSE(lease.is_held());
  CHECK(pool->in_use_count() == 0);
  lease = lease_block(*pool);
  CHECK(lease.memory().data() == memory);  // the one used last: it is warm
}

TEST_CASE("a lease moves, and drops what an assignment replaces") {
  const auto pool = make_block_pool(3);
  BlockLease first = lease_block(*pool);
  BlockLease second = lease_block(*pool);
  const std::byte* const memory = first.memory().data();
  BlockLease moved(std::move(first));
  CHECK_FALSE(first.is_held());
  second = std::move(moved);
  CHECK_FALSE(moved.is_held());
  CHECK(second.memory().data() == memory);
  CHECK(pool->in_use_count() == 1);
  BlockLease& alias = second;
  second = std::move(alias);
  CHECK(second.is_held());
  CHECK(pool->in_use_count() == 1);
}

TEST_CASE("a frozen block is what the lease was filled with, to every reference") {
  const auto pool = make_block_pool(3, 8192);
  BlockLease lease = lease_block(*pool);
  const std::byte* const memory = lease.memory().data();
  BlockHeader& header = start_block(lease.memory(), block_cluster, BlockType::index);
  header.address = 12;
  header.frame.size += 4000;
  std::memset(lease.memory().data() + message_header_size, 0x77, 4000);
  const BlockReference sealed = seal_block(lease.memory());
  const BlockRef block = BlockPool::freeze(std::move(lease));
  CHECK(pool->in_use_count() == 1);
  const BlockRef second = block.ref();
  for (const BlockRef* const reference : {&block, &second}) {
    CHECK(reference->header().address == 12);
    CHECK(reference->type() == BlockType::index);
    CHECK(reference->checksum() == sealed.checksum);
    CHECK(reference->body().data() == memory + message_header_size);
    CHECK(reference->body().size() == 4000);
    CHECK(reference->sectors().data() == memory);
    CHECK(reference->sectors().size() == 8192);  // 4256 bytes
    CHECK(verify_block(reference->sectors(), {block_cluster, sealed, BlockType::index}) == BlockFault::none);
  }
}

TEST_CASE("a block goes back when its last reference is dropped, in whatever order") {
  const auto pool = make_block_pool(3);
  BlockRef first = make_numbered(*pool, 5);
  BlockRef second = first.ref();
  BlockRef third = second.ref();
  first.release();
  first.release();
  CHECK_FALSE(first.is_held());
  CHECK(number_of(third) == 5);
  third.release();
  CHECK(pool->in_use_count() == 1);
  CHECK(number_of(second) == 5);
  second.release();
  CHECK(pool->in_use_count() == 0);
}

TEST_CASE("a reference to a block moves, and drops what an assignment replaces") {
  const auto pool = make_block_pool(3);
  BlockRef first = make_numbered(*pool, 1);
  BlockRef second = make_numbered(*pool, 2);
  BlockRef moved(std::move(first));
  CHECK_FALSE(first.is_held());
  second = std::move(moved);
  CHECK(number_of(second) == 1);
  CHECK(pool->in_use_count() == 1);
  BlockRef& alias = second;
  second = std::move(alias);
  CHECK(number_of(second) == 1);
  CHECK(pool->in_use_count() == 1);
}

TEST_CASE("a block is free only when nobody refers to it and no cache has it") {
  const auto pool = make_block_pool(1);
  Result<BlockCache> cache = BlockCache::create(*pool, BlockCache::ways_count);
  REQUIRE(cache.has_value());
  BlockRef block = make_numbered(*pool, 5);
  cache->insert(12, block);
  block.release();
  CHECK(pool->in_use_count() == 1);
  CHECK_FALSE(pool->try_acquire().has_value());
  block = cache->find(12);
  cache->remove(12);
  CHECK(pool->in_use_count() == 1);
  CHECK(number_of(block) == 5);
  block.release();
  CHECK(pool->in_use_count() == 0);
}

// What is caught.

TEST_CASE("destroying a block pool with blocks out is caught") {
  const char* const message = "a block pool was destroyed with blocks out";
  expect_abort(
      [] {
        auto pool = make_block_pool(3);
        const BlockLease lease = lease_block(*pool);
        pool.reset();
      },
      message);
  expect_abort(
      [] {
        auto pool = make_block_pool(3);
        BlockRef block = make_numbered(*pool, 5);
        const BlockRef again = block.ref();
        block.release();
        pool.reset();
      },
      message);
  expect_abort(
      [] {
        auto pool = make_block_pool(3);
        Result<BlockCache> cache = BlockCache::create(*pool, BlockCache::ways_count);
        cache->insert(12, make_numbered(*pool, 5));
        pool.reset();
      },
      message);
}

TEST_CASE("the block of a reference that was dropped or moved away is caught") {
  void (*const misuses[])(const BlockRef&) = {
      [](const BlockRef& block) { static_cast<void>(block.ref()); },
      [](const BlockRef& block) { static_cast<void>(block.header()); },
      [](const BlockRef& block) { static_cast<void>(block.body()); },
      [](const BlockRef& block) { static_cast<void>(block.checksum()); },
      [](const BlockRef& block) { static_cast<void>(block.type()); },
      [](const BlockRef& block) { static_cast<void>(block.sectors()); },
  };
  for (void (*const misuse)(const BlockRef&) : misuses) {
    expect_abort(
        [=] {
          const auto pool = make_block_pool(3);
          BlockRef block = make_numbered(*pool, 5);
          const BlockRef moved = std::move(block);
          misuse(block);
        },
        "the block of a reference that holds none");
  }
}

TEST_CASE("the memory of a lease that was dropped, moved away or frozen is caught") {
  void (*const misuses[])(BlockLease&) = {
      [](BlockLease& lease) { lease.release(); },
      [](BlockLease& lease) { const BlockLease moved = std::move(lease); },
      [](BlockLease& lease) { const BlockRef block = freeze_number(std::move(lease), 5); },
  };
  for (void (*const misuse)(BlockLease&) : misuses) {
    expect_abort(
        [=] {
          const auto pool = make_block_pool(3);
          BlockLease lease = lease_block(*pool);
          misuse(lease);
          static_cast<void>(lease.memory());
        },
        "the memory of a lease that holds no block");
  }
  expect_abort([] { static_cast<void>(BlockLease().header()); }, "the memory of a lease that holds no block");
}

TEST_CASE("freezing no block, or one that was never completed, is caught") {
  expect_abort([] { static_cast<void>(BlockPool::freeze(BlockLease())); }, "the memory of a lease that holds no block");
  for (const uint32_t size : {0u, 255u, 4097u, UINT32_MAX}) {
    expect_abort(
        [=] {
          const auto pool = make_block_pool(3);
          BlockLease lease = lease_block(*pool);
          start_block(lease.memory(), block_cluster, BlockType::value).frame.size = size;
          static_cast<void>(BlockPool::freeze(std::move(lease)));
        },
        "a block was frozen that is not complete");
  }
}

TEST_CASE("the memory of a block that is free is poisoned, or filled, until it is handed out again") {
#if SPINDLE_POISON_WITH_ASAN
  for (const size_t offset : {0u, 300u, 4095u}) {
    auto touch = [offset] {
      const auto pool = make_block_pool(3);
      BlockRef block = make_numbered(*pool, 5);
      volatile const std::byte* const memory = block.sectors().data() + offset;
      static_cast<void>(*memory);
      block.release();
      static_cast<void>(*memory);
    };
    const Death death = run_in_child(touch);
    CHECK_FALSE(death.has_exited);
    CHECK_MESSAGE(death.text.find("use-after-poison") != std::string::npos, death.text);
  }
  const auto never_used = [] {
    const auto pool = make_block_pool(3);
    volatile const std::byte* const memory = pool->arena().data();
    static_cast<void>(*memory);
  };
  CHECK_FALSE(run_in_child(never_used).has_exited);
#elif SPINDLE_LEDGER
  const auto pool = make_block_pool(3);
  const auto is_released = [](std::byte byte) { return byte == released_fill; };
  CHECK(std::all_of(pool->arena().begin(), pool->arena().end(), is_released));
  BlockRef block = make_numbered(*pool, 5);
  const std::span<const std::byte> memory = block.sectors();
  BlockRef again = block.ref();
  block.release();
  CHECK(number_of(again) == 5);
  again.release();
  CHECK(std::all_of(memory.begin(), memory.end(), is_released));
#else
  std::printf("SKIP: %s: neither the ledger nor the address sanitizer\n",
              doctest::getContextOptions()->currentTest->m_name);
#endif
}

}  // namespace
}  // namespace spindle
