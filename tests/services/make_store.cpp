// Makes a store with blocks in it, for the tests of programs that look at one.
//
//     make_store FILE BLOCKS_COUNT
//
// FILE was formatted, with blocks of 4 KiB. Writes so many value blocks, from address 1 on; every fourth one has a
// second address, right behind the first. Then a checkpoint; then it releases every fifth block, and makes another one.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "io/uring/uring_backend.h"
#include "lsm/checkpoint.h"
#include "lsm/store_file.h"
#include "runtime/root.h"
#include "runtime/scope.h"

namespace spindle {
namespace {

Task<Result<BlockReference>> put_block(Grid& grid, uint64_t number) {
  const bool has_second = number % 4 == 3;
  auto reservation = co_await ok(grid.reserve(has_second ? 2 : 1));
  BlockLease lease = co_await ok(grid.blocks().acquire());
  BlockHeader& header = start_block(lease.memory(), grid.options().cluster, BlockType::value);
  header.address = *grid.acquire(reservation);
  if (has_second) header.address_second = *grid.acquire(reservation);
  const std::span<std::byte> body = lease.memory().subspan(message_header_size).first(1000);
  std::memset(body.data(), static_cast<int>(number % 251), body.size());
  header.frame.size += static_cast<uint32_t>(body.size());
  const BlockReference reference = seal_block(lease.memory());
  const Result<void> written = co_await grid.write(std::move(lease));
  grid.forfeit(std::move(reservation));
  if (!written.has_value()) co_return Unexpected(written.error());
  co_return reference;
}

Task<Result<void>> fill(Scope& scope, Grid& grid, StoreFile& store, uint64_t blocks_count) {
  grid.start(scope);
  co_await ok(grid.open(store.superblock().working().state));
  std::vector<BlockReference> blocks;
  for (uint64_t number = 0; number < blocks_count; ++number) {
    const BlockReference block = co_await ok(put_block(grid, number));
    blocks.push_back(block);
  }
  CheckpointInput input;
  input.op = 1;
  co_await ok(checkpoint(grid, store.superblock(), input));
  for (size_t index = 4; index < blocks.size(); index += 5) grid.release(blocks[index]);
  input.op = 2;
  const Result<void> done = co_await checkpoint(grid, store.superblock(), input);
  co_return done;
}

Task<Result<void>> make_store(std::string path, uint64_t blocks_count) {
  const std::unique_ptr<StoreFile> store = co_await ok(open_store(path));
  const Superblock& superblock = store->superblock().working();
  GridOptions options;
  options.cluster = superblock.cluster;
  options.block_size = superblock.configuration.block_size;
  options.blocks_count = superblock.configuration.blocks_max;
  options.cache_blocks_count = 0;
  options.allocation_step = 1 << 20;
  auto grid = Grid::create(store->storage(), store->zones().grid, options);
  if (!grid.has_value()) co_return Unexpected(grid.error());
  auto filling = with_scope(ScopeOptions{}, fill, **grid, *store, blocks_count);
  const Result<void> filled = co_await std::move(filling);
  grid->reset();
  const Result<void> closed = co_await store->storage().close();
  co_return filled.has_value() ? closed : filled;
}

}  // namespace
}  // namespace spindle

int main(int argument_count, char** arguments) {
  using namespace spindle;
  if (argument_count != 3) return 2;
  auto backend = UringBackend::create(UringOptions());
  if (!backend.has_value()) return 2;
  Loop loop(**backend, Loop::Options());
  const Result<void> made = run(loop, make_store, std::string(arguments[1]), std::strtoull(arguments[2], nullptr, 10));
  if (made.has_value()) return 0;
  std::fprintf(stderr, "make_store: %s\n", describe(made.error()).c_str());
  return 1;
}
