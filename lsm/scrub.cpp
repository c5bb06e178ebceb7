#include "lsm/scrub.h"

#include "runtime/loop.h"
#include "runtime/sleep.h"

namespace spindle {

namespace {

/// Looks at one block after another, with memory of its own.
class Scrubber {
 public:
  Scrubber(Grid& grid, ReferenceSource& source, const ScrubOptions& options, ScrubSummary& summary, BlockLease first,
           BlockLease second) noexcept
      : grid_(grid),
        source_(source),
        options_(options),
        summary_(summary),
        first_(std::move(first)),
        second_(std::move(second)) {}

  Task<Result<void>> look_at(ReferencedBlock block);

 private:
  Task<Result<void>> judge(BlockReport report);

  Grid& grid_;
  ReferenceSource& source_;
  ScrubOptions options_;
  ScrubSummary& summary_;
  BlockLease first_;
  BlockLease second_;
};

Task<Result<void>> Scrubber::look_at(ReferencedBlock block) {
  if (grid_.transfers().find_write(block.reference) != nullptr) {
    ++summary_.passed_over_count;
    co_return Result<void>();
  }
  const GridGuard guard(grid_.transfers(), block.reference);
  BlockExpected expected;
  expected.cluster = grid_.options().cluster;
  expected.reference = block.reference;
  expected.type = block.type;
  BlockReport report;
  report.reference = block.reference;
  const BlockFault fault = co_await ok(grid_.read_copy(expected, block.reference.address, first_, options_.io_class));
  report.fault = fault;
  if (report.reference.address_second != 0) {
    const uint64_t address = report.reference.address_second;
    const BlockFault fault_second = co_await ok(grid_.read_copy(expected, address, second_, options_.io_class));
    report.fault_second = fault_second;
  }
  ++summary_.blocks_count;
  const Result<void> judged = co_await judge(report);
  co_return judged;
}

// The reads are over. The guard keeps others from writing the block until the healing write has ended: so the answer,
// whether it is still meant, holds that long.
Task<Result<void>> Scrubber::judge(BlockReport report) {
  const bool has_second = report.reference.address_second != 0;
  const bool is_bad = report.fault != BlockFault::none;
  const bool is_bad_second = has_second && report.fault_second != BlockFault::none;
  if (!is_bad && !is_bad_second) co_return Result<void>();
  if (!source_.is_current(report.reference)) {
    ++summary_.passed_over_count;
    co_return Result<void>();
  }
  const BlockReference& reference = report.reference;
  const bool is_possible =
      grid_.is_block(reference.address) && (!has_second || grid_.is_block(reference.address_second));
  const bool is_lost = !is_possible || (is_bad && (!has_second || is_bad_second));
  if (is_lost) {
    ++summary_.lost_count;
  } else {
    const std::span<const std::byte> good = is_bad ? second_.memory() : first_.memory();
    const uint64_t address = is_bad ? report.reference.address : report.reference.address_second;
    co_await ok(grid_.heal(address, good.first(sectors_size_of(block_header_of(good))), options_.io_class));
    report.is_healed = true;
    ++summary_.healed_count;
  }
  if (options_.listener != nullptr) options_.listener->on_bad_block(report);
  co_return Result<void>();
}

const Trailer& trailer_of(const Grid& grid, uint32_t index) noexcept {
  return index < grid.trailer_acquired().blocks_count() ? grid.trailer_acquired() : grid.trailer_released();
}

}  // namespace

Task<Result<std::optional<ReferencedBlock>>> TrailerSource::next() {
  const uint32_t acquired_count = grid_.trailer_acquired().blocks_count();
  const uint32_t all_count = acquired_count + grid_.trailer_released().blocks_count();
  if (index_ >= all_count || !grid_.has_current_trailers()) {
    index_ = 0;
    co_return std::optional<ReferencedBlock>();
  }
  ReferencedBlock block;
  block.type = BlockType::free_set;
  block.reference = trailer_of(grid_, index_).reference(index_ < acquired_count ? index_ : index_ - acquired_count);
  ++index_;
  co_return std::optional<ReferencedBlock>(block);
}

bool TrailerSource::is_current(const BlockReference& reference) const noexcept {
  if (!grid_.has_current_trailers()) return false;
  for (const Trailer* trailer : {&grid_.trailer_acquired(), &grid_.trailer_released()}) {
    for (uint32_t index = 0; index < trailer->blocks_count(); ++index) {
      if (trailer->reference(index) == reference) return true;
    }
  }
  return false;
}

Task<Result<void>> scrub(Grid& grid, ReferenceSource& source, ScrubOptions options, ScrubSummary& summary) {
  BlockLease first = co_await ok(grid.blocks().acquire());
  BlockLease second = co_await ok(grid.blocks().acquire());
  Scrubber scrubber(grid, source, options, summary, std::move(first), std::move(second));
  const Time begin = Loop::current().now();
  for (uint64_t number = 0;; ++number) {
    const std::optional<ReferencedBlock> block = co_await ok(source.next());
    if (!block.has_value()) co_return Result<void>();
    if (options.blocks_per_second > 0) {
      const Duration second = std::chrono::seconds(1);
      co_await ok(sleep_until(begin + second * number / options.blocks_per_second));
    }
    co_await ok(scrubber.look_at(*block));
  }
}

}  // namespace spindle
