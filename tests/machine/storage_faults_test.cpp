// Storage against the kernel's own errors: a file system that answers with any errno, a full disk, a block device.
#include <doctest/doctest.h>

#include <optional>
#include <vector>

#include "io/storage.h"
#include "tests/machine/faulty_files.h"

namespace spindle {
namespace {

constexpr uint64_t sector = 4096;
constexpr ZoneIndex head{0};
constexpr ZoneIndex body{1};
constexpr uint64_t sectors_count = FaultyFiles::transfer_size_max / sector;
constexpr ZoneOptions zones[] = {{.name = "head", .size = 2 * sector},
                                 {.name = "body", .size = 64 * sectors_count * sector, .size_present_min = 0}};
// Neither does direct I/O there, nor needs to: what the kernel reports passes through the ring all the same.
constexpr StorageOptions cached{.direct = Direct::never, .overwrite = true};

struct Outcome {
  Result<void> result;
  std::vector<uint64_t> words{std::vector<uint64_t>(1)};
  std::string reason;
};

Task<Result<void>> read_with_fault(FaultyFiles& files, const Fault& fault, Outcome& outcome) {
  const std::string path = files.file("storage");
  Storage storage = co_await ok(Storage::create(path, zones, cached));
  Memory memory(sectors_count * sector);
  memory.fill_with_pattern();
  const std::span<std::byte> all = memory.all();
  co_await ok(storage.write(body, 0, all));
  std::memset(all.data(), 0, all.size());
  files.arm(fault);
  const StorageReadOptions options{.lost = LostSectors(outcome.words)};
  outcome.result = co_await storage.read(body, 0, all, options);
  CHECK(files.hits_count() == fault.times);
  for (uint64_t at = 0; at < all.size(); ++at) {
    const bool is_lost = options.lost.is_lost(at / sector);
    const std::byte expected = is_lost ? lost_sector_fill : pattern_at(at);
    if (all[at] == expected) continue;
    CHECK_MESSAGE(all[at] == expected, "byte ", at);
    break;
  }
  CHECK_FALSE(storage.is_stopped());
  co_return co_await storage.close();
}

TEST_CASE("sectors that a real read can't have are found in halves and lost, in one file system as in a model") {
  FaultyFiles files(sector);
  if (!files.is_mounted()) return skip(files.obstacle());
  for (const int number : {EIO, ENODATA, EREMOTEIO, EILSEQ, EBADMSG}) {
    CAPTURE(number);
    Outcome outcome;
    // The whole, then each first half down to one sector, and that twice: sector 0 is lost, and all others are read.
    const uint32_t times = 7;
    UringLoop().run_to_success(read_with_fault, files,
                               Fault{.request = Request::read, .times = times, .number = number}, outcome);
    CHECK(outcome.result.error().code == ErrorCode::lost_sectors);
    CHECK(outcome.result.error().transferred == (sectors_count - 1) * sector);
    CHECK(outcome.words[0] == 1);
    CHECK(files.served_count(Request::read) == times + 5);
    // One time less, and nothing is lost.
    files.disarm();
    UringLoop().run_to_success(read_with_fault, files,
                               Fault{.request = Request::read, .times = times - 1, .number = number}, outcome);
    CHECK(outcome.result.has_value());
    CHECK(outcome.words[0] == 0);
    files.disarm();
  }
}

TEST_CASE("a part of a read that is short goes on where it stopped") {
  FaultyFiles files(sector);
  if (!files.is_mounted()) return skip(files.obstacle());
  Outcome outcome;
  Fault fault{.request = Request::read, .times = 2, .number = EIO, .short_size = 5 * sector, .short_every = 2};
  fault.in_worker = true;
  UringLoop().run_to_success(read_with_fault, files, fault, outcome);
  CHECK(outcome.result.has_value());
  CHECK(files.served_count(Request::read) == 4);
}

Task<Result<void>> change_with_fault(FaultyFiles& files, const Fault& fault, Outcome& outcome) {
  const std::string path = files.file("storage");
  Storage storage = co_await ok(Storage::create(path, zones, cached));
  Memory memory(2 * sector);
  const std::span<std::byte> all = memory.all();
  files.arm(fault);
  if (fault.request == Request::write) outcome.result = co_await storage.write(body, sector, all);
  if (fault.request == Request::fsync) outcome.result = co_await storage.sync();
  if (fault.request == Request::allocate) outcome.result = co_await storage.allocate(body, 0, sector);
  CHECK(files.hits_count() == 1);
  outcome.reason = storage.stop_reason();
  const Result<void> more = co_await storage.write(head, 0, all);
  CHECK(more.has_value() == outcome.reason.empty());
  if (!more.has_value()) CHECK(more.error().code == ErrorCode::poisoned);
  co_await ok(storage.read(head, 0, all));
  co_return co_await storage.close();
}

TEST_CASE("an errno of the kernel stops a storage at a write or a sync, and not where space is asked for") {
  FaultyFiles files(sector);
  if (!files.is_mounted()) return skip(files.obstacle());
  for (const Request request : {Request::write, Request::fsync, Request::allocate}) {
    for (const int number : {EIO, ENOSPC, EDQUOT, EFBIG, EROFS}) {
      CAPTURE(std::string(name_of(request)));
      CAPTURE(number);
      Outcome outcome;
      UringLoop().run_to_success(change_with_fault, files, Fault{.request = request, .number = number}, outcome);
      REQUIRE_FALSE(outcome.result.has_value());
      CHECK(outcome.result.error().number == number);
      CHECK(outcome.reason.empty() == (request == Request::allocate));
      const std::string text = "(errno " + std::to_string(number) + ")";
      if (!outcome.reason.empty()) CHECK(outcome.reason.find(text) != std::string::npos);
      files.disarm();
    }
  }
}

// Full.

constexpr uint64_t chunk = 1 << 20;
constexpr uint64_t disk_size = 24 << 20;
constexpr ZoneOptions large_zones[] = {{.name = "head", .size = 16 * sector},
                                       {.name = "grid", .size = 64 * chunk, .alignment = chunk, .size_present_min = 0}};
constexpr ZoneIndex grid{1};

/// Allocates and writes until the disk is full; how much that was.
Task<Result<void>> fill(Storage& storage, Memory& memory, uint64_t& written) {
  for (;;) {
    const Result<void> allocated = co_await storage.allocate(grid, written, chunk);
    if (!allocated.has_value()) {
      CHECK(allocated.error().number == ENOSPC);
      CHECK_FALSE(storage.is_stopped());
      co_return Result<void>();
    }
    memory.fill_with_pattern(written);
    const std::span<std::byte> all = memory.all();
    co_await ok(storage.write(grid, written, all));
    written += chunk;
  }
}

Task<Result<void>> read_back(Storage& storage, Memory& memory, uint64_t size) {
  const std::span<std::byte> all = memory.all();
  for (uint64_t offset = 0; offset < size; offset += chunk) {
    co_await ok(storage.read(grid, offset, all));
    CHECK(memory.has_pattern(offset));
  }
  co_return Result<void>();
}

Task<Result<void>> use_full_disk(const LoopMount& disk) {
  const std::string ballast_path = disk.file("ballast");
  const std::string path = disk.file("storage");
  File ballast = co_await ok(File::open(ballast_path, open_cached_new));
  co_await ok(ballast.allocate(0, 4 * chunk));
  co_await ok(ballast.sync());
  Storage storage = co_await ok(Storage::create(path, large_zones));
  co_await ok(storage.write_through(head));
  Memory memory(chunk);
  uint64_t written = 0;
  co_await ok(fill(storage, memory, written));
  CHECK(written > 4 * chunk);
  // What was promised can be written, over and over, and durably, though there is no space at all.
  co_await ok(read_back(storage, memory, written));
  for (uint64_t offset = 0; offset < written; offset += chunk) {
    memory.fill_with_pattern(offset);
    const std::span<std::byte> all = memory.all();
    co_await ok(storage.write(grid, offset, all));
  }
  co_await ok(storage.sync());
  CHECK_FALSE(storage.is_stopped());
  // There is room again.
  co_await ok(ballast.close());
  CHECK(::unlink(ballast_path.c_str()) == 0);
  const uint64_t before = written;
  co_await ok(fill(storage, memory, written));
  CHECK(written > before);
  co_await ok(read_back(storage, memory, written));
  // Who does not ask first is stopped.
  const std::span<std::byte> all = memory.all();
  const Result<void> unasked = co_await storage.write(grid, 60 * chunk, all);
  REQUIRE_FALSE(unasked.has_value());
  CHECK(unasked.error().number == ENOSPC);
  CHECK(storage.stop_reason().find("of zone grid (at 63963136 of the file): No space left") != std::string::npos);
  co_await ok(read_back(storage, memory, written));
  co_return co_await storage.close();
}

TEST_CASE("on a full disk space is refused before it is needed, what was promised is kept, and it goes on with room") {
  for (const char* type : {"ext4"}) {
    CAPTURE(std::string(type));
    const LoopMount disk({.type = type, .size = disk_size});
    if (!disk.is_mounted()) return skip(disk.obstacle());
    UringLoop().run_to_success(use_full_disk, disk);
  }
}

// A block device.

Task<Result<void>> use_device(const std::string& path, uint32_t sector_size) {
  const Result<Storage> unasked = co_await Storage::create(path, large_zones);
  REQUIRE_FALSE(unasked.has_value());
  CHECK(unasked.error().number == EEXIST);
  StorageOptions options;
  options.overwrite = true;
  options.lock.wait_max = Duration::zero();
  options.sector_size = 512;
  {
    const Result<Storage> small = co_await Storage::open(path, large_zones, options);
    CHECK(small.has_value() == (sector_size == 512));
    if (!small.has_value()) CHECK(small.error().code == ErrorCode::misaligned);
  }
  options.sector_size = 4096;
  options.lock.wait_max = std::chrono::seconds(5);  // the one before is still being closed
  Storage storage = co_await ok(Storage::create(path, large_zones, options));
  options.lock.wait_max = Duration::zero();
  const Result<Storage> second = co_await Storage::open(path, large_zones, options);
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().number == EWOULDBLOCK);
  Memory memory(chunk);
  memory.fill_with_pattern(chunk);
  const std::span<std::byte> all = memory.all();
  co_await ok(storage.write_through(head));
  co_await ok(storage.allocate(grid, 22 * chunk, chunk));
  co_await ok(storage.write(grid, 22 * chunk, all));
  std::memset(all.data(), 0, all.size());
  co_await ok(storage.read(grid, 22 * chunk, all));
  CHECK(memory.has_pattern(chunk));
  const Result<void> past = co_await storage.allocate(grid, 23 * chunk, chunk);
  REQUIRE_FALSE(past.has_value());
  CHECK(past.error().number == ENOSPC);
  const Result<void> read = co_await storage.read(grid, 23 * chunk, all);
  REQUIRE_FALSE(read.has_value());
  CHECK(read.error().code == ErrorCode::end_of_file);
  CHECK_FALSE(storage.is_stopped());
  co_return co_await storage.close();
}

Task<Result<void>> open_on_small_device(const std::string& path) {
  constexpr ZoneOptions too_large[] = {{.name = "all", .size = disk_size + sector}};
  StorageOptions options;
  options.overwrite = true;
  const Result<Storage> refused = co_await Storage::create(path, too_large, options);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::end_of_file);
  co_return Result<void>();
}

TEST_CASE("a block device is a storage, too") {
  if (!has_private_mounts()) return skip("needs root");
  TemporaryFolder folder;
  for (const uint32_t sector_size : {512u, 4096u}) {
    CAPTURE(sector_size);
    const LoopImage image(folder.path(), disk_size, sector_size);
    if (!image.is_set_up()) return skip("no loop device to be had");
    UringLoop().run_to_success(use_device, image.device(), sector_size);
    UringLoop().run_to_success(open_on_small_device, image.device());
  }
}

}  // namespace
}  // namespace spindle
