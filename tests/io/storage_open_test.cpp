// Making and opening a storage: on every backend, and on a disk that does as it is told.
#include <doctest/doctest.h>

#include <optional>

#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "tests/death.h"
#include "tests/io/bad_disk.h"
#include "tests/io/every_world.h"
#include "tests/io/storage_fixture.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;

Task<Result<void>> make_and_make_again(std::string folder) {
  const std::string path = folder + "/data";
  {
    Storage made = co_await ok(Storage::create(path, zones));
    CHECK(made.zone_size(journal) == 8 * sector);
    CHECK(made.zone_begin(journal) == 3 * sector);
    CHECK(made.zone_begin(grid) == block);
    Memory memory(block, 0xee);
    const std::span<std::byte> all = memory.all();
    co_await ok(made.read(grid, 0, all));
    CHECK(is_all(all, 0));
    std::memset(all.data(), 0x77, all.size());
    co_await ok(made.write(grid, 0, all));
    co_await ok(made.close());
  }
  const uint64_t size = co_await ok(size_of(path));
  CHECK(size == size_made);
  const Result<Storage> refused = co_await Storage::create(path, zones, impatient);
  check_code(refused, ErrorCode::system, EEXIST);
  {
    Storage kept = co_await ok(Storage::open(path, zones));
    Memory memory(sector);
    const std::span<std::byte> all = memory.all();
    co_await ok(kept.read(grid, 0, all));
    CHECK(is_all(all, 0x77));
    co_await ok(kept.allocate(grid, 0, 3 * block));
    co_await ok(kept.close());
  }
  Storage anew = co_await ok(Storage::create(path, zones, overwriting));
  const uint64_t size_anew = co_await ok(size_of(path));
  CHECK(size_anew == size_made);
  Memory memory(block, 0xee);
  const std::span<std::byte> all = memory.all();
  co_await ok(anew.read(grid, 0, all));
  CHECK(is_all(all, 0));
  co_return Result<void>();
}

TEST_CASE("a new storage has the size that its zones need, reads as zeroes, and is not made over another unasked") {
  in_every_world(make_and_make_again);
}

Task<Result<void>> add_behind_allocated(std::string folder) {
  const std::string path = folder + "/data";
  co_await ok(make_file(path, 12 * sector, 1));
  const ZoneOptions first[] = {{.name = "head", .size = 8 * sector}};
  const std::span<const ZoneOptions> opened(first);
  Storage storage = co_await ok(Storage::open(path, opened));
  co_await ok(storage.allocate(head, 0, sector));
  const ZoneOptions behind{.name = "behind", .size = 4 * sector};
  CHECK(storage.add_zone(behind).has_value());
  const ZoneOptions absent{.name = "absent", .size = sector};
  check_code(storage.add_zone(absent), ErrorCode::end_of_file);
  co_return Result<void>();
}

TEST_CASE("an allocation at the front leaves the zones behind it in the file") { in_every_world(add_behind_allocated); }

struct Growth {
  bool is_locked = false;
  uint64_t size;
};

Task<Result<void>> grow_under_lock(std::string path, Growth* growth) {
  File file = co_await ok(File::open(path, open_cached));
  co_await ok(file.lock(LockMode::exclusive));
  growth->is_locked = true;
  co_await ok(sleep_for(20ms));
  co_await ok(file.truncate(growth->size));
  co_return co_await file.close();
}

Task<Result<void>> open_when_locked(std::string path, Growth* growth, bool fits) {
  while (!growth->is_locked) co_await ok(sleep_for(1ms));
  const Result<Storage> opened = co_await Storage::open(path, zones);
  if (fits) {
    CHECK(opened.has_value());
  } else {
    check_code(opened, ErrorCode::end_of_file);
  }
  co_return Result<void>();
}

Task<Result<void>> open_what_changes(std::string folder, bool fits) {
  const std::string path = folder + "/data";
  co_await ok(make_file(path, fits ? sector : 2 * size_made, 1));
  Growth growth{.size = fits ? size_made : sector};
  auto growing = grow_under_lock(path, &growth);
  auto opening = open_when_locked(path, &growth, fits);
  const auto both = co_await when_all_settled(std::move(growing), std::move(opening));
  CHECK(std::get<0>(both).has_value());
  CHECK(std::get<1>(both).has_value());
  co_return Result<void>();
}

TEST_CASE("the size of a storage is the one that its file has when the lock is had") {
  for (const bool fits : {true, false}) in_every_world(open_what_changes, bool{fits});
}

Task<Result<void>> take_empty(std::string folder) {
  const std::string path = folder + "/data";
  {
    File empty = co_await ok(File::open(path, open_cached_new));
    co_await ok(empty.close());
  }
  Storage storage = co_await ok(Storage::create(path, zones));
  const uint64_t size = co_await ok(size_of(path));
  CHECK(size == size_made);
  co_return Result<void>();
}

TEST_CASE("an empty file is taken") { in_every_world(take_empty); }

Task<Result<void>> compete(std::string folder) {
  const std::string path = folder + "/data";
  std::optional<Storage> holder;
  {
    Storage made = co_await ok(Storage::create(path, zones));
    holder.emplace(std::move(made));
  }
  Memory memory(sector, 0x33);
  const std::span<std::byte> all = memory.all();
  co_await ok(holder->write(head, 0, all));
  const Result<Storage> opened = co_await Storage::open(path, zones, impatient);
  check_code(opened, ErrorCode::system, EWOULDBLOCK);
  const Result<Storage> created = co_await Storage::create(path, zones, impatient);
  check_code(created, ErrorCode::system, EWOULDBLOCK);
  const Result<Storage> forced = co_await Storage::create(path, zones, overwriting);
  check_code(forced, ErrorCode::system, EWOULDBLOCK);
  std::memset(all.data(), 0, all.size());
  co_await ok(holder->read(head, 0, all));
  CHECK(is_all(all, 0x33));
  const uint64_t size = co_await ok(size_of(path));
  CHECK(size == size_made);
  holder.reset();
  Storage next = co_await ok(Storage::open(path, zones));  // the drop closes, and that takes a moment
  co_return co_await next.close();
}

TEST_CASE("a storage that somebody has open is refused, and nothing is changed") { in_every_world(compete); }

Task<Result<void>> fail_to_make(std::string folder) {
  const std::string path = folder + "/data";
  constexpr ZoneOptions huge[] = {{.name = "huge", .size = uint64_t{1} << 62}};
  const Result<Storage> refused = co_await Storage::create(path, huge, impatient);
  check_code(refused, ErrorCode::system, EFBIG);
  co_await ok(check_missing(path));
  co_await ok(make_file(path, sector, 0x44));
  const Result<Storage> unasked = co_await Storage::create(path, huge, impatient);
  check_code(unasked, ErrorCode::system, EEXIST);
  uint64_t size = co_await ok(size_of(path));
  CHECK(size == sector);
  // Overwritten, but not left larger than empty.
  const Result<Storage> asked = co_await Storage::create(path, huge, overwriting);
  check_code(asked, ErrorCode::system, EFBIG);
  size = co_await ok(size_of(path));
  CHECK(size == 0);
  const std::string nowhere = folder + "/none/data";
  const Result<Storage> lost = co_await Storage::create(nowhere, zones);
  check_code(lost, ErrorCode::system, ENOENT);
  const std::string missing = folder + "/missing";
  const Result<Storage> absent = co_await Storage::open(missing, zones);
  check_code(absent, ErrorCode::system, ENOENT);
  co_await ok(check_missing(missing));
  co_return Result<void>();
}

TEST_CASE("what could not be made leaves nothing behind") { in_every_world(fail_to_make); }

Task<Result<void>> refuse_what_can_not_be(std::string folder) {
  const std::string path = folder + "/data";
  constexpr ZoneOptions ragged[] = {{.name = "ragged", .size = 1000}};
  const Result<Storage> of_zone = co_await Storage::create(path, ragged);
  check_code(of_zone, ErrorCode::invalid_argument);
  const Result<Storage> of_open = co_await Storage::open(path, ragged);
  check_code(of_open, ErrorCode::invalid_argument);
  for (const uint32_t size : {0u, 256u, 3000u}) {
    StorageOptions options;
    options.sector_size = size;
    const Result<Storage> of_sector = co_await Storage::create(path, zones, options);
    check_code(of_sector, ErrorCode::invalid_argument);
  }
  co_await ok(check_missing(path));
  StorageOptions cached;
  cached.direct = Direct::never;
  const Result<Storage> of_folder = co_await Storage::open(folder, zones, cached);
  check_code(of_folder, ErrorCode::system, EISDIR);
  co_return Result<void>();
}

TEST_CASE("zones and sector sizes that can't be are refused before anything is made") {
  in_every_world(refuse_what_can_not_be);
}

Task<Result<void>> demand_alignment(std::string folder) {
  const std::string path = folder + "/data";
  constexpr ZoneOptions small[] = {{.name = "small", .size = 4096}};
  StorageOptions options;
  options.sector_size = 512;
  const Result<Storage> created = co_await Storage::create(path, small, options);
  check_code(created, ErrorCode::misaligned);
  co_await ok(check_missing(path));
  co_await ok(make_file(path, sector, 0x22));
  const Result<Storage> opened = co_await Storage::open(path, small, options);
  check_code(opened, ErrorCode::misaligned);
  CHECK(describe(opened.error()).find("sector size") != std::string::npos);
  Storage storage = co_await ok(Storage::open(path, small));
  co_return co_await storage.close();
}

TEST_CASE("sectors that are smaller than direct I/O needs are refused") {
  SimBackendOptions of_offset;
  of_offset.offset_alignment = 4096;
  SimBackendOptions of_memory;
  of_memory.memory_alignment = 4096;
  for (const SimBackendOptions& options : {of_offset, of_memory}) in_simulation(1, options, demand_alignment);
}

Task<Result<void>> take_back(std::string folder) {
  const std::string path = folder + "/data";
  {
    Storage made = co_await ok(Storage::create(path, zones));
    CHECK(made.file_size() == size_made);
    CHECK_FALSE(made.is_device());
    co_await ok(made.allocate(grid, 0, 2 * block));
    CHECK(made.file_size() == size_made + block);
    co_await ok(made.discard());
  }
  co_await ok(check_missing(path));
  for (const uint64_t former : {uint64_t{0}, sector}) {
    const std::string there = folder + "/there" + std::to_string(former);
    co_await ok(make_file(there, former, 1));
    Storage taken = co_await ok(Storage::create(there, zones, overwriting));
    co_await ok(taken.allocate(grid, 0, 2 * block));
    co_await ok(taken.discard());
    const uint64_t size = co_await ok(size_of(there));
    CHECK(size == 0);
  }
  co_await ok(make_file(path, size_made, 0x55));
  Storage opened = co_await ok(Storage::open(path, zones));
  co_await ok(opened.discard());
  const uint64_t size = co_await ok(size_of(path));
  CHECK(size == size_made);
  Storage again = co_await ok(Storage::open(path, zones, impatient));  // it was closed
  co_return co_await again.close();
}

TEST_CASE("what was made can be taken back: nothing stays where nothing was, and an open storage is only closed") {
  in_every_world(take_back);
}

Task<Result<void>> make_and_close(std::string path, uint32_t* made_count) {
  Result<Storage> created = co_await Storage::create(path, zones);
  if (!created.has_value()) {
    check_code(created, ErrorCode::system, EEXIST);
    co_return Result<void>();
  }
  ++*made_count;
  co_return co_await created->close();
}

Task<Result<void>> make_twice(std::string folder) {
  const std::string path = folder + "/data";
  uint32_t made_count = 0;
  auto one = make_and_close(path, &made_count);
  auto other = make_and_close(path, &made_count);
  const auto both = co_await when_all_settled(std::move(one), std::move(other));
  CHECK(std::get<0>(both).has_value());
  CHECK(std::get<1>(both).has_value());
  CHECK(made_count == 1);
  const uint64_t size = co_await ok(size_of(path));
  CHECK(size == size_made);
  co_return Result<void>();
}

// The one that makes the file may be the second to lock it: what it finds then is not its own to remove.
TEST_CASE("of two that make a storage at one time one has it, and the other one leaves it alone") {
  in_every_world(make_twice);
  for (uint64_t seed = 10; seed < 60; ++seed) in_simulation(seed, SimBackendOptions(), make_twice);
}

Task<Result<void>> write_through_in_part(std::string folder) {
  const std::string path = folder + "/data";
  co_await ok(make_file(path, size_made, 0x66));
  Storage storage = co_await ok(Storage::open(path, zones));
  co_await ok(storage.write_through(journal, sector, 2 * sector));
  Memory memory(8 * sector);
  const std::span<std::byte> all = memory.all();
  co_await ok(storage.read(journal, 0, all));
  CHECK(is_all(all.first(sector), 0x66));
  CHECK(is_all(all.subspan(sector, 2 * sector), 0));
  CHECK(is_all(all.subspan(3 * sector), 0x66));
  co_await ok(storage.write_through(journal, 5 * sector));
  co_await ok(storage.read(journal, 0, all));
  CHECK(is_all(all.subspan(3 * sector, 2 * sector), 0x66));
  CHECK(is_all(all.subspan(5 * sector), 0));
  co_await ok(storage.read(grid, 0, all));
  CHECK(is_all(all, 0x66));
  co_return co_await storage.close();
}

TEST_CASE("a part of a zone is written through, and nothing else is") { in_every_world(write_through_in_part); }

Task<Result<void>> share(std::string folder) {
  const std::string path = folder + "/data";
  constexpr StorageOptions reading{.read_only = true, .lock = {.wait_max = Duration::zero()}};
  const Result<Storage> created = co_await Storage::create(path, zones, reading);
  check_code(created, ErrorCode::invalid_argument);
  co_await ok(check_missing(path));
  co_await ok(make_file(path, size_made, 0x55));
  Storage first = co_await ok(Storage::open(path, zones, reading));
  Storage second = co_await ok(Storage::open(path, zones, reading));
  Memory memory(sector);
  const std::span<std::byte> all = memory.all();
  co_await ok(first.read(head, 0, all));
  CHECK(is_all(all, 0x55));
  const Result<Storage> changing = co_await Storage::open(path, zones, impatient);
  check_code(changing, ErrorCode::system, EWOULDBLOCK);
  co_await ok(first.close());
  co_await ok(second.close());
  Storage alone = co_await ok(Storage::open(path, zones, impatient));
  const Result<Storage> late = co_await Storage::open(path, zones, reading);
  check_code(late, ErrorCode::system, EWOULDBLOCK);
  co_return co_await alone.close();
}

TEST_CASE("several may read a storage at one time, and nobody while one may change it") { in_every_world(share); }

Task<Result<void>> write_what_is_read(BadDisk&) {
  Storage storage = co_await ok(Storage::open("data", zones, {.read_only = true}));
  Memory memory(sector);
  const std::span<std::byte> all = memory.all();
  co_await ok(storage.write(head, 0, all));
  co_return Result<void>();
}

TEST_CASE("a change of a storage that is only read is a caught bug") {
  const auto violate = [] {
    BadDiskLoop on(size_made);
    on.run_to_success(write_what_is_read, on.disk);
  };
  expect_abort(violate, "opened to be read");
}

// With a disk that does as it is told.

Task<Result<void>> create_on(BadDisk&, StorageOptions options, Result<void>& into) {
  const Result<Storage> created = co_await Storage::create("data", zones, options);
  if (!created.has_value()) into = Unexpected(created.error());
  co_return Result<void>();
}

TEST_CASE("whatever step of making a storage fails, its errno is the answer and no file stays") {
  for (const Opcode opcode : {Opcode::lock, Opcode::truncate, Opcode::sync}) {
    for (const int number : {EIO, ENOSPC, EPERM}) {
      CAPTURE(std::string(name_of(opcode)));
      CAPTURE(number);
      BadDiskLoop on;
      on.disk.answer(opcode, {-number});
      Result<void> result;
      on.run_to_success(create_on, on.disk, impatient, result);
      check_code(result, ErrorCode::system, number);
      CHECK_FALSE(on.disk.exists);
    }
  }
  // The second sync is that of the directory.
  BadDiskLoop on;
  on.disk.answer(Opcode::sync, {BadDisk::as_usual, -EIO});
  Result<void> result;
  on.run_to_success(create_on, on.disk, impatient, result);
  check_code(result, ErrorCode::system, EIO);
  CHECK_FALSE(on.disk.exists);
}

Task<Result<void>> create_held(BadDisk* disk, Result<void>* into) {
  co_return co_await create_on(*disk, overwriting, *into);
}

Task<Result<void>> cancel_when_held(Scope& scope, BadDisk* disk, Result<void>* result) {
  co_await ok(scope.spawn(create_held, disk, result));
  while (disk->held.empty()) co_await ok(yield());
  scope.cancel();
  disk->release();  // what is shielded
  co_return Result<void>();
}

Task<Result<void>> cancel_creation(BadDisk& disk, Opcode opcode, Result<void>& result) {
  disk.hold(opcode);
  BadDisk* const disk_address = &disk;
  Result<void>* const result_address = &result;
  auto cancelling = with_scope(ScopeOptions{}, cancel_when_held, disk_address, result_address);
  co_return co_await std::move(cancelling);
}

TEST_CASE("wherever the making of a storage is cancelled, a file that was not there is not there") {
  for (const Opcode opcode : {Opcode::open, Opcode::lock, Opcode::stat_path, Opcode::truncate, Opcode::sync}) {
    for (const bool is_there : {false, true}) {
      CAPTURE(std::string(name_of(opcode)));
      CAPTURE(is_there);
      BadDiskLoop on(is_there ? sector : 0);
      Result<void> result;
      on.run_to_success(cancel_creation, on.disk, opcode, result);
      check_code(result, ErrorCode::cancelled);
      CHECK(on.disk.exists == is_there);
      // Emptied is what was to be overwritten, and only once that had begun.
      const bool has_begun = opcode == Opcode::sync;
      CHECK(on.disk.bytes.size() == (is_there && !has_begun ? sector : 0));
    }
  }
}

TEST_CASE("nothing is changed before the lock is held") {
  BadDiskLoop on(sector);
  Result<void> result;
  on.run_to_success(create_on, on.disk, overwriting, result);
  CHECK(result.has_value());
  bool is_locked = false;
  for (const BadDisk::Asked& one : on.disk.asked) {
    if (one.opcode == Opcode::lock) is_locked = true;
    if (one.opcode == Opcode::truncate) CHECK(is_locked);
  }
  CHECK(is_locked);
}

TEST_CASE("a file whose name went to another one while the lock was waited for is not taken") {
  for (const bool is_gone : {false, true}) {
    CAPTURE(is_gone);
    BadDiskLoop on(size_made);
    // Its own status first, then that of the name.
    if (is_gone) on.disk.answer(Opcode::stat_path, {-ENOENT});
    auto swap_and_open = [](BadDisk& disk, bool gone) -> Task<Result<void>> {
      disk.hold(Opcode::stat_path);
      auto release = [](BadDisk* of, bool keeps_number) -> Task<Result<void>> {
        while (of->held.empty()) co_await ok(yield());
        if (!keeps_number) of->number = 8;
        of->release();
        co_return Result<void>();
      };
      auto open = [](StorageOptions options) -> Task<Result<void>> {
        const Result<Storage> opened = co_await Storage::open("data", zones, options);
        check_code(opened, ErrorCode::system, ESTALE);
        co_return Result<void>();
      };
      auto opening = open(impatient);
      auto releasing = release(&disk, gone);
      const auto both = co_await when_all_settled(std::move(opening), std::move(releasing));
      static_cast<void>(both);
      co_return Result<void>();
    };
    on.run_to_success(swap_and_open, on.disk, is_gone);
  }
}

TEST_CASE("a block device is taken only when told so, keeps its content, and must be large enough") {
  BadDiskLoop on(size_made);
  on.disk.mode = S_IFBLK | 0600;
  Result<void> result;
  on.run_to_success(create_on, on.disk, impatient, result);
  check_code(result, ErrorCode::system, EEXIST);
  result = Result<void>();
  on.run_to_success(create_on, on.disk, overwriting, result);
  CHECK(result.has_value());
  CHECK(on.disk.asked_count(Opcode::truncate) == 0);
  CHECK(on.disk.bytes[block] == pattern_at(block));
  on.disk.bytes.resize(size_made - sector);
  on.run_to_success(create_on, on.disk, overwriting, result);
  check_code(result, ErrorCode::end_of_file);
  CHECK(on.disk.exists);
  on.disk.mode = S_IFIFO | 0600;
  StorageOptions cached;
  cached.direct = Direct::never;
  on.run_to_success(create_on, on.disk, cached, result);
  check_code(result, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace spindle
