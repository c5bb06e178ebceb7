// Changes that fail: what stops a storage, what the line says, what is refused afterwards, and what does not stop it.
// And calls under way when the storage is moved, closed, dropped or cancelled.
#include <doctest/doctest.h>

#include <optional>
#include <vector>

#include "io/storage.h"
#include "tests/death.h"
#include "tests/io/bad_disk.h"

namespace spindle {
namespace {

constexpr uint64_t sector = 4096;
constexpr ZoneIndex head{0};
constexpr ZoneIndex body{1};
constexpr ZoneOptions zones[] = {{.name = "head", .size = 2 * sector},
                                 {.name = "body", .size = 1024 * sector, .size_present_min = 64 * sector}};
constexpr uint64_t at_start = 0;
constexpr uint64_t body_begin = 2 * sector;
constexpr uint64_t disk_size = body_begin + 64 * sector;

/// What can be asked of a storage that changes the disk.
enum class Kind : uint8_t { durable_write, plain_write, sync, allocate, write_through };

Task<Result<void>> change(Storage& storage, Kind kind, Memory& memory) {
  const std::span<const std::byte> two = memory.part(0, 2 * sector);
  const StorageWriteOptions plain{.durable = false};
  switch (kind) {
    case Kind::durable_write: co_return co_await storage.write(body, 3 * sector, two);
    case Kind::plain_write: co_return co_await storage.write(body, 3 * sector, two, plain);
    case Kind::sync: co_return co_await storage.sync();
    case Kind::allocate: co_return co_await storage.allocate(body, 64 * sector, 8 * sector);
    case Kind::write_through: co_return co_await storage.write_through(head);
  }
  co_return Result<void>();
}
constexpr Kind kinds[] = {Kind::durable_write, Kind::plain_write, Kind::sync, Kind::allocate, Kind::write_through};

void check_code(const Result<void>& result, ErrorCode code) {
  REQUIRE_FALSE(result.has_value());
  CHECK(std::string(name_of(result.error().code)) == name_of(code));
}

/// Everything that changes is refused without a request; reads go on.
Task<Result<void>> check_stopped(BadDisk& disk, Storage& storage) {
  CHECK(storage.is_stopped());
  Memory memory(2 * sector);
  disk.asked.clear();
  for (const Kind kind : kinds) {
    const Result<void> refused = co_await change(storage, kind, memory);
    check_code(refused, ErrorCode::poisoned);
  }
  CHECK(disk.asked.empty());
  const std::span<std::byte> all = memory.all();
  co_await ok(storage.read(body, 8 * sector, all));
  CHECK(memory.has_pattern(body_begin + 8 * sector));
  const Result<void> told = co_await storage.wait_until_stopped();
  CHECK(told.has_value());
  co_return Result<void>();
}

struct Failure {
  Kind kind;
  Opcode opcode;  ///< that is made to fail
  const char* line;  ///< of the stop reason, up to the errno
};
constexpr Failure failures[] = {
    {Kind::durable_write, Opcode::write,
     "data: storage stopped: durable write of 8192 bytes at 12288 of zone body (at 20480 of the file): "},
    {Kind::plain_write, Opcode::write,
     "data: storage stopped: write of 8192 bytes at 12288 of zone body (at 20480 of the file): "},
    {Kind::sync, Opcode::sync_data, "data: storage stopped: sync: "},
    {Kind::allocate, Opcode::sync,
     "data: storage stopped: sync of an allocation of 32768 bytes at 262144 of zone body (at 270336 of the file): "},
    {Kind::write_through, Opcode::write,
     "data: storage stopped: write of zeroes of 8192 bytes at 0 of zone head (at 0 of the file): "},
    {Kind::write_through, Opcode::sync,
     "data: storage stopped: sync of zeroes of 8192 bytes at 0 of zone head (at 0 of the file): "},
};

Task<Result<void>> fail_once(BadDisk& disk, const Failure& failure, int number) {
  Storage storage = co_await ok(Storage::open("data", zones));
  CHECK_FALSE(storage.is_stopped());
  CHECK(storage.stop_reason().empty());
  disk.answer(failure.opcode, {-number});
  Memory memory(2 * sector, 0x11);
  const Result<void> failed = co_await change(storage, failure.kind, memory);
  check_code(failed, ErrorCode::system);
  CHECK(failed.error().number == number);
  const std::string line = storage.stop_reason();
  CHECK(line.find(std::string(failure.line) + std::strerror(number) + " (errno " + std::to_string(number) + ")") == 0);
  CHECK(line.find("; then restart, to recover from what is durable") != std::string::npos);
  CHECK(line.find('\n') == std::string::npos);
  co_await ok(check_stopped(disk, storage));
  CHECK(storage.stop_reason() == line);
  co_return Result<void>();
}

TEST_CASE("whatever errno a write or a sync fails with, the storage stops, says why, and goes on reading") {
  for (const Failure& failure : failures) {
    for (const int number : {EIO, ENOSPC, EDQUOT, EFBIG, EROFS, ENODEV, ENODATA, EBADF, EINVAL, ENOMEM}) {
      CAPTURE(std::string(failure.line));
      CAPTURE(number);
      BadDiskLoop on(disk_size);
      on.run_to_success(fail_once, on.disk, failure, number);
    }
  }
}

Task<Result<void>> write_nothing(BadDisk& disk) {
  Storage storage = co_await ok(Storage::open("data", zones));
  disk.answer(Opcode::write, {0});
  Memory memory(sector);
  const std::span<std::byte> all = memory.all();
  const Result<void> failed = co_await storage.write(head, 0, all);
  check_code(failed, ErrorCode::short_transfer);
  CHECK(storage.stop_reason().find("short transfer") != std::string::npos);
  co_return co_await check_stopped(disk, storage);
}

TEST_CASE("a write of which nothing is taken stops the storage") {
  BadDiskLoop on(disk_size);
  on.run_to_success(write_nothing, on.disk);
}

Task<Result<void>> write_in_storm(BadDisk& disk, int number) {
  Storage storage = co_await ok(Storage::open("data", zones));
  Memory memory(sector, 0x55);
  const std::span<std::byte> all = memory.all();
  disk.answer(Opcode::write, {-number, -number});
  co_await ok(storage.write(head, 0, all));
  CHECK_FALSE(storage.is_stopped());
  disk.answer_always(Opcode::write, -number);
  const Result<void> failed = co_await storage.write(head, 0, all);
  check_code(failed, ErrorCode::system);
  CHECK(failed.error().number == number);
  co_return co_await check_stopped(disk, storage);
}

TEST_CASE("interrupted writes are tried again, and an endless storm stops the storage") {
  for (const int number : {EINTR, EAGAIN, ECANCELED}) {
    CAPTURE(number);
    BadDiskLoop on(disk_size);
    on.run_to_success(write_in_storm, on.disk, number);
  }
}

Task<Result<void>> write_in_pieces(BadDisk& disk) {
  Storage storage = co_await ok(Storage::open("data", zones));
  Memory memory(8 * sector);
  memory.fill_with_pattern(77);
  const std::span<std::byte> all = memory.all();
  disk.answer(Opcode::write, {3 * sector, 512});
  disk.asked.clear();
  const StorageWriteOptions background{.io_class = IoClass::background};
  co_await ok(storage.write(body, sector, all, background));
  REQUIRE(disk.asked.size() == 3);
  CHECK(disk.asked[2].offset == body_begin + 4 * sector + 512);
  for (const BadDisk::Asked& one : disk.asked) {
    CHECK(one.is_durable);
    CHECK(one.io_class == IoClass::background);
  }
  CHECK(std::memcmp(disk.bytes.data() + body_begin + sector, all.data(), all.size()) == 0);
  disk.asked.clear();
  const StorageWriteOptions plain{.durable = false};
  co_await ok(storage.write(body, sector, all, plain));
  co_await ok(storage.sync());
  REQUIRE(disk.asked.size() == 2);
  CHECK_FALSE(disk.asked[0].is_durable);
  CHECK(disk.asked[1].opcode == Opcode::sync_data);
  co_return Result<void>();
}

TEST_CASE("a short write goes on where it stopped; writes are durable unless told otherwise") {
  BadDiskLoop on(disk_size);
  on.run_to_success(write_in_pieces, on.disk);
}

// Space.

Task<Result<void>> allocate_when_full(BadDisk& disk, int number) {
  Storage storage = co_await ok(Storage::open("data", zones));
  disk.answer(Opcode::allocate, {-number});
  disk.asked.clear();
  const Result<void> refused = co_await storage.allocate(body, 64 * sector, 8 * sector);
  check_code(refused, ErrorCode::system);
  CHECK(refused.error().number == number);
  CHECK(disk.asked.size() == 1);
  disk.answer(Opcode::allocate, {-number});
  const Result<void> also_refused = co_await storage.write_through(head);
  check_code(also_refused, ErrorCode::system);
  CHECK(also_refused.error().number == number);
  CHECK(disk.asked.size() == 2);
  CHECK_FALSE(storage.is_stopped());
  // There is room again.
  disk.asked.clear();
  co_await ok(storage.allocate(body, 64 * sector, 8 * sector));
  REQUIRE(disk.asked.size() == 2);
  CHECK(disk.asked[0].opcode == Opcode::allocate);
  CHECK(disk.asked[0].offset == disk_size);
  CHECK(disk.asked[0].size == 8 * sector);
  CHECK(disk.asked[1].opcode == Opcode::sync);
  co_return Result<void>();
}

TEST_CASE("space that can't be had is an error, made before anything else, and stops nothing") {
  for (const int number : {ENOSPC, EDQUOT, EFBIG, EOPNOTSUPP, EIO, EPERM, ENODEV}) {
    CAPTURE(number);
    BadDiskLoop on(disk_size);
    on.run_to_success(allocate_when_full, on.disk, number);
  }
}

Task<Result<void>> allocate_on_device(BadDisk& disk) {
  Storage storage = co_await ok(Storage::open("data", zones));
  disk.asked.clear();
  co_await ok(storage.allocate(body, 0, 64 * sector));
  CHECK(disk.asked.empty());
  const Result<void> refused = co_await storage.allocate(body, 0, 65 * sector);
  check_code(refused, ErrorCode::system);
  CHECK(refused.error().number == ENOSPC);
  CHECK(disk.asked.empty());
  CHECK_FALSE(storage.is_stopped());
  co_await ok(storage.write_through(head));
  REQUIRE(disk.asked.size() == 2);
  CHECK(disk.asked[0].opcode == Opcode::write);
  CHECK(disk.asked[1].opcode == Opcode::sync);
  co_return Result<void>();
}

TEST_CASE("on a block device there is nothing to allocate, and its end is ENOSPC") {
  BadDiskLoop on(disk_size);
  on.disk.mode = S_IFBLK | 0600;
  on.run_to_success(allocate_on_device, on.disk);
}

// Several at once.

Task<Result<void>> write_one(Storage* storage, Memory* memory, uint64_t offset, Result<void>* into) {
  const std::span<std::byte> all = memory->all();
  *into = co_await storage->write(body, offset, all);
  co_return Result<void>();
}

Task<Result<void>> wait_for_stop(Storage* storage, Result<void>* into) {
  *into = co_await storage->wait_until_stopped();
  co_return Result<void>();
}

struct Crowd {
  Memory memory{sector};
  std::optional<Storage> storage;
  Result<void> told;
  Result<void> results[3];
};

Task<Result<void>> settle(int turns = 4) {
  for (int turn = 0; turn < turns; ++turn) co_await ok(yield());
  co_return Result<void>();
}

Task<Result<void>> write_three(Scope& scope, BadDisk* disk, Crowd* crowd) {
  Storage* const storage = &*crowd->storage;
  Memory* const memory = &crowd->memory;
  disk->hold(Opcode::write);
  co_await ok(scope.spawn(wait_for_stop, storage, &crowd->told));
  for (uint64_t index = 0; index < 3; ++index) {
    co_await ok(scope.spawn(write_one, storage, memory, index * sector, &crowd->results[index]));
  }
  co_await ok(settle());
  CHECK(disk->held.size() == 3);
  disk->release();
  co_return Result<void>();
}

Task<Result<void>> fail_among_others(BadDisk& disk, Crowd& crowd) {
  Storage opened = co_await ok(Storage::open("data", zones));
  crowd.storage.emplace(std::move(opened));
  disk.answer(Opcode::write, {-EIO, BadDisk::as_usual, -ENOSPC});
  BadDisk* const disk_address = &disk;
  Crowd* const crowd_address = &crowd;
  auto writing = with_scope(ScopeOptions{}, write_three, disk_address, crowd_address);
  co_await ok(std::move(writing));
  CHECK(crowd.told.has_value());
  check_code(crowd.results[0], ErrorCode::system);
  CHECK(crowd.results[0].error().number == EIO);
  check_code(crowd.results[1], ErrorCode::poisoned);
  check_code(crowd.results[2], ErrorCode::system);
  CHECK(crowd.results[2].error().number == ENOSPC);
  CHECK(crowd.storage->stop_reason().find("(errno 5)") != std::string::npos);
  crowd.storage.reset();
  co_return Result<void>();
}

TEST_CASE("what was under way when the storage stopped does not succeed, and the first failure is the reason") {
  BadDiskLoop on(disk_size);
  Crowd crowd;
  on.run_to_success(fail_among_others, on.disk, crowd);
}

Task<Result<void>> move_and_release(Scope& scope, BadDisk* disk, Crowd* crowd) {
  Storage* const storage = &*crowd->storage;
  Memory* const memory = &crowd->memory;
  disk->hold(Opcode::write);
  co_await ok(scope.spawn(write_one, storage, memory, at_start, &crowd->results[0]));
  co_await ok(settle());
  Storage moved(std::move(*crowd->storage));
  crowd->storage.reset();
  disk->release();
  co_await ok(settle());
  CHECK(crowd->results[0].has_value());
  crowd->storage.emplace(std::move(moved));
  Storage other = co_await ok(Storage::open("data", zones));
  other = std::move(*crowd->storage);
  co_await ok(other.sync());
  CHECK(other.zone_begin(body) == body_begin);
  crowd->storage.reset();
  co_return Result<void>();
}

/// How calls under way end when the storage does.
enum class End : uint8_t { drop, close, cancel };

Task<Result<void>> end_under_way(Scope& scope, BadDisk* disk, Crowd* crowd, End end) {
  Storage* const storage = &*crowd->storage;
  Memory* const memory = &crowd->memory;
  crowd->told = Result<void>();
  disk->hold(Opcode::write);
  co_await ok(scope.spawn(wait_for_stop, storage, &crowd->told));
  co_await ok(scope.spawn(write_one, storage, memory, at_start, &crowd->results[0]));
  co_await ok(settle());
  CHECK(disk->held.size() == 1);
  if (end == End::drop) crowd->storage.reset();
  if (end == End::close) co_await ok(storage->close());
  if (end == End::cancel) scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> with_crowd(BadDisk& disk, Crowd& crowd, End end) {
  Storage opened = co_await ok(Storage::open("data", zones));
  crowd.storage.emplace(std::move(opened));
  BadDisk* const disk_address = &disk;
  Crowd* const crowd_address = &crowd;
  auto ending = with_scope(ScopeOptions{}, end_under_way, disk_address, crowd_address, end);
  const Result<void> ended = co_await std::move(ending);
  CHECK(ended.has_value());
  check_code(crowd.results[0], ErrorCode::cancelled);
  check_code(crowd.told, end == End::cancel ? ErrorCode::cancelled : ErrorCode::closed);
  if (!crowd.storage.has_value()) co_return Result<void>();
  CHECK_FALSE(crowd.storage->is_stopped());
  disk.release();
  const std::span<std::byte> all = crowd.memory.all();
  const Result<void> written = co_await crowd.storage->write(body, 0, all);
  const Result<void> read = co_await crowd.storage->read(body, 0, all);
  const Result<void> synced = co_await crowd.storage->sync();
  const Result<void> allocated = co_await crowd.storage->allocate(body, 0, sector);
  for (const Result<void>& result : {written, read, synced, allocated}) {
    if (end == End::cancel) CHECK(result.has_value());
    if (end == End::close) check_code(result, ErrorCode::closed);
  }
  const Result<void> closed = co_await crowd.storage->close();
  CHECK(closed.has_value() == (end == End::cancel));
  crowd.storage.reset();
  co_return Result<void>();
}

TEST_CASE("a storage may be dropped or closed with calls under way, and a cancelled write does not stop it") {
  for (const End end : {End::drop, End::close, End::cancel}) {
    CAPTURE(static_cast<int>(end));
    BadDiskLoop on(disk_size);
    Crowd crowd;
    on.run_to_success(with_crowd, on.disk, crowd, end);
    CHECK(on.disk.asked_count(Opcode::close) == 1);
  }
}

Task<Result<void>> with_moving(BadDisk& disk, Crowd& crowd) {
  Storage opened = co_await ok(Storage::open("data", zones));
  crowd.storage.emplace(std::move(opened));
  BadDisk* const disk_address = &disk;
  Crowd* const crowd_address = &crowd;
  auto moving = with_scope(ScopeOptions{}, move_and_release, disk_address, crowd_address);
  co_return co_await std::move(moving);
}

TEST_CASE("a storage may be moved with calls under way") {
  BadDiskLoop on(disk_size);
  Crowd crowd;
  on.run_to_success(with_moving, on.disk, crowd);
}

/// A call of several steps, whose storage goes between two of them.
Task<Result<void>> run_steps(Storage* storage, Memory* memory, int which, Result<void>* into) {
  const std::span<std::byte> all = memory->all();
  if (which == 0) *into = co_await storage->read(body, 0, all);
  if (which == 1) *into = co_await storage->allocate(body, 0, sector);
  if (which == 2) *into = co_await storage->write_through(head);
  co_return Result<void>();
}

Task<Result<void>> drop_between(Scope& scope, BadDisk* disk, Crowd* crowd, int which) {
  Storage* const storage = &*crowd->storage;
  Memory* const memory = &crowd->memory;
  co_await ok(scope.spawn(run_steps, storage, memory, which, &crowd->results[0]));
  co_await ok(settle());
  REQUIRE(disk->held.size() == 1);
  // The answer is on its way when the storage is dropped: it is no cancel that ends the call.
  Operation* const first = disk->held.front();
  disk->held.clear();
  first->deliver(which == 0 ? -EIO : 0);
  crowd->storage.reset();
  co_return Result<void>();
}

Task<Result<void>> with_drop_between(BadDisk& disk, Crowd& crowd, int which) {
  Storage opened = co_await ok(Storage::open("data", zones));
  crowd.storage.emplace(std::move(opened));
  disk.asked.clear();
  disk.hold(which == 0 ? Opcode::read : Opcode::allocate);
  BadDisk* const disk_address = &disk;
  Crowd* const crowd_address = &crowd;
  auto dropping = with_scope(ScopeOptions{}, drop_between, disk_address, crowd_address, which);
  co_await ok(std::move(dropping));
  check_code(crowd.results[0], ErrorCode::closed);
  CHECK(disk.asked.front().opcode == (which == 0 ? Opcode::read : Opcode::allocate));
  CHECK(disk.asked_count(Opcode::read) + disk.asked_count(Opcode::sync) + disk.asked_count(Opcode::write) <= 1);
  co_return Result<void>();
}

TEST_CASE("a call of several steps takes none of them after its storage was dropped") {
  for (const int which : {0, 1, 2}) {
    CAPTURE(which);
    BadDiskLoop on(disk_size);
    Crowd crowd;
    on.run_to_success(with_drop_between, on.disk, crowd, which);
  }
}

Task<Result<void>> write_overlapping(Scope& scope, Storage* storage, Memory* memory, Result<void>* results) {
  co_await ok(scope.spawn(write_one, storage, memory, at_start, results));
  co_await ok(scope.spawn(write_one, storage, memory, sector, results + 1));
  co_return Result<void>();
}

Task<Result<void>> overlap(size_t size) {
  Storage storage = co_await ok(Storage::open("data", zones));
  Memory memory(size);
  Result<void> results[2];
  Storage* const storage_address = &storage;
  Memory* const memory_address = &memory;
  Result<void>* const results_address = results;
  auto writing = with_scope(ScopeOptions{}, write_overlapping, storage_address, memory_address, results_address);
  co_await ok(std::move(writing));
  CHECK((results[0].has_value() && results[1].has_value()));
  co_return Result<void>();
}

TEST_CASE("two writes to one sector at once are a caught bug, to neighbours they are none") {
  BadDiskLoop on(disk_size);
  on.run_to_success(overlap, sector);
  if constexpr (!Ledger::enabled) return skip_in_this_build("only builds with the ledger look");
  expect_abort(
      [] {
        BadDiskLoop in_child(disk_size);
        in_child.run_to_success(overlap, 2 * sector);
      },
      "two writes to one sector at once");
}

Task<Result<void>> transfer_shifted(bool writes) {
  Storage storage = co_await ok(Storage::open("data", zones));
  Memory memory(2 * sector);
  const std::span<std::byte> shifted = memory.part(512, sector);
  if (writes) co_await ok(storage.write(head, 0, shifted));
  if (!writes) co_await ok(storage.read(head, 0, shifted));
  co_return Result<void>();
}

TEST_CASE("memory that is not aligned to sectors is a caught bug") {
  for (const bool writes : {false, true}) {
    expect_abort(
        [writes] {
          BadDiskLoop in_child(disk_size);
          in_child.run_to_success(transfer_shifted, writes);
        },
        "memory that is not aligned to sectors");
  }
}

}  // namespace
}  // namespace spindle
