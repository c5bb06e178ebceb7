// The machine that the fuzzer `grid` executes: one life of a store after another on one simulated disk, jobs side by
// side, and the model beside them. It lives as long as the run, through all deaths of the host.
//
// What a read may give is decided by what the disk holds at that moment: a copy is good when its sectors are readable
// and hold the bytes that were written. As long as a block has a good copy it must be read, and never as anything else.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/sim/world.h"
#include "lsm/checkpoint.h"
#include "lsm/scrub.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/grid_marks.h"
#include "tests/fuzz/grid_model.h"

namespace spindle::fuzz {

inline constexpr const char* grid_fuzz_path = "store";
inline constexpr ZoneIndex grid_fuzz_superblock_zone{0};
inline constexpr ZoneIndex grid_fuzz_zone{1};

enum class GridAction : uint8_t {
  write,
  acquire_many,
  read,
  read_quietly,
  read_wrong,
  read_stale,
  release,
  release_many,
  scrub,
  scrub_trailers,
  checkpoint,
  checkpoint_die,
  damage_block,
  damage_trailer,
  damage_all,
  damage_free,
  limit_disk,
  free_disk,
  quiesce,
  cancel,
  reopen,
  reopen_die,
  reopen_lost,
  kill,
  lose_power,
};
inline constexpr size_t grid_action_count = static_cast<size_t>(GridAction::lose_power) + 1;
const char* name_of(GridAction action) noexcept;

struct GridEvent {
  uint32_t number;
  GridAction action;
  uint32_t a;
  uint32_t b;
  uint32_t c;
};
std::string to_string(const GridEvent& event);

/// A block that was released, and may come back.
struct FormerBlock {
  StoredBlock block;
  std::vector<std::byte> sectors;
};

/// What a run is about; the same for all its lives.
struct GridSetup {
  GridOptions grid;
  std::vector<ZoneOptions> zones;
  SimBackendOptions backend;
  bool has_failing_writes = false;
  bool has_transient_errors = false;
  bool is_large = false;
  bool is_device = false;
};

/// What stands in the frame of the root.
struct GridLife {
  Storage& storage;
  SuperblockCopies& superblock;
  Grid& grid;
  Scope* jobs = nullptr;
  Event is_quiet{};  ///< no job is under way
  Event is_idle{};  ///< none that acquires
  Event is_settled{};  ///< no checkpoint
  Event is_begun{};  ///< a checkpoint keeps reservations away
  uint32_t jobs_count = 0;
  uint32_t writers_count = 0;
  uint32_t reserves_count = 0;  ///< calls of reserve() under way
  bool is_checkpointing = false;
  bool has_failed = false;  ///< a checkpoint
  bool is_cancelled = false;  ///< all jobs
  std::map<uint64_t, uint32_t> readers{};  ///< by first address
};

class GridMachine {
 public:
  GridMachine(World& world, Host& host, const GridSetup& setup, Coverage& coverage);

  void mark(GridMark reached) { coverage_.mark(static_cast<size_t>(reached)); }
  const GridEvent* next_event() noexcept { return event_next < events.size() ? &events[event_next++] : nullptr; }
  void die();
  /// The host lives again; the disk is as full as it was.
  void restart();
  void limit_disk(uint64_t pages_max);

  // The disk.
  SimFile& file() { return *host.files().find(grid_fuzz_path); }
  uint64_t offset_of(uint64_t address) const noexcept {
    return superblock_zone_size + (address - 1) * setup.grid.block_size;
  }
  /// The sectors as they must be.
  std::span<const std::byte> sectors_of(const StoredBlock& block);
  /// Of that copy; what is bad was damaged.
  bool is_good(const StoredBlock& block, uint32_t copy);
  bool has_good_copy(const StoredBlock& block);
  bool is_trailer_good(const BlockReference& reference, uint32_t copy);
  /// Every block that the store refers to is there.
  void check_blocks();
  void keep_former(const StoredBlock& block);
  uint64_t fault_count(Fault fault) { return host.files().record().count(fault); }
  /// Space for blocks from the first one to that address (exclusive) would be there.
  bool has_disk_space(uint64_t address_end);
  void damage(uint64_t address, uint32_t size, uint32_t kind, uint64_t draw);

  // The checkpoints.
  /// The blocks of the trailers of the current one, from the last to the first.
  void note_trailers(const Grid& grid);
  /// A store was opened: which checkpoint is it?
  void note_opened(GridLife& life);
  uint64_t checkpoint_blocks_max() const noexcept;

  /// The block with that draw; null without blocks.
  const StoredBlock* pick(uint64_t draw) const;
  bool is_stopped() const noexcept { return life != nullptr && life->storage.is_stopped(); }

  World& world;
  Host& host;
  const GridSetup& setup;
  GridModel model;
  EventHash hash;
  std::span<const GridEvent> events;
  size_t event_next = 0;
  GridLife* life = nullptr;
  GridImage durable;  ///< what opens
  std::optional<GridImage> pending;  ///< or this
  uint64_t op = 0;
  std::vector<BlockReference> trailers;  ///< of the current checkpoint
  std::vector<uint64_t> trailer_addresses;
  uint64_t damages_count = 0;  ///< so far
  uint64_t disk_pages_max = UINT64_MAX;
  bool is_promised = false;  ///< a data reserve succeeded: every checkpoint has its space
  bool is_trailer_lost = false;  ///< the next open must fail
  std::vector<std::pair<uint64_t, std::vector<std::byte>>> saved;  ///< what is put back then, by address
  std::vector<FormerBlock> former;  ///< those released last
  /// Addresses, until another block is written there: what was healed by somebody who was killed may be bad again
  /// after a loss of power.
  std::set<uint64_t> damaged;
  uint64_t disk_changes_count = 0;
  bool was_disk_full = false;
  std::optional<uint64_t> death_in_steps;
  bool death_loses_power = false;
  uint32_t death_number = 0;
  uint64_t number_next = 1;  ///< of a block's content

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  Coverage& coverage_;
  std::unique_ptr<std::byte, Free> expected_;
  std::unique_ptr<std::byte, Free> found_;
};

// Jobs, each for one event.
Task<Result<void>> run_writer(GridMachine* machine, GridEvent event);
Task<Result<void>> run_acquirer(GridMachine* machine, GridEvent event);
Task<Result<void>> run_reader(GridMachine* machine, GridEvent event, StoredBlock block);
Task<Result<void>> run_wrong_reader(GridMachine* machine, GridEvent event, StoredBlock block);
Task<Result<void>> read_stale(GridMachine* machine, GridEvent event);
Task<Result<void>> read_quietly(GridMachine* machine, GridEvent event);
Task<Result<void>> run_scrub(GridMachine* machine, GridEvent event);
Task<Result<void>> run_trailer_scrub(GridMachine* machine, GridEvent event);
Task<Result<void>> run_checkpoint(GridMachine* machine, GridEvent event);
Task<Result<void>> write_log(GridMachine* machine);
void release_blocks(GridMachine& machine, const GridEvent& event);
void damage_something(GridMachine& machine, const GridEvent& event);
/// The root task: one life.
Task<Result<void>> serve_grid_store(GridMachine* machine);
/// Of a store that is made before the world begins.
Task<Result<void>> format_grid_store(const GridSetup* setup);

}  // namespace spindle::fuzz
