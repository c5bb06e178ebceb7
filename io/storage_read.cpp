// Storage::read, and what it does where the disk can't.
//
// One request for all, as a rule. After an error of the medium the sectors are found one by one, in the order of the
// file: what fails is tried again as its first half, and what was read is followed by the part that makes up the next
// larger half. Positions count sectors from the start of the read; of 8 with sector 5 lost:
//
//     0 1 2 3 4 5 6 7     asked for: 0–7 fails
//     ^^^^^^^             0–3
//             ^^^^^^^     4–7 fails
//             ^^^         4–5 fails
//             ^           4
//               ^ ^       5 fails, 5 fails again: lost
//                 ^^^     6–7
//
// The next part needs no stack: the one that begins at position p has as many sectors as the lowest bit of p says, or
// what is left. A failed request that moved something (Error::transferred) goes on behind that. So a read of n sectors
// costs at most 3n − 1 requests: 2n − 1 parts, and n second tries.
#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "io/storage.h"
#include "io/storage_record.h"

namespace spindle {

bool is_medium_error(const Error& error) noexcept {
  if (error.code != ErrorCode::system) return false;
  switch (error.number) {
    case EIO:
    case ENODATA:
    case EREMOTEIO:
    case EILSEQ:
    case EBADMSG: return true;
    default: return false;
  }
}

namespace {

/// One read under way that met an error of the medium.
class SectorRecovery {
 public:
  SectorRecovery(StorageRecord& record, uint64_t at, std::span<std::byte> memory, StorageReadOptions options) noexcept
      : record_(record),
        at_(at),
        memory_(memory),
        options_(options),
        sector_size_(record.layout().sector_size()),
        count_(memory.size() / sector_size_),
        part_(count_) {}

  /// `first`: of the request for everything.
  Task<Result<void>> run(Error first);

 private:
  std::span<std::byte> part_memory() const noexcept {
    return memory_.subspan(position_ * sector_size_, part_ * sector_size_);
  }
  void pass(uint64_t sectors) noexcept;
  void note_failure(const Error& error) noexcept;
  Unexpected ended_with(Error error) const noexcept {
    error.transferred += (position_ - lost_count_) * sector_size_;
    return Unexpected(error);
  }

  StorageRecord& record_;
  uint64_t at_;
  std::span<std::byte> memory_;
  StorageReadOptions options_;
  uint64_t sector_size_;
  uint64_t count_;
  uint64_t position_ = 0;  // sectors before it are read or lost
  uint64_t part_;          // sectors of the request at position_
  uint64_t lost_count_ = 0;
  bool is_second_try_ = false;
};

void SectorRecovery::pass(uint64_t sectors) noexcept {
  position_ += sectors;
  part_ = std::min(position_ & (~position_ + 1), count_ - position_);
  is_second_try_ = false;
}

void SectorRecovery::note_failure(const Error& error) noexcept {
  const uint64_t read = error.transferred / sector_size_;
  if (read > 0) return pass(read);
  if (part_ > 1) {
    part_ = std::bit_ceil(part_) / 2;
    return;
  }
  if (!is_second_try_) {
    is_second_try_ = true;
    return;
  }
  std::memset(part_memory().data(), static_cast<int>(lost_sector_fill), sector_size_);
  options_.lost.note(position_);
  ++lost_count_;
  pass(1);
}

Task<Result<void>> SectorRecovery::run(Error first) {
  note_failure(first);
  const ReadOptions how{options_.io_class};
  while (position_ < count_) {
    if (record_.is_ending()) co_return ended_with(Error{ErrorCode::closed, 0, "read", 0});
    const uint64_t at = at_ + position_ * sector_size_;
    const std::span<std::byte> memory = part_memory();
    const Result<void> read = co_await record_.file().read_exact_at(at, memory, how);
    if (read.has_value()) {
      pass(part_);
      continue;
    }
    if (!is_medium_error(read.error())) co_return ended_with(read.error());
    note_failure(read.error());
  }
  if (lost_count_ == 0) co_return Result<void>();
  co_return ended_with(Error{ErrorCode::lost_sectors, 0, "read", 0});
}

}  // namespace

Task<Result<void>> Storage::read(ZoneIndex zone, uint64_t offset, std::span<std::byte> memory,
                                 StorageReadOptions options) {
  StorageRecord& record = this->record();
  const StorageUse use(record);
  const uint64_t at = record.layout().place(zone, offset, memory.size());
  SPINDLE_ASSERT(record.layout().is_aligned(memory.data()), "a read into memory that is not aligned to sectors");
  options.lost.clear(memory.size() / record.layout().sector_size());
  if (record.is_ending()) [[unlikely]]
    co_return fail(ErrorCode::closed, "read");
  const ReadOptions how{options.io_class};
  const Result<void> read = co_await record.file().read_exact_at(at, memory, how);
  if (read.has_value() || !is_medium_error(read.error())) [[likely]]
    co_return read;
  SectorRecovery recovery(record, at, memory, options);
  const Error first = read.error();
  const Result<void> recovered = co_await recovery.run(first);
  co_return recovered;
}

}  // namespace spindle
