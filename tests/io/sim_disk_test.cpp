// A simulated host's disk as programs see it: full disks, devices, files without a name, syncs, and losses of power.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <vector>

#include "io/directory.h"
#include "runtime/scope.h"
#include "runtime/sleep.h"
#include "tests/death.h"
#include "tests/io/sim_world_fixture.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;

Task<Result<void>> write_durably_in_time() {
  File file = co_await ok(File::open("data", open_direct));
  Blocks memory(2, 7);
  const Time deadline = Loop::current().now() + 1h;
  WriteOptions options;
  options.durable = true;
  co_await ok(file.write_all_before(deadline, 0, memory.all(), options));
  co_await ok(sleep_for(1h));
  co_return Result<void>();
}

TEST_CASE("a durable write with a deadline survives a loss of power") {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    World world(seed);
    Host& host = world.add_host("a");
    host.files().put("data", std::vector<std::byte>(4 * block_size));
    host.start(write_durably_in_time);
    REQUIRE(world.run(world.now() + 30min) == World::Outcome::out_of_time);
    host.lose_power();
    const std::vector<std::byte> content = host.files().find("data")->content();
    CHECK(std::count(content.begin(), content.end(), std::byte{7}) == 2 * block_size);
  }
}

Task<Result<void>> read_late(Error& error) {
  File file = co_await ok(File::open("data", open_direct));
  Blocks memory(1);
  const Time deadline = Loop::current().now() + 50us;
  const Result<void> read = co_await file.read_exact_before(deadline, 0, memory.all());
  REQUIRE_FALSE(read.has_value());
  error = read.error();
  co_return Result<void>();
}

TEST_CASE("a request that fails by itself after its deadline has its own error") {
  uint64_t timed_out_count = 0;
  uint64_t failed_count = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SimBackendOptions options;
    options.latency_ns_min = 100'000;
    options.latency_ns_max = 200'000;
    options.faults.everywhere.set(Fault::transient_error, FaultRates::denominator);
    Machine machine(seed, options);
    machine.files().put("data", std::vector<std::byte>(block_size));
    Error error;
    REQUIRE(machine.run(read_late, error).has_value());
    timed_out_count += error.code == ErrorCode::timed_out;
    failed_count += error.code == ErrorCode::system && error.number == EIO;
  }
  CHECK(timed_out_count + failed_count == 40);
  CHECK(timed_out_count > 5);
  CHECK(failed_count > 5);
}

Task<Result<void>> fill_disk() {
  File file = co_await ok(File::open("data", open_direct));
  Blocks memory(8, 1);
  const Result<uint64_t> in_part = co_await file.write_at(0, memory.all());
  CHECK(in_part.value() == 6 * block_size);
  const Result<uint64_t> full = co_await file.write_at(6 * block_size, memory.all());
  CHECK(full.error().number == ENOSPC);
  const auto over = memory.all().first(6 * block_size);
  co_await ok(file.write_all_at(0, over));
  const Result<void> exact = co_await file.write_all_at(block_size, memory.all());
  CHECK(exact.error().number == ENOSPC);
  CHECK(exact.error().transferred == 5 * block_size);
  const Result<void> allocated = co_await file.allocate(0, 7 * block_size);
  CHECK(allocated.error().number == ENOSPC);
  co_await ok(file.punch_hole(0, block_size));
  co_await ok(file.allocate(6 * block_size, block_size));
  co_await ok(file.truncate(block_size));
  File other = co_await ok(File::open("other", open_direct));
  co_await ok(other.write_all_at(0, over));
  co_await ok(unlink_path("other"));
  const Result<void> still_full = co_await file.write_all_at(0, over);
  CHECK(still_full.error().number == ENOSPC);  // it is open
  co_await ok(other.close());
  co_await ok(file.write_all_at(0, over));
  co_return Result<void>();
}

TEST_CASE("a full disk takes what fits, then says so, and space comes back") {
  SimBackendOptions options;
  options.capacity = 6 * block_size + 100;
  Machine machine(1, options);
  CHECK(machine.run(fill_disk).has_value());
  CHECK(machine.files().space().pages_count == 6);
}

Task<Result<void>> fill_raggedly() {
  const OpenOptions options{.access = Access::read_write, .direct = Direct::never, .create = true};
  File file = co_await ok(File::open("data", options));
  const std::vector<std::byte> memory(200, std::byte{1});
  const std::span<const std::byte> bytes(memory);
  co_await ok(file.write_all_at(0, bytes));
  const Result<uint64_t> in_part = co_await file.write_at(4000, bytes);
  CHECK(in_part.value() == 96);
  const Result<uint64_t> full = co_await file.write_at(4096, bytes);
  CHECK(full.error().number == ENOSPC);
  const Result<void> exact = co_await file.write_all_at(4000, bytes);
  CHECK(exact.error().number == ENOSPC);
  co_return Result<void>();
}

TEST_CASE("a full disk takes what fits of a write without alignment") {
  SimBackendOptions options;
  options.capacity = block_size;
  Machine machine(2, options);
  CHECK(machine.run(fill_raggedly).has_value());
}

Task<Result<void>> use_device(std::vector<std::byte> before) {
  const OpenOptions options{.access = Access::read_write};
  File file = co_await ok(File::open("disk", options));
  CHECK(file.size_at_open() == 8 * block_size);
  CHECK(file.is_direct());
  const FileStatus status = co_await ok(file.stat());
  CHECK(status.kind == FileKind::block_device);
  Blocks memory(8);
  co_await ok(file.read_exact_at(0, memory.all()));
  CHECK(std::equal(before.begin(), before.end(), memory.all().begin()));
  memory.refill(7);
  const Result<uint64_t> at_end = co_await file.write_at(6 * block_size, memory.all());
  CHECK(at_end.value() == 2 * block_size);
  const Result<uint64_t> past_end = co_await file.write_at(8 * block_size, memory.all());
  CHECK(past_end.error().number == ENOSPC);
  const Result<uint64_t> read_past = co_await file.read_at(8 * block_size, memory.all());
  CHECK(read_past.value() == 0);
  const Result<uint64_t> read_at_end = co_await file.read_at(7 * block_size, memory.all());
  CHECK(read_at_end.value() == block_size);
  const Result<void> truncated = co_await file.truncate(0);
  CHECK(truncated.error().number == EINVAL);
  const Result<void> allocated = co_await file.allocate(0, block_size);
  CHECK(allocated.error().number == EOPNOTSUPP);
  co_return co_await file.sync();
}

TEST_CASE("a raw device has a size, bytes that nobody wrote, and an end") {
  Machine machine(3);
  const std::vector<std::byte> before = machine.files().add_device("disk", 8 * block_size).content();
  CHECK(machine.run(use_device, std::vector<std::byte>(before)).has_value());
  machine.lose_power();
  std::vector<std::byte> expected = before;
  std::fill(expected.begin() + 6 * block_size, expected.end(), std::byte{7});
  CHECK(machine.files().find("disk")->content() == expected);
  CHECK(machine.files().space().pages_count == 0);
}

Task<Result<void>> use_nameless() {
  File file = co_await ok(File::open("data", open_direct));
  Blocks memory(2, 5);
  co_await ok(file.write_all_at(0, memory.all()));
  co_await ok(unlink_path("data"));
  File other = co_await ok(File::open("data", open_direct));
  CHECK(other.size_at_open() == 0);
  co_await ok(file.write_all_at(2 * block_size, memory.all()));
  co_await ok(file.sync());
  const FileStatus status = co_await ok(file.stat());
  CHECK(status.links == 0);
  CHECK(status.size == 4 * block_size);
  memory.refill(0);
  co_await ok(file.read_exact_at(block_size, memory.all()));
  CHECK(memory.all()[0] == std::byte{5});
  co_await ok(file.truncate(block_size));
  co_return Result<void>();
}

TEST_CASE("a file without a name lives for as long as it is open") {
  Machine machine(4);
  CHECK(machine.run(use_nameless).has_value());
  CHECK(machine.files().space().pages_count == 0);
  CHECK(machine.files().count() == 1);
  machine.lose_power();
  CHECK(machine.files().space().pages_count <= 4);
}

/// What the program below was told, at any moment.
struct Progress {
  bool has_written = false;
  bool has_synced = false;
  bool has_overwritten = false;
  bool has_overwritten_durably = false;
};

Task<Result<void>> write_and_sync(Progress* progress) {
  File file = co_await ok(File::open("data", open_direct));
  Blocks memory(2, 2);
  co_await ok(file.write_all_at(0, memory.all()));
  progress->has_written = true;
  co_await ok(file.sync());
  progress->has_synced = true;
  memory.refill(3);
  const auto first = memory.all().first(block_size);
  co_await ok(file.write_all_at(0, first));
  progress->has_overwritten = true;
  const WriteOptions durable{.durable = true};
  co_await ok(file.write_all_at(block_size, first, durable));
  progress->has_overwritten_durably = true;
  co_return Result<void>();
}

/// 1, 2, 3, or 0 where the grain is garbage.
int fill_of(const std::vector<std::byte>& content, size_t at) {
  const bool is_same =
      std::equal(content.begin() + static_cast<ptrdiff_t>(at), content.begin() + static_cast<ptrdiff_t>(at) + 511,
                 content.begin() + static_cast<ptrdiff_t>(at) + 1);
  return is_same ? static_cast<int>(content[at]) : 0;
}

TEST_CASE("after a loss of power at any step there is what the program was told, or more") {
  std::set<int> seen_before_sync;
  std::set<int> seen_after_sync;
  bool is_over = false;
  for (uint64_t steps = 0; !is_over; ++steps) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
      Machine machine(mix64(seed));
      machine.files().put("data", std::vector<std::byte>(2 * block_size, std::byte{1}));
      Progress progress;
      machine.host().start(write_and_sync, &progress);
      uint64_t done = 0;
      while (done < steps && machine.world().step() == World::Step::worked) ++done;
      is_over = done < steps;
      machine.lose_power();
      const std::vector<std::byte> content = machine.files().find("data")->content();
      REQUIRE(content.size() == 2 * block_size);
      for (size_t at = 0; at < content.size(); at += 512) {
        const int fill = fill_of(content, at);
        const bool is_first = at < block_size;
        if (!progress.has_synced) {
          seen_before_sync.insert(fill);
          CHECK(fill <= 2);
        } else {
          seen_after_sync.insert(fill);
          CHECK(fill != 1);
          if (!is_first && progress.has_overwritten_durably) CHECK(fill == 3);
        }
      }
    }
  }
  CHECK(seen_before_sync == std::set<int>{0, 1, 2});
  CHECK(seen_after_sync == std::set<int>{0, 2, 3});
}

Task<Result<void>> write_one(File* file, uint64_t block, int fill) {
  Blocks memory(1, fill);
  co_await ok(file->write_all_at(block * block_size, memory.all()));
  co_return Result<void>();
}

Task<Result<void>> sync_one(File* file) { co_return co_await file->sync(); }

Task<Result<void>> sync_behind_a_write(Scope& scope, File& file) {
  File* const writing = &file;
  const uint64_t block = 0;
  co_await ok(scope.spawn(write_one, writing, block, 2));
  co_await ok(sleep_for(1ns));
  co_await ok(scope.spawn(sync_one, writing));
  co_return Result<void>();
}

Task<Result<void>> sync_too_early() {
  File file = co_await ok(File::open("data", open_direct));
  const ScopeOptions options;
  co_await ok(with_scope(options, sync_behind_a_write, file));
  co_return Result<void>();
}

TEST_CASE("a sync does not cover a write that was not acknowledged when it was submitted") {
  for (const uint32_t queue_depth : {1u, 8u}) {
    uint32_t lost_count = 0;
    for (uint64_t seed = 0; seed < 40; ++seed) {
      SimBackendOptions options;
      options.queue_depth = queue_depth;
      Machine machine(seed, options);
      machine.files().put("data", std::vector<std::byte>(block_size, std::byte{1}));
      CHECK(machine.run(sync_too_early).has_value());
      machine.lose_power();
      lost_count += fill_of(machine.files().find("data")->content(), 0) != 2;
    }
    CAPTURE(queue_depth);
    CHECK(lost_count > 5);
  }
}

Task<Result<void>> write_two(Scope& scope, File& file, uint64_t second) {
  File* const writing = &file;
  const uint64_t elsewhere = 9;
  const uint64_t first = 0;
  co_await ok(scope.spawn(write_one, writing, elsewhere, 1));
  co_await ok(scope.spawn(write_one, writing, first, 2));
  co_await ok(scope.spawn(write_one, writing, second, 3));
  co_return Result<void>();
}

Task<Result<void>> write_at_once(uint64_t second) {
  File file = co_await ok(File::open("data", open_direct));
  const ScopeOptions options;
  co_await ok(with_scope(options, write_two, file, second));
  co_return Result<void>();
}

TEST_CASE("two writes to one place at one time are reported") {
  for (const uint32_t queue_depth : {1u, 2u, 8u}) {
    SimBackendOptions options;
    options.queue_depth = queue_depth;
    const auto write = [&](uint64_t second) {
      Machine machine(1, options);
      static_cast<void>(machine.run(write_at_once, uint64_t{second}));
    };
    expect_abort([&] { write(0); }, "write of 4096 bytes at 0 on data, and write of 4096 bytes at 0 on data");
    expect_survival([&] { write(1); });
  }
}

}  // namespace
}  // namespace spindle
