// Storage: what changes a file, and what stops it. Opening is in storage_open.cpp, reading in storage_read.cpp.
#include "io/storage.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "io/storage_record.h"

namespace spindle {

// The record.

WriteUnderWay::WriteUnderWay(StorageRecord& record, uint64_t begin, uint64_t size) noexcept
    : begin_(begin), end_(begin + size) {
  if constexpr (!Ledger::enabled) return;
  IntrusiveList<WriteUnderWay>& writes = record.writes_;
  for (WriteUnderWay* other = writes.first(); other != nullptr; other = writes.next(*other)) {
    SPINDLE_ASSERT(end_ <= other->begin_ || begin_ >= other->end_, "two writes to one sector at once");
  }
  writes.push_back(*this);
}

// A success counts for nothing once another change has failed: the error of a cache that could not be written is told
// to one caller only.
Result<void> StorageRecord::conclude(const Result<void>& result, const Change& change) {
  if (result.has_value()) return is_stopped() ? fail(ErrorCode::poisoned, change.name) : result;
  const Error& error = result.error();
  const bool has_failed = error.code == ErrorCode::system || error.code == ErrorCode::short_transfer;
  if (has_failed && !is_stopped()) stop(error, change);
  return result;
}

void StorageRecord::stop(const Error& error, const Change& change) {
  std::string line = path_ + ": storage stopped: " + change.name;
  if (change.zone.has_value()) {
    const ZoneLayout::Zone& zone = layout_.zone(*change.zone);
    line += " of " + std::to_string(change.size) + " bytes at " + std::to_string(change.offset) + " of zone ";
    line += zone.name;
    line += " (at " + std::to_string(zone.begin + change.offset) + " of the file)";
  }
  Error cause = error;
  cause.where = "";
  line += ": " + describe(cause) + "; then restart, to recover from what is durable";
  stop_reason_ = std::move(line);
  ended_.set();
}

void StorageRecord::end() noexcept {
  is_ending_ = true;
  ended_.set();
}

void StorageRecord::drop() noexcept {
  end();
  file_.reset();
}

// The handle.

Storage& Storage::operator=(Storage&& other) noexcept {
  if (this == &other) return *this;
  const Storage former(std::move(*this));
  record_ = std::exchange(other.record_, nullptr);
  return *this;
}

Storage::~Storage() {
  if (record_ == nullptr) return;
  record_->drop();
  StorageUse::release(*record_);
}

bool Storage::is_stopped() const noexcept { return record().is_stopped(); }
const std::string& Storage::stop_reason() const noexcept { return record().stop_reason(); }
uint32_t Storage::sector_size() const noexcept { return record().layout().sector_size(); }
bool Storage::is_device() const noexcept { return record().is_device(); }
uint64_t Storage::zone_size(ZoneIndex zone) const noexcept { return record().layout().zone(zone).size; }
uint64_t Storage::file_size() const noexcept { return record().size(); }
uint64_t Storage::zone_begin(ZoneIndex zone) const noexcept { return record().layout().zone(zone).begin; }
const std::string& Storage::path() const noexcept { return record().path(); }

Result<ZoneIndex> Storage::add_zone(const ZoneOptions& options) {
  ZoneLayout extended = record().layout();
  const Result<ZoneIndex> added = extended.add(options);
  if (!added.has_value()) return added;
  if (extended.end_present_min() > record().size()) {
    return fail(ErrorCode::end_of_file, "the file of a storage is shorter than its zones");
  }
  record().layout() = extended;
  return added;
}

Task<Result<void>> Storage::wait_until_stopped() {
  StorageRecord& record = this->record();
  const StorageUse use(record);
  co_await ok(record.ended().wait());
  if (record.is_stopped()) co_return Result<void>();
  co_return fail(ErrorCode::closed, "wait for a storage to stop");
}

Task<Result<void>> Storage::close() {
  StorageRecord& record = this->record();
  const StorageUse use(record);
  record.end();
  const Result<void> closed = co_await record.file().close();
  co_return closed;
}

// Changes.

namespace {

constexpr uint64_t zeroes_size_max = uint64_t{1} << 20;

struct FreeMemory {
  void operator()(std::byte* memory) const noexcept { std::free(memory); }
};
using ZeroMemory = std::unique_ptr<std::byte, FreeMemory>;

/// `size` bytes, a multiple of the sector size, aligned to it; null when there is no memory.
ZeroMemory make_zeroes(uint64_t size, uint32_t sector_size) noexcept {
  ZeroMemory zeroes(static_cast<std::byte*>(std::aligned_alloc(sector_size, size)));
  if (zeroes != nullptr) std::memset(zeroes.get(), 0, size);
  return zeroes;
}

// Not durable yet. A block device has its space already; fallocate(2) would refuse it.
Task<Result<void>> allocate_space(StorageRecord& record, uint64_t begin, uint64_t size) {
  if (record.is_device()) {
    if (begin + size <= record.size()) co_return Result<void>();
    co_return fail_errno(ENOSPC, "allocate");
  }
  const Result<void> allocated = co_await record.file().allocate(begin, size);
  co_return allocated;
}

// fsync(2), not fdatasync(2): the allocation itself is what shall last.
Task<Result<void>> sync_allocation(StorageRecord& record, Change change) {
  const Result<void> checked = record.check(change.name);
  if (!checked.has_value()) co_return checked;
  const Result<void> synced = co_await record.file().sync();
  co_return record.conclude(synced, change);
}

Task<Result<void>> write_zeroes(StorageRecord& record, ZoneIndex zone, uint64_t offset, uint64_t size) {
  const uint64_t begin = record.layout().place(zone, offset, size);
  const ZeroMemory zeroes = make_zeroes(std::min(size, zeroes_size_max), record.layout().sector_size());
  if (zeroes == nullptr) co_return fail_errno(ENOMEM, "write through");
  const WriteUnderWay under_way(record, begin, size);
  for (uint64_t done = 0; done < size; done += zeroes_size_max) {
    const Result<void> checked = record.check("write through");
    if (!checked.has_value()) co_return checked;
    const std::span<const std::byte> chunk(zeroes.get(), std::min(size - done, zeroes_size_max));
    const uint64_t at = begin + done;
    const Result<void> written = co_await record.file().write_all_at(at, chunk);
    const Change change{"write of zeroes", zone, offset + done, chunk.size()};
    const Result<void> result = record.conclude(written, change);
    if (!result.has_value()) co_return result;
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> Storage::write(ZoneIndex zone, uint64_t offset, std::span<const std::byte> memory,
                                  StorageWriteOptions options) {
  StorageRecord& record = this->record();
  const StorageUse use(record);
  const uint64_t at = record.layout().place(zone, offset, memory.size());
  SPINDLE_ASSERT(record.layout().is_aligned(memory.data()), "a write from memory that is not aligned to sectors");
  const Result<void> checked = record.check("write");
  if (!checked.has_value()) [[unlikely]]
    co_return checked;
  const WriteUnderWay under_way(record, at, memory.size());
  const WriteOptions how{options.durable, options.io_class};
  const Result<void> written = co_await record.file().write_all_at(at, memory, how);
  const Change change{options.durable ? "durable write" : "write", zone, offset, memory.size()};
  co_return record.conclude(written, change);
}

Task<Result<void>> Storage::sync() {
  StorageRecord& record = this->record();
  const StorageUse use(record);
  const Result<void> checked = record.check("sync");
  if (!checked.has_value()) co_return checked;
  const Result<void> synced = co_await record.file().sync_data();
  const Change change{"sync", std::nullopt};
  co_return record.conclude(synced, change);
}

Task<Result<void>> Storage::allocate(ZoneIndex zone, uint64_t offset, uint64_t size) {
  StorageRecord& record = this->record();
  const StorageUse use(record);
  const uint64_t begin = record.layout().place(zone, offset, size);
  const Result<void> checked = record.check("allocate");
  if (!checked.has_value()) co_return checked;
  co_await ok(allocate_space(record, begin, size));
  if (record.is_device()) co_return Result<void>();
  const Change change{"sync of an allocation", zone, offset, size};
  co_await ok(sync_allocation(record, change));
  record.note_size(begin + size);
  co_return Result<void>();
}

Task<Result<void>> Storage::write_through(ZoneIndex zone, uint64_t offset, uint64_t size) {
  StorageRecord& record = this->record();
  const StorageUse use(record);
  if (size == zone_whole) size = record.layout().zone(zone).size - offset;
  const uint64_t at = record.layout().place(zone, offset, size);
  const Result<void> checked = record.check("write through");
  if (!checked.has_value()) co_return checked;
  co_await ok(allocate_space(record, at, size));
  co_await ok(write_zeroes(record, zone, offset, size));
  const Change change{"sync of zeroes", zone, offset, size};
  co_await ok(sync_allocation(record, change));
  record.note_size(at + size);
  co_return Result<void>();
}

}  // namespace spindle
