// The mark of a format under way: one sector with a fixed text, behind the slots of the superblock. While all of it is
// there, nothing in the file is in use: a format may begin anew without being told to overwrite, an open is refused.
//
//     0         64 KiB            448 KiB                           504 KiB  508 KiB  512 KiB
//     | slot 0  | slot 1 | …      | slot 7: superblock, not used …  | mark   |        |
//
// It is the first thing that is written into a file, which ends right behind it by then, and durable before anything
// else happens; and it goes, durably, when all copies of the superblock have been read back. So a mark that is torn on
// its way in is the end of a file of exactly file_begun_size, a size that no other program has a reason to give a file,
// and that is zero up to there. One that is torn on its way out is in a store that opens. The text needs no checksum:
// 4096 bytes that equal it are no accident.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "lsm/superblock_format.h"

namespace spindle {

inline constexpr uint32_t format_mark_size = superblock_size;
/// In the superblock's zone, and so in the file.
inline constexpr uint64_t format_mark_offset = superblock_zone_size - 2 * format_mark_size;
/// What the file has until the mark is in it.
inline constexpr uint64_t file_begun_size = format_mark_offset + format_mark_size;
static_assert(format_mark_offset >= uint64_t{superblock_slots_count - 1} * superblock_slot_stride + superblock_size,
              "no slot has the mark in it");

/// Puts the mark there. All of these take format_mark_size bytes.
void fill_with_mark(std::span<std::byte> sector) noexcept;
bool is_mark(std::span<const std::byte> sector) noexcept;
/// What a write of the mark over zeroes may have left that was cut: of its pieces of 512 bytes some may be garbage, but
/// not all.
bool is_torn_mark(std::span<const std::byte> sector) noexcept;

}  // namespace spindle
