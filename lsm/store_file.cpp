#include "lsm/store_file.h"

#include <algorithm>
#include <span>
#include <utility>

namespace spindle {

Task<Result<void>> StoreFile::open(std::optional<ClusterId> cluster) {
  const StoreInspection found = co_await ok(look_at(storage_, cluster));
  if (found.has_mark) co_return fail(ErrorCode::corrupt, "store: its format has not ended");
  co_await ok(superblock_.open(cluster));
  const Superblock& working = superblock_.working();
  const StoreLayout layout = layout_of(working.configuration);
  const uint64_t storage_size = working.state.storage_size;
  if (!is_valid_storage_size(storage_size, layout)) co_return fail(ErrorCode::corrupt, "store: storage size");
  const Result<StoreZones> zones = add_zones(storage_, layout, std::max(storage_size, layout.journal_end));
  if (!zones.has_value()) co_return Unexpected(zones.error());
  zones_ = *zones;
  co_return Result<void>();
}

Task<Result<std::unique_ptr<StoreFile>>> open_store(std::string path, StoreOptions options) {
  StorageOptions how;
  how.direct = options.direct;
  how.lock = options.lock;
  how.queue = options.queue;
  const ZoneOptions zones[] = {superblock_zone_of()};
  const std::span<const ZoneOptions> first(zones);
  Storage storage = co_await ok(Storage::open(std::move(path), first, how));
  auto store = std::make_unique<StoreFile>(std::move(storage));
  co_await ok(store->open(options.cluster));
  co_return std::move(store);
}

}  // namespace spindle
