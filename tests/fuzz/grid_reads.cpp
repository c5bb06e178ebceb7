// The reads of the fuzzer `grid`: what they give is compared with what was written, what they can't give with what the
// disk holds.
#include <algorithm>
#include <cstring>

#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "runtime/trace.h"
#include "tests/fuzz/grid_machine.h"

namespace spindle::fuzz {

namespace {

/// What was known when a read began.
struct Reading {
  GridMachine& machine;
  const StoredBlock& block;
  uint64_t damages_count = machine.damages_count;
  uint64_t transient_count = machine.fault_count(Fault::transient_error);
  bool was_good = false;
  bool was_stopped = machine.is_stopped();
  bool has_limit = false;
  bool joins = false;  // a read that may have begun before the last damage
  BlockReport report{};

  Reading(GridMachine& the_machine, const StoredBlock& the_block) : machine(the_machine), block(the_block) {
    // What is being written has no good copy yet, nor a bad one.
    const bool is_written = machine.model.is_live(block.reference);
    was_good = !is_written || machine.has_good_copy(block);
  }
  bool is_undisturbed() {
    return damages_count == machine.damages_count && transient_count == machine.fault_count(Fault::transient_error);
  }
};

void mark_fault(GridMachine& machine, BlockFault fault) {
  if (fault == BlockFault::version) machine.mark(GridMark::fault_version);
  if (fault == BlockFault::address) machine.mark(GridMark::fault_address);
}

void check_content(GridMachine& machine, const StoredBlock& block, std::span<const std::byte> sectors) {
  const std::span<const std::byte> expected = machine.sectors_of(block);
  FUZZ_CHECK(sectors.size() == expected.size(), "a block is read with another size");
  FUZZ_CHECK(std::memcmp(sectors.data(), expected.data(), expected.size()) == 0, "a block is read as another one");
}

void check_healed(Reading& reading) {
  GridMachine& machine = reading.machine;
  const BlockReport& report = reading.report;
  mark_fault(machine, report.fault);
  mark_fault(machine, report.fault_second);
  if (report.fault == BlockFault::none) return;
  FUZZ_CHECK(reading.block.copies_count() == 2, "a block without a copy was read though it is bad");
  FUZZ_CHECK(report.fault_second == BlockFault::none, "a block was read that has no good copy");
  FUZZ_CHECK(report.reference == reading.block.reference, "a report names another block");
  const bool is_excused = machine.is_stopped() || machine.life->has_failed || machine.life->is_cancelled;
  FUZZ_CHECK(report.is_healed || is_excused, "a bad copy was not written again");
  if (!report.is_healed) return;
  machine.mark(GridMark::healed_at_read);
  if (reading.damages_count == machine.damages_count && machine.model.is_live(reading.block.reference)) {
    FUZZ_CHECK(machine.is_good(reading.block, 0), "a healed copy is not good");
  }
}

void check_failed(Reading& reading, const Error& error) {
  GridMachine& machine = reading.machine;
  machine.hash.mix(static_cast<uint64_t>(error.code));
  switch (error.code) {
    case ErrorCode::cancelled:
    case ErrorCode::timed_out:
      FUZZ_CHECK(reading.has_limit || machine.life->is_cancelled, "a read was cancelled, and nobody asked for it");
      return machine.mark(GridMark::cancelled_read);
    case ErrorCode::corrupt: machine.mark(GridMark::lost_corrupt); break;
    case ErrorCode::lost_sectors: machine.mark(GridMark::lost_unreadable); break;
    default:
      FUZZ_CHECK(machine.is_stopped() && machine.setup.has_failing_writes, "a read fails that no fault explains");
      return;
  }
  mark_fault(machine, reading.report.fault);
  mark_fault(machine, reading.report.fault_second);
  FUZZ_CHECK(reading.report.fault != BlockFault::none, "a read fails, and the report does not say why");
  // Its write failed.
  if (!machine.model.is_live(reading.block.reference) && machine.is_stopped()) return;
  if (reading.block.copies_count() == 2) {
    FUZZ_CHECK(reading.report.fault_second != BlockFault::none, "a read fails without a look at the second copy");
    machine.mark(GridMark::healed_second_lost);
  }
  if (!reading.is_undisturbed() || reading.joins) return;
  FUZZ_CHECK(!reading.was_good, "a block is lost that has a good copy");
}

/// Reads into memory of the caller's.
Task<Result<void>> read_into(GridMachine* machine, GridEvent event, Reading* reading) {
  GridLife& life = *machine->life;
  BlockLease lease = co_await ok(life.grid.blocks().acquire());
  GridReadOptions options;
  options.report = &reading->report;
  if (event.c % 2 == 0) options.io_class = IoClass::background;
  const Result<void> read = co_await life.grid.read_into(reading->block.reference, reading->block.type, lease, options);
  machine->hash.mix(201, read.has_value());
  if (!read.has_value()) {
    check_failed(*reading, read.error());
    co_return Result<void>();
  }
  check_healed(*reading);
  const std::span<const std::byte> memory = lease.memory();
  check_content(*machine, reading->block, memory.first(sectors_size_of(block_header_of(memory))));
  co_return Result<void>();
}

Task<Result<void>> read_shared(GridMachine* machine, GridEvent event, Reading* reading) {
  GridLife& life = *machine->life;
  GridReadOptions options;
  options.report = &reading->report;
  if (event.c % 4 == 0) options.io_class = IoClass::background;
  const Duration limit(event.b / 8 % 4 == 0 ? 1 + event.c % 400'000 : 0);
  reading->has_limit = limit > Duration::zero();
  auto reading_task = life.grid.read(reading->block.reference, reading->block.type, options);
  std::optional<Result<BlockRef>> block;
  if (reading->has_limit) {
    auto read = co_await timeout(limit, std::move(reading_task));
    block.emplace(std::move(read));
  } else {
    auto read = co_await std::move(reading_task);
    block.emplace(std::move(read));
  }
  machine->hash.mix(200, block->has_value());
  if (!block->has_value()) {
    check_failed(*reading, block->error());
    co_return Result<void>();
  }
  check_healed(*reading);
  check_content(*machine, reading->block, (**block).sectors());
  // What somebody holds does not change.
  const Duration hold(event.b / 64 % 3 == 0 ? event.c % 300'000 : 0);
  co_await ok(sleep_for(hold));
  check_content(*machine, reading->block, (**block).sectors());
  co_return Result<void>();
}

void end_reader(GridLife& life, const StoredBlock& block) {
  --life.readers[block.reference.address];
  if (--life.jobs_count == 0) life.is_quiet.set();
}

}  // namespace

Task<Result<void>> run_reader(GridMachine* machine, GridEvent event, StoredBlock block) {
  co_await set_trace_id(event.number);
  GridLife& life = *machine->life;
  const Duration delay(event.b % 3 == 0 ? event.b / 3 % 200'000 : 0);
  co_await ok(sleep_for(delay));
  if (life.is_checkpointing) machine->mark(GridMark::read_during_checkpoint);
  Reading reading(*machine, block);
  const GridRead* const under_way = life.grid.transfers().find_read(block.reference.address);
  reading.joins = under_way != nullptr;
  if (life.grid.transfers().find_write(block.reference) != nullptr) {
    const BlockRef written = life.grid.try_read(block.reference, block.type);
    FUZZ_CHECK(written.is_held(), "a block that is being written is not there at once");
  }
  if (under_way != nullptr && !under_way->has_joined()) machine->mark(GridMark::read_of_orphan);
  const uint64_t joined_count = life.grid.counters().joined_count;
  const uint64_t hits_count = life.grid.counters().hits_count;
  Result<void> done;
  // Past the cache there is nothing of a write that is not done.
  if (event.b / 512 % 8 == 0 && machine->model.is_live(block.reference)) {
    done = co_await read_into(machine, event, &reading);
  } else {
    done = co_await read_shared(machine, event, &reading);
  }
  if (life.grid.counters().joined_count > joined_count) machine->mark(GridMark::joined_read);
  if (life.grid.counters().hits_count > hits_count) machine->mark(GridMark::cached);
  end_reader(life, block);
  co_return done;
}

Task<Result<void>> run_wrong_reader(GridMachine* machine, GridEvent event, StoredBlock block) {
  co_await set_trace_id(event.number);
  GridLife& life = *machine->life;
  BlockReference reference = block.reference;
  BlockType type = block.type;
  if (event.b % 2 == 0) reference.checksum.low ^= 1 + event.c;
  if (event.b % 2 == 1) type = type == BlockType::value ? BlockType::index : BlockType::value;
  if (event.b % 8 == 7) reference.address = machine->model.blocks_count() + 1 + event.c % 3;
  const uint64_t damages_count = machine->damages_count;
  const bool was_good = machine->has_good_copy(block);
  BlockReport report;
  GridReadOptions options;
  options.report = &report;
  const auto read = co_await life.grid.read(reference, type, options);
  FUZZ_CHECK(!read.has_value(), "a block is read that is not the one that was asked for");
  const ErrorCode code = read.error().code;
  const bool is_excused = life.is_cancelled && code == ErrorCode::cancelled;
  FUZZ_CHECK(is_excused || code == ErrorCode::corrupt || code == ErrorCode::lost_sectors,
             "a wrong reference fails with a wrong error");
  mark_fault(*machine, report.fault);
  if (report.fault == BlockFault::type_expected) machine->mark(GridMark::fault_type);
  const bool is_comparable = damages_count == machine->damages_count && was_good;
  if (is_comparable) FUZZ_CHECK(machine->has_good_copy(block), "a wrong reference did harm");
  end_reader(life, block);
  co_return Result<void>();
}

namespace {

Task<Result<void>> read_one_of_many(GridMachine* machine, StoredBlock block, Duration limit, uint32_t* failed_count) {
  GridLife& life = *machine->life;
  auto reading = life.grid.read(block.reference, block.type);
  std::optional<Result<BlockRef>> read;
  if (limit > Duration::zero()) {
    auto done = co_await timeout(limit, std::move(reading));
    read.emplace(std::move(done));
  } else {
    auto done = co_await std::move(reading);
    read.emplace(std::move(done));
  }
  if (read->has_value()) check_content(*machine, block, (**read).sectors());
  if (!read->has_value()) ++*failed_count;
  co_return Result<void>();
}

Task<Result<void>> spawn_many(Scope& scope, GridMachine* machine, StoredBlock block, GridEvent event,
                              uint32_t* failed_count) {
  const uint32_t count = 2 + event.b % 6;
  for (uint32_t index = 0; index < count; ++index) {
    const bool has_limit = event.c % 2 == 0 && (event.c >> index & 2) != 0;
    const Duration limit(has_limit ? 1 + mix64(event.c + index) % 200'000 : 0);
    co_await ok(scope.spawn(read_one_of_many, machine, block, limit, failed_count));
  }
  co_return Result<void>();
}

}  // namespace

/// A block that was released, at addresses that are free; nobody waits for its end. Who writes there has to.
Task<Result<void>> read_stale(GridMachine* machine, GridEvent event) {
  GridLife& life = *machine->life;
  // While somebody waits for it, nobody may write there.
  const bool may_be_written = life.writers_count > 0 || life.is_checkpointing || machine->pending.has_value();
  if (machine->former.empty() || may_be_written) co_return Result<void>();
  // The one that will be written over next.
  StoredBlock block;
  for (const FormerBlock& former : machine->former) {
    bool is_free = true;
    for (uint32_t copy = 0; copy < former.block.copies_count(); ++copy) {
      is_free = is_free && machine->model.state(former.block.address(copy)) == AddressState::free;
    }
    const uint64_t address = block.reference.address;
    if (is_free && (address == 0 || former.block.reference.address < address)) block = former.block;
  }
  if (block.reference.address == 0) co_return Result<void>();
  const Duration limit(1 + event.a % 50);
  auto reading = life.grid.read(block.reference, block.type);
  const auto read = co_await timeout(limit, std::move(reading));
  machine->hash.mix(203, read.has_value());
  if (read.has_value()) check_content(*machine, block, read->sectors());
  co_return Result<void>();
}

/// Several readers of one block at one time, and nothing else: one read of the disk, or none.
Task<Result<void>> read_quietly(GridMachine* machine, GridEvent event) {
  GridLife& life = *machine->life;
  const StoredBlock* const picked = machine->pick(event.a);
  if (picked == nullptr) co_return Result<void>();
  StoredBlock block = *picked;
  const bool was_cached = life.grid.try_read(block.reference, block.type).is_held();
  const bool was_bad = !machine->is_good(block, 0);
  const bool had_good = machine->has_good_copy(block);
  const GridCounters before = life.grid.counters();
  const uint64_t transient_count = machine->fault_count(Fault::transient_error);
  uint32_t failed_count = 0;
  uint32_t* const failed_address = &failed_count;
  auto running = with_scope(ScopeOptions{}, spawn_many, machine, block, event, failed_address);
  co_await ok(std::move(running));
  const Duration pause = std::chrono::seconds(1);
  co_await ok(sleep_for(pause));  // also of reads that nobody waits for
  const GridCounters& after = life.grid.counters();
  const uint64_t count = 2 + event.b % 6;
  const uint64_t reads_count = after.reads_count - before.reads_count;
  const uint64_t joined_count = after.joined_count - before.joined_count;
  machine->hash.mix(202, reads_count, joined_count, failed_count);
  const bool is_passing = transient_count != machine->fault_count(Fault::transient_error) || machine->is_stopped();
  const bool was_patient = event.c % 2 == 1;
  if (was_cached) {
    FUZZ_CHECK(reads_count == 0 && failed_count == 0, "a block in the cache is read from the disk");
    FUZZ_CHECK(after.hits_count - before.hits_count == count, "hits of the cache are not counted");
    co_return Result<void>();
  }
  const uint64_t most = 1 + after.faults_count - before.faults_count;
  FUZZ_CHECK(reads_count >= 1 && reads_count <= most, "readers of one block at one time read it several times");
  if (was_patient) FUZZ_CHECK(joined_count == count - 1, "joined reads are not counted");
  if (joined_count > 0) machine->mark(GridMark::joined_read);
  if (is_passing) co_return Result<void>();
  if (was_patient) FUZZ_CHECK(failed_count == (had_good ? 0 : count), "readers of one block differ in what they get");
  const bool is_told = after.faults_count > before.faults_count;
  FUZZ_CHECK(is_told == was_bad, "a bad copy was not noticed, or a good one taken for bad");
  if (was_bad && had_good) FUZZ_CHECK(machine->is_good(block, 0), "a bad copy was not written again");
  co_return Result<void>();
}

}  // namespace spindle::fuzz
