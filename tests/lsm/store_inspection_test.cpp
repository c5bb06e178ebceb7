// What an inspection says of stores with every kind of damage, and that it changes nothing.
#include "lsm/store_inspection.h"

#include <algorithm>
#include <string>

#include "tests/lsm/store_fixture.h"

namespace spindle {
namespace {

uint64_t offset_of(uint32_t slot) { return uint64_t{slot} * superblock_slot_stride; }

TEST_CASE("a store that is whole has no findings, and an inspection changes nothing") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    Disk disk = formatted_store(small_format(copies_count));
    const std::vector<std::byte> before = content_of(disk);
    const StoreInspection found = inspection_of(disk);
    CHECK(found.content == StoreContent::store);
    CHECK(found.findings.empty());
    CHECK(found.has_version());
    CHECK(found.winner()->sequence == 1);
    CHECK(found.choice.votes_count == copies_count);
    CHECK(found.file_size == superblock_zone_size + 8192);
    CHECK_FALSE(found.is_device);
    CHECK(content_of(disk) == before);
  }
}

TEST_CASE("no file at all is an error, and an empty one holds nothing") {
  Disk disk = no_file();
  StoreInspection found;
  const Result<void> inspected = disk.run(run_store_inspection, &found, std::optional<ClusterId>());
  REQUIRE_FALSE(inspected.has_value());
  CHECK(inspected.error().number == ENOENT);
  Disk empty = disk_with({});
  found = inspection_of(empty);
  CHECK(found.content == StoreContent::nothing);
  REQUIRE(found.findings.size() == 1);
  CHECK(found.findings[0].fault == StoreFault::no_store);
}

TEST_CASE("each damaged slot is a finding of its own, with its place, and an open heals it") {
  for (uint32_t damaged = 0; damaged < 4; ++damaged) {
    Disk disk = formatted_store();
    disk.make_unreadable(damaged);
    StoreInspection found = inspection_of(disk);
    REQUIRE(found.findings.size() == 1);
    const StoreFinding finding = found.findings[0];
    CHECK(finding.fault == StoreFault::copy);
    CHECK(finding.slot == damaged);
    CHECK(finding.offset == offset_of(damaged));
    CHECK(finding.size == superblock_size);
    CHECK(finding.is_healed_by_open);
    CHECK(found.slots[damaged].fault == SuperblockFault::unreadable);
    CHECK(open_of(disk).is_open);
    CHECK(inspection_of(disk).findings.empty());
  }
}

TEST_CASE("an unreadable slot that is not used, and an unreadable mark, are no damage") {
  Disk disk = formatted_store();
  disk.make_unreadable(5);
  disk.files().find(store_path)->make_unreadable(format_mark_offset, format_mark_size);
  CHECK(inspection_of(disk).findings.empty());
  CHECK(open_of(disk).is_open);
}

TEST_CASE("without a quorum the store has no version, and no finding is healed by an open") {
  Disk disk = formatted_store();
  for (const uint32_t slot : {0u, 1u, 3u}) disk.make_unreadable(slot);
  const StoreInspection found = inspection_of(disk);
  CHECK(found.content == StoreContent::store);
  CHECK(found.choice.error == SuperblockError::quorum_lost);
  REQUIRE(found.findings.size() == 4);
  CHECK(found.findings[0].fault == StoreFault::no_version);
  for (const StoreFinding& finding : found.findings) CHECK_FALSE(finding.is_healed_by_open);
  CHECK_FALSE(open_of(disk).is_open);
}

TEST_CASE("another cluster than the one that is asked for is no version to go on with") {
  Disk disk = formatted_store();
  CHECK(inspection_of(disk, test_cluster).findings.empty());
  const StoreInspection found = inspection_of(disk, ClusterId{1, 2});
  CHECK(found.choice.error == SuperblockError::foreign_cluster);
  CHECK(found.findings[0].fault == StoreFault::no_version);
}

TEST_CASE("an inspection that was moved refers to its own copies") {
  Disk disk = formatted_store();
  StoreInspection found = inspection_of(disk);
  StoreInspection moved = std::move(found);
  const Superblock* const winner = moved.winner();
  const bool is_own = winner >= moved.copies.data() && winner < moved.copies.data() + moved.copies.size();
  CHECK(is_own);
  CHECK(moved.slots[2].superblock == &moved.copies[2]);
}

// ---- all kinds of slots, against what a repair does

constexpr Content w0{Filling::winner, 0}, w1{Filling::winner, 1}, w2{Filling::winner, 2}, w3{Filling::winner, 3};

StoreInspection inspection_with(const SuperblockVersions& versions, const Contents& contents) {
  StoreInspection found;
  found.content = StoreContent::store;
  found.file_size = superblock_zone_size;
  found.slots = versions.slots_of(contents);
  found.choice = choose_superblock(found.slots);
  found.findings = find_faults(found);
  return found;
}

TEST_CASE("the slots that are found to be wrong are those that an open repairs") {
  const SuperblockVersions versions(4, false);
  Random random(3);
  uint64_t repaired_count = 0;
  for (int round = 0; round < 20'000; ++round) {
    Contents contents{w0, w1, w2, w3};
    const uint64_t changes_count = random.below(5);
    for (uint64_t change = 0; change < changes_count; ++change) {
      const auto filling = static_cast<Filling>(random.below(fillings_count));
      contents[random.below(contents.size())] = {filling, static_cast<uint32_t>(random.below(6))};
    }
    const StoreInspection found = inspection_with(versions, contents);
    if (!found.has_version()) {
      CHECK(found.findings[0].fault == StoreFault::no_version);
      for (const StoreFinding& finding : found.findings) CHECK_FALSE(finding.is_healed_by_open);
      continue;
    }
    std::vector<uint32_t> repaired;
    for (const SuperblockRepair& repair : found.choice.all_repairs()) repaired.push_back(repair.slot);
    std::sort(repaired.begin(), repaired.end());
    std::vector<uint32_t> wrong;
    for (const StoreFinding& finding : found.findings) {
      CHECK(finding.is_healed_by_open);
      wrong.push_back(finding.slot.value_or(99));
      CHECK((finding.fault == StoreFault::copy) == (wrong.back() < found.winner()->configuration.copies_count));
    }
    const std::string text = text_of(contents);
    CHECK_MESSAGE(wrong == repaired, text);
    repaired_count += repaired.size();
  }
  CHECK(repaired_count > 5000);
}

TEST_CASE("a device must reach to the end of the grid, and a file need not") {
  const SuperblockVersions versions(4, false);  // 1000 blocks of 512 KiB behind 512 KiB
  StoreInspection found = inspection_with(versions, {w0, w1, w2, w3});
  CHECK(found.findings.empty());
  found.is_device = true;
  const uint64_t end = superblock_zone_size + 1000 * uint64_t{512 << 10};
  found.file_size = end - 4096;
  std::vector<StoreFinding> findings = find_faults(found);
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].fault == StoreFault::zone_cut);
  CHECK(std::string(findings[0].zone) == "grid");
  CHECK(findings[0].size == 4096);
  found.file_size = end;
  CHECK(find_faults(found).empty());
}

TEST_CASE("every fault and content has a name of its own") {
  std::vector<std::string> names;
  for (int fault = 0; fault <= static_cast<int>(StoreFault::block_misplaced); ++fault) {
    names.emplace_back(name_of(static_cast<StoreFault>(fault)));
  }
  for (int content = 1; content <= static_cast<int>(StoreContent::other); ++content) {
    names.emplace_back(name_of(static_cast<StoreContent>(content)));
  }
  std::sort(names.begin(), names.end());
  CHECK(std::count(names.begin(), names.end(), "?") == 0);
  CHECK(std::unique(names.begin(), names.end()) - names.begin() == static_cast<ptrdiff_t>(names.size()) - 1);
}

}  // namespace
}  // namespace spindle
