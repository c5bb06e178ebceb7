// Ranges of a simulated file in pages, and parts of a page in grains of 512 bytes: a bit of a byte each.
#pragma once

#include <algorithm>
#include <cstdint>

#include "io/sim/sim_file.h"

namespace spindle::sim_pages {

inline constexpr uint32_t page_size = SimFile::page_size;
inline constexpr uint8_t all_grains = 0xff;

/// visit(index of the page, begin in it, size) for each page that the range touches.
template <class Visit>
void for_each_page(uint64_t offset, uint64_t size, Visit visit) {
  while (size > 0) {
    const uint64_t begin = offset % page_size;
    const uint64_t here = std::min<uint64_t>(size, page_size - begin);
    visit(offset / page_size, static_cast<uint32_t>(begin), static_cast<uint32_t>(here));
    offset += here;
    size -= here;
  }
}

/// A bit per grain that the part of a page touches.
inline uint8_t grains_of(uint32_t begin, uint32_t size) noexcept {
  const uint32_t first = begin / SimFile::grain_size;
  const uint32_t end = (begin + size + SimFile::grain_size - 1) / SimFile::grain_size;
  return static_cast<uint8_t>(((1u << end) - 1) & ~((1u << first) - 1));
}

/// … and of those, which it covers.
inline uint8_t grains_covered(uint32_t begin, uint32_t size) noexcept {
  const uint32_t first = (begin + SimFile::grain_size - 1) / SimFile::grain_size;
  const uint32_t end = (begin + size) / SimFile::grain_size;
  return end <= first ? 0 : static_cast<uint8_t>(((1u << end) - 1) & ~((1u << first) - 1));
}

template <class Visit>
void for_each_grain(uint8_t grains, Visit visit) {
  for (uint32_t grain = 0; grain < SimFile::grains_per_page; ++grain) {
    if ((grains >> grain & 1) != 0) visit(grain);
  }
}

}  // namespace spindle::sim_pages
