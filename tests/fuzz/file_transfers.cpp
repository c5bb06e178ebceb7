// Reads and writes of the fuzzer `file`.
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

#include "runtime/combinators.h"
#include "tests/fuzz/file_machine.h"

namespace spindle::fuzz {

namespace {

enum class Form : uint8_t { exact, once, vectored, ragged };

Form form_of(FileAction action) noexcept {
  switch (action) {
    case FileAction::read_once:
    case FileAction::write_once: return Form::once;
    case FileAction::read_vectored:
    case FileAction::write_vectored: return Form::vectored;
    case FileAction::read_ragged:
    case FileAction::write_ragged:
    case FileAction::write_ragged_durable: return Form::ragged;
    default: return Form::exact;
  }
}

bool is_read(FileAction action) noexcept {
  return action >= FileAction::read_exact && action <= FileAction::read_ragged;
}

/// Where a transfer takes place, and how.
struct Extent {
  Form form = Form::exact;
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t memory_shift = 0;
  bool is_durable = false;
  bool is_refused = false;  ///< misaligned
  bool is_bounced = false;  ///< through an aligned buffer, whole blocks
  uint64_t block_begin = 0;
  uint64_t block_end = 0;
};

uint64_t size_of(const FileEvent& event, uint64_t unit, bool is_ragged) noexcept {
  const uint64_t kind = event.d / 64 % 64;
  if (kind == 0 && is_ragged) return 255 * 1024 + event.c % (20 * 1024);  // in several chunks
  if (kind < 4) return unit * (1 + event.c % 64);
  return unit * (1 + event.c % 8);
}

Extent extent_of(const Slot& slot, const FileEvent& event) {
  const File& file = *slot.file;
  Extent extent;
  extent.form = form_of(event.action);
  const bool reads = is_read(event.action);
  const uint64_t alignment = reads ? file.read_offset_alignment() : file.offset_alignment();
  const bool may_be_ragged = alignment == 1 || extent.form == Form::ragged;
  const bool is_wrong = !may_be_ragged && event.d % 32 == 0;
  const bool is_odd = (may_be_ragged && event.d % 4 != 0) || is_wrong;
  const uint64_t unit = std::max<uint64_t>(alignment, grain_size);
  const uint64_t region = event.d / 32 % 2 == 0 ? 16'384 : event.d / 4096 % 8 == 0 ? 131'072 : 40'960;
  extent.offset = event.b % region / unit * unit;
  extent.size = size_of(event, unit, extent.form == Form::ragged);
  if (is_odd) {
    // A quarter begins with a block, another ends with one.
    const uint64_t kind = event.d / 1048576 % 4;
    if (kind != 0) extent.offset += event.b / region % unit;
    if (kind != 1) extent.size -= std::min(extent.size - 1, event.c / 64 % unit);
    if (kind == 1) extent.size += (unit - (extent.offset + extent.size) % unit) % unit;
    extent.memory_shift = event.d / 32768 % 4 == 0 ? 1 + event.d / 65536 % 511 : 0;
  }
  if (is_wrong) ++extent.offset;
  if (is_wrong && extent.offset % unit == 0) ++extent.offset;
  extent.is_durable = event.action == FileAction::write_durable || event.action == FileAction::write_ragged_durable;
  // A ragged transfer goes by the coarser alignment, both ways.
  const uint64_t needed = extent.form == Form::ragged && slot.is_ragged ? file.offset_alignment() : alignment;
  const bool is_aligned =
      (extent.offset | extent.size) % needed == 0 && extent.memory_shift % file.memory_alignment() == 0;
  extent.is_bounced = !is_aligned && extent.form == Form::ragged && slot.is_ragged;
  extent.is_refused = !is_aligned && !extent.is_bounced;
  const uint64_t block = extent.is_bounced ? file.offset_alignment() : 1;
  extent.block_begin = extent.offset / block * block;
  extent.block_end = (extent.offset + extent.size + block - 1) / block * block;
  return extent;
}

/// What came of a transfer: bytes, and an error or not.
struct Outcome {
  Result<void> result;
  uint64_t done = 0;
};

Outcome outcome_of(const Result<void>& result, uint64_t size) {
  return {result, result.has_value() ? size : result.error().transferred};
}

/// Cuts memory into two or three parts; vectored transfers use them up.
std::span<iovec> split(std::span<std::byte> memory, uint64_t unit, uint32_t draw, iovec (&parts)[3]) noexcept {
  const uint64_t units_count = memory.size() / unit;
  const uint64_t first = units_count == 0 ? 0 : draw % units_count * unit;
  const uint64_t second = (memory.size() - first) / unit / 2 * unit;
  parts[0] = {memory.data(), first};
  parts[1] = {memory.data() + first, second};
  parts[2] = {memory.data() + first + second, memory.size() - first - second};
  return first == 0 ? std::span<iovec>(parts + 1, 2) : std::span<iovec>(parts, 3);
}

Task<Outcome> read_with(File& file, const Extent& extent, std::span<std::byte> memory, const FileEvent& event) {
  Outcome outcome;
  const uint64_t offset = extent.offset;
  if (extent.form == Form::once) {
    const Result<uint64_t> count = co_await file.read_at(offset, memory);
    if (!count.has_value()) outcome = outcome_of(Result<void>(Unexpected(count.error())), 0);
    if (count.has_value()) outcome.done = *count;
  } else if (extent.form == Form::vectored) {
    iovec parts[3];
    const std::span<iovec> vector = split(memory, file.read_offset_alignment(), event.a, parts);
    const Result<void> result = co_await file.read_exact_at(offset, vector);
    outcome = outcome_of(result, extent.size);
  } else if (extent.form == Form::ragged) {
    const Result<void> result = co_await file.read_any_at(offset, memory);
    outcome = outcome_of(result, extent.size);
  } else if (event.cut_short == CutShort::deadline) {
    const Time deadline = time_after(Loop::current().now(), std::chrono::nanoseconds(event.delay_ns));
    const Result<void> result = co_await file.read_exact_before(deadline, offset, memory);
    outcome = outcome_of(result, extent.size);
  } else {
    const Result<void> result = co_await file.read_exact_at(offset, memory);
    outcome = outcome_of(result, extent.size);
  }
  co_return outcome;
}

Task<Outcome> write_with(File& file, const Extent& extent, std::span<std::byte> memory, const FileEvent& event) {
  Outcome outcome;
  const uint64_t offset = extent.offset;
  const std::span<const std::byte> from = memory;
  WriteOptions options;
  options.durable = extent.is_durable;
  if (extent.form == Form::once) {
    const Result<uint64_t> count = co_await file.write_at(offset, from);
    if (!count.has_value()) outcome = outcome_of(Result<void>(Unexpected(count.error())), 0);
    if (count.has_value()) outcome.done = *count;
  } else if (extent.form == Form::vectored || (extent.is_durable && event.a % 4 == 0 && !extent.is_bounced)) {
    iovec parts[3];
    const std::span<iovec> vector = split(memory, file.offset_alignment(), event.a, parts);
    const Result<void> result = co_await file.write_all_at(offset, vector, options);
    outcome = outcome_of(result, extent.size);
  } else if (extent.form == Form::ragged) {
    const Result<void> result = co_await file.write_any_at(offset, from, options);
    outcome = outcome_of(result, extent.size);
  } else if (event.cut_short == CutShort::deadline) {
    const Time deadline = time_after(Loop::current().now(), std::chrono::nanoseconds(event.delay_ns));
    const Result<void> result = co_await file.write_all_before(deadline, offset, from, options);
    outcome = outcome_of(result, extent.size);
  } else {
    const Result<void> result = co_await file.write_all_at(offset, from, options);
    outcome = outcome_of(result, extent.size);
  }
  co_return outcome;
}

// Everything, or the end of the file, or an error.
void check_read(FileMachine& machine, Attempt& attempt, WatchInFlight& watch, const Extent& extent,
                std::span<const std::byte> memory, const Outcome& outcome) {
  const Result<void>& result = outcome.result;
  const uint64_t end = extent.offset + extent.size;
  const uint64_t reached = extent.offset + outcome.done;
  FUZZ_CHECK(outcome.done <= extent.size, "more was read than was asked for");
  attempt.end(result);
  const bool is_misaligned = !result.has_value() && result.error().code == ErrorCode::misaligned;
  const bool is_cancelled = !result.has_value() && result.error().code == ErrorCode::cancelled;
  FUZZ_CHECK(is_misaligned == (extent.is_refused && !is_cancelled), "an alignment was judged wrongly");
  if (is_misaligned) return machine.mark(FileMark::misaligned_refused);
  const uint64_t low = std::max(watch.watch.size_low, extent.offset);
  const uint64_t high = std::max(watch.watch.size_high, extent.offset);
  FUZZ_CHECK(reached <= high, "a read went past the end of the file");
  const bool is_end = !result.has_value() && result.error().code == ErrorCode::end_of_file;
  const bool is_once = extent.form == Form::once && result.has_value();
  FUZZ_CHECK(is_end || is_once || !result.has_value() || reached == end, "a read was short without an error");
  const bool may_seem_end = attempt.has_coarse_alignment() && attempt.rose(Fault::short_read);
  FUZZ_CHECK(!is_end || (reached < end && (reached >= low || may_seem_end)), "the end of the file is somewhere else");
  if (is_once && reached < std::min(low, end)) {
    const bool is_cut = attempt.may_be_cut_short() || attempt.rose(Fault::short_read);
    FUZZ_CHECK(outcome.done > 0 && is_cut, "a read was short for no reason");
  }
  if (is_end) machine.mark(FileMark::end_of_file);
  const std::span<const std::byte> seen = memory.first(outcome.done);
  watch.check(attempt, seen, result.has_value());
}

Task<Result<void>> read_range(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr) co_return Result<void>();
  const Extent extent = extent_of(*slot, event);
  IoMemory memory(extent.size);
  const std::span<std::byte> into(memory.data() + extent.memory_shift, extent.size);
  Node& node = *slot->node;
  WatchInFlight watch(machine, node, extent.offset, extent.size);
  Attempt attempt(machine, slot, event, Attempt::Kind::read);
  const uint64_t unit = slot->file->offset_alignment();
  attempt.set_range(extent.offset / unit * unit, extent.size + 2 * unit);
  if (extent.form == Form::ragged) attempt.allow_steps();
  machine.trace("  reads at", extent.offset, extent.size);
  const Outcome outcome = co_await read_with(*slot->file, extent, into, event);
  check_read(machine, attempt, watch, extent, into, outcome);
  co_return Result<void>();
}

/// What the model is to know of a write.
Change change_of(const Slot& slot, const Extent& extent, std::span<const std::byte> content) {
  Change change;
  change.kind = Change::Kind::write;
  change.offset = extent.offset;
  change.size = extent.size;
  change.content = content;
  change.is_durable = extent.is_durable;
  change.is_loose = !extent.is_bounced && (extent.offset | extent.size) % grain_size != 0;
  change.block_begin = extent.block_begin;
  change.block_end = extent.block_end;
  change.lock_begin = extent.block_begin / 4096 * 4096;
  change.lock_end = (extent.block_end + 4095) / 4096 * 4096;
  const bool is_cut_back = extent.is_bounced && extent.block_end > slot.node->file.size_low();
  if (is_cut_back) change.lock_begin = 0, change.lock_end = UINT64_MAX;  // it truncates
  return change;
}

ChangeOutcome outcome_of_write(FileMachine& machine, const Attempt& attempt, const Extent& extent, Node& node,
                               const Outcome& outcome, bool was_damaged) {
  ChangeOutcome changed;
  changed.is_whole = outcome.result.has_value();
  changed.done = outcome.done;
  changed.may_be_garbage = attempt.rose(Fault::write_error);
  changed.is_forgotten = !changed.is_whole && attempt.rose(Fault::failed_sync);
  const uint64_t size = extent.block_end - extent.block_begin;
  const bool is_damaged = was_damaged || attempt.damage_rose() || machine.is_damaged(node, extent.block_begin, size);
  changed.edges_are_unknown = extent.is_bounced && is_damaged;
  if (changed.edges_are_unknown) machine.mark(FileMark::ragged_write_over_damage);
  return changed;
}

void note_write(FileMachine& machine, const Extent& extent, const Outcome& outcome, uint64_t size_before) {
  if (outcome.result.has_value()) {
    const bool is_cut_back = extent.is_bounced && extent.block_end > std::max(size_before, extent.offset + extent.size);
    if (is_cut_back) machine.mark(FileMark::ragged_write_cut_back);
    if (extent.is_bounced && extent.size > 256 * 1024) machine.mark(FileMark::ragged_write_in_chunks);
    return;
  }
  const ErrorCode code = outcome.result.error().code;
  if (code != ErrorCode::cancelled && code != ErrorCode::timed_out) return;
  machine.mark(outcome.done > 0 ? FileMark::write_in_part_then_cancelled : FileMark::cancelled_write_undecided);
}

void end_write(FileMachine& machine, Attempt& attempt, ChangeInFlight& change, const Extent& extent, Node& node,
               const Outcome& outcome, bool was_damaged) {
  const Result<void>& result = outcome.result;
  FUZZ_CHECK(outcome.done <= extent.size, "more was written than was asked for");
  attempt.end(result);
  const uint64_t size_before = node.file.size_high();
  const bool is_misaligned = !result.has_value() && result.error().code == ErrorCode::misaligned;
  const bool is_poisoned = !result.has_value() && result.error().code == ErrorCode::poisoned;
  const bool is_cancelled = !result.has_value() && result.error().code == ErrorCode::cancelled;
  FUZZ_CHECK(is_misaligned == (extent.is_refused && !is_poisoned && !is_cancelled), "an alignment was judged wrongly");
  if (is_misaligned) machine.mark(FileMark::misaligned_refused);
  if (is_misaligned || (is_poisoned && attempt.was_poisoned())) {
    FUZZ_CHECK(outcome.done == 0, "what was refused was done in part");
    return change.end_undone();
  }
  if (result.has_value() && outcome.done < extent.size) {
    const bool may_be_full = attempt.may_be_full() || attempt.rose(Fault::no_space);
    const bool is_over = extent.offset + extent.size > machine.file_size_max();
    FUZZ_CHECK(extent.form == Form::once, "a write was short without an error");
    const bool is_cut = attempt.may_be_cut_short() || attempt.rose(Fault::short_write);
    FUZZ_CHECK(is_cut || may_be_full || is_over, "a write was short for no reason");
    if (attempt.may_be_full()) machine.mark(FileMark::no_space_short_write);
    if (outcome.done == 0) return change.end_undone();
    change.change.size = outcome.done;
    change.change.block_end = extent.offset + outcome.done;
  }
  FUZZ_CHECK(!result.has_value() || change.change.end() <= machine.file_size_max(), "a file is larger than it may be");
  const ChangeOutcome changed = outcome_of_write(machine, attempt, extent, node, outcome, was_damaged);
  if (changed.may_be_garbage && !changed.is_whole) machine.mark(FileMark::failed_write_read_back);
  change.end(changed);
  // A durable ragged write may sync the file.
  if (changed.is_forgotten && extent.is_bounced) node.file.note_sync_failed(machine.sequence());
  note_write(machine, extent, outcome, size_before);
}

Task<Result<void>> write_range(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr || !slot->is_writable) co_return Result<void>();
  co_await learn_size(machine, *slot);
  if (!slot->file.has_value() || !slot->is_writable) co_return Result<void>();
  const Extent extent = extent_of(*slot, event);
  IoMemory memory(extent.size);
  const std::span<std::byte> from(memory.data() + extent.memory_shift, extent.size);
  fill_written(from, machine.write_next++, extent.offset);
  Node& node = *slot->node;
  Change planned = change_of(*slot, extent, from);
  planned.may_spread_damage = extent.is_bounced && machine.may_be_damaged();
  if (!node.file.is_free(planned.lock_begin, planned.lock_end)) co_return Result<void>();
  const uint64_t block_size = extent.block_end - extent.block_begin;
  const bool was_damaged = machine.is_damaged(node, extent.block_begin, block_size);
  const auto kind = extent.is_durable ? Attempt::Kind::durable_write : Attempt::Kind::write;
  Attempt attempt(machine, slot, event, kind);
  attempt.set_range(extent.block_begin, block_size);
  if (extent.is_bounced) attempt.allow_reads();
  if (extent.form == Form::ragged) attempt.allow_steps();
  machine.trace("  writes at", extent.offset, extent.size);
  ChangeInFlight change(machine, node, planned);
  const Outcome outcome = co_await write_with(*slot->file, extent, from, event);
  end_write(machine, attempt, change, extent, node, outcome, was_damaged);
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> do_transfer(FileMachine& machine, FileEvent event) {
  auto transfer = is_read(event.action) ? read_range(machine, event) : write_range(machine, event);
  const Result<void> result = co_await std::move(transfer);
  co_return result;
}

Task<Result<void>> stat_file(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr) co_return Result<void>();
  Node& node = *slot->node;
  WatchInFlight watch(machine, node, 0, 0);
  Attempt attempt(machine, slot, event, Attempt::Kind::other);
  const uint64_t version = machine.names_version;
  const bool are_names_still = machine.pending_names.empty();
  const Result<FileStatus> status = co_await slot->file->stat();
  attempt.end(status.has_value() ? Result<void>() : Result<void>(Unexpected(status.error())));
  if (!status.has_value()) co_return Result<void>();
  FUZZ_CHECK(status->kind == FileKind::regular, "a file became something else");
  FUZZ_CHECK(node.number == 0 || node.number == status->number, "a file has another number than before");
  node.number = status->number;
  machine.trace("  its size is", status->size, node.file.size_latest());
  const bool is_size_possible = status->size >= watch.watch.size_low && status->size <= watch.watch.size_high;
  FUZZ_CHECK(is_size_possible, "a file's size is wrong");
  const bool is_still = !watch.watch.is_size_disturbed && !node.file.has_changes();
  if (is_still) {
    const uint64_t latest = node.file.size_latest();
    const bool was_known = node.file.is_size_known();
    FUZZ_CHECK(node.file.learn_size(status->size, machine.next_sequence()), "a file's size can't be that");
    if (!was_known && status->size < latest) machine.mark(FileMark::old_size_after_power_loss);
  }
  const bool are_links_known = are_names_still && version == machine.names_version;
  FUZZ_CHECK(!are_links_known || status->links == machine.names.links_of(node), "a file has a wrong number of names");
  machine.hash.mix(status->size, status->links);
  co_return Result<void>();
}

Task<void> learn_size(FileMachine& machine, Slot& slot) {
  if (slot.node->file.is_size_known() || slot.node->file.has_changes()) co_return;
  FileEvent event;
  event.action = FileAction::stat;
  event.a = static_cast<uint32_t>(&slot - machine.slots);
  auto asking = stat_file(machine, event);
  const Result<void> asked = co_await shield(std::move(asking));
  static_cast<void>(asked);
}

Task<void> check_content(FileMachine& machine, Slot& slot) {
  const uint32_t generation = slot.generation;
  const uint64_t size = slot.node->file.size_high();
  for (uint64_t offset = 0; offset < size; offset += 16'384) {
    if (slot.generation != generation) co_return;
    Extent extent;
    extent.offset = offset;
    extent.size = std::min<uint64_t>(16'384, size - offset);
    IoMemory memory(extent.size);
    const std::span<std::byte> into(memory.data(), extent.size);
    FileEvent event;
    event.action = FileAction::read_exact;
    WatchInFlight watch(machine, *slot.node, extent.offset, extent.size);
    Attempt attempt(machine, &slot, event, Attempt::Kind::read);
    attempt.set_range(extent.offset, extent.size);
    const Outcome outcome = co_await read_with(*slot.file, extent, into, event);
    check_read(machine, attempt, watch, extent, into, outcome);
  }
}

}  // namespace spindle::fuzz
