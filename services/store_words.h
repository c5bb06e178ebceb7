// What spindle-store says in words, in its text and in its JSON alike.
#pragma once

#include <string>
#include <vector>

#include "lsm/store_file.h"
#include "lsm/store_inspection.h"
#include "runtime/result.h"

namespace spindle::store {

/// 16 digits, a colon, 16 digits; the high half first.
std::string text_of(const ClusterId& cluster);
/// 32 digits; the high half first.
std::string text_of(const Checksum& checksum);

/// What an error means here, and what to do. One line.
std::string explain(const Error& error, bool is_device);

/// Which version wins, or why none does.
std::string explain_choice(const StoreInspection& found);
/// What it means, and …
std::string meaning_of(const StoreFinding& finding, const StoreInspection& found);
/// … what heals it.
std::string remedy_of(const StoreFinding& finding, const StoreInspection& found);

/// "slot 3", "journal", or "block 12", with the place in the file.
std::string place_of(const StoreFinding& finding);

/// What was looked at.
std::vector<const char*> checked_in(const StoreInspection& found);
/// Why a block that nothing refers to is not counted with the others. One line.
std::string meaning_of(const CensusBlock& block);
/// How full it is, in a character: ' ' nothing is in use, '.' less than a quarter, ':' less than half, '+' less than
/// three quarters, '#' less than all, '@' all; 'r': all that is in use was released.
char mark_of(const GridCell& cell, uint64_t blocks_count) noexcept;
/// Blocks of that cell: the last one may have less than the others.
uint64_t blocks_in_cell(const GridInspection& grid, size_t index) noexcept;

/// What a format has overwritten; empty: nothing.
std::string text_of(const StoreFormer& former);

/// One of each version that whole copies are of: newest first, and of those with one sequence the winner.
std::vector<const Superblock*> versions_of(const StoreInspection& found);

inline constexpr const char* copy_on_write_warning =
    "the file system is copy-on-write, and needs space for each write: the promise that a full disk can always be "
    "checkpointed is void; make an empty file, give it the attribute NOCOW (chattr +C), and format that";

}  // namespace spindle::store
