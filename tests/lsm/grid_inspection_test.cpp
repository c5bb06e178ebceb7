// What an inspection says of the grid of a store: counts, picture, blocks by type, and each kind of damage; and that it
// changes nothing.
#include "lsm/grid_inspection.h"

#include <algorithm>

#include "lsm/store_inspection.h"
#include "tests/lsm/grid_fixture.h"

namespace spindle {
namespace {

using References = std::vector<BlockReference>;

Task<Result<void>> run_grid_inspection(StoreInspection* into, GridLook look) {
  StoreInspectionOptions options;
  options.grid = look;
  *into = co_await ok(inspect_store(grid_path, options));
  co_return Result<void>();
}

StoreInspection inspection_of(StoreDisk& disk, GridLook look = GridLook::blocks) {
  StoreInspection found;
  REQUIRE(disk.run_alone(run_grid_inspection, &found, look).has_value());
  return found;
}

struct Made {
  References blocks;  // 1 to 8, of which 1 to 6 are kept; block 8 has a second address
  References trailers;  // of both, from the first one on
};

void note_trailers(const Grid& grid, Made& made) {
  for (const Trailer* trailer : {&grid.trailer_acquired(), &grid.trailer_released()}) {
    for (uint32_t index = 0; index < trailer->blocks_count(); ++index)
      made.trailers.push_back(trailer->reference(index));
  }
}

/// Seven blocks at 1 to 7, a pair at 8 and 9; 6 and 7 are released by the last checkpoint.
Task<Result<void>> make_blocks(OpenStore& store, Made* made) {
  for (uint64_t number = 1; number <= 8; ++number) {
    const BlockReference block = co_await ok(put_block(store.grid, number, number == 8 ? 2 : 1));
    made->blocks.push_back(block);
  }
  co_await ok(make_checkpoint(store, 1));
  store.grid.release(made->blocks[5]);
  store.grid.release(made->blocks[6]);
  co_await ok(make_checkpoint(store, 2));
  note_trailers(store.grid, *made);
  co_return Result<void>();
}

struct MadeStore {
  explicit MadeStore(StoreShape shape = {}) : disk(shape) { REQUIRE(disk.run(make_blocks, &made).has_value()); }
  StoreInspection look(GridLook look = GridLook::blocks) { return inspection_of(disk, look); }

  Made made;
  StoreDisk disk;
};

bool opens(StoreDisk& disk) {
  const auto nothing = [](OpenStore&) -> Task<Result<void>> { co_return Result<void>(); };
  return disk.run(nothing).has_value();
}

std::vector<StoreFault> faults_of(const StoreInspection& found) {
  std::vector<StoreFault> faults;
  for (const StoreFinding& finding : found.findings) faults.push_back(finding.fault);
  return faults;
}

using Faults = std::vector<StoreFault>;

struct alignas(sector_size) AlignedBlock {
  std::array<std::byte, grid_block_size> bytes{};
};

// ---- what is well

TEST_CASE("a store that was just formatted has a grid of nothing but free blocks") {
  StoreDisk disk;
  const StoreInspection found = inspection_of(disk);
  CHECK(found.findings.empty());
  REQUIRE(found.grid.has_value());
  CHECK(found.grid->is_known());
  CHECK(found.grid->counts.blocks_count == 64);
  CHECK(found.grid->counts.free_count == 64);
  CHECK(found.grid->counts.highest_address_acquired == 0);
  CHECK(found.grid->picture.cell_blocks_count == 1);
  CHECK(found.grid->picture.cells.size() == 64);
  REQUIRE(found.grid->census.has_value());
  CHECK(found.grid->census->not_whole_count == 0);
}

TEST_CASE("a whole store has counts, a picture, and blocks by type, and a look at it changes nothing") {
  for (const uint32_t copies_count : {1u, 2u}) {
    MadeStore store({.metadata_copies_count = copies_count});
    REQUIRE(store.made.trailers.size() == 2);
    const std::vector<std::byte> before = store.disk.file().content();
    const StoreInspection found = store.look();
    CHECK(store.disk.file().content() == before);
    CHECK(found.findings.empty());
    const GridInspection& grid = *found.grid;
    REQUIRE(grid.is_known());
    const uint64_t trailers_count = 2 * copies_count;
    CHECK(grid.counts.trailer_blocks_count == trailers_count);
    // The trailers of the checkpoint before are released, too, by this one.
    CHECK(grid.counts.released_count == 2 + (grid.counts.acquired_count - 9 - trailers_count));
    CHECK(grid.counts.acquired_count + grid.counts.free_count == 64);
    const uint64_t highest = grid.counts.highest_address_acquired;
    CHECK(found.winner()->state.storage_size == store.disk.offset_of(highest + 1));
    CHECK(grid.picture.cells[4].acquired_count == 1);
    CHECK(grid.picture.cells[4].released_count == 0);
    CHECK(grid.picture.cells[5].released_count == 1);
    CHECK(grid.picture.cells[63].acquired_count == 0);
    REQUIRE(grid.census.has_value());
    CHECK(grid.census->count_of(BlockType::value) == 7);  // 1 to 5, and both copies of the last
    CHECK(grid.census->count_of(BlockType::free_set) == trailers_count);
    CHECK(grid.census->count_of(BlockType::index) == 0);
    CHECK(grid.census->not_whole_count == 0);
    CHECK(grid.acquired.is_read);
    CHECK(grid.released.is_read);
  }
}

TEST_CASE("the blocks are read only when that is asked for, and the grid is left alone when that is") {
  MadeStore store;
  const StoreInspection without = store.look(GridLook::trailers);
  CHECK(without.grid->is_known());
  CHECK_FALSE(without.grid->census.has_value());
  CHECK_FALSE(store.look(GridLook::none).grid.has_value());
}

Task<Result<void>> take_many(OpenStore& store, uint64_t* trailer_blocks_count) {
  std::vector<uint64_t> addresses;
  auto reservation = co_await ok(store.grid.reserve(85'000));
  while (const std::optional<uint64_t> address = store.grid.acquire(reservation)) addresses.push_back(*address);
  store.grid.forfeit(std::move(reservation));
  co_await ok(make_checkpoint(store, 1));
  for (const uint64_t address : addresses) {
    BlockReference reference;
    reference.address = address;
    if (mix64(address) % 2 == 0) store.grid.release(reference);
  }
  co_await ok(make_checkpoint(store, 2));
  co_await ok(make_checkpoint(store, 3));
  *trailer_blocks_count = store.grid.trailer_acquired().blocks_count();
  co_return Result<void>();
}

TEST_CASE("trailers of several blocks are read from the last to the first, and a lost one ends it there") {
  StoreDisk disk({.blocks_count = 90'001, .allocation_step = 64 << 20});
  uint64_t trailer_blocks_count = 0;
  REQUIRE(disk.run(take_many, &trailer_blocks_count).has_value());
  REQUIRE(trailer_blocks_count == 3);
  StoreInspection found = inspection_of(disk, GridLook::trailers);
  CHECK(found.findings.empty());
  const GridInspection& grid = *found.grid;
  REQUIRE(grid.acquired.blocks.size() == 3);
  CHECK(grid.acquired.blocks[0].index == 2);
  CHECK(grid.picture.cell_blocks_count == 88);
  CHECK(grid.picture.cells.size() == 1023);
  uint64_t acquired_count = 0;
  for (const GridCell& cell : grid.picture.cells) acquired_count += cell.acquired_count;
  CHECK(acquired_count == grid.counts.acquired_count);
  CHECK(grid.counts.free_count > 30'000);

  const BlockReference middle = grid.acquired.blocks[1].reference;
  disk.flip(middle.address, 300);
  disk.make_unreadable(middle.address_second);
  found = inspection_of(disk, GridLook::trailers);
  CHECK(found.grid->acquired.blocks.size() == 2);
  CHECK_FALSE(found.grid->is_known());
  CHECK(found.grid->released.is_read);
  CHECK(faults_of(found) == Faults{StoreFault::trailer_block, StoreFault::trailer_block});
  CHECK(found.findings[1].address == middle.address_second);
}

TEST_CASE("many blocks that were acquired and never written are notes, of which the first are listed") {
  StoreDisk disk({.blocks_count = 90'001, .allocation_step = 64 << 20});
  uint64_t trailer_blocks_count = 0;
  REQUIRE(disk.run(take_many, &trailer_blocks_count).has_value());
  const StoreInspection found = inspection_of(disk);
  CHECK(found.findings.empty());
  const BlockCensus& census = *found.grid->census;
  const GridCounts& counts = found.grid->counts;
  CHECK(census.not_whole_count == counts.acquired_count - counts.released_count - counts.trailer_blocks_count);
  CHECK(census.count_of(BlockFault::header_checksum) == census.not_whole_count);
  CHECK(census.not_whole.size() == BlockCensus::listed_max);
  CHECK(census.count_of(BlockType::free_set) == counts.trailer_blocks_count);
}

// ---- trailers

TEST_CASE("a bad first copy of a trailer's block is a finding that an open heals") {
  MadeStore store;
  for (const BlockReference& block : store.made.trailers) {
    for (const bool is_unreadable : {false, true}) {
      if (is_unreadable) {
        store.disk.make_unreadable(block.address);
      } else {
        store.disk.flip(block.address, 270);
      }
      const StoreInspection found = store.look();
      REQUIRE(faults_of(found) == Faults{StoreFault::trailer_copy});
      const StoreFinding& finding = found.findings[0];
      CHECK(finding.address == block.address);
      CHECK(finding.address_other == block.address_second);
      CHECK(finding.offset == store.disk.offset_of(block.address));
      CHECK(finding.size == grid_block_size);
      CHECK(finding.block_fault == (is_unreadable ? BlockFault::unreadable : BlockFault::body_checksum));
      CHECK(finding.is_healed_by_open);
      CHECK(found.grid->is_known());
      CHECK(found.grid->census->count_of(BlockType::free_set) == 3);
      CHECK(opens(store.disk));
      CHECK(store.look().findings.empty());
    }
  }
}

TEST_CASE("a bad second copy of a trailer's block is a finding that an open does not heal") {
  MadeStore store;
  const BlockReference block = store.made.trailers[0];
  store.disk.flip(block.address_second, 10);
  CHECK(opens(store.disk));
  const StoreInspection found = store.look();
  REQUIRE(faults_of(found) == Faults{StoreFault::trailer_copy});
  CHECK(found.findings[0].address == block.address_second);
  CHECK(found.findings[0].block_fault == BlockFault::header_checksum);
  CHECK_FALSE(found.findings[0].is_healed_by_open);
}

TEST_CASE("a trailer's block without a good copy keeps the store shut, and an open heals nothing then") {
  for (const uint32_t copies_count : {1u, 2u}) {
    for (size_t index = 0; index < 2; ++index) {
      MadeStore store({.metadata_copies_count = copies_count});
      const BlockReference lost = store.made.trailers[index];
      const BlockReference other = store.made.trailers[1 - index];
      store.disk.flip(lost.address, 270);
      if (copies_count == 2) store.disk.flip(lost.address_second, 270);
      if (copies_count == 2) store.disk.flip(other.address, 270);
      const StoreInspection found = store.look();
      CHECK_FALSE(opens(store.disk));
      CHECK_FALSE(found.grid->is_known());
      CHECK_FALSE(found.grid->census.has_value());
      CHECK(found.findings.size() == (copies_count == 2 ? 3 : 1));
      for (const StoreFinding& finding : found.findings) CHECK_FALSE(finding.is_healed_by_open);
      const Faults faults = faults_of(found);
      CHECK(std::count(faults.begin(), faults.end(), StoreFault::trailer_block) == copies_count);
    }
  }
}

/// Makes a version of the superblock with that state; what it says is not looked at.
Task<Result<void>> update_state(CheckpointState state) {
  const std::vector<ZoneOptions> zones = zones_of(StoreShape());
  Storage storage = co_await ok(Storage::open(grid_path, zones));
  SuperblockCopies superblock(storage, grid_superblock_zone);
  co_await ok(superblock.open(grid_cluster));
  co_await ok(superblock.update(state));
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

StoreInspection look_with(MadeStore& store, CheckpointState state) {
  state.op += 1;
  REQUIRE(store.disk.run_alone(update_state, state).has_value());
  return store.look();
}

TEST_CASE("trailers that are no chain, or of another kind, keep the store shut") {
  MadeStore store;
  const CheckpointState good = store.look().winner()->state;
  CheckpointState state = good;
  state.blocks_acquired.checksum.low ^= 1;
  StoreInspection found = look_with(store, state);
  REQUIRE(faults_of(found) == Faults{StoreFault::trailer});
  CHECK(found.findings[0].trailer_fault == TrailerFault::checksum);
  CHECK(found.findings[0].address == good.blocks_acquired.last.address);

  state = good;
  state.op = found.winner()->state.op;
  state.blocks_released = good.blocks_acquired;
  found = look_with(store, state);
  REQUIRE(faults_of(found) == Faults{StoreFault::trailer});
  CHECK(found.findings[0].trailer_fault == TrailerFault::kind);
  CHECK(found.findings[0].trailer == TrailerKind::blocks_released);

  for (const uint64_t size : {uint64_t{0}, uint64_t{9000}, UINT64_MAX}) {
    state = good;
    state.op = found.winner()->state.op;
    state.blocks_acquired.size = size;
    found = look_with(store, state);
    REQUIRE(faults_of(found) == Faults{StoreFault::trailer});
    CHECK(found.findings[0].trailer_fault == TrailerFault::reference);
    CHECK(std::string(found.findings[0].zone) == "superblock");
    CHECK_FALSE(opens(store.disk));
  }
}

TEST_CASE("whole trailers that hold no free set keep the store shut") {
  MadeStore store;
  CheckpointState state = store.look().winner()->state;
  state.blocks_acquired = TrailerReference();  // what is released was not acquired then
  const StoreInspection found = look_with(store, state);
  REQUIRE(faults_of(found) == Faults{StoreFault::free_set});
  CHECK(found.grid->free_set.fault == FreeSetFault::released_not_acquired);
  CHECK(found.findings[0].address == store.made.trailers[1].address);
  CHECK_FALSE(opens(store.disk));
}

TEST_CASE(
    "a trailer's block whose first address is none of the grid keeps the store shut, and nothing is healed there") {
  for (const uint64_t address : {uint64_t{65}, uint64_t{1} << 60}) {
    MadeStore store;
    CheckpointState state = store.look().winner()->state;
    BlockReference& reference = state.blocks_acquired.last;
    AlignedBlock block;
    store.disk.file().read(store.disk.offset_of(reference.address_second), block.bytes);
    block_header_of(std::span<std::byte>(block.bytes)).address = address;
    const uint64_t place = store.disk.offset_of(reference.address_second);
    reference = seal_block(block.bytes);
    store.disk.file().damage(place, block.bytes);
    const StoreInspection found = look_with(store, state);
    CHECK(faults_of(found) == Faults{StoreFault::trailer_block, StoreFault::trailer_block});
    CHECK(found.findings[0].block_fault == BlockFault::address);
    CHECK(found.findings[0].size == 0);
    CHECK_FALSE(opens(store.disk));
  }
}

// ---- sizes

TEST_CASE("a checkpoint that ends elsewhere than its highest block is found") {
  MadeStore store;
  CheckpointState state = store.look().winner()->state;
  const uint64_t good_size = state.storage_size;
  for (const uint64_t size : {good_size - grid_block_size, uint64_t{0}}) {
    state.storage_size = size;
    const StoreInspection found = look_with(store, state);
    CHECK(faults_of(found) == Faults{StoreFault::storage_end});
    state.op = found.winner()->state.op;
  }
  state.storage_size = good_size;
  CHECK(look_with(store, state).findings.empty());
}

TEST_CASE("of a file that was cut the blocks that are left are looked at") {
  MadeStore store;
  const uint64_t end = store.disk.offset_of(4) + 100;
  SimFiles files;
  std::vector<std::byte> content = store.disk.file().content();
  content.resize(end);
  files.put(grid_path, content);
  StoreDisk cut(store.disk.shape(), std::move(files));
  const StoreInspection found = inspection_of(cut);
  const Faults faults = faults_of(found);
  CHECK(faults[0] == StoreFault::storage_cut);
  CHECK(std::count(faults.begin(), faults.end(), StoreFault::trailer_block) == 4);
  CHECK_FALSE(found.grid->is_known());
}

// ---- blocks

TEST_CASE("a block in use that is not whole is a note, and one that was released is none") {
  MadeStore store;
  store.disk.flip(store.made.blocks[0].address, 10);
  store.disk.flip(store.made.blocks[1].address, 300);
  store.disk.make_unreadable(store.made.blocks[2].address);
  store.disk.flip(store.made.blocks[5].address, 10);
  const StoreInspection found = store.look();
  CHECK(found.findings.empty());
  const BlockCensus& census = *found.grid->census;
  REQUIRE(census.not_whole.size() == 3);
  CHECK(census.not_whole[0].address == 1);
  CHECK(census.not_whole[0].fault == BlockFault::header_checksum);
  CHECK(census.not_whole[1].fault == BlockFault::body_checksum);
  CHECK(census.not_whole[2].fault == BlockFault::unreadable);
  CHECK(census.count_of(BlockType::value) == 4);
}

TEST_CASE("an unreadable sector behind those in use is no damage") {
  StoreDisk disk({.block_size = 8192});
  Made made;
  REQUIRE(disk.run(make_blocks, &made).has_value());
  const BlockReference trailer = made.trailers[0];
  disk.file().make_unreadable(disk.offset_of(trailer.address) + 4096, 4096);
  const StoreInspection found = inspection_of(disk);
  CHECK(found.findings.empty());
  CHECK(found.grid->census->not_whole_count == 0);
  // And in a block that uses it, it is that block's alone.
  disk.file().make_unreadable(disk.offset_of(2) + 4096, 4096);
  const StoreInspection again = inspection_of(disk);
  REQUIRE(again.grid->census->not_whole.size() == 1);
  CHECK(again.grid->census->not_whole[0].address == 2);
  CHECK(again.grid->census->not_whole[0].fault == BlockFault::unreadable);
}

TEST_CASE("a whole block that lies where another one belongs is damage, and its own second copy is not") {
  MadeStore store;
  std::vector<std::byte> block(grid_block_size);
  store.disk.file().read(store.disk.offset_of(3), block);
  store.disk.file().damage(store.disk.offset_of(2), block);
  const StoreInspection found = store.look();
  REQUIRE(faults_of(found) == Faults{StoreFault::block_misplaced});
  CHECK(found.findings[0].address == 2);
  CHECK(found.findings[0].address_other == 3);
  CHECK(found.findings[0].offset == store.disk.offset_of(2));
  CHECK(found.grid->census->misplaced_count == 1);
}

TEST_CASE("a whole block of another cluster is a note") {
  MadeStore store;
  AlignedBlock other;
  start_block(other.bytes, ClusterId{1, 2}, BlockType::index).address = 2;
  seal_block(other.bytes);
  store.disk.file().damage(store.disk.offset_of(2), other.bytes);
  const StoreInspection found = store.look();
  CHECK(found.findings.empty());
  REQUIRE(found.grid->census->not_whole.size() == 1);
  CHECK(found.grid->census->not_whole[0].fault == BlockFault::cluster);
}

TEST_CASE("bits flipped anywhere in the blocks end in an answer that agrees with an open") {
  MadeStore store;
  Random random(11);
  uint64_t shut_count = 0;
  for (int round = 0; round < 300; ++round) {
    StoreDisk disk(store.disk.shape(), store.disk.clone());
    const uint64_t flips_count = 1 + random.below(4);
    for (uint64_t flip = 0; flip < flips_count; ++flip) {
      const BlockReference& trailer = store.made.trailers[random.below(2)];
      const uint64_t address = random.below(2) == 0 ? trailer.address : trailer.address_second;
      disk.flip(address, random.below(280));
    }
    const StoreInspection found = inspection_of(disk);
    const bool is_open = opens(disk);
    CHECK(found.grid->is_known() == is_open);
    shut_count += !is_open;
    if (!is_open) continue;
    for (const StoreFinding& finding : inspection_of(disk).findings) CHECK_FALSE(finding.is_healed_by_open);
  }
  CHECK(shut_count > 10);
}

}  // namespace
}  // namespace spindle
