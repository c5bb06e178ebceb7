// A life of the host in the fuzzer `superblock`: one storage, one SuperblockCopies, and calls until an event ends it.
#include <cerrno>

#include "runtime/trace.h"
#include "tests/fuzz/superblock_machine.h"

namespace spindle::fuzz {

namespace {

using Call = SuperblockMachine::Call;

constexpr ZoneIndex zone{0};
constexpr ZoneOptions zones[] = {{.name = "superblock", .size = superblock_zone_size}};
constexpr ClusterId clusters[] = {{1, 2}, {1, 3}, {4, 2}};

ClusterId cluster_of(uint32_t word) noexcept { return clusters[word % 8 < 6 ? 0 : word % 8 - 5]; }

SuperblockFormat format_of(const SuperblockEvent& event) {
  SuperblockFormat format;
  format.cluster = cluster_of(event.a);
  format.configuration.copies_count = 4 + 2 * (event.b % 3);
  format.configuration.block_size = 4096u << event.b / 8 % 4;
  format.configuration.blocks_max = 1 + event.b / 32 % 8;
  format.configuration.journal_size = event.b / 256 % 4 * 4096;
  format.force = event.c % 2 == 0;
  return format;
}

/// By docs/FORMAT.md.
Superblock first_of(const SuperblockFormat& format) {
  Superblock first;
  first.sequence = 1;
  first.cluster = format.cluster;
  first.configuration = format.configuration;
  first.checksum = checksum_of(first);
  return first;
}

Superblock next_of(const Superblock& former, Random& random) {
  Superblock next = former;
  next.sequence = former.sequence + 1;
  next.parent = former.checksum;
  next.state.op += random.below(3);
  next.state.storage_size = random.below(1000) * 4096;
  const uint64_t word = random.next();
  next.state.manifest_newest = {word % 100, 0, {word, word}};
  next.state.blocks_acquired.size = word % 1000;
  next.checksum = checksum_of(next);
  return next;
}

AskedCluster asked_of(const SuperblockMachine& machine, uint32_t word) {
  if (word % 4 < 2) return std::nullopt;
  const bool is_right = word % 4 == 2 && machine.model.durable.has_value();
  return is_right ? machine.model.at(*machine.model.durable).cluster : cluster_of(word / 4);
}

Task<Result<void>> format_invalid(SuperblockMachine* machine, SuperblockCopies* superblock, SuperblockFormat format) {
  format.configuration.blocks_max = 0;
  const Result<void> refused = co_await superblock->format(format);
  const bool is_right = !refused.has_value() && refused.error().code == ErrorCode::invalid_argument;
  FUZZ_CHECK(is_right, "a format takes a configuration that can't be");
  machine->mark(SuperblockMark::format_refused_configuration);
  co_return Result<void>();
}

Task<Result<void>> do_format(SuperblockMachine* machine, SuperblockCopies* superblock, SuperblockEvent event) {
  const SuperblockFormat format = format_of(event);
  if (event.c % 16 == 3) co_await ok(format_invalid(machine, superblock, format));
  machine->begin_call(Call::format);
  const size_t version = machine->model.begin(first_of(format), true);
  const Result<void> result = co_await superblock->format(format);
  machine->end_call(*superblock, result);
  machine->check_formatted(version, format.force, result);
  const bool is_refused =
      !result.has_value() && (result.error().code == ErrorCode::lost_sectors || result.error().number == EEXIST);
  if (is_refused) machine->model.take_back(version);
  if (result.has_value() && machine->is_cancelled) machine->mark(SuperblockMark::cancelled_in_format);
  machine->is_life_over = !result.has_value() && !is_refused;
  co_return Result<void>();
}

Task<Result<void>> do_open(SuperblockMachine* machine, SuperblockCopies* superblock, AskedCluster asked) {
  machine->begin_call(Call::open);
  const Result<void> result = co_await superblock->open(asked);
  machine->end_call(*superblock, result);
  const bool is_cancelled = !result.has_value() && result.error().code == ErrorCode::cancelled;
  if (is_cancelled) machine->mark(SuperblockMark::cancelled_in_open);
  machine->check_opened(*superblock, asked, result);
  machine->is_life_over = !result.has_value() && result.error().code != ErrorCode::corrupt;
  co_return Result<void>();
}

Task<Result<void>> do_inspect(SuperblockMachine* machine, SuperblockCopies* superblock) {
  machine->begin_call(Call::none);
  const Result<void> result = co_await superblock->inspect();
  machine->end_call(*superblock, result);
  machine->check_inspected(*superblock, result);
  co_return Result<void>();
}

Task<Result<void>> do_update(SuperblockMachine* machine, SuperblockCopies* superblock, Random* random) {
  machine->begin_call(Call::update);
  const Superblock next = next_of(superblock->working(), *random);
  const size_t version = machine->model.begin(next, false);
  const bool was_cancelled = machine->is_cancelled;
  const Result<void> result = co_await superblock->update(next.state);
  machine->end_call(*superblock, result);
  machine->check_updated(*superblock, version, result);
  if (machine->is_cancelled && !was_cancelled) machine->mark(SuperblockMark::cancelled_in_update);
  co_return Result<void>();
}

/// Opens the store first, and makes one where there is none.
Task<Result<void>> do_updates(SuperblockMachine* machine, SuperblockCopies* superblock, SuperblockEvent event) {
  if (!superblock->is_open()) co_await ok(do_open(machine, superblock, std::nullopt));
  if (!superblock->is_open() && !machine->is_life_over) {
    co_await ok(do_format(machine, superblock, event));
    if (!machine->is_life_over) co_await ok(do_open(machine, superblock, std::nullopt));
  }
  if (!superblock->is_open()) co_return Result<void>();
  Random random(mix64(uint64_t{event.a} << 32 | event.c));
  const uint64_t updates_count = random.between(1, 4);
  for (uint64_t update = 0; update < updates_count; ++update) co_await ok(do_update(machine, superblock, &random));
  if (updates_count > 2 && !machine->is_poisoned) machine->mark(SuperblockMark::updates_in_a_row);
  co_return Result<void>();
}

/// What can't be done on one that is open comes in the next life.
bool needs_new_life(const SuperblockCopies& superblock, SuperblockAction action) noexcept {
  const bool is_for_closed =
      action == SuperblockAction::format || action == SuperblockAction::open || action == SuperblockAction::inspect;
  return is_for_closed && superblock.is_open();
}

/// At once, some steps later, or while a write is on its way: the first one from now on, as a rule.
void arm_end(SuperblockMachine* machine, const SuperblockEvent& event) {
  constexpr uint64_t changes_counts[] = {0, 0, 0, 1, 2, 3, 5, 7};
  machine->end = event;
  machine->ends_in_write = event.c % 2 == 0;
  machine->end_after_change = machine->host.files().sequence() + changes_counts[event.c / 2 % 8];
  machine->end_in_steps = machine->ends_in_write || event.a % 8 == 0 ? 0 : event.b % (uint64_t{16} << event.c % 5);
}

Task<Result<void>> take_event(SuperblockMachine* machine, SuperblockCopies* superblock, SuperblockEvent event) {
  switch (event.action) {
    case SuperblockAction::format: co_await ok(do_format(machine, superblock, event)); break;
    case SuperblockAction::open: {
      const AskedCluster asked = asked_of(*machine, event.a);
      co_await ok(do_open(machine, superblock, asked));
      break;
    }
    case SuperblockAction::update: co_await ok(do_updates(machine, superblock, event)); break;
    case SuperblockAction::inspect: co_await ok(do_inspect(machine, superblock)); break;
    case SuperblockAction::close: machine->is_life_over = true; break;
    case SuperblockAction::damage:
    case SuperblockAction::erase:
      machine->change_due = event;
      machine->is_life_over = true;
      break;
    case SuperblockAction::cancel:
    case SuperblockAction::kill:
    case SuperblockAction::lose_power: arm_end(machine, event); break;
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> serve_superblock(SuperblockMachine* machine) {
  const uint32_t trace_first = machine->events[machine->event_next].number;
  co_await set_trace_id(trace_first);
  Storage storage = co_await ok(Storage::open(superblock_path, zones));
  SuperblockCopies superblock(storage, zone);
  machine->begin_life();
  while (!machine->is_life_over) {
    const SuperblockEvent* const next = machine->next_event();
    if (next == nullptr) break;
    if (needs_new_life(superblock, next->action)) {
      --machine->event_next;
      break;
    }
    const SuperblockEvent event = *next;
    co_await set_trace_id(event.number);
    co_await ok(take_event(machine, &superblock, event));
  }
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

}  // namespace spindle::fuzz
