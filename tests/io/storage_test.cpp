// Storage on every backend: zones against plain arrays, space, ends, drops, killed hosts. Making and opening is in
// storage_open_test.cpp; what goes wrong on the disk in storage_read_test.cpp and storage_stop_test.cpp.
#include "io/storage.h"

#include <doctest/doctest.h>

#include <optional>
#include <vector>

#include "tests/io/every_world.h"
#include "tests/io/storage_fixture.h"

namespace spindle {
namespace {

/// A random access to a zone, and the same to an array.
Task<Result<void>> access_once(Storage& storage, std::vector<std::byte>& model, ZoneIndex zone) {
  Random& random = Loop::current().random();
  const uint64_t sectors = std::min(storage.zone_size(zone), block) / sector;
  const uint64_t first = random.below(sectors);
  const uint64_t count = 1 + random.below(sectors - first);
  Memory memory(count * sector, static_cast<uint8_t>(1 + random.below(255)));
  const std::span<std::byte> all = memory.all();
  std::byte* const place = model.data() + first * sector;
  const uint64_t offset = first * sector;
  if (random.chance(1, 2)) {
    const StorageWriteOptions options{.durable = random.chance(1, 2)};
    co_await ok(storage.write(zone, offset, all, options));
    std::memcpy(place, all.data(), all.size());
    co_return Result<void>();
  }
  uint64_t words[1] = {UINT64_MAX};
  const StorageReadOptions options{.lost = LostSectors(words)};
  co_await ok(storage.read(zone, offset, all, options));
  CHECK(std::memcmp(place, all.data(), all.size()) == 0);
  CHECK(words[0] == 0);
  co_return Result<void>();
}

Task<Result<void>> follow_model(std::string folder) {
  const std::string path = folder + "/data";
  std::vector<std::byte> models[3];
  for (std::vector<std::byte>& model : models) model.resize(block);
  for (int round = 0; round < 4; ++round) {
    auto making = round == 0 ? Storage::create(path, zones) : Storage::open(path, zones);
    Storage storage = co_await ok(std::move(making));
    CHECK(storage.path() == path);
    CHECK(storage.sector_size() == sector);
    for (int count = 0; count < 40; ++count) {
      const uint64_t zone = Loop::current().random().below(3);
      co_await ok(access_once(storage, models[zone], static_cast<ZoneIndex>(zone)));
    }
    co_await ok(storage.sync());
    if (round % 2 == 0) co_await ok(storage.close());
  }
  // And where it lies in the file.
  File file = co_await ok(File::open(path, {.direct = Direct::never}));
  Memory memory(size_made);
  const std::span<std::byte> all = memory.all();
  co_await ok(file.read_exact_at(0, all));
  CHECK(std::memcmp(all.data(), models[0].data(), 3 * sector) == 0);
  CHECK(std::memcmp(all.data() + 3 * sector, models[1].data(), 8 * sector) == 0);
  CHECK(is_all(all.subspan(11 * sector, 5 * sector), 0));
  CHECK(std::memcmp(all.data() + block, models[2].data(), block) == 0);
  co_return Result<void>();
}

TEST_CASE("zones do what arrays do, each in its own part of the file, and keep it") {
  in_every_world(follow_model);
  SimBackendOptions large = faulty_disk();
  large.memory_alignment = large.offset_alignment = 4096;
  for (uint64_t seed = 100; seed < 105; ++seed) in_simulation(seed, large, follow_model);
}

Task<Result<void>> open_short(std::string folder) {
  const std::string path = folder + "/data";
  co_await ok(make_file(path, size_made - sector, 0x11));
  const Result<Storage> refused = co_await Storage::open(path, zones);
  check_code(refused, ErrorCode::end_of_file);
  CHECK(describe(refused.error()).find("shorter than its zones") != std::string::npos);
  uint64_t size = co_await ok(size_of(path));
  CHECK(size == size_made - sector);
  co_await ok(make_file(path, size_made, 0x11));
  Storage storage = co_await ok(Storage::open(path, zones));
  Memory memory(2 * sector, 0xee);
  const std::span<std::byte> two = memory.all();
  co_await ok(storage.read(grid, block - 2 * sector, two));
  CHECK(is_all(two, 0x11));
  const Result<void> past = co_await storage.read(grid, block - sector, two);
  check_code(past, ErrorCode::end_of_file);
  CHECK(past.error().transferred == sector);
  const Result<void> beyond = co_await storage.read(grid, 8 * block, two);
  check_code(beyond, ErrorCode::end_of_file);
  CHECK(beyond.error().transferred == 0);
  co_return Result<void>();
}

TEST_CASE("a file that is shorter than its zones is refused, and a read past the end of one says so") {
  in_every_world(open_short);
}

Task<Result<void>> add_later(std::string folder) {
  const std::string path = folder + "/data";
  {
    Storage made = co_await ok(Storage::create(path, zones));
    co_await ok(made.close());
  }
  const std::span<const ZoneOptions> first(zones, 1);
  Storage storage = co_await ok(Storage::open(path, first));
  CHECK(storage.add_zone(zones[1]).value() == journal);
  check_code(storage.add_zone({.name = "grid", .size = 2 * block, .alignment = block}), ErrorCode::end_of_file);
  check_code(storage.add_zone({.name = "grid", .size = 1}), ErrorCode::invalid_argument);
  CHECK(storage.add_zone(zones[2]).value() == grid);
  CHECK(storage.zone_begin(grid) == block);
  Memory memory(block);
  const std::span<std::byte> all = memory.all();
  co_await ok(storage.write(grid, 0, all));
  // What was allocated counts.
  check_code(storage.add_zone({.name = "tail", .size = block}), ErrorCode::end_of_file);
  co_await ok(storage.allocate(grid, 0, 64 * block));
  check_code(storage.add_zone({.name = "tail", .size = block}), ErrorCode::end_of_file);
  CHECK(storage.add_zone({.name = "tail", .size = block, .size_present_min = 0}).has_value());
  co_return Result<void>();
}

TEST_CASE("zones may be added once their sizes are known") { in_every_world(add_later); }

Task<Result<void>> take_space(std::string folder) {
  const std::string path = folder + "/data";
  Storage storage = co_await ok(Storage::create(path, zones));
  co_await ok(storage.allocate(grid, 2 * block, block));
  uint64_t size = co_await ok(size_of(path));
  CHECK(size == 4 * block);
  co_await ok(storage.allocate(grid, 0, block));
  size = co_await ok(size_of(path));
  CHECK(size == 4 * block);
  Memory memory(block, 0xdd);
  const std::span<std::byte> all = memory.all();
  co_await ok(storage.write(grid, 2 * block, all));
  co_await ok(storage.write(grid, 0, all));
  const std::span<std::byte> some = memory.part(0, 8 * sector);
  co_await ok(storage.write(journal, 0, some));
  co_await ok(storage.write_through(journal));
  co_await ok(storage.read(journal, 0, some));
  CHECK(is_all(some, 0));
  co_await ok(storage.read(grid, 2 * block, all));
  CHECK(is_all(all, 0xdd));
  co_await ok(storage.read(grid, 0, all));
  CHECK(is_all(all, 0xdd));
  // More than one chunk of zeroes, and the file grows with them.
  co_await ok(storage.write_through(grid));
  size = co_await ok(size_of(path));
  CHECK(size == 65 * block);
  co_await ok(storage.read(grid, 63 * block, all));
  CHECK(is_all(all, 0));
  co_await ok(storage.read(grid, 2 * block, all));
  CHECK(is_all(all, 0));
  co_return Result<void>();
}

TEST_CASE("space is allocated, and a zone written through, where they are and nowhere else") {
  in_every_world(take_space);
}

Task<Result<void>> write_through_ragged_zone(std::string folder) {
  constexpr uint64_t chunk_size = uint64_t{1} << 20;
  for (const uint64_t first_size : {chunk_size - sector, chunk_size, chunk_size + sector, 3 * chunk_size - sector}) {
    const ZoneOptions two[] = {{.name = "first", .size = first_size}, {.name = "second", .size = chunk_size}};
    const std::span<const ZoneOptions> laid(two);
    Storage storage = co_await ok(Storage::create(folder + "/data" + std::to_string(first_size), laid));
    Memory memory(chunk_size, 0xdd);
    const std::span<std::byte> all = memory.all();
    const std::span<std::byte> last = memory.part(0, sector);
    const ZoneIndex first{0};
    const ZoneIndex second{1};
    co_await ok(storage.write(second, 0, all));
    co_await ok(storage.write(first, first_size - sector, last));
    co_await ok(storage.write_through(first));
    co_await ok(storage.read(first, first_size - sector, last));
    CHECK(is_all(last, 0));
    co_await ok(storage.read(second, 0, all));
    CHECK(is_all(all, 0xdd));
  }
  co_return Result<void>();
}

TEST_CASE("a zone of any size is written through to its end, and no further") {
  in_every_world(write_through_ragged_zone);
}

/// Everything at once, and the storage goes before its calls have ended.
Task<Result<void>> use_much(std::optional<Storage>* storage, uint64_t which) {
  Memory memory(2 * sector, static_cast<uint8_t>(which));
  const std::span<std::byte> all = memory.all();
  const uint64_t offset = which * block;
  for (int round = 0; round < 3 && storage->has_value(); ++round) {
    Storage& used = **storage;
    Result<void> result;
    if (which == 0) result = co_await used.write_through(journal);
    if (which == 1) result = co_await used.wait_until_stopped();
    if (which == 2) result = co_await used.allocate(grid, offset, block);
    if (which == 3) result = co_await used.write(grid, offset, all);
    if (which == 4) result = co_await used.read(grid, 0, all);
    if (!result.has_value()) CHECK(result.error().code != ErrorCode::system);
  }
  co_return Result<void>();
}

Task<Result<void>> use_and_drop(Scope& scope, std::optional<Storage>* storage, Duration after) {
  for (uint64_t which = 0; which < 5; ++which) co_await ok(scope.spawn(use_much, storage, which));
  co_await ok(sleep_for(after));
  storage->reset();
  co_return Result<void>();
}

Task<Result<void>> use_all(std::string folder, Duration after) {
  const std::string path = folder + "/data";
  std::optional<Storage> storage;
  {
    Storage made = co_await ok(Storage::create(path, zones, overwriting));
    storage.emplace(std::move(made));
  }
  std::optional<Storage>* const address = &storage;
  auto using_all = with_scope(ScopeOptions{}, use_and_drop, address, after);
  co_return co_await std::move(using_all);
}

TEST_CASE("a storage may be dropped at any moment") {
  for (const int after_us : {0, 50, 200, 700, 2000, 5000}) {
    CAPTURE(after_us);
    in_every_world(use_all, Duration(std::chrono::microseconds(after_us)));
  }
}

TEST_CASE("a host may be killed at every step of a storage, and the next one has the file to itself") {
  const Duration after = std::chrono::microseconds(1500);
  uint64_t steps_total = UINT64_MAX;
  for (uint64_t steps = 0; steps <= steps_total; ++steps) {
    World world(7);
    Host& host = world.add_host("a", faulty_disk());
    REQUIRE(host.files().make_directory("folder") == 0);
    host.start(use_all, std::string("folder"), after);
    uint64_t done = 0;
    while (done < steps && world.step() == World::Step::worked) ++done;
    if (done < steps) steps_total = done;
    host.kill_process();
    host.restart();
    host.start(use_all, std::string("folder"), after);
    REQUIRE(world.run() == World::Outcome::idle);
    const Result<void> result = host.take();
    CHECK_MESSAGE(result.has_value(), (result.has_value() ? std::string() : describe(result.error())));
  }
  CHECK(steps_total > 30);
}

}  // namespace
}  // namespace spindle
