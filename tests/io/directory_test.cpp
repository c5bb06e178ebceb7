// Files by name: directories, renaming, removing, publishing, and what is known of a file; the same answers from the
// kernel and from the simulated host.
#include "io/directory.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/io/bad_disk.h"
#include "tests/io/every_world.h"
#include "tests/io/scripted_backend.h"

namespace spindle {
namespace {

template <class T>
int errno_of(const Result<T>& result) {
  if (result.has_value()) return 0;
  CHECK(result.error().code == ErrorCode::system);
  return result.error().number;
}

Task<Result<void>> make_file(std::string path, std::string text) {
  File file = co_await ok(File::open(std::move(path), open_cached_new));
  const std::span<const std::byte> bytes = std::as_bytes(std::span<const char>(text));
  co_await ok(file.write_all_at(0, bytes));
  co_return Result<void>();
}

Task<Result<std::string>> content_of(std::string path) {
  File file = co_await ok(File::open(std::move(path), open_cached));
  std::string text(file.size_at_open(), '\0');
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span<char>(text));
  co_await ok(file.read_exact_at(0, bytes));
  co_return std::move(text);
}

Task<Result<void>> list_them(std::string folder) {
  for (const char* name : {"/b", "/a", "/a.b", "/c"}) co_await ok(make_file(folder + name, "text"));
  co_await ok(make_directory(folder + "/a-b"));
  co_await ok(make_file(folder + "/a-b/inner", "text"));
  const std::vector<DirectoryEntry> entries = co_await ok(list_directory(folder));
  const std::vector<DirectoryEntry> expected{{"a", FileKind::regular},
                                             {"a-b", FileKind::directory},
                                             {"a.b", FileKind::regular},
                                             {"b", FileKind::regular},
                                             {"c", FileKind::regular}};
  CHECK(entries == expected);
  const std::vector<DirectoryEntry> inner = co_await ok(list_directory(folder + "/a-b/"));
  REQUIRE(inner.size() == 1);
  CHECK(inner[0].name == "inner");
  const auto missing = co_await list_directory(folder + "/none");
  CHECK(errno_of(missing) == ENOENT);
  const auto of_file = co_await list_directory(folder + "/a");
  CHECK(errno_of(of_file) == ENOTDIR);
  co_return Result<void>();
}

TEST_CASE("a directory is listed with kinds, sorted by name") { in_every_world(list_them); }

Task<Result<void>> make_and_remove(std::string folder) {
  const std::string inner = folder + "/inner";
  const std::string file = folder + "/file";
  co_await ok(make_directory(inner));
  const auto again = co_await make_directory(inner);
  CHECK(errno_of(again) == EEXIST);
  const auto orphan = co_await make_directory(folder + "/none/below");
  CHECK(errno_of(orphan) == ENOENT);
  co_await ok(make_file(file, "text"));
  const auto below_file = co_await make_directory(file + "/below");
  CHECK(errno_of(below_file) == ENOTDIR);
  const auto of_file = co_await remove_directory(file);
  CHECK(errno_of(of_file) == ENOTDIR);
  const auto of_directory = co_await unlink_path(inner);
  CHECK(errno_of(of_directory) == EISDIR);
  co_await ok(make_file(inner + "/one", "text"));
  const auto full = co_await remove_directory(inner);
  CHECK(errno_of(full) == ENOTEMPTY);
  co_await ok(unlink_path(inner + "/one"));
  const auto twice = co_await unlink_path(inner + "/one");
  CHECK(errno_of(twice) == ENOENT);
  co_await ok(remove_directory(inner));
  const auto gone = co_await stat_path(inner);
  CHECK(errno_of(gone) == ENOENT);
  const auto opened = co_await File::open(folder + "/none/file", open_cached_new);
  CHECK(errno_of(opened) == ENOENT);
  const auto written = co_await File::open(folder, open_cached);
  CHECK(errno_of(written) == EISDIR);
  co_return Result<void>();
}

TEST_CASE("directories are made and removed, and what can't be is told as the kernel does") {
  in_every_world(make_and_remove);
}

Task<Result<void>> rename_around(std::string folder) {
  const std::string one = folder + "/one";
  const std::string two = folder + "/two";
  co_await ok(make_file(one, "first"));
  co_await ok(make_file(two, "second"));
  File former = co_await ok(File::open(two, open_cached));
  co_await ok(rename_path(one, two));
  const std::string text = co_await ok(content_of(two));
  CHECK(text == "first");
  const auto gone = co_await rename_path(one, two);
  CHECK(errno_of(gone) == ENOENT);
  // Who has the replaced file open keeps it.
  const FileStatus status = co_await ok(former.stat());
  CHECK(status.links == 0);
  CHECK(status.size == 6);
  co_await ok(make_directory(folder + "/inner"));
  co_await ok(make_file(folder + "/inner/file", "below"));
  const auto into_itself = co_await rename_path(folder + "/inner", folder + "/inner/deeper");
  CHECK(errno_of(into_itself) == EINVAL);
  const auto over_directory = co_await rename_path(two, folder + "/inner");
  CHECK(errno_of(over_directory) == EISDIR);
  const auto over_file = co_await rename_path(folder + "/inner", two);
  CHECK(errno_of(over_file) == ENOTDIR);
  co_await ok(rename_path(folder + "/inner", folder + "/moved"));
  const std::string below = co_await ok(content_of(folder + "/moved/file"));
  CHECK(below == "below");
  co_return Result<void>();
}

TEST_CASE("a rename replaces what is there, takes directories along, and leaves open files alone") {
  in_every_world(rename_around);
}

Task<Result<void>> unlink_while_open(std::string folder) {
  const std::string path = folder + "/file";
  co_await ok(make_file(path, "text"));
  File file = co_await ok(File::open(path, open_cached));
  co_await ok(unlink_path(path));
  char text[4];
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span<char>(text));
  co_await ok(file.read_exact_at(0, bytes));
  CHECK(std::memcmp(text, "text", 4) == 0);
  co_await ok(make_file(path, "another"));
  const FileStatus open = co_await ok(file.stat());
  const FileStatus named = co_await ok(stat_path(path));
  CHECK(open.number != named.number);
  CHECK(open.size == 4);
  CHECK(named.size == 7);
  co_return Result<void>();
}

Task<Result<void>> stat_of_null_device(FileStatus& status) {
  status = co_await ok(stat_path("/dev/null"));
  co_return Result<void>();
}

TEST_CASE("the device of a status is the one that holds the file, not the one that the file stands for") {
  UringLoop ring;
  FileStatus status;
  ring.run_to_success(stat_of_null_device, status);
  struct stat expected{};
  REQUIRE(::stat("/dev/null", &expected) == 0);
  CHECK(status.device == expected.st_dev);
  CHECK(status.device != expected.st_rdev);
  CHECK(status.number == expected.st_ino);
}

TEST_CASE("a file that was unlinked keeps its data until it is closed") { in_every_world(unlink_while_open); }

Task<Result<void>> resize(std::string folder) {
  File file = co_await ok(File::open(folder + "/file", open_cached_new));
  Memory memory(16384);
  memory.fill_with_pattern();
  const std::span<std::byte> all = memory.all();
  co_await ok(file.write_all_at(0, all));
  co_await ok(file.punch_hole(4096, 8192));
  co_await ok(file.read_exact_at(0, all));
  for (size_t at = 0; at < all.size(); ++at) {
    const bool is_hole = at >= 4096 && at < 12288;
    REQUIRE(all[at] == (is_hole ? std::byte{0} : pattern_at(at)));
  }
  const FileStatus punched = co_await ok(file.stat());
  CHECK(punched.size == 16384);
  co_await ok(file.truncate(5000));
  const Result<void> past = co_await file.read_exact_at(0, all);
  CHECK(past.error().code == ErrorCode::end_of_file);
  CHECK(past.error().transferred == 5000);
  co_await ok(file.truncate(20000));
  const FileStatus status = co_await ok(file.stat());
  CHECK(status.size == 20000);
  CHECK(status.kind == FileKind::regular);
  CHECK(status.links == 1);
  CHECK(status.mode == 0644);
  const std::span<std::byte> grown = memory.part(0, 1000);
  co_await ok(file.read_exact_at(19000, grown));
  for (const std::byte byte : grown) REQUIRE(byte == std::byte{0});
  const Result<void> nothing = co_await file.punch_hole(0, 0);
  CHECK(errno_of(nothing) == EINVAL);
  File reader = co_await ok(File::open(folder + "/file", {.direct = Direct::never}));
  const Result<void> refused = co_await reader.truncate(0);
  CHECK(errno_of(refused) == EINVAL);
  const Result<void> closed = co_await file.close();
  CHECK(closed.has_value());
  co_return Result<void>();
}

TEST_CASE("files are cut off, grown, and punched") {
  const ::mode_t former = ::umask(022);
  in_every_world(resize);
  ::umask(former);
}

Task<Result<void>> tell_allocation(const std::string& path) {
  File file = co_await ok(File::open(path, open_cached_new));
  co_await ok(file.allocate(0, 1 << 20));
  const FileStatus full = co_await ok(file.stat());
  CHECK(full.allocated_size >= 1 << 20);
  co_await ok(file.punch_hole(0, 1 << 19));
  const FileStatus punched = co_await ok(file.stat());
  CHECK(punched.allocated_size <= full.allocated_size - (1 << 19));
  CHECK(punched.size == 1 << 20);
  co_return Result<void>();
}

TEST_CASE("a hole gives its disk space back") {
  TemporaryFolder folder;
  UringLoop ring;
  ring.run_to_success(tell_allocation, folder.file("data"));
}

// Publishing.

Task<Result<void>> publish_twice(std::string folder) {
  co_await ok(make_directory(folder + "/new"));
  const std::string temporary = folder + "/new/file";
  const std::string final = folder + "/file";
  for (const char* text : {"first", "second"}) {
    co_await ok(make_file(temporary, text));
    File file = co_await ok(File::open(temporary, open_cached));
    co_await ok(publish(file, temporary, final));
    const std::string content = co_await ok(content_of(final));
    CHECK(content == text);
    const auto gone = co_await stat_path(temporary);
    CHECK(errno_of(gone) == ENOENT);
  }
  File file = co_await ok(File::open(final, open_cached));
  const Result<void> missing = co_await publish(file, temporary, final);
  CHECK(errno_of(missing) == ENOENT);
  const Result<void> of_file = co_await sync_directory(final);
  CHECK(errno_of(of_file) == ENOTDIR);
  const Result<void> of_nothing = co_await sync_directory(folder + "/none");
  CHECK(errno_of(of_nothing) == ENOENT);
  co_await ok(sync_directory(folder));
  co_return Result<void>();
}

TEST_CASE("publishing puts a file in the place of another") { in_every_world(publish_twice); }

Task<Result<void>> publish_over(std::string folder) {
  co_await ok(make_file(folder + "/temporary", "new"));
  File file = co_await ok(File::open(folder + "/temporary", open_cached));
  co_await ok(publish(file, folder + "/temporary", folder + "/final"));
  co_return Result<void>();
}

TEST_CASE("a process that is killed while it publishes leaves the old file or the new one") {
  uint64_t old_count = 0;
  uint64_t new_count = 0;
  uint64_t steps_total = UINT64_MAX;
  for (uint64_t steps = 0; steps <= steps_total; ++steps) {
    World world(steps);
    Host& host = world.add_host("a");
    REQUIRE(host.files().make_directory("folder") == 0);
    host.files().put("folder/final", std::vector<std::byte>(100));
    host.start(publish_over, std::string("folder"));
    uint64_t done = 0;
    while (done < steps && world.step() == World::Step::worked) ++done;
    if (done < steps) steps_total = steps;
    host.kill_process();
    const SimFile* file = host.files().find("folder/final");
    REQUIRE(file != nullptr);
    ++(file->size() == 100 ? old_count : new_count);
    if (file->size() != 100) CHECK(file->size() == 3);
  }
  CHECK(old_count > 10);
  CHECK(new_count > 5);
}

Task<Result<void>> publish_in_time(std::string folder, uint64_t* cancelled_count) {
  co_await ok(make_file(folder + "/temporary", "new"));
  File file = co_await ok(File::open(folder + "/temporary", open_cached));
  const Duration patience(Loop::current().random().below(6'000'000));
  auto publishing = publish(file, folder + "/temporary", folder + "/final");
  const Result<void> published = co_await timeout(patience, std::move(publishing));
  const auto there = co_await stat_path(folder + "/final");
  if (there.has_value()) {
    CHECK(published.has_value());
  } else {
    CHECK(published.error().code == ErrorCode::timed_out);
    ++*cancelled_count;
  }
  co_return Result<void>();
}

TEST_CASE("a publish that is cancelled has renamed and succeeds, or has not and says so") {
  uint64_t cancelled_count = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    in_simulation(seed, SimBackendOptions(), publish_in_time, &cancelled_count);
  }
  CHECK(cancelled_count > 10);
  CHECK(cancelled_count < 190);
}

Task<Result<void>> publish_after_failed_sync(ScriptedBackend& backend) {
  backend.answer({1000, 0});  // open, stat
  File file = co_await ok(File::open("temporary", open_cached_new));
  backend.answer({-EIO});
  const Result<void> failed = co_await publish(file, "temporary", "final");
  CHECK(errno_of(failed) == EIO);
  CHECK(file.is_poisoned());
  const Result<void> again = co_await publish(file, "temporary", "final");
  CHECK(again.error().code == ErrorCode::poisoned);
  const Result<void> truncated = co_await file.truncate(0);
  CHECK(truncated.error().code == ErrorCode::poisoned);
  const Result<void> punched = co_await file.punch_hole(0, 4096);
  CHECK(punched.error().code == ErrorCode::poisoned);
  for (const ScriptedBackend::Asked& asked : backend.asked) CHECK(asked.opcode != Opcode::rename);
  backend.answer({0});
  co_await ok(file.close());
  co_return Result<void>();
}

TEST_CASE("after a failed sync nothing is published, truncated or punched") {
  ScriptedBackend backend;
  Loop loop(backend);
  const Result<void> result = run(loop, publish_after_failed_sync, backend);
  CHECK(result.has_value());
}

Task<Result<void>> publish_without_directory(ScriptedBackend& backend) {
  backend.answer({1000, 0});  // open, stat
  File file = co_await ok(File::open("temporary", open_cached_new));
  backend.answer({0, 0, -EIO});  // sync, rename, open of the directory
  const Result<void> failed = co_await publish(file, "temporary", "final");
  CHECK(errno_of(failed) == EIO);
  CHECK_FALSE(file.is_poisoned());
  backend.answer({0});
  co_await ok(file.close());
  co_return Result<void>();
}

TEST_CASE("a publish whose directory can't be synced fails, although the name has changed") {
  ScriptedBackend backend;
  Loop loop(backend);
  const Result<void> result = run(loop, publish_without_directory, backend);
  CHECK(result.has_value());
}

Task<Result<void>> publish_with_refusal(BadDisk& disk, size_t step, bool& is_refused) {
  File file = co_await ok(File::open("data", open_cached));
  disk.asked.clear();
  disk.refuse(step, EIO);
  const Result<void> published = co_await publish(file, "new/data", "old/data");
  is_refused = step < disk.asked.size();
  disk.refuse(SIZE_MAX, 0);
  CHECK(errno_of(published) == (is_refused ? EIO : 0));
  CHECK(file.is_poisoned() == (step == 0));
  co_return co_await file.close();
}

TEST_CASE("whatever step of a publication fails, its errno is the answer") {
  size_t step = 0;
  for (bool is_refused = true; is_refused; ++step) {
    CAPTURE(step);
    BadDiskLoop on(4096);
    on.run_to_success(publish_with_refusal, on.disk, step, is_refused);
  }
  // The file's sync, the rename; of each directory the open, two looks, the sync and the close.
  CHECK(step == 2 + 2 * 5 + 1);
}

Task<Result<void>> publish_past_bad_directory(std::string folder) {
  const std::string temporary = folder + "/new/file";
  const std::string final = folder + "/old/file";
  co_await ok(make_directory(folder + "/new"));
  co_await ok(make_directory(folder + "/old"));
  co_await ok(make_file(temporary, "text"));
  File file = co_await ok(File::open(temporary, open_cached));
  const Result<void> published = co_await publish(file, temporary, final);
  CHECK(errno_of(published) == EIO);
  const std::string content = co_await ok(content_of(final));
  CHECK(content == "text");
  co_return Result<void>();
}

TEST_CASE("a publish fails when the sync of either directory does") {
  for (const char* directory : {"folder/new", "folder/old"}) {
    CAPTURE(std::string(directory));
    SimBackendOptions options;
    FaultRegion region;
    region.path = directory;
    region.rates.set(Fault::failed_sync, FaultRates::denominator);
    options.faults.regions.push_back(region);
    for (uint64_t seed = 0; seed < 10; ++seed) in_simulation(seed, options, publish_past_bad_directory);
  }
}

TEST_CASE("the directory of a path is found by its letters") {
  CHECK(parent_of("a") == ".");
  CHECK(parent_of("a/b") == "a");
  CHECK(parent_of("a/b/") == "a");
  CHECK(parent_of("a//b") == "a");
  CHECK(parent_of("/a") == "/");
  CHECK(parent_of("/a/b") == "/a");
  CHECK(parent_of("/") == "/");
  CHECK(parent_of("") == ".");
}

}  // namespace
}  // namespace spindle
