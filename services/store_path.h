// What a path leads to, as far as spindle-store must know before it opens it, or say afterwards.
#pragma once

#include <cstdint>
#include <string>

namespace spindle::store {

/// Why nothing can be made or looked at there, in words; empty: it can be tried. `makes`: a path that leads nowhere is
/// all right.
std::string refusal_of(const std::string& path, bool makes);

/// The file system writes elsewhere than where the data are, and needs space for each write: Btrfs, unless the file has
/// the NOCOW attribute (ioctl_iflags(2)). False where that can't be told.
bool is_copy_on_write(const std::string& path);

/// Keeps a block device from being taken while it is mounted, or part of something (open(2), O_EXCL), and from being
/// mounted meanwhile.
class DeviceClaim {
 public:
  /// Nothing is claimed of what is no block device.
  explicit DeviceClaim(const std::string& path);
  DeviceClaim(const DeviceClaim&) = delete;
  DeviceClaim& operator=(const DeviceClaim&) = delete;
  ~DeviceClaim();

  /// 0, or why it could not be had: EBUSY while it is in use.
  int errno_number() const noexcept { return errno_number_; }

 private:
  int descriptor_ = -1;
  int errno_number_ = 0;
};

}  // namespace spindle::store
