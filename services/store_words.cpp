#include "services/store_words.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "runtime/units.h"

namespace spindle::store {

namespace {

std::string hex_of(uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(number));
  return text;
}

const char* remedy_of_errno(int number, bool is_device) noexcept {
  switch (number) {
    case EEXIST: return "--force overwrites it, and what it holds is lost; to see what that is: spindle-store inspect";
    case EWOULDBLOCK: return "another process has it open: end that first (lslocks tells which one it is)";
    case EBUSY: return "it is mounted, or in use by something else: end that first";
    case ENOSPC:
    case EDQUOT: return "make space, or give a smaller --journal-size";
    case EFBIG: return "the file may not become that large here: see ulimit -f, and the limits of the file system";
    case EACCES:
    case EPERM: return "check the permissions of the file and of its folders";
    case ENOENT: return "check the path: its folder must be there";
    case EROFS: return "the file system is mounted read-only";
    case EIO: return is_device ? "the device failed: see the kernel's log" : "the disk failed: see the kernel's log";
    default: return nullptr;
  }
}

const char* remedy_of_code(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::no_direct_io: return "put the store on another one, ext4 or XFS for example";
    case ErrorCode::misaligned: return "a store needs sectors of at most 4096 bytes";
    case ErrorCode::end_of_file: return "give a smaller --size";
    case ErrorCode::corrupt: return "the disk does not keep what it is given: replace it";
    case ErrorCode::lost_sectors: return "parts of it can't be read: replace the disk";
    case ErrorCode::cancelled:
    case ErrorCode::timed_out:
    case ErrorCode::closed:
    case ErrorCode::exhausted:
    case ErrorCode::system:
    case ErrorCode::short_transfer:
    case ErrorCode::poisoned:
    case ErrorCode::invalid_argument: return nullptr;
  }
  return nullptr;
}

std::string explain_error(SuperblockError error) {
  switch (error) {
    case SuperblockError::none: return "";
    case SuperblockError::not_found: return "not found: there is no whole copy of a superblock";
    case SuperblockError::unsupported:
      return "unsupported: whole copies, but of another format version, or with what this program does not know";
    case SuperblockError::foreign_cluster: return "foreign cluster: whole copies, but only of another cluster";
    case SuperblockError::quorum_lost:
      return "quorum lost: there are whole copies, but too few of one version to know that it was the last one";
    case SuperblockError::fork:
      return "fork: two versions claim to be the same one in the sequence: somebody else has written here";
    case SuperblockError::parent_skipped:
      return "parent skipped: there is a copy of a version that is newer by more than one: writes got lost";
    case SuperblockError::parent_not_connected:
      return "parent not connected: the version before is not the one that the winner was made from";
    case SuperblockError::not_monotonic:
      return "not monotonic: the version before has a later operation than the winner";
  }
  return "";
}

std::string explain_slot(const StoreFinding& finding, const StoreInspection& found) {
  const uint32_t slot = finding.slot.value_or(0);
  if (found.slots[slot].fault != SuperblockFault::none) {
    return std::string("the copy of the superblock is lost: ") + name_of(found.slots[slot].fault);
  }
  const std::string verdict = name_of(found.choice.verdicts[slot]);
  if (finding.fault == StoreFault::leftover) return "a copy where none belongs: " + verdict;
  return "not the copy that belongs there: " + verdict;
}

std::string explain_block(BlockFault fault) {
  switch (fault) {
    case BlockFault::none: return "whole";
    case BlockFault::unreadable: return "it can't be read";
    case BlockFault::header_checksum: return "its header is torn, rotten, or was never written";
    case BlockFault::protocol: return "of another version of the layout";
    case BlockFault::command: return "no block";
    case BlockFault::size: return "a size that no block can have";
    case BlockFault::type: return "of no type that there is";
    case BlockFault::reserved: return "a reserved byte is not zero";
    case BlockFault::cluster: return "of another cluster";
    case BlockFault::address: return "another block lies there, or its address is none";
    case BlockFault::version: return "another version of it, an older one as a rule: a write got lost";
    case BlockFault::type_expected: return "of another type";
    case BlockFault::body_checksum: return "its body is torn, or rotten";
    case BlockFault::padding: return "what is behind its body is not zero";
  }
  return "";
}

std::string explain_trailer(TrailerFault fault) {
  switch (fault) {
    case TrailerFault::none: return "whole";
    case TrailerFault::reference: return "the superblock refers to a stream that can't be";
    case TrailerFault::kind: return "a block of another stream is in it";
    case TrailerFault::reserved: return "a reserved byte of a block is not zero";
    case TrailerFault::offset: return "a block has more or less of the stream than its place says";
    case TrailerFault::previous: return "its blocks are more or fewer than its size says";
    case TrailerFault::checksum: return "the stream as a whole has another checksum";
  }
  return "";
}

std::string explain_free_set(const FreeSetOpened& opened) {
  switch (opened.fault) {
    case FreeSetFault::none: return "whole";
    case FreeSetFault::acquired_encoding:
      return std::string("the acquired blocks are encoded wrong: ") + name_of(opened.encoding);
    case FreeSetFault::acquired_beyond_end: return "a block beyond the last one is acquired";
    case FreeSetFault::released_encoding:
      return std::string("the released blocks are encoded wrong: ") + name_of(opened.encoding);
    case FreeSetFault::released_not_acquired: return "a block is released that is not acquired";
    case FreeSetFault::trailers_count: return "more blocks of trailers than there can be";
    case FreeSetFault::trailer_address: return "a block of a trailer has no address of the grid";
    case FreeSetFault::trailer_acquired: return "a block of a trailer is in the set, or named twice";
  }
  return "";
}

std::string trailer_name_of(const StoreFinding& finding) {
  return std::string("the trailer ") + name_of(finding.trailer.value_or(TrailerKind::blocks_acquired));
}

/// Of what was found in the grid.
std::string explain_in_grid(const StoreFinding& finding, const StoreInspection& found) {
  const std::string other = std::to_string(finding.address_other);
  switch (finding.fault) {
    case StoreFault::trailer_copy:
      return "a copy of a block of " + trailer_name_of(finding) + " is bad: " + explain_block(finding.block_fault) +
             "; the other one, block " + other + ", is whole";
    case StoreFault::trailer_block:
      return "the store does not open: a block of " + trailer_name_of(finding) +
             " is lost: " + explain_block(finding.block_fault) +
             (finding.address_other == 0 ? "; it has no other copy" : "; its other copy, block " + other + ", is bad");
    case StoreFault::trailer:
      return "the store does not open: " + trailer_name_of(finding) + ": " + explain_trailer(finding.trailer_fault);
    case StoreFault::free_set:
      return "the store does not open: its free set: " +
             explain_free_set(found.grid.has_value() ? found.grid->free_set : FreeSetOpened());
    case StoreFault::storage_end:
      return "the checkpoint says that it ends at " + std::to_string(found.winner()->state.storage_size) +
             ", which is not where its highest block in use ends";
    case StoreFault::block_misplaced:
      return "a whole block that belongs at block " + other + ": a write went astray, and what belongs here is gone";
    case StoreFault::no_store:
    case StoreFault::half_formatted:
    case StoreFault::no_version:
    case StoreFault::copy:
    case StoreFault::leftover:
    case StoreFault::zone_cut:
    case StoreFault::storage_size:
    case StoreFault::storage_cut: break;
  }
  return "";
}

}  // namespace

std::string text_of(const ClusterId& cluster) { return hex_of(cluster.high) + ":" + hex_of(cluster.low); }
std::string text_of(const Checksum& checksum) { return hex_of(checksum.high) + hex_of(checksum.low); }

std::string explain(const Error& error, bool is_device) {
  const bool has_errno = error.code == ErrorCode::system;
  std::string line = error.where;
  if (!line.empty()) line += ": ";
  line += has_errno ? std::string(std::strerror(error.number)) + " (errno " + std::to_string(error.number) + ")"
                    : std::string(name_of(error.code));
  const char* const remedy = has_errno ? remedy_of_errno(error.number, is_device) : remedy_of_code(error.code);
  if (remedy != nullptr) line += std::string("; ") + remedy;
  return line;
}

std::string explain_choice(const StoreInspection& found) {
  if (found.winner() == nullptr) return explain_error(found.choice.error);
  const uint32_t copies_count = found.winner()->configuration.copies_count;
  const bool has_write_quorum = found.choice.has_write_quorum();
  std::string text = "the valid version with the highest sequence, " + std::to_string(found.winner()->sequence) + ": " +
                     std::to_string(found.choice.votes_count) + " of " + std::to_string(copies_count) + " votes, " +
                     std::to_string(read_quorum_of(copies_count)) + " make it valid, " +
                     (has_write_quorum ? "and it has" : "and it has not") + " the " +
                     std::to_string(write_quorum_of(copies_count)) + " of a write quorum";
  if (!found.has_version()) text += "; but " + explain_error(found.choice.error);
  return text;
}

std::string meaning_of(const StoreFinding& finding, const StoreInspection& found) {
  switch (finding.fault) {
    case StoreFault::no_store: return found.file_size == 0 ? "the file is empty" : "the file holds no store";
    case StoreFault::half_formatted: return "a format of this store has begun, and has not ended: nothing is in it";
    case StoreFault::no_version: return "the store does not open: " + explain_error(found.choice.error);
    case StoreFault::copy:
    case StoreFault::leftover: return explain_slot(finding, found);
    case StoreFault::zone_cut: return "the file ends before the end of the " + std::string(finding.zone) + "'s zone";
    case StoreFault::storage_size:
      return "the checkpoint says that it ends at " + std::to_string(found.winner()->state.storage_size) +
             ", where no block ends";
    case StoreFault::storage_cut:
      return "the file ends before the checkpoint does, at " + std::to_string(found.winner()->state.storage_size);
    case StoreFault::trailer_copy:
    case StoreFault::trailer_block:
    case StoreFault::trailer:
    case StoreFault::free_set:
    case StoreFault::storage_end:
    case StoreFault::block_misplaced: return explain_in_grid(finding, found);
  }
  return "";
}

std::string remedy_of(const StoreFinding& finding, const StoreInspection& found) {
  if (finding.is_healed_by_open) return "the next open of the store writes it anew";
  switch (finding.fault) {
    case StoreFault::no_store: return "spindle-store format makes one";
    case StoreFault::half_formatted: return "format it again; that needs no --force";
    case StoreFault::copy:
    case StoreFault::leftover: return "nothing, while there is no version to go on with";
    case StoreFault::zone_cut:
      return found.is_device ? "a device that is as large as the one that was formatted"
                             : "restore it from another machine, or a backup";
    case StoreFault::trailer_copy:
      return found.grid.has_value() && found.grid->is_known() && found.has_version()
                 ? "scrubbing writes it anew; the next checkpoint has other trailers"
                 : "nothing, while the store does not open";
    case StoreFault::storage_end:
      return "the next checkpoint; no disk does that: whoever wrote the store has a bug, and should know";
    case StoreFault::no_version:
    case StoreFault::storage_size:
    case StoreFault::storage_cut:
    case StoreFault::trailer_block:
    case StoreFault::trailer:
    case StoreFault::free_set:
    case StoreFault::block_misplaced: return "restore it from another machine, or a backup";
  }
  return "";
}

std::string place_of(const StoreFinding& finding) {
  const std::string range = std::to_string(finding.size) + " bytes at " + std::to_string(finding.offset);
  if (finding.slot.has_value()) return "superblock, slot " + std::to_string(*finding.slot) + ", " + range;
  if (finding.address.has_value()) {
    return std::string(finding.zone) + ", block " + std::to_string(*finding.address) + ", " + range;
  }
  return *finding.zone == '\0' ? range : std::string(finding.zone) + ", " + range;
}

std::string text_of(const StoreFormer& former) {
  const std::string size = former.is_device ? "" : " (" + std::to_string(former.file_size) + " bytes)";
  switch (former.content) {
    case StoreContent::nothing: return "";
    case StoreContent::half_formatted: return "a format that was interrupted" + size;
    case StoreContent::store:
      if (!former.cluster.has_value()) return "what was left of a store" + size;
      return "a store of the cluster " + text_of(*former.cluster) + ", sequence " + std::to_string(former.sequence) +
             size;
    case StoreContent::other: return "what was no store" + size;
  }
  return "";
}

std::vector<const char*> checked_in(const StoreInspection& found) {
  std::vector<const char*> checked{"superblock", "zones", "storage size"};
  if (!found.grid.has_value()) return checked;
  checked.push_back("trailers");
  if (found.grid->has_free_set) checked.push_back("free set");
  if (found.grid->census.has_value()) checked.push_back("blocks");
  return checked;
}

std::string meaning_of(const CensusBlock& block) {
  return explain_block(block.fault) +
         "; acquired and never written, or damaged: nothing refers to it, so nothing says which";
}

char mark_of(const GridCell& cell, uint64_t blocks_count) noexcept {
  if (cell.acquired_count == 0) return ' ';
  if (cell.acquired_count == cell.released_count) return 'r';
  if (cell.acquired_count == blocks_count) return '@';
  constexpr char marks[] = {'.', ':', '+', '#'};
  return marks[cell.acquired_count * 4 / blocks_count];
}

uint64_t blocks_in_cell(const GridInspection& grid, size_t index) noexcept {
  const uint64_t cell_blocks_count = grid.picture.cell_blocks_count;
  return std::min(cell_blocks_count, grid.counts.blocks_count - index * cell_blocks_count);
}

std::vector<const Superblock*> versions_of(const StoreInspection& found) {
  std::vector<const Superblock*> versions;
  for (const SuperblockSlot& slot : found.slots) {
    if (slot.superblock == nullptr) continue;
    const auto is_same = [&](const Superblock* other) { return other->checksum == slot.superblock->checksum; };
    if (std::none_of(versions.begin(), versions.end(), is_same)) versions.push_back(slot.superblock);
  }
  const Superblock* const winner = found.winner();
  const auto wins = [&](const Superblock* one) { return winner != nullptr && one->checksum == winner->checksum; };
  std::sort(versions.begin(), versions.end(), [&](const Superblock* one, const Superblock* other) {
    if (one->sequence != other->sequence) return one->sequence > other->sequence;
    if (wins(one) != wins(other)) return wins(one);
    return one->checksum.high < other->checksum.high;
  });
  return versions;
}

}  // namespace spindle::store
