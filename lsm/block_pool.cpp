#include "lsm/block_pool.h"

#include <cerrno>
#include <new>

#include "pools/poison.h"

namespace spindle {

namespace {

std::span<std::byte> memory_of(const Block& block) noexcept { return {block.memory, block.pool->block_size()}; }

}  // namespace

Result<std::unique_ptr<BlockPool>> BlockPool::create(uint32_t blocks_count, uint32_t block_size) {
  const bool is_valid = blocks_count > 0 && block_size >= block_size_min && block_size % sector_size == 0;
  if (!is_valid) return fail(ErrorCode::invalid_argument, "block pool");
  Arena arena(static_cast<std::byte*>(std::aligned_alloc(sector_size, size_t{blocks_count} * block_size)));
  if (arena == nullptr) return fail_errno(ENOMEM, "block pool");
  Blocks blocks(new (std::nothrow) Block[blocks_count]);
  if (blocks == nullptr) return fail_errno(ENOMEM, "block pool");
  std::unique_ptr<BlockPool> pool(new (std::nothrow)
                                      BlockPool(std::move(arena), std::move(blocks), blocks_count, block_size));
  if (pool == nullptr) return fail_errno(ENOMEM, "block pool");
  return pool;
}

BlockPool::BlockPool(Arena arena, Blocks blocks, uint32_t capacity, uint32_t block_size) noexcept
    : arena_(std::move(arena)), blocks_(std::move(blocks)), capacity_(capacity), block_size_(block_size) {
  for (uint32_t index = capacity; index-- > 0;) {
    Block& block = blocks_[index];
    block.memory = arena_.get() + size_t{index} * block_size;
    block.pool = this;
    block.free_next = free_first_;
    free_first_ = &block;
  }
  poison_released(this->arena());
}

BlockPool::~BlockPool() {
  SPINDLE_ASSERT(in_use_count_ == 0 || host_is_dying(), "a block pool was destroyed with blocks out");
  unpoison_acquired(arena());
}

Block& BlockPool::take_free() noexcept {
  Block& block = *free_first_;
  SPINDLE_ASSERT(block.references_count == 0 && block.address == 0, "a block in the free list is in use");
  free_first_ = std::exchange(block.free_next, nullptr);
  block.references_count = 1;
  if (++in_use_count_ > high_water_count_) high_water_count_ = in_use_count_;
  unpoison_acquired(memory_of(block));
  return block;
}

void BlockPool::give_back(Block& block) noexcept {
  poison_released(memory_of(block));
  block.free_next = free_first_;
  free_first_ = &block;
  --in_use_count_;
  Waiter* const first = waiters_.first();
  if (first == nullptr) return;
  static_cast<Acquire&>(*first).block_ = &take_free();
  first->grant();
}

BlockRef BlockPool::freeze(BlockLease lease) noexcept {
  const BlockHeader& header = lease.header();
  Block& block = *lease.block_;
  const uint32_t size = header.frame.size;
  SPINDLE_ASSERT(size >= message_header_size && size <= block.pool->block_size_,
                 "a block was frozen that is not complete");
  block.checksum = header.frame.checksum;
  block.type = header.type;
  BlockRef reference(block);
  lease.release();
  return reference;
}

}  // namespace spindle
