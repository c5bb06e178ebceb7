// What acquires and releases in the fuzzer `grid`: reservations, blocks written under them, blocks given back.
#include <cerrno>
#include <cstring>

#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "runtime/trace.h"
#include "tests/fuzz/grid_machine.h"

namespace spindle::fuzz {

namespace {

using Reserved = Result<std::optional<Grid::Reservation>>;

constexpr uint32_t jobs_max = 12;

/// reserve() said no. `disk_changes_count`: as it was when that was called.
void check_refused(GridMachine& machine, const Error& error, uint64_t count, bool has_limit, uint64_t changes_count) {
  GridLife& life = *machine.life;
  switch (error.code) {
    case ErrorCode::cancelled:
    case ErrorCode::timed_out:
      FUZZ_CHECK(has_limit || life.is_cancelled, "a reserve was cancelled, and nobody asked for it");
      return machine.mark(GridMark::reserve_cancelled);
    case ErrorCode::poisoned:
      FUZZ_CHECK(life.has_failed || machine.is_stopped(), "a reserve is refused as after a failure");
      return machine.mark(GridMark::poisoned);
    case ErrorCode::system: break;
    default: FUZZ_CHECK(false, "a reserve fails with an error that the contract does not name");
  }
  if (error.number != ENOSPC && error.number != EFBIG) {
    FUZZ_CHECK(machine.is_stopped(), "a reserve fails with an errno that the disk never gave");
    return;
  }
  const uint64_t wanted = count + machine.checkpoint_blocks_max();
  const bool has_blocks = machine.model.unreserved_min() >= wanted;
  const bool has_space = machine.has_disk_space(machine.model.end_of_next(wanted));
  if (changes_count == machine.disk_changes_count) {
    FUZZ_CHECK(!has_blocks || !has_space, "a reserve finds no space where there is enough");
  }
  if (error.number == EFBIG) machine.mark(GridMark::file_full);
  machine.mark(has_blocks ? GridMark::disk_full : GridMark::grid_full);
  if (has_blocks) machine.was_disk_full = true;
}

void check_promised(GridMachine& machine, const WindowModel& window) {
  SimSpace& space = machine.host.files().space();
  const uint64_t pages_max = space.pages_max;
  space.pages_max = space.pages_count;
  const uint64_t offset = machine.offset_of(window.begin);
  const uint64_t size = (window.end - window.begin) * machine.setup.grid.block_size;
  uint64_t missing_count = 0;
  for (uint64_t address = window.begin; address < window.end; ++address) {
    if (machine.model.state(address) != AddressState::free) continue;
    const uint64_t at = machine.offset_of(address);
    const uint64_t block_size = machine.setup.grid.block_size;
    if (machine.file().writable_size(at, block_size) < block_size) ++missing_count;
  }
  space.pages_max = pages_max;
  FUZZ_CHECK(missing_count == 0, "a reservation has blocks without disk space");
  FUZZ_CHECK(size == 0 || offset + size <= machine.file().size(), "a reservation is beyond the end of the file");
}

/// A window, or nothing. Checks either.
Task<Reserved> reserve(GridMachine* machine, uint64_t count, Duration limit, WindowModel* window) {
  GridLife& life = *machine->life;
  const bool has_limit = limit > Duration::zero();
  const uint64_t changes_count = machine->disk_changes_count;
  const bool was_checkpointing = life.is_checkpointing;
  if (life.grid.free_set().reservations_count() == 0) machine->model.note_no_windows();
  ++life.reserves_count;
  auto reserving = life.grid.reserve(count);
  std::optional<Result<Grid::Reservation>> reserved;
  if (has_limit) {
    auto made = co_await timeout(limit, std::move(reserving));
    reserved.emplace(std::move(made));
  } else {
    auto made = co_await std::move(reserving);
    reserved.emplace(std::move(made));
  }
  --life.reserves_count;
  machine->hash.mix(100, reserved->has_value());
  if (!reserved->has_value()) {
    check_refused(*machine, reserved->error(), count, has_limit, changes_count);
    co_return std::optional<Grid::Reservation>();
  }
  FUZZ_CHECK(!life.is_checkpointing, "a reservation is made while a checkpoint is written");
  FUZZ_CHECK(!life.has_failed, "a reservation is made after a checkpoint that failed");
  if (was_checkpointing) machine->mark(GridMark::reserve_during_checkpoint);
  *window = machine->model.begin_window((**reserved).window(), count);
  check_promised(*machine, *window);
  if (window->end - window->begin > count) machine->mark(GridMark::window_with_holes);
  if (machine->was_disk_full) machine->mark(GridMark::disk_full_ended);
  machine->was_disk_full = false;
  machine->is_promised = true;
  machine->hash.mix(window->begin, window->end);
  co_return std::optional<Grid::Reservation>(std::move(**reserved));
}

void forfeit(GridMachine& machine, Grid::Reservation&& reservation, const WindowModel& window) {
  GridLife& life = *machine.life;
  const uint64_t before = life.grid.free_set().reservations_count();
  life.grid.forfeit(std::move(reservation));
  const bool is_deferred = life.grid.free_set().reservations_count() == before;
  if (is_deferred) {
    FUZZ_CHECK(life.reserves_count > 0, "a forfeit has no effect, and nobody reserves");
    machine.mark(GridMark::deferred_forfeit);
  }
  machine.model.end_window(window, life.reserves_count > 0);
}

uint64_t take_address(GridMachine& machine, Grid::Reservation& reservation, WindowModel& window) {
  const std::optional<uint64_t> address = machine.life->grid.acquire(reservation);
  FUZZ_CHECK(address.has_value(), "a reservation does not give the blocks that were reserved");
  machine.model.acquire(window, *address);
  machine.hash.mix(*address);
  return *address;
}

uint32_t body_size_of(const GridMachine& machine, uint64_t draw) noexcept {
  const uint32_t most = machine.setup.grid.block_size - message_header_size;
  if (draw % 8 == 0) return 0;
  return draw % 8 < 3 ? most : static_cast<uint32_t>(draw / 8 % (most + 1));
}

void check_written(GridMachine& machine, const Result<void>& result, const StoredBlock& block, bool was_stopped) {
  GridLife& life = *machine.life;
  machine.hash.mix(101, result.has_value());
  if (!result.has_value()) {
    FUZZ_CHECK(machine.is_stopped(), "a write fails, and the storage goes on");
    FUZZ_CHECK(machine.setup.has_failing_writes, "a write fails that no fault explains");
    return machine.mark(GridMark::stopped);
  }
  FUZZ_CHECK(!was_stopped, "a write succeeds after the storage has stopped");
  for (uint32_t copy = 0; copy < block.copies_count(); ++copy) {
    machine.damaged.erase(block.address(copy));
    FUZZ_CHECK(machine.is_good(block, copy), "a block that was written is not there");
  }
  machine.model.note_written(block);
  const BlockRef cached = life.grid.try_read(block.reference, block.type);
  const bool must_be = machine.setup.grid.cache_blocks_count > 0;
  FUZZ_CHECK(cached.is_held() || !must_be, "a block that was written is not in the cache");
}

/// One block of a window, with `copies_count` addresses.
Task<Result<void>> write_one(GridMachine* machine, GridEvent event, Grid::Reservation* reservation, WindowModel* window,
                             uint64_t draw) {
  GridLife& life = *machine->life;
  BlockLease lease = co_await ok(life.grid.blocks().acquire());
  StoredBlock block;
  block.number = machine->number_next++;
  block.type = draw % 2 == 0 ? BlockType::value : BlockType::index;
  block.reference.address = take_address(*machine, *reservation, *window);
  if (event.a / 8 % 2 == 1) block.reference.address_second = take_address(*machine, *reservation, *window);
  block.body_size = body_size_of(*machine, draw / 2);
  make_block(block, lease.memory());
  if (draw / 64 % 16 == 0 && !life.has_failed) {
    // Somebody who changed his mind.
    life.grid.release(block.reference);
    machine->model.release(block.reference);
    co_return Result<void>();
  }
  if (draw / 1024 % 4 == 0 && life.jobs->live_count() < jobs_max) {
    ++life.jobs_count;
    ++life.readers[block.reference.address];
    machine->mark(GridMark::read_of_write);
    GridEvent reading = event;
    reading.b = static_cast<uint32_t>(draw / 4096);
    co_await ok(life.jobs->spawn(run_reader, machine, reading, block));
  }
  if (life.grid.transfers().find_reader(block.reference) != nullptr) machine->mark(GridMark::write_waited_for_orphan);
  const bool was_stopped = machine->is_stopped();
  const IoClass io_class = draw / 4096 % 4 == 0 ? IoClass::background : IoClass::foreground;
  // A cancel changes nothing.
  const Duration limit(draw / 16384 % 4 == 0 ? 1 + draw / 65536 % 100'000 : 3'600'000'000'000);
  auto writing = life.grid.write(std::move(lease), io_class);
  const Result<void> written = co_await timeout(limit, std::move(writing));
  check_written(*machine, written, block, was_stopped);
  co_return Result<void>();
}

void end_writer(GridLife& life) {
  if (--life.writers_count == 0) life.is_idle.set();
  if (--life.jobs_count == 0) life.is_quiet.set();
}

}  // namespace

Task<Result<void>> run_writer(GridMachine* machine, GridEvent event) {
  co_await set_trace_id(event.number);
  GridLife& life = *machine->life;
  const Duration delay(event.c % 4 < 2 ? 0 : event.c % 300'000);
  co_await ok(sleep_for(delay));
  const uint32_t blocks_count = 1 + event.a % 6;
  const uint32_t copies_count = 1 + event.a / 8 % 2;
  const uint32_t spare_count = event.a / 16 % 4 == 0 ? event.a / 64 % 8 : 0;
  const Duration limit(event.b % 8 == 0 ? 1 + event.b / 8 % 400'000 : 0);
  WindowModel window;
  auto reservation = co_await ok(reserve(machine, blocks_count * copies_count + spare_count, limit, &window));
  if (reservation.has_value()) {
    for (uint32_t index = 0; index < blocks_count && !life.has_failed; ++index) {
      const uint64_t draw = mix64(event.b + (uint64_t{index} << 32));
      co_await ok(write_one(machine, event, &*reservation, &window, draw));
    }
    const Duration hold(event.c / 8 % 3 == 0 ? event.c / 32 % 500'000 : 0);
    co_await ok(sleep_for(hold));
    forfeit(*machine, std::move(*reservation), window);
  }
  end_writer(life);
  co_return Result<void>();
}

Task<Result<void>> run_acquirer(GridMachine* machine, GridEvent event) {
  co_await set_trace_id(event.number);
  GridLife& life = *machine->life;
  const uint64_t most = machine->model.count(AddressState::free);
  uint64_t count = event.a % 4 == 0 ? event.b % (most + 2) : event.b % (most / 4 + 2);
  const bool is_half = event.c % 2 == 1;
  if (machine->setup.is_large && is_half && event.a % 2 == 0) count = most / 8 * 7;
  WindowModel window;
  auto reservation = co_await ok(reserve(machine, count, Duration(0), &window));
  if (reservation.has_value()) {
    for (uint64_t index = 0; index < count; ++index) {
      const uint64_t address = take_address(*machine, *reservation, window);
      if (!is_half || mix64(event.c + index) % 2 == 0) continue;
      life.grid.release({address, 0, {}});
      machine->model.release({address, 0, {}});
    }
    forfeit(*machine, std::move(*reservation), window);
  }
  end_writer(life);
  co_return Result<void>();
}

/// A log of a layer above: new blocks before each checkpoint, in place of the former ones. There must be space for it.
Task<Result<void>> write_log(GridMachine* machine) {
  GridLife& life = *machine->life;
  const GridOptions& options = machine->setup.grid;
  const uint64_t count = options.log_blocks_max / 2 * options.metadata_copies_count;
  if (count == 0 || life.has_failed || machine->is_stopped()) co_return Result<void>();
  if (life.grid.free_set().reservations_count() == 0) machine->model.note_no_windows();
  auto reservation = co_await life.grid.reserve(count, ReservePurpose::checkpoint);
  if (!reservation.has_value()) {
    const Error& error = reservation.error();
    const bool is_space = error.number == ENOSPC || error.number == EFBIG;
    FUZZ_CHECK(!is_space || !machine->is_promised, "a log finds no space, which was promised to checkpoints");
    FUZZ_CHECK(is_space || machine->is_stopped(), "a reserve fails that no fault explains");
    co_return Result<void>();
  }
  WindowModel window = machine->model.begin_window(reservation->window(), count);
  std::set<uint64_t> addresses;
  for (uint64_t index = 0; index < count; ++index) addresses.insert(take_address(*machine, *reservation, window));
  forfeit(*machine, std::move(*reservation), window);
  const std::set<uint64_t> former = machine->model.log();
  for (const uint64_t address : former) {
    life.grid.release({address, 0, {}});
    machine->model.release({address, 0, {}});
  }
  machine->model.set_log(std::move(addresses));
  machine->mark(GridMark::log_written);
  co_return Result<void>();
}

void release_blocks(GridMachine& machine, const GridEvent& event) {
  GridLife& life = *machine.life;
  if (life.is_checkpointing || life.has_failed) return;
  std::vector<StoredBlock> chosen;
  const bool are_many = event.action == GridAction::release_many;
  uint64_t draw = event.a;
  const StoredBlock* const first = machine.pick(draw);
  if (first != nullptr && !are_many) chosen.push_back(*first);
  for (const auto& [address, block] : machine.model.live()) {
    draw = mix64(draw);
    if (are_many && draw % 8 < 1 + event.b % 8) chosen.push_back(block);
  }
  for (const StoredBlock& block : chosen) {
    const auto readers = life.readers.find(block.reference.address);
    if (readers != life.readers.end() && readers->second > 0) continue;
    machine.keep_former(block);
    life.grid.release(block.reference);
    machine.model.release(block.reference);
  }
  if (!are_many || life.writers_count > 0) return;
  const std::set<uint64_t> empty = machine.model.empty();
  for (const uint64_t address : empty) {
    draw = mix64(draw);
    if (draw % 8 >= 1 + event.b % 8 || machine.model.log().count(address) == 1) continue;
    life.grid.release({address, 0, {}});
    machine.model.release({address, 0, {}});
  }
}

}  // namespace spindle::fuzz
