// The machine that the fuzzer `storage` executes: one Storage after another over one file or device, calls in batches,
// and the model beside them. It lives as long as the run, through all deaths of the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/sim/world.h"
#include "io/storage.h"
#include "runtime/scope.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/storage_model.h"

namespace spindle::fuzz {

enum class StorageAction : uint8_t {
  read,
  write,
  write_cached,
  sync,
  allocate,
  write_through,
  watch,
  // The calls above wait for one of these, and are made side by side:
  join,
  cancel,
  close,
  drop,
  move,
  open_wrong,
  open_locked,
  create_refused,
  create_side,
  recreate,
  kill,
  lose_power,
};
inline constexpr size_t storage_action_count = static_cast<size_t>(StorageAction::lose_power) + 1;
constexpr bool is_call(StorageAction action) noexcept { return action <= StorageAction::watch; }

const char* name_of(StorageAction action) noexcept;

struct StorageEvent {
  uint32_t number;
  StorageAction action;
  uint32_t a;
  uint32_t b;
  uint32_t c;
};
std::string to_string(const StorageEvent& event);

enum class StorageMark : uint8_t {
  read_lost,
  read_lost_untold,
  read_lost_by_chance,
  read_past_end,
  read_beside_write,
  read_while_stopped,
  stopped_by_write,
  stopped_by_sync,
  stopped_by_allocate,
  stopped_by_write_through,
  stopped_by_no_space,
  failed_after_stop,
  refused_while_stopped,
  success_made_poisoned,
  watch_told,
  watch_closed,
  allocate_refused,
  allocate_grew,
  written_through,
  promised_written,
  promised_after_power_loss,
  call_cancelled,
  call_cancelled_by_drop,
  call_closed,
  write_cancelled_in_part,
  moved_under_way,
  zone_added,
  zone_refused,
  open_refused_locked,
  create_failed,
  killed_in_flight,
  killed_in_create,
  power_lost_in_flight,
  power_lost_with_loose_sectors,
  device,
  storm,
  marks_end,
};

/// What a run is about; the same for all its lives.
struct StorageSetup {
  std::string path;
  uint32_t sector_size = 4096;
  std::vector<ZoneOptions> zones;
  std::vector<uint64_t> begins;  ///< of the zones, by a count of our own
  uint64_t size_present_min = 0;
  uint64_t device_size = 0;  ///< 0: a file
  bool is_storm = false;     ///< EINTR and the like so often that calls give up
  bool has_capacity = false;
  bool has_medium_errors = false;
  SimBackendOptions backend;

  bool is_device() const noexcept { return device_size > 0; }
  uint32_t grains_per_sector() const noexcept { return sector_size / grain_size; }
};

class StorageMachine {
 public:
  StorageMachine(World& world, Host& host, const StorageSetup& setup, Coverage& coverage);

  void mark(StorageMark reached) { coverage_.mark(static_cast<size_t>(reached)); }
  const StorageEvent* next_event() noexcept { return event_next < events.size() ? &events[event_next++] : nullptr; }
  SimFile* file() noexcept { return host.files().find(setup.path); }
  std::vector<std::byte> content();
  uint64_t fault_count(Fault fault) noexcept { return host.files().record().count(fault); }
  /// Something of it is a sector that the disk can't read.
  bool is_unreadable(GrainRange range);
  bool has_storage() const noexcept { return storage != nullptr && storage->has_value(); }
  /// A failed sync that nobody was told of counts too.
  void note_faults();
  /// An errno that the disk or its faults can explain, apart from failed transfers and full disks.
  bool is_passing(const Error& error) const noexcept;
  /// A call ended so: was it asked for?
  void check_cancelled();
  void check_closed();
  /// A Storage has been opened: nothing is known to be wrong.
  void note_opened();
  /// No call is under way.
  void check_quiet(bool looks_at_file);
  void die(bool loses_power);

  World& world;
  Host& host;
  const StorageSetup& setup;
  DiskModel disk;
  EventHash hash;
  std::span<const StorageEvent> events;
  size_t event_next = 0;
  std::vector<StorageEvent> pending;  ///< calls of the next batch
  // Of the host's life:
  std::optional<Storage>* storage = nullptr;  ///< in the frame of the root
  bool is_made = false;       ///< the file has a size that its zones need
  bool is_making = false;     ///< create() is under way: anything may be there
  bool is_stopped = false;
  std::string stop_reason;    ///< as it was when the storage stopped
  bool is_cancelled = false;  ///< the batch was
  bool is_closing = false;    ///< the Storage goes, or is gone, while calls are under way
  uint32_t calls_live_count = 0;
  std::optional<uint64_t> death_in_steps;
  uint32_t death_number = 0;  ///< of its event
  bool death_loses_power = false;
  bool death_removes_file = false;  ///< somebody else does, before the restart

 private:
  Coverage& coverage_;
  uint64_t failed_syncs_seen_ = 0;
};

/// One call of a batch, from begin to end. Part of storage_calls.cpp.
Task<Result<void>> make_call(StorageMachine* machine, Scope* scope, StorageEvent event);
/// The root task.
Task<Result<void>> serve_storage(StorageMachine* machine);

}  // namespace spindle::fuzz
