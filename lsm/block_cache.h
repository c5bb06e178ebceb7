// BlockCache: immutable blocks by address, in memory of a BlockPool. Set-associative: an address has 8 places, in the
// one set that it hashes to. Which block of a full set gives way is decided by CLOCK: the next one, from a hand on,
// that was not used since the hand last passed it. A block that somebody refers to loses its place as any other does,
// and stays as it is until it is dropped: so no place is ever blocked.
//
// A hit is a multiplication, eight comparisons within one cache line, and a counter.
//
// One loop owns a cache; nothing waits, and nothing allocates after creation.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "lsm/block_pool.h"

namespace spindle {

class BlockCache {
 public:
  static constexpr uint32_t ways_count = 8;

  /// `blocks_count`, a multiple of ways_count, 0 for a cache that keeps nothing. Errors: invalid_argument; ENOMEM.
  static Result<BlockCache> create(BlockPool& pool, uint32_t blocks_count);
  BlockCache(BlockCache&& other) noexcept
      : pool_(other.pool_), sets_(std::move(other.sets_)), sets_count_(std::exchange(other.sets_count_, 0)) {}
  BlockCache& operator=(BlockCache&&) = delete;
  ~BlockCache() { clear(); }

  /// The block that is cached for the address, or none.
  BlockRef find(uint64_t address) noexcept;
  /// Puts a block in, in place of what is there for the address, or of another one of its set.
  void insert(uint64_t address, const BlockRef& block) noexcept;
  /// The address has no block in the cache any more.
  void remove(uint64_t address) noexcept;
  void clear() noexcept;

  uint32_t capacity() const noexcept { return sets_count_ * ways_count; }

 private:
  struct alignas(64) Set {
    std::array<uint64_t, ways_count> addresses{};  // 0: the place is empty
    std::array<Block*, ways_count> blocks{};
    uint8_t used_bits = 0;  // since the hand passed
    uint8_t hand = 0;
  };

  BlockCache(BlockPool& pool, std::unique_ptr<Set[]> sets, uint32_t sets_count) noexcept
      : pool_(&pool), sets_(std::move(sets)), sets_count_(sets_count) {}
  Set& set_of(uint64_t address) const noexcept;
  /// The place of the address in its set, or ways_count.
  static uint32_t place_of(const Set& set, uint64_t address) noexcept;
  static uint32_t victim_of(Set& set) noexcept;
  void empty_place(Set& set, uint32_t place) noexcept;

  BlockPool* pool_;
  std::unique_ptr<Set[]> sets_;
  uint32_t sets_count_;
};

}  // namespace spindle
