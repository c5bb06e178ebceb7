// Grid: the blocks of a store, numbered from 1 on: read and verified, written durably, handed out and taken back.
//
//     auto grid = Grid::create(storage, zone, options);          // all memory is allocated here
//     co_await ok(with_scope({}, serve, …));                     // and in its body:
//     grid->start(scope);                                        // its reads run as children of this scope
//     co_await ok(grid->open(superblock.working().state));
//     BlockRef block = co_await ok(grid->read(reference, BlockType::value));
//
//     auto reservation = co_await ok(grid->reserve(2));          // disk space included: a full disk is known here
//     BlockLease lease = co_await ok(grid->blocks().acquire());
//     start_block(lease.memory(), cluster, BlockType::value).address = *grid->acquire(reservation);
//     const BlockReference reference = seal_block(lease.memory());
//     co_await ok(grid->write(std::move(lease)));                // durable
//     grid->forfeit(std::move(reservation));
//     co_await ok(checkpoint(*grid, superblock, …));             // lsm/checkpoint.h
//
// Invariants
// 1. Nobody sees a block that was not verified in full, against the reference that he gave: verify_block().
// 2. Reads of one block at one time are one I/O. It belongs to the grid: who is cancelled leaves the others alone.
// 3. A block is written while nothing else reads or writes its address. The grid's own reads, which nobody waits for
//    any more, are waited for; anything else is a caught bug.
// 4. What reserve() promises is on the disk: space for every address that it hands out, and for the next checkpoint.
// 5. Between write_trailers() and checkpoint_durable() nothing is reserved or released.
// 6. Blocks that callers have beside the cache are held_blocks_max at most, those of scan buffers included: with more,
//    reads and writes wait for memory that does not come back.
//
// Where a reference has two addresses, the second one is read when the first can't be, and the bad copy is written
// again from the good one. That takes a reference that is current until the read returns: one to a block that was
// released, and given to somebody else, would be healed over what he wrote there. Scrubbing asks (lsm/scrub.h).
//
// Give start() a scope of the grid's own: when one of its children fails, or it is cancelled, reads end `cancelled`.
//
// Memory: after start() nothing is allocated but frames of coroutines, from the loop's pool. One loop owns a grid.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "io/storage.h"
#include "lsm/block_cache.h"
#include "lsm/block_pool.h"
#include "lsm/free_set.h"
#include "lsm/grid_fault.h"
#include "lsm/grid_transfers.h"
#include "lsm/trailer.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "runtime/semaphore.h"
#include "runtime/task.h"

namespace spindle {

struct GridOptions {
  ClusterId cluster;
  uint32_t block_size = 512 << 10;
  uint64_t blocks_count = 0;  ///< addresses 1 to this
  uint32_t cache_blocks_count = 1024;  ///< a multiple of BlockCache::ways_count; 0: no cache
  uint32_t held_blocks_max = 64;  ///< leases and references that callers have beside the cache at one time
  uint32_t reads_max = 64;  ///< in flight
  uint32_t writes_max = 32;  ///< in flight
  uint32_t metadata_copies_count = 2;  ///< of trailer blocks: 1 or 2
  /// Of a log beside the free set, without second copies: the most blocks that it ever has, and that it adds between
  /// two checkpoints, together. Not more than blocks_count.
  uint64_t log_blocks_max = 0;
  uint32_t reservations_max = 64;  ///< open at one time
  uint64_t allocation_step = 16 << 20;  ///< bytes of disk space that are asked for at a time, where there are as many
};
static_assert(std::is_trivially_destructible_v<GridOptions>);

struct GridReadOptions {
  IoClass io_class = IoClass::foreground;
  BlockReport* report = nullptr;  ///< told what was wrong with each copy; also of a block that was healed
};
static_assert(std::is_trivially_destructible_v<GridReadOptions>);

/// What a reservation is for.
enum class ReservePurpose : uint8_t {
  data,  ///< leaves what the next checkpoint needs
  checkpoint,  ///< may take that: for a log, see log_blocks_max; leaves what the trailers need
};

struct GridCounters {
  uint64_t reads_count = 0;  ///< blocks read from the disk
  uint64_t joined_count = 0;  ///< reads that found the same one under way
  uint64_t hits_count = 0;
  uint64_t writes_count = 0;  ///< copies written
  uint64_t faults_count = 0;  ///< copies that could not be read or verified
  uint64_t healed_count = 0;  ///< copies that were written again
};

/// What the superblock keeps of the grid.
struct GridTrailers {
  TrailerReference blocks_acquired;
  TrailerReference blocks_released;
  uint64_t storage_size = 0;
};

/// ENOSPC, EDQUOT, EFBIG.
bool is_lack_of_space(const Error& error) noexcept;

class Grid {
 public:
  /// The right to acquire blocks of one window; forfeited when dropped, so that who leaves early leaves none behind.
  /// Move-only. Must not outlive the grid.
  class [[nodiscard]] Reservation {
   public:
    Reservation(Reservation&& other) noexcept
        : grid_(std::exchange(other.grid_, nullptr)), window_(std::move(other.window_)) {}
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() {
      if (grid_ != nullptr && !host_is_dying()) grid_->forfeit(std::move(*this));
    }
    const FreeSet::Reservation& window() const noexcept { return window_; }

   private:
    friend class Grid;
    Reservation(Grid& grid, FreeSet::Reservation window) noexcept : grid_(&grid), window_(std::move(window)) {}
    Grid* grid_;
    FreeSet::Reservation window_;
  };

  /// `zone` holds the blocks, and has room for all of them. `storage` stays where it is, and outlives this. Errors:
  /// invalid_argument for options that can't be, ENOMEM. Does not suspend.
  static Result<std::unique_ptr<Grid>> create(Storage& storage, ZoneIndex zone, const GridOptions& options);
  Grid(const Grid&) = delete;
  Grid& operator=(const Grid&) = delete;
  /// The scope that was given to start() must have ended, and every block come back.
  ~Grid();

  /// Once, before everything else. `scope` outlives every call; its end waits for reads that nobody waits for.
  void start(Scope& scope) noexcept {
    SPINDLE_ASSERT(scope_ == nullptr, "a grid was started twice");
    scope_ = &scope;
  }
  /// Takes over the checkpoint that the superblock has, which must be durable: that it is on a write quorum was seen.
  /// Trailer blocks with one bad copy are healed. Errors: `corrupt` and `lost_sectors`, where fault() says more;
  /// end_of_file when the file is shorter than the checkpoint; those of reading. Suspends.
  Task<Result<void>> open(CheckpointState state);
  bool is_open() const noexcept { return free_set_.is_opened(); }
  /// What open() found.
  const GridFault& fault() const noexcept { return fault_; }

  /// Memory for blocks to be written.
  BlockPool& blocks() noexcept { return *pool_; }

  /// Result<BlockRef>: the block that is meant, whole. From a write under way, from a read under way, from the cache,
  /// or from the disk. Errors: `corrupt`, where the report says which check failed; `lost_sectors` when it can't be
  /// read; those of reading; `cancelled`. Suspends.
  Task<Result<BlockRef>> read(BlockReference reference, BlockType type, GridReadOptions options = {});
  /// The block, if it is in memory. Never suspends. Nothing for a reference to another version than the one there.
  BlockRef try_read(const BlockReference& reference, BlockType type) noexcept;
  /// Reads and verifies into the caller's memory, past the cache. Otherwise as read(). Suspends.
  Task<Result<void>> read_into(BlockReference reference, BlockType type, BlockLease& lease,
                               GridReadOptions options = {});
  /// Writes a sealed block to its addresses, which are acquired: the sectors in use, durably. Then it is in the cache.
  /// A read meanwhile gets it at once. Not cancellable. Errors: those of writing, after which the storage has stopped.
  /// Suspends.
  Task<Result<void>> write(BlockLease lease, IoClass io_class = IoClass::foreground);

  /// Result<Reservation>: a window with `count` free blocks, and disk space for them. One after another, in the order
  /// of the calls. Waits while reservations are being forfeited, and while a checkpoint is written. Errors: ENOSPC when
  /// not as many are free, or the disk is full; EDQUOT, EFBIG: nothing has changed then; `exhausted` for more
  /// reservations than stated; `poisoned` after a checkpoint that failed; those of syncing. Suspends.
  Task<Result<Reservation>> reserve(uint64_t count, ReservePurpose purpose = ReservePurpose::data);
  /// See FreeSet; dropping a reservation forfeits it, too. What is forfeited while somebody reserves takes effect after
  /// that. After a checkpoint that failed there is nothing to acquire, and what is released makes no difference.
  std::optional<uint64_t> acquire(Reservation& reservation) noexcept;
  void forfeit(Reservation&& reservation) noexcept;
  /// Of a block, with its second address.
  void release(const BlockReference& reference) noexcept;
  const FreeSet& free_set() const noexcept { return free_set_; }
  /// Blocks of the current checkpoint that are not the grid's own, second copies included: they count for what the next
  /// one needs. To be told before a checkpoint that has fewer than the one before.
  void note_log_blocks_held(uint64_t count) noexcept { log_blocks_held_count_ = count; }
  /// Blocks, free and held ones together, that reserve() keeps for checkpoints.
  uint64_t checkpoint_blocks_count() const noexcept;

  // The steps of a checkpoint, see lsm/checkpoint.h.
  /// Encodes the free set, and writes it. No reservation is open. Errors: as of reserve() and write(). Suspends.
  Task<Result<GridTrailers>> write_trailers();
  /// The superblock with the trailers is durable: frees what the checkpoint before released.
  void checkpoint_durable() noexcept;
  /// It is not, or nobody knows: no more reservations, no more checkpoints.
  void checkpoint_failed() noexcept;

  const GridOptions& options() const noexcept { return options_; }
  const GridCounters& counters() const noexcept { return counters_; }
  uint64_t offset_of(uint64_t address) const noexcept { return (address - 1) * options_.block_size; }
  bool is_block(uint64_t address) const noexcept { return address > 0 && address <= options_.blocks_count; }
  /// Reads one copy into the lease, and checks it: what is wrong with it. Errors: those of reading. Suspends.
  Task<Result<BlockFault>> read_copy(BlockExpected expected, uint64_t address, BlockLease& lease, IoClass io_class);
  /// Writes a copy again that was found to be bad, at an address that is_block(); while a GridGuard or a read keeps
  /// other writes away. Suspends.
  Task<Result<void>> heal(uint64_t address, std::span<const std::byte> sectors, IoClass io_class);
  GridTransfers& transfers() noexcept { return transfers_; }
  /// The trailers of the current checkpoint, or of the one that is being written.
  const Trailer& trailer_acquired() const noexcept { return trailer_acquired_; }
  const Trailer& trailer_released() const noexcept { return trailer_released_; }
  /// False from the encoding of a checkpoint to its durability, and after one that failed: the trailers are those of no
  /// superblock then.
  bool has_current_trailers() const noexcept { return is_open() && !is_encoded_ && !has_failed_; }
  /// What a step behind the encoding that has failed is told as: ENOSPC and its like mean that nothing has changed.
  static Error error_after_encoding(const Error& error) noexcept;

 private:
  struct Memory;

  /// What look_up() found: a block, an error, or what to wait for; or nothing of these.
  struct Found {
    BlockRef block;
    BlockFault fault = BlockFault::none;
    GridRead* read = nullptr;  // to be joined
    GridTransfer* other = nullptr;  // has to end first
  };
  /// One copy of a block of a trailer.
  struct TrailerCopy {
    Trailer* trailer;
    uint32_t index;
    uint64_t address;
  };

  Grid(Storage& storage, ZoneIndex zone, const GridOptions& options, Memory memory);
  // grid.cpp
  Found look_up(const BlockReference& reference, BlockType type) noexcept;
  Task<Result<void>> admit_read(IoClass io_class, GridPermit& permit);
  Task<Result<void>> admit_write(IoClass io_class, GridPermit& permit);
  Task<Result<void>> run_read(GridRead* read, GridPermit permit, BlockLease lease);
  Task<Result<void>> read_verified(BlockExpected expected, std::span<std::byte> memory, IoClass io_class,
                                   BlockReport& report);
  Task<Result<BlockFault>> read_and_verify(BlockExpected expected, uint64_t address, std::span<std::byte> memory,
                                           IoClass io_class);
  Task<Result<void>> write_block(BlockReference reference, BlockRef block, IoClass io_class);
  Task<Result<void>> write_copy(uint64_t address, std::span<const std::byte> sectors, IoClass io_class);
  void check_writable(uint64_t address) const noexcept;
  // grid_space.cpp
  uint64_t trailer_copies_max() const noexcept;
  uint64_t kept_count(ReservePurpose purpose) const noexcept;
  Task<Result<FreeSet::Reservation>> reserve_next(uint64_t count, uint64_t kept_count);
  Task<Result<void>> allocate(uint64_t address_end);
  Task<Result<void>> allocate_to(uint64_t address_end);
  void forfeit_now(FreeSet::Reservation&& window) noexcept;
  // grid_checkpoint.cpp
  Task<Result<void>> read_trailer(Trailer& trailer, TrailerReference reference);
  Result<void> open_free_set() noexcept;
  uint64_t storage_size() const noexcept;
  Task<Result<GridTrailers>> lock_and_write();
  Task<Result<GridTrailers>> write_encoding();
  void end_checkpoint() noexcept;
  void acquire_trailers(FreeSet::Reservation& reservation) noexcept;
  static Task<Result<void>> write_trailer_copy(TrailerCopy copy, Grid& grid);
  void list_copies(Trailer& trailer);

  Storage& storage_;
  ZoneIndex zone_;
  GridOptions options_;
  Scope* scope_ = nullptr;
  std::unique_ptr<BlockPool> pool_;
  BlockCache cache_;
  FreeSet free_set_;
  Trailer trailer_acquired_;
  Trailer trailer_released_;
  GridCounters counters_;
  GridFault fault_;

  GridTransfers transfers_;
  Mutex healing_;
  Semaphore reads_;
  Semaphore reads_background_;
  Semaphore writes_;
  Semaphore writes_background_;

  Mutex reserving_;  // held while somebody reserves, and from write_trailers() to checkpoint_durable()
  std::optional<Mutex::Lock> checkpoint_lock_;
  bool is_allocating_ = false;
  bool is_checkpointing_ = false;  // from the call of write_trailers() on
  bool is_encoded_ = false;
  bool has_failed_ = false;
  Event no_forfeits_;  // set while not only some of the reservations were forfeited
  std::vector<FreeSet::Reservation> forfeits_deferred_;
  std::vector<uint64_t> addresses_;  // of the blocks of both trailers
  std::vector<TrailerCopy> copies_;
  uint64_t trailer_blocks_held_count_ = 0;
  uint64_t log_blocks_held_count_ = 0;
  uint64_t allocated_end_ = 1;  // addresses below have disk space
};

}  // namespace spindle
