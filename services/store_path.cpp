#include "services/store_path.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace spindle::store {

namespace {

std::string text_of_errno(int number) {
  return std::string(std::strerror(number)) + " (errno " + std::to_string(number) + ")";
}

std::string refusal_of_kind(mode_t mode) {
  if (S_ISREG(mode) || S_ISBLK(mode)) return {};
  const char* const kind = S_ISDIR(mode)    ? "a directory"
                           : S_ISFIFO(mode) ? "a FIFO"
                           : S_ISSOCK(mode) ? "a socket"
                                            : "a character device";
  return std::string("it is ") + kind + "; give a file or a block device";
}

}  // namespace

std::string refusal_of(const std::string& path, bool makes) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) return refusal_of_kind(status.st_mode);
  const int number = errno;
  struct stat link{};
  const bool is_dangling = number == ENOENT && ::lstat(path.c_str(), &link) == 0 && S_ISLNK(link.st_mode);
  if (is_dangling) {
    return "it is a symbolic link that leads nowhere: " + text_of_errno(number) + "; give the path itself";
  }
  if (number == ENOENT && makes) return {};
  return text_of_errno(number) + "; check the path, and who may search its folders";
}

bool is_copy_on_write(const std::string& path) {
  struct statfs status{};
  if (::statfs(path.c_str(), &status) != 0 || status.f_type != BTRFS_SUPER_MAGIC) return false;
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return false;
  int flags = 0;
  struct stat file{};
  const bool is_known =
      ::fstat(descriptor, &file) == 0 && S_ISREG(file.st_mode) && ::ioctl(descriptor, FS_IOC_GETFLAGS, &flags) == 0;
  ::close(descriptor);
  return is_known && (flags & FS_NOCOW_FL) == 0;
}

DeviceClaim::DeviceClaim(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 || !S_ISBLK(status.st_mode)) return;
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_EXCL);
  if (descriptor_ < 0) errno_number_ = errno;
}

DeviceClaim::~DeviceClaim() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace spindle::store
