#include <nlohmann/json.hpp>

#include "lsm/format_mark.h"
#include "lsm/store_layout.h"
#include "services/store_report.h"
#include "services/store_words.h"

namespace spindle::store {

namespace {

using json = nlohmann::ordered_json;

json object_of(const StoreConfiguration& configuration) {
  return {{"sector_size", configuration.sector_size},
          {"block_size", configuration.block_size},
          {"copies", configuration.copies_count},
          {"journal_size", configuration.journal_size},
          {"blocks_max", configuration.blocks_max}};
}

json zones_of(const StoreConfiguration& configuration) {
  const StoreLayout layout = layout_of(configuration);
  json zones = json::array({{{"zone", "superblock"}, {"offset", 0}, {"size", superblock_zone_size}}});
  if (layout.journal.has_value()) {
    zones.push_back({{"zone", "journal"}, {"offset", superblock_zone_size}, {"size", layout.journal->size}});
  }
  zones.push_back({{"zone", "grid"}, {"offset", layout.grid_begin}, {"size", layout.grid.size}});
  return zones;
}

json object_of(const BlockReference& block) {
  if (block.address == 0) return nullptr;
  json second = nullptr;
  if (block.address_second != 0) second = block.address_second;
  return {{"address", block.address}, {"address_second", second}, {"checksum", text_of(block.checksum)}};
}

json object_of(const TrailerReference& trailer) {
  if (trailer.last.address == 0) return nullptr;
  return {{"last", object_of(trailer.last)}, {"size", trailer.size}, {"checksum", text_of(trailer.checksum)}};
}

json object_of(const CheckpointState& state) {
  return {{"op", state.op},
          {"storage_size", state.storage_size},
          {"manifest_oldest", object_of(state.manifest_oldest)},
          {"manifest_newest", object_of(state.manifest_newest)},
          {"manifest_blocks", state.manifest_blocks_count},
          {"blocks_acquired", object_of(state.blocks_acquired)},
          {"blocks_released", object_of(state.blocks_released)}};
}

json slots_of(const StoreInspection& found) {
  json slots = json::array();
  if (found.copies.empty()) return slots;
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    json one = {{"slot", slot},
                {"offset", uint64_t{slot} * superblock_slot_stride},
                {"fault", name_of(found.slots[slot].fault)},
                {"verdict", name_of(found.choice.verdicts[slot])}};
    const Superblock* const superblock = found.slots[slot].superblock;
    if (superblock != nullptr) {
      one["copy"] = superblock->copy;
      one["sequence"] = superblock->sequence;
      one["checksum"] = text_of(superblock->checksum);
      one["parent"] = text_of(superblock->parent);
      one["cluster"] = text_of(superblock->cluster);
    }
    slots.push_back(std::move(one));
  }
  return slots;
}

json versions_in(const StoreInspection& found) {
  json versions = json::array();
  for (const Superblock* const version : versions_of(found)) {
    const uint32_t copies_count = version->configuration.copies_count;
    const bool is_winner = found.winner() != nullptr && found.winner()->checksum == version->checksum;
    versions.push_back({{"sequence", version->sequence},
                        {"checksum", text_of(version->checksum)},
                        {"cluster", text_of(version->cluster)},
                        {"copies", copies_count},
                        {"votes", count_votes(found.slots, *version)},
                        {"read_quorum", read_quorum_of(copies_count)},
                        {"write_quorum", write_quorum_of(copies_count)},
                        {"wins", is_winner}});
  }
  return versions;
}

json repairs_of(const StoreInspection& found) {
  json repairs = json::array();
  for (const SuperblockRepair& repair : found.choice.all_repairs()) {
    repairs.push_back({{"slot", repair.slot}, {"action", repair.wipes ? "wipe" : "write"}});
  }
  return repairs;
}

json findings_of(const StoreInspection& found) {
  json findings = json::array();
  for (const StoreFinding& finding : found.findings) {
    json one = {{"fault", name_of(finding.fault)},
                {"zone", finding.zone},
                {"slot", nullptr},
                {"address", nullptr},
                {"offset", finding.offset},
                {"size", finding.size},
                {"healed_by_open", finding.is_healed_by_open},
                {"meaning", meaning_of(finding, found)},
                {"remedy", remedy_of(finding, found)}};
    if (finding.slot.has_value()) one["slot"] = *finding.slot;
    if (finding.address.has_value()) one["address"] = *finding.address;
    findings.push_back(std::move(one));
  }
  return findings;
}

json object_of(const TrailerInspection& trailer) {
  json blocks = json::array();
  for (const TrailerBlock& block : trailer.blocks) {
    json one = {{"index", block.index},
                {"address", block.reference.address},
                {"fault", name_of(block.fault)},
                {"address_second", nullptr},
                {"fault_second", nullptr}};
    if (block.has_second()) one["address_second"] = block.reference.address_second;
    if (block.has_second()) one["fault_second"] = name_of(block.fault_second);
    blocks.push_back(std::move(one));
  }
  return {{"trailer", name_of(trailer.kind)},
          {"fault", name_of(trailer.fault)},
          {"read", trailer.is_read},
          {"blocks", std::move(blocks)}};
}

json object_of(const GridPicture& picture) {
  json acquired = json::array();
  json released = json::array();
  for (const GridCell& cell : picture.cells) {
    acquired.push_back(cell.acquired_count);
    released.push_back(cell.released_count);
  }
  return {
      {"cell_blocks", picture.cell_blocks_count}, {"acquired", std::move(acquired)}, {"released", std::move(released)}};
}

json object_of(const BlockCensus& census) {
  json types = json::object();
  for (uint16_t type = 1; type <= block_types_count; ++type) {
    types[name_of(static_cast<BlockType>(type))] = census.type_counts[type];
  }
  json faults = json::object();
  for (size_t fault = 1; fault < census.fault_counts.size(); ++fault) {
    if (census.fault_counts[fault] > 0) faults[name_of(static_cast<BlockFault>(fault))] = census.fault_counts[fault];
  }
  return {{"types", std::move(types)},
          {"misplaced", census.misplaced_count},
          {"not_whole", census.not_whole_count},
          {"faults", std::move(faults)}};
}

json grid_of(const StoreInspection& found) {
  if (!found.grid.has_value()) return nullptr;
  const GridInspection& grid = *found.grid;
  const GridCounts& counts = grid.counts;
  json object = {{"trailers", {object_of(grid.acquired), object_of(grid.released)}},
                 {"free_set_fault", nullptr},
                 {"counts", nullptr},
                 {"picture", nullptr},
                 {"census", nullptr}};
  if (grid.has_free_set) object["free_set_fault"] = name_of(grid.free_set.fault);
  if (!grid.is_known()) return object;
  object["counts"] = {{"blocks", counts.blocks_count},
                      {"free", counts.free_count},
                      {"acquired", counts.acquired_count},
                      {"released", counts.released_count},
                      {"trailer_blocks", counts.trailer_blocks_count},
                      {"highest_acquired", counts.highest_address_acquired}};
  object["picture"] = object_of(grid.picture);
  if (grid.census.has_value()) object["census"] = object_of(*grid.census);
  return object;
}

json notes_of(const StoreInspection& found) {
  json notes = json::array();
  if (!found.grid.has_value() || !found.grid->census.has_value()) return notes;
  const StoreConfiguration& configuration = found.winner()->configuration;
  for (const CensusBlock& block : found.grid->census->not_whole) {
    const uint64_t offset = layout_of(configuration).grid_begin + (block.address - 1) * configuration.block_size;
    notes.push_back({{"fault", name_of(block.fault)},
                     {"address", block.address},
                     {"offset", offset},
                     {"size", configuration.block_size},
                     {"meaning", meaning_of(block)}});
  }
  return notes;
}

json head_of(const char* command, const std::string& path, const StoreInspection& found) {
  return {{"command", command},
          {"file", path},
          {"file_size", found.file_size},
          {"block_device", found.is_device},
          {"content", name_of(found.content)}};
}

// A path may be no UTF-8.
std::string text_of(const json& object) { return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n"; }

}  // namespace

std::string format_json(const Formatted& formatted) {
  const StoreConfiguration& configuration = formatted.format.configuration;
  json object = {{"command", "format"},
                 {"file", formatted.path},
                 {"size", layout_of(configuration).size},
                 {"cluster", text_of(formatted.format.cluster)},
                 {"configuration", object_of(configuration)},
                 {"zones", zones_of(configuration)},
                 {"full_disk_promise", !formatted.is_copy_on_write},
                 {"overwritten", nullptr}};
  const StoreFormer& former = formatted.former;
  if (former.content == StoreContent::nothing) return text_of(object);
  json overwritten = {{"content", name_of(former.content)}, {"file_size", former.file_size}};
  if (former.cluster.has_value()) overwritten["cluster"] = text_of(*former.cluster);
  if (former.cluster.has_value()) overwritten["sequence"] = former.sequence;
  object["overwritten"] = std::move(overwritten);
  return text_of(object);
}

std::string inspect_json(const std::string& path, const StoreInspection& found) {
  json object = head_of("inspect", path, found);
  object["error"] = name_of(found.choice.error);
  object["explanation"] = found.content == StoreContent::store ? explain_choice(found) : "";
  object["slots"] = slots_of(found);
  object["versions"] = versions_in(found);
  object["repairs"] = repairs_of(found);
  object["configuration"] = nullptr;
  object["zones"] = nullptr;
  object["state"] = nullptr;
  if (found.winner() != nullptr) {
    object["configuration"] = object_of(found.winner()->configuration);
    object["zones"] = zones_of(found.winner()->configuration);
    object["state"] = object_of(found.winner()->state);
  }
  object["grid"] = grid_of(found);
  object["findings"] = findings_of(found);
  object["notes"] = notes_of(found);
  return text_of(object);
}

std::string verify_json(const std::string& path, const StoreInspection& found) {
  json object = head_of("verify", path, found);
  object["whole"] = found.findings.empty();
  object["checked"] = checked_in(found);
  object["grid"] = grid_of(found);
  object["findings"] = findings_of(found);
  object["notes"] = notes_of(found);
  return text_of(object);
}

}  // namespace spindle::store
