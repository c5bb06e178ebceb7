// Machines that offer less: each feature of the ring forced off, little lockable memory, calls forbidden by a filter,
// file systems without direct I/O. Everything still works, or fails with one line that names the knob.
#include <doctest/doctest.h>
#include <sys/vfs.h>

#include <set>

#include "io/uring/capabilities.h"
#include "tests/death.h"
#include "tests/io/uring_fixture.h"
#include "tests/machine/restricted.h"

namespace spindle {
namespace {

constexpr size_t memory_size = 256 << 10;

/// Cancels a read that is in flight on a FIFO nobody writes.
Task<Result<void>> cancel_a_read(const std::string& fifo_path) {
  File fifo = co_await ok(File::open(fifo_path, open_cached));
  std::byte byte;
  const std::span<std::byte> memory(&byte, 1);
  const Result<uint64_t> count = co_await timeout(std::chrono::milliseconds(5), fifo.read_at(0, memory));
  SPINDLE_ASSERT(!count.has_value(), "a byte that nobody wrote");
  SPINDLE_ASSERT(count.error().code == ErrorCode::timed_out, "another error");
  co_return co_await fifo.close();
}

/// Open, allocate, write, vectored and durable write, sync, read, close.
Task<Result<void>> use_file(const std::string& path, OpenOptions options) {
  File file = co_await ok(File::open(path, options));
  Memory memory(memory_size);
  memory.fill_with_pattern();
  const std::span<std::byte> all = memory.all();
  iovec parts[2] = {{all.data(), all.size() / 2}, {all.data() + all.size() / 2, all.size() / 2}};
  const std::span<iovec> vector(parts);
  co_await ok(file.allocate(0, 2 * memory_size));
  co_await ok(file.write_all_at(0, all));
  co_await ok(file.write_all_at(memory_size, vector, {.durable = true}));
  co_await ok(file.sync_data());
  co_await ok(file.sync());
  for (const uint64_t offset : {uint64_t{0}, uint64_t{memory_size}}) {
    std::memset(all.data(), 0, all.size());
    co_await ok(file.read_exact_at(offset, all));
    SPINDLE_ASSERT(memory.has_pattern(), "what was read is not what was written");
  }
  co_return co_await file.close();
}

struct Paths {
  std::string data;
  std::string fifo;
  OpenOptions options;
};

Task<Result<void>> use_everything(const Paths& paths) {
  co_await ok(use_file(paths.data, paths.options));
  co_await ok(cancel_a_read(paths.fifo));
  co_return Result<void>();
}

struct Feature {
  const char* name;  ///< in the report
  void (*force_off)(UringOptions& options);
  const char* needs_it = "";  ///< another feature, which goes with it
};

const Feature features[] = {
    {"SINGLE_ISSUER", [](UringOptions& options) { options.ring.single_issuer = false; }, "DEFER_TASKRUN"},
    {"DEFER_TASKRUN", [](UringOptions& options) { options.ring.defer_taskrun = false; }},
    {"SUBMIT_ALL", [](UringOptions& options) { options.ring.submit_all = false; }},
    {"NO_IOWAIT", [](UringOptions& options) { options.ring.no_iowait = false; }},
    {"registered files", [](UringOptions& options) { options.registered_files = false; }},
    {"registered buffers", [](UringOptions& options) { options.registered_buffers = false; }},
};

std::set<std::string> in_use(const Capabilities& capabilities) {
  std::set<std::string> names;
  for (const Capability& entry : capabilities.entries()) {
    if (entry.in_use) names.insert(entry.name);
  }
  return names;
}

bool offers_direct(const std::string& folder) {
  const std::string probe = folder + "/probe";
  const int descriptor = ::open(probe.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct statx status{};
  const bool is_known = ::statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0;
  ::close(descriptor);
  return is_known && (status.stx_mask & STATX_DIOALIGN) != 0 && status.stx_dio_offset_align != 0;
}

TEST_CASE("with any one feature forced off only that is lost, and files work, cached and direct, cancels too") {
  TemporaryFolder folder;
  const Fifo fifo(folder.file("fifo"));
  std::set<std::string> all;
  {
    UringLoop ring;
    all = in_use(ring.backend().capabilities());
  }
  for (const Feature& feature : features) {
    CAPTURE(std::string(feature.name));
    UringOptions options;
    feature.force_off(options);
    UringLoop ring(options);
    std::set<std::string> expected = all;
    expected.erase(feature.name);
    expected.erase(feature.needs_it);
    CHECK(in_use(ring.backend().capabilities()) == expected);
    for (const Capability& entry : ring.backend().capabilities().entries()) {
      if (entry.name == feature.name) CHECK(entry.reason == "forced off");
    }
    Paths paths{folder.file("cached"), fifo.path(), open_cached_new};
    ring.run_to_success(use_everything, paths);
    if (!offers_direct(folder.path())) continue;
    paths = {folder.file("direct"), fifo.path(), open_direct_new};
    ring.run_to_success(use_everything, paths);
  }
}

/// In a child process: the ring works although something is not to be had.
void expect_use(UringBackend& backend, const Paths& paths) {
  Loop loop(backend);
  const Result<void> used = run(loop, use_everything, paths);
  SPINDLE_ASSERT(used.has_value(), "files do not work");
}

/// For a child that becomes somebody else: a folder where everybody may write.
void open_to_all(const TemporaryFolder& folder) { REQUIRE(::chmod(folder.path().c_str(), 0777) == 0); }

TEST_CASE(
    "an ordinary user with 64 KiB of lockable memory has files that work, with the ring of the default size or a "
    "smaller") {
  TemporaryFolder folder;
  open_to_all(folder);
  const Fifo fifo(folder.file("fifo"));
  REQUIRE(::chmod(fifo.path().c_str(), 0666) == 0);
  expect_survival([&folder] {
    SPINDLE_ASSERT(::chdir(folder.path().c_str()) == 0, "chdir");
    become_ordinary(64 << 10);
    Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
    SPINDLE_ASSERT(backend.has_value(), "no ring");
    const Capabilities& capabilities = (*backend)->capabilities();
    const bool is_smaller = capabilities.entries_got < capabilities.entries_asked;
    const bool is_told = capabilities.text().find("ulimit -l") != std::string::npos;
    SPINDLE_ASSERT(is_smaller == is_told, "a smaller ring, and the report does not say so, or the other way round");
    expect_use(**backend, {"data", "fifo", open_cached_new});
  });
}

TEST_CASE("an arena that may not be locked is refused with the size that is needed, and goes unregistered") {
  TemporaryFolder folder;
  expect_survival([&folder] {
    SPINDLE_ASSERT(::chmod(folder.path().c_str(), 0777) == 0, "chmod");
    SPINDLE_ASSERT(::chdir(folder.path().c_str()) == 0, "chdir");
    become_ordinary(64 << 10);
    Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
    SPINDLE_ASSERT(backend.has_value(), "no ring");
    Memory arena(1 << 20);
    const Result<void> registered = (*backend)->register_arena(arena.all());
    SPINDLE_ASSERT(!registered.has_value(), "1 MiB was locked with a limit of 64 KiB");
    SPINDLE_ASSERT(registered.error().number == ENOMEM, "another errno");
    const std::string text = (*backend)->capabilities().text();
    SPINDLE_ASSERT(text.find("1048576") != std::string::npos, "the report has not the size that is needed");
    SPINDLE_ASSERT(text.find("65536") != std::string::npos, "the report has not the limit");
    SPINDLE_ASSERT(text.find("ulimit -l") != std::string::npos, "the report has no remedy");
    Loop loop(**backend);
    const std::string path = "data";
    SPINDLE_ASSERT(run(loop, use_file, path, open_cached_new).has_value(), "files do not work");
  });
}

TEST_CASE("where a filter forbids only io_uring_register, files work unregistered and the report names the filter") {
  TemporaryFolder folder;
  const Fifo fifo(folder.file("fifo"));
  const Paths paths{folder.file("data"), fifo.path(), open_cached_new};
  for (const int number : {EPERM, ENOSYS}) {
    expect_survival([&paths, number] {
      forbid_call(__NR_io_uring_register, number);
      Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
      SPINDLE_ASSERT(backend.has_value(), "no ring");
      for (const Capability& entry : (*backend)->capabilities().entries()) {
        if (entry.name.find("registered") == std::string::npos) continue;
        SPINDLE_ASSERT(!entry.in_use, "registered through a call that is forbidden");
        SPINDLE_ASSERT(entry.reason.find("seccomp") != std::string::npos, "the reason does not name the filter");
      }
      expect_use(**backend, paths);
    });
  }
}

TEST_CASE("where a filter forbids io_uring_enter, making a backend fails with its errno") {
  for (const int number : {EPERM, ENOSYS}) {
    expect_survival([number] {
      forbid_call(__NR_io_uring_enter, number);
      const Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
      SPINDLE_ASSERT(!backend.has_value(), "a ring that can't be entered");
      SPINDLE_ASSERT(backend.error().number == number, "another errno");
      const std::string line = explain_setup_failure(backend.error().number);
      SPINDLE_ASSERT(line.find("seccomp") != std::string::npos, "the line does not name the filter");
    });
  }
}

constexpr const char* memory_folder = "/dev/shm";

bool has_memory_folder() {
  struct statfs status{};
  constexpr long tmpfs_magic = 0x01021994;
  return ::statfs(memory_folder, &status) == 0 && status.f_type == tmpfs_magic && ::access(memory_folder, W_OK) == 0;
}

Task<Result<void>> require_direct(const std::string& path) {
  auto opening = File::open(path, open_direct_new);
  const Result<File> opened = co_await std::move(opening);
  REQUIRE(!opened.has_value());
  CHECK(opened.error().code == ErrorCode::no_direct_io);
  co_return Result<void>();
}

// Another branch mends it (`files`): the file is made before its alignment is known.
TEST_CASE("a new file that can't have the direct I/O it requires is not left behind") {
  if (!has_memory_folder()) return skip("/dev/shm is no tmpfs");
  TemporaryFolder folder(memory_folder);
  UringLoop ring;
  ring.run_to_success(require_direct, folder.file("new"));
  CHECK_FALSE(std::filesystem::exists(folder.file("new")));
  // One that was there stays, with its content.
  const std::string path = folder.filled("old", 100);
  ring.run_to_success(require_direct, path);
  CHECK(std::filesystem::file_size(path) == 100);
}

TEST_CASE("files in memory work when direct I/O is only preferred") {
  if (!has_memory_folder()) return skip("/dev/shm is no tmpfs");
  TemporaryFolder folder(memory_folder);
  UringLoop ring;
  const Fifo fifo(folder.file("fifo"));
  OpenOptions options = open_direct_new;
  options.direct = Direct::prefer;
  const Paths paths{folder.file("data"), fifo.path(), options};
  ring.run_to_success(use_everything, paths);
}

}  // namespace
}  // namespace spindle
