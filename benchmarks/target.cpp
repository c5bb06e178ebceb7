#include "benchmarks/target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

#ifndef STATX_DIOALIGN
constexpr uint32_t STATX_DIOALIGN = 0x2000u;
#endif

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

// "none [mq-deadline] kyber" -> "mq-deadline"
std::string selected(const std::string& choices) {
  const size_t begin = choices.find('[');
  const size_t end = choices.find(']');
  if (begin == std::string::npos || end == std::string::npos) return choices;
  return choices.substr(begin + 1, end - begin - 1);
}

std::string describe_device(unsigned device_major, unsigned device_minor) {
  std::string folder = "/sys/dev/block/" + std::to_string(device_major) + ":" + std::to_string(device_minor);
  char link[512];
  const ssize_t count = readlink(folder.c_str(), link, sizeof(link) - 1);
  if (count <= 0) return {};
  const std::string path(link, static_cast<size_t>(count));
  std::string text = path.substr(path.rfind('/') + 1);
  const std::string sectors = first_line(folder + "/size");
  if (!sectors.empty()) text += ", " + text_of_bytes(strtoull(sectors.c_str(), nullptr, 10) * 512);
  if (access((folder + "/queue").c_str(), F_OK) != 0) folder += "/..";  // a partition: its disk has the queue
  const std::string model = first_line(folder + "/device/model");
  const std::string scheduler = selected(first_line(folder + "/queue/scheduler"));
  if (!model.empty()) text += ", " + model;
  if (!scheduler.empty()) text += ", scheduler " + scheduler;
  return text;
}

std::string file_system_name(const std::string& path) {
  struct statfs info{};
  if (statfs(path.c_str(), &info) != 0) return {};
  struct Known {
    unsigned long magic;
    const char* name;
  };
  static constexpr Known known[] = {{0xEF53, "ext4"},        {0x58465342, "xfs"},       {0x9123683E, "btrfs"},
                                    {0x01021994, "tmpfs"},   {0x794c7630, "overlayfs"}, {0xF2F52010, "f2fs"},
                                    {0x2fc12fc1, "zfs"},     {0x65735546, "fuse"},      {0x6969, "nfs"},
                                    {0xca451a4e, "bcachefs"}};
  for (const Known& entry : known) {
    if (static_cast<unsigned long>(info.f_type) == entry.magic) return entry.name;
  }
  char text[32];
  snprintf(text, sizeof(text), "type 0x%lx", static_cast<unsigned long>(info.f_type));
  return text;
}

void describe_block_device(const std::string& path, Target& target) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd() < 0) return;  // open_target will say why
  uint64_t size = 0;
  int sector_size = 0;
  if (ioctl(file.fd(), BLKGETSIZE64, &size) == 0) target.size_bytes = size;
  if (target.alignment_known || ioctl(file.fd(), BLKSSZGET, &sector_size) != 0) return;
  target.alignment_known = true;
  target.memory_alignment = static_cast<uint32_t>(sector_size);
  target.offset_alignment = static_cast<uint32_t>(sector_size);
}

Target::Kind kind_of(unsigned mode) noexcept {
  if (S_ISREG(mode)) return Target::Kind::file;
  if (S_ISBLK(mode)) return Target::Kind::block_device;
  if (S_ISCHR(mode)) return Target::Kind::character_device;
  return Target::Kind::other;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.release();
  }
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

int Descriptor::release() noexcept { return std::exchange(fd_, -1); }

Checked<Target> describe_target(const std::string& path) {
  Target target;
  struct statx info{};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_BASIC_STATS | STATX_DIOALIGN, &info) != 0) {
    if (errno == ENOENT) return {target, {}};
    return {target, failure_errno(errno, "cannot look at", path, "check the path and its permissions")};
  }
  target.kind = kind_of(info.stx_mode);
  target.size_bytes = target.kind == Target::Kind::file ? info.stx_size : 0;
  // A kernel before 6.1 leaves the bit unset, and so does tmpfs, which has no direct I/O; only the bit is to
  // be trusted. Where it is unset for a file, O_DIRECT on open and the first operation give the answer.
  if ((info.stx_mask & STATX_DIOALIGN) != 0) {
    target.alignment_known = true;
    target.memory_alignment = info.stx_dio_mem_align;
    target.offset_alignment = info.stx_dio_offset_align;
  }
  if (target.kind == Target::Kind::file) target.file_system = file_system_name(path);
  const bool is_device = target.kind == Target::Kind::block_device;
  if (is_device) describe_block_device(path, target);
  target.device = is_device ? describe_device(info.stx_rdev_major, info.stx_rdev_minor)
                            : describe_device(info.stx_dev_major, info.stx_dev_minor);
  if (!target.device.empty()) target.disk = target.device.substr(0, target.device.find(','));
  if (target.file_system == "tmpfs") target.alignment_known = true;  // its O_DIRECT is accepted, and ignored
  return {target, {}};
}

Checked<Descriptor> open_target(const Job& job) {
  const int mode = has_writes(job.rw) ? O_RDWR : O_RDONLY;
  const int fd = open(job.filename.c_str(), mode | (job.direct ? O_DIRECT : 0) | O_CLOEXEC);
  if (fd >= 0) return {Descriptor(fd), {}};
  const int number = errno;
  std::string_view remedy;
  if (number == EINVAL && job.direct) remedy = "no direct I/O here: choose a file on a disk, or --direct 0";
  if (number == EACCES || number == EPERM) remedy = "run as a user who may open it";
  return {Descriptor(), failure_errno(number, "cannot open", job.filename, remedy)};
}

Failure refuse_direct(const std::string& path, const Target& target) {
  return {path + ": " + target.file_system + " has no direct I/O; choose a file on a disk, or --direct 0"};
}

Failure check_alignment(const Job& job, const Target& target) {
  if (!job.direct || job.nop) return {};
  if (target.direct_refused()) return refuse_direct(job.filename, target);
  const uint32_t wanted = target.offset_alignment;
  if (wanted == 0 || job.block_size % wanted == 0) return {};
  return {"--bs " + std::to_string(job.block_size) + ": direct I/O on " + job.filename + " needs a multiple of " +
          std::to_string(wanted)};
}

}  // namespace spindle::bench
