#include "pools/buffer_pool.h"

#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "pools/poison.h"

namespace spindle {

Result<std::unique_ptr<AlignedBufferPool>> AlignedBufferPool::create(Options options) {
  const bool valid = options.buffers_count > 0 && options.buffer_size > 0 && std::has_single_bit(options.alignment) &&
                     options.buffer_size % options.alignment == 0;
  if (!valid) return fail(ErrorCode::invalid_argument, "buffer pool");
  const size_t alignment = options.alignment < sizeof(void*) ? sizeof(void*) : options.alignment;
  const size_t size = size_t{options.buffers_count} * options.buffer_size;
  void* arena = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (arena == nullptr) return fail_errno(ENOMEM, "buffer pool");
  return std::unique_ptr<AlignedBufferPool>(new AlignedBufferPool(options, static_cast<std::byte*>(arena)));
}

AlignedBufferPool::AlignedBufferPool(Options options, std::byte* arena)
    : options_(options), arena_(arena), is_leased_(options.buffers_count, false) {
  free_.reserve(options.buffers_count);
  for (uint32_t index = options.buffers_count; index-- > 0;) {
    free_.push_back(index);
    poison_released(buffer(index));
  }
}

AlignedBufferPool::~AlignedBufferPool() {
  SPINDLE_ASSERT(in_use_count() == 0 || host_is_dying(), "a buffer pool was destroyed with leases out");
  unpoison_acquired(arena());
  std::free(arena_);
}

uint32_t AlignedBufferPool::take_free() noexcept {
  const uint32_t index = free_.back();
  free_.pop_back();
  SPINDLE_ASSERT(!is_leased_[index], "a buffer was leased twice");
  is_leased_[index] = true;
  if (in_use_count() > high_water_count_) high_water_count_ = in_use_count();
  unpoison_acquired(buffer(index));
  return index;
}

void AlignedBufferPool::give_back(uint32_t index) noexcept {
  SPINDLE_ASSERT(is_leased_[index], "a buffer came back that nobody had");
  is_leased_[index] = false;
  poison_released(buffer(index));
  free_.push_back(index);
  Waiter* first = waiters_.first();
  if (first == nullptr) return;
  static_cast<Acquire&>(*first).index_ = take_free();
  first->grant();
}

}  // namespace spindle
