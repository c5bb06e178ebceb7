// BlockPool: the memory for all blocks of a grid, allocated once. BlockLease: a block that one owner fills. BlockRef:
// one counted reference to a block that does not change any more.
//
//     BlockLease lease = co_await ok(pool.acquire());
//     start_block(lease.memory(), cluster, BlockType::value);   // fill it, and
//     BlockReference reference = co_await ok(grid.write(std::move(lease)));
//
//     free --acquire--> leased --freeze--> referred to, and perhaps cached --last reference, not cached--> free
//       `-----------------'-- lease dropped
//
// Invariants
// 1. A block is free, leased, or immutable. It is free again once nobody refers to it and no cache has it: a block that
//    somebody holds is never overwritten.
// 2. Free blocks exist only while nobody waits for one.
// 3. In debug builds the memory of a free block is poisoned (with ASan) or filled with a pattern.
// 4. Destroying the pool with blocks out is a caught bug.
// One loop owns a pool. A pool knows no ring: io registers pool.arena().
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

#include "lsm/block_header.h"
#include "runtime/wait_queue.h"

namespace spindle {

class BlockPool;

/// A place in the pool. Only BlockPool, its handles and the cache touch it.
struct Block {
  std::byte* memory = nullptr;
  BlockPool* pool = nullptr;
  Block* free_next = nullptr;
  uint64_t address = 0;  // under which the cache has it; 0: it has not
  Checksum checksum;  // of the header, of a block that is immutable
  BlockType type = BlockType::value;  // the same
  uint32_t references_count = 0;  // a lease counts as one
};

/// One reference to an immutable block, or none. Move-only; another one is taken with ref(). Must not outlive the pool.
class [[nodiscard]] BlockRef {
 public:
  BlockRef() noexcept = default;
  BlockRef(BlockRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  BlockRef& operator=(BlockRef&& other) noexcept {
    if (this != &other) {
      release();
      block_ = std::exchange(other.block_, nullptr);
    }
    return *this;
  }
  ~BlockRef() { release(); }

  BlockRef ref() const noexcept { return BlockRef(held()); }
  /// Drops the reference. Again: nothing.
  void release() noexcept;
  bool is_held() const noexcept { return block_ != nullptr; }

  const BlockHeader& header() const noexcept { return *reinterpret_cast<const BlockHeader*>(held().memory); }
  /// What is behind the header, up to the size that the header says.
  std::span<const std::byte> body() const noexcept {
    const Block& block = held();
    return {block.memory + message_header_size, header().frame.size - message_header_size};
  }
  Checksum checksum() const noexcept { return held().checksum; }
  BlockType type() const noexcept { return held().type; }
  /// Header, body and padding, in whole sectors.
  std::span<const std::byte> sectors() const noexcept { return {held().memory, sectors_size_of(header())}; }

 private:
  friend class BlockPool;
  explicit BlockRef(Block& block) noexcept : block_(&block) { ++block.references_count; }
  Block& held() const noexcept {
    SPINDLE_ASSERT(block_ != nullptr, "the block of a reference that holds none");
    return *block_;
  }
  Block* block_ = nullptr;
};

/// A block that one owner fills, or none. Move-only. Must not outlive the pool.
class [[nodiscard]] BlockLease {
 public:
  BlockLease() noexcept = default;
  BlockLease(BlockLease&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  BlockLease& operator=(BlockLease&& other) noexcept {
    if (this != &other) {
      release();
      block_ = std::exchange(other.block_, nullptr);
    }
    return *this;
  }
  ~BlockLease() { release(); }

  void release() noexcept;
  bool is_held() const noexcept { return block_ != nullptr; }
  /// All of it, as many bytes as a block has, aligned to sectors.
  std::span<std::byte> memory() const noexcept;
  BlockHeader& header() const noexcept { return block_header_of(memory()); }

 private:
  friend class BlockPool;
  explicit BlockLease(Block& block) noexcept : block_(&block) {}
  Block* block_ = nullptr;
};

class BlockPool {
 public:
  class [[nodiscard]] Acquire final : public LeafAwait<Acquire, Waiter> {
   public:
    explicit Acquire(BlockPool& pool) noexcept : pool_(pool) {}
    ~Acquire() { abandon_if_dying(); }
    bool begin(Loop&) noexcept {
      if (pool_.free_first_ == nullptr) {
        pool_.waiters_.push_back(*this);
        return false;
      }
      block_ = &pool_.take_free();
      return true;
    }
    Result<BlockLease> take() noexcept {
      if (failure() != nullptr) return Unexpected(*failure());
      return BlockLease(*block_);
    }
    const char* describe() const noexcept override { return "block pool"; }

   private:
    friend class BlockPool;
    BlockPool& pool_;
    Block* block_ = nullptr;  // granted
  };

  /// Errors: invalid_argument; ENOMEM. All or nothing; does not suspend.
  static Result<std::unique_ptr<BlockPool>> create(uint32_t blocks_count, uint32_t block_size);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  /// Every lease, reference and cache entry must have been dropped.
  ~BlockPool();

  /// Result<BlockLease>: waits behind everybody who came before while no block is free.
  Acquire acquire() noexcept { return Acquire(*this); }
  /// A lease, or `exhausted`. Never suspends.
  Result<BlockLease> try_acquire() noexcept {
    if (free_first_ == nullptr) return fail(ErrorCode::exhausted, "block pool");
    return BlockLease(take_free());
  }
  /// The block is complete, and does not change from here on: it was sealed, or read and verified.
  static BlockRef freeze(BlockLease lease) noexcept;

  std::span<std::byte> arena() const noexcept { return {arena_.get(), size_t{capacity_} * block_size_}; }
  uint32_t capacity() const noexcept { return capacity_; }
  uint32_t block_size() const noexcept { return block_size_; }
  uint32_t in_use_count() const noexcept { return in_use_count_; }
  uint32_t high_water_count() const noexcept { return high_water_count_; }

 private:
  friend class BlockRef;
  friend class BlockLease;
  friend class BlockCache;
  struct FreeMemory {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  using Arena = std::unique_ptr<std::byte, FreeMemory>;
  using Blocks = std::unique_ptr<Block[]>;

  BlockPool(Arena arena, Blocks blocks, uint32_t capacity, uint32_t block_size) noexcept;
  Block& take_free() noexcept;
  void drop_reference(Block& block) noexcept {
    if (--block.references_count == 0 && block.address == 0) give_back(block);
  }
  void give_back(Block& block) noexcept;
  // For the cache.
  static Block& block_of(const BlockRef& reference) noexcept { return reference.held(); }
  static BlockRef reference_to(Block& block) noexcept { return BlockRef(block); }
  void leave_cache(Block& block) noexcept {
    block.address = 0;
    if (block.references_count == 0) give_back(block);
  }

  Arena arena_;
  Blocks blocks_;
  uint32_t capacity_;
  uint32_t block_size_;
  uint32_t in_use_count_ = 0;  // leased, referred to, cached, or granted to a waiter that has not run yet
  uint32_t high_water_count_ = 0;
  Block* free_first_ = nullptr;  // a stack: the memory used last is warm
  WaitQueue waiters_;
};

inline void BlockRef::release() noexcept {
  Block* const block = std::exchange(block_, nullptr);
  if (block != nullptr && !host_is_dying()) block->pool->drop_reference(*block);
}

inline void BlockLease::release() noexcept {
  Block* const block = std::exchange(block_, nullptr);
  if (block != nullptr && !host_is_dying()) block->pool->drop_reference(*block);
}

inline std::span<std::byte> BlockLease::memory() const noexcept {
  SPINDLE_ASSERT(block_ != nullptr, "the memory of a lease that holds no block");
  return {block_->memory, block_->pool->block_size()};
}

}  // namespace spindle
