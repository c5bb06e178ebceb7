// Storage::create and Storage::open: the file, its lock, and whether it can hold the zones.
//
// The lock comes first: until it is held nothing is changed, except that create() makes a file that is not there. While
// a lock is waited for, its holder may remove the file, or put another one under the name; so afterwards the name must
// still lead to the file that is open.
#include <algorithm>
#include <cerrno>
#include <optional>

#include "io/directory.h"
#include "io/storage.h"
#include "io/storage_record.h"
#include "runtime/combinators.h"

namespace spindle {

/// One Storage::create or Storage::open under way.
class StorageOpening {
 public:
  StorageOpening(std::string path, StorageOptions options, const ZoneLayout& layout)
      : path_(std::move(path)), options_(options), layout_(layout) {}

  /// The zones in a layout, or why they can't be.
  static Result<ZoneLayout> lay_out(std::span<const ZoneOptions> zones, const StorageOptions& options) noexcept;

  Task<Result<void>> create();
  Task<Result<void>> open();
  /// After a create() or open() that failed. Closes, too: the next try must not meet the lock of this one.
  Task<Result<void>> undo();
  Storage take();

 private:
  OpenOptions open_options() const noexcept {
    OpenOptions how;
    how.access = options_.read_only ? Access::read_only : Access::read_write;
    how.direct = options_.direct;
    how.mode = options_.mode;
    how.queue = options_.queue;
    return how;
  }
  Task<Result<void>> find();
  Task<Result<void>> find_or_make();
  Task<Result<void>> lock();
  Task<Result<void>> give_size();

  std::string path_;
  StorageOptions options_;
  ZoneLayout layout_;
  std::optional<File> file_;
  StorageOrigin origin_;
};

namespace {

// A file that was made here may have been taken by somebody else before it was locked here: what it holds then is his.
Task<Result<bool>> is_taken(File& file) {
  const Result<void> locked = co_await file.try_lock(LockMode::exclusive);
  if (!locked.has_value()) co_return true;
  const FileStatus status = co_await ok(file.stat());
  co_return status.size > 0;
}

Task<Result<void>> take_back(File& file, const std::string& path, StorageOrigin origin) {
  if (!origin.is_made && origin.is_grown) co_await ok(file.truncate(0));
  if (!origin.is_made) co_return Result<void>();
  if (!origin.is_grown) {
    const bool is_foreign = co_await ok(is_taken(file));
    if (is_foreign) co_return Result<void>();
  }
  const Result<void> unlinked = co_await unlink_made(file, path);
  co_return unlinked;
}

}  // namespace

Result<ZoneLayout> StorageOpening::lay_out(std::span<const ZoneOptions> zones, const StorageOptions& options) noexcept {
  if (!ZoneLayout::is_valid_sector_size(options.sector_size)) {
    return fail(ErrorCode::invalid_argument, "sector size of a storage");
  }
  ZoneLayout layout(options.sector_size);
  for (const ZoneOptions& zone : zones) {
    const Result<ZoneIndex> added = layout.add(zone);
    if (!added.has_value()) return Unexpected(added.error());
  }
  return layout;
}

Task<Result<void>> StorageOpening::find() {
  auto opening = File::open(path_, open_options());
  Result<File> opened = co_await std::move(opening);
  if (!opened.has_value()) co_return Unexpected(opened.error());
  file_.emplace(std::move(*opened));
  co_return Result<void>();
}

// Exclusively first: so it is known whether the file was made here. Shielded: a cancel must not leave it behind.
Task<Result<void>> StorageOpening::find_or_make() {
  OpenOptions how = open_options();
  how.create = how.exclusive = true;
  auto making = File::open(path_, how);
  Result<File> made = co_await shield(std::move(making));
  if (made.has_value()) {
    file_.emplace(std::move(*made));
    origin_.is_made = true;
    co_return Result<void>();
  }
  const bool is_there = made.error().code == ErrorCode::system && made.error().number == EEXIST;
  if (!is_there) co_return Unexpected(made.error());
  const Result<void> found = co_await find();
  co_return found;
}

// And learns what it is that is open.
Task<Result<void>> StorageOpening::lock() {
  const LockMode mode = options_.read_only ? LockMode::shared : LockMode::exclusive;
  co_await ok(file_->lock(mode, options_.lock));
  const bool is_own = co_await ok(has_name(*file_, path_));
  if (!is_own) co_return fail_errno(ESTALE, "lock of a storage");
  const FileStatus status = co_await ok(file_->stat());
  origin_.is_device = status.kind == FileKind::block_device;
  if (!origin_.is_device && status.kind != FileKind::regular) {
    co_return fail(ErrorCode::invalid_argument, "a storage on what is neither a file nor a block device");
  }
  origin_.size = origin_.is_device ? file_->size_at_open() : status.size;
  const uint32_t needed = std::max(file_->offset_alignment(), file_->memory_alignment());
  if (needed > layout_.sector_size()) co_return fail(ErrorCode::misaligned, "sector size of a storage");
  co_return Result<void>();
}

Task<Result<void>> StorageOpening::open() {
  co_await ok(find());
  co_await ok(lock());
  if (origin_.size >= layout_.end_present_min()) co_return Result<void>();
  co_return fail(ErrorCode::end_of_file, "the file of a storage is shorter than its zones");
}

Task<Result<void>> StorageOpening::create() {
  co_await ok(find_or_make());
  co_await ok(lock());
  const bool is_empty = !origin_.is_device && origin_.size == 0;
  if (!is_empty && !options_.overwrite) co_return fail_errno(EEXIST, "create of a storage");
  if (!origin_.is_device) co_await ok(give_size());
  if (origin_.size >= layout_.end_present_min()) co_return Result<void>();
  co_return fail(ErrorCode::end_of_file, "the device of a storage is smaller than its zones");
}

// What was in the file goes first: it reads as zeroes then. A file that was there may have been left by a create() that
// died: nothing says that its name is durable.
Task<Result<void>> StorageOpening::give_size() {
  if (origin_.size > 0) co_await ok(file_->truncate(0));
  origin_.is_grown = true;
  const uint64_t size = layout_.end_present_min();
  co_await ok(file_->truncate(size));
  co_await ok(file_->sync());
  origin_.size = size;
  co_await ok(sync_directory(parent_of(path_)));
  co_return Result<void>();
}

Task<Result<void>> StorageOpening::undo() {
  if (!file_.has_value()) co_return Result<void>();
  const Result<void> undone = co_await take_back(*file_, path_, origin_);
  const Result<void> closed = co_await file_->close();
  co_return undone.has_value() ? closed : undone;
}

Storage StorageOpening::take() {
  origin_.is_read_only = options_.read_only;
  auto* const record = new StorageRecord(std::move(*file_), layout_, origin_);
  StorageUse::acquire(*record);
  return Storage(*record);
}

Task<Result<Storage>> Storage::create(std::string path, std::span<const ZoneOptions> zones, StorageOptions options) {
  const Result<ZoneLayout> layout = StorageOpening::lay_out(zones, options);
  if (!layout.has_value()) co_return Unexpected(layout.error());
  if (options.read_only) co_return fail(ErrorCode::invalid_argument, "create of a storage that is only read");
  StorageOpening opening(std::move(path), options, *layout);
  const Result<void> created = co_await opening.create();
  if (created.has_value()) co_return opening.take();
  auto undoing = opening.undo();
  const Result<void> undone = co_await shield(std::move(undoing));
  static_cast<void>(undone);  // the error that counts is the first one
  co_return Unexpected(created.error());
}

Task<Result<Storage>> Storage::open(std::string path, std::span<const ZoneOptions> zones, StorageOptions options) {
  const Result<ZoneLayout> layout = StorageOpening::lay_out(zones, options);
  if (!layout.has_value()) co_return Unexpected(layout.error());
  StorageOpening opening(std::move(path), options, *layout);
  const Result<void> opened = co_await opening.open();
  if (opened.has_value()) co_return opening.take();
  auto undoing = opening.undo();
  const Result<void> undone = co_await shield(std::move(undoing));
  static_cast<void>(undone);
  co_return Unexpected(opened.error());
}

Task<Result<void>> Storage::discard() {
  StorageRecord& record = this->record();
  const StorageUse use(record);
  record.end();
  auto undoing = take_back(record.file(), record.path(), record.origin());
  const Result<void> undone = co_await shield(std::move(undoing));
  const Result<void> closed = co_await record.file().close();
  co_return undone.has_value() ? closed : undone;
}

}  // namespace spindle
