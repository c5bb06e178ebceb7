// What the tests of blocks in memory share.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "lsm/block_pool.h"

namespace spindle {

inline constexpr ClusterId block_cluster = {7, 9};

inline std::unique_ptr<BlockPool> make_block_pool(uint32_t blocks_count, uint32_t block_size = block_size_min) {
  Result<std::unique_ptr<BlockPool>> made = BlockPool::create(blocks_count, block_size);
  REQUIRE(made.has_value());
  return std::move(*made);
}

inline BlockLease lease_block(BlockPool& pool) {
  Result<BlockLease> lease = pool.try_acquire();
  REQUIRE(lease.has_value());
  return std::move(*lease);
}

inline std::vector<BlockLease> lease_all(BlockPool& pool) {
  std::vector<BlockLease> leases;
  while (pool.in_use_count() < pool.capacity()) leases.push_back(lease_block(pool));
  return leases;
}

/// A value block whose body is that number.
inline BlockRef freeze_number(BlockLease lease, uint64_t number) {
  BlockHeader& header = start_block(lease.memory(), block_cluster, BlockType::value);
  header.address = 1;
  std::memcpy(lease.memory().data() + message_header_size, &number, sizeof(number));
  header.frame.size += sizeof(number);
  seal_block(lease.memory());
  return BlockPool::freeze(std::move(lease));
}

inline BlockRef make_numbered(BlockPool& pool, uint64_t number) { return freeze_number(lease_block(pool), number); }

inline uint64_t number_of(const BlockRef& block) {
  uint64_t number = 0;
  REQUIRE(block.body().size() == sizeof(number));
  std::memcpy(&number, block.body().data(), sizeof(number));
  return number;
}

}  // namespace spindle
