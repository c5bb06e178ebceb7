// Transfers at any alignment: File::read_any_at and File::write_any_at. What direct I/O can't take as it stands goes
// through an aligned buffer (the bounce), in chunks of at most bounce_size_max:
//
//          offset                                 end
//     |  x x|x x x x|x x x x| ... |x x x x|x x x  |       x: asked for; | |: a block (offset_alignment bytes)
//      read first                          read last      a write reads the blocks at its edges and writes them whole
//
// The end of the file: behind it a block reads as zeroes. A write that ends in a ragged block past the end has made
// the file too long by less than a block; truncate puts that right, and with `durable` a sync makes that durable.
//
// Why Tasks of their own, and not a case of the leaves: a leaf is made for every read of a block, and must not carry
// what only these need.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "io/file.h"
#include "runtime/combinators.h"

namespace spindle {

namespace {

constexpr uint64_t bounce_size_max = uint64_t{256} << 10;

struct FreeMemory {
  void operator()(std::byte* memory) const noexcept { std::free(memory); }
};

uint64_t round_down(uint64_t value, uint64_t unit) noexcept { return value & ~(unit - 1); }
uint64_t round_up(uint64_t value, uint64_t unit) noexcept { return round_down(value + unit - 1, unit); }

/// One ragged transfer under way. Its File may be dropped between any two steps: asks before each.
class Ragged {
 public:
  Ragged(Descriptor& descriptor, uint64_t offset, uint64_t size, WriteOptions options) noexcept
      : descriptor_(descriptor),
        use_(descriptor),
        options_(options),
        offset_(offset),
        end_(offset + size),
        unit_(descriptor.offset_alignment),
        chunk_size_(std::max(round_down(bounce_size_max, unit_), unit_)) {}

  Task<Result<void>> read(std::byte* into);
  Task<Result<void>> write(const std::byte* from);

 private:
  bool make_bounce() noexcept;
  /// Of the chunk that begins at `at`, the end.
  uint64_t chunk_end(uint64_t at) const noexcept { return std::min(end_, round_down(at, unit_) + chunk_size_); }
  Task<Result<uint64_t>> fetch(uint64_t offset, uint64_t size, uint64_t place);
  Task<Result<void>> fetch_block(uint64_t offset, uint64_t place);
  Task<Result<void>> write_chunk(const std::byte* from, uint64_t at, uint64_t to);
  Task<Result<void>> trim();
  Unexpected failed_at(Error error, uint64_t at) const noexcept {
    error.transferred = at - offset_;
    return Unexpected(error);
  }

  Descriptor& descriptor_;
  const DescriptorUse use_;
  const WriteOptions options_;
  uint64_t offset_;
  uint64_t end_;
  uint64_t unit_;
  uint64_t chunk_size_;
  uint64_t file_size_ = 0;  // of a write: before it
  std::unique_ptr<std::byte, FreeMemory> bounce_;
};

bool Ragged::make_bounce() noexcept {
  const uint64_t covered = round_up(end_, unit_) - round_down(offset_, unit_);
  const uint64_t size = std::min(covered, chunk_size_);
  const uint64_t alignment = std::max<uint64_t>(std::max<uint64_t>(descriptor_.memory_alignment, unit_), sizeof(void*));
  bounce_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, round_up(size, alignment))));
  return bounce_ != nullptr;
}

// Whole blocks into the bounce at `place`; how many bytes of them the file has.
Task<Result<uint64_t>> Ragged::fetch(uint64_t offset, uint64_t size, uint64_t place) {
  if (use_.is_ending()) co_return fail(ErrorCode::closed, "ragged transfer");
  std::byte* const memory = bounce_.get() + place;
  const std::span<std::byte> part(memory, size);
  const WriteOptions options{.durable = false, .io_class = options_.io_class};
  const Result<void> read = co_await TransferExact(descriptor_, Opcode::read, part, offset, options);
  if (read.has_value()) co_return size;
  const Error error = read.error();
  if (error.code != ErrorCode::end_of_file) co_return Unexpected(error);
  co_return error.transferred;
}

// A block of which a part is past the end of the file. A count that ends within it says so; but where the alignment was
// found by trying, and is coarser than the device's, a short count can be ragged anywhere: zeroes must not take the
// place of what is there.
Task<Result<void>> Ragged::fetch_block(uint64_t offset, uint64_t place) {
  const uint64_t needed = std::clamp(file_size_, offset, offset + unit_) - offset;
  uint64_t count = 0;
  for (uint32_t tries = 0; tries < operation_retries_max; ++tries) {
    count = co_await ok(fetch(offset, unit_, place));
    if (count >= needed) break;
  }
  if (count < needed) co_return fail(ErrorCode::short_transfer, "write");
  std::memset(bounce_.get() + place + count, 0, unit_ - count);
  co_return Result<void>();
}

Task<Result<void>> Ragged::read(std::byte* into) {
  if (!make_bounce()) co_return fail_errno(ENOMEM, "read");
  for (uint64_t at = offset_; at < end_;) {
    const uint64_t to = chunk_end(at);
    const uint64_t begin = round_down(at, unit_);
    const Result<uint64_t> count = co_await fetch(begin, round_up(to, unit_) - begin, 0);
    if (!count.has_value()) co_return failed_at(count.error(), at);
    const uint64_t there = std::clamp(begin + *count, at, to);
    std::memcpy(into + (at - offset_), bounce_.get() + (at - begin), there - at);
    if (there < to) co_return failed_at(Error{ErrorCode::end_of_file, 0, "read", 0}, there);
    at = to;
  }
  co_return Result<void>();
}

Task<Result<void>> Ragged::write_chunk(const std::byte* from, uint64_t at, uint64_t to) {
  const uint64_t begin = round_down(at, unit_);
  const uint64_t end = round_up(to, unit_);
  const uint64_t last = end - unit_;
  const bool has_ragged_end = to != end;
  if (at != begin) co_await ok(fetch_block(begin, 0));
  if (has_ragged_end && (last != begin || at == begin)) co_await ok(fetch_block(last, last - begin));
  std::memcpy(bounce_.get() + (at - begin), from + (at - offset_), to - at);
  std::byte* const memory = bounce_.get();
  const uint64_t size = end - begin;
  const std::span<std::byte> part(memory, size);
  const WriteOptions options = options_;
  if (use_.is_ending()) co_return fail(ErrorCode::closed, "write");
  co_await ok(TransferExact(descriptor_, Opcode::write, part, begin, options));
  co_return Result<void>();
}

// Only what this write itself has added: somebody else may have made the file longer meanwhile.
Task<Result<void>> Ragged::trim() {
  if (use_.is_ending()) co_return fail(ErrorCode::closed, "write");
  const FileStatus now = co_await ok(StatOperation(descriptor_));
  if (now.size != round_up(end_, unit_)) co_return Result<void>();
  if (use_.is_ending()) co_return fail(ErrorCode::closed, "write");
  co_await ok(PlainOperation(descriptor_, Opcode::truncate, 0, std::max(file_size_, end_)));
  if (!options_.durable) co_return Result<void>();
  if (use_.is_ending()) co_return fail(ErrorCode::closed, "write");
  co_await ok(PlainOperation(descriptor_, Opcode::sync, 0, 0));
  co_return Result<void>();
}

Task<Result<void>> Ragged::write(const std::byte* from) {
  const Mutex::Lock alone = co_await ok(descriptor_.ragged->lock());
  if (use_.is_ending()) co_return fail(ErrorCode::closed, "write");
  if (!make_bounce()) co_return fail_errno(ENOMEM, "write");
  const FileStatus before = co_await ok(StatOperation(descriptor_));
  file_size_ = before.kind == FileKind::regular ? before.size : descriptor_.size_at_open;
  for (uint64_t at = offset_; at < end_;) {
    const uint64_t to = chunk_end(at);
    const Result<void> written = co_await write_chunk(from, at, to);
    if (!written.has_value()) co_return failed_at(written.error(), at);
    at = to;
  }
  const bool is_too_long = before.kind == FileKind::regular && round_up(end_, unit_) > std::max(file_size_, end_);
  if (!is_too_long) co_return Result<void>();
  auto trimming = trim();
  const Result<void> trimmed = co_await shield(std::move(trimming));  // a cancel must not leave the file too long
  co_return trimmed;
}

/// Aligned, or refused: the leaves say it. So do those whose end the kernel can't name.
bool goes_straight(const Descriptor& file, uint64_t offset, std::span<const std::byte> memory) noexcept {
  const uint64_t room = uint64_t{INT64_MAX} / 2;
  if (file.ragged == nullptr || offset > room || memory.size() > room) return true;
  return file.is_aligned(memory.data(), offset | memory.size());
}

}  // namespace

Task<Result<void>> File::read_any_at(uint64_t offset, std::span<std::byte> memory, ReadOptions options) {
  Descriptor& descriptor = record();
  if (goes_straight(descriptor, offset, memory)) {
    const Result<void> read = co_await read_exact_at(offset, memory, options);
    co_return read;
  }
  if (memory.empty()) co_return Result<void>();
  Ragged ragged(descriptor, offset, memory.size(), as_write(options));
  const Result<void> read = co_await ragged.read(memory.data());
  co_return read;
}

Task<Result<void>> File::write_any_at(uint64_t offset, std::span<const std::byte> memory, WriteOptions options) {
  Descriptor& descriptor = record();
  if (goes_straight(descriptor, offset, memory)) {
    const Result<void> written = co_await write_all_at(offset, memory, options);
    co_return written;
  }
  if (memory.empty()) co_return Result<void>();
  Ragged ragged(descriptor, offset, memory.size(), options);
  const Result<void> written = co_await ragged.write(memory.data());
  co_return written;
}

}  // namespace spindle
