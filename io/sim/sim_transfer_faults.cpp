// The simulated backend's transfers that a fault hits: what the program is told, and what the disk holds then.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "io/sim/sim_backend.h"

namespace spindle {

namespace {

/// The first `size` bytes of a write, in one piece.
std::vector<std::byte> gather(const Operation& operation, uint64_t size) {
  std::vector<std::byte> content(size);
  for_each_part(operation, size, [&](const std::byte* memory, uint64_t part_size, uint64_t offset) {
    std::memcpy(content.data() + (offset - operation.offset()), memory, part_size);
  });
  return content;
}

}  // namespace

int32_t SimBackend::transfer_with(Fault fault, Operation& operation) noexcept {
  const FaultTarget target = target_of(operation);
  const OpenFile* const open_file = open_file_of(operation);
  const bool is_refused = open_file == nullptr || open_file->file->is_directory() ||
                          ((open_file->flags & O_DIRECT) != 0 && breaks_alignment(operation));
  if (is_refused || target.size == 0) return transfer(operation, UINT64_MAX);
  if (operation.reads_into_memory()) return read_with(fault, operation, target);
  if ((open_file->flags & O_ACCMODE) == O_RDONLY) return -EBADF;
  return write_with(fault, operation, target);
}

int32_t SimBackend::read_with(Fault fault, Operation& operation, const FaultTarget& target) noexcept {
  if (fault == Fault::transient_error) return -EIO;
  if (fault == Fault::short_read) {
    const uint64_t size = part_of(target.size);
    return transfer(operation, size > 0 ? size : UINT64_MAX);
  }
  if (is_damage(fault)) faults_.damage(fault, target);
  const int32_t result = transfer(operation, UINT64_MAX);
  if (fault != Fault::misdirected_read || result <= 0) return result;
  std::vector<std::byte> content = gather(operation, static_cast<uint64_t>(result));
  faults_.mix_up({target.file, target.path, target.offset, content.size()}, content);
  for_each_part(operation, content.size(), [&](std::byte* memory, uint64_t size, uint64_t offset) {
    std::memcpy(memory, content.data() + (offset - operation.offset()), size);
  });
  return result;
}

int32_t SimBackend::write_with(Fault fault, Operation& operation, const FaultTarget& target) noexcept {
  switch (fault) {
    case Fault::no_space: return -ENOSPC;
    case Fault::write_error:
    case Fault::failed_sync: write_some_sectors(operation); return -EIO;
    case Fault::short_write: {
      const uint64_t size = part_of(target.size);
      return transfer(operation, size > 0 ? size : UINT64_MAX);
    }
    default: break;
  }
  return write_misplaced(fault, operation, target);
}

// One sector of what is acknowledged is not there, or not for long; the rest is.
int32_t SimBackend::write_misplaced(Fault fault, Operation& operation, const FaultTarget& target) noexcept {
  const uint32_t sector_size = options_.sector_size;
  const uint64_t sector = faults_.sector();
  const uint64_t begin = std::max(sector, target.offset);
  const uint64_t end = std::min(sector + sector_size, target.offset + target.size);
  SimFile& file = *target.file;
  std::vector<std::byte> former(end - begin);  // zeroes past the end of the file
  file.read(begin, former);
  const std::vector<std::byte> content = gather(operation, target.size);
  std::vector<std::byte> remembered_before;
  if (fault == Fault::stale_sector) {
    remembered_before.resize(std::min<uint64_t>(sector_size, file.size() - sector));
    file.read(sector, remembered_before);
  }
  const int32_t result = transfer(operation, UINT64_MAX);
  const bool is_done = result > 0 && target.offset + static_cast<uint64_t>(result) >= end;
  if (!is_done) return result;
  if (fault == Fault::stale_sector) {
    faults_.remember(target, std::move(remembered_before));
    return result;
  }
  file.damage(begin, former);
  faults_.note_damage(fault, target, sector);
  const bool is_whole = end - begin == sector_size;
  const std::span<const std::byte> lost(content.data() + (begin - target.offset), end - begin);
  if (fault == Fault::misdirected_write && is_whole) faults_.write_elsewhere(target, lost);
  return result;
}

}  // namespace spindle
