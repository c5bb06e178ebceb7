// The cache of blocks: which block gives way, that one in use never changes, and a naive model of it all.
#include "lsm/block_cache.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "runtime/random.h"
#include "tests/death.h"
#include "tests/lsm/block_fixture.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

BlockCache make_cache(BlockPool& pool, uint32_t blocks_count) {
  Result<BlockCache> made = BlockCache::create(pool, blocks_count);
  REQUIRE(made.has_value());
  CHECK(made->capacity() == blocks_count);
  return std::move(*made);
}

/// A pool and a cache of one set: every address competes with every other.
struct OneSet {
  explicit OneSet(uint32_t more_blocks_count = 4)
      : pool(make_block_pool(BlockCache::ways_count + more_blocks_count)),
        cache(make_cache(*pool, BlockCache::ways_count)) {}

  void insert(uint64_t address) { cache.insert(address, make_numbered(*pool, address * 100)); }
  void insert_range(uint64_t first, uint64_t last) {
    for (uint64_t address = first; address <= last; ++address) insert(address);
  }
  /// Looks, which counts as a use, at addresses 1 to 99: the last question of a test.
  std::string cached() {
    std::string text;
    for (uint64_t address = 1; address < 100; ++address) {
      const BlockRef block = cache.find(address);
      if (!block.is_held()) continue;
      CHECK(number_of(block) == address * 100);
      text += (text.empty() ? "" : " ") + std::to_string(address);
    }
    return text;
  }
  void use(uint64_t address) { CHECK(cache.find(address).is_held()); }

  std::unique_ptr<BlockPool> pool;
  BlockCache cache;
};

TEST_CASE("a cache has a multiple of eight places, or none") {
  const auto pool = make_block_pool(1);
  for (const uint32_t count : {1u, 7u, 9u, 4095u, UINT32_MAX}) {
    const Result<BlockCache> made = BlockCache::create(*pool, count);
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::invalid_argument);
  }
  for (const uint32_t count : {0u, 8u, 16u, 4096u}) static_cast<void>(make_cache(*pool, count));
}

TEST_CASE("what was put in is found by its address, and nothing else is") {
  OneSet set;
  CHECK_FALSE(set.cache.find(1).is_held());
  set.insert(1);
  CHECK(set.pool->in_use_count() == 1);
  const BlockRef block = set.cache.find(1);
  REQUIRE(block.is_held());
  CHECK(number_of(block) == 100);
  CHECK(&set.cache.find(1).header() == &block.header());
  CHECK_FALSE(set.cache.find(2).is_held());
  CHECK_FALSE(set.cache.find(UINT64_MAX).is_held());
}

TEST_CASE("a set has room for eight") {
  OneSet set;
  set.insert_range(1, 8);
  CHECK(set.pool->in_use_count() == 8);
  CHECK(set.cached() == "1 2 3 4 5 6 7 8");
}

TEST_CASE("of blocks that nobody used the one that came first gives way") {
  OneSet set;
  set.insert_range(1, 19);
  CHECK(set.pool->in_use_count() == 8);
  CHECK(set.cached() == "12 13 14 15 16 17 18 19");
}

TEST_CASE("a block used since the hand passed stays, for one round") {
  OneSet set;
  set.insert_range(1, 8);
  set.use(1);
  set.use(3);
  SUBCASE("two give way: those behind the used ones") {
    set.insert_range(9, 10);
    CHECK(set.cached() == "1 3 5 6 7 8 9 10");
  }
  SUBCASE("the rest of the round") {
    set.insert_range(9, 14);
    CHECK(set.cached() == "1 3 9 10 11 12 13 14");
  }
  SUBCASE("the next round finds them unused") {
    set.insert_range(9, 15);
    CHECK(set.cached() == "3 9 10 11 12 13 14 15");
  }
  SUBCASE("used again, one stays again") {
    set.insert_range(9, 14);
    set.use(1);
    set.insert_range(15, 16);
    CHECK(set.cached() == "1 10 11 12 13 14 15 16");  // 9 came in place of 2, behind 1
  }
}

TEST_CASE("where all were used the hand goes round once, and the one where it began gives way") {
  OneSet set;
  set.insert_range(1, 11);  // 4 to 11; the hand stands before 4
  for (uint64_t address = 4; address <= 11; ++address) set.use(address);
  set.insert(12);
  CHECK(set.cached() == "5 6 7 8 9 10 11 12");
}

TEST_CASE("a block that was just put in is not used yet") {
  OneSet set;
  set.insert_range(1, 8);
  for (uint64_t address = 2; address <= 8; ++address) set.use(address);
  set.insert(9);  // in place of 1
  set.cache.remove(5);
  set.insert(10);  // in place of 5, whose use is forgotten with it
  set.insert_range(11, 12);
  CHECK(set.cached() == "2 3 4 6 7 8 11 12");
}

TEST_CASE("an empty place is taken before anybody gives way") {
  OneSet set;
  set.insert_range(1, 8);
  set.cache.remove(6);
  CHECK(set.pool->in_use_count() == 7);
  set.insert(9);
  CHECK(set.cached() == "1 2 3 4 5 7 8 9");
}

TEST_CASE("a held block loses its place as any other, and keeps its content until it is dropped") {
  OneSet set(16);
  set.insert(1);
  BlockRef held = set.cache.find(1);
  BlockRef again = held.ref();
  set.insert_range(2, 8);
  for (uint64_t address = 9; address <= 24; ++address) set.insert(address);
  CHECK_FALSE(set.cache.find(1).is_held());
  CHECK(set.pool->in_use_count() == 9);
  std::vector<BlockLease> leases = lease_all(*set.pool);
  for (const BlockLease& lease : leases) std::memset(lease.memory().data(), 0xff, lease.memory().size());
  CHECK(number_of(held) == 100);
  leases.clear();
  held.release();
  CHECK(set.pool->in_use_count() == 9);
  CHECK(number_of(again) == 100);
  again.release();
  CHECK(set.pool->in_use_count() == 8);
}

TEST_CASE("where all blocks of a set are held, new ones come in all the same") {
  OneSet set(8);
  set.insert_range(1, 8);
  std::vector<BlockRef> held;
  for (uint64_t address = 1; address <= 8; ++address) held.push_back(set.cache.find(address));
  set.insert_range(11, 18);
  CHECK(set.pool->in_use_count() == 16);
  for (uint64_t address = 1; address <= 8; ++address) CHECK(number_of(held[address - 1]) == address * 100);
  CHECK(set.cached() == "11 12 13 14 15 16 17 18");
}

TEST_CASE("a block that lost its place can be put in again") {
  OneSet set;
  set.insert(1);
  const BlockRef held = set.cache.find(1);
  set.cache.remove(1);
  set.cache.insert(1, held);
  CHECK(set.cached() == "1");
  CHECK(set.pool->in_use_count() == 1);
}

TEST_CASE("a block takes the place of the one that is there for its address") {
  OneSet set;
  set.insert_range(1, 8);
  const BlockRef former = set.cache.find(5);
  set.cache.insert(5, make_numbered(*set.pool, 555));
  CHECK(number_of(set.cache.find(5)) == 555);
  CHECK(number_of(former) == 500);
  CHECK(set.pool->in_use_count() == 9);
  set.cache.insert(5, make_numbered(*set.pool, 500));
  CHECK(set.pool->in_use_count() == 9);
  CHECK(set.cached() == "1 2 3 4 5 6 7 8");
}

TEST_CASE("a block that was removed is gone, and removing what is not there changes nothing") {
  OneSet set;
  set.insert_range(1, 3);
  set.cache.remove(2);
  set.cache.remove(2);
  set.cache.remove(50);
  CHECK(set.pool->in_use_count() == 2);
  CHECK(set.cached() == "1 3");
}

TEST_CASE("a cache that was cleared is empty, but for what is held, and is used again") {
  OneSet set;
  set.insert_range(1, 8);
  const BlockRef held = set.cache.find(4);
  set.cache.clear();
  CHECK(set.pool->in_use_count() == 1);
  CHECK(number_of(held) == 400);
  CHECK(set.cached() == "");
  set.insert_range(11, 19);
  CHECK(set.cached() == "12 13 14 15 16 17 18 19");
}

TEST_CASE("a cache without places keeps nothing") {
  const auto pool = make_block_pool(2);
  BlockCache cache = make_cache(*pool, 0);
  cache.insert(1, make_numbered(*pool, 1));
  CHECK(pool->in_use_count() == 0);
  CHECK_FALSE(cache.find(1).is_held());
  cache.remove(1);
  cache.clear();
}

TEST_CASE("a cache that is moved keeps what it has, and the other one has nothing") {
  const auto pool = make_block_pool(9);
  BlockCache first = make_cache(*pool, 8);
  first.insert(1, make_numbered(*pool, 1));
  BlockCache second(std::move(first));
  CHECK(first.capacity() == 0);
  CHECK_FALSE(first.find(1).is_held());
  first.clear();
  CHECK(pool->in_use_count() == 1);
  CHECK(number_of(second.find(1)) == 1);
}

TEST_CASE("addresses spread over the sets, consecutive ones and those of a stride") {
  const auto pool = make_block_pool(520);
  for (const uint64_t stride : {1u, 8u, 64u, 4096u, 65536u}) {
    BlockCache cache = make_cache(*pool, 512);
    for (uint64_t index = 1; index <= 512; ++index) cache.insert(index * stride, make_numbered(*pool, index));
    // 8 thrown into each of 64 sets by chance: about 14 of 100 find theirs full.
    CHECK(pool->in_use_count() > 400);
    cache.clear();
    for (uint64_t index = 1; index <= 256; ++index) cache.insert(index * stride, make_numbered(*pool, index));
    CHECK(pool->in_use_count() > 245);
  }
}

TEST_CASE("in a dying host a cache touches nothing: its pool may be gone") {
  TestLoop test;
  Loop* const former = Loop::set_current(&test.loop);
  {
    auto pool = make_block_pool(2);
    BlockCache cache = make_cache(*pool, 8);
    cache.insert(1, make_numbered(*pool, 1));
    test.loop.mark_dying();
    pool.reset();
  }
  Loop::set_current(former);
}

// Against a model: the same policy in the plainest form, with a list of places for each set.

class ModelCache {
 public:
  explicit ModelCache(uint32_t sets_count) : sets_count_(sets_count) {}

  /// The number that is cached for the address; 0: none.
  uint64_t find(uint64_t address) {
    for (Place& place : set_of(address).places) {
      if (place.address != address) continue;
      place.is_used = true;
      return place.number;
    }
    return 0;
  }
  void insert(uint64_t address, uint64_t number) {
    Set& set = set_of(address);
    Place* chosen = find_place(set, address);
    if (chosen == nullptr) chosen = find_place(set, 0);
    while (chosen == nullptr) {
      Place& place = set.places[set.hand];
      set.hand = (set.hand + 1) % 8;
      if (!place.is_used) chosen = &place;
      place.is_used = false;
    }
    *chosen = {address, number, false};
  }
  void remove(uint64_t address) {
    Place* const place = find_place(set_of(address), address);
    if (place != nullptr) *place = {};
  }
  void clear() {
    for (auto& [number, set] : sets_) set.places.assign(8, Place{});  // the hands stay
  }
  bool has(uint64_t number) const {
    for (const auto& [index, set] : sets_) {
      for (const Place& place : set.places) {
        if (place.number == number) return true;
      }
    }
    return false;
  }
  uint32_t count() const {
    uint32_t count = 0;
    for (const auto& [index, set] : sets_) {
      for (const Place& place : set.places) count += place.address != 0;
    }
    return count;
  }

 private:
  struct Place {
    uint64_t address = 0;
    uint64_t number = 0;
    bool is_used = false;
  };
  struct Set {
    std::vector<Place> places = std::vector<Place>(8);
    uint32_t hand = 0;
  };
  Set& set_of(uint64_t address) { return sets_[(mix64(address) >> 32) * sets_count_ >> 32]; }
  static Place* find_place(Set& set, uint64_t address) {
    for (Place& place : set.places) {
      if (place.address == address) return &place;
    }
    return nullptr;
  }

  uint32_t sets_count_;
  std::map<uint64_t, Set> sets_;
};

constexpr uint32_t held_max = 6;

/// A cache and its model, to which the same is done.
class Pair {
 public:
  Pair(uint32_t sets_count, uint64_t seed)
      : random_(seed),
        pool_(make_block_pool(sets_count * 8 + held_max + 1)),
        cache_(make_cache(*pool_, sets_count * 8)),
        model_(sets_count) {}
  ~Pair() {
    held_.clear();
    CHECK(pool_->in_use_count() == model_.count());
    cache_.clear();
    CHECK(pool_->in_use_count() == 0);
  }

  void step(uint64_t addresses_max) {
    const uint64_t address = random_.between(1, addresses_max);
    const uint64_t draw = random_.below(100);
    if (draw < 50) {
      find(address);
    } else if (draw < 88) {
      insert(address);
    } else if (draw < 94) {
      cache_.remove(address);
      model_.remove(address);
    } else if (draw < 99 || random_.below(40) != 0) {
      drop();
    } else {
      cache_.clear();
      model_.clear();
    }
  }
  /// Every cached block, and every held one that has lost its place, takes one of the pool.
  void check_counts() {
    std::map<uint64_t, bool> homeless;
    for (const BlockRef& block : held_) {
      if (!model_.has(number_of(block))) homeless[number_of(block)] = true;
    }
    CHECK(pool_->in_use_count() == model_.count() + homeless.size());
  }

 private:
  void find(uint64_t address) {
    BlockRef found = cache_.find(address);
    const uint64_t expected = model_.find(address);
    REQUIRE(found.is_held() == (expected != 0));
    if (!found.is_held()) return;
    REQUIRE(number_of(found) == expected);
    if (held_.size() < held_max && random_.chance(1, 3)) {
      numbers_.push_back(expected);
      held_.push_back(std::move(found));
    }
  }
  void insert(uint64_t address) {
    ++number_last_;
    cache_.insert(address, make_numbered(*pool_, number_last_));
    model_.insert(address, number_last_);
  }
  void drop() {
    if (held_.empty()) return;
    const size_t place = random_.below(held_.size());
    CHECK(number_of(held_[place]) == numbers_[place]);
    held_.erase(held_.begin() + static_cast<ptrdiff_t>(place));
    numbers_.erase(numbers_.begin() + static_cast<ptrdiff_t>(place));
  }

  Random random_;
  std::unique_ptr<BlockPool> pool_;
  BlockCache cache_;
  ModelCache model_;
  std::vector<BlockRef> held_;
  std::vector<uint64_t> numbers_;  // of held_
  uint64_t number_last_ = 0;
};

TEST_CASE("whatever is done to a cache, its hits and misses are those of a naive one") {
  for (const uint32_t sets_count : {1u, 2u, 3u, 8u}) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      CAPTURE(sets_count);
      CAPTURE(seed);
      Pair pair(sets_count, seed);
      for (int step = 0; step < 4000; ++step) {
        pair.step(sets_count * (8 + seed * 3));
        if (step % 64 == 0) pair.check_counts();
      }
    }
  }
}

// What is caught.

void expect_caught(void (*misuse)(OneSet& set), const char* message) {
  expect_abort(
      [misuse] {
        OneSet set;
        set.insert_range(1, 2);
        misuse(set);
      },
      message);
}

TEST_CASE("address 0 is no address of a cached block") {
  expect_caught([](OneSet& set) { set.insert(0); }, "a block is cached for address 0");
  expect_caught([](OneSet& set) { static_cast<void>(set.cache.find(0)); }, "a block at address 0 was looked for");
}

TEST_CASE("a block that is cached twice is caught") {
  expect_caught(
      [](OneSet& set) {
        const BlockRef block = set.cache.find(1);
        set.cache.insert(3, block);
      },
      "a block is cached twice");
  expect_caught(
      [](OneSet& set) {
        const BlockRef block = set.cache.find(1);
        set.cache.insert(1, block);
      },
      "a block is cached twice");
}

TEST_CASE("what is no block, or of another pool, is not cached") {
  expect_caught([](OneSet& set) { set.cache.insert(3, BlockRef()); }, "the block of a reference that holds none");
  expect_caught(
      [](OneSet& set) {
        const auto other = make_block_pool(2);
        set.cache.insert(3, make_numbered(*other, 5));
      },
      "a block is cached that is of another pool");
}

}  // namespace
}  // namespace spindle
