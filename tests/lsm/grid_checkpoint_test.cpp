// Checkpoints of a grid: what opens after a crash at any step of one, damaged trailers, and misuse.
#include <algorithm>
#include <array>
#include <string>

#include "io/sim/crash_images.h"
#include "lsm/scrub.h"
#include "tests/lsm/grid_fixture.h"

namespace spindle {
namespace {

using References = std::vector<BlockReference>;

/// The free set, and what it says of each block.
struct Census {
  uint64_t op = 0;
  std::string blocks;  // a letter each: free, acquired, released
  bool operator==(const Census&) const = default;
};

Census census_of(const OpenStore& store) {
  Census census;
  census.op = store.superblock.working().state.op;
  const FreeSet& set = store.grid.free_set();
  for (uint64_t address = 1; address <= set.blocks_count(); ++address) {
    census.blocks += set.is_free(address) ? '.' : set.is_released(address) ? 'r' : 'a';
  }
  return census;
}

Task<Result<void>> read_all(Grid& grid, const References& references, uint64_t number_first) {
  for (size_t index = 0; index < references.size(); ++index) {
    const BlockRef block = co_await ok(grid.read(references[index], BlockType::value));
    CHECK(number_in(block) == number_first + index);
  }
  co_return Result<void>();
}

Task<Result<void>> put_all(Grid& grid, uint64_t number_first, uint64_t count, References* references) {
  for (uint64_t index = 0; index < count; ++index) {
    const BlockReference reference = co_await ok(put_block(grid, number_first + index));
    references->push_back(reference);
  }
  co_return Result<void>();
}

// ---- crashes

/// Two checkpoints: the second one without some blocks of the first, and with others.
struct TwoCheckpoints {
  References first;   // of checkpoint 1, numbers from 100 on; the first three are gone in checkpoint 2
  References second;  // new in checkpoint 2, numbers from 200 on
  bool is_done = false;
};

Task<Result<void>> make_first(OpenStore& store, TwoCheckpoints* made) {
  co_await ok(put_all(store.grid, 100, 8, &made->first));
  const BlockReference gone = co_await ok(put_block(store.grid, 1));
  co_await ok(make_checkpoint(store, 1));
  store.grid.release(gone);
  co_await ok(make_checkpoint(store, 2));
  co_return Result<void>();
}

Task<Result<void>> make_second(OpenStore& store, TwoCheckpoints* made) {
  made->second.clear();
  made->is_done = false;
  for (size_t index = 0; index < 3; ++index) store.grid.release(made->first[index]);
  co_await ok(put_all(store.grid, 200, 4, &made->second));
  co_await ok(make_checkpoint(store, 3));
  made->is_done = true;
  co_return Result<void>();
}

Task<Result<void>> take_census(OpenStore& store, Census* census) {
  *census = census_of(store);
  co_return Result<void>();
}

/// What a disk that was left by a crash opens as; and that it can be gone on with.
Task<Result<void>> check_left(OpenStore& store, const TwoCheckpoints* made, Census* census) {
  *census = census_of(store);
  const bool is_new = census->op == 3;
  const References& first = made->first;
  const References kept(first.begin() + (is_new ? 3 : 0), first.end());
  co_await ok(read_all(store.grid, kept, is_new ? 103 : 100));
  if (is_new) co_await ok(read_all(store.grid, made->second, 200));
  References more;
  co_await ok(put_all(store.grid, 300, 5, &more));
  co_await ok(make_checkpoint(store, 10));
  co_await ok(make_checkpoint(store, 11));
  co_await ok(put_all(store.grid, 305, 5, &more));
  co_await ok(read_all(store.grid, more, 300));
  co_await ok(read_all(store.grid, kept, is_new ? 103 : 100));
  co_return Result<void>();
}

class CrashedCheckpoints {
 public:
  explicit CrashedCheckpoints(StoreShape shape) : disk_(shape) {
    REQUIRE(disk_.run(make_first, &made_).has_value());
    StoreDisk after(shape, disk_.clone());
    REQUIRE(after.run(take_census, &old_).has_value());
    REQUIRE(after.run(make_second, &made_).has_value());
    REQUIRE(after.run(take_census, &new_).has_value());
    REQUIRE(old_.op == 2);
    REQUIRE(new_.op == 3);
  }
  void check(SimFiles files) {
    StoreDisk disk(disk_.shape(), std::move(files));
    Census census;
    const Result<void> opened = disk.run(check_left, &made_, &census);
    REQUIRE_MESSAGE(opened.has_value(), describe(opened.error()));
    const bool is_new = census.op == 3;
    if (made_.is_done) CHECK(is_new);
    CHECK(census == (is_new ? new_ : old_));
    ++(is_new ? new_count : old_count);
  }
  StoreDisk& disk() { return disk_; }
  TwoCheckpoints& made() { return made_; }

  uint64_t old_count = 0;
  uint64_t new_count = 0;

 private:
  StoreDisk disk_;
  TwoCheckpoints made_;
  Census old_;
  Census new_;
};

TEST_CASE("after a kill or a loss of power at any step of a checkpoint the old state opens, or the new one") {
  for (const uint32_t copies_count : {1u, 2u}) {
    CrashedCheckpoints crashed({.metadata_copies_count = copies_count});
    bool is_over = false;
    for (uint64_t steps_count = 0; !is_over; ++steps_count) {
      for (const bool loses_power : {false, true}) {
        World world(5);
        Host& host = world.add_host("a", {}, crashed.disk().clone());
        host.start(run_on_store<decltype(&make_second), TwoCheckpoints*>, crashed.disk().shape(), nullptr, &make_second,
                   &crashed.made());
        crashed.made().is_done = false;
        for (uint64_t step = 0; step < steps_count && host.is_running(); ++step) world.step();
        is_over = !host.is_running();
        loses_power ? host.lose_power() : host.kill_process();
        crashed.check(host.files().clone());
      }
    }
    CHECK(crashed.old_count > 50);
    CHECK(crashed.new_count > 5);
  }
}

TEST_CASE("whatever a loss of power leaves of a checkpoint, the old state opens, or the new one") {
  CrashedCheckpoints crashed({});
  World world(6);
  Host& host = world.add_host("a", {}, crashed.disk().clone());
  crashed.made().is_done = false;
  host.start(run_on_store<decltype(&make_second), TwoCheckpoints*>, crashed.disk().shape(), nullptr, &make_second,
             &crashed.made());
  do {
    const CrashImages images(host);
    images.for_each({}, [&](SimFiles image) { crashed.check(std::move(image)); });
  } while (host.is_running() && world.step() == World::Step::worked);
  CHECK(host.take().has_value());
  CHECK(crashed.old_count > 100);
  CHECK(crashed.new_count > 10);
}

// ---- damaged trailers

Task<Result<void>> note_trailers(OpenStore& store, References* blocks, GridCounters* counters) {
  blocks->clear();
  for (const Trailer* trailer : {&store.grid.trailer_acquired(), &store.grid.trailer_released()}) {
    for (uint32_t index = 0; index < trailer->blocks_count(); ++index) blocks->push_back(trailer->reference(index));
  }
  *counters = store.grid.counters();
  co_return Result<void>();
}

TEST_CASE("one bad copy of any block of a trailer heals when the store opens, two are reported") {
  StoreDisk disk;
  TwoCheckpoints made;
  REQUIRE(disk.run(make_first, &made).has_value());
  References blocks;
  GridCounters counters;
  REQUIRE(disk.run(note_trailers, &blocks, &counters).has_value());
  REQUIRE(blocks.size() == 2);
  CHECK(counters.healed_count == 0);
  for (const BlockReference& block : blocks) {
    disk.flip(block.address, 270);
    REQUIRE(disk.run(note_trailers, &blocks, &counters).has_value());
    CHECK(counters.healed_count == 1);
    disk.make_unreadable(block.address);
    REQUIRE(disk.run(note_trailers, &blocks, &counters).has_value());
    CHECK(counters.healed_count == 1);
    REQUIRE(disk.run(note_trailers, &blocks, &counters).has_value());
    CHECK(counters.healed_count == 0);

    disk.flip(block.address, 270);
    disk.flip(block.address_second, 10);
    GridOpened found;
    CHECK_FALSE(disk.run_and_tell(&found, note_trailers, &blocks, &counters).has_value());
    REQUIRE_FALSE(found.opened.has_value());
    CHECK(found.opened.error().code == ErrorCode::corrupt);
    CHECK(found.fault.block.reference == block);
    CHECK(found.fault.block.fault == BlockFault::body_checksum);
    CHECK(found.fault.block.fault_second == BlockFault::header_checksum);
    const std::string line = "block " + std::to_string(block.address) + ": body_checksum; its copy " +
                             std::to_string(block.address_second) + ": header_checksum";
    CHECK(describe(found.fault) == line);
    disk.flip(block.address_second, 10);
    REQUIRE(disk.run(note_trailers, &blocks, &counters).has_value());
  }
}

TEST_CASE("a grid that opens has no fault, and says so; a file that was cut off is refused before anything is read") {
  StoreDisk disk;
  TwoCheckpoints made;
  REQUIRE(disk.run(make_first, &made).has_value());
  References blocks;
  GridCounters counters;
  GridOpened found;
  REQUIRE(disk.run_and_tell(&found, note_trailers, &blocks, &counters).has_value());
  CHECK(describe(found.fault) == "none");
  disk.file().resize(disk.offset_of(blocks.back().address_second), 1'000'000);
  disk.file().settle();
  CHECK_FALSE(disk.run_and_tell(&found, note_trailers, &blocks, &counters).has_value());
  REQUIRE_FALSE(found.opened.has_value());
  CHECK(found.opened.error().code == ErrorCode::end_of_file);
}

TEST_CASE("a crash while a trailer is healed leaves one that opens") {
  CrashedCheckpoints crashed({});
  References blocks;
  GridCounters counters;
  REQUIRE(crashed.disk().run(note_trailers, &blocks, &counters).has_value());
  for (const BlockReference& block : blocks) crashed.disk().flip(block.address, 260);
  crashed.made().is_done = false;
  World world(8);
  Host& host = world.add_host("a", {}, crashed.disk().clone());
  host.start(run_on_store<decltype(&note_trailers), References*, GridCounters*>, crashed.disk().shape(), nullptr,
             &note_trailers, &blocks, &counters);
  do {
    const CrashImages images(host);
    images.for_each({}, [&](SimFiles image) { crashed.check(std::move(image)); });
  } while (host.is_running() && world.step() == World::Step::worked);
  CHECK(host.take().has_value());
  CHECK(counters.healed_count == 2);
  CHECK(crashed.old_count > 10);
}

// ---- several blocks of a trailer

Task<Result<void>> make_pattern(OpenStore& store, uint64_t* trailer_blocks_count) {
  // Nothing is written: which blocks are in use is all that counts. Every other one of many goes back.
  std::vector<uint64_t> addresses;
  auto reservation = co_await ok(store.grid.reserve(85'000));
  while (const std::optional<uint64_t> address = store.grid.acquire(reservation)) addresses.push_back(*address);
  store.grid.forfeit(std::move(reservation));
  for (size_t index = 0; index < addresses.size(); ++index) {
    BlockReference reference;
    reference.address = addresses[index];
    if (mix64(index) % 2 == 0 && index > 1000) store.grid.release(reference);
    if (index == 100) co_await ok(make_checkpoint(store, 1));
    if (index == 101) co_await ok(make_checkpoint(store, 2));
  }
  co_await ok(make_checkpoint(store, 3));
  co_await ok(make_checkpoint(store, 4));
  *trailer_blocks_count = store.grid.trailer_acquired().blocks_count();
  co_return Result<void>();
}

TEST_CASE("a free set that takes several blocks of a trailer is the same after a reopen") {
  StoreDisk disk({.blocks_count = 90'001, .allocation_step = 64 << 20});
  uint64_t trailer_blocks_count = 0;
  REQUIRE(disk.run(make_pattern, &trailer_blocks_count).has_value());
  CHECK(trailer_blocks_count == 3);
  Census first;
  Census second;
  REQUIRE(disk.run(take_census, &first).has_value());
  REQUIRE(disk.run(take_census, &second).has_value());
  CHECK(first == second);
  CHECK(std::count(first.blocks.begin(), first.blocks.end(), '.') > 30'000);
  CHECK(std::count(first.blocks.begin(), first.blocks.end(), 'a') > 30'000);
}

TEST_CASE("a store whose trailers have two copies opens where one is the rule, and the other way round") {
  for (const uint32_t copies_count : {1u, 2u}) {
    StoreDisk disk({.metadata_copies_count = copies_count});
    TwoCheckpoints made;
    REQUIRE(disk.run(make_first, &made).has_value());
    Census census;
    REQUIRE(disk.run(take_census, &census).has_value());
    StoreDisk other({.metadata_copies_count = 3 - copies_count}, disk.clone());
    Census other_census;
    REQUIRE(other.run(take_census, &other_census).has_value());
    CHECK(census == other_census);
    REQUIRE(other.run(make_second, &made).has_value());
    REQUIRE(other.run(take_census, &other_census).has_value());
    CHECK(other_census.op == 3);
  }
}

// ---- scrubbing

/// Every block that was put, and is still meant.
class ListedBlocks final : public ReferenceSource, public ScrubListener {
 public:
  explicit ListedBlocks(References references) : references_(std::move(references)) {}
  Task<Result<std::optional<ReferencedBlock>>> next() override {
    if (index_ == references_.size()) co_return std::optional<ReferencedBlock>();
    ReferencedBlock block;
    block.reference = references_[index_++];
    co_return std::optional<ReferencedBlock>(block);
  }
  bool is_current(const BlockReference& reference) const noexcept override { return reference != stale; }
  void on_bad_block(const BlockReport& report) override { reports.push_back(report); }

  BlockReference stale;
  std::vector<BlockReport> reports;

 private:
  References references_;
  size_t index_ = 0;
};

Task<Result<void>> put_pairs(OpenStore& store, References* references) {
  for (uint64_t number = 1; number <= 4; ++number) {
    const BlockReference pair = co_await ok(put_block(store.grid, number, 2));
    references->push_back(pair);
  }
  const BlockReference single = co_await ok(put_block(store.grid, 5));
  references->push_back(single);
  co_await ok(make_checkpoint(store, 1));
  co_return Result<void>();
}

Task<Result<void>> scrub_blocks(OpenStore& store, ListedBlocks* blocks, ScrubSummary* summary) {
  ScrubOptions options;
  options.blocks_per_second = 10;
  options.listener = blocks;
  const Time begin = Loop::current().now();
  co_await ok(scrub(store.grid, *blocks, options, *summary));
  CHECK(Loop::current().now() - begin >= std::chrono::milliseconds(400));
  CHECK(store.grid.counters().hits_count == 0);
  co_return Result<void>();
}

TEST_CASE("scrubbing finds every bad copy, heals what has a good one, and names the rest") {
  StoreDisk disk;
  References references;
  REQUIRE(disk.run(put_pairs, &references).has_value());
  disk.flip(references[0].address, 3000);
  disk.make_unreadable(references[1].address_second);
  disk.flip(references[3].address, 3);
  disk.flip(references[3].address_second, 3);
  disk.flip(references[4].address, 1000);
  for (const bool is_first : {true, false}) {
    ListedBlocks blocks(references);
    ScrubSummary summary;
    REQUIRE(disk.run(scrub_blocks, &blocks, &summary).has_value());
    CHECK(summary.blocks_count == 5);
    CHECK(summary.healed_count == (is_first ? 2 : 0));
    CHECK(summary.lost_count == 2);
    REQUIRE(blocks.reports.size() == (is_first ? 4 : 2));
    CHECK(blocks.reports.back().reference == references[4]);
    CHECK(describe(blocks.reports.back()) == "block 9: body_checksum");
  }
}

TEST_CASE("scrubbing leaves a bad block alone that nobody refers to any more") {
  StoreDisk disk;
  References references;
  REQUIRE(disk.run(put_pairs, &references).has_value());
  disk.flip(references[0].address, 3000);
  ListedBlocks blocks(references);
  blocks.stale = references[0];
  ScrubSummary summary;
  REQUIRE(disk.run(scrub_blocks, &blocks, &summary).has_value());
  CHECK(summary.passed_over_count == 1);
  CHECK(summary.healed_count == 0);
  CHECK(blocks.reports.empty());
}

Task<Result<void>> scrub_trailers(OpenStore& store, ScrubSummary* summary) {
  TrailerSource source(store.grid);
  const ScrubOptions options;
  const Result<void> scrubbed = co_await scrub(store.grid, source, options, *summary);
  co_return scrubbed;
}

TEST_CASE("the blocks of the trailers are scrubbed as any others") {
  StoreDisk disk;
  TwoCheckpoints made;
  REQUIRE(disk.run(make_first, &made).has_value());
  References blocks;
  GridCounters counters;
  REQUIRE(disk.run(note_trailers, &blocks, &counters).has_value());
  disk.flip(blocks[0].address_second, 270);  // opening reads the first one only
  ScrubSummary summary;
  REQUIRE(disk.run(scrub_trailers, &summary).has_value());
  CHECK(summary.blocks_count == 2);
  CHECK(summary.healed_count == 1);
}

// ---- references with checksums that fit, and addresses that can't be

struct alignas(sector_size) AlignedBlock {
  std::array<std::byte, grid_block_size> bytes{};
};

/// Gives the block in the second place another first address; how to refer to it.
BlockReference readdress(StoreDisk& disk, const BlockReference& reference, uint64_t address) {
  AlignedBlock block;
  disk.file().read(disk.offset_of(reference.address_second), block.bytes);
  block_header_of(std::span<std::byte>(block.bytes)).address = address;
  const BlockReference changed = seal_block(block.bytes);
  disk.file().damage(disk.offset_of(reference.address_second), block.bytes);
  return changed;
}

Task<Result<void>> refer_to(OpenStore& store, BlockReference last) {
  CheckpointState state = store.superblock.working().state;
  state.blocks_acquired.last = last;
  state.op += 1;
  co_await ok(store.superblock.update(state));
  co_return Result<void>();
}

TEST_CASE("a trailer whose block names a first address beyond the grid does not open, and nothing is written there") {
  for (const uint64_t address : {uint64_t{65}, uint64_t{1} << 60}) {
    StoreDisk disk;
    TwoCheckpoints made;
    REQUIRE(disk.run(make_first, &made).has_value());
    References blocks;
    GridCounters counters;
    REQUIRE(disk.run(note_trailers, &blocks, &counters).has_value());
    REQUIRE(disk.run(refer_to, readdress(disk, blocks[0], address)).has_value());
    GridOpened found;
    CHECK_FALSE(disk.run_and_tell(&found, note_trailers, &blocks, &counters).has_value());
    CHECK(found.fault.block.fault == BlockFault::address);
  }
}

TEST_CASE("scrubbing heals nothing at an address that is no block of the grid") {
  StoreDisk disk;
  References references;
  REQUIRE(disk.run(put_pairs, &references).has_value());
  references[0] = readdress(disk, references[0], 65);
  references[1].address_second = 65;
  ListedBlocks blocks(references);
  ScrubSummary summary;
  REQUIRE(disk.run(scrub_blocks, &blocks, &summary).has_value());
  CHECK(summary.blocks_count == 5);
  CHECK(summary.healed_count == 0);
  CHECK(summary.lost_count == 2);
}

}  // namespace
}  // namespace spindle
