// Who waits for whom in a grid: writes for every reader of their addresses, reserves for every forfeit. And what a
// checkpoint changes for those who look at the grid meanwhile.
#include <array>
#include <deque>
#include <optional>

#include "lsm/scrub.h"
#include "runtime/sleep.h"
#include "tests/death.h"
#include "tests/lsm/grid_fixture.h"

namespace spindle {
namespace {

using Reservations = std::vector<Grid::Reservation>;

/// Long enough for all I/O that is under way, and what follows from it.
constexpr Duration long_enough = std::chrono::milliseconds(50);

Task<Result<void>> write_it(Grid* grid, BlockLease lease, IoClass io_class, uint64_t* done_count) {
  co_await ok(grid->write(std::move(lease), io_class));
  ++*done_count;
  co_return Result<void>();
}

Task<Result<void>> checkpoint_it(OpenStore* store, uint64_t op, uint64_t* done_count) {
  co_await ok(make_checkpoint(*store, op));
  ++*done_count;
  co_return Result<void>();
}

BlockReference reference_to(uint64_t address) {
  BlockReference reference;
  reference.address = address;
  return reference;
}

template <class Body>
Task<Result<void>> in_scope(OpenStore& store, Body body) {
  auto running = with_scope(ScopeOptions{}, body, store);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

Task<Result<void>> put_one(OpenStore& store) {
  [[maybe_unused]] const BlockReference put = co_await ok(put_block(store.grid, 1));
  const Result<void> done = co_await make_checkpoint(store, 1);
  co_return done;
}

// ---- writes and readers

Task<Result<void>> write_beside_two(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  for (const bool is_first_address_last : {false, true}) {
    auto reservation = co_await ok(grid.reserve(2));
    BlockLease lease = co_await ok(grid.blocks().acquire());
    lease = fill_block(std::move(lease), grid, reservation, 5, 2);
    const BlockReference reference = seal_block(lease.memory());
    std::optional<GridGuard> first(std::in_place, grid.transfers(), reference_to(reference.address));
    std::optional<GridGuard> second(std::in_place, grid.transfers(), reference_to(reference.address_second));
    const uint64_t writes_count = grid.counters().writes_count;
    uint64_t done_count = 0;
    co_await ok(scope.spawn(write_it, &grid, std::move(lease), IoClass::foreground, &done_count));
    co_await ok(sleep_for(long_enough));
    CHECK(grid.counters().writes_count == writes_count);
    (is_first_address_last ? second : first).reset();
    co_await ok(sleep_for(long_enough));
    CHECK(grid.counters().writes_count == writes_count);
    (is_first_address_last ? first : second).reset();
    co_await ok(sleep_for(long_enough));
    CHECK(grid.counters().writes_count == writes_count + 2);
    CHECK(done_count == 1);
    grid.forfeit(std::move(reservation));
  }
  co_return Result<void>();
}

TEST_CASE("a write waits for everybody who reads one of its addresses") {
  StoreDisk disk;
  CHECK(disk.run(in_scope<decltype(&write_beside_two)>, &write_beside_two).has_value());
}

Task<Result<void>> write_trailers_beside_two(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  // Two readers of every block, wherever the trailers will be.
  std::deque<GridGuard> first;
  std::deque<GridGuard> second;
  for (uint64_t address = 1; address <= grid.options().blocks_count; ++address) {
    first.emplace_back(grid.transfers(), reference_to(address));
    second.emplace_back(grid.transfers(), reference_to(address));
  }
  const uint64_t writes_count = grid.counters().writes_count;
  uint64_t done_count = 0;
  const uint64_t op = 2;
  co_await ok(scope.spawn(checkpoint_it, &store, op, &done_count));
  co_await ok(sleep_for(long_enough));
  first.clear();
  co_await ok(sleep_for(long_enough));
  CHECK(grid.counters().writes_count == writes_count);
  second.clear();
  co_await ok(sleep_for(long_enough));
  CHECK(grid.counters().writes_count > writes_count);
  CHECK(done_count == 1);
  co_return Result<void>();
}

TEST_CASE("a checkpoint waits for everybody who reads what was at the addresses of its trailers") {
  StoreDisk disk;
  REQUIRE(disk.run(put_one).has_value());
  CHECK(disk.run(in_scope<decltype(&write_trailers_beside_two)>, &write_trailers_beside_two).has_value());
}

Task<Result<void>> write_over_cached(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  const BlockReference old = co_await ok(put_block(grid, 1));
  CHECK(grid.try_read(old, BlockType::value).is_held());
  grid.release(old);
  co_await ok(make_checkpoint(store, 1));
  auto reservation = co_await ok(grid.reserve(1));
  BlockLease lease = co_await ok(grid.blocks().acquire());
  lease = fill_block(std::move(lease), grid, reservation, 2);
  const BlockReference reference = seal_block(lease.memory());
  CHECK(reference.address == old.address);
  uint64_t done_count = 0;
  co_await ok(scope.spawn(write_it, &grid, std::move(lease), IoClass::foreground, &done_count));
  while (grid.transfers().find_write(reference) == nullptr) co_await ok(yield());
  CHECK(grid.try_read(reference, BlockType::value).is_held());
  CHECK_FALSE(grid.try_read(old, BlockType::value).is_held());
  CHECK(done_count == 0);
  while (done_count == 0) co_await ok(sleep_for(std::chrono::microseconds(10)));
  CHECK(grid.try_read(reference, BlockType::value).is_held());
  grid.forfeit(std::move(reservation));
  co_return Result<void>();
}

TEST_CASE("a block that is being written is there at once, whatever the cache has for its address") {
  StoreDisk disk;
  CHECK(disk.run(in_scope<decltype(&write_over_cached)>, &write_over_cached).has_value());
}

Task<Result<void>> write_to_second(OpenStore& store) {
  Grid& grid = store.grid;
  auto reservation = co_await ok(grid.reserve(1));
  BlockLease lease = co_await ok(grid.blocks().acquire());
  lease = fill_block(std::move(lease), grid, reservation, 1);
  lease.header().address_second = 9;
  seal_block(lease.memory());
  const Result<void> written = co_await grid.write(std::move(lease));
  co_return written;
}

TEST_CASE("a write whose second address is free ends the process") {
  expect_abort(
      [] {
        StoreDisk disk;
        static_cast<void>(disk.run(write_to_second));
      },
      "an address that is free");
}

// ---- reserves and forfeits

Task<Result<void>> fill_with_log(OpenStore& store) {
  Grid& grid = store.grid;
  for (const ReservePurpose purpose : {ReservePurpose::data, ReservePurpose::checkpoint}) {
    uint64_t count = 0;
    while (true) {
      auto reservation = co_await grid.reserve(1, purpose);
      if (!reservation.has_value()) {
        CHECK(is_lack_of_space(reservation.error()));
        break;
      }
      CHECK(grid.acquire(*reservation).has_value());
      grid.forfeit(std::move(*reservation));
      ++count;
    }
    CHECK(count >= grid.options().log_blocks_max);
  }
  CHECK(grid.free_set().free_count() > 0);
  const Result<void> done = co_await make_checkpoint(store, 1);
  co_return done;
}

TEST_CASE("a log that takes all that it gets leaves what the trailers of its checkpoint need") {
  for (const uint32_t copies_count : {1u, 2u}) {
    StoreDisk disk({.metadata_copies_count = copies_count, .log_blocks_max = 5});
    CHECK(disk.run(fill_with_log).has_value());
  }
}

Task<Result<void>> reserve_one(Grid* grid, uint64_t count, Reservations* reservations) {
  auto reservation = co_await ok(grid->reserve(count));
  reservations->push_back(std::move(reservation));
  co_return Result<void>();
}

Task<Result<void>> reserve_behind_forfeit(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  Reservations reservations;
  reservations.reserve(2);
  auto early = co_await ok(grid.reserve(2));
  for (const uint64_t count : {20u, 1u}) {
    co_await ok(scope.spawn(reserve_one, &grid, count, &reservations));
    co_await ok(sleep_for(std::chrono::nanoseconds(1)));
  }
  CHECK(reservations.empty());  // the first one asks for disk space now, and the second one has called
  grid.forfeit(std::move(early));
  co_await ok(sleep_for(long_enough));
  REQUIRE(reservations.size() == 1);
  grid.forfeit(std::move(reservations[0]));
  co_await ok(sleep_for(long_enough));
  REQUIRE(reservations.size() == 2);
  CHECK(reservations[1].window().address_begin() == 1);
  grid.forfeit(std::move(reservations[1]));
  co_return Result<void>();
}

TEST_CASE("a reserve that was called before a forfeit, and has its turn after it, waits for the other forfeits") {
  StoreDisk disk;
  CHECK(disk.run(in_scope<decltype(&reserve_behind_forfeit)>, &reserve_behind_forfeit).has_value());
}

// ---- checkpoints

Task<Result<void>> put_trailers_over_cached(OpenStore& store) {
  Grid& grid = store.grid;
  const BlockReference put = co_await ok(put_block(grid, 1));
  grid.release(put);
  co_await ok(make_checkpoint(store, 1));
  co_await ok(make_checkpoint(store, 2));
  const BlockReference trailer = grid.trailer_acquired().reference(0);
  REQUIRE(trailer.address == put.address);
  CHECK_FALSE(grid.try_read(put, BlockType::value).is_held());
  const BlockRef block = co_await ok(grid.read(trailer, BlockType::free_set));
  CHECK(block.checksum() == trailer.checksum);
  co_return Result<void>();
}

TEST_CASE("a block that lay where a trailer is written is not in the cache any more") {
  StoreDisk disk;
  CHECK(disk.run(put_trailers_over_cached).has_value());
}

Task<Result<void>> make_checkpoint_without_space(OpenStore& store) {
  const uint64_t writes_count = store.grid.counters().writes_count;
  const Result<void> done = co_await make_checkpoint(store, 2);
  CHECK(store.grid.counters().writes_count > writes_count);
  REQUIRE_FALSE(done.has_value());
  CHECK_FALSE(is_lack_of_space(done.error()));
  CHECK(store.storage.is_stopped());
  const auto reservation = co_await store.grid.reserve(0);
  REQUIRE_FALSE(reservation.has_value());
  CHECK(reservation.error().code == ErrorCode::poisoned);
  co_return Result<void>();
}

Task<Result<void>> put_one_more(OpenStore& store) {
  CHECK(store.superblock.working().state.op == 3);
  [[maybe_unused]] const BlockReference put = co_await ok(put_block(store.grid, 2));
  const Result<void> done = co_await make_checkpoint(store, 4);
  co_return done;
}

TEST_CASE("a checkpoint whose writes find no space does not say that nothing has changed") {
  const FaultRates failing = FaultRates().set(Fault::no_space, FaultRates::denominator);
  for (const bool is_superblock : {true, false}) {
    CAPTURE(is_superblock);
    StoreDisk disk;
    REQUIRE(disk.run(put_one).has_value());
    const uint64_t begin = is_superblock ? 0 : superblock_zone_size;
    const uint64_t size = is_superblock ? superblock_zone_size : disk.shape().blocks_count * grid_block_size;
    disk.options().faults.regions.push_back({grid_path, begin, size, failing});
    CHECK(disk.run(make_checkpoint_without_space).has_value());
  }
}

Task<Result<void>> fail_without_a_stop(OpenStore& store) {
  const GridTrailers trailers = co_await ok(store.grid.write_trailers());
  CHECK(trailers.storage_size > 0);
  CHECK_FALSE(store.grid.has_current_trailers());
  store.grid.checkpoint_failed();
  CHECK_FALSE(store.storage.is_stopped());
  CHECK_FALSE(store.grid.has_current_trailers());
  const uint64_t writes_count = store.grid.counters().writes_count;
  const auto again = co_await store.grid.write_trailers();
  REQUIRE_FALSE(again.has_value());
  CHECK(again.error().code == ErrorCode::poisoned);
  CHECK(store.grid.counters().writes_count == writes_count);
  const auto reservation = co_await store.grid.reserve(0);
  REQUIRE_FALSE(reservation.has_value());
  CHECK(reservation.error().code == ErrorCode::poisoned);
  co_return Result<void>();
}

TEST_CASE("after a checkpoint of which nobody knows there is no other one, though the storage goes on") {
  StoreDisk disk;
  REQUIRE(disk.run(put_one).has_value());
  CHECK(disk.run(fail_without_a_stop).has_value());
}

Task<Result<void>> checkpoint_for(OpenStore& store, Duration limit) {
  auto making = make_checkpoint(store, 2);
  const Result<void> made = co_await timeout(limit, std::move(making));
  static_cast<void>(made);
  CHECK(store.superblock.working().state.op == 2);
  CHECK(store.grid.has_current_trailers());
  const Result<void> next = co_await make_checkpoint(store, 3);
  co_return next;
}

TEST_CASE("a checkpoint that is cancelled at any time is made, and the next one, too") {
  for (const uint64_t limit_us : {20u, 100u, 300u, 700u, 1500u, 3000u}) {
    CAPTURE(limit_us);
    StoreDisk disk;
    REQUIRE(disk.run(put_one).has_value());
    CHECK(disk.run(checkpoint_for, Duration(std::chrono::microseconds(limit_us))).has_value());
    CHECK(disk.run(put_one_more).has_value());
  }
}

Task<Result<void>> list_trailers_meanwhile(Scope& scope, OpenStore& store) {
  Grid& grid = store.grid;
  const BlockReference put = co_await ok(put_block(grid, 1));
  [[maybe_unused]] const BlockReference other = co_await ok(put_block(grid, 2));
  grid.release(put);
  co_await ok(make_checkpoint(store, 1));
  REQUIRE(grid.trailer_acquired().blocks_count() == 1);
  REQUIRE(grid.trailer_released().blocks_count() == 1);
  TrailerSource source(grid);
  const std::optional<ReferencedBlock> before = co_await ok(source.next());
  REQUIRE(before.has_value());
  CHECK(before->reference == grid.trailer_acquired().reference(0));
  uint64_t done_count = 0;
  const uint64_t op = 2;
  co_await ok(scope.spawn(checkpoint_it, &store, op, &done_count));
  while (grid.has_current_trailers()) co_await ok(sleep_for(std::chrono::nanoseconds(100)));
  CHECK_FALSE(source.is_current(before->reference));
  const std::optional<ReferencedBlock> meanwhile = co_await ok(source.next());
  CHECK_FALSE(meanwhile.has_value());
  while (done_count == 0) co_await ok(sleep_for(std::chrono::microseconds(10)));
  REQUIRE(grid.trailer_released().blocks_count() == 1);
  for (const Trailer* trailer : {&grid.trailer_acquired(), &grid.trailer_released()}) {
    const std::optional<ReferencedBlock> block = co_await ok(source.next());
    REQUIRE(block.has_value());
    CHECK(block->reference == trailer->reference(0));
  }
  const std::optional<ReferencedBlock> end = co_await ok(source.next());
  CHECK_FALSE(end.has_value());
  co_return Result<void>();
}

TEST_CASE("the list of the trailers ends where a checkpoint begins, and is begun anew after it") {
  StoreDisk disk;
  CHECK(disk.run(in_scope<decltype(&list_trailers_meanwhile)>, &list_trailers_meanwhile).has_value());
}

// ---- an open that fails

Task<Result<void>> open_two_states(Scope& scope, Grid& grid, CheckpointState& state) {
  grid.start(scope);
  CheckpointState other = state;
  other.storage_size -= grid_block_size;
  const Result<void> refused = co_await grid.open(other);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::corrupt);
  CHECK_FALSE(grid.is_open());
  co_await ok(grid.open(state));
  CHECK(grid.is_open());
  co_return Result<void>();
}

Task<Result<void>> open_beside(OpenStore& store) {
  auto grid = Grid::create(store.storage, grid_zone, store.grid.options());
  REQUIRE(grid.has_value());
  CheckpointState state = store.superblock.working().state;
  auto opening = with_scope(ScopeOptions{}, open_two_states, **grid, state);
  const Result<void> opened = co_await std::move(opening);
  co_return opened;
}

TEST_CASE("a grid that was refused for the end of its highest block is not open") {
  StoreDisk disk;
  REQUIRE(disk.run(put_one).has_value());
  CHECK(disk.run(open_beside).has_value());
}

// ---- scrubbing

struct alignas(sector_size) AlignedBlock {
  std::array<std::byte, grid_block_size> bytes{};
};

/// Gives the block a second address; how to refer to it.
BlockReference add_second(StoreDisk& disk, uint64_t address, uint64_t address_second) {
  AlignedBlock block;
  disk.file().read(disk.offset_of(address), block.bytes);
  block_header_of(std::span<std::byte>(block.bytes)).address_second = address_second;
  const BlockReference changed = seal_block(block.bytes);
  disk.file().damage(disk.offset_of(address), block.bytes);
  return changed;
}

/// One block.
class OneBlock final : public ReferenceSource {
 public:
  explicit OneBlock(BlockReference reference) : reference_(reference) {}
  Task<Result<std::optional<ReferencedBlock>>> next() override {
    if (is_named_) co_return std::optional<ReferencedBlock>();
    is_named_ = true;
    ReferencedBlock block;
    block.reference = reference_;
    co_return std::optional<ReferencedBlock>(block);
  }
  bool is_current(const BlockReference&) const noexcept override { return true; }

 private:
  BlockReference reference_;
  bool is_named_ = false;
};

Task<Result<void>> scrub_one(OpenStore& store, BlockReference reference, ScrubSummary* summary) {
  OneBlock source(reference);
  const ScrubOptions options;
  const Result<void> scrubbed = co_await scrub(store.grid, source, options, *summary);
  CHECK(store.grid.counters().healed_count == 0);
  co_return scrubbed;
}

TEST_CASE("scrubbing heals nothing at a second address that is no block, though the first copy is good") {
  for (const uint64_t address_second : {uint64_t{65}, uint64_t{1} << 60, UINT64_MAX}) {
    StoreDisk disk;
    REQUIRE(disk.run(put_one).has_value());
    const BlockReference reference = add_second(disk, 1, address_second);
    ScrubSummary summary;
    REQUIRE(disk.run(scrub_one, reference, &summary).has_value());
    CHECK(summary.healed_count == 0);
    CHECK(summary.lost_count == 1);
  }
}

}  // namespace
}  // namespace spindle
