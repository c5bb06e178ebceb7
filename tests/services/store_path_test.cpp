// What a path leads to: on file systems of the test's own, as root.
#include "services/store_path.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include "tests/io/loop_mount.h"

namespace spindle {
namespace {

using store::DeviceClaim;
using store::is_copy_on_write;
using store::refusal_of;

/// An empty file; with the attribute NOCOW, if asked.
void make_file(const std::string& path, bool is_nocow) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(descriptor >= 0);
  int flags = 0;
  if (is_nocow) {
    REQUIRE(::ioctl(descriptor, FS_IOC_GETFLAGS, &flags) == 0);
    flags |= FS_NOCOW_FL;
    REQUIRE(::ioctl(descriptor, FS_IOC_SETFLAGS, &flags) == 0);
  }
  ::close(descriptor);
}

TEST_CASE("a file on Btrfs is copied on write, unless it has the attribute NOCOW; one on ext4 is not") {
  LoopMount btrfs({.type = "btrfs"});
  if (!btrfs.is_mounted()) return skip(btrfs.obstacle());
  make_file(btrfs.file("plain"), false);
  make_file(btrfs.file("nocow"), true);
  CHECK(is_copy_on_write(btrfs.file("plain")));
  CHECK_FALSE(is_copy_on_write(btrfs.file("nocow")));
  CHECK_FALSE(is_copy_on_write(btrfs.path()));
  LoopMount ext4({.type = "ext4"});
  if (!ext4.is_mounted()) return skip(ext4.obstacle());
  make_file(ext4.file("plain"), false);
  CHECK_FALSE(is_copy_on_write(ext4.file("plain")));
  CHECK_FALSE(is_copy_on_write(ext4.file("none")));
}

TEST_CASE("a path that leads nowhere is refused to who looks, and not to who makes") {
  const TemporaryFolder folder;
  CHECK(refusal_of(folder.file("none"), true).empty());
  CHECK_FALSE(refusal_of(folder.file("none"), false).empty());
  CHECK_FALSE(refusal_of(folder.path(), true).empty());
  make_file(folder.file("file"), false);
  CHECK(refusal_of(folder.file("file"), true).empty());
  CHECK(refusal_of(folder.file("file"), false).empty());
}

TEST_CASE("a device is claimed by one at a time, and a file is never") {
  const TemporaryFolder folder;
  make_file(folder.file("file"), false);
  CHECK(DeviceClaim(folder.file("file")).errno_number() == 0);
  CHECK(DeviceClaim(folder.file("none")).errno_number() == 0);
  if (::geteuid() != 0) return skip("needs root, for a block device");
  const LoopImage image(folder.path(), 1 << 20, 512);
  if (!image.is_set_up()) return skip("no loop device to be had");
  const DeviceClaim first(image.device());
  CHECK(first.errno_number() == 0);
  CHECK(DeviceClaim(image.device()).errno_number() == EBUSY);
}

}  // namespace
}  // namespace spindle
