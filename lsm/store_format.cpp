// format_store(): see store_file.h for what a crash leaves.
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "lsm/format_mark.h"
#include "lsm/store_file.h"
#include "runtime/combinators.h"

namespace spindle {

namespace {

struct alignas(format_mark_size) Sector {
  std::array<std::byte, format_mark_size> bytes{};
};

StorageOptions storage_options(const StoreOptions& options) noexcept {
  StorageOptions how;
  how.direct = options.direct;
  how.lock = options.lock;
  how.queue = options.queue;
  return how;
}

/// One format under way.
class StoreFormatting {
 public:
  StoreFormatting(std::string path, SuperblockFormat format, StoreOptions options)
      : path_(std::move(path)), format_(format), options_(options) {}

  Task<Result<void>> run();
  /// After a run() that failed.
  Task<Result<void>> undo();
  const StoreFormer& former() const noexcept { return former_; }

 private:
  Task<Result<void>> take();
  Task<Result<void>> take_former();
  Task<Result<void>> create(bool overwrite);
  Task<Result<void>> look();
  Task<Result<void>> write();
  Task<Result<void>> write_mark(bool is_there);

  std::string path_;
  SuperblockFormat format_;
  StoreOptions options_;
  std::optional<Storage> storage_;
  StoreFormer former_;
  bool has_mark_ = false;  ///< of a format that was interrupted
};

// The zones that follow are not there yet: the file grows once the mark is in it.
Task<Result<void>> StoreFormatting::create(bool overwrite) {
  StorageOptions how = storage_options(options_);
  how.overwrite = overwrite;
  const ZoneOptions zones[] = {superblock_zone_of(file_begun_size)};
  const std::span<const ZoneOptions> first(zones);
  Result<Storage> created = co_await Storage::create(path_, first, how);
  if (!created.has_value()) co_return Unexpected(created.error());
  storage_.emplace(std::move(*created));
  co_return Result<void>();
}

Task<Result<void>> StoreFormatting::look() {
  StoreInspection found = co_await ok(look_at(*storage_));
  former_.content = found.content;
  former_.is_device = found.is_device;
  former_.file_size = found.file_size;
  has_mark_ = found.has_mark;
  if (found.content != StoreContent::store || found.winner() == nullptr) co_return Result<void>();
  former_.cluster = found.winner()->cluster;
  former_.sequence = found.winner()->sequence;
  co_return Result<void>();
}

Task<Result<void>> StoreFormatting::take_former() {
  const ZoneOptions zones[] = {superblock_zone_of(0)};
  const std::span<const ZoneOptions> looked_for(zones);
  const StorageOptions how = storage_options(options_);
  Storage opened = co_await ok(Storage::open(path_, looked_for, how));
  storage_.emplace(std::move(opened));
  co_await ok(look());
  // Taken as it is, under the lock under which it was looked at: it may be a store as soon as that is released.
  const bool is_interrupted = former_.content == StoreContent::half_formatted && !former_.is_device;
  if (is_interrupted) co_return Result<void>();
  if (!format_.force) {
    if (former_.content == StoreContent::store) co_return fail_errno(EEXIST, "a store is there");
    if (former_.is_device) co_return fail_errno(EEXIST, "it is a block device");
    // Emptied by somebody since create() has looked.
    const bool is_empty = former_.content == StoreContent::nothing;
    co_return fail_errno(is_empty ? EAGAIN : EEXIST, is_empty ? "the file has changed" : "the file is not empty");
  }
  co_await ok(storage_->close());
  storage_.reset();
  has_mark_ = false;
  const Result<void> created = co_await create(true);
  co_return created;
}

Task<Result<void>> StoreFormatting::take() {
  const Result<void> created = co_await create(false);
  const bool is_there = !created.has_value() && created.error().number == EEXIST;
  if (!is_there) co_return created;
  const Result<void> taken = co_await take_former();
  co_return taken;
}

Task<Result<void>> StoreFormatting::write_mark(bool is_there) {
  const auto sector = std::make_unique<Sector>();
  if (is_there) fill_with_mark(sector->bytes);
  const std::span<const std::byte> memory(sector->bytes);
  const ZoneIndex zone = StoreZones().superblock;
  const Result<void> written = co_await storage_->write(zone, format_mark_offset, memory);
  co_return written;
}

Task<Result<void>> StoreFormatting::write() {
  const StoreLayout layout = layout_of(format_.configuration);
  const Result<StoreZones> zones = add_zones(*storage_, layout, 0);
  if (!zones.has_value()) co_return Unexpected(zones.error());
  if (!has_mark_) {
    co_await ok(storage_->allocate(zones->superblock, format_mark_offset, format_mark_size));
    co_await ok(write_mark(true));
  }
  co_await ok(storage_->write_through(zones->superblock, 0, format_mark_offset));
  co_await ok(storage_->write_through(zones->superblock, file_begun_size));
  if (zones->journal.has_value()) co_await ok(storage_->write_through(*zones->journal));
  SuperblockCopies superblock(*storage_, zones->superblock);
  SuperblockFormat format = format_;
  format.force = true;  // under the mark nothing is in use
  co_await ok(superblock.format(format));
  co_await ok(write_mark(false));
  co_return Result<void>();
}

Task<Result<void>> StoreFormatting::run() {
  if (!is_valid(format_.configuration)) co_return fail(ErrorCode::invalid_argument, "configuration of a store");
  co_await ok(take());
  co_await ok(write());
  const Result<void> closed = co_await storage_->close();
  static_cast<void>(closed);  // it is closed whatever the result says, and all of the store is durable
  storage_.reset();
  co_return Result<void>();
}

Task<Result<void>> StoreFormatting::undo() {
  if (!storage_.has_value()) co_return Result<void>();
  const Result<void> discarded = co_await storage_->discard();
  storage_.reset();
  co_return discarded;
}

}  // namespace

Task<Result<StoreFormer>> format_store(std::string path, SuperblockFormat format, StoreOptions options) {
  StoreFormatting formatting(std::move(path), format, options);
  const Result<void> formatted = co_await formatting.run();
  if (formatted.has_value()) co_return formatting.former();
  auto undoing = formatting.undo();
  const Result<void> undone = co_await shield(std::move(undoing));
  static_cast<void>(undone);  // the error that counts is the first one
  co_return Unexpected(formatted.error());
}

}  // namespace spindle
