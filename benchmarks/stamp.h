// The mark that --verify puts on every block, so that a later read can tell whether it got what was written there.
//
//     | magic 8 | offset 8 | generation 8 | block size 4, zero 4 | checksum 8 | payload |
//
// The checksum (XXH3, 64 bits) covers the whole block but itself. The payload is incompressible and differs from
// block to block and from generation to generation, so a block that lands at the wrong place, is torn, or is an older
// one than expected is told apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "benchmarks/failure.h"

namespace spindle::bench {

/// Fills the block. At least 64 bytes, a multiple of 8.
void stamp_block(std::span<std::byte> block, uint64_t offset, uint64_t generation) noexcept;

/// Any generation will do.
inline constexpr uint64_t generation_any = UINT64_MAX;

/// What is wrong with a block read at `offset`; empty: nothing.
Failure check_stamp(std::span<const std::byte> block, uint64_t offset, uint64_t generation);

}  // namespace spindle::bench
