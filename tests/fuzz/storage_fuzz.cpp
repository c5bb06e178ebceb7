// The fuzzer `storage`: zones over one file or device of a simulated host with a bad disk, against a model that knows
// for every sector what it may hold (storage_model.h).
//
// Checked: a read gives, for every sector, a version that it may hold, or reports it lost, which the record of faults
// must explain; what a durable write or a sync acknowledged survives kills and losses of power; the first change that
// fails stops the storage, with the reason, and nothing that changes gets through after that, while reads go on; space
// that was allocated can be written on a disk that is full; locks, sizes and zones; a death leaves nothing open.
#include <algorithm>
#include <cstdio>

#include "io/sim/swarm.h"
#include "tests/fuzz/storage_machine.h"

namespace spindle::fuzz {

namespace {

constexpr const char* mark_names[] = {
    "a read with lost sectors",
    "a read with lost sectors that did not ask which",
    "a sector lost to two passing errors",
    "a read past the end of the file",
    "a read beside a write of the same sectors",
    "a read of a stopped storage",
    "stopped by a write",
    "stopped by a sync",
    "stopped by an allocation's sync",
    "stopped by a write_through",
    "stopped by ENOSPC",
    "a second failure after the stop",
    "a change refused by a stopped storage",
    "a change under way at the stop",
    "wait_until_stopped saw the stop",
    "wait_until_stopped saw the close",
    "an allocation refused",
    "an allocation that grew the file",
    "a zone written through",
    "a write into promised space",
    "space promised before a loss of power",
    "a call cancelled",
    "a call cancelled by the drop of its storage",
    "a call that found the storage closed",
    "a write cancelled in part",
    "moved with calls under way",
    "a zone added",
    "a zone refused",
    "an open refused by the lock",
    "a create that failed",
    "killed with operations in flight",
    "killed in a create",
    "power lost with operations in flight",
    "power lost with loose sectors",
    "a device",
    "a storm of EAGAIN",
};
static_assert(static_cast<size_t>(StorageMark::marks_end) == sizeof(mark_names) / sizeof(mark_names[0]));

constexpr const char* zone_names[] = {"superblock", "journal", "trailer", "index", "values", "grid", "spare"};

/// What write_through() writes at once; see io/storage.cpp.
constexpr uint64_t zeroes_size_max = uint64_t{1} << 20;

void add_zones(StorageSetup& setup, Random& random) {
  const size_t zones_count = random.between(1, std::size(zone_names));
  const uint64_t sectors_max = random.chance(1, 4) ? 200 : 24;
  const bool is_large = random.chance(1, 24);
  uint64_t end = 0;
  for (size_t index = 0; index < zones_count; ++index) {
    ZoneOptions zone;
    zone.name = zone_names[index];
    zone.size = random.between(1, sectors_max) * setup.sector_size;
    if (index == 0 && is_large) zone.size += zeroes_size_max;
    if (random.chance(1, 2)) zone.alignment = random.between(1, 20) * setup.sector_size;
    const bool is_last = index + 1 == zones_count;
    if (is_last && random.chance(1, 2)) {
      zone.size_present_min = random.below(zone.size / setup.sector_size + 1) * setup.sector_size;
    }
    const uint64_t unit = zone.alignment == 0 ? setup.sector_size : zone.alignment;
    const uint64_t begin = (end + unit - 1) / unit * unit;
    setup.zones.push_back(zone);
    setup.begins.push_back(begin);
    if (zone.size_present_min > 0) setup.size_present_min = begin + std::min(zone.size_present_min, zone.size);
    end = begin + zone.size;
  }
}

void add_faults(StorageSetup& setup, Random& random) {
  FaultRates& rates = setup.backend.faults.everywhere;
  const auto maybe = [&](Fault fault, uint32_t most) {
    const bool is_on = random.chance(2, 3);
    const uint32_t rate = static_cast<uint32_t>(random.below(most));
    if (is_on) rates.set(fault, rate);
  };
  maybe(Fault::latent_error, 40'000);
  maybe(Fault::transient_error, random.chance(1, 8) ? 300'000 : 40'000);
  maybe(Fault::short_read, 300'000);
  maybe(Fault::short_write, 300'000);
  maybe(Fault::again, 60'000);
  maybe(Fault::interrupted, 60'000);
  maybe(Fault::cancelled, 60'000);
  maybe(Fault::stall, 5'000);
  maybe(Fault::write_error, 8'000);
  maybe(Fault::no_space, 8'000);
  maybe(Fault::failed_sync, 8'000);
  setup.is_storm = random.chance(1, 24);
  if (!setup.is_storm) return;
  rates = FaultRates();
  constexpr Fault passing[] = {Fault::again, Fault::interrupted, Fault::cancelled};
  const Fault chosen = passing[random.below(3)];
  rates.set(chosen, static_cast<uint32_t>(random.between(850'000, 980'000)));
}

StorageSetup setup_of(uint64_t seed) {
  Random random(mix64(seed ^ 0xb0));
  StorageSetup setup;
  setup.sector_size = random.chance(1, 3) ? 512 : 4096;
  add_zones(setup, random);
  SimBackendOptions& backend = setup.backend;
  backend.queue_depth = static_cast<uint32_t>(random.between(1, 16));
  backend.latency_ns_min = random.between(1, 1000);
  backend.latency_ns_max = backend.latency_ns_min + random.below(200'000);
  backend.sector_size = grain_size << random.below(4);
  if (setup.sector_size == 4096 && random.chance(1, 2)) backend.offset_alignment = 4096;
  add_faults(setup, random);
  if (random.chance(1, 5)) setup.device_size = setup.size_present_min + random.below(8) * setup.sector_size;
  if (setup.device_size > 0 && random.chance(1, 2)) setup.device_size += setup.zones.back().size;
  setup.path = setup.is_device() ? "device" : "data";
  const uint64_t end = setup.begins.back() + setup.zones.back().size;
  setup.has_capacity = !setup.is_device() && random.chance(1, 4);
  if (setup.has_capacity) backend.capacity = random.between(end / 4, end + 4096) / 4096 * 4096;
  return setup;
}

struct Mix {
  Swarm<StorageAction, storage_action_count> swarm;
  uint64_t events_count = 0;
};

Mix mix_of(uint64_t seed, uint64_t events_max) {
  Random random(mix64(seed ^ 0x5a));
  Mix mix{Swarm<StorageAction, storage_action_count>(random)};
  mix.swarm.limit(StorageAction::write_through, 8);
  mix.swarm.limit(StorageAction::cancel, 16);
  mix.swarm.limit(StorageAction::close, 8);
  mix.swarm.limit(StorageAction::drop, 8);
  mix.swarm.limit(StorageAction::move, 8);
  mix.swarm.limit(StorageAction::open_wrong, 4);
  mix.swarm.limit(StorageAction::open_locked, 4);
  mix.swarm.limit(StorageAction::create_refused, 4);
  mix.swarm.limit(StorageAction::create_side, 8);
  mix.swarm.limit(StorageAction::recreate, 4);
  mix.swarm.limit(StorageAction::kill, 4);
  mix.swarm.limit(StorageAction::lose_power, 8);
  mix.swarm.add(StorageAction::read, 16);
  mix.swarm.add(StorageAction::join, 16);
  mix.events_count = random.between(std::min<uint64_t>(events_max, 50), events_max);
  return mix;
}

std::vector<StorageEvent> generate(uint64_t seed, uint64_t events_max) {
  const Mix mix = mix_of(seed, events_max);
  std::vector<StorageEvent> events;
  events.reserve(mix.events_count);
  for (uint64_t index = 0; index < mix.events_count; ++index) {
    const uint64_t first = mix64(mix64(seed) + index * 2);
    const uint64_t second = mix64(mix64(seed) + index * 2 + 1);
    events.push_back({0, mix.swarm.choose(first), static_cast<uint32_t>(second), static_cast<uint32_t>(second >> 32),
                      static_cast<uint32_t>(mix64(second))});
  }
  return events;
}

/// One life of the host: until its root is done, or it dies.
void live(StorageMachine& machine) {
  Host& host = machine.host;
  StorageMachine* const address = &machine;
  host.start(serve_storage, address);
  while (host.is_running()) {
    const World::Step step = machine.world.step();
    FUZZ_CHECK(step == World::Step::worked, "the host is stuck");
    if (!machine.death_in_steps.has_value()) continue;
    if (*machine.death_in_steps == 0 && host.is_running()) return machine.die(machine.death_loses_power);
    if (*machine.death_in_steps > 0) --*machine.death_in_steps;
  }
  const Result<void> result = host.take();
  FUZZ_CHECK(result.has_value(), "the root task failed");
  while (machine.world.step() == World::Step::worked) {
  }
  FUZZ_CHECK(host.backend().open_count() == 0, "a file stays open");
  machine.death_in_steps.reset();
}

RunResult run_events(const RunOptions& options, std::span<const StorageEvent> events, Coverage& coverage) {
  StorageSetup setup = setup_of(options.seed);
  setup.backend.faults.filter = options.faults;
  World world(options.seed);
  Host& host = world.add_host("a", setup.backend);
  StorageMachine machine(world, host, setup, coverage);
  machine.events = events;
  if (setup.is_device()) {
    host.files().add_device(setup.path, setup.device_size);
    machine.disk.set_content(machine.content());
    machine.is_made = true;
    machine.mark(StorageMark::device);
  }
  if (setup.is_storm) machine.mark(StorageMark::storm);
  while (machine.event_next < machine.events.size()) live(machine);
  if (options.is_verbose) {
    std::printf("  %zu events, %zu zones, %zu grains, %llu steps\n", machine.events.size(), setup.zones.size(),
                machine.disk.grains_count(), static_cast<unsigned long long>(world.steps_count()));
    const Mix mix = mix_of(options.seed, options.events_max);
    std::printf("  weights: %s\n", mix.swarm.text([](StorageAction action) { return name_of(action); }).c_str());
  }
  machine.hash.mix(world.hash(), machine.event_next);
  return {machine.hash.value(), machine.events.size()};
}

// They reach every mark, each three times; the last one found space that was not durable.
constexpr uint64_t fixed_seeds[] = {
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 44, 78, 138, 1285748449675676342u, 1340497885876162687u};

}  // namespace

const Fuzzer storage_fuzzer = {"storage",
                               "zones over a file on a bad disk, through kills and losses of power",
                               true,
                               2000,
                               fixed_seeds,
                               mark_names,
                               run_as<generate, run_events>};

}  // namespace spindle::fuzz
