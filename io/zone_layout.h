// Where the zones of a Storage lie in its file: consecutive ranges, in the order in which they are named.
//
//     0          begin(0)+size(0)                                                     end
//     | zone 0   | zone 1   | padding up to a multiple of zone 2's alignment | zone 2  … |
//
// Invariant: begin and size of every zone are multiples of the sector size, no two overlap, and all end below
// file_size_limit. Plain data, without a destructor.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "runtime/result.h"

namespace spindle {

/// A zone's place in the list of zones, from 0.
enum class ZoneIndex : uint8_t {};
inline constexpr uint32_t zones_count_max = 8;
/// "All of the zone": see ZoneOptions.
inline constexpr uint64_t zone_whole = UINT64_MAX;
/// What offsets in a file may reach (off_t).
inline constexpr uint64_t file_size_limit = INT64_MAX;

struct ZoneOptions {
  const char* name = "";    ///< for messages; a string with static lifetime
  uint64_t size = 0;        ///< bytes; a multiple of the sector size, > 0
  uint64_t alignment = 0;   ///< it begins at a multiple of this, itself one of the sector size; 0: the sector size
  /// Of it, the bytes that a file must have to be opened, and has after create(). What is beyond comes with
  /// Storage::allocate(): so the last zone may be larger than its file.
  uint64_t size_present_min = zone_whole;
};
static_assert(std::is_trivially_destructible_v<ZoneOptions>);

class ZoneLayout {
 public:
  static constexpr uint32_t sector_size_min = 512;

  struct Zone {
    const char* name = "";
    uint64_t begin = 0;  ///< in the file
    uint64_t size = 0;
    uint64_t end_present_min = 0;  ///< in the file: it must reach to here
    uint64_t end() const noexcept { return begin + size; }
  };

  /// A power of two from sector_size_min on is valid.
  static bool is_valid_sector_size(uint32_t size) noexcept {
    return size >= sector_size_min && (size & (size - 1)) == 0;
  }
  /// `sector_size` must be valid.
  explicit ZoneLayout(uint32_t sector_size) noexcept;

  /// Puts a zone behind the others. Errors, which change nothing: invalid_argument when a size or alignment is no
  /// multiple of the sector size, the zone is empty, or it would end beyond file_size_limit; exhausted when there are
  /// zones_count_max.
  Result<ZoneIndex> add(const ZoneOptions& options) noexcept;

  uint32_t sector_size() const noexcept { return sector_size_; }
  uint32_t zones_count() const noexcept { return zones_count_; }
  const Zone& zone(ZoneIndex index) const noexcept {
    SPINDLE_ASSERT(static_cast<uint32_t>(index) < zones_count_, "a zone that there is not");
    return zones_[static_cast<size_t>(index)];
  }
  /// Where a file that has all that must be present may end.
  uint64_t end_present_min() const noexcept { return end_present_min_; }

  bool is_aligned(const void* memory) const noexcept {
    return (reinterpret_cast<uintptr_t>(memory) & (sector_size_ - 1)) == 0;
  }
  /// The offset in the file of an access to whole sectors of a zone. Anything else is a caught bug.
  uint64_t place(ZoneIndex index, uint64_t offset, uint64_t size) const noexcept {
    const Zone& within = zone(index);
    SPINDLE_ASSERT(size > 0, "an access to no sector at all");
    SPINDLE_ASSERT(((offset | size) & (sector_size_ - 1)) == 0, "an access that is not to whole sectors");
    SPINDLE_ASSERT(offset < within.size && size <= within.size - offset, "an access beyond the end of its zone");
    return within.begin + offset;
  }

 private:
  uint32_t sector_size_;
  uint32_t zones_count_ = 0;
  uint64_t end_ = 0;  ///< of the last zone
  uint64_t end_present_min_ = 0;
  std::array<Zone, zones_count_max> zones_;
};
static_assert(std::is_trivially_destructible_v<ZoneLayout>);

}  // namespace spindle
