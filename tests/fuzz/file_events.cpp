#include "tests/fuzz/file_events.h"

#include <algorithm>

#include "io/sim/swarm.h"
#include "runtime/random.h"

namespace spindle::fuzz {

namespace {

constexpr const char* action_names[] = {"open",
                                        "read exact",
                                        "read once",
                                        "read vectored",
                                        "read ragged",
                                        "write exact",
                                        "write once",
                                        "write vectored",
                                        "write ragged",
                                        "write durable",
                                        "write ragged durable",
                                        "sync",
                                        "sync data",
                                        "allocate",
                                        "truncate",
                                        "punch hole",
                                        "stat",
                                        "rename",
                                        "unlink",
                                        "publish",
                                        "list",
                                        "make directory",
                                        "remove directory",
                                        "sync directory",
                                        "try lock",
                                        "lock",
                                        "unlock",
                                        "close",
                                        "drop",
                                        "pause",
                                        "kill",
                                        "lose power"};
static_assert(sizeof(action_names) / sizeof(action_names[0]) == file_action_count);

struct Mix {
  Swarm<FileAction, file_action_count> swarm;
  uint32_t cut_short_percent = 0;
  uint64_t events_count = 0;
};

// Files are always opened and written.
Mix mix_of(uint64_t seed, uint64_t events_max) {
  Random random(mix64(seed ^ 0xf11e));
  Mix mix{Swarm<FileAction, file_action_count>(random)};
  mix.swarm.set(FileAction::open, 48);
  mix.swarm.raise(FileAction::write_exact, 16);
  mix.swarm.raise(FileAction::read_exact, 16);
  const FileAction rare[] = {FileAction::kill, FileAction::lose_power, FileAction::drop, FileAction::remove_directory};
  for (const FileAction action : rare) mix.swarm.limit(action, 12);
  mix.swarm.raise(FileAction::close, 16);
  mix.cut_short_percent = random.chance(1, 3) ? 0 : static_cast<uint32_t>(random.below(30));
  mix.events_count = random.between(std::min<uint64_t>(events_max, 40), events_max);
  return mix;
}

// Three levels: none, what passes and a little, and a lot.
FaultRates rates_of(Random& random) {
  FaultRates rates;
  const uint64_t level = random.below(4);
  if (level == 0) return rates;
  for (size_t index = 0; index < fault_count; ++index) {
    const Fault fault = static_cast<Fault>(index);
    const bool is_on = random.chance(1, 2);
    const uint64_t most = level == 1 ? 2'000 : level == 2 ? 20'000 : 80'000;
    const uint32_t rate = static_cast<uint32_t>(random.below(most));
    if (is_on) rates.set(fault, rate);
  }
  return rates;
}

}  // namespace

const char* name_of(FileAction action) noexcept { return action_names[static_cast<size_t>(action)]; }

std::string to_string(const FileEvent& event) {
  constexpr const char* cuts[] = {"", ", timeout in ", ", race of ", ", deadline in "};
  std::string text = name_of(event.action);
  for (const uint32_t number : {event.a, event.b, event.c, event.d}) text += ' ' + std::to_string(number);
  const bool is_cut = event.cut_short != CutShort::nobody;
  if (is_cut) text += cuts[static_cast<size_t>(event.cut_short)] + std::to_string(event.delay_ns) + " ns";
  return text;
}

std::string file_weights_text(uint64_t seed, uint64_t events_max) {
  return mix_of(seed, events_max).swarm.text([](FileAction action) { return name_of(action); });
}

std::vector<FileEvent> generate_file_events(uint64_t seed, uint64_t events_max) {
  const Mix mix = mix_of(seed, events_max);
  std::vector<FileEvent> events;
  events.reserve(mix.events_count);
  for (uint64_t index = 0; index < mix.events_count; ++index) {
    Random random(mix64(mix64(seed ^ 0xe7e) + index));
    FileEvent event;
    event.action = mix.swarm.choose(random.next());
    const uint64_t percent = random.below(100);
    const uint64_t kind = random.below(3);
    if (percent < mix.cut_short_percent) event.cut_short = static_cast<CutShort>(kind + 1);
    const uint64_t scale = random.below(3);
    const uint64_t delay = random.below(scale == 0 ? 5'000 : scale == 1 ? 200'000 : 2'000'000);
    event.delay_ns = static_cast<uint32_t>(delay);
    event.a = static_cast<uint32_t>(random.next());
    event.b = static_cast<uint32_t>(random.next());
    event.c = static_cast<uint32_t>(random.next());
    event.d = static_cast<uint32_t>(random.next());
    events.push_back(event);
  }
  return events;
}

SimBackendOptions file_disk_options(uint64_t seed) {
  Random random(mix64(seed ^ 0xd15c));
  SimBackendOptions options;
  options.queue_depth = static_cast<uint32_t>(random.between(1, 32));
  options.latency_ns_max = random.chance(1, 4) ? 2'000 : 1'000'000;
  options.offers_direct = !random.chance(1, 12);
  options.tells_alignment = !random.chance(1, 8);
  options.sector_size = 512u << random.below(4);
  options.offset_alignment = random.chance(1, 4) ? 4096 : 512;
  const bool has_finer_reads = random.chance(1, 2);
  if (options.tells_alignment && options.offset_alignment == 4096 && has_finer_reads)
    options.read_offset_alignment = 512;
  const uint64_t pages_max = random.between(8, 60);
  if (random.chance(1, 6)) options.capacity = pages_max * 4096;
  const uint64_t size_max = random.between(20'000, 120'000);
  if (random.chance(1, 8)) options.file_size_max = size_max;
  options.faults.everywhere = rates_of(random);
  options.faults.stall_ns_max = 3'000'000;
  const uint64_t damage_max = random.below(6);
  if (random.chance(1, 3)) options.faults.damage_max = static_cast<uint32_t>(damage_max);
  return options;
}

uint32_t file_workers_count(uint64_t seed) noexcept {
  Random random(mix64(seed ^ 0x3063));
  return random.chance(1, 4) ? 1 : static_cast<uint32_t>(random.between(2, 6));
}

}  // namespace spindle::fuzz
