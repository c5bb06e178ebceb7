#include "lsm/scan_buffer.h"

#include <cerrno>
#include <new>

namespace spindle {

namespace {

bool is_block_of(const BlockPool& pool, const BlockLease& block) noexcept {
  if (!block.is_held()) return false;
  const std::byte* const memory = block.memory().data();
  return memory >= pool.arena().data() && memory < pool.arena().data() + pool.arena().size();
}

}  // namespace

Result<std::unique_ptr<ScanBufferPool>> ScanBufferPool::create(BlockPool& blocks, ScanBufferOptions options) {
  const bool is_valid = options.levels_count > 0 && options.scans_max > 0;
  if (!is_valid) return fail(ErrorCode::invalid_argument, "scan buffer pool");
  const uint64_t levels_count = uint64_t{options.levels_count} * options.scans_max;
  const uint32_t free_count = blocks.capacity() - blocks.in_use_count();
  if (levels_count > free_count / 2) return fail(ErrorCode::exhausted, "scan buffer pool: blocks of the grid");
  Result<IndexSet> free = IndexSet::create_full(options.scans_max);
  if (!free.has_value()) return Unexpected(free.error());
  std::unique_ptr<ScanBufferPool> pool(new (std::nothrow) ScanBufferPool(options, blocks, std::move(*free)));
  if (pool == nullptr) return fail_errno(ENOMEM, "scan buffer pool");
  pool->levels_.reserve(levels_count);
  for (uint64_t level = 0; level < levels_count; ++level) {
    Result<BlockLease> index_block = blocks.try_acquire();
    Result<BlockLease> value_block = blocks.try_acquire();
    SPINDLE_ASSERT(index_block.has_value() && value_block.has_value(),
                   "a block pool has fewer free blocks than it says");
    pool->levels_.emplace_back(std::move(*index_block), std::move(*value_block));
  }
  return pool;
}

ScanBufferPool::ScanBufferPool(ScanBufferOptions options, BlockPool& blocks, IndexSet free) noexcept
    : options_(options), blocks_(blocks), free_(std::move(free)) {}

// Counting what comes back would not do: where somebody waits for a block of the grid, it goes out again at once.
ScanBufferPool::~ScanBufferPool() {
  if (host_is_dying()) return;
  SPINDLE_ASSERT(in_use_count_ == 0, "a scan buffer pool was destroyed with buffers out");
  for (LevelBuffer& level : levels_) {
    const bool is_whole = is_block_of(blocks_, level.index_block()) && is_block_of(blocks_, level.value_block());
    SPINDLE_ASSERT(is_whole, "a block of a scan buffer was taken away from it");
  }
}

uint32_t ScanBufferPool::take_free() noexcept {
  ++in_use_count_;
  return free_.take_lowest();
}

bool ScanBufferPool::Acquire::begin(Loop&) noexcept {
  if (pool_.free_.empty()) {
    pool_.waiters_.push_back(*this);
    return false;
  }
  index_ = pool_.take_free();
  session_ = pool_.session_;
  return true;
}

Result<ScanBuffer> ScanBufferPool::try_acquire() noexcept {
  if (free_.empty()) return fail(ErrorCode::exhausted, "scans_max exceeded");
  const uint32_t index = take_free();
  return ScanBuffer(*this, index, session_);
}

ScanBuffer ScanBufferPool::acquire_assume_capacity() noexcept {
  SPINDLE_ASSERT(!free_.empty(), "a scan buffer was taken for granted, and none is free");
  const uint32_t index = take_free();
  return {*this, index, session_};
}

void ScanBufferPool::give_back(uint32_t index) noexcept {
  SPINDLE_ASSERT(!free_.contains(index), "a scan buffer came back twice");
  free_.insert(index);
  --in_use_count_;
  serve();
}

void ScanBufferPool::serve() noexcept {
  while (Waiter* const first = waiters_.first()) {
    if (free_.empty()) break;
    Acquire& waiting = static_cast<Acquire&>(*first);
    waiting.index_ = take_free();
    waiting.session_ = session_;
    first->grant();
  }
}

void ScanBufferPool::reset() noexcept {
  free_.fill();
  in_use_count_ = 0;
  ++session_;
  serve();
}

void ScanBuffer::release() noexcept {
  ScanBufferPool* const pool = std::exchange(pool_, nullptr);
  if (pool == nullptr || host_is_dying()) return;
  if (pool->session_ == session_) pool->give_back(index_);
}

bool ScanBuffer::is_valid() const noexcept { return pool_ != nullptr && pool_->session_ == session_; }

uint32_t ScanBuffer::index() const noexcept {
  SPINDLE_ASSERT(is_valid(), "a scan buffer that was given back, moved away, or is from before a reset");
  return index_;
}

uint32_t ScanBuffer::levels_count() const noexcept {
  SPINDLE_ASSERT(pool_ != nullptr, "a scan buffer that was given back or moved away");
  return pool_->levels_count();
}

LevelBuffer& ScanBuffer::level(uint32_t level) const noexcept {
  SPINDLE_ASSERT(is_valid(), "a scan buffer that was given back, moved away, or is from before a reset");
  SPINDLE_ASSERT(level < pool_->options_.levels_count, "a level that a scan buffer does not have");
  return pool_->levels_[size_t{index_} * pool_->options_.levels_count + level];
}

}  // namespace spindle
