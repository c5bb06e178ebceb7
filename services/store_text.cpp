#include <algorithm>
#include <cstdio>

#include "lsm/store_layout.h"
#include "runtime/units.h"
#include "services/store_report.h"
#include "services/store_words.h"

namespace spindle::store {

namespace {

std::string row(const char* name, const std::string& value) {
  char front[32];
  std::snprintf(front, sizeof(front), "%-16s", name);
  return front + value + "\n";
}

std::string bytes_text(uint64_t size) {
  return size < 1024 ? text_of_size(size) : text_of_size(size) + " (" + std::to_string(size) + " bytes)";
}

std::string zone_text(uint64_t offset, uint64_t size) { return bytes_text(size) + " at " + std::to_string(offset); }

std::string configuration_text(const StoreConfiguration& configuration) {
  const StoreLayout layout = layout_of(configuration);
  std::string text = row("size", "up to " + bytes_text(layout.size));
  text += row("block size", bytes_text(configuration.block_size));
  text += row("copies", std::to_string(configuration.copies_count));
  text += row("superblock", zone_text(0, superblock_zone_size));
  text += row("journal", layout.journal.has_value() ? zone_text(superblock_zone_size, layout.journal->size) : "none");
  text += row("grid",
              std::to_string(configuration.blocks_max) + " blocks, " + zone_text(layout.grid_begin, layout.grid.size));
  return text;
}

std::string block_text(const BlockReference& block) {
  if (block.address == 0) return "none";
  std::string text = "block " + std::to_string(block.address);
  if (block.address_second != 0) text += " and " + std::to_string(block.address_second);
  return text + ", checksum " + text_of(block.checksum);
}

std::string trailer_text(const TrailerReference& trailer) {
  if (trailer.last.address == 0) return "none";
  return bytes_text(trailer.size) + ", checksum " + text_of(trailer.checksum) + ", last " + block_text(trailer.last);
}

std::string state_text(const CheckpointState& state) {
  std::string text = row("operation", std::to_string(state.op));
  text += row("storage size", bytes_text(state.storage_size));
  text += row("manifest", std::to_string(state.manifest_blocks_count) + " blocks");
  text += row("  oldest", block_text(state.manifest_oldest));
  text += row("  newest", block_text(state.manifest_newest));
  text += row("acquired", trailer_text(state.blocks_acquired));
  text += row("released", trailer_text(state.blocks_released));
  return text;
}

std::string slot_text(const StoreInspection& found, uint32_t slot) {
  const SuperblockSlot& read = found.slots[slot];
  const bool is_whole = read.superblock != nullptr;
  const char* const said = is_whole ? name_of(found.choice.verdicts[slot]) : name_of(read.fault);
  char front[64];
  std::snprintf(front, sizeof(front), is_whole ? "  slot %u  %-13s" : "  slot %u  %s", slot, said);
  if (!is_whole) return std::string(front) + "\n";
  const Superblock& superblock = *read.superblock;
  return front + ("copy " + std::to_string(superblock.copy)) + "  sequence " + std::to_string(superblock.sequence) +
         "  checksum " + text_of(superblock.checksum).substr(0, 12) + "…  cluster " + text_of(superblock.cluster) +
         "\n";
}

std::string versions_text(const StoreInspection& found) {
  std::string text;
  for (const Superblock* const version : versions_of(found)) {
    const uint32_t copies_count = version->configuration.copies_count;
    const bool is_winner = found.winner() != nullptr && found.winner()->checksum == version->checksum;
    text += "  sequence " + std::to_string(version->sequence) + ", checksum " +
            text_of(version->checksum).substr(0, 12) + "…: " + std::to_string(count_votes(found.slots, *version)) +
            " votes of " + std::to_string(copies_count) + "; to read " + std::to_string(read_quorum_of(copies_count)) +
            ", to write " + std::to_string(write_quorum_of(copies_count)) + (is_winner ? "; wins\n" : "\n");
  }
  return text;
}

std::string repairs_text(const StoreInspection& found) {
  std::string text;
  for (const SuperblockRepair& repair : found.choice.all_repairs()) {
    if (!text.empty()) text += ", ";
    text += (repair.wipes ? "wipe slot " : "write slot ") + std::to_string(repair.slot);
  }
  return text.empty() ? "nothing" : text;
}

std::string findings_text(const StoreInspection& found) {
  std::string text;
  for (const StoreFinding& finding : found.findings) {
    text += "  " + place_of(finding) + ": " + name_of(finding.fault) + ": " + meaning_of(finding, found) +
            "; what heals it: " + remedy_of(finding, found) + "\n";
  }
  return text;
}

std::string counts_text(const GridCounts& counts) {
  std::string text = row("blocks", std::to_string(counts.blocks_count));
  text += row("free", std::to_string(counts.free_count));
  const std::string highest =
      counts.highest_address_acquired == 0 ? "" : ", the highest is " + std::to_string(counts.highest_address_acquired);
  text += row("in use", std::to_string(counts.acquired_count) + highest);
  text += row("of them", std::to_string(counts.released_count) + " released, " +
                             std::to_string(counts.trailer_blocks_count) + " of trailers");
  return text;
}

/// Rows with the address that each begins with.
std::string picture_text(const GridInspection& grid) {
  const GridPicture& picture = grid.picture;
  const std::string size = std::to_string(picture.cell_blocks_count);
  std::string text = "free set, " + size + (picture.cell_blocks_count == 1 ? " block" : " blocks") + " a character\n";
  text += "  in use: ' ' none  '.' < 1/4  ':' < 1/2  '+' < 3/4  '#' < 1  '@' all; 'r': all of it was released\n";
  for (size_t begin = 0; begin < picture.cells.size(); begin += GridPicture::row_cells_count) {
    const size_t end = std::min(begin + GridPicture::row_cells_count, picture.cells.size());
    char front[40];
    std::snprintf(front, sizeof(front), "  %12llu |",
                  static_cast<unsigned long long>(begin * picture.cell_blocks_count + 1));
    text += front;
    for (size_t index = begin; index < end; ++index) {
      text += mark_of(picture.cells[index], blocks_in_cell(grid, index));
    }
    text += "|\n";
  }
  return text;
}

std::string census_text(const BlockCensus& census) {
  std::string text = "blocks by type";
  for (uint16_t type = 1; type <= block_types_count; ++type) {
    text += std::string(type == 1 ? "  " : ", ") + name_of(static_cast<BlockType>(type)) + " " +
            std::to_string(census.type_counts[type]);
  }
  return text + ", not whole " + std::to_string(census.not_whole_count) + "\n";
}

std::string notes_text(const StoreInspection& found) {
  if (!found.grid.has_value() || !found.grid->census.has_value()) return "";
  const BlockCensus& census = *found.grid->census;
  if (census.not_whole.empty()) return "";
  std::string text = "notes\n";
  for (const CensusBlock& block : census.not_whole) {
    text += "  block " + std::to_string(block.address) + ": " + name_of(block.fault) + ": " + meaning_of(block) + "\n";
  }
  const uint64_t unlisted_count = census.not_whole_count - census.not_whole.size();
  return unlisted_count == 0 ? text : text + "  and " + std::to_string(unlisted_count) + " more\n";
}

std::string grid_text(const StoreInspection& found) {
  if (!found.grid.has_value()) return "";
  if (!found.grid->is_known()) return row("free set", "lost: see the damage");
  std::string text = counts_text(found.grid->counts) + picture_text(*found.grid);
  if (found.grid->census.has_value()) text += census_text(*found.grid->census);
  return text;
}

std::string head_text(const std::string& path, const StoreInspection& found) {
  return row("file", path) + row(found.is_device ? "device has" : "file has", bytes_text(found.file_size)) +
         row("content", name_of(found.content));
}

}  // namespace

std::string format_text(const Formatted& formatted) {
  std::string text = row("file", formatted.path) + row("cluster", text_of(formatted.format.cluster));
  text += configuration_text(formatted.format.configuration);
  const std::string former = text_of(formatted.former);
  if (!former.empty()) text += row("overwritten", former);
  return text;
}

std::string inspect_text(const std::string& path, const StoreInspection& found) {
  std::string text = head_text(path, found);
  if (!found.copies.empty()) {
    text += "slots\n";
    for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) text += slot_text(found, slot);
  }
  const std::string versions = versions_text(found);
  if (!versions.empty()) text += "versions\n" + versions;
  if (found.content == StoreContent::store) text += row(found.has_version() ? "wins" : "error", explain_choice(found));
  if (found.winner() != nullptr) {
    text += row("cluster", text_of(found.winner()->cluster)) + configuration_text(found.winner()->configuration) +
            state_text(found.winner()->state) + grid_text(found);
  }
  if (found.has_version() && found.content == StoreContent::store) text += row("open repairs", repairs_text(found));
  if (!found.findings.empty()) text += "damage\n" + findings_text(found);
  return text + notes_text(found);
}

std::string verify_text(const std::string& path, const StoreInspection& found) {
  std::string text = head_text(path, found);
  std::string checked;
  for (const char* const name : checked_in(found)) checked += (checked.empty() ? "" : ", ") + std::string(name);
  text += row(found.findings.empty() ? "whole" : "checked", checked);
  if (!found.findings.empty()) text += "damage\n" + findings_text(found);
  return text + notes_text(found);
}

}  // namespace spindle::store
