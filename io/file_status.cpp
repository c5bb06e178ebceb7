#include "io/file_status.h"

#include <sys/sysmacros.h>

namespace spindle {

FileKind kind_of_mode(uint32_t mode) noexcept {
  switch (mode & S_IFMT) {
    case S_IFREG: return FileKind::regular;
    case S_IFDIR: return FileKind::directory;
    case S_IFBLK: return FileKind::block_device;
    case S_IFLNK: return FileKind::symbolic_link;
    default: return FileKind::other;
  }
}

FileStatus status_of(const struct statx& answer) noexcept {
  FileStatus status;
  status.size = answer.stx_size;
  status.allocated_size = answer.stx_blocks * 512;  // blocks of 512 bytes, whatever the file system's are (statx(2))
  status.kind = kind_of_mode(answer.stx_mode);
  status.mode = answer.stx_mode & 07777u;
  status.links = answer.stx_nlink;
  status.number = answer.stx_ino;
  status.device = makedev(answer.stx_dev_major, answer.stx_dev_minor);
  return status;
}

}  // namespace spindle
