// Reading and writing files on the kernel's ring: alignment, ends of files, large and vectored transfers,
// durability, full disks.
#include "io/file.h"

#include <doctest/doctest.h>
#include <sys/mount.h>

#include <vector>

#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

/// Opens for direct I/O; where the file system has none the test is skipped.
Task<Result<void>> probe_direct(const std::string& path, bool& offers) {
  auto opening = File::open(path, open_direct_new);
  const Result<File> file = co_await std::move(opening);
  offers = file.has_value();
  co_return Result<void>();
}

bool offers_direct(UringLoop& ring, const std::string& path) {
  bool offers = false;
  ring.run_to_success(probe_direct, path, offers);
  if (!offers) skip("the current folder is on a file system without direct I/O");
  return offers;
}

ErrorCode code_of(const Result<void>& result) {
  REQUIRE(!result.has_value());
  return result.error().code;
}

Task<Result<void>> try_misaligned(const std::string& path, Memory& memory) {
  File file = co_await ok(File::open(path, open_direct_new));
  const uint32_t unit = file.offset_alignment();
  const std::span<std::byte> aligned = memory.part(0, 4 * unit);
  co_await ok(file.write_all_at(0, aligned));
  const std::span<std::byte> shifted = memory.part(file.memory_alignment() / 2, unit);
  const std::span<std::byte> ragged = memory.part(0, unit + 1);
  const std::span<std::byte> one = memory.part(0, unit);
  const Result<void> of_memory = co_await file.read_exact_at(0, shifted);
  CHECK(code_of(of_memory) == ErrorCode::misaligned);
  const Result<void> of_size = co_await file.write_all_at(0, ragged);
  CHECK(code_of(of_size) == ErrorCode::misaligned);
  const Result<void> of_offset = co_await file.read_exact_at(unit / 2, one);
  CHECK(code_of(of_offset) == ErrorCode::misaligned);
  iovec parts[2] = {{one.data(), unit}, {one.data() + unit, unit - 1}};
  const std::span<iovec> vector(parts);
  const Result<void> of_part = co_await file.read_exact_at(0, vector);
  CHECK(code_of(of_part) == ErrorCode::misaligned);
  co_await ok(file.read_exact_at(unit, one));
  co_return Result<void>();
}

TEST_CASE("direct I/O refuses what is misaligned: memory, size, offset, and parts of a vector") {
  TemporaryFolder folder;
  UringLoop ring;
  if (!offers_direct(ring, folder.file("data"))) return;
  Memory memory(65536, 7);
  ring.run_to_success(try_misaligned, folder.file("data"), memory);
}

Task<Result<void>> read_at_the_end(const std::string& path, OpenOptions options, Memory& memory) {
  File file = co_await ok(File::open(path, options));
  const std::span<std::byte> block = memory.all();
  const uint64_t all = co_await ok(file.read_at(0, block));
  CHECK(all == 6000);
  const uint64_t rest = co_await ok(file.read_at(4096, block));
  CHECK(rest == 1904);
  const uint64_t nothing = co_await ok(file.read_at(8192, block));
  CHECK(nothing == 0);
  const Result<void> past = co_await file.read_exact_at(4096, block);
  CHECK(code_of(past) == ErrorCode::end_of_file);
  CHECK(past.error().transferred == 1904);
  const Result<void> beyond = co_await file.read_exact_at(1 << 20, block);
  CHECK(code_of(beyond) == ErrorCode::end_of_file);
  CHECK(beyond.error().transferred == 0);
  co_return Result<void>();
}

TEST_CASE("reads at the end of a file are short, then empty; exact ones fail and tell how far they came") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 6000);
  UringLoop ring;
  Memory memory(8192);
  ring.run_to_success(read_at_the_end, path, open_cached, memory);
  if (!offers_direct(ring, folder.file("probe"))) return;
  ring.run_to_success(read_at_the_end, path, open_direct_new, memory);
}

/// Cuts memory into `count` parts.
std::vector<iovec> cut(std::span<std::byte> memory, size_t count) {
  std::vector<iovec> parts;
  const size_t size = memory.size() / count;
  for (size_t index = 0; index < count; ++index) parts.push_back({memory.data() + index * size, size});
  return parts;
}

Task<Result<void>> vectors_there_and_back(const std::string& path, OpenOptions options, Memory& memory, size_t count) {
  File file = co_await ok(File::open(path, options));
  const std::span<std::byte> all = memory.all();
  memory.fill_with_pattern(count);
  std::vector<iovec> out = cut(all, count);
  const std::span<iovec> written = out;
  co_await ok(file.write_all_at(4096, written));
  std::memset(all.data(), 0, all.size());
  std::vector<iovec> in = cut(all, count);
  const std::span<iovec> read = in;
  co_await ok(file.read_exact_at(4096, read));
  CHECK(memory.has_pattern(count));
  co_return Result<void>();
}

TEST_CASE("large vectored transfers, and those of more parts than the kernel takes at once, are complete") {
  TemporaryFolder folder;
  UringLoop ring;
  Memory memory(8 << 20);
  for (const size_t count : {1, 64, 1024, 1025, 4096}) {
    CAPTURE(count);
    Memory part(count == 1025 ? 1025 * 4096 : 8 << 20);
    ring.run_to_success(vectors_there_and_back, folder.file("cached"), open_cached_new, part, count);
  }
  if (!offers_direct(ring, folder.file("probe"))) return;
  for (const size_t count : {1, 64, 1024, 1025, 2048}) {
    CAPTURE(count);
    Memory part(count == 1025 ? 1025 * 4096 : 8 << 20);
    ring.run_to_success(vectors_there_and_back, folder.file("direct"), open_direct_new, part, count);
  }
}

Task<Result<void>> large_there_and_back(const std::string& path, OpenOptions options, Memory& memory) {
  File file = co_await ok(File::open(path, options));
  const std::span<std::byte> all = memory.all();
  memory.fill_with_pattern();
  co_await ok(file.write_all_at(0, all));
  std::memset(all.data(), 0, all.size());
  co_await ok(file.read_exact_at(0, all));
  CHECK(memory.has_pattern());
  co_return Result<void>();
}

TEST_CASE("a transfer of 16 MiB in one piece is complete") {
  TemporaryFolder folder;
  UringLoop ring;
  Memory memory(16 << 20);
  ring.run_to_success(large_there_and_back, folder.file("cached"), open_cached_new, memory);
  if (!offers_direct(ring, folder.file("probe"))) return;
  ring.run_to_success(large_there_and_back, folder.file("direct"), open_direct_new, memory);
}

Task<Result<void>> make_durable(const std::string& path, Memory& memory) {
  File file = co_await ok(File::open(path, open_cached_new));
  const std::span<std::byte> all = memory.all();
  co_await ok(file.allocate(0, 1 << 20));
  co_await ok(file.write_all_at(0, all, {.durable = true}));
  iovec part{all.data(), all.size()};
  const std::span<iovec> vector(&part, 1);
  co_await ok(file.write_all_at(4096, vector, {.durable = true}));
  co_await ok(file.sync());
  co_await ok(file.sync_data());
  CHECK_FALSE(file.is_poisoned());
  co_return Result<void>();
}

TEST_CASE("durable writes, syncs and allocation succeed, and allocation lets the file grow") {
  TemporaryFolder folder;
  UringLoop ring;
  Memory memory(4096, 3);
  ring.run_to_success(make_durable, folder.file("data"), memory);
  CHECK(std::filesystem::file_size(folder.file("data")) == 1 << 20);
}

Task<Result<void>> change_read_only(const std::string& path, Memory& memory) {
  File file = co_await ok(File::open(path, {.direct = Direct::never}));
  const std::span<std::byte> all = memory.all();
  const Result<void> written = co_await file.write_all_at(0, all);
  CHECK(code_of(written) == ErrorCode::system);
  CHECK(written.error().number == EBADF);
  const Result<void> allocated = co_await file.allocate(0, 4096);
  CHECK(code_of(allocated) == ErrorCode::system);
  co_await ok(file.read_exact_at(0, all));
  co_return Result<void>();
}

TEST_CASE("a file that is open for reading can't be changed") {
  TemporaryFolder folder;
  UringLoop ring;
  Memory memory(4096);
  ring.run_to_success(change_read_only, folder.filled("data", 4096), memory);
}

Task<Result<void>> overfill(const std::string& path, Memory& memory, uint64_t room) {
  File file = co_await ok(File::open(path, open_cached_new));
  const std::span<std::byte> all = memory.all();
  const Result<void> written = co_await file.write_all_at(0, all);
  CHECK(code_of(written) == ErrorCode::system);
  CHECK(written.error().number == ENOSPC);
  CHECK(written.error().transferred == room);
  CHECK_FALSE(file.is_poisoned());
  std::vector<iovec> parts = cut(all, 64);
  const std::span<iovec> vector = parts;
  const Result<void> again = co_await file.write_all_at(0, vector);
  CHECK(again.error().number == ENOSPC);
  CHECK(again.error().transferred == room);
  const std::span<std::byte> kept = memory.part(0, room);
  co_await ok(file.read_exact_at(0, kept));
  const Result<void> allocated = co_await file.allocate(0, 4 * room);
  CHECK(allocated.error().number == ENOSPC);
  co_return Result<void>();
}

TEST_CASE("a disk that fills up gives a short write, then ENOSPC with how far it came") {
  TemporaryFolder folder;
  const std::string mount_point = folder.file("mount");
  REQUIRE(::mkdir(mount_point.c_str(), 0700) == 0);
  constexpr uint64_t room = 1 << 20;
  const bool is_mounted = ::mount("none", mount_point.c_str(), "tmpfs", 0, "size=1048576") == 0;
  if (!is_mounted) return skip("needs root");
  {
    UringLoop ring;
    Memory memory(4 * room);
    memory.fill_with_pattern();
    ring.run_to_success(overfill, mount_point + "/data", memory, room);
    CHECK(memory.has_pattern());
  }
  CHECK(::umount2(mount_point.c_str(), MNT_DETACH) == 0);
}

Task<Result<void>> read_own_part(size_t index, File* file, Memory* memory) {
  const std::span<std::byte> part = memory->part(index * 4096, 4096);
  co_return co_await file->read_exact_at(index * 4096, part);
}

Task<Result<void>> read_at_depth(const std::string& path, Memory& memory) {
  File file = co_await ok(File::open(path, open_direct_new));
  std::vector<size_t> indices(1024);
  for (size_t index = 0; index < indices.size(); ++index) indices[index] = index;
  File* file_address = &file;
  Memory* memory_address = &memory;
  co_return co_await for_each_bounded(indices, 128, read_own_part, file_address, memory_address);
}

TEST_CASE("direct reads at depth 128 bring each block its own bytes") {
  TemporaryFolder folder;
  UringLoop ring;
  if (!offers_direct(ring, folder.file("probe"))) return;
  Memory memory(1024 * 4096);
  ring.run_to_success(read_at_depth, folder.filled("data", 1024 * 4096), memory);
  CHECK(memory.has_pattern());
}

}  // namespace
}  // namespace spindle
