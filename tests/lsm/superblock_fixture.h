// What the tests of the superblock on a simulated disk share: disks, programs that use a store, and crashes.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/sim/crash_images.h"
#include "io/sim/world.h"
#include "lsm/superblock.h"
#include "tests/lsm/superblock_versions.h"

namespace spindle {

inline constexpr ZoneIndex superblock_zone{0};
inline constexpr ZoneOptions store_zones[] = {{.name = "superblock", .size = superblock_zone_size}};
inline constexpr const char* store_path = "store";

inline SuperblockFormat format_of(uint32_t copies_count, bool force = false, ClusterId cluster = test_cluster) {
  SuperblockFormat format;
  format.cluster = cluster;
  format.configuration.copies_count = copies_count;
  format.configuration.blocks_max = 1000;
  format.force = force;
  return format;
}

inline CheckpointState state_with(CheckpointState state, uint64_t op) {
  state.op = op;
  return state;
}

/// What a program found, and how far it got.
struct Found {
  bool is_open = false;
  ErrorCode code = ErrorCode::corrupt;  ///< of open(), when it failed
  SuperblockError why = SuperblockError::none;
  uint64_t sequence = 0;
  uint64_t op = 0;
  ClusterId cluster;
  uint32_t votes_count = 0;
  uint32_t repairs_count = 0;
  bool is_done = false;  ///< what it was to do was acknowledged
};

inline void note_open(Found& found, const SuperblockCopies& superblock, const Result<void>& opened) {
  found.is_open = opened.has_value();
  found.why = superblock.choice().error;
  if (!opened.has_value()) {
    found.code = opened.error().code;
    return;
  }
  found.sequence = superblock.working().sequence;
  found.op = superblock.working().state.op;
  found.cluster = superblock.working().cluster;
  found.votes_count = superblock.choice().votes_count;
}

// ---- programs

inline Task<Result<void>> run_format(Found* found, SuperblockFormat format) {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  co_await ok(superblock.format(format));
  found->is_done = true;
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

inline Task<Result<void>> run_open(Found* found, std::optional<ClusterId> cluster) {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  const Result<void> opened = co_await superblock.open(cluster);
  note_open(*found, superblock, opened);
  found->is_done = true;
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

inline Task<Result<void>> run_inspect(Found* found) {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  co_await ok(superblock.inspect());
  found->why = superblock.choice().error;
  found->votes_count = superblock.choice().votes_count;
  found->repairs_count = superblock.choice().repairs_count;
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

/// Opens, and makes the version with that op the current one.
inline Task<Result<void>> run_update(Found* found, uint64_t op) {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  const Result<void> opened = co_await superblock.open(test_cluster);
  note_open(*found, superblock, opened);
  if (!opened.has_value()) co_return opened;
  const CheckpointState state = state_with(superblock.working().state, op);
  co_await ok(superblock.update(state));
  found->is_done = true;
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

// ---- disks

/// One program on a disk, which it changes.
class Disk {
 public:
  explicit Disk(SimFiles files) { put(std::move(files)); }
  /// A file of zeroes.
  Disk() {
    SimFiles files;
    files.put(store_path, std::vector<std::byte>(superblock_zone_size));
    put(std::move(files));
  }

  SimFiles clone() const { return files_->clone(); }
  SimFiles& files() { return *files_; }
  SimBackendOptions& options() { return options_; }
  /// From here on all of the slots, whatever is done there.
  void set_fault(Fault fault, std::span<const uint32_t> slots) {
    options_.faults = FaultPlan();
    for (const uint32_t slot : slots) {
      options_.faults.regions.push_back({store_path, uint64_t{slot} * superblock_slot_stride, superblock_size,
                                         FaultRates().set(fault, FaultRates::denominator)});
    }
  }
  /// Until it is written.
  void make_unreadable(uint32_t slot) {
    files_->find(store_path)->make_unreadable(uint64_t{slot} * superblock_slot_stride, superblock_size);
  }

  template <class Program, class... Args>
  Result<void> run(Program program, Args... args) {
    World world(1);
    Host& host = world.add_host("a", options_, files_->clone());
    host.start(program, args...);
    REQUIRE(world.run() == World::Outcome::idle);
    Result<void> result = host.take();
    put(host.files().clone());
    return result;
  }
  Found open(std::optional<ClusterId> cluster = {}) {
    Found found;
    CHECK(run(run_open, &found, cluster).has_value());
    return found;
  }
  Found inspect() {
    Found found;
    CHECK(run(run_inspect, &found).has_value());
    return found;
  }
  Result<void> format(const SuperblockFormat& format) {
    Found found;
    return run(run_format, &found, format);
  }
  Result<void> update(uint64_t op) {
    Found found;
    return run(run_update, &found, op);
  }

 private:
  void put(SimFiles files) { files_ = std::make_unique<SimFiles>(std::move(files)); }

  std::unique_ptr<SimFiles> files_;
  SimBackendOptions options_;
};

/// A store with that many updates: sequence 1 + updates_count, op 10 * updates_count.
inline Disk store_of(uint32_t copies_count, uint64_t updates_count) {
  Disk disk;
  REQUIRE(disk.format(format_of(copies_count)).has_value());
  for (uint64_t update = 1; update <= updates_count; ++update) REQUIRE(disk.update(10 * update).has_value());
  return disk;
}

inline Disk disk_of(const SuperblockVersions& versions, const Contents& contents) {
  std::vector<std::byte> bytes(superblock_zone_size);
  for (uint32_t slot = 0; slot < contents.size(); ++slot) {
    const auto [filling, copy] = contents[slot];
    std::byte* const at = bytes.data() + size_t{slot} * superblock_slot_stride;
    if (is_version(filling)) std::memcpy(at, &versions.at(filling, copy), superblock_size);
    if (filling == Filling::torn) std::memset(at, 0x5a, superblock_size);
  }
  SimFiles files;
  files.put(store_path, bytes);
  Disk disk(std::move(files));
  for (uint32_t slot = 0; slot < contents.size(); ++slot) {
    if (contents[slot].filling == Filling::unreadable) disk.make_unreadable(slot);
  }
  return disk;
}

// ---- crashes

/// check(Disk, is_done) for what the program leaves when it is killed, and when power is lost, at each of its steps.
template <class Check, class Program, class... Args>
void crash_everywhere(const Disk& before, Check check, Program program, Args... args) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    bool is_over = false;
    for (uint64_t steps_count = 0; !is_over; ++steps_count) {
      for (const bool loses_power : {false, true}) {
        World world(seed);
        Host& host = world.add_host("a", {}, before.clone());
        Found found;
        host.start(program, &found, args...);
        for (uint64_t step = 0; step < steps_count && host.is_running(); ++step) world.step();
        is_over = !host.is_running();
        loses_power ? host.lose_power() : host.kill_process();
        check(Disk(host.files().clone()), found.is_done);
      }
    }
  }
}

/// The same for each image that a loss of power could leave at each step. Gives how many there were.
template <class Check, class Program, class... Args>
uint64_t crash_in_all_ways(const Disk& before, Check check, Program program, Args... args) {
  uint64_t images_count = 0;
  World world(7);
  Host& host = world.add_host("a", {}, before.clone());
  Found found;
  host.start(program, &found, args...);
  do {
    const CrashImages images(host);
    images_count += images.for_each({}, [&](SimFiles image) { check(Disk(std::move(image)), found.is_done); });
  } while (host.is_running() && world.step() == World::Step::worked);
  CHECK(host.take().has_value());
  return images_count;
}

/// check(Disk, is_done) for what a program leaves that was cancelled at each of its steps.
template <class Check, class Program, class... Args>
void cancel_everywhere(const Disk& before, Check check, Program program, Args... args) {
  bool is_over = false;
  for (uint64_t steps_count = 0; !is_over; ++steps_count) {
    World world(1);
    Host& host = world.add_host("a", {}, before.clone());
    Found found;
    host.start(program, &found, args...);
    for (uint64_t step = 0; step < steps_count && host.is_running(); ++step) world.step();
    is_over = !host.is_running();
    if (!is_over) host.cancel();
    REQUIRE(world.run() == World::Outcome::idle);
    check(Disk(host.files().clone()), found.is_done);
  }
}

}  // namespace spindle
