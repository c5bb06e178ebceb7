// The machine that the fuzzer `superblock` executes: one SuperblockCopies after another over one file, and the model
// beside them. It lives as long as the run, through all deaths of the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/sim/world.h"
#include "lsm/superblock.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/superblock_model.h"

namespace spindle::fuzz {

enum class SuperblockAction : uint8_t {
  format,
  open,
  update,
  inspect,
  close,
  damage,
  erase,  ///< an empty file in place of the store
  cancel,
  kill,
  lose_power,
};
inline constexpr size_t superblock_actions_count = static_cast<size_t>(SuperblockAction::lose_power) + 1;
const char* name_of(SuperblockAction action) noexcept;

/// What becomes of a slot between two lives.
enum class SlotDamage : uint8_t {
  bit_flip,
  garbage,
  zero,
  latent,       ///< can't be read
  stale,        ///< what it held at some time before
  misdirected,  ///< what another slot holds
  copy_index,   ///< another one, which no checksum protects
  unsupported,  ///< whole, of a program of another time
};
inline constexpr size_t slot_damages_count = static_cast<size_t>(SlotDamage::unsupported) + 1;
const char* name_of(SlotDamage damage) noexcept;

struct SuperblockEvent {
  uint32_t number;
  SuperblockAction action;
  SlotDamage damage;  ///< of that action
  uint32_t a;
  uint32_t b;
  uint32_t c;
};
std::string to_string(const SuperblockEvent& event);

enum class SuperblockMark : uint8_t {
  formatted_again,
  formatted_by_force,
  format_refused,
  format_refused_unreadable,
  format_refused_configuration,
  format_not_read_back,
  killed_in_format,
  power_lost_in_format,
  old_store_after_forced_format,
  opened_clean,
  repaired_zero,
  repaired_torn,
  repaired_unreadable,
  repaired_unsupported,
  repaired_misplaced,
  repaired_former,
  repaired_interrupted,
  repaired_fork,
  wiped_behind,
  older_after_damage,
  repair_not_read_back,
  killed_in_repair,
  power_lost_in_repair,
  killed_in_update,
  power_lost_in_update,
  torn_update_old,
  torn_update_new,
  updates_in_a_row,
  stopped_by_write,
  update_not_read_back,
  poisoned,
  cancelled_in_format,
  cancelled_in_open,
  cancelled_in_update,
  opened_in_spite_of_minority,
  power_lost_after_failed_sync,
  error_not_found,
  error_unsupported,
  error_foreign_cluster,
  error_quorum_lost,
  error_fork,
  error_parent_skipped,
  error_parent_not_connected,
  marks_end,
};

/// What a run is about; the same for all its lives.
struct SuperblockSetup {
  SimBackendOptions backend;
  bool is_lying = false;     ///< sectors go bad and writes get lost while somebody is at work
  bool is_bounded = true;    ///< damage between lives keeps to a minority of the copies
  bool is_garbage = false;   ///< the file begins with bytes of somebody else
};

inline constexpr const char* superblock_path = "store";

class SuperblockMachine {
 public:
  enum class Call : uint8_t { none, format, open, update };

  SuperblockMachine(World& world, Host& host, const SuperblockSetup& setup, Coverage& coverage);

  void mark(SuperblockMark reached) { coverage_.mark(static_cast<size_t>(reached)); }
  const SuperblockEvent* next_event() noexcept { return event_next < events.size() ? &events[event_next++] : nullptr; }
  /// Of what all slots hold.
  SlotImages images();

  /// A call begins, and has ended; check_…: with what it gave.
  void begin_call(Call call);
  void end_call(const SuperblockCopies& superblock, const Result<void>& result);
  void check_formatted(size_t version, bool is_forced, const Result<void>& result);
  void check_opened(const SuperblockCopies& superblock, AskedCluster asked, const Result<void>& result);
  void check_updated(const SuperblockCopies& superblock, size_t version, const Result<void>& result);
  void check_inspected(const SuperblockCopies& superblock, const Result<void>& result);

  void die();
  void begin_life() noexcept { is_life_over = is_cancelled = is_poisoned = false; }
  /// The event that ends the life is due. Counts a step.
  bool is_end_due();
  /// The event that is due when a life is over.
  void change_slots();

  World& world;
  Host& host;
  const SuperblockSetup& setup;
  SuperblockModel model;
  EventHash hash;
  std::span<const SuperblockEvent> events;
  size_t event_next = 0;
  // Of the host's life:
  bool is_life_over = false;  ///< by choice
  bool is_cancelled = false;
  bool is_poisoned = false;
  std::optional<SuperblockEvent> change_due;  ///< damage or erase: when the life is over
  std::optional<uint64_t> end_in_steps;
  bool ends_in_write = false;     ///< instead: when a write is in flight …
  uint64_t end_after_change = 0;  ///< … and this change of the disk has been made
  SuperblockEvent end{};  ///< cancel, kill or loss of power

 private:
  void check_error(const Error& error);
  void check_refused_format(const Error& error, bool is_forced);
  void check_refused_open(const SuperblockCopies& superblock, AskedCluster asked, const Error& error);
  void check_choice(const SuperblockCopies& superblock, AskedCluster asked);
  void check_slots(const SuperblockCopies& superblock);
  void check_unchanged(const char* what);
  void mark_repairs(size_t version);
  void mark_opened(size_t version);
  void mark_death(bool loses_power);
  void mark_error(SuperblockError error);
  void note_whole(size_t version, const SlotImages& now);
  void note_history(const SlotImages& now);
  void damage_slots(const SuperblockEvent& event);
  void erase();
  /// `age`: how many contents ago, of what is stale.
  bool damage_slot(uint32_t slot, SlotDamage damage, size_t age, Random& random);
  void put(uint32_t slot, const Superblock& superblock);
  uint64_t failures_count() noexcept;
  void note_failed_syncs();

  Coverage& coverage_;
  Call call_ = Call::none;
  SlotImages before_{};  // the call
  uint64_t failures_before_ = 0;
  uint64_t failed_syncs_seen_ = 0;
  /// Bits: slots that a failed sync left undecided. No later one makes them durable, so a loss of power damages them.
  uint32_t forgotten_slots_ = 0;
  bool was_format_cut_ = false;  // by a death
  std::array<std::vector<std::pair<size_t, uint64_t>>, superblock_slots_count> history_;  // versions, and which copy
};

/// The root task.
Task<Result<void>> serve_superblock(SuperblockMachine* machine);

}  // namespace spindle::fuzz
