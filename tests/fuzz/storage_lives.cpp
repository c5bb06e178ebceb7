// The life of a Storage in the fuzzer `storage`: made, opened, given its zones, used in batches of calls, moved,
// closed, dropped.
#include "tests/fuzz/storage_machine.h"

#include <cerrno>

#include "runtime/sleep.h"
#include "runtime/trace.h"

namespace spindle::fuzz {

namespace {

constexpr size_t batch_calls_max = 12;
constexpr StorageAction batch_join = StorageAction::join;

StorageOptions options_of(const StorageSetup& setup) noexcept {
  StorageOptions options;
  options.sector_size = setup.sector_size;
  return options;
}

bool is_code(const Error& error, ErrorCode code, int32_t number) noexcept {
  return error.code == code && error.number == number;
}

bool is_locked(StorageMachine& machine, const Error& error) noexcept {
  return machine.has_storage() && is_code(error, ErrorCode::system, EWOULDBLOCK);
}

/// What create() and open() may say of a disk that has its faults.
bool is_faulty(StorageMachine& machine, const Error& error, uint64_t failed_count) {
  const bool was_sync = machine.fault_count(Fault::failed_sync) > failed_count;
  return machine.is_passing(error) || (error.number == EIO && was_sync);
}

void check_zones(StorageMachine& machine, const Storage& storage, size_t count) {
  for (size_t index = 0; index < count; ++index) {
    const ZoneIndex zone = static_cast<ZoneIndex>(index);
    FUZZ_CHECK(storage.zone_begin(zone) == machine.setup.begins[index], "a zone begins at a wrong place");
    FUZZ_CHECK(storage.zone_size(zone) == machine.setup.zones[index].size, "a zone has a wrong size");
  }
  FUZZ_CHECK(!storage.is_stopped() && storage.stop_reason().empty(), "a storage begins stopped");
  FUZZ_CHECK(storage.path() == machine.setup.path, "a storage has a wrong name");
}

Task<Result<void>> create_main(StorageMachine* machine) {
  const StorageSetup& setup = machine->setup;
  const bool was_there = machine->file() != nullptr;
  const uint64_t failed_count = machine->fault_count(Fault::failed_sync);
  StorageOptions options = options_of(setup);
  options.overwrite = was_there;
  machine->is_made = setup.is_device();
  machine->is_making = true;
  if (!setup.is_device()) machine->disk.begin_emptying();
  Result<Storage> made = co_await Storage::create(setup.path, setup.zones, options);
  machine->is_making = false;
  machine->note_faults();
  machine->hash.mix(400, made.has_value());
  if (!made.has_value()) {
    FUZZ_CHECK(is_faulty(*machine, made.error(), failed_count), "a storage can't be made, and no fault says why");
    FUZZ_CHECK(was_there || machine->setup.is_storm || machine->file() == nullptr,
               "a create that failed leaves its file");
    machine->mark(StorageMark::create_failed);
    co_return Result<void>();
  }
  machine->is_made = true;
  machine->note_opened();
  if (!setup.is_device()) machine->disk.set_empty(setup.size_present_min);
  check_zones(*machine, *made, setup.zones.size());
  machine->storage->emplace(std::move(*made));
  co_return Result<void>();
}

Task<Result<void>> open_main(StorageMachine* machine, StorageEvent event) {
  const StorageSetup& setup = machine->setup;
  const size_t zones_count = setup.zones.size();
  const size_t first_count = event.c % 2 == 0 ? zones_count : 1 + event.c / 2 % zones_count;
  const std::span<const ZoneOptions> first(setup.zones.data(), first_count);
  const StorageOptions options = options_of(setup);
  Result<Storage> opened = co_await Storage::open(setup.path, first, options);
  machine->hash.mix(401, opened.has_value());
  if (!opened.has_value()) {
    FUZZ_CHECK(machine->is_passing(opened.error()), "a storage can't be opened, and no fault says why");
    co_return Result<void>();
  }
  machine->note_opened();
  check_zones(*machine, *opened, first_count);
  for (size_t index = first_count; index < zones_count; ++index) {
    const Result<ZoneIndex> added = opened->add_zone(setup.zones[index]);
    FUZZ_CHECK(added.has_value() && static_cast<size_t>(*added) == index, "a zone of the file can't be added");
    machine->mark(StorageMark::zone_added);
  }
  check_zones(*machine, *opened, zones_count);
  const uint64_t beyond = machine->disk.size_max() + setup.sector_size;
  const ZoneOptions larger{.name = "larger", .size = (beyond / setup.sector_size + 1) * setup.sector_size};
  const Result<ZoneIndex> refused = opened->add_zone(larger);
  FUZZ_CHECK(!refused.has_value(), "a zone beyond the end of the file is added");
  const ErrorCode expected = zones_count == zones_count_max ? ErrorCode::exhausted : ErrorCode::end_of_file;
  FUZZ_CHECK(refused.error().code == expected, "a zone beyond the end of the file is refused with a wrong error");
  machine->mark(StorageMark::zone_refused);
  machine->storage->emplace(std::move(*opened));
  co_return Result<void>();
}

/// An open that must fail, and change nothing.
Task<Result<void>> open_wrong(StorageMachine* machine, StorageEvent event) {
  std::vector<ZoneOptions> zones = machine->setup.zones;
  StorageOptions options = options_of(machine->setup);
  ErrorCode expected = ErrorCode::invalid_argument;
  switch (event.a % 7) {
    case 0: options.sector_size += 512; break;
    case 1: zones[event.b % zones.size()].size += 256; break;
    case 2: zones[event.b % zones.size()].size = 0; break;
    case 3: zones[event.b % zones.size()].alignment = machine->setup.sector_size + 256; break;
    case 4: zones.back().size = UINT64_MAX / machine->setup.sector_size * machine->setup.sector_size; break;
    case 5:
      if (machine->setup.backend.offset_alignment == grain_size) co_return Result<void>();
      options.sector_size = grain_size;
      expected = ErrorCode::misaligned;
      break;
    default:
      zones.back().size = (machine->disk.size_max() / machine->setup.sector_size + 1) * machine->setup.sector_size;
      zones.back().size_present_min = zone_whole;
      expected = ErrorCode::end_of_file;
  }
  if (options.sector_size == 1024) options.sector_size = 513;
  const std::span<const ZoneOptions> wrong(zones);
  const Result<Storage> opened = co_await Storage::open(machine->setup.path, wrong, options);
  FUZZ_CHECK(!opened.has_value(), "a storage opens with zones that it can't have");
  const bool is_right =
      opened.error().code == expected || is_locked(*machine, opened.error()) || machine->is_passing(opened.error());
  FUZZ_CHECK(is_right, "zones that can't be are refused with a wrong error");
  co_return Result<void>();
}

/// While the storage is open.
Task<Result<void>> open_locked(StorageMachine* machine, StorageEvent event) {
  const StorageSetup& setup = machine->setup;
  StorageOptions options = options_of(setup);
  options.lock.wait_max = Duration(event.a % 2 == 0 ? 0 : event.b % 10'000'000);
  options.overwrite = true;
  const std::span<const ZoneOptions> zones(setup.zones);
  bool is_refused = false;
  bool is_passing = false;
  if (event.a / 2 % 2 == 0) {
    const Result<Storage> opened = co_await Storage::open(setup.path, zones, options);
    is_refused = !opened.has_value() && is_code(opened.error(), ErrorCode::system, EWOULDBLOCK);
    is_passing = !opened.has_value() && machine->is_passing(opened.error());
  } else {
    const Result<Storage> made = co_await Storage::create(setup.path, zones, options);
    is_refused = !made.has_value() && is_code(made.error(), ErrorCode::system, EWOULDBLOCK);
    is_passing = !made.has_value() && machine->is_passing(made.error());
  }
  FUZZ_CHECK(is_refused || is_passing, "a storage that is open is not locked");
  machine->mark(StorageMark::open_refused_locked);
  co_return Result<void>();
}

/// Without the leave to overwrite.
Task<Result<void>> create_refused(StorageMachine* machine) {
  if (machine->disk.size_min() == 0) co_return Result<void>();
  const StorageOptions options = options_of(machine->setup);
  const std::span<const ZoneOptions> zones(machine->setup.zones);
  const Result<Storage> made = co_await Storage::create(machine->setup.path, zones, options);
  FUZZ_CHECK(!made.has_value(), "a create takes a file that holds something");
  const bool is_right = is_code(made.error(), ErrorCode::system, EEXIST) || is_locked(*machine, made.error()) ||
                        machine->is_passing(made.error());
  FUZZ_CHECK(is_right, "a create of a file that holds something fails with a wrong error");
  co_return Result<void>();
}

Task<Result<void>> create_and_close(Scope& scope, StorageMachine* machine, bool* is_there) {
  const StorageOptions options = options_of(machine->setup);
  const std::span<const ZoneOptions> zones(machine->setup.zones);
  Storage made = co_await ok(Storage::create("side", zones, options));
  *is_there = true;
  scope.cancel();
  co_return co_await made.close();
}

Task<Result<void>> cancel_after(Scope* scope, Duration delay) {
  const Result<void> slept = co_await sleep_for(delay);
  if (slept.has_value()) scope->cancel();
  co_return Result<void>();
}

Task<Result<void>> create_for_a_while(Scope& scope, StorageMachine* machine, Duration delay, bool* is_there) {
  Scope* const address = &scope;
  co_await ok(scope.spawn(cancel_after, address, delay));
  co_return co_await create_and_close(scope, machine, is_there);
}

/// A file that was not there is not there after a create that failed or was cancelled.
Task<Result<void>> create_side(StorageMachine* machine, StorageEvent event) {
  if (machine->host.files().find("side") != nullptr) co_return Result<void>();
  const Duration delay(event.a % 4'000'000);
  bool is_there = false;
  bool* const address = &is_there;
  auto creating = with_scope(ScopeOptions{}, create_for_a_while, machine, delay, address);
  const Result<void> created = co_await std::move(creating);
  machine->note_faults();
  machine->hash.mix(403, created.has_value());
  const bool is_file = machine->host.files().find("side") != nullptr;
  if (!machine->setup.is_storm) FUZZ_CHECK(is_file == is_there, "a create that did not succeed leaves its file");
  co_return Result<void>();
}

/// Closes or drops the storage.
Task<Result<void>> end_storage(StorageMachine* machine, bool drops) {
  machine->is_closing = true;
  if (!machine->has_storage()) co_return Result<void>();
  Result<void> closed;
  if (!drops) closed = co_await (*machine->storage)->close();
  machine->storage->reset();
  machine->hash.mix(402, closed.has_value());
  co_return Result<void>();
}

struct Batch {
  const std::vector<StorageEvent>* calls;
  StorageEvent last;
};

Task<Result<void>> batch_body(Scope& scope, StorageMachine* machine, const Batch* batch) {
  Scope* const address = &scope;
  for (const StorageEvent& call : *batch->calls) {
    const StorageEvent event = call;
    co_await ok(scope.spawn(make_call, machine, address, event));
  }
  if (machine->calls_live_count == 0) scope.cancel();
  const StorageAction action = batch->last.action;
  if (action == StorageAction::join) co_return Result<void>();
  const Duration delay(batch->last.a % 1'500'000);
  co_await ok(sleep_for(delay));
  if (action == StorageAction::cancel) {
    machine->is_cancelled = true;
    scope.cancel();
  } else if (action == StorageAction::move && machine->has_storage()) {
    Storage moved = std::move(**machine->storage);
    machine->storage->reset();
    machine->storage->emplace(std::move(moved));
    machine->mark(StorageMark::moved_under_way);
  } else if (action == StorageAction::close || action == StorageAction::drop) {
    co_return co_await end_storage(machine, action == StorageAction::drop);
  }
  co_return Result<void>();
}

Task<Result<void>> run_batch(StorageMachine* machine, StorageEvent last) {
  const std::vector<StorageEvent> calls = std::move(machine->pending);
  machine->pending.clear();
  machine->is_cancelled = machine->is_closing = false;
  machine->calls_live_count = 0;
  for (const StorageEvent& call : calls) machine->calls_live_count += call.action == StorageAction::watch ? 0 : 1;
  const Batch batch{&calls, last};
  const Batch* const address = &batch;
  auto running = with_scope(ScopeOptions{}, batch_body, machine, address);
  const Result<void> result = co_await std::move(running);
  machine->hash.mix(result.has_value());
  machine->is_cancelled = false;
  const bool ends = last.action == StorageAction::close || last.action == StorageAction::drop;
  if (ends) co_await ok(end_storage(machine, last.action == StorageAction::drop));
  machine->check_quiet(last.b % 4 == 0);
  co_return Result<void>();
}

Task<Result<void>> do_control(StorageMachine* machine, StorageEvent event) {
  switch (event.action) {
    case StorageAction::open_wrong:
      if (event.b % 2 == 0) co_await ok(end_storage(machine, event.b % 4 == 0));
      co_return co_await open_wrong(machine, event);
    case StorageAction::open_locked: co_return co_await open_locked(machine, event);
    case StorageAction::create_refused:
      if (event.b % 2 == 0) co_await ok(end_storage(machine, event.b % 4 == 0));
      co_return co_await create_refused(machine);
    case StorageAction::create_side: co_return co_await create_side(machine, event);
    case StorageAction::recreate:
      co_await ok(end_storage(machine, event.a % 2 == 0));
      co_return co_await create_main(machine);
    case StorageAction::kill:
    case StorageAction::lose_power:
      machine->death_in_steps = event.a % 8 == 0 ? 0 : event.a / 8 % 300;
      machine->death_removes_file = event.b % 8 == 0 && !machine->setup.is_device();
      machine->death_number = event.number;
      machine->death_loses_power = event.action == StorageAction::lose_power;
      break;
    default: break;
  }
  co_return Result<void>();
}

/// After that there is a storage, unless the disk's faults forbid.
Task<Result<void>> ensure_open(StorageMachine* machine, StorageEvent event) {
  if (machine->has_storage()) co_return Result<void>();
  if (machine->is_made) co_return co_await open_main(machine, event);
  co_return co_await create_main(machine);
}

}  // namespace

Task<Result<void>> serve_storage(StorageMachine* machine) {
  std::optional<Storage> storage;
  machine->storage = &storage;
  for (const StorageEvent* next = machine->next_event(); next != nullptr; next = machine->next_event()) {
    StorageEvent event = *next;
    co_await set_trace_id(event.number);
    if (is_call(event.action)) machine->pending.push_back(event);
    if (is_call(event.action) && machine->pending.size() < batch_calls_max) continue;
    co_await ok(ensure_open(machine, event));
    if (!storage.has_value()) continue;
    // A death comes while the calls are under way.
    const bool is_batch_end = event.action >= batch_join && event.action <= StorageAction::move;
    const bool is_death = event.action == StorageAction::kill || event.action == StorageAction::lose_power;
    if (is_death) co_await ok(do_control(machine, event));
    const StorageEvent last{event.number, is_batch_end ? event.action : batch_join, event.a, event.b, event.c};
    co_await ok(run_batch(machine, last));
    if (storage.has_value() && !is_batch_end && !is_death && !is_call(event.action)) {
      co_await ok(do_control(machine, event));
    }
    // One that has stopped is of use for a while only.
    if (machine->is_stopped && storage.has_value() && event.c % 4 == 0) {
      co_await ok(end_storage(machine, event.a % 2 == 0));
    }
  }
  co_await ok(end_storage(machine, false));
  machine->storage = nullptr;
  co_return Result<void>();
}

}  // namespace spindle::fuzz
