#include "lsm/store_layout.h"

#include <algorithm>

#include "runtime/assert.h"

namespace spindle {

namespace {

/// See is_valid(const StoreConfiguration&).
constexpr uint64_t grid_size_max = uint64_t{1} << 61;
static_assert(superblock_zone_size + 2 * grid_size_max + block_size_max < file_size_limit, "no sum of zones overflows");

uint64_t round_up(uint64_t value, uint64_t unit) noexcept { return (value + unit - 1) / unit * unit; }

uint64_t grid_begin_of(const StoreConfiguration& configuration) noexcept {
  return round_up(superblock_zone_size + configuration.journal_size, configuration.block_size);
}

}  // namespace

ZoneOptions superblock_zone_of(uint64_t size_present_min) noexcept {
  return {.name = "superblock", .size = superblock_zone_size, .size_present_min = size_present_min};
}

StoreLayout layout_of(const StoreConfiguration& configuration) noexcept {
  SPINDLE_ASSERT(is_valid(configuration), "the layout of a store that can't be");
  StoreLayout layout;
  if (configuration.journal_size > 0) {
    layout.journal = ZoneOptions{.name = "journal", .size = configuration.journal_size};
  }
  layout.grid = {.name = "grid",
                 .size = configuration.blocks_max * configuration.block_size,
                 .alignment = configuration.block_size,
                 .size_present_min = 0};
  layout.journal_end = superblock_zone_size + configuration.journal_size;
  layout.grid_begin = grid_begin_of(configuration);
  layout.size = layout.grid_begin + layout.grid.size;
  return layout;
}

uint64_t store_size_min(const StoreConfiguration& configuration) noexcept {
  return grid_begin_of(configuration) + configuration.block_size;
}

uint64_t store_size_max(const StoreConfiguration& configuration) noexcept {
  return grid_begin_of(configuration) + grid_size_max;
}

Result<uint64_t> blocks_in(uint64_t size, const StoreConfiguration& configuration) noexcept {
  const bool is_possible = size >= store_size_min(configuration) && size <= store_size_max(configuration) &&
                           size % configuration.block_size == 0;
  if (!is_possible) return fail(ErrorCode::invalid_argument, "size of a store");
  return (size - grid_begin_of(configuration)) / configuration.block_size;
}

bool is_valid_storage_size(uint64_t storage_size, const StoreLayout& layout) noexcept {
  if (storage_size == 0) return true;
  return storage_size >= layout.grid_begin && storage_size <= layout.size && storage_size % layout.grid.alignment == 0;
}

Result<StoreZones> add_zones(Storage& storage, const StoreLayout& layout, uint64_t size_present) {
  SPINDLE_ASSERT(size_present <= layout.size, "more of a store than there can be");
  StoreZones zones;
  if (layout.journal.has_value()) {
    ZoneOptions options = *layout.journal;
    options.size_present_min = std::min(options.size, size_present - std::min(size_present, superblock_zone_size));
    const Result<ZoneIndex> journal = storage.add_zone(options);
    if (!journal.has_value()) return Unexpected(journal.error());
    zones.journal = *journal;
  }
  ZoneOptions options = layout.grid;
  options.size_present_min = size_present - std::min(size_present, layout.grid_begin);
  if (storage.is_device()) options.size_present_min = options.size;
  const Result<ZoneIndex> grid = storage.add_zone(options);
  if (!grid.has_value()) return Unexpected(grid.error());
  zones.grid = *grid;
  return zones;
}

}  // namespace spindle
