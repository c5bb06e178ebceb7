#include "lsm/superblock_format.h"

#include <algorithm>
#include <bit>
#include <span>

namespace spindle {

namespace {

std::span<const std::byte> bytes_of(const Superblock& superblock) noexcept {
  return std::as_bytes(std::span(&superblock, 1));
}

bool has_reserved_zero(const TrailerReference& trailer) noexcept { return trailer.reserved == 0; }

bool has_reserved_zero(const Superblock& superblock) noexcept {
  const CheckpointState& state = superblock.state;
  const bool is_head_zero =
      superblock.reserved_first == 0 && superblock.reserved_second == 0 && superblock.reserved_third == 0;
  const bool is_state_zero =
      state.reserved == 0 && has_reserved_zero(state.blocks_acquired) && has_reserved_zero(state.blocks_released);
  return is_head_zero && is_state_zero && superblock.configuration.reserved == 0 && are_zero(superblock.reserved);
}

}  // namespace

const char* name_of(SuperblockFault fault) noexcept {
  switch (fault) {
    case SuperblockFault::none: return "none";
    case SuperblockFault::unreadable: return "unreadable";
    case SuperblockFault::zero: return "zero";
    case SuperblockFault::checksum: return "checksum";
    case SuperblockFault::version: return "version";
    case SuperblockFault::configuration: return "configuration";
    case SuperblockFault::reserved: return "reserved";
  }
  return "?";
}

Checksum checksum_of(const Superblock& superblock) noexcept {
  return checksum_of(bytes_of(superblock).subspan(offsetof(Superblock, format_version)));
}

bool is_valid(const StoreConfiguration& configuration) noexcept {
  const uint32_t copies_count = configuration.copies_count;
  const bool is_copies_count = copies_count == 4 || copies_count == 6 || copies_count == 8;
  const bool is_sector_size = configuration.sector_size == superblock_size;
  const bool is_block_size = std::has_single_bit(configuration.block_size) &&
                             configuration.block_size >= configuration.sector_size &&
                             configuration.block_size <= block_size_max;
  if (!is_copies_count || !is_sector_size || !is_block_size) return false;
  const bool is_journal_size = configuration.journal_size % configuration.sector_size == 0;
  // So that no sum of zones can overflow.
  const uint64_t size_max = uint64_t{1} << 62;
  return is_journal_size && configuration.journal_size <= size_max / 2 && configuration.blocks_max > 0 &&
         configuration.blocks_max <= size_max / 2 / configuration.block_size;
}

SuperblockFault verify(const Superblock& superblock) noexcept {
  const std::span<const std::byte> bytes = bytes_of(superblock);
  const bool is_zero = std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{}; });
  if (is_zero) return SuperblockFault::zero;
  if (superblock.checksum != checksum_of(superblock)) return SuperblockFault::checksum;
  if (superblock.format_version != superblock_format_version) return SuperblockFault::version;
  const bool has_sequence = superblock.sequence != 0 && superblock.sequence != UINT64_MAX;
  if (!is_valid(superblock.configuration) || !has_sequence) return SuperblockFault::configuration;
  return has_reserved_zero(superblock) ? SuperblockFault::none : SuperblockFault::reserved;
}

}  // namespace spindle
