// What the tests of scan buffers share.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <utility>
#include <vector>

#include "lsm/scan_buffer.h"
#include "tests/lsm/block_fixture.h"

namespace spindle {

using ScanPoolPointer = std::unique_ptr<ScanBufferPool>;

inline ScanPoolPointer make_scan_pool(BlockPool& blocks, uint32_t scans_max, uint32_t levels_count = 2) {
  auto made = ScanBufferPool::create(blocks, {.levels_count = levels_count, .scans_max = scans_max});
  REQUIRE(made.has_value());
  return std::move(*made);
}

inline ScanBuffer take_scan(ScanBufferPool& pool) {
  Result<ScanBuffer> taken = pool.try_acquire();
  REQUIRE(taken.has_value());
  return std::move(*taken);
}

inline std::vector<ScanBuffer> take_all_scans(ScanBufferPool& pool) {
  std::vector<ScanBuffer> buffers;
  while (pool.in_use_count() < pool.scans_max()) buffers.push_back(take_scan(pool));
  return buffers;
}

/// Blocks for three scans of two levels, and one more; and their pool.
struct ScanPools {
  std::unique_ptr<BlockPool> blocks = make_block_pool(13);
  ScanPoolPointer scans = make_scan_pool(*blocks, 3);
};

}  // namespace spindle
