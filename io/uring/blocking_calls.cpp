#include "io/uring/blocking_calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "io/descriptor.h"
#include "io/directory.h"

namespace spindle {

namespace {

int32_t answer_of(int result) noexcept { return result < 0 ? -errno : 0; }

int32_t set_direct(int fd, bool direct) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  return answer_of(::fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT));
}

/// Some file systems leave the kind to stat(2) (readdir(3), DT_UNKNOWN).
FileKind kind_of(DIR* directory, const dirent& entry) noexcept {
  struct stat status{};
  switch (entry.d_type) {
    case DT_REG: return FileKind::regular;
    case DT_DIR: return FileKind::directory;
    case DT_BLK: return FileKind::block_device;
    case DT_LNK: return FileKind::symbolic_link;
    case DT_UNKNOWN:
      if (::fstatat(::dirfd(directory), entry.d_name, &status, AT_SYMLINK_NOFOLLOW) < 0) return FileKind::other;
      return kind_of_mode(status.st_mode);
    default: return FileKind::other;
  }
}

int32_t read_entries(DIR* directory, std::vector<DirectoryEntry>& entries) {
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr) return -errno;
    const bool is_itself = std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0;
    if (!is_itself) entries.push_back({entry->d_name, kind_of(directory, *entry)});
  }
}

// Sorted, so that what happens does not depend on the file system's hash.
int32_t list(const char* path, std::vector<DirectoryEntry>& entries) noexcept {
  DIR* directory = ::opendir(path);
  if (directory == nullptr) return -errno;
  int32_t result = -ENOMEM;
  entries.clear();
  try {
    result = read_entries(directory, entries);
    std::sort(entries.begin(), entries.end(),
              [](const auto& left, const auto& right) { return left.name < right.name; });
  } catch (const std::bad_alloc&) {
  }
  ::closedir(directory);
  return result;
}

class SystemCalls final : public BlockingCalls {};
SystemCalls the_system_calls;

}  // namespace

int32_t BlockingCalls::call(Operation& operation) noexcept {
  const int fd = operation.descriptor() == nullptr ? -1 : operation.descriptor()->fd;
  const char* path = operation.path();
  switch (operation.opcode()) {
    case Opcode::truncate: return answer_of(::ftruncate(fd, static_cast<off_t>(operation.size())));
    case Opcode::punch_hole:
      return answer_of(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   static_cast<off_t>(operation.offset()), static_cast<off_t>(operation.size())));
    case Opcode::stat_path: return answer_of(::statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, operation.status()));
    case Opcode::rename: return answer_of(::rename(path, operation.target_path()));
    case Opcode::unlink: return answer_of(::unlink(path));
    case Opcode::remove_directory: return answer_of(::rmdir(path));
    case Opcode::make_directory: return answer_of(::mkdir(path, operation.open_mode()));
    case Opcode::list_directory: return list(path, *operation.entries());
    case Opcode::lock: return answer_of(::flock(fd, operation.open_flags()));
    case Opcode::set_direct: return set_direct(fd, operation.open_flags() != 0);
    case Opcode::device_size: return answer_of(::ioctl(fd, BLKGETSIZE64, operation.number()));
    case Opcode::nop:
    case Opcode::read:
    case Opcode::write:
    case Opcode::readv:
    case Opcode::writev:
    case Opcode::sync:
    case Opcode::sync_data:
    case Opcode::allocate:
    case Opcode::open:
    case Opcode::stat:
    case Opcode::close: break;
  }
  return -ENOSYS;
}

BlockingCalls& system_calls() noexcept { return the_system_calls; }

}  // namespace spindle
