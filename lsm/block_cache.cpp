#include "lsm/block_cache.h"

#include <cerrno>
#include <new>

#include "runtime/random.h"

namespace spindle {

Result<BlockCache> BlockCache::create(BlockPool& pool, uint32_t blocks_count) {
  if (blocks_count % ways_count != 0) return fail(ErrorCode::invalid_argument, "block cache");
  const uint32_t sets_count = blocks_count / ways_count;
  std::unique_ptr<Set[]> sets(new (std::nothrow) Set[sets_count]);
  if (sets == nullptr) return fail_errno(ENOMEM, "block cache");
  return BlockCache(pool, std::move(sets), sets_count);
}

// Not a remainder: the upper half of the product spreads a hash over the sets as evenly, for a tenth of the time.
BlockCache::Set& BlockCache::set_of(uint64_t address) const noexcept {
  const uint64_t hash = mix64(address) >> 32;
  return sets_[hash * sets_count_ >> 32];
}

uint32_t BlockCache::place_of(const Set& set, uint64_t address) noexcept {
  uint32_t bits = 0;
  for (uint32_t place = 0; place < ways_count; ++place) {
    bits |= static_cast<uint32_t>(set.addresses[place] == address) << place;
  }
  return bits == 0 ? ways_count : static_cast<uint32_t>(std::countr_zero(bits));
}

BlockRef BlockCache::find(uint64_t address) noexcept {
  SPINDLE_ASSERT(address != 0, "a block at address 0 was looked for");
  if (sets_count_ == 0) return {};
  Set& set = set_of(address);
  const uint32_t place = place_of(set, address);
  if (place == ways_count) return {};
  set.used_bits = static_cast<uint8_t>(set.used_bits | 1u << place);
  return BlockPool::reference_to(*set.blocks[place]);
}

// An empty place first. Else the hand goes round, and takes a bit where it finds one: after one round all are taken.
uint32_t BlockCache::victim_of(Set& set) noexcept {
  const uint32_t empty = place_of(set, 0);
  if (empty != ways_count) return empty;
  while ((set.used_bits >> set.hand & 1) != 0) {
    set.used_bits = static_cast<uint8_t>(set.used_bits & ~(1u << set.hand));
    set.hand = static_cast<uint8_t>((set.hand + 1) % ways_count);
  }
  const uint32_t victim = set.hand;
  set.hand = static_cast<uint8_t>((set.hand + 1) % ways_count);
  return victim;
}

void BlockCache::empty_place(Set& set, uint32_t place) noexcept {
  Block* const block = std::exchange(set.blocks[place], nullptr);
  set.addresses[place] = 0;
  set.used_bits = static_cast<uint8_t>(set.used_bits & ~(1u << place));
  if (block != nullptr) pool_->leave_cache(*block);
}

void BlockCache::insert(uint64_t address, const BlockRef& reference) noexcept {
  SPINDLE_ASSERT(address != 0, "a block is cached for address 0");
  if (sets_count_ == 0) return;
  Block& block = BlockPool::block_of(reference);
  SPINDLE_ASSERT(block.address == 0, "a block is cached twice");
  SPINDLE_ASSERT(block.pool == pool_, "a block is cached that is of another pool");
  Set& set = set_of(address);
  uint32_t place = place_of(set, address);
  if (place == ways_count) place = victim_of(set);
  empty_place(set, place);
  set.addresses[place] = address;
  set.blocks[place] = &block;
  block.address = address;
}

void BlockCache::remove(uint64_t address) noexcept {
  if (sets_count_ == 0) return;
  Set& set = set_of(address);
  const uint32_t place = place_of(set, address);
  if (place != ways_count) empty_place(set, place);
}

void BlockCache::clear() noexcept {
  if (host_is_dying()) return;
  for (uint32_t index = 0; index < sets_count_; ++index) {
    for (uint32_t place = 0; place < ways_count; ++place) empty_place(sets_[index], place);
  }
}

}  // namespace spindle
