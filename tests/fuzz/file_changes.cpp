// Syncs, sizes, holes, locks and closing of the fuzzer `file`.
#include <algorithm>
#include <cerrno>

#include "runtime/combinators.h"
#include "tests/fuzz/file_machine.h"

namespace spindle::fuzz {

namespace {

Task<Result<void>> sync_file(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr) co_return Result<void>();
  Node& node = *slot->node;
  const uint64_t covers = machine.sequence();
  if (node.file.has_changes()) machine.mark(FileMark::sync_during_write);
  Attempt attempt(machine, slot, event, Attempt::Kind::sync);
  Result<void> result;
  if (event.action == FileAction::sync) {
    result = co_await slot->file->sync();
  } else {
    result = co_await slot->file->sync_data();
  }
  attempt.end(result);
  // Of two at once, of which one failed, the other may have come after it, and says nothing.
  const bool may_have_failed = attempt.rose(Fault::failed_sync);
  if (result.has_value() && !may_have_failed) node.file.note_synced(covers);
  // Tried again after EINTR, it covers what was written meanwhile, too.
  if (!result.has_value() && may_have_failed) node.file.note_sync_failed(machine.sequence());
  co_return Result<void>();
}

Change change_of(const FileEvent& event) {
  Change change;
  const uint64_t unit = event.c % 3 == 0 ? 4096 : event.c % 3 == 1 ? 512 : 1;
  change.offset = event.b % 50'000 / unit * unit;
  change.size = (1 + event.d % 16'000 / unit) * unit;
  if (event.action == FileAction::truncate) change.size = change.offset;
  if (event.action == FileAction::allocate) change.kind = Change::Kind::allocate;
  if (event.action == FileAction::punch_hole) change.kind = Change::Kind::hole;
  if (event.action == FileAction::truncate) change.kind = Change::Kind::truncate;
  const bool is_truncate = change.kind == Change::Kind::truncate;
  change.lock_begin = is_truncate ? 0 : change.offset / 4096 * 4096;
  change.lock_end = is_truncate ? UINT64_MAX : (change.end() + 4095) / 4096 * 4096;
  return change;
}

Task<Result<void>> apply_change(File& file, Change change) {
  Result<void> result;
  switch (change.kind) {
    case Change::Kind::allocate: result = co_await file.allocate(change.offset, change.size); break;
    case Change::Kind::hole: result = co_await file.punch_hole(change.offset, change.size); break;
    default: result = co_await file.truncate(change.size); break;
  }
  co_return result;
}

Task<Result<void>> change_file(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr || !slot->is_writable) co_return Result<void>();
  co_await learn_size(machine, *slot);
  if (!slot->file.has_value() || !slot->is_writable) co_return Result<void>();
  Node& node = *slot->node;
  const Change planned = change_of(event);
  if (!node.file.is_free(planned.lock_begin, planned.lock_end)) co_return Result<void>();
  Attempt attempt(machine, slot, event, Attempt::Kind::other);
  attempt.set_range(planned.kind == Change::Kind::truncate ? 0 : planned.offset, planned.size);
  ChangeInFlight change(machine, node, planned);
  const Result<void> result = co_await apply_change(*slot->file, planned);
  attempt.end(result);
  if (!result.has_value() && attempt.was_poisoned()) {
    change.end_undone();
    co_return Result<void>();
  }
  const bool grows = planned.kind != Change::Kind::hole;
  const uint64_t end = planned.kind == Change::Kind::truncate ? planned.size : planned.end();
  FUZZ_CHECK(!result.has_value() || !grows || end <= machine.file_size_max(), "a file is larger than it may be");
  const bool is_refused = !result.has_value() && result.error().code == ErrorCode::system;
  if (is_refused) {  // an errno of these says that nothing was done
    change.end_undone();
    co_return Result<void>();
  }
  ChangeOutcome outcome;
  outcome.is_whole = result.has_value();
  change.end(outcome);
  co_return Result<void>();
}

/// Whether another open file of the same one stands against a lock: not, perhaps, or certainly.
enum class Conflict : uint8_t { none, perhaps, certain };

Conflict conflict_of(const FileMachine& machine, const Slot& own, LockMode mode) noexcept {
  Conflict conflict = own.node->lock_leaving_count > 0 ? Conflict::perhaps : Conflict::none;
  for (const Slot& slot : machine.slots) {
    if (&slot == &own || !slot.file.has_value() || slot.node != own.node) continue;
    const bool excludes = slot.lock.has_value() && (mode == LockMode::exclusive || *slot.lock == LockMode::exclusive);
    if (slot.is_lock_unknown) conflict = std::max(conflict, Conflict::perhaps);
    if (excludes && !slot.is_lock_unknown) return Conflict::certain;
  }
  return conflict;
}

Task<Result<void>> ask_for_lock(File& file, LockMode mode, FileEvent event) {
  Result<void> result;
  if (event.action == FileAction::try_lock) {
    result = co_await file.try_lock(mode);
  } else {
    LockOptions options;
    options.wait_max = std::chrono::nanoseconds(event.c % 3'000'000);
    result = co_await file.lock(mode, options);
  }
  co_return result;
}

Task<Result<void>> take_lock(FileMachine& machine, Slot& slot, FileEvent event) {
  Node& node = *slot.node;
  const LockMode mode = event.b % 2 == 0 ? LockMode::shared : LockMode::exclusive;
  const Conflict before = conflict_of(machine, slot, mode);
  Attempt attempt(machine, &slot, event, Attempt::Kind::other);
  ++slot.pins_count;
  const Result<void> result = co_await ask_for_lock(*slot.file, mode, event);
  --slot.pins_count;
  const Conflict after = conflict_of(machine, slot, mode);
  const bool is_refused = !result.has_value() && result.error().number == EWOULDBLOCK;
  attempt.end(is_refused ? Result<void>() : result);
  FUZZ_CHECK(!result.has_value() || before != Conflict::certain || after != Conflict::certain,
             "a lock was given that somebody else has");
  FUZZ_CHECK(!is_refused || before != Conflict::none || after != Conflict::none, "a free lock was refused");
  if (is_refused) machine.mark(FileMark::lock_refused);
  node.is_lock_busy = false;
  slot.is_lock_unknown = !result.has_value();
  if (result.has_value()) slot.lock = mode;
  co_return Result<void>();
}

Task<Result<void>> release_lock(FileMachine& machine, Slot& slot, FileEvent event) {
  Node& node = *slot.node;
  Attempt attempt(machine, &slot, event, Attempt::Kind::other);
  ++slot.pins_count;
  const Result<void> result = co_await slot.file->unlock();
  --slot.pins_count;
  attempt.end(result);
  node.is_lock_busy = false;
  slot.is_lock_unknown = !result.has_value();
  if (result.has_value()) slot.lock.reset();
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> do_change(FileMachine& machine, FileEvent event) {
  const bool is_sync = event.action == FileAction::sync || event.action == FileAction::sync_data;
  auto change = is_sync ? sync_file(machine, event) : change_file(machine, event);
  const Result<void> result = co_await std::move(change);
  co_return result;
}

Task<Result<void>> do_lock(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr || slot->node->is_lock_busy) co_return Result<void>();
  slot->node->is_lock_busy = true;
  auto locking =
      event.action == FileAction::unlock ? release_lock(machine, *slot, event) : take_lock(machine, *slot, event);
  const Result<void> result = co_await std::move(locking);
  co_return result;
}

Task<Result<void>> close_file(FileMachine& machine, Slot& slot) {
  Node& node = *slot.node;
  if (slot.operations_count > 0) machine.mark(FileMark::closed_with_operations);
  const uint32_t leaving_count = slot.lock.has_value() || slot.is_lock_unknown ? 1 : 0;
  node.lock_leaving_count += leaving_count;
  File file = machine.take_file(slot);
  const Result<void> closed = co_await file.close();
  machine.check_alive();
  FUZZ_CHECK(closed.has_value(), "a file could not be closed");
  FUZZ_CHECK(!file.is_open(), "a closed file is open");
  node.lock_leaving_count -= leaving_count;
  co_return Result<void>();
}

void drop_file(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr || slot->pins_count > 0) return;
  if (slot->operations_count > 0) machine.mark(FileMark::dropped_with_operations);
  if (slot->lock.has_value() || slot->is_lock_unknown) ++slot->node->lock_leaving_count;
  const File dropped = machine.take_file(*slot);
}

}  // namespace spindle::fuzz
