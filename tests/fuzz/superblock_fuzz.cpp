// The fuzzer `superblock`: a store's superblock on a simulated disk, formatted, opened, updated; killed, cancelled and
// without power at any moment; with writes that fail, and with slots that are damaged between two lives; against the
// history of all versions that were ever begun (superblock_model.h).
//
// Checked: what opens, and what is refused, as the model says; that it is a version byte by byte; each slot after each
// call; errors against the faults of the disk; no update after one that failed.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "io/sim/swarm.h"
#include "tests/fuzz/superblock_machine.h"

namespace spindle::fuzz {

const char* name_of(SuperblockAction action) noexcept {
  constexpr const char* names[] = {"format", "open",  "update", "inspect", "close",
                                   "damage", "erase", "cancel", "kill",    "lose power"};
  static_assert(sizeof(names) / sizeof(names[0]) == superblock_actions_count);
  return names[static_cast<size_t>(action)];
}

const char* name_of(SlotDamage damage) noexcept {
  constexpr const char* names[] = {"bit flip", "garbage",     "zero",       "latent",
                                   "stale",    "misdirected", "copy index", "unsupported"};
  static_assert(sizeof(names) / sizeof(names[0]) == slot_damages_count);
  return names[static_cast<size_t>(damage)];
}

std::string to_string(const SuperblockEvent& event) {
  std::string text = name_of(event.action);
  if (event.action == SuperblockAction::damage) text += std::string(": ") + name_of(event.damage);
  for (const uint32_t number : {event.a, event.b, event.c}) text += ' ' + std::to_string(number);
  return text;
}

namespace {

constexpr const char* mark_names[] = {
    "half a format formatted again",
    "a store formatted by force",
    "a format of a store refused",
    "a format of unreadable slots refused",
    "a format of a bad configuration refused",
    "a format not read back",
    "killed in a format",
    "power lost in a format",
    "the old store after half a forced format",
    "opened without a repair",
    "an empty slot repaired",
    "a torn slot repaired",
    "an unreadable slot repaired",
    "an unsupported slot repaired",
    "a misplaced copy repaired",
    "a former version repaired",
    "an interrupted update repaired",
    "a fork repaired",
    "a slot behind the copies wiped",
    "an older version after damage beyond the bound",
    "a repair not read back",
    "killed in a repair",
    "power lost in a repair",
    "killed in an update",
    "power lost in an update",
    "a torn update leaves the old version",
    "a torn update leaves the new version",
    "several updates in a row",
    "stopped by a write that fails",
    "an update not read back",
    "an update refused after one that failed",
    "a cancel in a format",
    "a cancel in an open",
    "a cancel in an update",
    "opened in spite of a damaged minority",
    "power lost after a failed sync",
    "error: not found",
    "error: unsupported",
    "error: foreign cluster",
    "error: quorum lost",
    "error: fork",
    "error: parent skipped",
    "error: parent not connected",
};
static_assert(static_cast<size_t>(SuperblockMark::marks_end) == sizeof(mark_names) / sizeof(mark_names[0]));

using ActionSwarm = Swarm<SuperblockAction, superblock_actions_count>;
using DamageSwarm = Swarm<SlotDamage, slot_damages_count>;

SuperblockSetup setup_of(uint64_t seed) {
  Random random(mix64(seed ^ 0x5b));
  SuperblockSetup setup;
  setup.is_bounded = random.chance(2, 3);
  setup.is_lying = random.chance(1, 5);
  setup.is_garbage = random.chance(1, 8);
  SimBackendOptions& backend = setup.backend;
  backend.latency_ns_max = 1'000 + random.below(200'000);
  backend.sector_size = 512u << random.below(4);
  FaultRates& rates = backend.faults.everywhere;
  const auto maybe = [&](Fault fault, uint32_t most) {
    const bool is_on = random.chance(1, 2);
    const uint32_t rate = static_cast<uint32_t>(random.below(most));
    if (is_on) rates.set(fault, rate);
  };
  maybe(Fault::short_read, 100'000);
  maybe(Fault::short_write, 100'000);
  maybe(Fault::again, 40'000);
  maybe(Fault::interrupted, 40'000);
  maybe(Fault::cancelled, 40'000);
  maybe(Fault::write_error, 20'000);
  maybe(Fault::no_space, 20'000);
  maybe(Fault::failed_sync, 20'000);
  if (!setup.is_lying) return setup;
  maybe(Fault::latent_error, 60'000);
  maybe(Fault::transient_error, 60'000);
  maybe(Fault::lost_write, 200'000);
  return setup;
}

ActionSwarm actions_of(uint64_t seed) {
  Random random(mix64(seed ^ 0x5c));
  ActionSwarm swarm(random);
  swarm.limit(SuperblockAction::format, 8);
  swarm.limit(SuperblockAction::damage, 16);
  swarm.limit(SuperblockAction::erase, random.chance(1, 3) ? 32 : 4);
  swarm.raise(SuperblockAction::open, 8);
  swarm.add(SuperblockAction::update, 16);
  return swarm;
}

std::vector<SuperblockEvent> generate(uint64_t seed, uint64_t events_max) {
  const ActionSwarm actions = actions_of(seed);
  Random random(mix64(seed ^ 0x5d));
  const DamageSwarm damages(random);
  const uint64_t events_count = random.between(std::min<uint64_t>(events_max, 20), events_max);
  std::vector<SuperblockEvent> events;
  events.reserve(events_count);
  for (uint64_t index = 0; index < events_count; ++index) {
    Random own(mix64(mix64(seed) + index));
    SuperblockEvent event{};
    event.action = actions.choose(own.next());
    event.damage = damages.choose(own.next());
    event.a = static_cast<uint32_t>(own.next());
    event.b = static_cast<uint32_t>(own.next());
    event.c = static_cast<uint32_t>(own.next());
    events.push_back(event);
  }
  return events;
}

/// One life of the host: until its root is done, or it dies. Gives whether it died.
bool live_on(SuperblockMachine& machine) {
  Host& host = machine.host;
  SuperblockMachine* const address = &machine;
  host.start(serve_superblock, address);
  while (host.is_running()) {
    const World::Step step = machine.world.step();
    FUZZ_CHECK(step == World::Step::worked, "the host is stuck");
    if (!machine.is_end_due()) continue;
    machine.end_in_steps.reset();
    if (machine.end.action != SuperblockAction::cancel) return true;
    machine.is_cancelled = true;
    host.cancel();
  }
  const Result<void> result = host.take();
  const bool is_cancel = !result.has_value() && result.error().code == ErrorCode::cancelled && machine.is_cancelled;
  FUZZ_CHECK(result.has_value() || is_cancel, "the root task failed");
  while (machine.world.step() == World::Step::worked) {
  }
  FUZZ_CHECK(host.backend().open_count() == 0, "a file stays open");
  return false;
}

void live(SuperblockMachine& machine) {
  if (live_on(machine)) machine.die();
  machine.end_in_steps.reset();
  machine.change_slots();
}

RunResult run_events(const RunOptions& options, std::span<const SuperblockEvent> events, Coverage& coverage) {
  SuperblockSetup setup = setup_of(options.seed);
  setup.backend.faults.filter = options.faults;
  std::vector<std::byte> content(superblock_zone_size);
  Random random(mix64(options.seed ^ 0x5e));
  for (std::byte& byte : std::span(content).first(setup.is_garbage ? content.size() : 0)) {
    byte = static_cast<std::byte>(random.next());
  }
  World world(options.seed);
  SimFiles files;
  files.put(superblock_path, content);
  Host& host = world.add_host("a", setup.backend, std::move(files));
  SuperblockMachine machine(world, host, setup, coverage);
  machine.events = events;
  while (machine.event_next < machine.events.size()) live(machine);
  if (options.is_verbose) {
    const auto name = [](SuperblockAction action) { return name_of(action); };
    std::printf("  %zu events, %llu steps: %s\n", events.size(), static_cast<unsigned long long>(world.steps_count()),
                actions_of(options.seed).text(name).c_str());
  }
  machine.hash.mix(world.hash(), machine.event_next);
  return {machine.hash.value(), events.size()};
}

// They reach every mark, most of them three times; the last one found what killed processes left in the page cache.
constexpr uint64_t fixed_seeds[] = {1,
                                    2,
                                    3,
                                    4,
                                    5,
                                    6,
                                    7,
                                    8,
                                    32,
                                    33,
                                    35,
                                    63,
                                    68,
                                    70,
                                    79,
                                    145,
                                    177,
                                    202,
                                    209,
                                    233,
                                    238,
                                    603,
                                    919,
                                    17033150928916310618u,
                                    17996592782958641038u};

}  // namespace

const Fuzzer superblock_fuzzer = {"superblock",
                                  "versions of a superblock through crashes and damage, against their history",
                                  true,
                                  1000,
                                  fixed_seeds,
                                  mark_names,
                                  run_as<generate, run_events>};

}  // namespace spindle::fuzz
