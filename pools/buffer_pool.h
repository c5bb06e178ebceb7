// AlignedBufferPool: equal-sized, aligned buffers over one arena, for direct I/O. Allocated once; a caller that finds
// it empty waits, FIFO and cancellable, until a lease comes back.
//
// Invariants
// 1. A buffer has one lease at most; destroying the pool with leases out is a caught bug.
// 2. In debug builds a buffer that came back is poisoned (with ASan) or filled with a pattern.
// One loop owns a pool. A pool knows no ring: io registers pool.arena().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "runtime/wait_queue.h"

namespace spindle {

class AlignedBufferPool {
 public:
  struct Options {
    uint32_t buffers_count = 0;     ///< > 0
    uint32_t buffer_size = 4096;    ///< bytes; a multiple of alignment
    uint32_t alignment = 4096;      ///< a power of two
  };

  /// One buffer, aligned; goes back to the pool when dropped. Move-only. Must not outlive the pool.
  class [[nodiscard]] Lease {
   public:
    Lease() noexcept = default;
    Lease(Lease&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), index_(other.index_) {}
    Lease& operator=(Lease&& other) noexcept {
      if (this != &other) {
        release();
        pool_ = std::exchange(other.pool_, nullptr);
        index_ = other.index_;
      }
      return *this;
    }
    ~Lease() { release(); }
    void release() noexcept {
      AlignedBufferPool* pool = std::exchange(pool_, nullptr);
      if (pool != nullptr && !host_is_dying()) pool->give_back(index_);
    }
    bool is_held() const noexcept { return pool_ != nullptr; }
    std::span<std::byte> span() const noexcept {
      SPINDLE_ASSERT(pool_ != nullptr, "the memory of a lease that holds no buffer");
      return pool_->buffer(index_);
    }
    std::span<std::byte> first(size_t size) const noexcept { return span().first(size); }
    operator std::span<std::byte>() const noexcept { return span(); }
    operator std::span<const std::byte>() const noexcept { return span(); }

   private:
    friend class AlignedBufferPool;
    Lease(AlignedBufferPool& pool, uint32_t index) noexcept : pool_(&pool), index_(index) {}
    AlignedBufferPool* pool_ = nullptr;
    uint32_t index_ = 0;
  };

  class [[nodiscard]] Acquire final : public LeafAwait<Acquire, Waiter> {
   public:
    explicit Acquire(AlignedBufferPool& pool) noexcept : pool_(pool) {}
    ~Acquire() { abandon_if_dying(); }
    bool begin(Loop&) noexcept {
      if (pool_.free_.empty()) {
        pool_.waiters_.push_back(*this);
        return false;
      }
      index_ = pool_.take_free();
      return true;
    }
    Result<Lease> take() noexcept {
      if (failure() != nullptr) return Unexpected(*failure());
      return Lease(pool_, index_);
    }
    const char* describe() const noexcept override { return "buffer pool"; }

   private:
    friend class AlignedBufferPool;
    AlignedBufferPool& pool_;
    uint32_t index_ = 0;
  };

  /// Errors: invalid_argument; ENOMEM. All or nothing; does not suspend.
  static Result<std::unique_ptr<AlignedBufferPool>> create(Options options);
  AlignedBufferPool(const AlignedBufferPool&) = delete;
  AlignedBufferPool& operator=(const AlignedBufferPool&) = delete;
  ~AlignedBufferPool();

  /// Result<Lease>: waits behind everybody who came before while the pool is empty.
  Acquire acquire() noexcept { return Acquire(*this); }
  /// A lease, or `exhausted`. Never suspends.
  Result<Lease> try_acquire() noexcept {
    if (free_.empty()) return fail(ErrorCode::exhausted, "buffer pool");
    return Lease(*this, take_free());
  }

  std::span<std::byte> arena() const noexcept {
    return {arena_, size_t{options_.buffers_count} * options_.buffer_size};
  }
  uint32_t capacity() const noexcept { return options_.buffers_count; }
  uint32_t buffer_size() const noexcept { return options_.buffer_size; }
  uint32_t in_use_count() const noexcept { return options_.buffers_count - static_cast<uint32_t>(free_.size()); }
  uint32_t high_water_count() const noexcept { return high_water_count_; }

 private:
  AlignedBufferPool(Options options, std::byte* arena);
  std::span<std::byte> buffer(uint32_t index) const noexcept {
    return {arena_ + size_t{index} * options_.buffer_size, options_.buffer_size};
  }
  uint32_t take_free() noexcept;
  void give_back(uint32_t index) noexcept;

  Options options_;
  std::byte* arena_;
  uint32_t high_water_count_ = 0;
  std::vector<uint32_t> free_;  // a stack: the buffer used last is warm
  std::vector<bool> is_leased_;
  WaitQueue waiters_;
};

}  // namespace spindle
