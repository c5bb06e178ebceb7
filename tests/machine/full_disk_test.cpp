// A disk that is full, on ext4 over a loop device: what was written is known to the byte, nothing hangs, and it goes
// on when there is room again.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "io/file.h"
#include "tests/io/loop_mount.h"

namespace spindle {
namespace {

constexpr uint64_t disk_size = 24 << 20;
constexpr uint64_t chunk_size = 1 << 20;

uint64_t size_of(const std::string& path) { return std::filesystem::file_size(path); }

/// Appends chunks until the disk is full. How far it came, by the results alone.
Task<Result<void>> fill(File* file, Memory* memory, uint64_t* written) {
  const std::span<std::byte> chunk = memory->all();
  while (*written < 2 * disk_size) {
    memory->fill_with_pattern(*written);
    const Result<void> result = co_await file->write_all_at(*written, chunk);
    if (result.has_value()) {
      *written += chunk_size;
      continue;
    }
    CHECK(result.error().code == ErrorCode::system);
    CHECK(result.error().number == ENOSPC);
    CHECK(std::string(result.error().where) == "write");
    CHECK(result.error().transferred < chunk_size);
    *written += result.error().transferred;
    co_return Result<void>();
  }
  co_return fail(ErrorCode::invalid_argument, "a disk that is never full");
}

/// What was acknowledged can be read, after a sync.
Task<Result<void>> read_back(File* file, Memory* memory, uint64_t size) {
  for (uint64_t offset = 0; offset < size; offset += chunk_size) {
    const std::span<std::byte> chunk = memory->part(0, std::min(chunk_size, size - offset));
    co_await ok(file->read_exact_at(offset, chunk));
    for (uint64_t at = 0; at < chunk.size(); ++at) {
      if (chunk[at] != pattern_at(offset + at)) co_return fail(ErrorCode::invalid_argument, "other bytes");
    }
  }
  co_return Result<void>();
}

Task<Result<void>> fill_the_disk(const LoopMount& disk, OpenOptions options) {
  const std::string ballast_path = disk.file("ballast");
  const std::string path = disk.file("data");
  File ballast = co_await ok(File::open(ballast_path, options));
  co_await ok(ballast.allocate(0, 4 * chunk_size));
  File file = co_await ok(File::open(path, options));
  Memory memory(chunk_size);
  File* const address = &file;
  Memory* const memory_address = &memory;
  uint64_t written = 0;
  uint64_t* const into = &written;
  co_await ok(fill(address, memory_address, into));
  CHECK(written > disk_size / 4);
  CHECK(size_of(path) == written);
  CHECK_FALSE(file.is_poisoned());
  co_await ok(file.sync());
  co_await ok(read_back(address, memory_address, written));

  const Result<void> allocated = co_await file.allocate(0, 2 * disk_size);
  REQUIRE(!allocated.has_value());
  CHECK(allocated.error().number == ENOSPC);
  CHECK(std::string(allocated.error().where) == "allocate");

  co_await ok(ballast.close());
  CHECK(::unlink(ballast_path.c_str()) == 0);
  const uint64_t more_from = written / chunk_size * chunk_size;
  memory.fill_with_pattern(more_from);
  const std::span<std::byte> chunk = memory.all();
  co_await ok(file.write_all_at(more_from, chunk));
  co_await ok(file.sync());
  co_await ok(read_back(address, memory_address, more_from + chunk_size));
  co_return co_await file.close();
}

Task<Result<void>> fill_in_time(const LoopMount& disk, OpenOptions options) {
  auto filling = fill_the_disk(disk, options);
  co_return co_await timeout(std::chrono::seconds(60), std::move(filling));
}

TEST_CASE("a full disk gives ENOSPC with how far it came, keeps that, and is written on when there is room again") {
  for (const OpenOptions& options : {open_cached_new, open_direct_new}) {
    CAPTURE(options.direct == Direct::require);
    const LoopMount disk({.type = "ext4", .size = disk_size});
    if (!disk.is_mounted()) return skip(disk.obstacle());
    UringLoop ring;
    ring.run_to_success(fill_in_time, disk, options);
  }
}

Task<Result<void>> write_more_than_fits(const std::string& path, OpenOptions options) {
  File file = co_await ok(File::open(path, options));
  Memory memory(2 * disk_size);
  memory.fill_with_pattern();
  std::vector<iovec> parts;
  for (uint64_t at = 0; at < 2 * disk_size; at += chunk_size) parts.push_back({memory.all().data() + at, chunk_size});
  const std::span<iovec> vector(parts);
  const Result<void> written = co_await file.write_all_at(0, vector);
  REQUIRE(!written.has_value());
  CHECK(written.error().number == ENOSPC);
  const uint64_t transferred = written.error().transferred;
  // Cached: what fits. Direct: nothing, ext4 refuses a request as a whole and takes back what it had begun.
  CHECK(size_of(path) == transferred);
  if (options.direct == Direct::never) CHECK(transferred > disk_size / 4);
  Memory read(chunk_size);
  File* const address = &file;
  Memory* const read_address = &read;
  co_await ok(file.sync());
  co_await ok(read_back(address, read_address, transferred));
  co_return co_await file.close();
}

TEST_CASE("one vectored write of more than the disk holds tells how much of it is there") {
  for (const OpenOptions& options : {open_cached_new, open_direct_new}) {
    CAPTURE(options.direct == Direct::require);
    const LoopMount disk({.type = "ext4", .size = disk_size});
    if (!disk.is_mounted()) return skip(disk.obstacle());
    UringLoop ring;
    ring.run_to_success(write_more_than_fits, disk.file("data"), options);
  }
}

}  // namespace
}  // namespace spindle
