// The simulated world: deadlocks are explained, and a seed decides everything, addresses nothing.
#include "io/sim/world.h"

#include <doctest/doctest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/directory.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "runtime/sleep.h"
#include "tests/io/sim_world_fixture.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;

Task<Result<void>> wait_for(Event* event) {
  co_await ok(event->wait());
  co_return Result<void>();
}

Task<Result<void>> spawn_waiting(Scope& scope, Event& event) {
  Event* const waited_for = &event;
  co_await ok(scope.spawn(wait_for, waited_for));
  co_return Result<void>();
}

Task<Result<void>> wait_for_ever() {
  Event event;
  const ScopeOptions options;
  co_await ok(with_scope(options, spawn_waiting, event));
  co_return Result<void>();
}

Task<Result<void>> sleep_a_little() {
  co_await ok(sleep_for(1ms));
  co_return Result<void>();
}

TEST_CASE("the report of a deadlock names hosts, where tasks were spawned, and what they await where") {
  World world(1);
  Host& stuck = world.add_host("stuck");
  Host& done = world.add_host("done");
  Host& dead = world.add_host("dead");
  stuck.start(wait_for_ever);
  done.start(sleep_a_little);
  dead.start(wait_for_ever);
  CHECK(world.run() == World::Outcome::deadlock);
  dead.kill_process();
  CHECK(world.run() == World::Outcome::deadlock);
  const std::string report = world.report();
  INFO(report);
  for (const char* part : {"host stuck:\n", "root task from ", "scope from ",
                           "task from sim_world_test.cpp:", "awaited at sim_world_test.cpp:", "wait_for_ever(",
                           "host done: no task\n", "host dead: dead\n"}) {
    CAPTURE(part);
    CHECK(report.find(part) != std::string::npos);
  }
}

/// All faults at a hundred times their usual rate; and those that are never usual.
SimBackendOptions stormy() {
  SimBackendOptions options;
  options.queue_depth = 4;
  const FaultRates usual = FaultRates::usual();
  for (size_t index = 0; index < fault_count; ++index) {
    const Fault fault = static_cast<Fault>(index);
    options.faults.everywhere.set(fault, usual.of(fault) * 100);
  }
  for (const Fault fault : {Fault::write_error, Fault::no_space, Fault::failed_sync}) {
    options.faults.everywhere.set(fault, 10'000);
  }
  options.capacity = 64 * block_size;
  return options;
}

Task<Result<void>> change_file(uint64_t index) {
  const std::string path = "file" + std::to_string(index);
  Random& random = Loop::current().random();
  for (int round = 0; round < 20; ++round) {
    Result<File> opened = co_await File::open(path, open_direct);
    if (!opened.has_value()) continue;
    File file = std::move(opened.value());
    Blocks memory(1 + random.below(4), static_cast<int>(random.below(256)));
    const uint64_t offset = random.below(8) * block_size;
    const Result<void> written = co_await file.write_all_at(offset, memory.all());
    static_cast<void>(written);
    const Result<uint64_t> read = co_await file.read_at(offset, memory.all());
    static_cast<void>(read);
    const uint64_t choice = random.below(6);
    if (choice < 2) {
      const Result<void> synced = co_await file.sync();
      static_cast<void>(synced);
    } else if (choice == 2) {
      const Result<void> cut = co_await file.truncate(offset);
      static_cast<void>(cut);
    } else if (choice == 3) {
      const std::string other = "file" + std::to_string(random.below(5));
      const Result<void> renamed = co_await rename_path(path, other);
      static_cast<void>(renamed);
    } else if (choice == 4) {
      const Result<void> synced = co_await sync_directory("/");
      static_cast<void>(synced);
    }
  }
  co_return Result<void>();
}

Task<Result<void>> change_files(Scope& scope) {
  for (uint64_t index = 0; index < 3; ++index) co_await ok(scope.spawn(change_file, index));
  co_return Result<void>();
}

Task<Result<void>> busy() {
  const ScopeOptions options;
  co_await ok(with_scope(options, change_files));
  co_return Result<void>();
}

/// The hash of a world with kills and losses of power; its disk, byte for byte, too.
uint64_t hash_of(uint64_t seed, FaultRecord* record = nullptr) {
  World world(seed);
  Host& host = world.add_host("a", stormy());
  Host& other = world.add_host("b", stormy());
  EventHash hash;
  for (int life = 0; life < 4; ++life) {
    for (Host* each : {&host, &other}) each->start(busy);
    for (uint64_t left = world.random().below(1500); left > 0; --left) {
      if (world.step() != World::Step::worked) break;
    }
    for (Host* each : {&host, &other}) {
      life % 2 == 0 ? each->lose_power() : each->kill_process();
      each->files().for_each([&](const std::string& path, SimFile& file) {
        hash.mix(path.size(), file.number(), file.size());
        for (const std::byte byte : file.content()) hash.mix(static_cast<uint64_t>(byte));
      });
      each->restart();
    }
  }
  if (record != nullptr) *record = host.files().record();
  hash.mix(world.hash());
  return hash.value();
}

TEST_CASE("the same seed gives the same hash and the same disks, with all faults on") {
  std::set<uint64_t> hashes;
  std::set<Fault> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    FaultRecord record;
    const uint64_t hash = hash_of(seed, &record);
    CHECK(hash == hash_of(seed));
    hashes.insert(hash);
    for (size_t index = 0; index < fault_count; ++index) {
      if (record.count(static_cast<Fault>(index)) > 0) seen.insert(static_cast<Fault>(index));
    }
  }
  CHECK(hashes.size() == 20);
  CHECK(seen.size() == fault_count);
}

TEST_CASE("nothing in a world depends on addresses") {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const uint64_t hash = hash_of(seed);
    Random random(seed);
    std::vector<std::unique_ptr<std::byte[]>> garbage;
    for (int round = 0; round < 3000; ++round) garbage.push_back(std::make_unique<std::byte[]>(1 + random.below(4000)));
    for (std::unique_ptr<std::byte[]>& each : garbage) {
      if (random.chance(1, 2)) each.reset();
    }
    CHECK(hash == hash_of(seed));
  }
}

}  // namespace
}  // namespace spindle
