// The same promises on every file system and sector size: direct I/O with the alignment found, refusals of what is
// misaligned, exact transfers of one block to 2 MiB, ends of files, allocation, syncs.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "io/file.h"
#include "tests/io/loop_mount.h"

namespace spindle {
namespace {

constexpr size_t memory_size = 2 << 20;

struct Case {
  std::string type;
  uint32_t sector_size;
};
const Case cases[] = {{"ext4", 512}, {"ext4", 4096}, {"xfs", 512}, {"xfs", 4096}, {"btrfs", 512}, {"btrfs", 4096}};

bool tells_direct_io(const std::string& path) {
  struct statx status{};
  REQUIRE(::statx(AT_FDCWD, path.c_str(), 0, STATX_BASIC_STATS | STATX_DIOALIGN, &status) == 0);
  return (status.stx_mask & STATX_DIOALIGN) != 0 && status.stx_dio_offset_align != 0;
}

Task<Result<void>> refuse_misaligned(File* file, Memory* memory) {
  const uint32_t unit = file->offset_alignment();
  const std::span<std::byte> one = memory->part(0, unit);
  const std::span<std::byte> ragged = memory->part(0, unit / 2);
  const std::span<std::byte> shifted = memory->part(file->memory_alignment() / 2, unit);
  const Result<void> of_size = co_await file->write_all_at(0, ragged);
  const Result<uint64_t> of_offset = co_await file->read_at(unit / 2, one);
  const Result<void> of_memory = co_await file->read_exact_at(0, shifted);
  REQUIRE((!of_size.has_value() && !of_offset.has_value() && !of_memory.has_value()));
  CHECK(of_size.error().code == ErrorCode::misaligned);
  CHECK(of_offset.error().code == ErrorCode::misaligned);
  CHECK(of_memory.error().code == ErrorCode::misaligned);
  co_return Result<void>();
}

/// Plain and vectored, there and back, at an offset of its own.
Task<Result<void>> round_trip(File* file, Memory* memory, size_t size) {
  const std::span<std::byte> part = memory->part(0, size);
  memory->fill_with_pattern(size);
  co_await ok(file->write_all_at(size, part));
  std::memset(part.data(), 0, size);
  co_await ok(file->read_exact_at(size, part));
  CHECK(memory->has_pattern(size));

  const size_t cut = size / 2 / file->offset_alignment() * file->offset_alignment();
  std::vector<iovec> out{{part.data(), cut}, {part.data() + cut, size - cut}};
  std::vector<iovec> in = out;
  const std::span<iovec> written(out);
  const std::span<iovec> read(in);
  co_await ok(file->write_all_at(2 * size, written, {.durable = true}));
  std::memset(part.data(), 0, size);
  co_await ok(file->read_exact_at(2 * size, read));
  CHECK(memory->has_pattern(size));
  co_return Result<void>();
}

/// The file is `size` bytes long, which need not be a multiple of anything.
Task<Result<void>> read_to_the_end(const std::string& path, OpenOptions options, Memory* memory, uint64_t size) {
  File file = co_await ok(File::open(path, options));
  CHECK(file.size_at_open() == size);
  const std::span<std::byte> more = memory->part(0, 16384);
  const uint64_t count = co_await ok(file.read_at(0, more));
  CHECK(count == size);
  const Result<void> exact = co_await file.read_exact_at(0, more);
  REQUIRE(!exact.has_value());
  CHECK(exact.error().code == ErrorCode::end_of_file);
  CHECK(exact.error().transferred == size);
  const uint64_t past = co_await ok(file.read_at(16384, more));
  CHECK(past == 0);
  co_return Result<void>();
}

Task<Result<void>> use_file(const std::string& path, OpenOptions options, uint32_t sector_size) {
  File file = co_await ok(File::open(path, options));
  Memory memory(memory_size);
  if (options.direct == Direct::require) {
    CHECK(std::has_single_bit(file.offset_alignment()));
    CHECK(std::has_single_bit(file.memory_alignment()));
    CHECK(file.offset_alignment() >= sector_size);
    File* const address = &file;
    Memory* const memory_address = &memory;
    co_await ok(refuse_misaligned(address, memory_address));
  }
  const size_t block = std::max<size_t>(file.offset_alignment(), 512);
  for (const size_t size : {block, 3 * block, size_t{65536}, size_t{1} << 20, memory_size}) {
    CAPTURE(size);
    Memory part(size);
    File* const address = &file;
    Memory* const part_address = &part;
    co_await ok(round_trip(address, part_address, size));
  }
  co_await ok(file.allocate(0, 8 << 20));
  co_await ok(file.sync_data());
  co_await ok(file.sync());
  CHECK_FALSE(file.is_poisoned());
  co_return co_await file.close();
}

/// Everything above, in one mode of opening.
void use_disk(const LoopMount& disk, TemporaryFolder& folder, OpenOptions options, uint32_t sector_size) {
  UringLoop ring;
  Memory memory(16384);
  const std::string path = disk.file("data");
  ring.run_to_success(use_file, path, options, sector_size);
  CHECK(std::filesystem::file_size(path) == 8 << 20);
  const std::string ragged = disk.file("ragged");
  std::filesystem::copy_file(folder.filled("ragged", 6001), ragged);
  OpenOptions options_of_reader = options;
  options_of_reader.create = false;
  ring.run_to_success(read_to_the_end, ragged, options_of_reader, &memory, uint64_t{6001});
  std::filesystem::remove(ragged);
  std::filesystem::remove(path);
}

// Btrfs does direct I/O and does not tell: statx leaves STX_DIOALIGN out, and that is trusted.
Task<Result<void>> expect_no_direct_io(const std::string& path) {
  auto opening = File::open(path, {.access = Access::read_write, .direct = Direct::require});
  const Result<File> refused = co_await std::move(opening);
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::no_direct_io);
  const File preferred = co_await ok(File::open(path, {.direct = Direct::prefer}));
  CHECK_FALSE(preferred.is_direct());
  CHECK(preferred.offset_alignment() == 1);
  co_return Result<void>();
}

TEST_CASE("files keep their promises on ext4, XFS and Btrfs, over sectors of 512 and of 4096 bytes") {
  TemporaryFolder folder;
  for (const Case& each : cases) {
    CAPTURE(each.type);
    CAPTURE(each.sector_size);
    const LoopMount disk({.type = each.type, .sector_size = each.sector_size});
    if (!disk.is_mounted()) {
      skip(disk.obstacle());
      continue;
    }
    use_disk(disk, folder, open_cached_new, each.sector_size);
    const std::string probe = disk.file("probe");
    std::filesystem::copy_file(folder.filled("probe", 8192), probe);
    const bool has_direct = tells_direct_io(probe);
    if (has_direct) {
      use_disk(disk, folder, open_direct_new, each.sector_size);
    } else {
      UringLoop ring;
      ring.run_to_success(expect_no_direct_io, probe);
    }
  }
}

}  // namespace
}  // namespace spindle
