// NodePool: equal-sized, aligned memory nodes over one arena, allocated once. First user: the in-memory manifest.
//
//     auto pool = NodePool<4096, 512>::create(1024, {.pool = "manifest", .option = "manifest_nodes_count"});
//     std::byte* node = pool->acquire();
//     pool->release(node);
//
// Invariants
// 1. A node is free or acquired; acquire() gives the free one with the lowest index, so that a run is reproducible.
// 2. What is released lies in the arena, on a node boundary, and is acquired. Checked in every build.
// 3. In debug builds a free node is poisoned (with ASan) or was filled with a pattern.
// acquire and release cost a few bit operations per level of an IndexSet, whatever the size and the fill of the pool.
// One loop owns a pool. A pool knows no ring: io registers pool.arena().
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "pools/index_set.h"
#include "runtime/result.h"

namespace spindle {

/// What a pool is called when it is used up. Strings with static lifetime.
struct NodePoolNames {
  const char* pool = "node pool";
  const char* option = "node_count";  ///< the configuration value that sets its capacity
};

/// A NodePool without its template arguments: all of the code.
class UntypedNodePool {
 public:
  /// Two allocations: the nodes, the bookkeeping. All or nothing. Errors: invalid_argument for no nodes; ENOMEM.
  static Result<UntypedNodePool> create(size_t node_size, size_t node_alignment, uint32_t node_count,
                                        NodePoolNames names) noexcept;
  UntypedNodePool(UntypedNodePool&& other) noexcept;
  UntypedNodePool& operator=(UntypedNodePool&&) = delete;
  ~UntypedNodePool();

  std::byte* acquire() noexcept {
    std::byte* const node = try_acquire();
    if (node == nullptr) [[unlikely]]
      fail_exhausted();
    return node;
  }
  std::byte* try_acquire() noexcept;
  void release(std::byte* node) noexcept;
  void reset() noexcept;

  std::span<std::byte> arena() const noexcept { return {arena_.get(), size_t{free_.capacity()} << node_size_shift_}; }
  uint32_t capacity() const noexcept { return free_.capacity(); }
  uint32_t in_use_count() const noexcept { return in_use_count_; }
  uint32_t high_water_count() const noexcept { return high_water_count_; }

 private:
  struct FreeMemory {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  using Arena = std::unique_ptr<std::byte, FreeMemory>;

  UntypedNodePool(Arena arena, IndexSet free, size_t node_size, NodePoolNames names) noexcept;
  std::span<std::byte> node_at(uint32_t index) const noexcept {
    return {arena_.get() + (size_t{index} << node_size_shift_), size_t{1} << node_size_shift_};
  }
  [[noreturn]] void fail_exhausted() const noexcept;

  Arena arena_;    // null in a pool that was moved away
  IndexSet free_;
  uint32_t node_size_shift_;
  uint32_t in_use_count_ = 0;
  uint32_t high_water_count_ = 0;
  NodePoolNames names_;
};

/// What a NodePool can be made of.
constexpr bool is_node_shape(size_t size, size_t alignment) noexcept {
  const bool is_aligned = std::has_single_bit(alignment) && alignment <= 4096 && size % alignment == 0;
  return is_aligned && std::has_single_bit(size);
}

template <size_t node_size_value, size_t node_alignment_value>
class NodePool {
 public:
  static constexpr size_t node_size = node_size_value;
  static constexpr size_t node_alignment = node_alignment_value;
  static_assert(is_node_shape(node_size, node_alignment),
                "a node's size and alignment are powers of two, the alignment 4096 at most, and divides the size");

  /// All nodes free. All or nothing. Errors: invalid_argument for no nodes; ENOMEM.
  static Result<NodePool> create(uint32_t node_count, NodePoolNames names = {}) noexcept {
    Result<UntypedNodePool> made = UntypedNodePool::create(node_size, node_alignment, node_count, names);
    if (!made.has_value()) return Unexpected(made.error());
    return NodePool(std::move(*made));
  }

  /// The free node with the lowest index: node_size bytes of unspecified content, aligned. A pool that is used up ends
  /// the process, with a message that names the pool, its capacity and the option that sets it.
  [[nodiscard]] std::byte* acquire() noexcept { return untyped_.acquire(); }
  /// The same, but null when the pool is used up.
  [[nodiscard]] std::byte* try_acquire() noexcept { return untyped_.try_acquire(); }
  /// `node` came from acquire() and was not released since; a foreign or inner pointer and a second release are caught.
  void release(std::byte* node) noexcept { untyped_.release(node); }
  /// Every node is free again, those still held included: for throwing a whole structure away.
  void reset() noexcept { untyped_.reset(); }

  std::span<std::byte> arena() const noexcept { return untyped_.arena(); }
  uint32_t capacity() const noexcept { return untyped_.capacity(); }
  uint32_t in_use_count() const noexcept { return untyped_.in_use_count(); }
  uint32_t high_water_count() const noexcept { return untyped_.high_water_count(); }

 private:
  explicit NodePool(UntypedNodePool untyped) noexcept : untyped_(std::move(untyped)) {}

  UntypedNodePool untyped_;  // destroyed with nodes out: caught
};

}  // namespace spindle
