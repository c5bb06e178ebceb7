// The record behind a Storage: what outlives it while calls are under way. Allocated at open, so that dropping can't
// fail. Only for io/storage*.cpp.
//
// Invariant: it lives as long as its Storage, or any StorageUse.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "io/file.h"
#include "io/zone_layout.h"
#include "runtime/event.h"
#include "runtime/intrusive_list.h"

namespace spindle {

class StorageRecord;

/// A write under way. In builds with the ledger it is in a list of its record's, which looks for overlaps. Lives in the
/// frame of the call.
class WriteUnderWay : public ListHook<WriteUnderWay> {
 public:
  WriteUnderWay(StorageRecord& record, uint64_t begin, uint64_t size) noexcept;
  WriteUnderWay(const WriteUnderWay&) = delete;
  WriteUnderWay& operator=(const WriteUnderWay&) = delete;
  ~WriteUnderWay() {
    if (is_linked()) unlink();
  }

 private:
  uint64_t begin_;
  uint64_t end_;
};

/// A change that may fail, for the line that says so.
struct Change {
  const char* name;  ///< "write", "sync", …
  std::optional<ZoneIndex> zone;  ///< none: the whole file
  uint64_t offset = 0;
  uint64_t size = 0;
};

/// What an opening found out, or did.
struct StorageOrigin {
  bool is_device = false;
  bool is_read_only = false;
  bool is_made = false;  ///< the file was not there before
  bool is_grown = false;  ///< it got its size here
  uint64_t size = 0;
};

class StorageRecord {
 public:
  StorageRecord(File file, ZoneLayout layout, StorageOrigin origin)
      : layout_(layout), file_(std::move(file)), path_(file_->path()), origin_(origin) {}
  StorageRecord(const StorageRecord&) = delete;
  StorageRecord& operator=(const StorageRecord&) = delete;

  ZoneLayout& layout() noexcept { return layout_; }
  /// Not after it was dropped.
  File& file() noexcept {
    SPINDLE_ASSERT(file_.has_value(), "the file of a storage that was dropped");
    return *file_;
  }
  const std::string& path() const noexcept { return path_; }
  const StorageOrigin& origin() const noexcept { return origin_; }
  bool is_device() const noexcept { return origin_.is_device; }
  /// What the file is known to have; it may be more.
  uint64_t size() const noexcept { return origin_.size; }
  void note_size(uint64_t size) noexcept {
    if (size > origin_.size) origin_.size = size;
  }

  bool is_stopped() const noexcept { return !stop_reason_.empty(); }
  const std::string& stop_reason() const noexcept { return stop_reason_; }
  /// Its Storage is gone, or closing: no more steps.
  bool is_ending() const noexcept { return is_ending_; }
  /// Set when it has stopped, or is ending.
  Event& ended() noexcept { return ended_; }

  /// Before each step of a change.
  Result<void> check(const char* where) const noexcept {
    SPINDLE_ASSERT(!origin_.is_read_only, "a change of a storage that was opened to be read");
    if (is_stopped()) [[unlikely]]
      return fail(ErrorCode::poisoned, where);
    if (is_ending_) [[unlikely]]
      return fail(ErrorCode::closed, where);
    return {};
  }
  /// What a change that the file answered like this comes to. Stops the storage when it has failed.
  Result<void> conclude(const Result<void>& result, const Change& change);

  /// The Storage is closing.
  void end() noexcept;
  /// The Storage is gone: the file is handed to the loop.
  void drop() noexcept;

 private:
  friend class StorageUse;
  friend class WriteUnderWay;
  void stop(const Error& error, const Change& change);

  ZoneLayout layout_;
  std::optional<File> file_;
  std::string path_;
  StorageOrigin origin_;
  bool is_ending_ = false;
  uint32_t uses_count_ = 0;  // the Storage's own among them
  std::string stop_reason_;
  Event ended_;
  IntrusiveList<WriteUnderWay> writes_;
};

/// Keeps the record alive. (Counted here and not by a shared_ptr, whose atomic instructions every read would pay for.)
class StorageUse {
 public:
  explicit StorageUse(StorageRecord& record) noexcept : record_(record) { acquire(record); }
  StorageUse(const StorageUse&) = delete;
  StorageUse& operator=(const StorageUse&) = delete;
  ~StorageUse() { release(record_); }

  static void acquire(StorageRecord& record) noexcept { ++record.uses_count_; }
  static void release(StorageRecord& record) noexcept {
    if (--record.uses_count_ == 0) delete &record;
  }

 private:
  StorageRecord& record_;
};

}  // namespace spindle
