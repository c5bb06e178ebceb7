// What an inspection says is wrong.
#include <algorithm>

#include "lsm/format_mark.h"
#include "lsm/store_inspection.h"
#include "lsm/store_layout.h"

namespace spindle {

namespace {

/// What the slot should not have, since it might be an error or win, or is a vote in the wrong place.
bool is_leftover(SuperblockVerdict verdict) noexcept {
  switch (verdict) {
    case SuperblockVerdict::misplaced:
    case SuperblockVerdict::foreign:
    case SuperblockVerdict::fork:
    case SuperblockVerdict::interrupted:
    case SuperblockVerdict::skipped:
    case SuperblockVerdict::unconnected:
    case SuperblockVerdict::ahead: return true;
    case SuperblockVerdict::faulty:
    case SuperblockVerdict::current:
    case SuperblockVerdict::former:
    case SuperblockVerdict::older:
    case SuperblockVerdict::undecided: return false;
  }
  return false;
}

/// What is wrong in the slot; nothing, as a rule.
std::optional<StoreFault> fault_of(const StoreInspection& found, uint32_t slot) noexcept {
  const SuperblockVerdict verdict = found.choice.verdicts[slot];
  if (found.winner() == nullptr) {
    const SuperblockFault fault = found.slots[slot].fault;
    const bool is_wrong = fault != SuperblockFault::none && fault != SuperblockFault::zero;
    return is_wrong ? std::optional(StoreFault::copy) : std::nullopt;
  }
  const bool is_behind = slot >= found.winner()->configuration.copies_count;
  if (is_behind) return is_leftover(verdict) ? std::optional(StoreFault::leftover) : std::nullopt;
  return verdict != SuperblockVerdict::current ? std::optional(StoreFault::copy) : std::nullopt;
}

StoreFinding finding_of(StoreFault fault, uint64_t offset, uint64_t size, const char* zone) noexcept {
  StoreFinding finding;
  finding.fault = fault;
  finding.offset = offset;
  finding.size = size;
  finding.zone = zone;
  return finding;
}

void find_in_slots(const StoreInspection& found, std::vector<StoreFinding>& findings) {
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    const std::optional<StoreFault> fault = fault_of(found, slot);
    if (!fault.has_value()) continue;
    const uint64_t offset = uint64_t{slot} * superblock_slot_stride;
    StoreFinding finding = finding_of(*fault, offset, superblock_size, "superblock");
    finding.slot = slot;
    finding.is_healed_by_open = found.has_version();
    findings.push_back(finding);
  }
}

/// From where the file ends to where it should.
void find_cut(StoreFault fault, const char* zone, uint64_t end, const StoreInspection& found,
              std::vector<StoreFinding>& findings) {
  if (found.file_size >= end) return;
  findings.push_back(finding_of(fault, found.file_size, end - found.file_size, zone));
}

void find_in_zones(const StoreInspection& found, std::vector<StoreFinding>& findings) {
  const StoreLayout layout = layout_of(found.winner()->configuration);
  const uint64_t storage_size = found.winner()->state.storage_size;
  find_cut(StoreFault::zone_cut, "journal", layout.journal_end, found, findings);
  if (!is_valid_storage_size(storage_size, layout)) {
    findings.push_back(finding_of(StoreFault::storage_size, 0, superblock_size, "superblock"));
    return;
  }
  if (found.is_device) {
    find_cut(StoreFault::zone_cut, "grid", layout.size, found, findings);
  } else if (found.file_size >= layout.journal_end) {
    find_cut(StoreFault::storage_cut, "grid", storage_size, found, findings);
  }
}

// ---- grid

/// Of one block.
StoreFinding block_finding(StoreFault fault, uint64_t address, const StoreInspection& found) noexcept {
  const StoreConfiguration& configuration = found.winner()->configuration;
  const uint64_t offset = layout_of(configuration).grid_begin + (address - 1) * configuration.block_size;
  const bool is_block = address > 0 && address <= configuration.blocks_max;
  StoreFinding finding = finding_of(fault, is_block ? offset : 0, is_block ? configuration.block_size : 0, "grid");
  finding.address = address;
  return finding;
}

void find_in_block(const TrailerInspection& trailer, const TrailerBlock& block, bool opens,
                   const StoreInspection& found, std::vector<StoreFinding>& findings) {
  const BlockReference& reference = block.reference;
  const StoreFault fault = block.is_lost() ? StoreFault::trailer_block : StoreFault::trailer_copy;
  if (block.fault != BlockFault::none) {
    StoreFinding finding = block_finding(fault, reference.address, found);
    finding.trailer = trailer.kind;
    finding.block_fault = block.fault;
    finding.address_other = reference.address_second;
    finding.is_healed_by_open = opens;
    findings.push_back(finding);
  }
  if (block.fault_second != BlockFault::none) {
    StoreFinding finding = block_finding(fault, reference.address_second, found);
    finding.trailer = trailer.kind;
    finding.block_fault = block.fault_second;
    finding.address_other = reference.address;
    findings.push_back(finding);  // an open reads the second copy only where the first is bad
  }
}

/// At the block that was read last; without one, at what refers to it.
StoreFinding trailer_finding(StoreFault fault, const TrailerInspection& trailer, const StoreInspection& found) {
  StoreFinding finding = trailer.blocks.empty() ? finding_of(fault, 0, superblock_size, "superblock")
                                                : block_finding(fault, trailer.blocks.back().reference.address, found);
  finding.trailer = trailer.kind;
  return finding;
}

void find_in_trailer(const TrailerInspection& trailer, bool opens, const StoreInspection& found,
                     std::vector<StoreFinding>& findings) {
  for (const TrailerBlock& block : trailer.blocks) find_in_block(trailer, block, opens, found, findings);
  if (trailer.fault == TrailerFault::none) return;
  StoreFinding finding = trailer_finding(StoreFault::trailer, trailer, found);
  finding.trailer_fault = trailer.fault;
  findings.push_back(finding);
}

bool is_of_released(FreeSetFault fault) noexcept {
  return fault == FreeSetFault::released_encoding || fault == FreeSetFault::released_not_acquired;
}

/// The end that is stated can be, and is not that of the highest acquired block. Without trailers there is nothing that
/// it could be compared with: whoever uses the zone without a grid may end where he likes.
bool is_end_wrong(const StoreInspection& found) noexcept {
  const CheckpointState& state = found.winner()->state;
  const TrailerReference none;
  const bool has_trailers = state.blocks_acquired != none || state.blocks_released != none;
  if (!has_trailers || !found.grid->is_known()) return false;
  const StoreLayout layout = layout_of(found.winner()->configuration);
  const uint64_t highest = found.grid->counts.highest_address_acquired;
  const uint64_t end = layout.grid_begin + highest * layout.grid.alignment;
  return is_valid_storage_size(state.storage_size, layout) && state.storage_size != end;
}

void find_in_grid(const StoreInspection& found, std::vector<StoreFinding>& findings) {
  const GridInspection& grid = *found.grid;
  const auto keeps_shut = [](const StoreFinding& finding) {
    return finding.fault == StoreFault::zone_cut || finding.fault == StoreFault::storage_size ||
           finding.fault == StoreFault::storage_cut;
  };
  const bool is_shut = std::any_of(findings.begin(), findings.end(), keeps_shut);
  const bool opens = found.has_version() && grid.is_known() && !is_shut;
  find_in_trailer(grid.acquired, opens, found, findings);
  find_in_trailer(grid.released, opens, found, findings);
  if (grid.has_free_set && !grid.is_known()) {
    const TrailerInspection& trailer = is_of_released(grid.free_set.fault) ? grid.released : grid.acquired;
    findings.push_back(trailer_finding(StoreFault::free_set, trailer, found));
  }
  if (is_end_wrong(found)) {
    findings.push_back(finding_of(StoreFault::storage_end, 0, superblock_size, "superblock"));
  }
  if (!grid.census.has_value()) return;
  for (const CensusBlock& block : grid.census->misplaced) {
    StoreFinding finding = block_finding(StoreFault::block_misplaced, block.address, found);
    finding.address_other = block.address_said;
    findings.push_back(finding);
  }
}

}  // namespace

const char* name_of(StoreFault fault) noexcept {
  switch (fault) {
    case StoreFault::no_store: return "no store";
    case StoreFault::half_formatted: return "half formatted";
    case StoreFault::no_version: return "no version";
    case StoreFault::copy: return "copy";
    case StoreFault::leftover: return "leftover";
    case StoreFault::zone_cut: return "zone cut";
    case StoreFault::storage_size: return "storage size";
    case StoreFault::storage_cut: return "storage cut";
    case StoreFault::trailer_copy: return "trailer copy";
    case StoreFault::trailer_block: return "trailer block";
    case StoreFault::trailer: return "trailer";
    case StoreFault::free_set: return "free set";
    case StoreFault::storage_end: return "storage end";
    case StoreFault::block_misplaced: return "block misplaced";
  }
  return "?";
}

std::vector<StoreFinding> find_faults(const StoreInspection& inspection) {
  std::vector<StoreFinding> findings;
  switch (inspection.content) {
    case StoreContent::nothing:
    case StoreContent::other:
      findings.push_back(finding_of(StoreFault::no_store, 0, inspection.file_size, ""));
      return findings;
    case StoreContent::half_formatted:
      findings.push_back(finding_of(StoreFault::half_formatted, format_mark_offset, format_mark_size, "superblock"));
      return findings;
    case StoreContent::store: break;
  }
  if (!inspection.has_version()) {
    findings.push_back(finding_of(StoreFault::no_version, 0, superblock_zone_size, "superblock"));
  }
  find_in_slots(inspection, findings);
  if (inspection.winner() != nullptr) find_in_zones(inspection, findings);
  if (inspection.grid.has_value()) find_in_grid(inspection, findings);
  return findings;
}

}  // namespace spindle
