// Reading what can't all be read: which requests are made, what is lost, and what is not looked for at all.
#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "io/storage.h"
#include "tests/io/bad_disk.h"

namespace spindle {
namespace {

constexpr uint64_t sector = 4096;
constexpr uint64_t zone_begin = 2 * sector;
constexpr uint64_t zone_sectors = 256;
constexpr ZoneIndex body{1};
constexpr ZoneOptions zones[] = {{.name = "head", .size = zone_begin}, {.name = "body", .size = zone_sectors * sector}};
constexpr uint64_t disk_size = zone_begin + zone_sectors * sector;

/// One read of the zone, and what became of it.
struct Reading {
  explicit Reading(uint64_t sectors_count) : memory(sectors_count * sector, 0xee), sectors_count(sectors_count) {}

  bool is_intact(uint64_t index) {
    for (uint64_t at = index * sector; at < (index + 1) * sector; ++at) {
      if (memory.all()[at] != pattern_at(zone_begin + first * sector + at)) return false;
    }
    return true;
  }
  bool is_filled(uint64_t index) {
    const std::span<std::byte> part = memory.part(index * sector, sector);
    return std::all_of(part.begin(), part.end(), [](std::byte byte) { return byte == std::byte{0xbd}; });
  }
  /// Exactly these are lost, and filled; all others are as they were written.
  void check_lost(const std::set<uint64_t>& expected) {
    const LostSectors lost(words);
    CHECK(lost.count() == expected.size());
    for (uint64_t index = 0; index < sectors_count; ++index) {
      CAPTURE(index);
      const bool is_expected = expected.count(index) > 0;
      CHECK(lost.is_lost(index) == is_expected);
      CHECK((is_expected ? is_filled(index) : is_intact(index)));
    }
    CHECK(result.has_value() == expected.empty());
    if (result.has_value()) return;
    CHECK(result.error().code == ErrorCode::lost_sectors);
    CHECK(result.error().transferred == (sectors_count - expected.size()) * sector);
  }

  Memory memory;
  uint64_t sectors_count;
  uint64_t first = 0;  // sector of the zone
  std::vector<uint64_t> words{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
  IoClass io_class = IoClass::foreground;
  Result<void> result;
};

Task<Result<void>> read_sectors(BadDisk& disk, Reading& reading) {
  Storage storage = co_await ok(Storage::open("data", zones));
  disk.asked.clear();
  const std::span<std::byte> memory = reading.memory.all();
  const StorageReadOptions options{.lost = LostSectors(reading.words), .io_class = reading.io_class};
  const uint64_t offset = reading.first * sector;
  reading.result = co_await storage.read(body, offset, memory, options);
  CHECK_FALSE(storage.is_stopped());
  co_return Result<void>();
}

void lose(BadDisk& disk, uint64_t index, int number = EIO, uint32_t times = UINT32_MAX) {
  disk.damage(zone_begin + index * sector + 1000, 1, number, times);
}

struct Request {
  uint64_t begin;
  uint64_t count;
  friend bool operator==(const Request&, const Request&) = default;
};

/// The reads that were made, in sectors of the zone.
std::vector<Request> requests_of(const BadDisk& disk) {
  std::vector<Request> requests;
  for (const BadDisk::Asked& one : disk.asked) {
    if (one.opcode != Opcode::read) continue;
    CHECK((one.offset - zone_begin) % sector == 0);
    CHECK(one.size % sector == 0);
    requests.push_back({(one.offset - zone_begin) / sector, one.size / sector});
  }
  return requests;
}

TEST_CASE("a read that meets no error is one request") {
  BadDiskLoop on(disk_size);
  Reading reading(64);
  on.run_to_success(read_sectors, on.disk, reading);
  CHECK(requests_of(on.disk) == std::vector<Request>{{0, 64}});
  reading.check_lost({});
}

TEST_CASE("an unreadable sector is found in halves, and tried twice") {
  BadDiskLoop on(disk_size);
  lose(on.disk, 5);
  Reading reading(8);
  on.run_to_success(read_sectors, on.disk, reading);
  const std::vector<Request> expected{{0, 8}, {0, 4}, {4, 4}, {4, 2}, {4, 1}, {5, 1}, {5, 1}, {6, 2}};
  CHECK(requests_of(on.disk) == expected);
  reading.check_lost({5});
}

TEST_CASE("of a read that is no power of two sectors long the last part is what is left") {
  BadDiskLoop on(disk_size);
  lose(on.disk, 12);
  Reading reading(3);
  reading.first = 10;
  on.run_to_success(read_sectors, on.disk, reading);
  CHECK(requests_of(on.disk) == std::vector<Request>{{10, 3}, {10, 2}, {12, 1}, {12, 1}});
  reading.check_lost({2});
  Reading seven(7);
  seven.first = 9;
  on.run_to_success(read_sectors, on.disk, seven);
  const std::vector<Request> expected{{9, 7}, {9, 4}, {9, 2}, {11, 2}, {11, 1}, {12, 1}, {12, 1}, {13, 3}};
  CHECK(requests_of(on.disk) == expected);
  seven.check_lost({3});
}

TEST_CASE("two lost sectors among 64 are reported, and the other 62 are there") {
  BadDiskLoop on(disk_size);
  lose(on.disk, 17);
  lose(on.disk, 40);
  Reading reading(64);
  on.run_to_success(read_sectors, on.disk, reading);
  reading.check_lost({17, 40});
}

TEST_CASE("the first sector, the last one, or all of them may be lost") {
  for (const uint64_t index : {uint64_t{0}, uint64_t{63}}) {
    BadDiskLoop on(disk_size);
    lose(on.disk, index);
    Reading reading(64);
    on.run_to_success(read_sectors, on.disk, reading);
    reading.check_lost({index});
  }
  BadDiskLoop on(disk_size);
  on.disk.damage(zone_begin, 64 * sector, EIO);
  Reading reading(64);
  on.run_to_success(read_sectors, on.disk, reading);
  std::set<uint64_t> all;
  for (uint64_t index = 0; index < 64; ++index) all.insert(index);
  reading.check_lost(all);
  CHECK(requests_of(on.disk).size() == 3 * 64 - 1);
}

TEST_CASE("a single sector is tried a second time, and then lost") {
  BadDiskLoop on(disk_size);
  lose(on.disk, 3, EIO, 1);
  Reading reading(1);
  reading.first = 3;
  on.run_to_success(read_sectors, on.disk, reading);
  CHECK(requests_of(on.disk) == std::vector<Request>{{3, 1}, {3, 1}});
  reading.check_lost({});
  lose(on.disk, 3);
  on.run_to_success(read_sectors, on.disk, reading);
  CHECK(requests_of(on.disk) == std::vector<Request>{{3, 1}, {3, 1}});
  reading.check_lost({0});
}

TEST_CASE("an error that does not come again loses nothing") {
  for (uint32_t times = 1; times <= 4; ++times) {
    CAPTURE(times);
    BadDiskLoop on(disk_size);
    lose(on.disk, 6, EIO, times);
    Reading reading(8);
    on.run_to_success(read_sectors, on.disk, reading);
    reading.check_lost({});
  }
}

TEST_CASE("every errno of an unreadable sector is taken for one") {
  for (const int number : {EIO, ENODATA, EREMOTEIO, EILSEQ, EBADMSG}) {
    CAPTURE(number);
    BadDiskLoop on(disk_size);
    lose(on.disk, 2, number);
    Reading reading(4);
    on.run_to_success(read_sectors, on.disk, reading);
    reading.check_lost({2});
  }
}

TEST_CASE("every other errno is returned at once, as it is") {
  for (const int number : {EBADF, ENODEV, ENXIO, EINVAL, ENOMEM, ETIMEDOUT, ENOLINK, EOPNOTSUPP, EPERM, EFAULT, ESTALE,
                           EUCLEAN, ENOSPC, EACCES}) {
    CAPTURE(number);
    BadDiskLoop on(disk_size);
    lose(on.disk, 2, number);
    Reading reading(4);
    on.run_to_success(read_sectors, on.disk, reading);
    REQUIRE_FALSE(reading.result.has_value());
    CHECK(reading.result.error().code == ErrorCode::system);
    CHECK(reading.result.error().number == number);
    CHECK(requests_of(on.disk).size() == 1);
    CHECK(LostSectors(reading.words).count() == 0);
  }
}

TEST_CASE("interrupted reads are tried again, and an endless storm is an error of the read and not of its sectors") {
  for (const int number : {EINTR, EAGAIN, ECANCELED}) {
    CAPTURE(number);
    BadDiskLoop on(disk_size);
    on.disk.answer(Opcode::read, {-number, -number});
    Reading reading(4);
    on.run_to_success(read_sectors, on.disk, reading);
    reading.check_lost({});
    on.disk.answer_always(Opcode::read, -number);
    on.run_to_success(read_sectors, on.disk, reading);
    REQUIRE_FALSE(reading.result.has_value());
    CHECK(reading.result.error().number == number);
    CHECK(requests_of(on.disk).size() == operation_retries_max + 1u);
  }
}

TEST_CASE("short reads go on where they stopped") {
  BadDiskLoop on(disk_size);
  on.disk.answer(Opcode::read, {3 * sector, 2 * sector});
  Reading reading(8);
  on.run_to_success(read_sectors, on.disk, reading);
  CHECK(requests_of(on.disk) == std::vector<Request>{{0, 8}, {3, 5}, {5, 3}});
  reading.check_lost({});
}

TEST_CASE("an error behind a short read is looked for behind it, from a whole sector on") {
  BadDiskLoop on(disk_size);
  lose(on.disk, 5);
  on.disk.answer(Opcode::read, {5 * sector});
  Reading reading(16);
  on.run_to_success(read_sectors, on.disk, reading);
  const std::vector<Request> expected{{0, 16}, {5, 11}, {5, 1}, {5, 1}, {6, 2}, {8, 8}};
  CHECK(requests_of(on.disk) == expected);
  reading.check_lost({5});
  // 512 bytes of the sector had come: it is asked for as a whole.
  on.disk.answer(Opcode::read, {5 * sector + 512, -EIO});
  Reading again(16);
  on.run_to_success(read_sectors, on.disk, again);
  const std::vector<BadDisk::Asked>& asked = on.disk.asked;
  REQUIRE(asked.size() > 3);
  CHECK(asked[2].offset == zone_begin + 5 * sector);
  CHECK(asked[2].size == sector);
  again.check_lost({5});
}

TEST_CASE("another error while sectors are looked for ends that") {
  BadDiskLoop on(disk_size);
  lose(on.disk, 5);
  lose(on.disk, 7, ENODEV);
  Reading reading(8);
  on.run_to_success(read_sectors, on.disk, reading);
  REQUIRE_FALSE(reading.result.has_value());
  CHECK(reading.result.error().code == ErrorCode::system);
  CHECK(reading.result.error().number == ENODEV);
  CHECK(reading.result.error().transferred == 5 * sector);
}

TEST_CASE("a read past the end of the file says so, whether or not sectors are lost before it") {
  for (const bool loses : {false, true}) {
    CAPTURE(loses);
    BadDiskLoop on(disk_size);
    if (loses) lose(on.disk, zone_sectors - 8);
    Reading reading(8);
    reading.first = zone_sectors - 8;
    // Somebody cut the file after it was opened.
    auto cut_and_read = [](BadDisk& disk, Reading& of) -> Task<Result<void>> {
      Storage storage = co_await ok(Storage::open("data", zones));
      disk.bytes.resize(disk_size - 2 * sector);
      const std::span<std::byte> memory = of.memory.all();
      const uint64_t offset = of.first * sector;
      of.result = co_await storage.read(body, offset, memory);
      co_return Result<void>();
    };
    on.run_to_success(cut_and_read, on.disk, reading);
    REQUIRE_FALSE(reading.result.has_value());
    CHECK(reading.result.error().code == ErrorCode::end_of_file);
    CHECK(reading.result.error().transferred == (loses ? 5 : 6) * sector);
  }
}

Task<Result<void>> cancel_held_read(Scope& scope, BadDisk* disk, Reading* reading) {
  auto reader = [](BadDisk* of, Reading* into) -> Task<Result<void>> { co_return co_await read_sectors(*of, *into); };
  co_await ok(scope.spawn(reader, disk, reading));
  while (disk->asked_count(Opcode::read) == 0) co_await ok(yield());
  disk->hold(Opcode::read);
  while (disk->held.empty()) co_await ok(yield());
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> cancel_read(BadDisk& disk, Reading& reading) {
  BadDisk* const disk_address = &disk;
  Reading* const reading_address = &reading;
  auto cancelling = with_scope(ScopeOptions{}, cancel_held_read, disk_address, reading_address);
  co_return co_await std::move(cancelling);
}

TEST_CASE("a read can be cancelled, also while it looks for lost sectors") {
  for (const bool loses : {false, true}) {
    CAPTURE(loses);
    BadDiskLoop on(disk_size);
    if (loses) lose(on.disk, 5);
    if (!loses) on.disk.answer(Opcode::read, {2 * sector});
    Reading reading(8);
    on.run_to_success(cancel_read, on.disk, reading);
    REQUIRE_FALSE(reading.result.has_value());
    CHECK(reading.result.error().code == ErrorCode::cancelled);
    CHECK(reading.result.error().transferred == (loses ? 0 : 2 * sector));
    CHECK(requests_of(on.disk).size() == 2);
  }
}

Task<Result<void>> read_without_list(BadDisk& disk) {
  Storage storage = co_await ok(Storage::open("data", zones));
  lose(disk, 1);
  Memory memory(4 * sector);
  const std::span<std::byte> all = memory.all();
  const Result<void> read = co_await storage.read(body, 0, all);
  REQUIRE_FALSE(read.has_value());
  CHECK(read.error().code == ErrorCode::lost_sectors);
  CHECK(read.error().transferred == 3 * sector);
  CHECK(all[sector] == lost_sector_fill);
  co_return Result<void>();
}

TEST_CASE("lost sectors are an error without a list to put them on, too") {
  BadDiskLoop on(disk_size);
  on.run_to_success(read_without_list, on.disk);
}

TEST_CASE("every request of a read has its class of I/O") {
  for (const IoClass io_class : {IoClass::foreground, IoClass::background}) {
    BadDiskLoop on(disk_size);
    lose(on.disk, 1);
    Reading reading(4);
    reading.io_class = io_class;
    on.run_to_success(read_sectors, on.disk, reading);
    CHECK(on.disk.asked.size() > 4);
    for (const BadDisk::Asked& one : on.disk.asked) {
      if (one.opcode == Opcode::read) CHECK(one.io_class == io_class);
    }
  }
}

TEST_CASE("whatever sectors are lost: they are found, the others are read, and it costs at most three requests each") {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    BadDiskLoop on(disk_size);
    Reading reading(1 + random.below(200));
    reading.first = random.below(zone_sectors - reading.sectors_count + 1);
    std::set<uint64_t> lost;
    for (uint64_t count = random.below(6); count > 0; --count) lost.insert(random.below(reading.sectors_count));
    for (const uint64_t index : lost) lose(on.disk, reading.first + index);
    for (uint64_t count = random.below(3); count > 0; --count) {
      on.disk.answer(Opcode::read, {static_cast<int32_t>((1 + random.below(64)) * 512), BadDisk::as_usual, -EINTR});
    }
    on.run_to_success(read_sectors, on.disk, reading);
    reading.check_lost(lost);
    CHECK(on.disk.asked_count(Opcode::read) < 3 * reading.sectors_count + 12);
  }
}

}  // namespace
}  // namespace spindle
