// The checkpoints and the scrubbing of the fuzzer `grid`, and the damage between them.
#include <algorithm>
#include <cerrno>
#include <chrono>

#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "runtime/trace.h"
#include "tests/fuzz/grid_machine.h"

namespace spindle::fuzz {

namespace {

/// The blocks of the model, as layers above would name them.
class ModelSource final : public ReferenceSource {
 public:
  ModelSource(GridMachine& machine, uint32_t draw) : machine_(machine), draw_(draw) {}
  Task<Result<std::optional<ReferencedBlock>>> next() override {
    const Duration pause(draw_ % 4 == 0 ? 1 + mix64(draw_ + address_) % 50'000 : 0);
    co_await ok(sleep_for(pause));
    const auto found = machine_.model.live().upper_bound(address_);
    if (found == machine_.model.live().end()) co_return std::optional<ReferencedBlock>();
    address_ = found->first;
    co_return std::optional<ReferencedBlock>({found->second.reference, found->second.type});
  }
  bool is_current(const BlockReference& reference) const noexcept override { return machine_.model.is_live(reference); }

 private:
  GridMachine& machine_;
  uint32_t draw_;
  uint64_t address_ = 0;
};

class Listener final : public ScrubListener {
 public:
  void on_bad_block(const BlockReport& report) override {
    ++reports_count;
    FUZZ_CHECK(report.fault != BlockFault::none || report.fault_second != BlockFault::none, "a good block is reported");
  }
  uint64_t reports_count = 0;
};

/// What was there when scrubbing began.
struct Round {
  explicit Round(GridMachine& of) : machine(of) {}
  /// Nobody else healed anything either: who read a copy before it was damaged makes a lost block good again.
  bool is_undisturbed(const ScrubSummary& summary) {
    const uint64_t healed_by_all_count = machine.life->grid.counters().healed_count - healed_count;
    return damages_count == machine.damages_count && healed_by_all_count == summary.healed_count &&
           transient_count == machine.fault_count(Fault::transient_error) && !machine.is_stopped();
  }
  GridMachine& machine;
  std::map<uint64_t, StoredBlock> blocks{machine.model.live()};
  uint64_t op = machine.durable.op;
  uint64_t damages_count = machine.damages_count;
  uint64_t healed_count = machine.life->grid.counters().healed_count;
  uint64_t transient_count = machine.fault_count(Fault::transient_error);
};

void check_round(Round& round, const ScrubSummary& summary, uint64_t reports_count) {
  GridMachine& machine = round.machine;
  if (summary.healed_count > 0) machine.mark(GridMark::healed_by_scrub);
  if (summary.lost_count > 0) machine.mark(GridMark::lost_in_scrub);
  if (summary.passed_over_count > 0) machine.mark(GridMark::scrub_passed_over);
  FUZZ_CHECK(reports_count == summary.healed_count + summary.lost_count, "bad blocks and reports of them differ");
  if (!round.is_undisturbed(summary)) return;
  uint64_t lost_count = 0;
  uint64_t blocks_count = 0;
  for (const auto& [address, block] : round.blocks) {
    if (!machine.model.is_live(block.reference)) continue;
    ++blocks_count;
    if (!machine.has_good_copy(block)) {
      ++lost_count;
      continue;
    }
    const bool has_two = block.copies_count() == 2;
    FUZZ_CHECK(machine.is_good(block, 0), "scrubbing leaves a bad first copy");
    FUZZ_CHECK(!has_two || machine.is_good(block, 1), "scrubbing leaves a bad second copy");
  }
  FUZZ_CHECK(summary.lost_count >= lost_count, "scrubbing misses a block that is lost");
  FUZZ_CHECK(summary.blocks_count + summary.passed_over_count >= blocks_count, "scrubbing leaves blocks out");
}

void end_job(GridLife& life) {
  if (--life.jobs_count == 0) life.is_quiet.set();
}

ScrubOptions scrub_options_of(const GridEvent& event, Listener& listener) {
  ScrubOptions options;
  // So slowly that blocks are released, and their addresses given to others, before their turn comes.
  const uint32_t rate = event.a % 3 == 1 ? 20 + event.a % 1'000 : 1'000 + event.a % 1'000'000;
  options.blocks_per_second = event.a % 3 == 0 ? 0 : rate;
  if (event.b % 4 == 0) options.io_class = IoClass::foreground;
  options.listener = &listener;
  return options;
}

/// The checkpoint is there.
void take_checkpoint(GridMachine& machine, const GridImage& image) {
  GridLife& life = *machine.life;
  SimSpace& space = machine.host.files().space();
  if (space.pages_max <= space.pages_count) machine.mark(GridMark::checkpoint_on_full_disk);
  const uint64_t data_count = machine.model.count(AddressState::free);
  if (data_count <= machine.checkpoint_blocks_max()) machine.mark(GridMark::checkpoint_on_full_grid);
  machine.note_trailers(life.grid);
  machine.durable = image;
  machine.pending.reset();
  machine.model.take_over(image, machine.trailer_addresses);
  life.grid.note_log_blocks_held(machine.model.log().size());
  machine.model.check(life.grid.free_set(), !machine.setup.is_large || image.op % 8 == 0);
  const CheckpointState& state = life.superblock.working().state;
  FUZZ_CHECK(state.op == image.op, "a checkpoint is done, and the superblock has another one");
  // What was released before it is freed by it, and acquired in it.
  uint64_t highest = 0;
  for (const uint64_t address : machine.trailer_addresses) highest = std::max(highest, address);
  for (uint64_t address = highest + 1; address < image.states.size(); ++address) {
    if (image.states[address] != AddressState::free) highest = address;
  }
  const uint64_t end = highest == 0 ? 0 : machine.offset_of(highest + 1);
  FUZZ_CHECK(state.storage_size == end, "a checkpoint has another size of the store");
  if (machine.setup.has_transient_errors) return;
  for (const BlockReference& reference : machine.trailers) {
    FUZZ_CHECK(machine.is_trailer_good(reference, 0), "a trailer is not on the disk");
    const bool has_two = reference.address_second != 0;
    FUZZ_CHECK(!has_two || machine.is_trailer_good(reference, 1), "the copy of a trailer is not on the disk");
  }
}

void check_checkpoint_failed(GridMachine& machine, const Error& error) {
  GridLife& life = *machine.life;
  const bool is_space =
      error.code == ErrorCode::system && (error.number == ENOSPC || error.number == EFBIG) && !machine.is_stopped();
  if (is_space) {
    FUZZ_CHECK(!machine.is_promised, "a checkpoint finds no space, which was promised to it");
    machine.pending.reset();
    return machine.mark(GridMark::checkpoint_refused);
  }
  FUZZ_CHECK(life.has_failed || machine.is_stopped(), "a checkpoint fails, and nothing says why");
  if (life.has_failed) FUZZ_CHECK(error.code == ErrorCode::poisoned, "a second failed checkpoint is not refused");
  FUZZ_CHECK(machine.setup.has_failing_writes, "a checkpoint fails that no fault explains");
  life.has_failed = true;
}

}  // namespace

Task<Result<void>> run_scrub(GridMachine* machine, GridEvent event) {
  co_await set_trace_id(event.number);
  GridLife& life = *machine->life;
  Listener listener;
  ModelSource source(*machine, event.c);
  const ScrubOptions options = scrub_options_of(event, listener);
  ScrubSummary summary;
  Round round(*machine);
  const Result<void> done = co_await scrub(life.grid, source, options, summary);
  machine->hash.mix(300, done.has_value(), summary.blocks_count, summary.healed_count);
  if (done.has_value()) {
    check_round(round, summary, listener.reports_count);
  } else {
    FUZZ_CHECK(machine->is_stopped() || life.is_cancelled, "scrubbing fails, and the storage goes on");
  }
  end_job(life);
  co_return Result<void>();
}

Task<Result<void>> run_trailer_scrub(GridMachine* machine, GridEvent event) {
  co_await set_trace_id(event.number);
  GridLife& life = *machine->life;
  Listener listener;
  TrailerSource source(life.grid);
  const ScrubOptions options = scrub_options_of(event, listener);
  ScrubSummary summary;
  Round round(*machine);
  const bool was_settled = !life.is_checkpointing && !machine->pending.has_value();
  const Result<void> done = co_await scrub(life.grid, source, options, summary);
  machine->hash.mix(301, done.has_value(), summary.blocks_count, summary.healed_count);
  if (!done.has_value())
    FUZZ_CHECK(machine->is_stopped() || life.is_cancelled, "scrubbing fails, and the storage goes on");
  const bool is_same = was_settled && round.op == machine->durable.op && !machine->pending.has_value();
  if (done.has_value() && is_same && round.is_undisturbed(summary)) {
    if (summary.healed_count > 0) machine->mark(GridMark::healed_trailer_by_scrub);
    FUZZ_CHECK(summary.blocks_count == machine->trailers.size(), "scrubbing leaves trailer blocks out");
    for (const BlockReference& reference : machine->trailers) {
      FUZZ_CHECK(machine->is_trailer_good(reference, 0), "scrubbing leaves a bad trailer");
      const bool has_two = reference.address_second != 0;
      FUZZ_CHECK(!has_two || machine->is_trailer_good(reference, 1), "scrubbing leaves a bad copy of a trailer");
    }
  }
  end_job(life);
  co_return Result<void>();
}

Task<Result<void>> run_checkpoint(GridMachine* machine, GridEvent event) {
  co_await set_trace_id(event.number);
  GridLife& life = *machine->life;
  const GridImage image = machine->model.image(machine->op);
  const bool had_failed = life.has_failed;
  if (!had_failed) machine->pending = image;
  CheckpointInput input;
  input.op = image.op;
  life.is_begun.set();
  // A cancel changes nothing.
  const Duration limit(event.c % 4 == 0 ? 1 + event.c / 4 % 500'000 : 3'600'000'000'000);
  auto writing = checkpoint(life.grid, life.superblock, input);
  const Result<void> done = co_await timeout(limit, std::move(writing));
  life.is_checkpointing = false;
  machine->hash.mix(302, done.has_value());
  if (done.has_value()) {
    FUZZ_CHECK(!had_failed, "a checkpoint succeeds after one that failed");
    take_checkpoint(*machine, image);
  } else {
    check_checkpoint_failed(*machine, done.error());
  }
  life.is_settled.set();
  end_job(life);
  co_return Result<void>();
}

void damage_something(GridMachine& machine, const GridEvent& event) {
  const uint64_t draw = mix64(event.b);
  const uint32_t block_size = machine.setup.grid.block_size;
  if (event.action == GridAction::damage_trailer) {
    if (machine.trailers.empty() || machine.setup.grid.metadata_copies_count < 2) return;
    const BlockReference& reference = machine.trailers[event.a % machine.trailers.size()];
    const uint32_t copy = event.a / 64 % 2;
    if (!machine.is_trailer_good(reference, 1 - copy)) return;
    machine.damage(copy == 0 ? reference.address : reference.address_second, block_size, event.c, draw);
    return;
  }
  if (event.action == GridAction::damage_free) {
    const uint64_t address = event.a % machine.model.blocks_count() + 1;
    if (machine.pending.has_value() || machine.model.state(address) != AddressState::free) return;
    machine.damage(address, block_size, event.c, draw);
    return;
  }
  const StoredBlock* const block = machine.pick(event.a);
  if (block == nullptr) return;
  const uint32_t size = static_cast<uint32_t>(machine.sectors_of(*block).size());
  const bool is_all = event.action == GridAction::damage_all;
  const uint32_t chosen = event.b % 2;
  if (!is_all && (block->copies_count() < 2 || !machine.is_good(*block, 1 - chosen))) return;
  for (uint32_t copy = 0; copy < block->copies_count(); ++copy) {
    if (is_all || copy == chosen) machine.damage(block->address(copy), size, event.c + copy, draw + copy);
  }
}

}  // namespace spindle::fuzz
