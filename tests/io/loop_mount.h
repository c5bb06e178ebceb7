// File systems of a test's own: an image file, a loop device over it, a mount. Root only.
//
// Nothing is left behind, whatever becomes of the test: the first use moves the process into a mount namespace of its
// own, so that the kernel unmounts when the process is gone, killed or not; and the loop device is AUTOCLEAR, so
// that it goes with its last user. The destructors only do it earlier.
//
//     LoopMount disk({.type = "xfs", .sector_size = 4096, .size = 320 << 20});
//     if (!disk.is_mounted()) return skip(disk.obstacle());
//     … disk.file("data") …
#pragma once

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "tests/io/uring_fixture.h"

namespace spindle {

/// Mounts of this process are its own from here on. False where that may not be had (not root).
inline bool has_private_mounts() {
  static const bool is_private =
      ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return is_private;
}

/// Runs a program of the search path with its output thrown away. Its exit status; 127 where there is none.
inline int run_tool(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (const int number : {STDOUT_FILENO, STDERR_FILENO}) {
    ::posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_WRONLY, 0);
  }
  pid_t child = -1;
  const int failure = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return 127;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/// Unmounts. The kernel may hold a file for a moment after its close: waits for that, but not for ever; what is still
/// used then is detached, and false returned.
inline bool unmount(const std::string& at) {
  for (int attempt = 0; attempt < 200; ++attempt) {
    if (::umount2(at.c_str(), 0) == 0) return true;
    if (errno != EBUSY) break;
    ::usleep(10'000);
  }
  ::umount2(at.c_str(), MNT_DETACH);
  return false;
}

/// A block device over a new sparse file, for as long as this object.
class LoopImage {
 public:
  /// The file is made in `folder`, without a name.
  LoopImage(const std::string& folder, uint64_t size, uint32_t sector_size) {
    std::string image = folder + "/image-XXXXXX";
    backing_ = ::mkostemp(image.data(), O_CLOEXEC);
    if (backing_ < 0 || ::unlink(image.c_str()) < 0) return;
    if (::ftruncate(backing_, static_cast<off_t>(size)) < 0) return;
    // Whoever else takes the free device in between wins: the next one, then.
    for (int attempt = 0; attempt < attempts_max && !is_set_up_; ++attempt) set_up(sector_size);
  }
  LoopImage(const LoopImage&) = delete;
  LoopImage& operator=(const LoopImage&) = delete;
  ~LoopImage() {
    if (is_set_up_) ::ioctl(device_, LOOP_CLR_FD, 0);
    if (device_ >= 0) ::close(device_);
    if (backing_ >= 0) ::close(backing_);
  }
  bool is_set_up() const noexcept { return is_set_up_; }
  const std::string& device() const noexcept { return path_; }

 private:
  static constexpr int attempts_max = 64;

  void set_up(uint32_t sector_size) {
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return;
    const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
    ::close(control);
    if (number < 0) return;
    path_ = "/dev/loop" + std::to_string(number);
    device_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    loop_config config{};
    config.fd = static_cast<uint32_t>(backing_);
    config.block_size = sector_size;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    is_set_up_ = device_ >= 0 && ::ioctl(device_, LOOP_CONFIGURE, &config) == 0;
    if (is_set_up_ || device_ < 0) return;
    ::close(device_);
    device_ = -1;
  }

  std::string path_;
  int backing_ = -1;
  int device_ = -1;
  bool is_set_up_ = false;
};

struct LoopFormat {
  std::string type;            ///< ext4, xfs, btrfs
  uint32_t sector_size = 512;  ///< of the device
  uint64_t size = 320u << 20;  ///< of the device; sparse. mkfs.xfs takes nothing below 300 MiB
};

/// A new file system on a loop device, mounted for as long as this object.
class LoopMount {
 public:
  explicit LoopMount(const LoopFormat& format)
      : at_(folder_.file("mount")), image_(folder_.path(), format.size, format.sector_size) {
    REQUIRE(::mkdir(at_.c_str(), 0700) == 0);
    obstacle_ = mount_as(format.type);
  }
  LoopMount(const LoopMount&) = delete;
  LoopMount& operator=(const LoopMount&) = delete;
  ~LoopMount() {
    if (is_mounted()) CHECK_MESSAGE(unmount(at_), "something still uses the file system on ", image_.device());
  }
  bool is_mounted() const noexcept { return obstacle_.empty(); }
  /// Why it is not mounted.
  const char* obstacle() const noexcept { return obstacle_.c_str(); }
  std::string file(const char* name) const { return at_ + "/" + name; }
  const std::string& path() const noexcept { return at_; }

 private:
  std::string mount_as(const std::string& type) {
    if (!has_private_mounts()) return "needs root, to mount";
    if (!image_.is_set_up()) return "no loop device to be had";
    std::vector<std::string> tool{"mkfs." + type, type == "ext4" ? "-F" : "-f"};
    if (type == "ext4") tool.insert(tool.end(), {"-q", "-m", "0", "-b", "4096"});
    tool.push_back(image_.device());
    const int status = run_tool(tool);
    if (status == 127) return "mkfs." + type + " is not installed (packages.txt)";
    if (status != 0) return "mkfs." + type + " failed with exit status " + std::to_string(status);
    if (::mount(image_.device().c_str(), at_.c_str(), type.c_str(), 0, "") == 0) return "";
    return "mounting " + type + ": " + std::strerror(errno);
  }

  TemporaryFolder folder_;  // the last to go
  std::string at_;
  LoopImage image_;
  std::string obstacle_;
};

}  // namespace spindle
