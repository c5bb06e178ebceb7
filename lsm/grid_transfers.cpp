#include "lsm/grid_transfers.h"

namespace spindle {

GridTransfers::GridTransfers(uint32_t reads_max)
    : reads_(std::make_unique<GridRead[]>(reads_max)), addresses_(reads_max, 0) {}

GridTransfers::~GridTransfers() {
  if (!host_is_dying()) return;
  // Frames that are destroyed later find themselves in no list.
  reading_.clear();
  writing_.clear();
}

GridRead* GridTransfers::find_read(uint64_t address) noexcept {
  for (size_t index = 0; index < addresses_.size(); ++index) {
    if (addresses_[index] == address) return &reads_[index];
  }
  return nullptr;
}

GridWrite* GridTransfers::find_write(const BlockReference& reference) noexcept {
  for (GridTransfer* write = writing_.first(); write != nullptr; write = writing_.next(*write)) {
    if (write->touches(reference)) return static_cast<GridWrite*>(write);
  }
  return nullptr;
}

GridTransfer* GridTransfers::find_reader(const BlockReference& reference) noexcept {
  for (GridTransfer* reader = reading_.first(); reader != nullptr; reader = reading_.next(*reader)) {
    if (reader->touches(reference)) return reader;
  }
  return nullptr;
}

bool GridTransfers::has_joined_reader(const BlockReference& reference) noexcept {
  for (size_t index = 0; index < addresses_.size(); ++index) {
    const GridRead& read = reads_[index];
    if (addresses_[index] != 0 && read.touches(reference) && read.has_joined()) return true;
  }
  return false;
}

GridRead& GridTransfers::begin_read(const BlockReference& reference, BlockType type, IoClass io_class) noexcept {
  GridRead* const read = find_read(0);
  SPINDLE_ASSERT(read != nullptr, "more reads of a grid than permits");
  read->reference_ = reference;
  read->type_ = type;
  read->io_class_ = io_class;
  addresses_[static_cast<size_t>(read - reads_.get())] = reference.address;
  reading_.push_back(*read);
  return *read;
}

void GridTransfers::end_read(GridRead& read, const Result<BlockRef>& block, const BlockReport& report) noexcept {
  addresses_[static_cast<size_t>(&read - reads_.get())] = 0;
  while (Waiter* const first = read.joined_.first()) {
    GridRead::Join& join = static_cast<GridRead::Join&>(*first);
    if (join.report_ != nullptr) *join.report_ = report;
    if (block.has_value()) {
      join.block_ = block->ref();
      join.grant();
    } else {
      join.grant_error(block.error());
    }
  }
  read.end();
}

}  // namespace spindle
