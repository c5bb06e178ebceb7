// A crash, or a cancel, at every step of a format, an open, a repair and an update: what opens then is old or new.
#include <doctest/doctest.h>

#include "runtime/scope.h"
#include "tests/lsm/superblock_fixture.h"

namespace spindle {
namespace {

/// Goes on with a store as if nothing had happened.
void check_usable(Disk& disk, uint32_t copies_count, uint64_t op) {
  CHECK(disk.update(op).has_value());
  const Found found = disk.inspect();
  CHECK(found.why == SuperblockError::none);
  CHECK(found.repairs_count == 0);
  CHECK(found.votes_count == copies_count);
}

TEST_CASE("after a crash in a format the first version opens, or it can be formatted again without force") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    uint64_t opened_count = 0;
    uint64_t refused_count = 0;
    const auto check = [&](Disk disk, bool is_done) {
      Found found = disk.open();
      opened_count += found.is_open;
      refused_count += !found.is_open;
      if (!found.is_open) {
        CHECK_FALSE(is_done);
        CHECK(disk.format(format_of(copies_count)).has_value());
        found = disk.open();
      }
      CHECK(found.is_open);
      CHECK(found.sequence == 1);
      CHECK(found.votes_count == copies_count);
    };
    crash_everywhere(Disk(), check, run_format, format_of(copies_count));
    CHECK(crash_in_all_ways(Disk(), check, run_format, format_of(copies_count)) > 50);
    CHECK(opened_count > 20);
    CHECK(refused_count > 20);
  }
}

/// The first version, in some slots, and one that is torn.
Contents half_formatted(uint32_t whole_count, bool has_torn) {
  Contents contents{};
  for (uint32_t slot = 0; slot < whole_count; ++slot) contents[slot] = {Filling::winner, slot};
  if (has_torn) contents[whole_count] = {Filling::torn, 0};
  return contents;
}

TEST_CASE("a crash while a half formatted store is formatted again leaves one that can be formatted again") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    const SuperblockVersions versions = SuperblockVersions::first(copies_count);
    for (uint32_t whole_count = 0; whole_count < read_quorum_of(copies_count); ++whole_count) {
      const Disk before = disk_of(versions, half_formatted(whole_count, true));
      const auto check = [&](Disk disk, bool) {
        Found found = disk.open();
        if (!found.is_open) {
          CHECK(disk.format(format_of(copies_count)).has_value());
          found = disk.open();
        }
        CHECK(found.sequence == 1);
        CHECK(found.cluster == test_cluster);
      };
      crash_in_all_ways(before, check, run_format, format_of(copies_count));
    }
  }
}

TEST_CASE("after a crash in a forced format the old store opens, or the new one, or it can be forced again") {
  constexpr ClusterId other{1, 2};
  const Disk before = store_of(6, 3);
  uint64_t old_count = 0;
  uint64_t new_count = 0;
  const auto check = [&](Disk disk, bool is_done) {
    Found found = disk.open();
    if (!found.is_open) {
      CHECK_FALSE(is_done);
      CHECK(disk.format(format_of(4, true, other)).has_value());
      found = disk.open();
      CHECK(found.cluster == other);
    }
    const bool is_new = found.cluster == other;
    CHECK(found.sequence == (is_new ? 1 : 4));
    if (is_done) CHECK(is_new);
    old_count += !is_new;
    new_count += is_new;
    CHECK(disk.inspect().repairs_count == 0);
  };
  crash_in_all_ways(before, check, run_format, format_of(4, true, other));
  CHECK(old_count > 5);
  CHECK(new_count > 5);
}

TEST_CASE("after a crash in an update the old state opens, or the new one, and goes on") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    const Disk before = store_of(copies_count, 2);
    uint64_t old_count = 0;
    uint64_t new_count = 0;
    const auto check = [&](Disk disk, bool is_done) {
      const Found found = disk.open();
      REQUIRE(found.is_open);
      CHECK(found.votes_count == copies_count);
      const bool is_new = found.op == 30;
      if (is_done) CHECK(is_new);
      CHECK(found.op == (is_new ? 30 : 20));
      CHECK(found.sequence == (is_new ? 4 : 3));
      old_count += !is_new;
      new_count += is_new;
      check_usable(disk, copies_count, 40);
      CHECK(disk.open().sequence == found.sequence + 1);
    };
    crash_everywhere(before, check, run_update, uint64_t{30});
    crash_in_all_ways(before, check, run_update, uint64_t{30});
    CHECK(old_count > 50);
    CHECK(new_count > 20);
  }
}

TEST_CASE("after a crash in an update that keeps its op the version before opens, or the new one") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    const Disk before = store_of(copies_count, 2);
    const auto check = [&](Disk disk, bool is_done) {
      const Found found = disk.open();
      REQUIRE(found.is_open);
      CHECK(found.op == 20);
      CHECK(found.sequence >= (is_done ? 4 : 3));
      check_usable(disk, copies_count, 20);
    };
    crash_everywhere(before, check, run_update, uint64_t{20});
  }
}

constexpr Content w0{Filling::winner, 0}, w1{Filling::winner, 1}, w2{Filling::winner, 2}, w3{Filling::winner, 3};
constexpr Content torn{Filling::torn, 0}, unreadable{Filling::unreadable, 0}, zero{Filling::zero, 0};
constexpr Contents damaged_stores[] = {
    {w0, w1, w2, w3},
    {w0, w1, torn, zero},
    {unreadable, w1, w2, unreadable},
    {Content{Filling::parent, 0}, w1, Content{Filling::older, 2}, w3},
    {w0, w1, w2, Content{Filling::next, 3}},
    {w0, w1, w2, Content{Filling::fork, 3}, Content{Filling::unconnected, 0}},
    {w1, w2, w3, w0, Content{Filling::fork, 1}},
    {w1, w2, w3, w3, Content{Filling::fork, 1}},
    {w1, zero, zero, w0, Content{Filling::next, 2}, Content{Filling::parent, 3}},
    {torn, torn, zero, unreadable, w0, w1, w3, w2},
    {w1, w0, Content{Filling::parent, 2}, Content{Filling::parent, 3}, Content{Filling::foreign, 0}},
};

TEST_CASE("a crash in an open that repairs loses nothing, and the next one does the rest") {
  const SuperblockVersions versions(4, false);
  for (const Contents& contents : damaged_stores) {
    const std::string text = text_of(contents);
    CAPTURE(text);
    const auto check = [&](Disk disk, bool is_done) {
      if (is_done) CHECK(disk.inspect().repairs_count == 0);
      const Found found = disk.open(test_cluster);
      REQUIRE(found.is_open);
      CHECK(found.sequence == 10);
      CHECK(found.op == 100);
      CHECK(found.votes_count == 4);
      check_usable(disk, 4, 200);
    };
    const Disk before = disk_of(versions, contents);
    const std::optional<ClusterId> cluster = test_cluster;
    crash_everywhere(before, check, run_open, cluster);
    crash_in_all_ways(before, check, run_open, cluster);
  }
}

TEST_CASE("after a repair a crash in the next update leaves the old state or the new one") {
  const SuperblockVersions versions(4, false);
  for (const Contents& contents : damaged_stores) {
    const std::string text = text_of(contents);
    CAPTURE(text);
    const auto check = [&](Disk disk, bool is_done) {
      const Found found = disk.open(test_cluster);
      REQUIRE(found.is_open);
      CHECK((found.op == 200 || (found.op == 100 && !is_done)));
    };
    crash_in_all_ways(disk_of(versions, contents), check, run_update, uint64_t{200});
  }
}

/// What a program leaves that is killed while it writes to that slot, or to one behind it.
template <class Program, class... Args>
Disk killed_in_write(const Disk& before, uint64_t seed, uint32_t slot, Program program, Args... args) {
  World world(seed);
  Host& host = world.add_host("a", {}, before.clone());
  Found found;
  host.start(program, &found, args...);
  bool is_writing = false;
  while (!is_writing && host.is_running()) {
    world.step();
    host.backend().for_each_write_in_flight([&](SimFile&, uint64_t offset, std::span<const std::byte>) {
      is_writing = is_writing || offset >= uint64_t{slot} * superblock_slot_stride;
    });
  }
  host.kill_process();
  return Disk(host.files().clone());
}

// A write that a kill meets may be seen by the next process, and be gone after a loss of power.
TEST_CASE("what opened once is what opens after a loss of power, though processes before it were killed") {
  const std::optional<ClusterId> cluster = test_cluster;
  const Disk before = store_of(4, 1);
  uint64_t new_count = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Disk disk = killed_in_write(before, seed, 1, run_update, uint64_t{20});
    disk = killed_in_write(disk, seed, 2, run_open, cluster);
    disk = killed_in_write(disk, seed, 3, run_open, cluster);
    World world(seed);
    Host& host = world.add_host("a", {}, disk.clone());
    Found found;
    host.start(run_open, &found, cluster);
    REQUIRE(world.run() == World::Outcome::idle);
    REQUIRE(found.is_open);
    new_count += found.sequence == 3;
    const CrashImages images(host);
    images.for_each({}, [&](SimFiles image) { CHECK(Disk(std::move(image)).open().sequence == found.sequence); });
  }
  CHECK(new_count > 10);
}

TEST_CASE("several formats that were killed leave what opens, or can be formatted, after a loss of power, too") {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Disk disk = killed_in_write(Disk(), seed, 3, run_format, format_of(8, false, {1, 1}));
    disk = killed_in_write(disk, seed, 2, run_format, format_of(8, false, {1, 2}));
    World world(seed);
    Host& host = world.add_host("a", {}, disk.clone());
    Found found;
    host.start(run_format, &found, format_of(8, false, {1, 4}));
    for (uint32_t step = 0; step < 30 + seed % 60 && host.is_running(); ++step) world.step();
    const CrashImages images(host);
    images.for_each({}, [&](SimFiles image) {
      Disk left(std::move(image));
      if (!left.open().is_open) CHECK(left.format(format_of(8)).has_value());
    });
  }
}

TEST_CASE("a cancel does not cut a format, a repair or an update short") {
  const auto check = [](Disk disk, bool) {
    const Found found = disk.inspect();
    CHECK((found.why == SuperblockError::none || found.why == SuperblockError::not_found));
    CHECK(found.repairs_count == 0);
  };
  for (const uint32_t copies_count : {4u, 8u}) {
    cancel_everywhere(Disk(), check, run_format, format_of(copies_count));
    cancel_everywhere(store_of(copies_count, 1), check, run_update, uint64_t{30});
  }
  const SuperblockVersions versions(4, false);
  const auto check_repair = [](Disk disk, bool) {
    const uint32_t repairs_count = disk.inspect().repairs_count;
    CHECK((repairs_count == 0 || repairs_count == 2));
  };
  const std::optional<ClusterId> cluster = test_cluster;
  cancel_everywhere(disk_of(versions, damaged_stores[1]), check_repair, run_open, cluster);
}

Task<Result<void>> update_it(SuperblockCopies* superblock) {
  const CheckpointState state = state_with(superblock->working().state, 99);
  co_await ok(superblock->update(state));
  co_return Result<void>();
}

Task<Result<void>> spawn_update(Scope& scope, SuperblockCopies& superblock) {
  SuperblockCopies* const address = &superblock;
  co_await ok(scope.spawn(update_it, address));
  co_return Result<void>();
}

Task<Result<void>> update_in_a_child() {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  co_await ok(superblock.open());
  auto updating = with_scope(ScopeOptions(), spawn_update, superblock);
  co_await ok(std::move(updating));
  co_return Result<void>();
}

// For the sanitizers: nothing touches what is gone.
TEST_CASE("a host can be killed while a task of its own updates the superblock") {
  const Disk disk = store_of(4, 1);
  uint64_t killed_count = 0;
  for (uint64_t steps = 0;; ++steps) {
    World world(3);
    Host& host = world.add_host("a", {}, disk.clone());
    host.start(update_in_a_child);
    uint64_t done = 0;
    while (done < steps && world.step() == World::Step::worked) ++done;
    if (done < steps) break;
    host.kill_process();
    ++killed_count;
  }
  CHECK(killed_count > 30);
}

}  // namespace
}  // namespace spindle
