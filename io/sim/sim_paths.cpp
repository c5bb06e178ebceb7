// The simulated backend's answers to what is asked of whole files and of names: open, status, locks, sizes,
// directories. As the kernel's, on the plain tree of SimFiles; there are no permissions, owners or links.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/directory.h"
#include "io/sim/sim_backend.h"

namespace spindle {

namespace {

// Far from the descriptors of the process: a call to the real kernel by mistake fails with EBADF.
constexpr int32_t descriptor_first = 1 << 20;
constexpr uint64_t block_size = 512;  // of stx_blocks

}  // namespace

SimBackend::OpenFile* SimBackend::open_file_of(Operation& operation) noexcept {
  const int32_t index = operation.descriptor()->fd - descriptor_first;
  if (index < 0 || static_cast<size_t>(index) >= open_files_.size()) return nullptr;
  OpenFile& open_file = open_files_[static_cast<size_t>(index)];
  return open_file.file == nullptr ? nullptr : &open_file;
}

SimBackend::OpenFile* SimBackend::writable_file_of(Operation& operation) noexcept {
  OpenFile* open_file = open_file_of(operation);
  if (open_file == nullptr || (open_file->flags & O_ACCMODE) == O_RDONLY) return nullptr;
  return open_file;
}

// Whatever has no data of its own: what changes or reads names, sizes and locks.
int32_t SimBackend::execute_rare(Operation& operation) noexcept {
  switch (operation.opcode()) {
    case Opcode::truncate: return truncate(operation);
    case Opcode::punch_hole: return punch_hole(operation);
    case Opcode::stat_path: return stat_path(operation);
    case Opcode::rename: return files_.rename(operation.path(), operation.target_path());
    case Opcode::unlink: return files_.unlink(operation.path());
    case Opcode::remove_directory: return files_.remove_directory(operation.path());
    case Opcode::make_directory: return files_.make_directory(operation.path());
    case Opcode::list_directory: return files_.list(operation.path(), *operation.entries());
    case Opcode::lock: return lock(operation);
    case Opcode::set_direct: return set_direct(operation);
    case Opcode::device_size: return device_size(operation);
    default: return -EINVAL;
  }
}

int32_t SimBackend::open(Operation& operation) noexcept {
  const int32_t flags = operation.open_flags();
  const bool may_make = (flags & O_CREAT) != 0;
  std::shared_ptr<SimFile> file = files_.find_shared(operation.path());
  if (file == nullptr) {
    const int32_t parent = files_.check_parent(operation.path());
    if (parent != 0) return parent;
    if (!may_make) return -ENOENT;
    files_.create(operation.path());
    file = files_.find_shared(operation.path());
  } else if (may_make && (flags & O_EXCL) != 0) {
    return -EEXIST;
  }
  // As the kernel: what it made before it refuses the flag stays.
  if ((flags & O_DIRECT) != 0 && !options_.offers_direct) return -EINVAL;
  const bool changes = (flags & O_ACCMODE) != O_RDONLY || may_make || (flags & O_TRUNC) != 0;
  if (file->is_directory() && changes) return -EISDIR;
  if ((flags & O_TRUNC) != 0 && !file->is_device()) cut(*file, 0);
  size_t index = 0;
  while (index < open_files_.size() && open_files_[index].file != nullptr) ++index;
  if (index == open_files_.size()) open_files_.emplace_back();
  ++file->open_count;
  open_files_[index] = {std::move(file), operation.path(), flags, LOCK_UN};
  ++open_count_;
  return descriptor_first + static_cast<int32_t>(index);
}

int32_t SimBackend::close(Operation& operation) noexcept {
  OpenFile* open_file = open_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  close_file(*open_file);
  return 0;
}

void SimBackend::close_file(OpenFile& open_file) noexcept {
  if (open_file.file == nullptr) return;
  if (--open_file.file->open_count == 0 && open_file.file->links == 0) open_file.file->give_space_back();
  open_file = {};
  --open_count_;
}

// What is cut off takes its damage with it.
void SimBackend::cut(SimFile& file, uint64_t size) noexcept {
  file.resize(size, files_.take_sequence());
  faults_.note_written({&file, {}, size, UINT64_MAX});
}

void SimBackend::fill_status(struct statx& status, const SimFile& file) const noexcept {
  std::memset(&status, 0, sizeof(status));
  status.stx_mask = STATX_BASIC_STATS;
  status.stx_mode = file.is_directory() ? S_IFDIR | 0755 : S_IFREG | 0644;
  if (file.is_device()) status.stx_mode = S_IFBLK | 0660;
  status.stx_nlink = file.links;
  status.stx_ino = file.number();
  status.stx_blksize = 4096;
  status.stx_size = file.is_device() ? 0 : file.size();
  status.stx_blocks = file.is_device() ? 0 : file.allocated_size() / block_size;
  if (!options_.offers_direct || !options_.tells_alignment || file.is_directory()) return;
  status.stx_mask |= STATX_DIOALIGN;
  status.stx_dio_mem_align = options_.memory_alignment;
  status.stx_dio_offset_align = options_.offset_alignment;
  if (options_.read_offset_alignment == 0) return;
  status.stx_mask |= mask_read_alignment;
  std::memcpy(reinterpret_cast<std::byte*>(&status) + place_read_alignment, &options_.read_offset_alignment,
              sizeof(options_.read_offset_alignment));
}

int32_t SimBackend::stat(Operation& operation) noexcept {
  OpenFile* open_file = open_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  fill_status(*operation.status(), *open_file->file);
  return 0;
}

int32_t SimBackend::stat_path(Operation& operation) noexcept {
  const SimFile* file = files_.find(operation.path());
  if (file != nullptr) {
    fill_status(*operation.status(), *file);
    return 0;
  }
  const int32_t parent = files_.check_parent(operation.path());
  return parent != 0 ? parent : -ENOENT;
}

int32_t SimBackend::allocate(Operation& operation) noexcept {
  OpenFile* open_file = writable_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  if (operation.size() == 0) return -EINVAL;
  if (operation.offset() > options_.file_size_max) return -EFBIG;
  if (operation.size() > options_.file_size_max - operation.offset()) return -EFBIG;
  SimFile& file = *open_file->file;
  if (file.is_device()) return -EOPNOTSUPP;
  return file.allocate(operation.offset(), operation.size(), files_.take_sequence()) ? 0 : -ENOSPC;
}

int32_t SimBackend::truncate(Operation& operation) noexcept {
  if (open_file_of(operation) == nullptr) return -EBADF;
  OpenFile* open_file = writable_file_of(operation);
  if (open_file == nullptr || open_file->file->is_device()) return -EINVAL;  // ftruncate(2): not open for writing
  if (operation.size() > options_.file_size_max) return -EFBIG;
  cut(*open_file->file, operation.size());
  return 0;
}

int32_t SimBackend::punch_hole(Operation& operation) noexcept {
  OpenFile* open_file = writable_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  if (operation.size() == 0) return -EINVAL;
  SimFile& file = *open_file->file;
  if (file.is_device()) return -EOPNOTSUPP;
  file.punch_hole(operation.offset(), operation.size(), files_.take_sequence());
  faults_.note_written({&file, open_file->path, operation.offset(), operation.size()});
  return 0;
}

int32_t SimBackend::device_size(Operation& operation) noexcept {
  const OpenFile* const open_file = open_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  if (!open_file->file->is_device()) return -ENOTTY;
  *operation.number() = open_file->file->size();
  return 0;
}

// Locks belong to open files, so they go with their close and with the process. That a killed process's lock holds on
// until its ring is gone is not modelled.
int32_t SimBackend::lock(Operation& operation) noexcept {
  OpenFile* open_file = open_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  const int32_t wanted = operation.open_flags() & ~LOCK_NB;
  for (const OpenFile& other : open_files_) {
    if (&other == open_file || other.file != open_file->file || other.lock == LOCK_UN) continue;
    if (wanted == LOCK_EX || (wanted == LOCK_SH && other.lock == LOCK_EX)) return -EWOULDBLOCK;
  }
  open_file->lock = wanted;
  return 0;
}

int32_t SimBackend::set_direct(Operation& operation) noexcept {
  OpenFile* open_file = open_file_of(operation);
  if (open_file == nullptr) return -EBADF;
  const bool direct = operation.open_flags() != 0;
  if (direct && !options_.offers_direct) return -EINVAL;
  open_file->flags = direct ? open_file->flags | O_DIRECT : open_file->flags & ~O_DIRECT;
  return 0;
}

}  // namespace spindle
