// The transfers of a grid that are under way: who may read along, and who has to wait. Only for lsm/grid*.cpp and the
// scrubber.
//
// Invariant: an address has one write under way, or any number of reads.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "io/operation.h"
#include "lsm/block_pool.h"
#include "lsm/grid_fault.h"
#include "runtime/intrusive_list.h"
#include "runtime/semaphore.h"
#include "runtime/wait_queue.h"

namespace spindle {

class GridTransfers;

/// The right to one I/O of a class: two permits for background, which has only a part of all.
struct GridPermit {
  Semaphore::Permit all;
  Semaphore::Permit background;
};

/// Something that reads or writes the addresses of a block. Lives in a frame, or is a GridRead; in its list as long as
/// it is under way. Its end lets those go on who wait for it.
class GridTransfer : public ListHook<GridTransfer> {
 public:
  /// Waits for the end of a transfer. Result<void>.
  class [[nodiscard]] End final : public LeafAwait<End, Waiter> {
   public:
    explicit End(GridTransfer& transfer) noexcept : transfer_(transfer) {}
    ~End() { abandon_if_dying(); }
    bool begin(Loop&) noexcept {
      transfer_.enders_.push_back(*this);
      return false;
    }
    Result<void> take() const noexcept { return outcome(); }
    const char* describe() const noexcept override { return "transfer of a block"; }

   private:
    GridTransfer& transfer_;
  };

  GridTransfer() noexcept = default;
  explicit GridTransfer(const BlockReference& reference) noexcept : reference_(reference) {}
  GridTransfer(const GridTransfer&) = delete;
  GridTransfer& operator=(const GridTransfer&) = delete;
  ~GridTransfer() { end(); }

  const BlockReference& reference() const noexcept { return reference_; }
  bool touches(const BlockReference& other) const noexcept {
    return touches(other.address) || touches(other.address_second);
  }
  /// Result<void>, while it is under way.
  End wait_for_end() noexcept { return End(*this); }
  void end() noexcept {
    if (is_linked()) unlink();
    if (!host_is_dying()) enders_.grant_all();
  }

 protected:
  BlockReference reference_;

 private:
  bool touches(uint64_t address) const noexcept {
    return address != 0 && (reference_.address == address || reference_.address_second == address);
  }
  WaitQueue enders_;
};

/// A read that others may join.
class GridRead final : public GridTransfer {
 public:
  /// Waits for the block. Result<BlockRef>; what was wrong with its copies goes to `report`, unless that is null.
  class [[nodiscard]] Join final : public LeafAwait<Join, Waiter> {
   public:
    Join(GridRead& read, BlockReport* report) noexcept : read_(read), report_(report) {}
    ~Join() { abandon_if_dying(); }
    bool begin(Loop&) noexcept {
      read_.joined_.push_back(*this);
      return false;
    }
    Result<BlockRef> take() noexcept {
      if (failure() != nullptr) return Unexpected(*failure());
      return std::move(block_);
    }
    const char* describe() const noexcept override { return "read of a block"; }

   private:
    friend class GridTransfers;
    GridRead& read_;
    BlockReport* report_;
    BlockRef block_;
  };

  Join join(BlockReport* report) noexcept { return Join(*this, report); }
  bool has_joined() const noexcept { return !joined_.empty(); }
  BlockType type() const noexcept { return type_; }
  IoClass io_class() const noexcept { return io_class_; }
  bool is_of(const BlockReference& reference, BlockType type) const noexcept {
    return reference_ == reference && type_ == type;
  }

 private:
  friend class GridTransfers;
  BlockType type_ = BlockType::value;
  IoClass io_class_ = IoClass::foreground;
  WaitQueue joined_;
};

class GridWrite;
class GridGuard;

class GridTransfers {
 public:
  explicit GridTransfers(uint32_t reads_max);
  ~GridTransfers();

  /// A read under way that begins with that address.
  GridRead* find_read(uint64_t address) noexcept;
  GridWrite* find_write(const BlockReference& reference) noexcept;
  /// A read or a guard that touches one of the addresses.
  GridTransfer* find_reader(const BlockReference& reference) noexcept;
  /// With a permit to read: there are as many as reads.
  GridRead& begin_read(const BlockReference& reference, BlockType type, IoClass io_class) noexcept;
  /// Everybody who joined gets the block, or the error.
  void end_read(GridRead& read, const Result<BlockRef>& block, const BlockReport& report) noexcept;
  bool has_joined_reader(const BlockReference& reference) noexcept;

 private:
  friend class GridWrite;
  friend class GridGuard;

  std::unique_ptr<GridRead[]> reads_;
  std::vector<uint64_t> addresses_;  // of reads_; 0: it is idle
  IntrusiveList<GridTransfer> reading_;  // reads and guards
  IntrusiveList<GridTransfer> writing_;
};

/// A write, and the block that it writes, if others may have that.
class GridWrite final : public GridTransfer {
 public:
  GridWrite(GridTransfers& transfers, const BlockReference& reference, BlockRef block) noexcept
      : GridTransfer(reference), block_(std::move(block)) {
    SPINDLE_ASSERT(transfers.find_write(reference) == nullptr, "two writes of one block at a time");
    SPINDLE_ASSERT(!transfers.has_joined_reader(reference), "a block is written while somebody reads it");
    transfers.writing_.push_back(*this);
  }
  const BlockRef& block() const noexcept { return block_; }

 private:
  BlockRef block_;
};

/// Keeps writes of a block away, as a read does.
class GridGuard final : public GridTransfer {
 public:
  GridGuard(GridTransfers& transfers, const BlockReference& reference) noexcept : GridTransfer(reference) {
    transfers.reading_.push_back(*this);
  }
};

}  // namespace spindle
