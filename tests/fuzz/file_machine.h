// The machine that the fuzzer `file` executes: tasks that take their next event from one list, open files, and beside
// them what the disk may hold. The same on a simulated host and on the kernel's ring, where nothing fails and nobody
// dies: there `disk` is null.
//
// The model knows an operation from the moment before it is begun to the moment after its result is seen; what
// happens in between may be seen by others or not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/directory.h"
#include "io/file.h"
#include "io/sim/world.h"
#include "tests/fuzz/file_events.h"
#include "tests/fuzz/file_marks.h"
#include "tests/fuzz/file_names.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

/// An open file, or a place for one.
struct Slot {
  std::optional<File> file;
  Node* node = nullptr;
  uint32_t generation = 0;  ///< grows when the file is closed or dropped
  bool is_opening = false;
  bool is_writable = false;
  bool is_ragged = false;
  /// It was found by trying, and is coarser than the disk's: a short count may seem to be the end.
  bool is_alignment_coarse = false;
  bool is_poisoned = false;
  uint32_t operations_count = 0;  ///< in flight
  uint32_t syncs_count = 0;       ///< of those: syncs and durable writes
  uint32_t pins_count = 0;        ///< who holds a reference to `file`
  std::optional<LockMode> lock;
  bool is_lock_unknown = false;
};

/// Directories have places of their own: 0 holds the others, 1 is always there, 2 comes and goes.
inline constexpr uint32_t directory_count = 3;
inline constexpr uint32_t file_name_count = 4;
inline constexpr uint32_t name_count = file_name_count + directory_count;
/// A name in one of them. Those of directory d are file_name_count + d, in directory 0.
struct NamePlace {
  uint32_t directory = 0;
  uint32_t name = 0;
  friend bool operator==(const NamePlace&, const NamePlace&) = default;
};

/// Changes of names in flight.
struct PendingNames {
  std::vector<NameChange> pieces;
};

enum class CrashKind : uint8_t { kill, power };
struct CrashRequest {
  CrashKind kind = CrashKind::kill;
  uint32_t number = 0;  ///< of the event that asked for it
  uint32_t in_steps = 0;
  std::optional<uint32_t> again_in_steps;  ///< after the restart
};

class FileMachine {
 public:
  /// `disk` and `options` are null on the ring. The folder is there, with directory 1 in it, both durable.
  FileMachine(std::string folder, SimFiles* disk, const SimBackendOptions* options, std::span<const FileEvent> events,
              uint32_t workers_count, Coverage& coverage);

  const FileEvent* next_event() noexcept;
  void trace(const char* what, uint64_t first, uint64_t second = 0) const noexcept;
  bool has_events() const noexcept { return event_next_ < events_.size(); }
  size_t events_taken() const noexcept { return event_next_; }
  void mark(FileMark reached) { coverage_.mark(static_cast<size_t>(reached)); }
  void check_alive() const { FUZZ_CHECK(!is_dead, "a task of a killed host ran on"); }
  uint64_t next_sequence() noexcept { return ++sequence_; }
  uint64_t sequence() const noexcept { return sequence_; }

  std::string path_of(NamePlace place) const;
  std::string path_of_directory(uint32_t directory) const;
  /// Null: it is not there.
  Node* node_of(NamePlace place) const noexcept;
  NameKey key_of(NamePlace place) const noexcept;
  Node* directory_of(uint32_t directory) const noexcept;

  /// A slot with an open file, `from` or one after it; null: there is none.
  Slot* open_slot(uint32_t from) noexcept;
  Slot* free_slot(uint32_t from) noexcept;
  /// The file of a slot goes away, closed or dropped.
  File take_file(Slot& slot);

  bool is_damaged(const Node& node, uint64_t offset, uint64_t size) const;
  /// Former content that is to come back after some reads.
  bool has_remembered(const Node& node) const;
  /// Anything, at any time.
  bool may_be_damaged() const noexcept;
  bool is_unreadable(const Node& node, uint64_t offset, uint64_t size) const;
  uint64_t fault_count_of(Fault fault) const noexcept { return disk == nullptr ? 0 : disk->record().count(fault); }
  uint64_t file_size_max() const noexcept { return options == nullptr ? UINT64_MAX : options->file_size_max; }
  uint64_t pages_in_flight() const noexcept;
  uint32_t sector_size() const noexcept { return options == nullptr ? 4096 : options->sector_size; }
  void check_space() const;

  /// From outside, before the host dies.
  void note_crash(CrashKind kind);
  void note_restart() noexcept { is_dead = false; }

  const std::string folder;
  SimFiles* const disk;
  const SimBackendOptions* const options;
  const uint32_t workers_count;
  NameModel names;
  EventHash hash;
  bool is_verbose = false;
  bool is_dead = false;
  bool is_stopping = false;  ///< on the ring, in place of a crash: tasks end, files are closed
  bool is_finished = false;  ///< the last life came to its end
  std::optional<CrashRequest> crash;
  uint32_t life_number = 0;  ///< of the event that ended the life before; the trace of what no event does
  std::optional<uint32_t> crash_again_in_steps;

  Slot slots[4];
  bool is_name_busy[directory_count][name_count] = {};
  uint32_t directory_users[directory_count] = {};  ///< operations in it
  bool is_directory_busy[directory_count] = {};    ///< being made or removed
  uint64_t names_version = 0;                      ///< grows with every change of a name
  std::vector<PendingNames*> pending_names;
  Node* directories[directory_count] = {};
  uint32_t lives_count = 0;
  uint64_t write_next = 1;

 private:
  const std::span<const FileEvent> events_;
  size_t event_next_ = 0;
  uint64_t sequence_ = 0;
  Coverage& coverage_;
};

/// One operation, from before it begins to after it ended: what its result may be.
class Attempt {
 public:
  enum class Kind : uint8_t { read, write, durable_write, sync, other };

  /// `slot` is null for operations by name.
  Attempt(FileMachine& machine, Slot* slot, const FileEvent& event, Kind kind);
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;
  ~Attempt();

  bool has_coarse_alignment() const noexcept { return has_coarse_alignment_; }
  bool rose(Fault fault) const noexcept { return rise_of(fault) > 0; }
  uint64_t rise_of(Fault fault) const noexcept;
  /// Content that nobody wrote came, or what was there was repaired; or former content may have come back.
  bool damage_rose() const noexcept;
  /// The file is still the one that it was.
  bool is_same_file() const noexcept { return slot_ == nullptr || slot_->generation == generation_; }
  bool may_be_cut_short() const noexcept { return may_be_cut_short_ || !is_same_file(); }
  bool was_poisoned() const noexcept { return was_poisoned_; }
  /// What it may need of the disk, for ENOSPC and EFBIG.
  void set_range(uint64_t offset, uint64_t size);
  /// For an open, which may read.
  void note_damage(const Node& node) { was_damaged_ = machine_.is_damaged(node, 0, 8192); }
  void allow_reads() noexcept { reads_too_ = true; }  ///< it consists of several
  void allow_steps() noexcept { has_steps_ = true; }
  bool may_be_full() const noexcept;

  /// Its result, once it is there: every error must have a cause.
  void end(const Result<void>& result);

 private:
  void check_error(const Error& error) const;
  void check_errno(int32_t number) const;

  void check_poison(const Result<void>& result);

  FileMachine& machine_;
  Slot* slot_;
  Kind kind_;
  FileAction action_;
  bool may_be_cut_short_;
  bool is_deadline_;
  bool was_poisoned_ = false;
  bool has_coarse_alignment_ = false;
  bool reads_too_ = false;
  bool has_steps_ = false;
  bool had_remembered_ = false;
  bool was_damaged_ = false;
  uint32_t generation_ = 0;
  uint64_t range_offset_ = 0;
  uint64_t range_size_ = 0;
  uint64_t pages_before_ = 0;
  uint64_t pages_in_flight_before_ = 0;
  uint64_t counts_[fault_count];
};

/// Names that an operation has for itself, and the directories that hold them.
class NameLease {
 public:
  explicit NameLease(FileMachine& machine) noexcept : machine_(machine) {}
  NameLease(const NameLease&) = delete;
  NameLease& operator=(const NameLease&) = delete;
  ~NameLease();
  /// False: somebody else has it.
  bool take(NamePlace place);
  /// Uses a directory: it neither comes nor goes meanwhile.
  bool use(uint32_t directory);
  /// A directory that is to come or go: nobody uses it.
  bool take_directory(uint32_t directory);

 private:
  FileMachine& machine_;
  std::vector<NamePlace> places_;
  std::vector<uint32_t> used_;
  std::optional<uint32_t> directory_;
};

/// A change of a file in flight. Ends in the model when it is told how.
class ChangeInFlight {
 public:
  ChangeInFlight(FileMachine& machine, Node& node, Change change) : machine_(machine), node_(node), change(change) {
    node.file.begin(this->change);
  }
  ChangeInFlight(const ChangeInFlight&) = delete;
  ChangeInFlight& operator=(const ChangeInFlight&) = delete;
  ~ChangeInFlight() { FUZZ_CHECK(machine_.is_dead || is_ended_, "a change ended without a result"); }
  void end(const ChangeOutcome& outcome) {
    node_.file.end(change, outcome, machine_.next_sequence());
    is_ended_ = true;
  }
  /// It was refused.
  void end_undone();

 private:
  FileMachine& machine_;
  Node& node_;
  bool is_ended_ = false;

 public:
  Change change;
};

class WatchInFlight {
 public:
  WatchInFlight(FileMachine& machine, Node& node, uint64_t offset, uint64_t size);
  WatchInFlight(const WatchInFlight&) = delete;
  WatchInFlight& operator=(const WatchInFlight&) = delete;
  ~WatchInFlight();
  /// What was read, and how the read ended.
  void check(const Attempt& attempt, std::span<const std::byte> bytes, bool is_success);

  Watch watch;

 private:
  FileMachine& machine_;
  Node& node_;
  std::vector<bool> was_damaged_;
};

class PendingNamesInFlight {
 public:
  PendingNamesInFlight(FileMachine& machine, std::vector<NameChange> pieces);
  PendingNamesInFlight(const PendingNamesInFlight&) = delete;
  PendingNamesInFlight& operator=(const PendingNamesInFlight&) = delete;
  ~PendingNamesInFlight();
  /// They happened, or they did not.
  void end(bool happened) { end_with(happened ? std::move(pending_.pieces) : std::vector<NameChange>()); }
  /// Other ones happened.
  void end_with(std::vector<NameChange> pieces);

 private:
  FileMachine& machine_;
  PendingNames pending_;
  bool is_ended_ = false;
};

/// Memory for direct I/O, and a little more for what is to be misaligned.
class IoMemory {
 public:
  explicit IoMemory(uint64_t size);
  IoMemory(const IoMemory&) = delete;
  IoMemory& operator=(const IoMemory&) = delete;
  ~IoMemory();
  std::byte* data() const noexcept { return bytes_; }

 private:
  std::byte* bytes_;
};

/// Fills what is written, each word another one.
void fill_written(std::span<std::byte> memory, uint64_t write, uint64_t offset) noexcept;

// file_transfers.cpp
Task<Result<void>> do_transfer(FileMachine& machine, FileEvent event);
/// Asks for the size of a file when it is not known.
Task<void> learn_size(FileMachine& machine, Slot& slot);
Task<Result<void>> stat_file(FileMachine& machine, FileEvent event);
/// Reads a whole file, in pieces.
Task<void> check_content(FileMachine& machine, Slot& slot);
// file_changes.cpp
Task<Result<void>> do_change(FileMachine& machine, FileEvent event);
Task<Result<void>> do_lock(FileMachine& machine, FileEvent event);
Task<Result<void>> close_file(FileMachine& machine, Slot& slot);
void drop_file(FileMachine& machine, FileEvent event);
// file_opens.cpp
Task<Result<void>> open_file(FileMachine& machine, FileEvent event);
// file_name_changes.cpp
SPINDLE_TASK_WRAPPER Task<Result<void>> do_name(FileMachine& machine, FileEvent event);
/// The number of what has the name; 0: nothing.
Task<uint64_t> number_at(FileMachine& machine, NamePlace place);
/// Whether changes of names took place, by looking.
Task<bool> look_for(FileMachine& machine, std::vector<NameChange> pieces);
std::vector<NameChange> rename_pieces(const FileMachine& machine, NamePlace from, NamePlace to);
// file_lives.cpp
Task<Result<void>> run_life(FileMachine& machine);

}  // namespace spindle::fuzz
