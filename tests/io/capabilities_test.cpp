// What the ring can do: each feature forced off alone, the report that says so, and machines that forbid the
// ring or grant it little memory.
#include "io/uring/capabilities.h"

#include <doctest/doctest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>

#include "tests/death.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

constexpr size_t blocks_count = 64;
constexpr size_t block_size = 4096;

Task<Result<void>> write_block(size_t index, File* file, Memory* memory) {
  const std::span<std::byte> part = memory->part(index * block_size, block_size);
  co_await ok(file->write_all_at(index * block_size, part));
  co_return Result<void>();
}

Task<Result<void>> read_block(size_t index, File* file, Memory* memory) {
  const std::span<std::byte> part = memory->part(index * block_size, block_size);
  co_await ok(file->read_exact_at(index * block_size, part));
  co_return Result<void>();
}

/// Writes, syncs, reads and compares, at depth 32, and lets time pass.
Task<Result<void>> use_everything(const std::string& path, Memory& memory) {
  const std::span<std::byte> arena = memory.all();
  const Result<void> registered = Backend::current().register_arena(arena);
  File file = co_await ok(File::open(path, open_cached_new));
  std::vector<size_t> indices(blocks_count);
  for (size_t index = 0; index < blocks_count; ++index) indices[index] = index;
  memory.fill_with_pattern();
  File* file_address = &file;
  Memory* memory_address = &memory;
  co_await ok(for_each_bounded(indices, 32, write_block, file_address, memory_address));
  co_await ok(file.sync_data());
  std::memset(arena.data(), 0, arena.size());
  co_await ok(for_each_bounded(indices, 32, read_block, file_address, memory_address));
  co_await ok(sleep_for(std::chrono::microseconds(300)));
  if (registered.has_value()) Backend::current().unregister_arena(arena);
  if (!memory.has_pattern()) co_return fail(ErrorCode::invalid_argument, "what was read is not what was written");
  co_return Result<void>();
}

struct Mode {
  const char* feature;  ///< what the report must call it
  void (*force_off)(UringOptions& options);
};

// Captureless: what each forces off, by the name in the report.
const Mode modes[] = {
    {"SINGLE_ISSUER", [](UringOptions& options) { options.ring.single_issuer = false; }},
    {"DEFER_TASKRUN", [](UringOptions& options) { options.ring.defer_taskrun = false; }},
    {"SUBMIT_ALL", [](UringOptions& options) { options.ring.submit_all = false; }},
    {"NO_IOWAIT", [](UringOptions& options) { options.ring.no_iowait = false; }},
    {"registered files", [](UringOptions& options) { options.registered_files = false; }},
    {"registered buffers", [](UringOptions& options) { options.registered_buffers = false; }},
    {"truncate in the ring", [](UringOptions& options) { options.rare_ring_operations = false; }},
    {"alignment from statx", [](UringOptions& options) { options.statx_alignment = false; }},
};

UringOptions everything_wanted() {
  UringOptions options;
  options.ring.min_wait = true;
  return options;
}

const Capability* find(const Capabilities& capabilities, const std::string& name) {
  for (const Capability& entry : capabilities.entries()) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

TEST_CASE("the ring works with every feature that it finds") {
  TemporaryFolder folder;
  UringLoop ring(everything_wanted());
  Memory memory(blocks_count * block_size);
  ring.run_to_success(use_everything, folder.file("data"), memory);
}

TEST_CASE("the ring works with each feature forced off, and the report names it and why") {
  TemporaryFolder folder;
  for (const Mode& mode : modes) {
    CAPTURE(std::string(mode.feature));
    UringOptions options = everything_wanted();
    mode.force_off(options);
    UringLoop ring(options);
    const Capability* entry = find(ring.backend().capabilities(), mode.feature);
    REQUIRE(entry != nullptr);
    CHECK_FALSE(entry->in_use);
    CHECK(entry->reason == "forced off");
    CHECK_FALSE(ring.backend().capabilities().in_use(mode.feature));
    const std::string text = ring.backend().capabilities().text();
    CHECK(text.find(std::string(mode.feature) + ": not in use (forced off)") != std::string::npos);
    Memory memory(blocks_count * block_size);
    ring.run_to_success(use_everything, folder.file("data"), memory);
  }
}

TEST_CASE("the ring works with everything forced off") {
  TemporaryFolder folder;
  UringOptions options;
  for (const Mode& mode : modes) mode.force_off(options);
  options.ring.entries = 8;
  UringLoop ring(options);
  for (const Capability& entry : ring.backend().capabilities().entries()) CHECK_FALSE(entry.in_use);
  Memory memory(blocks_count * block_size);
  ring.run_to_success(use_everything, folder.file("data"), memory);
}

TEST_CASE("the kernel's min-wait is used when it is asked for, and the ring works with and without") {
  TemporaryFolder folder;
  for (const bool wanted : {true, false}) {
    UringOptions options;
    options.ring.min_wait = wanted;
    UringLoop ring(options);
    const Capability* entry = find(ring.backend().capabilities(), "min-wait");
    if (wanted) {
      REQUIRE(entry != nullptr);
      CHECK((entry->in_use || !entry->reason.empty()));
    } else {
      CHECK((entry == nullptr || !entry->in_use));
    }
    Memory memory(blocks_count * block_size);
    ring.run_to_success(use_everything, folder.file("data"), memory);
  }
}

TEST_CASE("without SINGLE_ISSUER there is no DEFER_TASKRUN either, and the report says so") {
  UringOptions options;
  options.ring.single_issuer = false;
  UringLoop ring(options);
  CHECK_FALSE(ring.backend().capabilities().in_use("DEFER_TASKRUN"));
}

TEST_CASE("the report has a line per feature, with the kernel and the size of the ring above") {
  UringLoop ring;
  const Capabilities& capabilities = ring.backend().capabilities();
  const std::string text = capabilities.text();
  CHECK(text.find("io_uring on Linux " + capabilities.kernel) == 0);
  CHECK(text.find(std::to_string(capabilities.entries_got) + " entries") != std::string::npos);
  for (const Mode& mode : modes) CHECK(text.find(std::string("  ") + mode.feature + ": ") != std::string::npos);
  CHECK(capabilities.entries_got >= capabilities.entries_asked);
}

// Feature by feature, a loss that was not asked for has a reason and something that would help.
TEST_CASE("whatever is not in use has a reason") {
  UringLoop ring(everything_wanted());
  for (const Capability& entry : ring.backend().capabilities().entries()) {
    CAPTURE(entry.name);
    if (!entry.in_use) CHECK_FALSE(entry.reason.empty());
  }
}

TEST_CASE("a failed set-up is explained in one line that names the knob") {
  const std::string forbidden = explain_setup_failure(EPERM);
  const bool names_a_knob =
      forbidden.find("seccomp") != std::string::npos || forbidden.find("kernel.io_uring_disabled") != std::string::npos;
  CHECK(names_a_knob);
  CHECK(explain_setup_failure(ENOSYS).find("5.15") != std::string::npos);
  CHECK(explain_setup_failure(ENOMEM).find("RLIMIT_MEMLOCK") != std::string::npos);
  CHECK(explain_setup_failure(EMFILE).find("ulimit -n") != std::string::npos);
  for (const int number : {EPERM, ENOSYS, ENOMEM, EMFILE, ENFILE, EINVAL}) {
    CHECK(explain_setup_failure(number).find('\n') == std::string::npos);
    CHECK(explain_setup_failure(number).find(std::strerror(number)) != std::string::npos);
  }
}

/// Answers io_uring_setup with `number`, from now on, in this process.
void forbid_ring(int number) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(number)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  SPINDLE_ASSERT(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
  SPINDLE_ASSERT(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "seccomp");
}

TEST_CASE("where io_uring is forbidden, making a backend fails with the errno and a line that names the knob") {
  for (const int number : {EPERM, ENOSYS}) {
    expect_survival([number] {
      forbid_ring(number);
      const Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
      SPINDLE_ASSERT(!backend.has_value(), "a ring that is forbidden");
      SPINDLE_ASSERT(backend.error().code == ErrorCode::system, "another kind of error");
      SPINDLE_ASSERT(backend.error().number == number, "another errno");
      const std::string line = explain_setup_failure(backend.error().number);
      SPINDLE_ASSERT(line.find("seccomp") != std::string::npos, "the line does not name the knob");
    });
  }
}

/// In a child process: an ordinary user with 64 KiB of lockable memory.
void become_poor() {
  const rlimit little{65536, 65536};
  SPINDLE_ASSERT(::setrlimit(RLIMIT_MEMLOCK, &little) == 0, "setrlimit");
  if (::geteuid() != 0) return;
  SPINDLE_ASSERT(::setresgid(65534, 65534, 65534) == 0, "setresgid");
  SPINDLE_ASSERT(::setresuid(65534, 65534, 65534) == 0, "setresuid");
}

TEST_CASE("with 64 KiB of lockable memory an ordinary user gets a smaller ring, which works, and is told") {
  TemporaryFolder folder;
  REQUIRE(::chmod(folder.path().c_str(), 0777) == 0);
  Memory memory(blocks_count * block_size);
  // By a relative path: an ordinary user may not be allowed through the folders above.
  const std::string path = "data";
  expect_survival([&folder, &path, &memory] {
    SPINDLE_ASSERT(::chdir(folder.path().c_str()) == 0, "chdir");
    become_poor();
    UringOptions options;
    options.ring.entries = 32768;
    Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(options);
    if (!backend.has_value()) {
      const std::string line = explain_setup_failure(backend.error().number);
      SPINDLE_ASSERT(line.find("RLIMIT_MEMLOCK") != std::string::npos, "the line does not name the knob");
      return;
    }
    const Capabilities& capabilities = (*backend)->capabilities();
    if (capabilities.entries_got < capabilities.entries_asked) {
      SPINDLE_ASSERT(capabilities.text().find("ulimit -l") != std::string::npos, "the report names no remedy");
    }
    Loop loop(**backend);
    SPINDLE_ASSERT(run(loop, use_everything, path, memory).has_value(), "the small ring does not work");
  });
}

}  // namespace
}  // namespace spindle
