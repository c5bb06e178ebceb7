#include "lsm/grid_fault.h"

namespace spindle {

Error error_of(BlockFault fault) noexcept {
  switch (fault) {
    case BlockFault::none: break;
    case BlockFault::unreadable: return {ErrorCode::lost_sectors, 0, "block: unreadable", 0};
    case BlockFault::header_checksum: return {ErrorCode::corrupt, 0, "block: checksum of the header", 0};
    case BlockFault::protocol: return {ErrorCode::corrupt, 0, "block: of another protocol", 0};
    case BlockFault::command: return {ErrorCode::corrupt, 0, "block: a message that is no block", 0};
    case BlockFault::size: return {ErrorCode::corrupt, 0, "block: size", 0};
    case BlockFault::type: return {ErrorCode::corrupt, 0, "block: of no type", 0};
    case BlockFault::reserved: return {ErrorCode::corrupt, 0, "block: reserved bytes", 0};
    case BlockFault::cluster: return {ErrorCode::corrupt, 0, "block: of another cluster", 0};
    case BlockFault::address: return {ErrorCode::corrupt, 0, "block: belongs elsewhere", 0};
    case BlockFault::version: return {ErrorCode::corrupt, 0, "block: another version", 0};
    case BlockFault::type_expected: return {ErrorCode::corrupt, 0, "block: of another type", 0};
    case BlockFault::body_checksum: return {ErrorCode::corrupt, 0, "block: checksum of the body", 0};
    case BlockFault::padding: return {ErrorCode::corrupt, 0, "block: padding", 0};
  }
  return {ErrorCode::corrupt, 0, "block", 0};
}

std::string describe(const BlockReport& report) {
  std::string text = "block " + std::to_string(report.reference.address) + ": " + name_of(report.fault);
  if (report.reference.address_second != 0 && report.fault != BlockFault::none) {
    text += "; its copy " + std::to_string(report.reference.address_second) + ": " + name_of(report.fault_second);
  }
  if (report.is_healed) text += "; healed";
  return text;
}

std::string describe(const GridFault& fault) {
  if (fault.block.fault != BlockFault::none) return describe(fault.block);
  if (fault.trailer != TrailerFault::none) {
    std::string text = std::string("trailer: ") + name_of(fault.trailer);
    const uint64_t address = fault.block.reference.address;
    if (address != 0) text += " of block " + std::to_string(address);
    return text;
  }
  if (fault.free_set.fault == FreeSetFault::none) return "none";
  std::string text = std::string("free set: ") + name_of(fault.free_set.fault);
  if (fault.free_set.encoding != EwahFault::none) text += std::string(" (") + name_of(fault.free_set.encoding) + ")";
  return text;
}

}  // namespace spindle
