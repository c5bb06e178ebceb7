// A crash, an error, or a cancel at every step of making a store: what is there then opens, or can be formatted without
// force, or is as it was.
#include <cerrno>

#include "tests/io/bad_disk.h"
#include "tests/lsm/store_fixture.h"

namespace spindle {
namespace {

/// Whatever a format left behind that was not forced. Counts what it was.
struct Leavings {
  uint64_t opened_count = 0;
  uint64_t refused_count = 0;

  void check(Disk disk, bool is_done, const SuperblockFormat& next) {
    Found found;
    if (disk.files().find(store_path) != nullptr) found = open_of(disk);
    opened_count += found.is_open;
    refused_count += !found.is_open;
    if (!found.is_open) {
      CHECK_FALSE(is_done);
      StoreFormer former;
      const Result<void> formatted = disk.run(note_former, &former, next);
      CHECK_MESSAGE(formatted.has_value(), (formatted.has_value() ? std::string() : describe(formatted.error())));
      const bool is_ours = former.content == StoreContent::nothing || former.content == StoreContent::half_formatted;
      CHECK(is_ours);
      found = open_of(disk);
      CHECK(found.cluster == next.cluster);
    }
    CHECK(found.is_open);
    CHECK(found.sequence == 1);
    CHECK(inspection_of(disk).findings.empty());
  }
};

constexpr ClusterId other_cluster{1, 2};

/// With other sizes than the first time.
SuperblockFormat next_format() {
  SuperblockFormat format = small_format(8, false, other_cluster);
  format.configuration.block_size = 512 << 10;
  format.configuration.journal_size = 4096;
  return format;
}

/// Some of the images that a loss of power could leave at each step of the program; all kinds of them in turn.
template <class Check, class Program, class... Args>
uint64_t crash_in_many_ways(const Disk& before, uint64_t stride, Check check, Program program, Args... args) {
  uint64_t images_count = 0;
  World world(7);
  Host& host = world.add_host("a", {}, before.clone());
  Found found;
  host.start(program, &found, args...);
  do {
    const CrashImages images(host);
    const std::vector<std::vector<SectorFate>> choices = images.choices({});
    const bool is_large = choices.size() > 64;
    for (size_t index = images_count % stride; index < choices.size(); index += is_large ? 40 * stride : stride) {
      check(Disk(images.image(choices[index], index)), found.is_done);
      ++images_count;
    }
  } while (host.is_running() && world.step() == World::Step::worked);
  CHECK(host.take().has_value());
  return images_count;
}

TEST_CASE("after a crash in a format a store opens, or the next format needs no force") {
  for (const bool has_empty_file : {false, true}) {
    for (const uint32_t copies_count : {4u, 8u}) {
      Leavings leavings;
      const auto check = [&](Disk disk, bool is_done) { leavings.check(std::move(disk), is_done, next_format()); };
      const Disk before = has_empty_file ? disk_with({}) : no_file();
      crash_everywhere(before, check, run_store_format, small_format(copies_count));
      CHECK(crash_in_many_ways(before, 1, check, run_store_format, small_format(copies_count)) > 200);
      CHECK(leavings.opened_count > 10);
      CHECK(leavings.refused_count > 300);
    }
  }
}

/// Formats are cut off after ever more steps, until one gets through.
Disk cut_off(const SuperblockFormat& format, uint64_t seed, uint64_t steps_max, bool loses_power) {
  Disk disk = no_file();
  Random random(seed);
  for (;;) {
    World world(seed);
    Host& host = world.add_host("a", {}, disk.clone());
    Found found;
    host.start(run_store_format, &found, format);
    const uint64_t steps_count = random.below(steps_max);
    for (uint64_t step = 0; step < steps_count && host.is_running(); ++step) world.step();
    if (!host.is_running()) {
      const Result<void> formatted = host.take();
      // The one before was cut off when there was nothing left to do.
      const bool is_done = formatted.has_value() || formatted.error().number == EEXIST;
      CHECK(is_done);
      return Disk(host.files().clone());
    }
    loses_power ? host.lose_power() : host.kill_process();
    disk = Disk(host.files().clone());
    ++seed;
    steps_max += steps_max / 8;
  }
}

TEST_CASE("formats that are cut off again and again need no force, and one gets through in the end") {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    Disk disk = cut_off(seed % 3 == 0 ? next_format() : small_format(6), seed, 40 + 2 * seed, seed % 2 == 0);
    CHECK(open_of(disk).is_open);
  }
}

TEST_CASE("after a crash in a forced format the former store opens, or the new one, or it can be formatted again") {
  const Disk former = formatted_store();
  uint64_t old_count = 0;
  uint64_t new_count = 0;
  const auto check = [&](Disk disk, bool is_done) {
    Found found = open_of(disk);
    if (!found.is_open) {
      CHECK_FALSE(is_done);
      Found again;
      SuperblockFormat next = next_format();
      next.force = true;
      CHECK(disk.run(run_store_format, &again, next).has_value());
      found = open_of(disk);
    }
    CHECK(found.is_open);
    old_count += found.cluster == test_cluster;
    new_count += found.cluster == other_cluster;
    if (is_done) CHECK(found.cluster == other_cluster);
  };
  SuperblockFormat forced = next_format();
  forced.force = true;
  crash_everywhere(former, check, run_store_format, forced);
  CHECK(old_count > 20);
  CHECK(new_count > 300);
}

TEST_CASE("after a crash in an open that repairs the store opens, and is whole then") {
  Disk damaged = formatted_store(small_format(6));
  REQUIRE(damaged.run(run_store_update, uint64_t{7}, uint64_t{0}).has_value());
  damaged.make_unreadable(1);
  damaged.make_unreadable(4);
  const auto check = [&](Disk disk, bool) {
    const Found found = open_of(disk);
    CHECK(found.op == 7);
    CHECK(found.votes_count == 6);
    CHECK(inspection_of(disk).findings.empty());
  };
  crash_everywhere(damaged, check, run_store_open);
  CHECK(crash_in_many_ways(damaged, 1, check, run_store_open) > 50);
}

// ---- a cancel

TEST_CASE("a format that is cancelled leaves no file where none was, and an empty one where one was") {
  for (const bool has_empty_file : {false, true}) {
    uint64_t undone_count = 0;
    const auto check = [&](Disk disk, bool is_done) {
      const SimFile* const file = disk.files().find(store_path);
      const bool is_as_before = has_empty_file ? file != nullptr && file->size() == 0 : file == nullptr;
      undone_count += is_as_before;
      if (is_as_before) {
        CHECK_FALSE(is_done);
      } else {
        CHECK(open_of(disk).is_open);
      }
    };
    cancel_everywhere(has_empty_file ? disk_with({}) : no_file(), check, run_store_format, small_format());
    CHECK(undone_count > 50);
  }
}

// ---- an error of each request

Task<Result<void>> format_on(BadDisk&, Result<void>& into) {
  const Result<StoreFormer> formatted = co_await format_store("data", small_format(), store_impatient);
  into = Result<void>();
  if (!formatted.has_value()) into = Unexpected(formatted.error());
  co_return Result<void>();
}

/// Of the request with that index; false: there are not that many.
bool fail_at(size_t index, int number, bool has_empty_file) {
  BadDiskLoop on(0);
  on.disk.exists = has_empty_file;
  on.disk.refuse(index, number);
  Result<void> formatted;
  on.run_to_success(format_on, on.disk, formatted);
  if (index >= on.disk.asked.size()) return false;
  const Opcode opcode = on.disk.asked[index].opcode;
  CAPTURE(index);
  CAPTURE(std::string(name_of(opcode)));
  if (!formatted.has_value()) {
    CHECK(formatted.error().number == number);
    // Nothing can be done about the size of a file that failed to become durable.
    const bool may_stay_grown =
        has_empty_file && (opcode == Opcode::sync || opcode == Opcode::sync_data || opcode == Opcode::write);
    CHECK(on.disk.exists == has_empty_file);
    if (!may_stay_grown) CHECK(on.disk.bytes.empty());
    on.disk.refuse(SIZE_MAX, 0);
    on.run_to_success(format_on, on.disk, formatted);
  } else {
    const bool is_harmless = opcode == Opcode::close || (opcode == Opcode::read && number == EIO);
    CHECK(is_harmless);  // a read that fails once is tried again
  }
  CHECK(formatted.has_value());
  CHECK(on.disk.bytes.size() == superblock_zone_size + 8192);
  return true;
}

TEST_CASE(
    "whatever request of a format fails, its errno is the answer, and the file is as it was, or still takes one") {
  for (const bool has_empty_file : {false, true}) {
    for (const int number : {EIO, ENOSPC}) {
      size_t index = 0;
      while (fail_at(index, number, has_empty_file)) ++index;
      CHECK(index > 30);
    }
  }
}

}  // namespace
}  // namespace spindle
