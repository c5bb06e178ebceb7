// Where the zones of a store lie in its file, which its configuration decides; and how many blocks a size is good for.
//
//     0            512 KiB                                grid                                        size
//     | superblock | journal  | padding up to a block     | block 1 | block 2 | …        | block N    |
//     |<------ written through by a format ->|            |<------ comes as it is needed ----------->|
//
// The superblock comes first, and its zone has one size: so it can be opened before anything is known of the others.
// The grid has no disk space after a format. It is allocated before it is promised (Storage::allocate), so a store is
// as large as what it holds, and `size` is a limit. A store without a journal has none of that zone.
#pragma once

#include <cstdint>
#include <optional>

#include "io/storage.h"
#include "lsm/superblock_format.h"

namespace spindle {

/// The first zone of each store, of which that much must be there (ZoneOptions::size_present_min).
ZoneOptions superblock_zone_of(uint64_t size_present_min = zone_whole) noexcept;

struct StoreLayout {
  std::optional<ZoneOptions> journal;
  ZoneOptions grid;  ///< nothing of it need be there
  uint64_t journal_end = 0;  ///< what a format leaves of the file
  uint64_t grid_begin = 0;
  uint64_t size = 0;  ///< that the file can have: the end of the last block
};

/// The configuration is valid.
StoreLayout layout_of(const StoreConfiguration& configuration) noexcept;

/// Blocks of the grid of a file with that size. The rest of the configuration is valid, its blocks_max not looked at.
/// Error: invalid_argument when there is not one block, too many (StoreConfiguration), or a part of one.
Result<uint64_t> blocks_in(uint64_t size, const StoreConfiguration& configuration) noexcept;
/// The least and the most that blocks_in() takes.
uint64_t store_size_min(const StoreConfiguration& configuration) noexcept;
uint64_t store_size_max(const StoreConfiguration& configuration) noexcept;

/// Whether a checkpoint can end there: nowhere (0), or at the end of a block, or where the grid begins.
bool is_valid_storage_size(uint64_t storage_size, const StoreLayout& layout) noexcept;

struct StoreZones {
  ZoneIndex superblock{0};
  std::optional<ZoneIndex> journal;
  ZoneIndex grid{0};
};

/// The other zones, behind that of the superblock. The file must reach to `size_present`, a block device to the end of
/// the grid. Errors: end_of_file when it does not; those of ZoneLayout::add. Does not suspend.
Result<StoreZones> add_zones(Storage& storage, const StoreLayout& layout, uint64_t size_present);

}  // namespace spindle
