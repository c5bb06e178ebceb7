// Opening files: direct I/O as required, preferred or not wanted, on file systems that have it and that
// don't; and what open(2) refuses.
#include <doctest/doctest.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "io/file.h"
#include "tests/death.h"
#include "tests/io/bad_disk.h"
#include "tests/io/loop_mount.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

constexpr const char* memory_folder = "/dev/shm";
constexpr long tmpfs_magic = 0x01021994;

bool has_memory_folder() {
  struct statfs status{};
  return ::statfs(memory_folder, &status) == 0 && status.f_type == tmpfs_magic && ::access(memory_folder, W_OK) == 0;
}

struct statx alignment_of(const std::string& path) {
  struct statx status{};
  REQUIRE(::statx(AT_FDCWD, path.c_str(), 0, STATX_BASIC_STATS | STATX_DIOALIGN, &status) == 0);
  return status;
}

bool offers_direct_io(const std::string& path) {
  const struct statx status = alignment_of(path);
  return (status.stx_mask & STATX_DIOALIGN) != 0 && status.stx_dio_offset_align != 0;
}

/// What is to be known of a file that was opened, or the error.
struct Opened {
  std::optional<Error> error;
  bool is_direct = false;
  uint32_t memory_alignment = 0;
  uint32_t offset_alignment = 0;
  uint64_t size = 0;
};

Task<Result<void>> open_one(const std::string& path, OpenOptions options, Opened& into) {
  auto opening = File::open(path, options);
  const Result<File> file = co_await std::move(opening);
  if (!file.has_value()) {
    into.error = file.error();
    co_return Result<void>();
  }
  into.is_direct = file->is_direct();
  into.memory_alignment = file->memory_alignment();
  into.offset_alignment = file->offset_alignment();
  into.size = file->size_at_open();
  CHECK(file->path() == path);
  CHECK(file->is_open());
  co_return Result<void>();
}

Opened open_file(const std::string& path, OpenOptions options, const UringOptions& of_ring = UringOptions()) {
  UringLoop ring(of_ring);
  Opened opened;
  ring.run_to_success(open_one, path, options, opened);
  return opened;
}

int errno_of_open(const std::string& path, OpenOptions options) {
  const Opened opened = open_file(path, options);
  REQUIRE(opened.error.has_value());
  CHECK(opened.error->code == ErrorCode::system);
  return opened.error->number;
}

TEST_CASE("direct I/O has the alignment that statx tells") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 10000);
  if (!offers_direct_io(path)) return skip("the current folder is on a file system without direct I/O");
  const struct statx status = alignment_of(path);
  for (const Direct direct : {Direct::require, Direct::prefer}) {
    const Opened opened = open_file(path, {.access = Access::read_write, .direct = direct});
    REQUIRE(!opened.error.has_value());
    CHECK(opened.is_direct);
    CHECK(opened.memory_alignment == status.stx_dio_mem_align);
    CHECK(opened.offset_alignment == status.stx_dio_offset_align);
    CHECK(opened.size == 10000);
  }
}

TEST_CASE("a file that is opened without direct I/O needs no alignment") {
  TemporaryFolder folder;
  const Opened opened = open_file(folder.filled("data", 1), {.direct = Direct::never});
  REQUIRE(!opened.error.has_value());
  CHECK_FALSE(opened.is_direct);
  CHECK(opened.memory_alignment == 1);
  CHECK(opened.offset_alignment == 1);
  CHECK(opened.size == 1);
}

TEST_CASE("on tmpfs direct I/O can't be had: an error when it is required, told when it is preferred") {
  if (!has_memory_folder()) return skip("/dev/shm is no tmpfs");
  TemporaryFolder folder(memory_folder);
  const std::string path = folder.filled("data", 100);
  const Opened required = open_file(path, {.access = Access::read_write, .direct = Direct::require});
  REQUIRE(required.error.has_value());
  CHECK(required.error->code == ErrorCode::no_direct_io);
  const Opened preferred = open_file(path, {.access = Access::read_write, .direct = Direct::prefer});
  REQUIRE(!preferred.error.has_value());
  CHECK_FALSE(preferred.is_direct);
  CHECK(preferred.memory_alignment == 1);
}

Task<Result<void>> use_preferred(const std::string& path, Memory& memory) {
  File file = co_await ok(File::open(path, {.access = Access::read_write, .direct = Direct::prefer, .create = true}));
  const std::span<std::byte> ragged = memory.part(1, 1000);
  co_await ok(file.write_all_at(3, ragged));
  co_await ok(file.read_exact_at(3, ragged));
  co_return Result<void>();
}

TEST_CASE("a file without the direct I/O that was preferred takes ragged transfers") {
  if (!has_memory_folder()) return skip("/dev/shm is no tmpfs");
  TemporaryFolder folder(memory_folder);
  UringLoop ring;
  Memory memory(4096, 1);
  ring.run_to_success(use_preferred, folder.file("data"), memory);
}

/// A file system that is there as long as this object.
class Mounted {
 public:
  Mounted(const std::string& type, const std::string& options) : at_(folder_.file("mount")) {
    REQUIRE(::mkdir(at_.c_str(), 0700) == 0);
    is_mounted_ = ::mount("none", at_.c_str(), type.c_str(), 0, options.c_str()) == 0;
  }
  ~Mounted() {
    if (is_mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  bool is_mounted() const noexcept { return is_mounted_; }
  std::string file(const char* name) const { return at_ + "/" + name; }

 private:
  TemporaryFolder folder_;
  std::string at_;
  bool is_mounted_ = false;
};

// ramfs refuses O_DIRECT in open(2) itself, with EINVAL.
TEST_CASE("on a file system that refuses to open for direct I/O, preferring it falls back") {
  const Mounted ramfs("ramfs", "");
  if (!ramfs.is_mounted()) return skip("needs root");
  const OpenOptions create{.access = Access::read_write, .direct = Direct::require, .create = true};
  const Opened required = open_file(ramfs.file("required"), create);
  REQUIRE(required.error.has_value());
  CHECK(required.error->code == ErrorCode::no_direct_io);
  OpenOptions prefer = create;
  prefer.direct = Direct::prefer;
  const Opened preferred = open_file(ramfs.file("preferred"), prefer);
  REQUIRE(!preferred.error.has_value());
  CHECK_FALSE(preferred.is_direct);
}

TEST_CASE("the fallback from direct I/O works for a file that must be new, too") {
  const Mounted ramfs("ramfs", "");
  if (!ramfs.is_mounted()) return skip("needs root");
  const Opened opened = open_file(
      ramfs.file("new"), {.access = Access::read_write, .direct = Direct::prefer, .create = true, .exclusive = true});
  CHECK_MESSAGE(!opened.error.has_value(), (opened.error.has_value() ? describe(*opened.error) : ""));
}

TEST_CASE("the fallback from direct I/O still refuses a file that is there and should be new") {
  const Mounted ramfs("ramfs", "");
  if (!ramfs.is_mounted()) return skip("needs root");
  const OpenOptions create{.access = Access::read_write, .direct = Direct::never, .create = true};
  REQUIRE(!open_file(ramfs.file("there"), create).error.has_value());
  const int number = errno_of_open(
      ramfs.file("there"), {.access = Access::read_write, .direct = Direct::prefer, .create = true, .exclusive = true});
  CHECK(number == EEXIST);
}

TEST_CASE("the fallback from direct I/O empties a file when asked to") {
  const Mounted ramfs("ramfs", "");
  if (!ramfs.is_mounted()) return skip("needs root");
  const std::string path = ramfs.file("filled");
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(::write(descriptor, "text", 4) == 4);
  ::close(descriptor);
  const Opened opened = open_file(path, {.access = Access::read_write, .direct = Direct::prefer, .truncate = true});
  REQUIRE(!opened.error.has_value());
  CHECK(opened.size == 0);
}

TEST_CASE("what open(2) refuses comes as its errno") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 100);
  CHECK(errno_of_open(folder.file("missing"), open_cached) == ENOENT);
  CHECK(errno_of_open(folder.file("no/folder"), open_cached_new) == ENOENT);
  CHECK(errno_of_open(folder.path(), open_cached) == EISDIR);
  CHECK(errno_of_open(path + "/below", open_cached) == ENOTDIR);
  CHECK(
      errno_of_open(path, {.access = Access::read_write, .direct = Direct::never, .create = true, .exclusive = true}) ==
      EEXIST);
  CHECK(errno_of_open(std::string(5000, 'x'), open_cached) == ENAMETOOLONG);
}

TEST_CASE("a file is made with the permissions that were asked for, and emptied when asked to") {
  TemporaryFolder folder;
  const std::string path = folder.file("made");
  const ::mode_t former = ::umask(0);
  const Opened made = open_file(
      path, {.access = Access::read_write, .direct = Direct::never, .create = true, .exclusive = true, .mode = 0640});
  ::umask(former);
  REQUIRE(!made.error.has_value());
  struct stat status{};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0640);
  const std::string filled = folder.filled("filled", 1000);
  CHECK(open_file(filled, open_cached).size == 1000);
  CHECK(open_file(filled, {.access = Access::read_write, .direct = Direct::never, .truncate = true}).size == 0);
}

Task<Result<void>> expect_eacces(const std::string& path) {
  auto opening = File::open(path, open_cached);
  const Result<File> file = co_await std::move(opening);
  SPINDLE_ASSERT(!file.has_value(), "a file of somebody else was opened");
  SPINDLE_ASSERT(file.error().number == EACCES, "another errno");
  co_return Result<void>();
}

TEST_CASE("a file that may not be opened gives EACCES") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 100);
  REQUIRE(::chmod(path.c_str(), 0) == 0);
  REQUIRE(::chmod(folder.path().c_str(), 0755) == 0);
  expect_survival([&path] {
    if (::geteuid() == 0) {
      SPINDLE_ASSERT(::setresgid(65534, 65534, 65534) == 0, "setresgid");
      SPINDLE_ASSERT(::setresuid(65534, 65534, 65534) == 0, "setresuid");
    }
    Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
    SPINDLE_ASSERT(backend.has_value(), "no ring for nobody");
    Loop loop(**backend);
    SPINDLE_ASSERT(run(loop, expect_eacces, path).has_value(), "the task failed");
  });
}

Task<Result<void>> use_large_sectors(const std::string& path, Memory& memory) {
  File file = co_await ok(File::open(path, {.access = Access::read_write, .direct = Direct::require}));
  CHECK(file.offset_alignment() == 4096);
  memory.fill_with_pattern();
  const std::span<std::byte> all = memory.all();
  co_await ok(file.write_all_at(4096, all));
  co_await ok(file.read_exact_at(4096, all));
  CHECK(memory.has_pattern());
  const std::span<std::byte> half = all.first(512);
  const Result<uint64_t> refused = co_await file.read_at(0, half);
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::misaligned);
  // Memory may be finer aligned there: the sizes of a vector's parts may not.
  iovec parts[] = {{all.data(), 512}, {all.data() + 512, 3584}};
  const std::span<iovec> vector(parts);
  const Result<void> scattered = co_await file.read_exact_at(0, vector);
  REQUIRE(!scattered.has_value());
  CHECK(scattered.error().code == ErrorCode::misaligned);
  co_return Result<void>();
}

TEST_CASE("a block device with sectors of 4096 bytes is used with that alignment") {
  TemporaryFolder folder;
  const LoopImage device(folder.path(), 1 << 20, 4096);
  if (!device.is_set_up()) return skip("needs root and a loop device");
  Memory memory(16384);
  {
    UringLoop ring;
    ring.run_to_success(use_large_sectors, device.device(), memory);
  }
  // BLKGETSIZE64, not st_size, which is 0 for a device.
  CHECK(open_file(device.device(), {.direct = Direct::require}).size == 1 << 20);
}

// What is refused leaves nothing behind, and changes nothing.

void check_refusal(const std::string& file, const std::string& former) {
  const OpenOptions require_new{.access = Access::read_write, .direct = Direct::require, .create = true};
  OpenOptions exclusive = require_new;
  exclusive.exclusive = true;
  OpenOptions emptying = require_new;
  emptying.truncate = true;
  for (const OpenOptions& options : {require_new, exclusive, emptying}) {
    const Opened made = open_file(file, options);
    REQUIRE(made.error.has_value());
    CHECK(made.error->code == ErrorCode::no_direct_io);
    CHECK_FALSE(std::filesystem::exists(file));
    if (options.exclusive) continue;
    CHECK(open_file(former, options).error->code == ErrorCode::no_direct_io);
    REQUIRE(std::filesystem::exists(former));
    CHECK(std::filesystem::file_size(former) == 4);
  }
  CHECK(errno_of_open(former, exclusive) == EEXIST);
}

void put_text(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(::write(descriptor, "text", 4) == 4);
  ::close(descriptor);
}

TEST_CASE("requiring direct I/O where there is none leaves no file behind, and none changed: ramfs") {
  const Mounted ramfs("ramfs", "");
  if (!ramfs.is_mounted()) return skip("needs root");
  put_text(ramfs.file("former"));
  check_refusal(ramfs.file("file"), ramfs.file("former"));
}

TEST_CASE("requiring direct I/O where there is none leaves no file behind, and none changed: tmpfs") {
  if (!has_memory_folder()) return skip("/dev/shm is no tmpfs");
  TemporaryFolder folder(memory_folder);
  put_text(folder.file("former"));
  check_refusal(folder.file("file"), folder.file("former"));
}

struct Refused {
  bool is_refused = false;
  bool is_there = false;
};

Task<Result<void>> open_new_with_refusal(BadDisk& disk, Direct direct, size_t step, Refused* refused) {
  OpenOptions how{.access = Access::read_write, .create = true, .exclusive = true};
  how.direct = direct;
  disk.refuse(step, EIO);
  const Result<File> opened = co_await File::open("data", how);
  refused->is_refused = !opened.has_value();
  if (refused->is_refused) CHECK(opened.error().number == EIO);
  refused->is_there = disk.exists;
  co_return Result<void>();
}

TEST_CASE("whatever request of opening a file that must be new fails, the file is not left behind") {
  for (const Direct direct : {Direct::never, Direct::prefer, Direct::require}) {
    CAPTURE(static_cast<int>(direct));
    size_t step = 0;
    for (Refused refused{true, false}; refused.is_refused; ++step) {
      CAPTURE(step);
      BadDiskLoop on;
      Refused* const address = &refused;
      on.run_to_success(open_new_with_refusal, on.disk, direct, step, address);
      CHECK(refused.is_there != refused.is_refused);
    }
    CHECK(step >= 3);  // the open, a look, and one without a refusal
  }
}

TEST_CASE("preferring direct I/O where there is none makes a file that must be new, once") {
  if (!has_memory_folder()) return skip("/dev/shm is no tmpfs");
  TemporaryFolder folder(memory_folder);
  const OpenOptions options{.access = Access::read_write, .direct = Direct::prefer, .create = true, .exclusive = true};
  const Opened made = open_file(folder.file("file"), options);
  REQUIRE(!made.error.has_value());
  CHECK_FALSE(made.is_direct);
  CHECK(errno_of_open(folder.file("file"), options) == EEXIST);
}

TEST_CASE("a symbolic link that leads nowhere is a name under which a file can be made") {
  TemporaryFolder folder;
  REQUIRE(::symlink("target", folder.file("link").c_str()) == 0);
  const Opened made =
      open_file(folder.file("link"), {.access = Access::read_write, .direct = Direct::prefer, .create = true});
  CHECK(!made.error.has_value());
  CHECK(std::filesystem::exists(folder.file("target")));
}

TEST_CASE("a file that is open for reading only can't be emptied") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 100);
  for (const Direct direct : {Direct::never, Direct::prefer}) {
    CHECK(open_file(path, {.direct = direct, .truncate = true}).error->code == ErrorCode::invalid_argument);
  }
  CHECK(std::filesystem::file_size(path) == 100);
}

TEST_CASE("a file is emptied under direct I/O, too, and keeps its number") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 10000);
  if (!offers_direct_io(path)) return skip("the current folder is on a file system without direct I/O");
  const Opened opened = open_file(path, {.access = Access::read_write, .direct = Direct::require, .truncate = true});
  REQUIRE(!opened.error.has_value());
  CHECK(opened.is_direct);
  CHECK(opened.size == 0);
  CHECK(std::filesystem::file_size(path) == 0);
}

// Probing, as on a kernel whose statx does not tell.

UringOptions probing() {
  UringOptions options;
  options.statx_alignment = false;
  return options;
}

TEST_CASE("where statx is not asked, reads find an alignment that works") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 10000);
  if (!offers_direct_io(path)) return skip("the current folder is on a file system without direct I/O");
  const struct statx status = alignment_of(path);
  const Opened opened = open_file(path, {.direct = Direct::require}, probing());
  REQUIRE(!opened.error.has_value());
  CHECK(opened.is_direct);
  CHECK(opened.offset_alignment == std::max(512u, status.stx_dio_offset_align));
  CHECK(opened.memory_alignment >= status.stx_dio_mem_align);
}

TEST_CASE("reads find the alignment of a block device with sectors of 4096 bytes") {
  TemporaryFolder folder;
  const LoopImage device(folder.path(), 1 << 20, 4096);
  if (!device.is_set_up()) return skip("needs root and a loop device");
  const Opened opened = open_file(device.device(), {.direct = Direct::require}, probing());
  REQUIRE(!opened.error.has_value());
  CHECK(opened.offset_alignment == 4096);
  CHECK(opened.memory_alignment >= alignment_of(device.device()).stx_dio_mem_align);
  CHECK(opened.size == 1 << 20);
}

// tmpfs takes O_DIRECT and tells nothing: reads of every alignment work there.
TEST_CASE("where statx can't tell, the alignment is the finest that reads work with") {
  if (!has_memory_folder()) return skip("/dev/shm is no tmpfs");
  TemporaryFolder folder(memory_folder);
  const std::string path = folder.filled("data", 10000);
  const Opened opened = open_file(path, {.access = Access::read_write, .direct = Direct::require}, probing());
  REQUIRE(!opened.error.has_value());
  CHECK(opened.is_direct);
  CHECK(opened.memory_alignment == 512);
  CHECK(opened.offset_alignment == 512);
  const std::string empty = folder.filled("empty", 0);
  const Opened of_empty = open_file(empty, {.access = Access::read_write, .direct = Direct::require}, probing());
  CHECK(of_empty.memory_alignment == 4096);
  CHECK(of_empty.offset_alignment == 4096);
}

}  // namespace
}  // namespace spindle
