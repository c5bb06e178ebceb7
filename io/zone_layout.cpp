#include "io/zone_layout.h"

#include <algorithm>

namespace spindle {

ZoneLayout::ZoneLayout(uint32_t sector_size) noexcept : sector_size_(sector_size) {
  SPINDLE_ASSERT(is_valid_sector_size(sector_size), "a sector size that is no power of two from 512 on");
}

// The sizes may come from a disk: nothing is taken for granted, and no sum may wrap around.
Result<ZoneIndex> ZoneLayout::add(const ZoneOptions& options) noexcept {
  if (zones_count_ == zones_count_max) return fail(ErrorCode::exhausted, "zones of a storage");
  const uint64_t unit = options.alignment == 0 ? sector_size_ : options.alignment;
  const uint64_t present = options.size_present_min == zone_whole ? options.size : options.size_present_min;
  const bool is_whole = ((options.size | unit | present) & (sector_size_ - 1)) == 0;
  const bool is_sound = is_whole && options.size > 0 && present <= options.size;
  if (!is_sound) return fail(ErrorCode::invalid_argument, "zone of a storage");
  const uint64_t padding = end_ % unit == 0 ? 0 : unit - end_ % unit;
  const bool fits = padding <= file_size_limit - end_ && options.size <= file_size_limit - end_ - padding;
  if (!fits) return fail(ErrorCode::invalid_argument, "zone of a storage");
  const uint64_t begin = end_ + padding;
  end_ = begin + options.size;
  const uint64_t end_present_min = present == 0 ? 0 : begin + present;
  end_present_min_ = std::max(end_present_min_, end_present_min);
  zones_[zones_count_] = Zone{options.name, begin, options.size, end_present_min};
  return static_cast<ZoneIndex>(zones_count_++);
}

}  // namespace spindle
