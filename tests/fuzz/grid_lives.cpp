// The lives of a store in the fuzzer `grid`: made, opened, used by jobs side by side, closed.
#include <cerrno>
#include <chrono>

#include "runtime/sleep.h"
#include "runtime/trace.h"
#include "tests/fuzz/grid_machine.h"

namespace spindle::fuzz {

namespace {

// Each of them holds one block at a time.
constexpr uint32_t jobs_max = 12;

Task<Result<void>> wait_quiet(GridLife* life) {
  if (life->jobs_count == 0) co_return Result<void>();
  life->is_quiet.reset();
  co_return co_await life->is_quiet.wait();
}

Task<Result<void>> wait_settled(GridLife* life) {
  if (!life->is_checkpointing) co_return Result<void>();
  life->is_settled.reset();
  co_return co_await life->is_settled.wait();
}

Task<Result<void>> wait_idle(GridLife* life) {
  if (life->writers_count == 0) co_return Result<void>();
  life->is_idle.reset();
  co_return co_await life->is_idle.wait();
}

Task<Result<void>> begin_checkpoint(GridMachine* machine, GridEvent event) {
  GridLife* const life = machine->life;
  co_await ok(wait_settled(life));
  co_await ok(wait_idle(life));
  co_await ok(write_log(machine));
  if (event.action == GridAction::checkpoint_die) {
    machine->death_in_steps = event.a % 400;
    machine->death_loses_power = event.b % 2 == 0;
    machine->death_number = event.number;
  }
  ++machine->op;
  life->is_checkpointing = true;
  ++life->jobs_count;
  life->is_begun.reset();
  co_await ok(life->jobs->spawn(run_checkpoint, machine, event));
  co_return co_await life->is_begun.wait();
}

Task<Result<void>> begin_writer(GridMachine* machine, GridEvent event) {
  GridLife* const life = machine->life;
  ++life->writers_count;
  ++life->jobs_count;
  if (event.action == GridAction::write) co_return co_await life->jobs->spawn(run_writer, machine, event);
  co_return co_await life->jobs->spawn(run_acquirer, machine, event);
}

Task<Result<void>> begin_reader(GridMachine* machine, GridEvent event) {
  GridLife* const life = machine->life;
  const StoredBlock* const picked = machine->pick(event.a);
  if (picked == nullptr) co_return Result<void>();
  const StoredBlock block = *picked;
  const bool is_wrong = event.action == GridAction::read_wrong;
  const uint32_t count = is_wrong ? 1 : 1 + event.c % 3;
  // Before the first one begins: so nobody releases the block meanwhile.
  life->readers[block.reference.address] += count;
  life->jobs_count += count;
  for (uint32_t index = 0; index < count; ++index) {
    GridEvent reading = event;
    reading.b = event.b + index * 8;
    if (is_wrong) {
      co_await ok(life->jobs->spawn(run_wrong_reader, machine, reading, block));
    } else {
      co_await ok(life->jobs->spawn(run_reader, machine, reading, block));
    }
  }
  co_return Result<void>();
}

Task<Result<void>> begin_scrub(GridMachine* machine, GridEvent event) {
  GridLife* const life = machine->life;
  ++life->jobs_count;
  if (event.action == GridAction::scrub) co_return co_await life->jobs->spawn(run_scrub, machine, event);
  co_return co_await life->jobs->spawn(run_trailer_scrub, machine, event);
}

/// Nobody does anything: everything is where the model has it.
Task<Result<void>> quiesce(GridMachine* machine, GridEvent event) {
  GridLife* const life = machine->life;
  co_await ok(wait_quiet(life));
  const Duration pause = std::chrono::seconds(1);
  co_await ok(sleep_for(pause));
  FUZZ_CHECK(life->grid.free_set().reservations_count() == 0, "a reservation is open that nobody has");
  if (!life->has_failed) machine->model.check(life->grid.free_set(), !machine->setup.is_large || event.a % 8 == 0);
  if (event.b % 4 == 0) machine->check_blocks();
  if (event.action == GridAction::read_quietly) co_return co_await read_quietly(machine, event);
  co_return Result<void>();
}

void set_disk(GridMachine& machine, const GridEvent& event) {
  const uint64_t count = machine.host.files().space().pages_count;
  const bool is_free = event.action == GridAction::free_disk;
  if (is_free) return machine.limit_disk(event.a % 2 == 0 ? UINT64_MAX : count + event.b % 64);
  machine.limit_disk(count + (event.a % 2 == 0 ? 0 : event.b % 24));
}

void set_death(GridMachine& machine, const GridEvent& event, uint64_t steps_max) {
  machine.death_in_steps = event.a % 8 == 0 ? 0 : event.a / 8 % steps_max;
  machine.death_loses_power = event.action == GridAction::lose_power || event.b % 2 == 0;
  if (event.action == GridAction::kill) machine.death_loses_power = false;
  machine.death_number = event.number;
}

/// An event that is over at once.
void take_at_once(GridMachine& machine, const GridEvent& event) {
  switch (event.action) {
    case GridAction::release:
    case GridAction::release_many: return release_blocks(machine, event);
    case GridAction::damage_free:
      if (machine.life->is_checkpointing) return;
      [[fallthrough]];
    case GridAction::damage_block:
    case GridAction::damage_trailer:
    case GridAction::damage_all: return damage_something(machine, event);
    case GridAction::limit_disk:
    case GridAction::free_disk: return set_disk(machine, event);
    case GridAction::kill:
    case GridAction::lose_power: return set_death(machine, event, 250);
    default: return;  // cancel and reopen: see the end of serve_jobs()
  }
}

/// One event, for as long as it keeps others from their turn.
Task<Result<void>> take_event(GridMachine* machine, GridEvent event) {
  const GridAction action = event.action;
  const bool is_checkpoint = action == GridAction::checkpoint || action == GridAction::checkpoint_die;
  if (action == GridAction::write || action == GridAction::acquire_many) co_await ok(begin_writer(machine, event));
  if (action == GridAction::read || action == GridAction::read_wrong) co_await ok(begin_reader(machine, event));
  if (action == GridAction::scrub || action == GridAction::scrub_trailers) co_await ok(begin_scrub(machine, event));
  if (is_checkpoint) co_await ok(begin_checkpoint(machine, event));
  if (action == GridAction::read_quietly || action == GridAction::quiesce) co_await ok(quiesce(machine, event));
  if (action == GridAction::read_stale) co_await ok(read_stale(machine, event));
  take_at_once(*machine, event);
  co_return Result<void>();
}

/// Damages all copies of one block of the trailers: nothing of the store can be opened then.
void lose_trailer(GridMachine& machine, const GridEvent& event) {
  if (machine.trailers.empty() || machine.pending.has_value() || machine.is_stopped()) return;
  const BlockReference& reference = machine.trailers[event.a % machine.trailers.size()];
  for (const uint64_t address : {reference.address, reference.address_second}) {
    if (address == 0) continue;
    const uint32_t block_size = machine.setup.grid.block_size;
    std::vector<std::byte> content(block_size);
    machine.file().read(machine.offset_of(address), content);
    machine.saved.emplace_back(address, std::move(content));
    // The header of the block, all of its first sector, or what makes it readable at all.
    machine.damage(address, 4096, event.c % 3, mix64(event.b));
  }
  machine.is_trailer_lost = true;
}

void restore_trailer(GridMachine& machine) {
  for (const auto& [address, content] : machine.saved) {
    machine.file().damage(machine.offset_of(address), content);
    machine.file().make_readable(machine.offset_of(address), content.size());
  }
  machine.saved.clear();
  machine.is_trailer_lost = false;
}

Task<Result<void>> serve_jobs(Scope& jobs, GridMachine* machine) {
  GridLife* const life = machine->life;
  life->jobs = &jobs;
  for (const GridEvent* next = machine->next_event(); next != nullptr; next = machine->next_event()) {
    const GridEvent event = *next;
    co_await set_trace_id(event.number);
    const Duration pause(event.c % 8 < 5 ? 0 : event.c / 8 % 150'000);
    co_await ok(sleep_for(pause));
    co_await ok(take_event(machine, event));
    if (event.action == GridAction::cancel) {
      // Whatever they wait for: nothing of them is left, and nothing of what they wrote counts.
      if (life->jobs_count > 0) machine->mark(GridMark::all_cancelled);
      life->is_cancelled = true;
      jobs.cancel();
      co_return Result<void>();
    }
    const bool reopens = event.action >= GridAction::reopen && event.action <= GridAction::reopen_lost;
    // A store that has stopped is of use for a while only.
    const bool is_of_use = !machine->is_stopped() && !life->has_failed;
    if (!reopens && (is_of_use || event.c / 16 % 4 != 0)) continue;
    co_await ok(wait_quiet(life));
    if (event.action == GridAction::reopen_lost) lose_trailer(*machine, event);
    if (event.action == GridAction::reopen_die) set_death(*machine, event, 400);
    break;
  }
  co_await ok(wait_quiet(life));
  co_return Result<void>();
}

/// A store that does not open.
void check_not_opened(GridMachine& machine, const Grid& grid, const Storage& storage, const Error& error) {
  const bool is_lost = error.code == ErrorCode::corrupt || error.code == ErrorCode::lost_sectors;
  if (is_lost && machine.is_trailer_lost) {
    const bool is_named = grid.fault().block.fault != BlockFault::none;
    FUZZ_CHECK(is_named && !describe(grid.fault()).empty(), "a store does not open, and nothing says why");
    return machine.mark(GridMark::trailer_lost);
  }
  if (is_lost) {
    FUZZ_CHECK(machine.setup.has_transient_errors, "a store does not open though every trailer has a good copy");
    return;
  }
  FUZZ_CHECK(machine.setup.has_failing_writes && storage.is_stopped(), "a store does not open, and no fault says why");
}

Task<Result<void>> serve_grid(Scope& scope, GridMachine* machine, GridLife* life) {
  life->grid.start(scope);
  const Result<void> opened = co_await life->grid.open(life->superblock.working().state);
  machine->hash.mix(400, opened.has_value());
  if (!opened.has_value()) {
    check_not_opened(*machine, life->grid, life->storage, opened.error());
    restore_trailer(*machine);
    co_return Result<void>();
  }
  FUZZ_CHECK(!machine->is_trailer_lost, "a store opens whose trailer is lost");
  machine->life = life;
  machine->note_opened(*life);
  if (life->grid.counters().healed_count > 0) machine->mark(GridMark::healed_at_open);
  for (const BlockReference& reference : machine->trailers) {
    const bool is_excused = machine->is_stopped();
    FUZZ_CHECK(is_excused || machine->is_trailer_good(reference, 0), "a store opens, and a bad trailer is not healed");
  }
  const ScopeOptions options{.children_max = jobs_max};
  auto serving = with_scope(options, serve_jobs, machine);
  const Result<void> served = co_await std::move(serving);
  co_return served;
}

}  // namespace

Task<Result<void>> format_grid_store(const GridSetup* setup) {
  const std::span<const ZoneOptions> zones(setup->zones);
  const StorageOptions options{.overwrite = setup->is_device};
  Storage storage = co_await ok(Storage::create(grid_fuzz_path, zones, options));
  SuperblockCopies superblock(storage, grid_fuzz_superblock_zone);
  SuperblockFormat format;
  format.cluster = grid_fuzz_cluster;
  format.configuration.block_size = setup->grid.block_size;
  format.configuration.blocks_max = setup->grid.blocks_count;
  co_await ok(superblock.format(format));
  co_return co_await storage.close();
}

Task<Result<void>> serve_grid_store(GridMachine* machine) {
  co_await set_trace_id(machine->death_number);
  const std::span<const ZoneOptions> zones(machine->setup.zones);
  Storage storage = co_await ok(Storage::open(grid_fuzz_path, zones));
  SuperblockCopies superblock(storage, grid_fuzz_superblock_zone);
  const Result<void> opened = co_await superblock.open(grid_fuzz_cluster);
  if (!opened.has_value()) {
    const bool is_explained = machine->setup.has_failing_writes && storage.is_stopped();
    FUZZ_CHECK(is_explained, "a superblock does not open, and no fault says why");
    co_return co_await storage.close();
  }
  auto grid = Grid::create(storage, grid_fuzz_zone, machine->setup.grid);
  FUZZ_CHECK(grid.has_value(), "a grid can't be made");
  GridLife life{storage, superblock, **grid};
  GridLife* const address = &life;
  auto serving = with_scope(ScopeOptions{}, serve_grid, machine, address);
  const Result<void> served = co_await std::move(serving);
  machine->life = nullptr;
  FUZZ_CHECK(served.has_value(), "a life of the store fails");
  grid->reset();
  co_return co_await storage.close();
}

}  // namespace spindle::fuzz
