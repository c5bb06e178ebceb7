// The simulated world and its backend: files, faults, time, death, determinism.
#include "io/sim/sim_backend.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "io/file.h"
#include "io/sim/world.h"
#include "runtime/combinators.h"
#include "runtime/event.h"
#include "runtime/semaphore.h"
#include "runtime/sleep.h"

namespace spindle {

namespace {

using namespace std::chrono_literals;

/// Sectors, aligned for direct I/O.
struct alignas(512) Sector {
  std::byte bytes[512];
};
class Sectors {
 public:
  explicit Sectors(size_t count, uint8_t fill = 0) : sectors_(count) {
    std::memset(sectors_.data(), fill, count * sizeof(Sector));
  }
  std::span<std::byte> all() noexcept {
    return {reinterpret_cast<std::byte*>(sectors_.data()), sectors_.size() * sizeof(Sector)};
  }

 private:
  std::vector<Sector> sectors_;
};

constexpr OpenOptions read_write_new{.access = Access::read_write, .direct = Direct::require, .create = true};

Result<void> run_to_end(World& world, Host& host) {
  REQUIRE(world.run() == World::Outcome::idle);
  CHECK(host.loop().frames().live_count() == 0);
  CHECK(host.backend().open_count() == 0);
  CHECK(host.backend().pending_count() == 0);
  return host.take();
}

Task<Result<void>> write_sync_read(Sectors& out, Sectors& in) {
  File file = co_await ok(File::open("data", read_write_new));
  co_await ok(file.write_all_at(512, out.all()));
  co_await ok(file.sync());
  co_await ok(file.read_exact_at(512, in.all()));
  const Result<void> closed = co_await file.close();
  co_return closed;
}

Task<Result<void>> note_ends(std::vector<int64_t>& results) {
  Sectors memory(4);
  File file = co_await ok(File::open("data", read_write_new));
  const auto first = memory.all().first(1024);
  co_await ok(file.write_all_at(0, first));
  Result<uint64_t> count = co_await file.read_at(512, memory.all());
  results.push_back(static_cast<int64_t>(count.value()));
  count = co_await file.read_at(4096, memory.all());
  results.push_back(static_cast<int64_t>(count.value()));
  const Result<void> exact = co_await file.read_exact_at(0, memory.all());
  CHECK(exact.error().code == ErrorCode::end_of_file);
  CHECK(exact.error().transferred == 1024);
  const auto ragged = memory.all().first(100);
  const Result<uint64_t> misaligned = co_await file.read_at(0, ragged);
  CHECK(misaligned.error().code == ErrorCode::misaligned);
  co_await ok(file.allocate(0, 8192));
  count = co_await file.read_at(4096, memory.all());
  results.push_back(static_cast<int64_t>(count.value()));
  co_return Result<void>();
}

Task<Result<void>> open_variants() {
  OpenOptions options;
  const Result<File> missing = co_await File::open("data", options);
  CHECK(missing.error().number == ENOENT);
  {
    File made = co_await ok(File::open("data", read_write_new));
    Sectors memory(1);
    co_await ok(made.write_all_at(0, memory.all()));
  }
  options = read_write_new;
  options.exclusive = true;
  const Result<File> exists = co_await File::open("data", options);
  CHECK(exists.error().number == EEXIST);
  options.exclusive = false;
  File again = co_await ok(File::open("data", options));
  CHECK(again.size_at_open() == 512);
  CHECK(again.memory_alignment() == 512);
  options.truncate = true;
  File emptied = co_await ok(File::open("data", options));
  CHECK(emptied.size_at_open() == 0);
  options = OpenOptions();
  File reader = co_await ok(File::open("data", options));
  Sectors memory(1);
  const Result<void> written = co_await reader.write_all_at(0, memory.all());
  CHECK(written.error().number == EBADF);
  co_return Result<void>();
}

Task<Result<void>> vectored(Sectors& out, Sectors& in) {
  File file = co_await ok(File::open("data", read_write_new));
  iovec parts[3] = {{out.all().data(), 512}, {out.all().data() + 512, 1024}, {out.all().data() + 1536, 512}};
  const std::span<iovec> writing(parts);
  co_await ok(file.write_all_at(0, writing));
  iovec targets[2] = {{in.all().data(), 1536}, {in.all().data() + 1536, 512}};
  const std::span<iovec> reading(targets);
  co_await ok(file.read_exact_at(0, reading));
  co_return Result<void>();
}

Task<Result<void>> write_block(File& file, uint64_t offset, uint8_t fill) {
  Sectors memory(4, fill);
  co_await ok(file.write_all_at(offset, memory.all()));
  co_await ok(file.sync_data());
  co_return Result<void>();
}

Task<Result<void>> write_block_of(File* file, uint64_t index) {
  co_await ok(write_block(*file, index * 2048, static_cast<uint8_t>(index + 1)));
  co_return Result<void>();
}

Task<Result<void>> write_blocks(Scope& scope, File& file, uint64_t count) {
  for (uint64_t index = 0; index < count; ++index) {
    File* const target = &file;
    co_await ok(scope.spawn(write_block_of, target, index));
  }
  co_return Result<void>();
}

/// A bit of everything that a kill can hit: scopes, locks, timeouts, reads and writes in flight, dropped files.
Task<Result<void>> busy_program(uint64_t count) {
  File file = co_await ok(File::open("data", read_write_new));
  const ScopeOptions options{.children_max = 3};
  co_await ok(with_scope(options, write_blocks, file, count));
  Semaphore semaphore(2);
  const Semaphore::Permit permit = co_await ok(semaphore.acquire(2));
  auto never = semaphore.acquire(1);
  const auto waited = co_await timeout(1ms, never);
  CHECK(waited.error().code == ErrorCode::timed_out);
  Sectors memory(4);
  const auto read = co_await timeout(1us, file.read_exact_at(0, memory.all()));
  static_cast<void>(read);
  co_await ok(shield(sleep_for(5us)));
  auto both = race(write_block(file, 0, 77), write_block(file, 4096, 78));
  const auto winner = co_await std::move(both);
  static_cast<void>(winner);
  co_return Result<void>();
}

Task<Result<void>> cancelled_read(File* file, std::vector<Result<uint64_t>>* results) {
  Sectors memory(8);
  Result<uint64_t> count = co_await file->read_at(0, memory.all());
  results->push_back(std::move(count));
  co_return Result<void>();
}

Task<Result<void>> spawn_and_cancel(Scope& scope, File& file, std::vector<Result<uint64_t>>& results) {
  for (int index = 0; index < 6; ++index) {
    co_await ok(scope.spawn(cancelled_read, &file, &results));
  }
  co_await ok(sleep_for(1ns));
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> cancel_reads(std::vector<Result<uint64_t>>& results) {
  File file = co_await ok(File::open("data", read_write_new));
  co_await ok(file.allocate(0, 4096));
  const ScopeOptions options;
  co_await ok(with_scope(options, spawn_and_cancel, file, results));
  co_return Result<void>();
}

Task<Result<void>> read_dropped(File* file, std::vector<Result<uint64_t>>* results) {
  Sectors memory(8);
  Result<uint64_t> count = co_await file->read_at(0, memory.all());
  results->push_back(std::move(count));
  co_return Result<void>();
}

Task<Result<void>> drop_while_reading(Scope& scope, std::vector<Result<uint64_t>>& results,
                                      std::unique_ptr<File>& file) {
  for (int index = 0; index < 3; ++index) {
    File* const reading = file.get();
    co_await ok(scope.spawn(read_dropped, reading, &results));
  }
  co_await ok(sleep_for(1ns));
  file.reset();
  co_return Result<void>();
}

Task<Result<void>> drop_in_flight(std::vector<Result<uint64_t>>& results) {
  File opened = co_await ok(File::open("data", read_write_new));
  co_await ok(opened.allocate(0, 4096));
  auto file = std::make_unique<File>(std::move(opened));
  const ScopeOptions options;
  co_await ok(with_scope(options, drop_while_reading, results, file));
  co_return Result<void>();
}

Task<Result<void>> wait_for_ever() {
  Event event;
  co_await ok(event.wait());
  co_return Result<void>();
}

Task<Result<void>> many_nops(uint64_t count) {
  for (uint64_t index = 0; index < count; ++index) {
    co_await ok(nop(Backend::current()));
  }
  co_return Result<void>();
}

SimBackendOptions faulty() {
  SimBackendOptions options;
  options.queue_depth = 2;
  options.faults.everywhere.set(Fault::short_read, 300'000).set(Fault::short_write, 300'000);
  options.faults.everywhere.set(Fault::again, 100'000).set(Fault::interrupted, 100'000);
  return options;
}

}  // namespace

TEST_CASE("what was written to a simulated file is read back") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    World world(seed);
    Host& host = world.add_host("a", seed % 2 == 0 ? SimBackendOptions{} : faulty());
    Sectors out(16, 0xab);
    Sectors in(16);
    host.start(write_sync_read, out, in);
    CHECK(run_to_end(world, host).has_value());
    CHECK(std::memcmp(out.all().data(), in.all().data(), in.all().size()) == 0);
    CHECK(host.files().find("data")->size() == 512 + 16 * 512);
  }
}

TEST_CASE("reads are short at the end of a simulated file and empty past it") {
  World world(1);
  Host& host = world.add_host("a");
  std::vector<int64_t> results;
  host.start(note_ends, results);
  CHECK(run_to_end(world, host).has_value());
  CHECK(results == std::vector<int64_t>{512, 0, 2048});
}

TEST_CASE("open answers like the kernel") {
  World world(2);
  Host& host = world.add_host("a");
  host.start(open_variants);
  CHECK(run_to_end(world, host).has_value());
}

TEST_CASE("open without direct I/O is refused under require") {
  World world(2);
  SimBackendOptions options;
  options.offers_direct = false;
  Host& host = world.add_host("a", options);
  Sectors out(1);
  Sectors in(1);
  host.start(write_sync_read, out, in);
  CHECK(run_to_end(world, host).error().code == ErrorCode::no_direct_io);
}

Task<Result<void>> probe(bool has_content) {
  if (has_content) {
    OpenOptions options = read_write_new;
    options.direct = Direct::never;
    File made = co_await ok(File::open("data", options));
    Sectors memory(16);
    co_await ok(made.write_all_at(0, memory.all()));
  }
  File file = co_await ok(File::open("data", read_write_new));
  CHECK(file.is_direct());
  CHECK(file.memory_alignment() == (has_content ? 512 : 4096));
  CHECK(file.offset_alignment() == 4096);
  CHECK(file.read_offset_alignment() == 4096);
  co_return Result<void>();
}

TEST_CASE("a simulated disk whose status does not tell its alignment is asked by reading") {
  for (const bool has_content : {true, false}) {
    World world(6);
    SimBackendOptions options = faulty();
    options.tells_alignment = false;
    options.offset_alignment = 4096;
    Host& host = world.add_host("a", options);
    host.start(probe, bool{has_content});
    CHECK(run_to_end(world, host).has_value());
  }
}

TEST_CASE("a new file for which direct I/O is required and refused does not stay on a simulated disk") {
  World world(6);
  SimBackendOptions options;
  options.offers_direct = false;
  Host& host = world.add_host("a", options);
  host.start(probe, bool{false});
  CHECK(run_to_end(world, host).error().code == ErrorCode::no_direct_io);
  CHECK(host.files().count() == 0);
}

Task<Result<void>> read_finer() {
  File file = co_await ok(File::open("data", read_write_new));
  CHECK(file.offset_alignment() == 4096);
  CHECK(file.read_offset_alignment() == 512);
  Sectors memory(8, 3);
  co_await ok(file.write_all_at(0, memory.all()));
  const auto one = memory.all().first(512);
  co_await ok(file.read_exact_at(512, one));
  const Result<void> written = co_await file.write_all_at(512, one);
  CHECK(written.error().code == ErrorCode::misaligned);
  co_return Result<void>();
}

TEST_CASE("reads keep their own alignment where the status tells one") {
  World world(6);
  SimBackendOptions options;
  options.offset_alignment = 4096;
  options.read_offset_alignment = 512;
  Host& host = world.add_host("a", options);
  host.start(read_finer);
  CHECK(run_to_end(world, host).has_value());
}

Task<Result<void>> lock_for_ever() {
  File file = co_await ok(File::open("data", read_write_new));
  co_await ok(file.lock(LockMode::exclusive));
  Event event;
  co_await ok(event.wait());
  co_return Result<void>();
}

Task<Result<void>> lock_once() {
  File file = co_await ok(File::open("data", read_write_new));
  co_await ok(file.lock(LockMode::exclusive));
  co_return Result<void>();
}

TEST_CASE("the lock of a simulated process falls with it") {
  World world(6);
  Host& host = world.add_host("a");
  host.start(lock_for_ever);
  CHECK(world.run() == World::Outcome::deadlock);
  host.kill_process();
  host.restart();
  host.start(lock_once);
  CHECK(run_to_end(world, host).has_value());
}

TEST_CASE("vectored transfers go through short counts and transient errors") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    World world(seed);
    Host& host = world.add_host("a", faulty());
    Sectors out(4);
    for (size_t index = 0; index < out.all().size(); ++index) out.all()[index] = static_cast<std::byte>(index * 7);
    Sectors in(4);
    host.start(vectored, out, in);
    CHECK(run_to_end(world, host).has_value());
    CHECK(std::memcmp(out.all().data(), in.all().data(), in.all().size()) == 0);
  }
}

TEST_CASE("a cancelled operation ends with Cancelled, or with what it transferred") {
  uint64_t cancelled_count = 0;
  uint64_t whole_count = 0;
  uint64_t partial_count = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    World world(seed);
    SimBackendOptions options;
    options.queue_depth = 4;
    Host& host = world.add_host("a", options);
    std::vector<Result<uint64_t>> results;
    host.start(cancel_reads, results);
    CHECK(run_to_end(world, host).has_value());
    REQUIRE(results.size() == 6);
    for (const Result<uint64_t>& result : results) {
      if (!result.has_value()) {
        CHECK(result.error().code == ErrorCode::cancelled);
        ++cancelled_count;
      } else {
        ++(result.value() == 4096 ? whole_count : partial_count);
      }
    }
  }
  CHECK(cancelled_count > 0);
  CHECK(whole_count > 0);
  CHECK(partial_count > 0);
}

TEST_CASE("a file that is dropped with operations in flight is closed after they ended") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    World world(seed);
    SimBackendOptions options;
    options.queue_depth = 2;
    Host& host = world.add_host("a", options);
    std::vector<Result<uint64_t>> results;
    host.start(drop_in_flight, results);
    const Result<void> result = run_to_end(world, host);
    CHECK(results.size() == 3);
    CHECK(host.backend().dropped_count() == 0);
    static_cast<void>(result);
  }
}

TEST_CASE("a host can be killed at every await, and comes back on its disk") {
  uint64_t steps_total = UINT64_MAX;
  uint64_t in_flight_killed_count = 0;
  for (uint64_t steps = 0; steps <= steps_total; ++steps) {
    World world(11);
    SimBackendOptions options;
    options.queue_depth = 3;
    Host& host = world.add_host("a", options);
    host.start(busy_program, uint64_t{12});
    uint64_t done = 0;
    while (done < steps && world.step() == World::Step::worked) ++done;
    if (done < steps) steps_total = done;  // it came to its end
    if (host.backend().in_flight_count() > 0) ++in_flight_killed_count;
    host.kill_process();
    CHECK(!host.is_alive());
    CHECK(world.step() == World::Step::idle);
    if (const SimFile* file = host.files().find("data")) {
      const std::vector<std::byte> content = file->content();
      for (size_t at = 0; at < content.size(); at += 512) {
        CHECK(std::memcmp(content.data() + at, content.data() + at + 1, 511) == 0);
      }
    }
    host.restart();
    Sectors out(1);
    Sectors in(1);
    host.start(write_sync_read, out, in);
    CHECK(run_to_end(world, host).has_value());
  }
  CHECK(steps_total > 50);
  CHECK(in_flight_killed_count > 10);
}

TEST_CASE("a root task that is cancelled from outside ends") {
  World world(4);
  Host& host = world.add_host("a");
  host.start(wait_for_ever);
  CHECK(world.run() == World::Outcome::deadlock);
  host.cancel();
  CHECK(run_to_end(world, host).error().code == ErrorCode::cancelled);
}

TEST_CASE("a world in which everybody waits for nothing is a deadlock") {
  World world(3);
  Host& host = world.add_host("a");
  host.start(wait_for_ever);
  CHECK(world.run() == World::Outcome::deadlock);
  CHECK(world.step() == World::Step::deadlock);
  host.kill_process();
  CHECK(world.run() == World::Outcome::idle);
}

TEST_CASE("time jumps, and stops where it is told to") {
  World world(5);
  Host& host = world.add_host("a");
  host.start([]() -> Task<Result<void>> {
    co_await ok(sleep_for(1h));
    co_return Result<void>();
  });
  CHECK(world.run(Time(30min)) == World::Outcome::out_of_time);
  CHECK(world.now() == Time(30min));
  CHECK(run_to_end(world, host).has_value());
  CHECK(world.now() == Time(1h));
}

TEST_CASE("the same seed gives the same events, another seed others") {
  const auto hash_of = [](uint64_t seed) {
    World world(seed);
    Host& first = world.add_host("a", faulty());
    Host& second = world.add_host("b");
    first.start(busy_program, uint64_t{8});
    second.start(many_nops, uint64_t{20});
    CHECK(world.run() == World::Outcome::idle);
    return world.hash();
  };
  CHECK(hash_of(1) == hash_of(1));
  CHECK(hash_of(1) != hash_of(2));
  CHECK(hash_of(7) == hash_of(7));
}

}  // namespace spindle
