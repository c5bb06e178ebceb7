// FreeSet: which blocks of the grid are in use, and when the others may be used again. Block i has address i + 1;
// address 0 is no block.
//
//     auto reservation = set.reserve(3);                      // nothing when fewer than 3 blocks are free
//     const auto address = set.acquire(*reservation);         // the lowest free one of its window
//     set.forfeit(std::move(*reservation));
//     set.release(*address);                                  // free after the next checkpoint is durable
//
//     free --acquire--> acquired --release, durable-------> released --------------mark durable--> free
//                              `--release, not durable--> released before durability --mark durable--> released
//
//     created --open--> not durable --mark durable--> durable --encode--> encoded --mark not durable--> not durable …
//
// Reservations. A window is a range of addresses with exactly as many free blocks as were asked for; blocks that are
// acquired may lie between. The first window begins at the lowest address, each next one where the former ended. So
// they are disjoint, and which addresses a job gets depends on the order in which jobs reserve, not on the order in
// which they go on. When the last reservation is forfeited, what was not acquired is there for the next window, which
// begins at the lowest address again; and the session number rises, which shows that a reservation is a left-over.
//
// Left open by that, and decided here:
// - reserve(0) is an empty window. It counts as a reservation, and is forfeited as any other: jobs that turn out to
//   need nothing are no special case.
// - acquire() gives nothing once it has given as many blocks as were reserved: the window has none left then.
// - What can't be reserved changes nothing: a later, smaller reserve() may succeed.
// - Blocks beyond blocks_count, the storage limit, are never free. It may be any number.
// - The blocks released before durability have the capacity that was stated at creation. What is released beyond it is
//   a bug of the caller; trailers beyond it, at open(), are a fault.
// - Both sets of released blocks are released for is_released(), released_count() and highest_address_released().
// - From encode() to mark_checkpoint_not_durable() nothing can be released: it would be missing from the encoding, and
//   freed too early. Only the trailers themselves are acquired then; that is up to the caller.
// - reset() leaves the set as it was created, to be opened again, except for the session number: reservations from
//   before are stale.
//
// Invariants
// 1. Released blocks are acquired; no block is in both sets of released ones.
// 2. Nothing becomes free while a reservation is open. So windows stay as they were made.
// 3. While the checkpoint is durable, no block is released before durability.
// What breaks a rule of use is caught in every build. Bytes at open() are never asserted on.
//
// Memory is allocated at creation, and only there: little more than three bits per block, and the list of
// blocks released before durability. reserve() and acquire() cost a few cache lines (lsm/free_blocks.h);
// mark_checkpoint_durable() is linear in the words with released blocks, not in all blocks. open(), reset() and
// encode() are linear in the blocks. One loop owns a set; nothing waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "lsm/ewah.h"
#include "lsm/free_blocks.h"
#include "pools/index_set.h"
#include "runtime/result.h"

namespace spindle {

struct FreeSetOptions {
  uint64_t blocks_count = 0;  ///< addresses 1 to this; from 1 to FreeBlocks::blocks_count_max
  uint32_t released_before_durability_max = 0;  ///< those that can be released while a checkpoint is not durable
};

/// What is wrong with what open() was given, in the order in which it is looked for.
enum class FreeSetFault : uint8_t {
  none,
  acquired_encoding,  ///< see FreeSetOpened::encoding; `capacity`: a block beyond the last one
  acquired_beyond_end,  ///< a block beyond the last one is acquired
  released_encoding,
  released_not_acquired,  ///< a block is released that is not acquired
  trailers_count,  ///< more than can be released before durability
  trailer_address,  ///< no address of a block
  trailer_acquired,  ///< a block of the trailers is in the encoding, or named twice
};
const char* name_of(FreeSetFault fault) noexcept;

struct FreeSetOpened {
  FreeSetFault fault = FreeSetFault::none;
  EwahFault encoding = EwahFault::none;  ///< of `acquired_encoding` and `released_encoding`
};

/// What the trailers hold, each set in consecutive chunks, and where the trailers lie.
struct FreeSetEncoding {
  std::span<const std::span<const std::byte>> acquired;
  std::span<const std::span<const std::byte>> released;
  std::span<const uint64_t> trailer_addresses;
};

/// Bytes of each encoding.
struct FreeSetEncoded {
  uint64_t acquired_size = 0;
  uint64_t released_size = 0;
};

class FreeSet {
 public:
  /// The right to acquire blocks of one window. Whoever has one forfeits it: one that is just destroyed stays open
  /// until reset(), and no checkpoint becomes durable. A moved-from one is no reservation.
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept
        : begin_(other.begin_),
          end_(other.end_),
          next_(other.next_),
          left_count_(other.left_count_),
          session_(std::exchange(other.session_, 0)) {}
    Reservation& operator=(Reservation&&) = delete;

    uint64_t address_begin() const noexcept { return uint64_t{begin_} + 1; }
    uint64_t address_end() const noexcept { return uint64_t{end_} + 1; }
    /// Blocks that are still to be acquired.
    uint32_t left_count() const noexcept { return left_count_; }

   private:
    friend class FreeSet;
    Reservation(uint32_t begin, uint32_t end, uint32_t count, uint64_t session) noexcept
        : begin_(begin), end_(end), next_(begin), left_count_(count), session_(session) {}

    uint32_t begin_;
    uint32_t end_;
    uint32_t next_;  // no block from begin_ to here is free
    uint32_t left_count_;  // free blocks from next_ to end_
    uint64_t session_;  // 0: none
  };

  /// All blocks free; has to be opened. Errors: invalid_argument for a count of blocks that can't be; ENOMEM.
  static Result<FreeSet> create(const FreeSetOptions& options) noexcept;

  FreeSet(FreeSet&&) noexcept = default;
  FreeSet& operator=(FreeSet&&) = delete;

  /// Takes over what a checkpoint has encoded; no bytes and no addresses for a grid that was just formatted. That
  /// checkpoint counts as not durable: mark_checkpoint_durable() comes next, once it is sure. The blocks of the
  /// trailers are acquired, and released before durability. With a fault the set stays as it was created. Of an opened
  /// set: a caught bug.
  [[nodiscard]] FreeSetOpened open(const FreeSetEncoding& encoding) noexcept;
  /// Throws everything away, open reservations included. Needs to be opened again.
  void reset() noexcept;

  /// A window with `count` free blocks; nothing when there are not as many. Between the first forfeit() and the last: a
  /// caught bug.
  [[nodiscard]] std::optional<Reservation> reserve(uint64_t count) noexcept;
  /// Reservation::address_end() of what reserve(count) would give; nothing where it would give nothing. For whoever
  /// must make room before. O(1), as reserve().
  [[nodiscard]] std::optional<uint64_t> reservation_end(uint64_t count) const noexcept;
  /// Free blocks that no window has.
  uint64_t unreserved_count() const noexcept { return window_free_count_; }
  /// The lowest free address of the window, which is acquired now; nothing when all were taken. With a reservation of
  /// an earlier session, or one that was forfeited: a caught bug.
  [[nodiscard]] std::optional<uint64_t> acquire(Reservation& reservation) noexcept;
  void forfeit(Reservation&& reservation) noexcept;
  /// Of an acquired block, once. It stays acquired until the next checkpoint is durable: up to then a crash leads back
  /// to one that refers to it.
  void release(uint64_t address) noexcept;

  /// Right after the superblock was written. That encode() came first is up to the caller.
  void mark_checkpoint_not_durable() noexcept;
  /// What was released becomes free, and what was released before durability is released. Needs zero reservations.
  void mark_checkpoint_durable() noexcept;

  /// A bound for each of the two encodings, in bytes.
  uint64_t encode_size_max() const noexcept { return EwahEncoder::encode_size_max(blocks_.words_count()); }
  /// Begins a checkpoint: writes both sets into chunks of whole words; each list of chunks has room for
  /// encode_size_max() bytes. The checkpoint before must be durable.
  FreeSetEncoded encode(std::span<const std::span<std::byte>> acquired,
                        std::span<const std::span<std::byte>> released) noexcept;

  bool is_opened() const noexcept { return is_opened_; }
  bool is_checkpoint_durable() const noexcept { return is_checkpoint_durable_; }
  uint64_t blocks_count() const noexcept { return blocks_.blocks_count(); }
  uint64_t free_count() const noexcept { return blocks_.free_count(); }
  uint64_t acquired_count() const noexcept { return blocks_count() - free_count(); }
  uint64_t released_count() const noexcept { return uint64_t{released_count_} + before_count_; }
  uint64_t released_before_durability_count() const noexcept { return before_count_; }
  uint64_t reservations_count() const noexcept { return reservations_count_; }
  uint64_t session() const noexcept { return session_; }
  /// 0 when there is none.
  uint64_t highest_address_acquired() const noexcept { return blocks_.acquired_end(); }
  uint64_t highest_address_released() const noexcept;
  bool is_free(uint64_t address) const noexcept { return blocks_.is_free(block_of(address)); }
  bool is_released(uint64_t address) const noexcept;
  /// Whether the next mark_checkpoint_durable() frees it.
  bool to_be_freed_at_checkpoint_durability(uint64_t address) const noexcept;
  /// O(blocks): all invariants hold.
  bool is_consistent() const noexcept;

 private:
  using Words = std::unique_ptr<uint64_t[]>;

  FreeSet(FreeBlocks blocks, IndexSet words_with_released, const FreeSetOptions& options) noexcept;
  uint32_t block_of(uint64_t address) const noexcept {
    SPINDLE_ASSERT(address > 0 && address <= blocks_count(), "an address that is no block of the grid");
    return static_cast<uint32_t>(address - 1);
  }
  static bool is_in(const Words& words, uint32_t block) noexcept {
    return (words[block / FreeBlocks::word_blocks] >> (block % FreeBlocks::word_blocks) & 1) != 0;
  }
  void check(const Reservation& reservation) const noexcept;
  void insert_released(uint32_t block) noexcept;
  void insert_before_durability(uint32_t block) noexcept;
  void free_released() noexcept;
  void begin_windows() noexcept;
  void clear() noexcept;
  FreeSetOpened take_over(const FreeSetEncoding& encoding) noexcept;
  FreeSetFault take_released() noexcept;
  FreeSetFault take_trailers(std::span<const uint64_t> addresses) noexcept;

  FreeBlocks blocks_;
  Words released_;  // to be freed at durability
  IndexSet words_with_released_;  // those of released_ that are not zero
  uint32_t released_count_ = 0;
  Words before_;  // released before durability, as a set
  std::unique_ptr<uint32_t[]> before_list_;  // and in order
  uint32_t before_count_ = 0;
  uint32_t before_count_max_;
  uint32_t before_end_ = 0;  // behind the highest of them
  uint32_t window_begin_ = 0;  // of the next reservation
  uint32_t window_free_count_ = 0;  // free blocks from there on
  uint64_t reservations_count_ = 0;
  uint64_t session_ = 1;
  bool is_forfeiting_ = false;
  bool is_opened_ = false;
  bool is_checkpoint_durable_ = false;
  bool is_encoded_ = false;
};

}  // namespace spindle
