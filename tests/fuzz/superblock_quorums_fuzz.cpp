// The fuzzer `superblock_quorums`: fillings of the eight slots, random ones and whole tables of them, against an oracle
// (tests/lsm/superblock_oracle.h); then all that a store with such slots may go through without new damage.
//
// Checked: error, winner, votes, verdicts, and what counts as half formatted. Then the repairs, each of them torn
// first, and now and then a new choice from there, as after a crash: the winner stays the winner, with a quorum to
// read; in the end every copy is in its slot. Then the next version, copy by copy, each torn first: the old one is
// chosen, or the new one, which it is from a quorum to write on.
#include <string>
#include <vector>

#include "io/sim/event_hash.h"
#include "runtime/random.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lsm/superblock_oracle.h"
#include "tests/lsm/superblock_versions.h"

namespace spindle::fuzz {

namespace {

enum class Mark : uint8_t {
  repaired_fault,
  repaired_other_version,
  repaired_misplaced,
  wiped_leftover,
  wiped_stray_copy,
  winner_of_others_only,
  winner_by_votes,
  fork_by_votes,
  other_copies_count_wins,
  crashed_in_repair,
  next_torn_old_stays,
  next_torn_new_wins,
  half_formatted,
  half_formatted_torn,
  two_first_versions,
  verdict_first,  // and one for each verdict, and then one for each error
};
constexpr size_t verdicts_count = static_cast<size_t>(SuperblockVerdict::undecided) + 1;
constexpr const char* mark_names[] = {
    "a faulty slot repaired",
    "a slot with another version repaired",
    "a misplaced copy written over",
    "a leftover behind the copies wiped",
    "a stray copy behind the copies wiped",
    "a winner without one copy in its place",
    "of two versions with a quorum that with more votes wins",
    "two versions with as many votes",
    "a version with another number of copies wins",
    "a crash in a repair, and a choice from there",
    "a torn update leaves the old version",
    "a torn update leaves the new version",
    "half formatted",
    "half formatted, with a torn slot",
    "two first versions below their quorums",
    "faulty",
    "current",
    "misplaced",
    "foreign",
    "fork",
    "interrupted",
    "skipped",
    "former",
    "unconnected",
    "ahead",
    "older",
    "undecided",
    "no error",
    "error: not found",
    "error: unsupported",
    "error: foreign cluster",
    "error: quorum lost",
    "error: fork",
    "error: parent skipped",
    "error: parent not connected",
    "error: not monotonic",
};
static_assert(static_cast<size_t>(Mark::verdict_first) + verdicts_count +
                  static_cast<size_t>(SuperblockError::not_monotonic) + 1 ==
              sizeof(mark_names) / sizeof(mark_names[0]));

/// Which versions there are: the usual ones, those with a parent that is ahead, or those with a first version.
constexpr uint32_t families_count = 3;
constexpr uint32_t family_first = 2;

struct Event {
  uint32_t number;
  uint8_t copies_count;
  uint8_t family;
  bool has_cluster;  // test_cluster is asked for
  Contents contents;
};

std::string to_string(const Event& event) {
  constexpr const char* family_names[families_count] = {" copies: ", " copies, parent ahead: ", " copies, first: "};
  return std::to_string(event.copies_count) + family_names[event.family] + (event.has_cluster ? "asked for " : "") +
         text_of(event.contents);
}

const SuperblockVersions& versions_of(const Event& event) {
  static const std::vector<SuperblockVersions> all = [] {
    std::vector<SuperblockVersions> made;
    for (uint32_t copies_count = 4; copies_count <= 8; copies_count += 2) {
      made.emplace_back(copies_count, false);
      made.emplace_back(copies_count, true);
      made.push_back(SuperblockVersions::first(copies_count));
    }
    return made;
  }();
  return all[(event.copies_count / 2 - 2) * families_count + event.family];
}

// ---- fillings

/// The copy index is of use to a fault, too: see slots_of().
uint32_t random_copy(Random& random, uint32_t slot) {
  return static_cast<uint32_t>(random.chance(2, 3) ? slot : random.below(copies_max + 1));
}

/// A run that fills at random: what each slot's filling is drawn from.
struct Mix {
  explicit Mix(Random& random) {
    const size_t kinds_count = random.between(1, 6);
    for (size_t kind = 0; kind < kinds_count; ++kind) kinds.push_back(Filling(random.below(fillings_count)));
    winners_of_16 = random.below(16);
    // Few of the copies that there are too many of.
    zeroes_behind_of_16 = random.below(16);
  }
  Content content(Random& random, uint32_t slot, uint32_t copies_count) const {
    const bool is_zero = slot >= copies_count && random.chance(zeroes_behind_of_16, 16);
    const bool is_winner = random.chance(winners_of_16, 16);
    const Filling other = kinds[random.below(kinds.size())];
    const uint32_t copy = random_copy(random, slot);
    if (is_zero) return {};
    return {is_winner ? Filling::winner : other, copy};
  }

  std::vector<Filling> kinds;
  uint64_t winners_of_16;
  uint64_t zeroes_behind_of_16;
};

/// A run through a table: each slot has one of three contents, all 3^8 combinations of them one after another.
struct Table {
  explicit Table(Random& random) {
    const Filling second = Filling(random.below(fillings_count));
    const Filling third = Filling(random.below(fillings_count));
    const bool is_rotated = random.chance(1, 2);
    for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
      const uint32_t next_slot = (slot + 1) % superblock_slots_count;
      choices[slot][0] = {Filling::winner, slot};
      choices[slot][1] = {second, slot};
      choices[slot][2] = is_rotated ? Content{Filling::winner, next_slot} : Content{third, slot};
    }
  }
  static constexpr uint64_t size = 6561;

  Content choices[superblock_slots_count][3];
};

std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  Random random(mix64(seed ^ 0x9c));
  const uint8_t copies_count = static_cast<uint8_t>(4 + 2 * random.below(3));
  const uint8_t family = static_cast<uint8_t>(random.below(families_count));
  const bool is_table = random.chance(1, 4);
  const bool has_cluster = random.chance(1, 2);
  const Mix mix(random);
  const Table table(random);
  const uint64_t events_count = is_table ? std::min(Table::size, events_max) : random.between(1, events_max);
  std::vector<Event> events;
  events.reserve(events_count);
  for (uint64_t index = 0; index < events_count; ++index) {
    Event event{0, copies_count, family, has_cluster, {}};
    Random own(mix64(mix64(seed) + index));
    uint64_t rest = index;
    for (uint32_t slot = 0; slot < superblock_slots_count; ++slot, rest /= 3) {
      event.contents[slot] = is_table ? table.choices[slot][rest % 3] : mix.content(own, slot, copies_count);
    }
    events.push_back(event);
  }
  return events;
}

// ---- checks

class Filled {
 public:
  Filled(const Event& event, Coverage& coverage, EventHash& hash)
      : versions_(versions_of(event)),
        contents_(event.contents),
        coverage_(coverage),
        hash_(hash),
        random_(mix64(hash_of(event.contents))),
        family_(event.family) {
    if (event.has_cluster) cluster_ = test_cluster;
  }

  void check() {
    const SuperblockSlots slots = slots_now();
    const SuperblockChoice choice = choose_superblock(slots, cluster_);
    compare(slots, choice);
    mark_choice(slots, choice);
    if (choice.error != SuperblockError::none) return;
    winner_ = *choice.winner;
    repair(choice);
    if (versions_.filling_of(winner_.checksum) == Filling::winner) update();
  }

 private:
  static uint64_t hash_of(const Contents& contents) {
    uint64_t hash = 0;
    for (const auto& [filling, copy] : contents) hash = mix64(hash ^ (uint64_t{copy} << 8 | uint64_t(filling)));
    return hash;
  }
  void mark(Mark reached) { coverage_.mark(static_cast<size_t>(reached)); }
  void mark(SuperblockVerdict verdict) {
    coverage_.mark(static_cast<size_t>(Mark::verdict_first) + static_cast<size_t>(verdict));
  }
  void mark(SuperblockError error) {
    coverage_.mark(static_cast<size_t>(Mark::verdict_first) + verdicts_count + static_cast<size_t>(error));
  }

  SuperblockSlots slots_now() const {
    constexpr SuperblockFault unsupported[] = {SuperblockFault::version, SuperblockFault::configuration,
                                               SuperblockFault::reserved};
    SuperblockSlots slots = versions_.slots_of(contents_);
    for (uint32_t slot = 0; slot < slots.size(); ++slot) {
      const auto [filling, copy] = contents_[slot];
      if (filling == Filling::unsupported) slots[slot].fault = unsupported[copy % 3];
    }
    return slots;
  }

  void compare(const SuperblockSlots& slots, const SuperblockChoice& choice) {
    const superblock_oracle::Choice expected = superblock_oracle::choose(slots, cluster_);
    FUZZ_CHECK(choice.error == expected.error, "another error than the oracle's");
    FUZZ_CHECK((choice.winner != nullptr) == expected.has_winner, "a winner where there is none, or the reverse");
    FUZZ_CHECK(is_half_formatted(slots) == superblock_oracle::is_half_formatted(slots), "half formatted, or not");
    FUZZ_CHECK(choice.error == SuperblockError::none || choice.repairs_count == 0, "repairs in spite of an error");
    hash_.mix(static_cast<uint64_t>(choice.error), choice.votes_count, choice.repairs_count);
    FUZZ_CHECK(choice.votes_count == expected.votes_count, "another number of votes than the oracle's");
    if (expected.is_tie) return mark(Mark::fork_by_votes);
    if (!expected.has_winner) return;
    FUZZ_CHECK(choice.winner->checksum == expected.winner, "another winner than the oracle's");
    FUZZ_CHECK(choice.verdicts == expected.verdicts, "another verdict than the oracle's");
  }

  void mark_choice(const SuperblockSlots& slots, const SuperblockChoice& choice) {
    mark(choice.error);
    for (const SuperblockVerdict verdict : choice.verdicts) mark(verdict);
    if (is_half_formatted(slots)) mark_half_formatted(slots);
    if (choice.winner == nullptr) return mark_two_first(slots);
    const Superblock& winner = *choice.winner;
    if (winner.configuration.copies_count != versions_.copies_count()) mark(Mark::other_copies_count_wins);
    bool has_current = false;
    for (uint32_t slot = 0; slot < slots.size(); ++slot) {
      has_current = has_current || choice.verdicts[slot] == SuperblockVerdict::current;
      if (choice.verdicts[slot] != SuperblockVerdict::fork) continue;
      const Superblock& fork = *slots[slot].superblock;
      const uint32_t votes_count = superblock_oracle::count_votes(slots, fork);
      const bool is_valid = votes_count >= superblock_oracle::read_quorum_of(fork.configuration.copies_count);
      if (is_valid && votes_count < choice.votes_count) mark(Mark::winner_by_votes);
    }
    if (!has_current) mark(Mark::winner_of_others_only);
  }
  void mark_half_formatted(const SuperblockSlots& slots) {
    bool has_torn = false;
    bool has_first = false;
    for (const SuperblockSlot& slot : slots) {
      has_torn = has_torn || slot.fault == SuperblockFault::checksum;
      has_first = has_first || slot.fault == SuperblockFault::none;
    }
    if (has_first) mark(has_torn ? Mark::half_formatted_torn : Mark::half_formatted);
  }
  void mark_two_first(const SuperblockSlots& slots) {
    bool has[2] = {};
    for (const auto& [filling, copy] : contents_) {
      has[0] = has[0] || filling == Filling::winner;
      has[1] = has[1] || filling == Filling::fork;
      if (filling != Filling::winner && filling != Filling::fork && filling != Filling::zero) return;
    }
    if (family_ == family_first && has[0] && has[1] && !is_half_formatted(slots)) mark(Mark::two_first_versions);
  }

  /// The winner is still that, and valid.
  void check_kept(const char* what) const {
    const SuperblockChoice choice = choose_superblock(slots_now(), cluster_);
    FUZZ_CHECK(choice.error == SuperblockError::none && choice.winner->checksum == winner_.checksum, what);
    FUZZ_CHECK(choice.votes_count >= superblock_oracle::read_quorum_of(winner_.configuration.copies_count), what);
  }

  void mark_repair(const SuperblockChoice& choice, const SuperblockRepair& repair) {
    const SuperblockVerdict verdict = choice.verdicts[repair.slot];
    const bool is_stray = verdict == SuperblockVerdict::misplaced;
    if (repair.wipes) return mark(is_stray ? Mark::wiped_stray_copy : Mark::wiped_leftover);
    if (is_stray) return mark(Mark::repaired_misplaced);
    mark(verdict == SuperblockVerdict::faulty ? Mark::repaired_fault : Mark::repaired_other_version);
  }

  /// All repairs, each torn before it gets through; after some a crash, and what is chosen then goes on.
  void repair(SuperblockChoice choice) {
    const uint32_t copies_count = winner_.configuration.copies_count;
    const Filling filling = versions_.filling_of(winner_.checksum);
    for (uint32_t index = 0; index < choice.repairs_count; ++index) {
      const SuperblockRepair repair = choice.repairs[index];
      FUZZ_CHECK(repair.slot < superblock_slots_count && repair.wipes == (repair.slot >= copies_count),
                 "a repair of a wrong kind for its slot");
      mark_repair(choice, repair);
      contents_[repair.slot] = {Filling::torn, 0};
      check_kept("a repair that is torn loses the winner");
      const bool crashes_torn = random_.chance(1, 6);
      if (!crashes_torn) {
        contents_[repair.slot] = repair.wipes ? Content{} : Content{filling, repair.slot};
        check_kept("a repair loses the winner");
      }
      if (!crashes_torn && !random_.chance(1, 6)) continue;
      mark(Mark::crashed_in_repair);
      choice = choose_superblock(slots_now(), cluster_);
      index = UINT32_MAX;  // from the front
    }
    check_repaired();
  }

  void check_repaired() {
    const SuperblockSlots slots = slots_now();
    const SuperblockChoice choice = choose_superblock(slots, cluster_);
    compare(slots, choice);
    const uint32_t copies_count = winner_.configuration.copies_count;
    FUZZ_CHECK(choice.repairs_count == 0, "there is something to repair after a repair");
    FUZZ_CHECK(choice.votes_count == copies_count && choice.has_write_quorum(), "copies are missing after a repair");
    for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
      const Content& content = contents_[slot];
      if (slot < copies_count) {
        const Content right{versions_.filling_of(winner_.checksum), slot};
        FUZZ_CHECK(content == right, "a copy is not in its slot after a repair");
        continue;
      }
      if (!is_version(content.filling)) continue;
      const Superblock& left = versions_.at(content.filling, content.copy);
      FUZZ_CHECK(left.cluster == winner_.cluster && left.sequence < winner_.sequence,
                 "a repair leaves what may get in the way of a later version");
    }
  }

  /// The next version, copy by copy.
  void update() {
    const Checksum next = versions_.at(Filling::next).checksum;
    const uint32_t copies_count = winner_.configuration.copies_count;
    for (uint32_t slot = 0; slot < copies_count; ++slot) {
      for (const bool is_torn : {true, false}) {
        contents_[slot] = is_torn ? Content{Filling::torn, 0} : Content{Filling::next, slot};
        const SuperblockChoice choice = choose_superblock(slots_now(), cluster_);
        FUZZ_CHECK(choice.error == SuperblockError::none, "a torn update leaves what does not open");
        const bool is_next = choice.winner->checksum == next;
        FUZZ_CHECK(is_next || choice.winner->checksum == winner_.checksum, "a torn update leaves a third version");
        const uint32_t written_count = is_torn ? slot : slot + 1;
        FUZZ_CHECK(is_next == (written_count >= superblock_oracle::read_quorum_of(copies_count)),
                   "old or new by a wrong quorum");
        if (is_torn) mark(is_next ? Mark::next_torn_new_wins : Mark::next_torn_old_stays);
      }
    }
    const SuperblockChoice choice = choose_superblock(slots_now(), cluster_);
    FUZZ_CHECK(choice.repairs_count == 0 && choice.votes_count == copies_count, "an update leaves something to repair");
    hash_.mix(choice.votes_count);
  }

  const SuperblockVersions& versions_;
  Contents contents_;
  Coverage& coverage_;
  EventHash& hash_;
  Random random_;
  uint32_t family_;
  std::optional<ClusterId> cluster_;
  Superblock winner_;
};

RunResult run_events(const RunOptions&, std::span<const Event> events, Coverage& coverage) {
  EventHash hash;
  for (const Event& event : events) Filled(event, coverage, hash).check();
  return {hash.value(), events.size()};
}

// They reach every mark, each three times.
constexpr uint64_t fixed_seeds[] = {1,  2,  3,  4,  5,  6,  7,  8,  12, 14, 21, 22,  27,  30,
                                    41, 43, 47, 49, 50, 62, 65, 68, 73, 74, 88, 145, 231, 242};

}  // namespace

const Fuzzer superblock_quorums_fuzzer = {"superblock_quorums",
                                          "which superblock is the current one, against an oracle, and its repairs",
                                          true,
                                          6561,
                                          fixed_seeds,
                                          mark_names,
                                          run_as<generate, run_events>};

}  // namespace spindle::fuzz
