#include "pools/node_pool.h"

#include <cerrno>
#include <cstdio>
#include <utility>

#include "pools/poison.h"
#include "runtime/wait_queue.h"

namespace spindle {

Result<UntypedNodePool> UntypedNodePool::create(size_t node_size, size_t node_alignment, uint32_t node_count,
                                                NodePoolNames names) noexcept {
  if (node_count == 0) return fail(ErrorCode::invalid_argument, "node pool");
  Result<IndexSet> free = IndexSet::create_full(node_count);
  if (!free.has_value()) return Unexpected(free.error());
  // aligned_alloc(3) wants a multiple of a pointer's size, and a size that is a multiple of that.
  const size_t alignment = node_alignment < sizeof(void*) ? sizeof(void*) : node_alignment;
  if (node_count > (SIZE_MAX - alignment) / node_size) return fail_errno(ENOMEM, "node pool");
  const size_t size = (node_size * node_count + alignment - 1) / alignment * alignment;
  Arena arena(static_cast<std::byte*>(std::aligned_alloc(alignment, size)));
  if (arena == nullptr) return fail_errno(ENOMEM, "node pool");
  return UntypedNodePool(std::move(arena), std::move(*free), node_size, names);
}

UntypedNodePool::UntypedNodePool(Arena arena, IndexSet free, size_t node_size, NodePoolNames names) noexcept
    : arena_(std::move(arena)),
      free_(std::move(free)),
      node_size_shift_(static_cast<uint32_t>(std::countr_zero(node_size))),
      names_(names) {
  poison_released(this->arena());
}

UntypedNodePool::UntypedNodePool(UntypedNodePool&& other) noexcept
    : arena_(std::move(other.arena_)),
      free_(std::move(other.free_)),
      node_size_shift_(other.node_size_shift_),
      in_use_count_(std::exchange(other.in_use_count_, 0)),
      high_water_count_(std::exchange(other.high_water_count_, 0)),
      names_(other.names_) {}

UntypedNodePool::~UntypedNodePool() {
  if (arena_ == nullptr) return;
  SPINDLE_ASSERT(in_use_count_ == 0 || host_is_dying(), "a node pool was destroyed with nodes acquired");
  SPINDLE_ASSERT_SLOW(free_.is_consistent(), "the summaries of a node pool do not agree with its nodes");
  unpoison_acquired(arena());
}

std::byte* UntypedNodePool::try_acquire() noexcept {
  if (in_use_count_ == free_.capacity()) [[unlikely]]
    return nullptr;
  const uint32_t index = free_.take_lowest();
  if (++in_use_count_ > high_water_count_) high_water_count_ = in_use_count_;
  unpoison_acquired(node_at(index));
  return node_at(index).data();
}

void UntypedNodePool::release(std::byte* node) noexcept {
  // Below the arena wraps around to beyond its end. A null pointer does, too.
  const uintptr_t offset = reinterpret_cast<uintptr_t>(node) - reinterpret_cast<uintptr_t>(arena_.get());
  const uintptr_t index = offset >> node_size_shift_;
  SPINDLE_ASSERT(index < free_.capacity(), "a node was released that is not of this pool");
  SPINDLE_ASSERT(index << node_size_shift_ == offset, "a pointer into the middle of a node was released");
  SPINDLE_ASSERT(!free_.contains(static_cast<uint32_t>(index)), "a node was released that is not acquired");
  poison_released(node_at(static_cast<uint32_t>(index)));
  free_.insert(static_cast<uint32_t>(index));
  --in_use_count_;
}

void UntypedNodePool::reset() noexcept {
  free_.fill();
  in_use_count_ = 0;
  poison_released(arena());
}

void UntypedNodePool::fail_exhausted() const noexcept {
  char message[256];
  std::snprintf(message, sizeof(message), "the %s is used up: all its %u nodes are acquired; raise %s", names_.pool,
                capacity(), names_.option);
  invariant_failed("a node is free", message, __FILE__, __LINE__);
}

}  // namespace spindle
