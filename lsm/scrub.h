// Scrubbing: reads every block that the store refers to, all copies of it, in the background, and says which are bad
// while there is still a good one.
//
//     class Tables : public ReferenceSource { … };             // by the layers above: what is referred to
//     ScrubSummary summary;
//     co_await ok(scrub(grid, tables, options, summary));      // one round
//
// Past the cache, in the background class, at a stated rate. A copy that is bad while the other one is good is written
// again. A block that was released meanwhile, or is being written, is passed over: what is read of it says nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>

#include "lsm/grid.h"
#include "runtime/task.h"

namespace spindle {

struct ReferencedBlock {
  BlockReference reference;
  BlockType type = BlockType::value;
};

/// What a store refers to, one after another, and whether it still does.
class ReferenceSource {
 public:
  virtual ~ReferenceSource() = default;
  /// Result<std::optional<ReferencedBlock>>: the next one; nothing at the end. May suspend, and allow for changes
  /// between two calls.
  virtual Task<Result<std::optional<ReferencedBlock>>> next() = 0;
  /// Whether the block is referred to now. From the answer on writes of it wait, until it is healed.
  virtual bool is_current(const BlockReference& reference) const noexcept = 0;
};

/// The grid's own: the blocks of the trailers of its current checkpoint; none while another one is being written. After
/// a round it begins anew.
class TrailerSource final : public ReferenceSource {
 public:
  explicit TrailerSource(const Grid& grid) noexcept : grid_(grid) {}
  Task<Result<std::optional<ReferencedBlock>>> next() override;
  bool is_current(const BlockReference& reference) const noexcept override;

 private:
  const Grid& grid_;
  uint32_t index_ = 0;
};

/// Told of each block with a bad copy.
class ScrubListener {
 public:
  virtual ~ScrubListener() = default;
  virtual void on_bad_block(const BlockReport& report) = 0;
};

struct ScrubOptions {
  uint32_t blocks_per_second = 100;  ///< 0: as fast as it goes
  IoClass io_class = IoClass::background;
  ScrubListener* listener = nullptr;
};
static_assert(std::is_trivially_destructible_v<ScrubOptions>);

struct ScrubSummary {
  uint64_t blocks_count = 0;  ///< read, with all copies
  uint64_t passed_over_count = 0;  ///< changed meanwhile
  uint64_t healed_count = 0;  ///< had a bad copy, and a good one
  uint64_t lost_count = 0;  ///< have no good copy, or a reference that names what is no block
};

/// Result<void>: one round over the source. `summary` counts as it goes. Bad blocks are no error. Errors: those of the
/// source, of reading and of writing; `cancelled`. Suspends.
Task<Result<void>> scrub(Grid& grid, ReferenceSource& source, ScrubOptions options, ScrubSummary& summary);

}  // namespace spindle
