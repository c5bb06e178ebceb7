// Reads of blocks with a copy that can't be had: behind the end of the file, at no address at all, in lost sectors; and
// how many reads there are at one time.
#include <algorithm>

#include "runtime/sleep.h"
#include "tests/lsm/grid_fixture.h"

namespace spindle {
namespace {

using References = std::vector<BlockReference>;

Task<Result<void>> put_pair(OpenStore& store, BlockReference* reference) {
  *reference = co_await ok(put_block(store.grid, 5, 2));
  co_return Result<void>();
}

Task<Result<void>> read_one(OpenStore& store, BlockReference reference, BlockReport* report) {
  GridReadOptions options;
  options.report = report;
  const BlockRef block = co_await ok(store.grid.read(reference, BlockType::value, options));
  CHECK(number_in(block) == 5);
  co_return Result<void>();
}

TEST_CASE("a second address that is no block of the grid is what is wrong with the second copy") {
  StoreDisk disk;
  BlockReference pair;
  REQUIRE(disk.run(put_pair, &pair).has_value());
  for (const uint64_t address : {disk.shape().blocks_count + 1, UINT64_MAX}) {
    BlockReference reference = pair;
    reference.address_second = address;
    BlockReport report;
    const Result<void> read = disk.run(read_one, reference, &report);
    REQUIRE_FALSE(read.has_value());
    CHECK(read.error().code == ErrorCode::corrupt);
    CHECK(report.fault == BlockFault::address);
    CHECK(report.fault_second == BlockFault::address);
  }
}

// The copy comes first: so the file may end between the two.
Task<Result<void>> put_behind_its_copy(OpenStore& store, BlockReference* reference) {
  co_await ok(make_checkpoint(store, 1));
  auto reservation = co_await ok(store.grid.reserve(2));
  BlockLease lease = co_await ok(store.grid.blocks().acquire());
  lease = fill_block(std::move(lease), store.grid, reservation, 5, 2);
  std::swap(lease.header().address, lease.header().address_second);
  *reference = seal_block(lease.memory());
  co_await ok(store.grid.write(std::move(lease)));
  store.grid.forfeit(std::move(reservation));
  co_return Result<void>();
}

TEST_CASE("a block behind the end of the file is read from its copy, and written again") {
  StoreDisk disk;
  BlockReference reference;
  REQUIRE(disk.run(put_behind_its_copy, &reference).has_value());
  REQUIRE(reference.address == reference.address_second + 1);
  SimFiles files = disk.clone();
  files.find(grid_path)->resize(disk.offset_of(reference.address), files.take_sequence());
  files.settle();
  StoreDisk cut(disk.shape(), std::move(files));
  BlockReport report;
  CHECK(cut.run(read_one, reference, &report).has_value());
  CHECK(report.fault == BlockFault::unreadable);
  CHECK(report.fault_second == BlockFault::none);
  CHECK(report.is_healed);
  CHECK(cut.run(read_one, reference, &report).has_value());
  CHECK(report.fault == BlockFault::none);
}

Task<Result<void>> put_small(OpenStore& store, BlockReference* reference) {
  auto reservation = co_await ok(store.grid.reserve(1));
  BlockLease lease = co_await ok(store.grid.blocks().acquire());
  lease = fill_block(std::move(lease), store.grid, reservation, 5);
  lease.header().frame.size = message_header_size + 100;
  *reference = seal_block(lease.memory());
  co_await ok(store.grid.write(std::move(lease)));
  store.grid.forfeit(std::move(reservation));
  co_return Result<void>();
}

TEST_CASE("sectors that are lost behind those that a block uses do it no harm") {
  StoreDisk disk({.block_size = 4 * grid_block_size});
  BlockReference reference;
  REQUIRE(disk.run(put_small, &reference).has_value());
  for (uint64_t sector = 1; sector < 4; ++sector) {
    disk.file().make_unreadable(disk.offset_of(reference.address) + sector * grid_block_size, grid_block_size);
  }
  BlockReport report;
  CHECK(disk.run(read_one, reference, &report).has_value());
  CHECK(report.fault == BlockFault::none);
  disk.file().make_unreadable(disk.offset_of(reference.address), grid_block_size);
  const Result<void> read = disk.run(read_one, reference, &report);
  REQUIRE_FALSE(read.has_value());
  CHECK(read.error().code == ErrorCode::lost_sectors);
}

// ---- how many at one time

Task<Result<void>> put_twelve(OpenStore& store, References* references) {
  for (uint64_t number = 1; number <= 12; ++number) {
    const BlockReference reference = co_await ok(put_block(store.grid, number));
    references->push_back(reference);
  }
  const Result<void> done = co_await make_checkpoint(store, 1);
  co_return done;
}

Task<Result<void>> read_in_class(Grid* grid, BlockReference reference, IoClass io_class, uint64_t* done_count) {
  GridReadOptions options;
  options.io_class = io_class;
  const BlockRef block = co_await ok(grid->read(reference, BlockType::value, options));
  CHECK(block.is_held());
  ++*done_count;
  co_return Result<void>();
}

Task<Result<void>> read_and_count(Scope& scope, Grid& grid, const References& references, const IoClass& io_class,
                                  uint64_t& most) {
  uint64_t done_count = 0;
  for (const BlockReference& reference : references) {
    co_await ok(scope.spawn(read_in_class, &grid, reference, io_class, &done_count));
  }
  while (done_count < references.size()) {
    const auto is_under_way = [&grid](const BlockReference& reference) {
      return grid.transfers().find_read(reference.address) != nullptr;
    };
    const auto count = std::count_if(references.begin(), references.end(), is_under_way);
    most = std::max(most, static_cast<uint64_t>(count));
    co_await ok(sleep_for(std::chrono::microseconds(1)));
  }
  co_return Result<void>();
}

Task<Result<void>> read_many(OpenStore& store, const References* references, IoClass io_class, uint64_t* most) {
  auto reading = with_scope(ScopeOptions{}, read_and_count, store.grid, *references, io_class, *most);
  const Result<void> read = co_await std::move(reading);
  co_return read;
}

TEST_CASE("reads in the background have a quarter of all that there may be at one time") {
  StoreDisk disk;
  References references;
  REQUIRE(disk.run(put_twelve, &references).has_value());
  const uint32_t reads_max = options_of(disk.shape()).reads_max;
  uint64_t most = 0;
  CHECK(disk.run(read_many, &references, IoClass::foreground, &most).has_value());
  CHECK(most == reads_max);
  most = 0;
  CHECK(disk.run(read_many, &references, IoClass::background, &most).has_value());
  CHECK(most == reads_max / 4);
}

}  // namespace
}  // namespace spindle
