// The calls of the fuzzer `storage`: each is made, and its answer compared with what the contract allows.
#include <cerrno>
#include <initializer_list>
#include <string>

#include "runtime/sleep.h"
#include "runtime/trace.h"
#include "tests/fuzz/storage_transfer.h"

namespace spindle::fuzz {

namespace {

/// What is compared between the begin of a change and its end.
class Change {
 public:
  explicit Change(StorageMachine& machine, StorageMark stops) noexcept
      : machine_(machine),
        stops_(stops),
        was_stopped_(machine.is_stopped),
        steps_count_(machine.world.steps_count()),
        errors_count_(machine.fault_count(Fault::write_error) + machine.fault_count(Fault::failed_sync)),
        no_space_count_(machine.fault_count(Fault::no_space)) {}

  /// `has_room`: the disk can't be full there. `parts`: what the stop reason names.
  void end(const Result<void>& result, bool has_room, std::initializer_list<std::string> parts) {
    machine_.note_faults();
    machine_.hash.mix(result.has_value() ? 100 : static_cast<uint64_t>(result.error().code));
    const bool is_stopped = machine_.has_storage() && (*machine_.storage)->is_stopped();
    if (result.has_value()) {
      FUZZ_CHECK(!was_stopped_ && !is_stopped, "a change succeeds though the storage has stopped");
      return;
    }
    const Error& error = result.error();
    machine_.hash.mix(static_cast<uint64_t>(error.number));
    switch (error.code) {
      case ErrorCode::cancelled: return machine_.check_cancelled();
      case ErrorCode::closed: return machine_.check_closed();
      case ErrorCode::poisoned: return check_poisoned(is_stopped);
      case ErrorCode::system:
      case ErrorCode::short_transfer: return check_failed(error, has_room, parts);
      default: FUZZ_CHECK(false, "a change fails with an error that the contract does not name");
    }
  }

 private:
  void check_poisoned(bool is_stopped) {
    FUZZ_CHECK(is_stopped || machine_.is_closing, "a change is poisoned though the storage goes on");
    if (!was_stopped_) return machine_.mark(StorageMark::success_made_poisoned);
    FUZZ_CHECK(steps_count_ == machine_.world.steps_count(), "a change of a stopped storage is not refused at once");
    machine_.mark(StorageMark::refused_while_stopped);
  }
  void check_failed(const Error& error, bool has_room, std::initializer_list<std::string> parts) {
    FUZZ_CHECK(!was_stopped_, "a change of a stopped storage goes to the disk");
    const uint64_t errors_count = machine_.fault_count(Fault::write_error) + machine_.fault_count(Fault::failed_sync);
    if (error.number == EIO) FUZZ_CHECK(errors_count > errors_count_, "an EIO that the disk never gave");
    if (error.number == ENOSPC) {
      const bool was_fault = machine_.fault_count(Fault::no_space) > no_space_count_;
      FUZZ_CHECK(was_fault || !has_room, "ENOSPC where the space was promised");
      machine_.mark(StorageMark::stopped_by_no_space);
    }
    const bool is_known = error.number == EIO || error.number == ENOSPC || machine_.is_passing(error);
    FUZZ_CHECK(is_known, "a change fails with an errno that the disk never gave");
    if (!machine_.has_storage()) return;
    const Storage& storage = **machine_.storage;
    FUZZ_CHECK(storage.is_stopped(), "a failed change does not stop the storage");
    if (machine_.is_stopped) return machine_.mark(StorageMark::failed_after_stop);
    machine_.is_stopped = true;
    machine_.stop_reason = storage.stop_reason();
    machine_.mark(stops_);
    const std::string& reason = storage.stop_reason();
    for (const std::string& part : parts) {
      FUZZ_CHECK(reason.find(part) != std::string::npos, "the stop reason does not name what failed");
    }
    const std::string number = "errno " + std::to_string(error.number);
    FUZZ_CHECK(reason.find(machine_.setup.path) == 0, "the stop reason does not name the file");
    FUZZ_CHECK(error.code != ErrorCode::system || reason.find(number) != std::string::npos,
               "the stop reason does not name the errno");
  }

  StorageMachine& machine_;
  StorageMark stops_;
  bool was_stopped_;
  uint64_t steps_count_;
  uint64_t errors_count_;
  uint64_t no_space_count_;
};

std::string zone_part(const StorageMachine& machine, ZoneIndex zone) {
  return std::string("zone ") + machine.setup.zones[static_cast<size_t>(zone)].name;
}

DiskModel::End end_of(const Result<void>& result, bool is_durable) noexcept {
  if (!result.has_value()) return DiskModel::End::unknown;
  return is_durable ? DiskModel::End::done_durably : DiskModel::End::done;
}

/// Of a stopped storage: nothing of it may get to the disk, so the model is told nothing.
Task<Result<void>> do_refused_write(StorageMachine* machine, StorageEvent event) {
  const Place place(machine->setup, event, transfer_sectors_max);
  const Buffer buffer(place.size);
  Change change(*machine, StorageMark::stopped_by_write);
  const std::span<const std::byte> memory = buffer.all();
  Result<void> result;
  if (event.action == StorageAction::write_through) {
    result = co_await (*machine->storage)->write_through(place.zone);
  } else {
    result = co_await (*machine->storage)->write(place.zone, place.offset, memory);
  }
  change.end(result, true, {});
  co_return Result<void>();
}

Task<Result<void>> do_write(StorageMachine* machine, StorageEvent event) {
  const Place place(machine->setup, event, transfer_sectors_max);
  if (machine->disk.is_being_written(place.grains)) co_return Result<void>();
  const Buffer buffer(place.size);
  StorageWriteOptions options;
  options.durable = event.action == StorageAction::write;
  Change change(*machine, StorageMark::stopped_by_write);
  const bool is_promised = machine->disk.is_promised(place.grains);
  const bool is_there = !machine->setup.has_capacity && place.end() <= machine->disk.size_min();
  const DiskModel::Write write = machine->disk.begin_write(place.grains, false);
  for (size_t index = 0; index < place.grains.count; ++index) {
    fill_grain(buffer.grain(index), DiskModel::identity_in(write, place.grains.first + index));
  }
  const std::span<const std::byte> memory = buffer.all();
  const Result<void> result = co_await (*machine->storage)->write(place.zone, place.offset, memory, options);
  const std::string what = std::string(options.durable ? "durable write" : "write") + " of " +
                           std::to_string(place.size) + " bytes at " + std::to_string(place.offset) + " of " +
                           zone_part(*machine, place.zone);
  change.end(result, is_promised || is_there, {what});
  machine->disk.end_write(write, end_of(result, options.durable));
  if (result.has_value() && is_promised) machine->mark(StorageMark::promised_written);
  const bool is_cancelled = !result.has_value() && result.error().code == ErrorCode::cancelled;
  if (is_cancelled && result.error().transferred > 0) machine->mark(StorageMark::write_cancelled_in_part);
  co_return Result<void>();
}

Task<Result<void>> do_sync(StorageMachine* machine) {
  Change change(*machine, StorageMark::stopped_by_sync);
  const uint64_t begun_at = machine->disk.begin_sync();
  const Result<void> result = co_await (*machine->storage)->sync();
  change.end(result, true, {"sync"});
  if (result.has_value()) machine->disk.end_sync(begun_at);
  co_return Result<void>();
}

/// The errors of the allocation itself, which stop nothing.
bool is_refused_allocation(StorageMachine& machine, const Result<void>& result, bool has_room, bool writes) {
  if (result.has_value() || result.error().code != ErrorCode::system) return false;
  const Error& error = result.error();
  const bool is_stopped = machine.has_storage() ? (*machine.storage)->is_stopped() : machine.is_stopped;
  const bool is_full = error.number == ENOSPC;
  if (!is_full && !machine.is_passing(error)) return false;
  FUZZ_CHECK(writes || is_stopped == machine.is_stopped || !is_full, "a full disk stops an allocation for good");
  // Of a write it may be that came after another call's failure.
  if (is_stopped != machine.is_stopped || (writes && is_stopped)) return false;
  const bool may_be_write = writes && !machine.has_storage();
  FUZZ_CHECK(!is_full || !has_room || may_be_write, "no space for what has its space already");
  machine.mark(StorageMark::allocate_refused);
  return true;
}

Task<Result<void>> do_allocate(StorageMachine* machine, StorageEvent event) {
  const Place place(machine->setup, event, UINT64_MAX);
  Change change(*machine, StorageMark::stopped_by_allocate);
  const StorageSetup& setup = machine->setup;
  const bool fits_device = place.end() <= setup.device_size;
  const bool has_room =
      setup.is_device() ? fits_device : !setup.has_capacity || machine->disk.is_promised(place.grains);
  if (!setup.is_device()) machine->disk.note_size(place.end());
  const Result<void> result = co_await (*machine->storage)->allocate(place.zone, place.offset, place.size);
  machine->note_faults();
  if (is_refused_allocation(*machine, result, has_room, false)) co_return Result<void>();
  const std::string what = "of " + std::to_string(place.size) + " bytes at " + std::to_string(place.offset) + " of " +
                           zone_part(*machine, place.zone);
  change.end(result, true, {what});
  if (!result.has_value()) co_return Result<void>();
  FUZZ_CHECK(!setup.is_device() || fits_device, "an allocation beyond the end of a device succeeds");
  if (place.end() > machine->disk.size_min()) machine->mark(StorageMark::allocate_grew);
  machine->disk.grow(place.end(), true);
  machine->disk.promise(place.grains);
  co_return Result<void>();
}

Task<Result<void>> do_write_through(StorageMachine* machine, StorageEvent event) {
  const StorageSetup& setup = machine->setup;
  const size_t index = event.a % setup.zones.size();
  const GrainRange range{static_cast<size_t>(setup.begins[index] / grain_size),
                         static_cast<size_t>(setup.zones[index].size / grain_size)};
  if (machine->disk.is_being_written(range)) co_return Result<void>();
  Change change(*machine, StorageMark::stopped_by_write_through);
  const bool fits_device = range.end() * grain_size <= setup.device_size;
  const bool has_room = setup.is_device() ? fits_device : !setup.has_capacity || machine->disk.is_promised(range);
  const DiskModel::Write write = machine->disk.begin_write(range, true);
  const ZoneIndex zone = static_cast<ZoneIndex>(index);
  const Result<void> result = co_await (*machine->storage)->write_through(zone);
  machine->note_faults();
  if (is_refused_allocation(*machine, result, has_room, true)) {
    machine->disk.end_write(write, DiskModel::End::unknown);
    co_return Result<void>();
  }
  const bool was_allocated = has_room || !machine->is_stopped;
  change.end(result, was_allocated, {zone_part(*machine, zone)});
  machine->disk.end_write(write, end_of(result, true));
  if (!result.has_value()) co_return Result<void>();
  machine->disk.promise(range);
  machine->mark(StorageMark::written_through);
  co_return Result<void>();
}

Task<Result<void>> do_watch(StorageMachine* machine) {
  const bool was_late = machine->calls_live_count == 0;
  const Result<void> result = co_await (*machine->storage)->wait_until_stopped();
  machine->hash.mix(result.has_value() ? 300 : static_cast<uint64_t>(result.error().code));
  if (result.has_value()) {
    const bool is_stopped = !machine->has_storage() || (*machine->storage)->is_stopped();
    FUZZ_CHECK(is_stopped, "a wait for the stop ends, and the storage goes on");
    machine->mark(StorageMark::watch_told);
  } else if (result.error().code == ErrorCode::closed) {
    FUZZ_CHECK(machine->is_closing, "a wait for the stop finds the storage closed, which it is not");
    machine->mark(StorageMark::watch_closed);
  } else {
    FUZZ_CHECK(result.error().code == ErrorCode::cancelled, "a wait for the stop fails");
    const bool is_asked = machine->is_cancelled || machine->is_closing;
    FUZZ_CHECK(is_asked || machine->calls_live_count == 0, "a wait for the stop is cancelled though nobody asked");
    FUZZ_CHECK(is_asked || was_late || !machine->is_stopped, "a wait for the stop does not end with the stop");
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> make_call(StorageMachine* machine, Scope* scope, StorageEvent event) {
  co_await set_trace_id(event.number);
  const bool is_watch = event.action == StorageAction::watch;
  const Duration delay(event.b % 3 == 0 ? 0 : event.c % 200'000);
  const Result<void> slept = co_await sleep_for(delay);
  Result<void> done;
  const bool writes = event.action == StorageAction::write || event.action == StorageAction::write_cached ||
                      event.action == StorageAction::write_through;
  if (machine->has_storage() && writes && machine->is_stopped) {
    done = co_await do_refused_write(machine, event);
  } else if (machine->has_storage() && (slept.has_value() || event.c % 2 == 0)) {
    if (event.action == StorageAction::read) done = co_await make_read(machine, event);
    if (event.action == StorageAction::write) done = co_await do_write(machine, event);
    if (event.action == StorageAction::write_cached) done = co_await do_write(machine, event);
    if (event.action == StorageAction::sync) done = co_await do_sync(machine);
    if (event.action == StorageAction::allocate) done = co_await do_allocate(machine, event);
    if (event.action == StorageAction::write_through) done = co_await do_write_through(machine, event);
    if (is_watch) done = co_await do_watch(machine);
  }
  if (!is_watch && --machine->calls_live_count == 0) scope->cancel();
  co_return done;
}

}  // namespace spindle::fuzz
