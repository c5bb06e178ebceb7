// Scan buffers: the memory of a scan over an LSM tree, one index block and one value block for each level, taken from
// the grid's block pool at start and shared by all trees.
//
//     auto pool = ScanBufferPool::create(grid.blocks(), {.levels_count = 7, .scans_max = 6});   // all or nothing
//     ScanBuffer buffer = co_await ok(pool->acquire());
//     co_await ok(grid.read_into(reference, BlockType::index, buffer.level(3).index_block()));
//
// Invariants
// 1. A buffer has one handle at most. The free one with the lowest index is handed out, so that a run is reproducible.
// 2. After reset() all buffers are free: handles from before do nothing when they are dropped, are_valid() tells, and a
//    use of one is a caught bug.
// 3. The pool has its blocks from creation to destruction, which gives every one back to the grid's pool.
// One loop owns a pool.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "lsm/block_pool.h"
#include "pools/index_set.h"
#include "runtime/wait_queue.h"

namespace spindle {

class ScanBufferPool;

/// Of one level of a tree.
class LevelBuffer {
 public:
  LevelBuffer(BlockLease index_block, BlockLease value_block) noexcept
      : index_block_(std::move(index_block)), value_block_(std::move(value_block)) {}
  BlockLease& index_block() noexcept { return index_block_; }
  BlockLease& value_block() noexcept { return value_block_; }

 private:
  BlockLease index_block_;
  BlockLease value_block_;
};

struct ScanBufferOptions {
  uint32_t levels_count = 7;  ///< > 0
  uint32_t scans_max = 6;  ///< buffers; > 0
};

/// A buffer of the pool, or none. Goes back when dropped. Move-only. Must not outlive the pool.
class [[nodiscard]] ScanBuffer {
 public:
  ScanBuffer() noexcept = default;
  ScanBuffer(ScanBuffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), index_(other.index_), session_(other.session_) {}
  ScanBuffer& operator=(ScanBuffer&& other) noexcept {
    if (this != &other) {
      release();
      pool_ = std::exchange(other.pool_, nullptr);
      index_ = other.index_;
      session_ = other.session_;
    }
    return *this;
  }
  ~ScanBuffer() { release(); }

  /// Gives it back; of a buffer from before a reset(): nothing.
  void release() noexcept;
  /// It has a buffer, and there was no reset() since.
  bool is_valid() const noexcept;
  /// Its place in the pool, from 0.
  uint32_t index() const noexcept;
  uint32_t levels_count() const noexcept;
  LevelBuffer& level(uint32_t level) const noexcept;

 private:
  friend class ScanBufferPool;
  ScanBuffer(ScanBufferPool& pool, uint32_t index, uint64_t session) noexcept
      : pool_(&pool), index_(index), session_(session) {}
  ScanBufferPool* pool_ = nullptr;
  uint32_t index_ = 0;
  uint64_t session_ = 0;
};

class ScanBufferPool {
 public:
  class [[nodiscard]] Acquire final : public LeafAwait<Acquire, Waiter> {
   public:
    explicit Acquire(ScanBufferPool& pool) noexcept : pool_(pool) {}
    ~Acquire() { abandon_if_dying(); }
    bool begin(Loop&) noexcept;
    Result<ScanBuffer> take() noexcept {
      if (failure() != nullptr) return Unexpected(*failure());
      return ScanBuffer(pool_, index_, session_);
    }
    const char* describe() const noexcept override { return "scan buffer pool"; }

   private:
    friend class ScanBufferPool;
    ScanBufferPool& pool_;
    uint32_t index_ = 0;  // granted
    uint64_t session_ = 0;
  };

  /// Takes 2 × levels_count × scans_max blocks. Errors: invalid_argument; `exhausted` when the pool has not as many
  /// free: then it has all of them again; ENOMEM. Does not suspend.
  static Result<std::unique_ptr<ScanBufferPool>> create(BlockPool& blocks, ScanBufferOptions options);
  ScanBufferPool(const ScanBufferPool&) = delete;
  ScanBufferPool& operator=(const ScanBufferPool&) = delete;
  /// Every buffer must have come back. All blocks go back to the grid's pool.
  ~ScanBufferPool();

  /// Result<ScanBuffer>: waits behind everybody who came before while all are in use. One that was granted and not
  /// taken before a reset() is not valid.
  Acquire acquire() noexcept { return Acquire(*this); }
  /// A buffer, or the error scans_max_exceeded: `exhausted`, where Error::where says "scans_max exceeded". Never
  /// suspends.
  Result<ScanBuffer> try_acquire() noexcept;
  /// For who knows that one is free: none is a caught bug.
  ScanBuffer acquire_assume_capacity() noexcept;
  /// All buffers are free, whoever has them. Those who wait get theirs. For after an operation that was cancelled.
  void reset() noexcept;

  uint32_t scans_max() const noexcept { return options_.scans_max; }
  uint32_t levels_count() const noexcept { return options_.levels_count; }
  uint32_t in_use_count() const noexcept { return in_use_count_; }
  uint64_t session() const noexcept { return session_; }

 private:
  friend class ScanBuffer;

  ScanBufferPool(ScanBufferOptions options, BlockPool& blocks, IndexSet free) noexcept;
  uint32_t take_free() noexcept;
  void give_back(uint32_t index) noexcept;
  void serve() noexcept;

  ScanBufferOptions options_;
  BlockPool& blocks_;
  std::vector<LevelBuffer> levels_;  // of buffer 0, of buffer 1, …
  IndexSet free_;
  uint32_t in_use_count_ = 0;  // handed out in this session, or granted to a waiter that has not run yet
  uint64_t session_ = 1;
  WaitQueue waiters_;
};

}  // namespace spindle
