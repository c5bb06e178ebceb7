// Which version is chosen, compared with an oracle for every filling of four slots and for random ones of all eight;
// and that a repair loses nothing wherever it is torn.
#include "lsm/superblock_quorums.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "runtime/random.h"
#include "tests/lsm/superblock_oracle.h"
#include "tests/lsm/superblock_versions.h"

namespace spindle {
namespace {

using Cluster = std::optional<ClusterId>;

/// Fails the test, with words for what it was about; not more often than somebody reads.
void complain(const SuperblockVersions& versions, const Contents& contents, const std::string& what) {
  static uint32_t complaints_count = 0;
  if (++complaints_count > 20) FAIL("too many complaints");
  FAIL_CHECK(versions.copies_count(), " copies: ", text_of(contents), what);
}

std::string text_of(SuperblockError error, SuperblockError expected) {
  return std::string(name_of(error)) + " instead of " + name_of(expected);
}

SuperblockChoice compare(const SuperblockVersions& versions, const Contents& contents, Cluster cluster) {
  const SuperblockSlots slots = versions.slots_of(contents);
  const SuperblockChoice choice = choose_superblock(slots, cluster);
  const superblock_oracle::Choice expected = superblock_oracle::choose(slots, cluster);
  if (choice.error != expected.error) complain(versions, contents, text_of(choice.error, expected.error));
  const bool has_winner = choice.winner != nullptr;
  if (has_winner != expected.has_winner) complain(versions, contents, "a winner, or none");
  if (choice.error != SuperblockError::none && choice.repairs_count != 0) complain(versions, contents, "repairs");
  if (expected.is_tie) return choice;
  if (has_winner && choice.winner->checksum != expected.winner) complain(versions, contents, "another winner");
  if (choice.votes_count != expected.votes_count) complain(versions, contents, "votes");
  for (uint32_t slot = 0; slot < slots.size(); ++slot) {
    const SuperblockVerdict verdict = choice.verdicts[slot];
    if (verdict == expected.verdicts[slot]) continue;
    complain(versions, contents,
             std::to_string(slot) + ": " + name_of(verdict) + " instead of " + name_of(expected.verdicts[slot]));
  }
  for (uint32_t slot = 0; slot < slots.size(); ++slot) {
    if (slots[slot].superblock == nullptr) continue;
    const uint32_t votes_count = superblock_oracle::count_votes(slots, *slots[slot].superblock);
    if (count_votes(slots, *slots[slot].superblock) != votes_count) complain(versions, contents, "count_votes");
  }
  if (is_half_formatted(slots) != superblock_oracle::is_half_formatted(slots)) {
    complain(versions, contents, "half formatted");
  }
  return choice;
}

/// What a repair leaves: every copy of the winner in its slot, and nothing that may get in the way of a later version.
bool is_repaired(const SuperblockChoice& choice, uint32_t copies_count) {
  if (choice.error != SuperblockError::none || choice.repairs_count != 0) return false;
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    const SuperblockVerdict verdict = choice.verdicts[slot];
    const bool is_current = verdict == SuperblockVerdict::current;
    if (is_current != (slot < copies_count)) return false;
    const bool is_harmless = verdict == SuperblockVerdict::faulty || verdict == SuperblockVerdict::older ||
                             verdict == SuperblockVerdict::former;
    if (!is_current && !is_harmless) return false;
  }
  return choice.votes_count == copies_count;
}

/// Does the repairs, one after another, each of them torn before it gets through.
void check_repairs(const SuperblockVersions& versions, Contents contents, Cluster cluster) {
  const Contents contents_before = contents;
  const SuperblockChoice choice = choose_superblock(versions.slots_of(contents), cluster);
  if (choice.error != SuperblockError::none) return;
  const Checksum winner = choice.winner->checksum;
  const uint32_t copies_count = choice.winner->configuration.copies_count;
  const auto is_kept = [&] {
    const SuperblockChoice again = choose_superblock(versions.slots_of(contents), cluster);
    return again.error == SuperblockError::none && again.winner->checksum == winner &&
           again.votes_count >= read_quorum_of(copies_count);
  };
  for (const auto& [slot, wipes] : choice.all_repairs()) {
    contents[slot] = {Filling::torn, 0};
    if (!is_kept()) complain(versions, contents_before, "a torn repair of slot " + std::to_string(slot) + " loses it");
    contents[slot] = wipes ? Content{} : Content{versions.filling_of(winner), slot};
    if (!is_kept()) complain(versions, contents_before, "a repair of slot " + std::to_string(slot) + " loses it");
  }
  const SuperblockChoice repaired = choose_superblock(versions.slots_of(contents), cluster);
  if (!is_repaired(repaired, copies_count))
    complain(versions, contents_before, "is not repaired: " + text_of(contents));
}

/// What may stand in `slot` of four: every fault, every version, and copies that are not where they belong.
std::vector<Content> all_contents(uint32_t slot) {
  std::vector<Content> contents;
  for (uint32_t filling = 0; filling < fillings_count; ++filling) {
    if (Filling(filling) == Filling::foreign_other || Filling(filling) == Filling::other_next) continue;
    contents.push_back({Filling(filling), is_version(Filling(filling)) ? slot : 0});
  }
  contents.push_back({Filling::winner, (slot + 1) % 4});
  contents.push_back({Filling::winner, copies_max});
  return contents;
}

TEST_CASE("of all fillings of four slots the right version is chosen, and repairs lose nothing") {
  for (const bool is_parent_ahead : {false, true}) {
    const SuperblockVersions versions(4, is_parent_ahead);
    std::array<std::vector<Content>, 4> choices;
    for (uint32_t slot = 0; slot < 4; ++slot) choices[slot] = all_contents(slot);
    const size_t count = choices[0].size();
    uint64_t right_count = 0;
    for (size_t number = 0; number < count * count * count * count; ++number) {
      Contents contents{};
      size_t rest = number;
      for (uint32_t slot = 0; slot < 4; ++slot, rest /= count) contents[slot] = choices[slot][rest % count];
      const SuperblockChoice choice = compare(versions, contents, test_cluster);
      check_repairs(versions, contents, test_cluster);
      compare(versions, contents, {});
      right_count += choice.error == SuperblockError::none;
    }
    CHECK(right_count > 5000);
  }
}

/// Mostly copies of the winner where they belong, so that it often has a quorum; the rest is anything anywhere.
Contents random_contents(Random& random) {
  const uint64_t winners = random.between(1, 9);
  const uint64_t others = random.between(1, 9);
  const Filling other = Filling(random.below(fillings_count));
  Contents contents{};
  for (uint32_t slot = 0; slot < contents.size(); ++slot) {
    Content& content = contents[slot];
    content.filling = random.chance(winners, 10)  ? Filling::winner
                      : random.chance(others, 10) ? other
                                                  : Filling(random.below(fillings_count));
    content.copy = static_cast<uint32_t>(random.chance(1, 3) ? random.below(copies_max + 1) : slot);
    if (!is_version(content.filling)) content.copy = 0;
  }
  return contents;
}

TEST_CASE("of random fillings of all eight slots the right version is chosen, and repairs lose nothing") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    for (const bool is_parent_ahead : {false, true}) {
      const SuperblockVersions versions(copies_count, is_parent_ahead);
      Random random(copies_count + is_parent_ahead);
      uint64_t right_count = 0;
      for (uint32_t round = 0; round < 100'000; ++round) {
        const Contents contents = random_contents(random);
        const Cluster cluster = random.chance(1, 2) ? Cluster(test_cluster) : Cluster();
        const SuperblockChoice choice = compare(versions, contents, cluster);
        check_repairs(versions, contents, cluster);
        right_count += choice.error == SuperblockError::none;
      }
      CHECK(right_count > 10'000);
    }
  }
}

TEST_CASE("every verdict and every error has a name of its own") {
  for (int error = 0; error <= static_cast<int>(SuperblockError::not_monotonic); ++error) {
    CHECK(std::string(name_of(SuperblockError(error))) != "?");
  }
  for (int verdict = 0; verdict <= static_cast<int>(SuperblockVerdict::undecided); ++verdict) {
    CHECK(std::string(name_of(SuperblockVerdict(verdict))) != "?");
  }
}

}  // namespace
}  // namespace spindle
