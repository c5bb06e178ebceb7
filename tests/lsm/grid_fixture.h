// What the tests of the grid share: a small store on a simulated disk, and programs that use it.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "io/sim/crash_images.h"
#include "io/sim/world.h"
#include "lsm/checkpoint.h"
#include "lsm/grid.h"
#include "lsm/superblock.h"
#include "runtime/combinators.h"
#include "runtime/scope.h"

namespace spindle {

inline constexpr ClusterId grid_cluster = {7, 9};
inline constexpr uint32_t grid_block_size = 4096;
inline constexpr const char* grid_path = "store";
inline constexpr ZoneIndex grid_superblock_zone{0};
inline constexpr ZoneIndex grid_zone{1};

struct StoreShape {
  const char* path = grid_path;
  uint64_t blocks_count = 64;
  uint32_t block_size = grid_block_size;
  uint32_t metadata_copies_count = 2;
  uint32_t cache_blocks_count = 16;
  uint64_t log_blocks_max = 0;
  uint64_t allocation_step = 8 * grid_block_size;
  uint32_t reads_max = 8;
  uint32_t writes_max = 4;
  DeviceQueue* queue = nullptr;
};

inline std::vector<ZoneOptions> zones_of(const StoreShape& shape) {
  return {{.name = "superblock", .size = superblock_zone_size},
          {.name = "grid",
           .size = shape.blocks_count * shape.block_size,
           .alignment = shape.block_size,
           .size_present_min = 0}};
}

inline GridOptions options_of(const StoreShape& shape) {
  GridOptions options;
  options.cluster = grid_cluster;
  options.block_size = shape.block_size;
  options.blocks_count = shape.blocks_count;
  options.cache_blocks_count = shape.cache_blocks_count;
  options.held_blocks_max = 16;
  options.reads_max = shape.reads_max;
  options.writes_max = shape.writes_max;
  options.metadata_copies_count = shape.metadata_copies_count;
  options.log_blocks_max = shape.log_blocks_max;
  options.allocation_step = shape.allocation_step;
  return options;
}

/// What a program is given.
struct OpenStore {
  Storage& storage;
  SuperblockCopies& superblock;
  Grid& grid;
};

inline Task<Result<void>> format_grid_store(StoreShape shape) {
  const std::vector<ZoneOptions> zones = zones_of(shape);
  Storage storage = co_await ok(Storage::create(shape.path, zones));
  SuperblockCopies superblock(storage, grid_superblock_zone);
  SuperblockFormat format;
  format.cluster = grid_cluster;
  format.configuration.block_size = shape.block_size;
  format.configuration.blocks_max = shape.blocks_count;
  co_await ok(superblock.format(format));
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

/// What came of an open.
struct GridOpened {
  Result<void> opened;
  GridFault fault;
  uint64_t op = 0;
};

template <class Program, class... Args>
Task<Result<void>> serve_grid(Scope& scope, OpenStore& store, GridOpened* found, Program& program, Args&... args) {
  store.grid.start(scope);
  const Result<void> opened = co_await store.grid.open(store.superblock.working().state);
  if (found != nullptr) *found = {opened, store.grid.fault(), store.superblock.working().state.op};
  if (!opened.has_value()) co_return opened;
  auto running = program(store, args...);
  const Result<void> done = co_await std::move(running);
  co_return done;
}

/// Opens the store, runs program(OpenStore&, args...), and closes it.
template <class Program, class... Args>
Task<Result<void>> run_on_store(StoreShape shape, GridOpened* found, Program program, Args... args) {
  const std::vector<ZoneOptions> zones = zones_of(shape);
  StorageOptions storage_options;
  storage_options.queue = shape.queue;
  Storage storage = co_await ok(Storage::open(shape.path, zones, storage_options));
  SuperblockCopies superblock(storage, grid_superblock_zone);
  co_await ok(superblock.open(grid_cluster));
  auto grid = Grid::create(storage, grid_zone, options_of(shape));
  if (!grid.has_value()) co_return Unexpected(grid.error());
  OpenStore store{storage, superblock, **grid};
  auto serving = with_scope(ScopeOptions{}, serve_grid<Program, Args...>, store, found, program, args...);
  const Result<void> served = co_await std::move(serving);
  grid->reset();
  const Result<void> closed = co_await storage.close();
  co_return served.has_value() ? closed : served;
}

/// A disk with one store, on which one program after another runs.
class StoreDisk {
 public:
  explicit StoreDisk(StoreShape shape = {}) : shape_(shape) {
    REQUIRE(run_alone(format_grid_store, shape).has_value());
  }
  StoreDisk(StoreShape shape, SimFiles files) : shape_(shape), files_(std::make_unique<SimFiles>(std::move(files))) {}

  const StoreShape& shape() const { return shape_; }
  SimFiles clone() const { return files_->clone(); }
  SimFile& file() { return *files_->find(grid_path); }
  SimBackendOptions& options() { return options_; }
  void set_seed(uint64_t seed) { seed_ = seed; }
  void set_queue(DeviceQueue& queue) { shape_.queue = &queue; }
  void make_unreadable(uint64_t address) {
    for (uint64_t at = 0; at < shape_.block_size; at += 4096) file().make_unreadable(offset_of(address) + at, 4096);
  }
  uint64_t offset_of(uint64_t address) const { return superblock_zone_size + (address - 1) * shape_.block_size; }
  void flip(uint64_t address, uint64_t byte) {
    std::byte value{};
    file().read(offset_of(address) + byte, {&value, 1});
    value ^= std::byte{4};
    file().damage(offset_of(address) + byte, {&value, 1});
  }

  template <class Program, class... Args>
  Result<void> run(Program program, Args... args) {
    return run_alone(run_on_store<Program, Args...>, shape_, nullptr, program, args...);
  }
  template <class Program, class... Args>
  Result<void> run_and_tell(GridOpened* found, Program program, Args... args) {
    return run_alone(run_on_store<Program, Args...>, shape_, found, program, args...);
  }
  template <class Program, class... Args>
  Result<void> run_alone(Program program, Args... args) {
    World world(seed_++);
    Host& host = world.add_host("a", options_, files_->clone());
    host.start(program, args...);
    REQUIRE(world.run() == World::Outcome::idle);
    Result<void> result = host.take();
    files_ = std::make_unique<SimFiles>(host.files().clone());
    return result;
  }

 private:
  StoreShape shape_;
  SimBackendOptions options_;
  uint64_t seed_ = 1;
  std::unique_ptr<SimFiles> files_ = std::make_unique<SimFiles>();
};

// ---- steps of programs

/// A value block full of that number, at the next address of the reservation; `copies_count` of 2: and a copy.
inline BlockLease fill_block(BlockLease lease, Grid& grid, Grid::Reservation& reservation, uint64_t number,
                             uint32_t copies_count = 1) {
  BlockHeader& header = start_block(lease.memory(), grid_cluster, BlockType::value);
  header.address = *grid.acquire(reservation);
  if (copies_count > 1) header.address_second = *grid.acquire(reservation);
  const std::span<std::byte> body = lease.memory().subspan(message_header_size);
  for (size_t at = 0; at + sizeof(number) <= body.size(); at += sizeof(number)) {
    std::memcpy(body.data() + at, &number, sizeof(number));
  }
  header.frame.size += static_cast<uint32_t>(body.size() - number % 8 * 400);
  return lease;
}

inline uint64_t number_in(const BlockRef& block) {
  uint64_t number = 0;
  std::memcpy(&number, block.body().data(), sizeof(number));
  return number;
}

/// One block, written with a reservation of its own.
inline Task<Result<BlockReference>> put_block(Grid& grid, uint64_t number, uint32_t copies_count = 1) {
  auto reservation = co_await ok(grid.reserve(copies_count));
  BlockLease lease = co_await ok(grid.blocks().acquire());
  lease = fill_block(std::move(lease), grid, reservation, number, copies_count);
  const BlockReference reference = seal_block(lease.memory());
  const Result<void> written = co_await grid.write(std::move(lease));
  grid.forfeit(std::move(reservation));
  if (!written.has_value()) co_return Unexpected(written.error());
  co_return reference;
}

inline Task<Result<void>> make_checkpoint(OpenStore& store, uint64_t op) {
  CheckpointInput input;
  input.op = op;
  const Result<void> done = co_await checkpoint(store.grid, store.superblock, input);
  co_return done;
}

}  // namespace spindle
