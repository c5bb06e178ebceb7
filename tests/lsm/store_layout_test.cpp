#include "lsm/store_layout.h"

#include <doctest/doctest.h>

#include <iterator>

namespace spindle {
namespace {

StoreConfiguration configuration_with(uint32_t block_size, uint64_t journal_size, uint64_t blocks_max = 10) {
  StoreConfiguration configuration;
  configuration.block_size = block_size;
  configuration.journal_size = journal_size;
  configuration.blocks_max = blocks_max;
  return configuration;
}

TEST_CASE("the grid begins at the first block boundary behind the journal") {
  struct Case {
    uint32_t block_size;
    uint64_t journal_size;
    uint64_t grid_begin;
  };
  constexpr Case cases[] = {
      {4096, 0, 512 << 10},       {4096, 4096, 516 << 10},         {512 << 10, 0, 512 << 10},
      {512 << 10, 4096, 1 << 20}, {512 << 10, 512 << 10, 1 << 20}, {512 << 10, (512 << 10) + 4096, 3 * (512 << 10)},
      {64 << 20, 0, 64 << 20},    {64 << 20, 64 << 20, 128 << 20},
  };
  for (const Case& one : cases) {
    const StoreLayout layout = layout_of(configuration_with(one.block_size, one.journal_size));
    CHECK(layout.grid_begin == one.grid_begin);
    CHECK(layout.journal_end == superblock_zone_size + one.journal_size);
    CHECK(layout.size == one.grid_begin + 10 * uint64_t{one.block_size});
    CHECK(layout.journal.has_value() == (one.journal_size > 0));
    CHECK(layout.grid.size == 10 * uint64_t{one.block_size});
  }
}

TEST_CASE("the zones of a layout fit behind one another as a storage places them") {
  for (const uint64_t journal_size : {uint64_t{0}, uint64_t{4096}, uint64_t{1} << 61}) {
    for (const uint32_t block_size : {4096u, 512u << 10, block_size_max}) {
      const StoreConfiguration configuration =
          configuration_with(block_size, journal_size, (uint64_t{1} << 61) / block_size);
      REQUIRE(is_valid(configuration));
      const StoreLayout layout = layout_of(configuration);
      ZoneLayout zones(4096);
      CHECK(zones.add(superblock_zone_of()).has_value());
      if (layout.journal.has_value()) CHECK(zones.add(*layout.journal).has_value());
      const Result<ZoneIndex> grid = zones.add(layout.grid);
      REQUIRE(grid.has_value());
      CHECK(zones.zone(*grid).begin == layout.grid_begin);
      CHECK(zones.zone(*grid).end() == layout.size);
      CHECK(zones.end_present_min() == layout.journal_end);
    }
  }
}

TEST_CASE("blocks are counted from a size, and the size comes out again") {
  for (const uint32_t block_size : {4096u, 512u << 10, block_size_max}) {
    for (const uint64_t journal_size : {0u, 4096u, 96u << 20}) {
      StoreConfiguration configuration = configuration_with(block_size, journal_size, 0);
      const uint64_t least = store_size_min(configuration);
      const uint64_t most = store_size_max(configuration);
      for (const uint64_t size : {least, least + block_size, least + 1000 * uint64_t{block_size}, most}) {
        const Result<uint64_t> blocks = blocks_in(size, configuration);
        REQUIRE(blocks.has_value());
        configuration.blocks_max = *blocks;
        REQUIRE(is_valid(configuration));
        CHECK(layout_of(configuration).size == size);
      }
      CHECK(*blocks_in(least, configuration) == 1);
      configuration.blocks_max = *blocks_in(most, configuration) + 1;
      CHECK_FALSE(is_valid(configuration));
      for (const uint64_t size : {uint64_t{0}, least - block_size, least - 1, least + 1, least + block_size / 2,
                                  most + block_size, UINT64_MAX, UINT64_MAX / block_size * block_size}) {
        CAPTURE(size);
        const Result<uint64_t> blocks = blocks_in(size, configuration);
        REQUIRE_FALSE(blocks.has_value());
        CHECK(blocks.error().code == ErrorCode::invalid_argument);
      }
    }
  }
}

TEST_CASE("a checkpoint ends at the end of a block of the grid, or before all of them") {
  const StoreLayout layout = layout_of(configuration_with(8192, 4096, 3));
  const uint64_t begin = layout.grid_begin;
  for (const uint64_t size : {uint64_t{0}, begin, begin + 8192, begin + 3 * 8192}) {
    CHECK(is_valid_storage_size(size, layout));
  }
  for (const uint64_t size : {uint64_t{1}, uint64_t{8192}, begin - 8192, begin + 4096, begin + 4 * 8192, UINT64_MAX}) {
    CAPTURE(size);
    CHECK_FALSE(is_valid_storage_size(size, layout));
  }
}

}  // namespace
}  // namespace spindle
