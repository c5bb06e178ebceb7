#include "benchmarks/output.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

namespace spindle::bench {

Output::~Output() {
  if (remove_) unlink(path_.c_str());
}

Failure Output::open(const std::string& path, const std::string& option) {
  path_ = path;
  if (path.empty()) return {};
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  remove_ = fd >= 0;
  if (fd < 0 && errno == EEXIST) fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return failure_errno(errno, "cannot write", path, "name another " + option);
  file_ = Descriptor(fd);
  struct stat info{};
  if (fstat(fd, &info) == 0 && S_ISBLK(info.st_mode)) return {path + " is a block device; name another " + option};
  return {};
}

Failure Output::write(const std::string& text) {
  const int fd = path_.empty() ? STDOUT_FILENO : file_.fd();
  const std::string name = path_.empty() ? "standard output" : path_;
  // EINVAL: a pipe or a device, which has nothing to cut off.
  if (!path_.empty() && ftruncate(fd, 0) != 0 && errno != EINVAL) return failure_errno(errno, "cannot write", name);
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t count = ::write(fd, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failure_errno(errno, "cannot write", name);
    rest.remove_prefix(static_cast<size_t>(count));
  }
  remove_ = false;
  return {};
}

}  // namespace spindle::bench
