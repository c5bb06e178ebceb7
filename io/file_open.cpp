// File::open: finding or making the file, its alignment for direct I/O, and what to do where there is none.
//
// A file that is to be made is made without O_DIRECT, and exclusively: so it is known whether it was made here, and
// the flag can be put on the descriptor afterwards or left off, without opening a second time. A second open could find
// another file under the name; open(2) itself makes the file before it refuses O_DIRECT.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "io/directory.h"
#include "io/file.h"
#include "runtime/combinators.h"

namespace spindle {

namespace {

/// open(2) as an operation: Result<int32_t>, the descriptor.
class [[nodiscard]] OpenOperation final : public LeafAwait<OpenOperation, Operation> {
 public:
  OpenOperation(Backend& backend, const char* path, int32_t flags, uint32_t mode) noexcept
      : LeafAwait(backend, Opcode::open, nullptr) {
    path_ = path;
    open_flags_ = flags;
    open_mode_ = mode;
  }
  ~OpenOperation() { abandon_if_dying(); }
  Result<int32_t> take() const noexcept {
    if (failure() != nullptr) return Unexpected(*failure());
    return result_;
  }
};

/// The capacity of a block device, BLKGETSIZE64: Result<uint64_t>.
class [[nodiscard]] DeviceSizeOperation final : public LeafAwait<DeviceSizeOperation, Operation> {
 public:
  explicit DeviceSizeOperation(Descriptor& file) noexcept : LeafAwait(*file.backend, Opcode::device_size, &file) {
    number_ = &answer_;
  }
  ~DeviceSizeOperation() { abandon_if_dying(); }
  Result<uint64_t> take() const noexcept {
    if (failure() != nullptr) return Unexpected(*failure());
    return answer_;
  }

 private:
  uint64_t answer_ = 0;
};

constexpr uint32_t probe_alignments[] = {512, 4096};
constexpr uint32_t probe_alignment_max = 4096;

bool is_power_of_two(uint32_t value) noexcept { return value != 0 && (value & (value - 1)) == 0; }

/// Takes what a status says about direct I/O; false: nothing.
bool take_alignment(Descriptor& descriptor, const struct statx& status) noexcept {
  if ((status.stx_mask & STATX_DIOALIGN) == 0) return false;
  if (!is_power_of_two(status.stx_dio_offset_align) || !is_power_of_two(status.stx_dio_mem_align)) return false;
  descriptor.memory_alignment = status.stx_dio_mem_align;
  descriptor.offset_alignment = status.stx_dio_offset_align;
  uint32_t of_reads = 0;
  if ((status.stx_mask & mask_read_alignment) != 0) {
    std::memcpy(&of_reads, reinterpret_cast<const std::byte*>(&status) + place_read_alignment, sizeof(of_reads));
  }
  if (is_power_of_two(of_reads) && of_reads < status.stx_dio_offset_align) descriptor.read_offset_alignment = of_reads;
  return true;
}

int32_t flags_of(const OpenOptions& options) noexcept {
  return O_CLOEXEC | (options.access == Access::read_write ? O_RDWR : O_RDONLY);
}

}  // namespace

/// One File::open under way.
class FileOpening {
 public:
  FileOpening(std::string path, OpenOptions options)
      : options_(options), file_(std::make_unique<Descriptor>(Backend::current(), std::move(path))) {
    descriptor().queue = options.queue;
  }

  static Task<Result<File>> run(std::string path, OpenOptions options);

 private:
  Descriptor& descriptor() noexcept { return file_.record(); }
  AlignmentSource source() noexcept { return descriptor().backend->alignment_source(); }
  bool wants_direct() const noexcept { return options_.direct != Direct::never; }

  Task<Result<void>> open_with(int32_t flags);
  Task<Result<void>> find();
  Task<Result<void>> find_or_make();
  Task<Result<void>> learn();
  Task<Result<void>> learn_alignment(bool is_told);
  Task<Result<void>> probe_alignment();
  Task<Result<bool>> takes_read(uint32_t memory_alignment, uint32_t offset_alignment);
  Task<Result<void>> set_direct(bool direct);
  Task<Result<void>> go_without_direct();
  Task<Result<void>> discard(ErrorCode reason);

  OpenOptions options_;
  File file_;
  bool is_made_ = false;  ///< it was not there before
  bool has_flag_ = false;  ///< O_DIRECT is on the descriptor
  bool is_refused_ = false;  ///< open(2) did not take O_DIRECT
  bool is_regular_ = false;
};

Task<Result<File>> File::open(std::string path, OpenOptions options) {
  auto opening = FileOpening::run(std::move(path), options);
  Result<File> opened = co_await std::move(opening);
  co_return std::move(opened);
}

Task<Result<File>> FileOpening::run(std::string path, OpenOptions options) {
  if (options.truncate && options.access != Access::read_write) co_return fail(ErrorCode::invalid_argument, "open");
  FileOpening opening(std::move(path), options);
  co_await ok(opening.find_or_make());
  const Result<void> learned = co_await opening.learn();
  if (!learned.has_value()) {
    auto discarding = opening.discard(learned.error().code);
    const Result<void> discarded = co_await shield(std::move(discarding));
    static_cast<void>(discarded);  // the error that counts is the first one
    co_return Unexpected(learned.error());
  }
  Descriptor& descriptor = opening.descriptor();
  // Not by open(2) where direct I/O may be refused yet: what is refused stays as it was.
  const bool empties = options.truncate && opening.wants_direct() && opening.is_regular_ && !opening.is_made_;
  if (empties) co_await ok(opening.file_.truncate(0));
  if (empties) descriptor.size_at_open = 0;
  if (options.ragged) descriptor.ragged = std::make_unique<Mutex>();
  descriptor.backend->register_descriptor(descriptor);
  co_return std::move(opening.file_);
}

Task<Result<void>> FileOpening::open_with(int32_t flags) {
  Descriptor& record = descriptor();
  const char* path = record.path.c_str();
  // The descriptor gets its owner in the same step in which the open completes: a cancel can't lose it.
  record.fd = co_await ok(OpenOperation(*record.backend, path, flags_of(options_) | flags, options_.mode));
  has_flag_ = (flags & O_DIRECT) != 0;
  co_return Result<void>();
}

// A file that is there.
Task<Result<void>> FileOpening::find() {
  const Result<void> opened = co_await open_with(O_DIRECT);
  if (opened.has_value()) co_return opened;
  is_refused_ = opened.error().number == EINVAL;
  if (!is_refused_) co_return opened;
  if (options_.direct == Direct::require) co_return fail(ErrorCode::no_direct_io, "open");
  const Result<void> without = co_await open_with(0);
  co_return without;
}

Task<Result<void>> FileOpening::find_or_make() {
  const int32_t exclusive = O_CREAT | O_EXCL;
  if (!wants_direct()) {
    int32_t flags = options_.create ? O_CREAT : 0;
    if (options_.create && options_.exclusive) flags = exclusive;
    if (options_.truncate) flags |= O_TRUNC;
    const Result<void> opened = co_await open_with(flags);
    is_made_ = opened.has_value() && options_.create && options_.exclusive;
    co_return opened;
  }
  if (!options_.create || !options_.exclusive) {
    const Result<void> found = co_await find();
    const bool is_missing = !found.has_value() && found.error().number == ENOENT;
    if (!is_missing || !options_.create) co_return found;
  }
  const Result<void> made = co_await open_with(exclusive);
  is_made_ = made.has_value();
  const bool appeared = !is_made_ && made.error().number == EEXIST;
  if (!appeared || options_.exclusive) co_return made;
  // Somebody else has made it just now, or the name is a symbolic link that leads nowhere yet.
  const Result<void> opened = co_await open_with(O_CREAT);
  co_return opened;
}

Task<Result<void>> FileOpening::learn() {
  Descriptor& record = descriptor();
  struct statx status{};
  co_await ok(PlainOperation(record, status));
  record.size_at_open = status.stx_size;
  is_regular_ = S_ISREG(status.stx_mode);
  record.is_disk = is_regular_ || S_ISBLK(status.stx_mode);
  // A device's status has no size.
  if (S_ISBLK(status.stx_mode)) record.size_at_open = co_await ok(DeviceSizeOperation(record));
  if (!wants_direct()) co_return Result<void>();
  const bool is_told = source() != AlignmentSource::reads && take_alignment(record, status);
  const Result<void> learned = co_await learn_alignment(is_told);
  if (learned.has_value() || learned.error().code != ErrorCode::no_direct_io) co_return learned;
  if (options_.direct == Direct::prefer) co_return co_await go_without_direct();
  co_return learned;
}

// open(2) takes O_DIRECT on tmpfs too; only statx tells, and only when the mask says that it knows. `no_direct_io`
// where there is none.
Task<Result<void>> FileOpening::learn_alignment(bool is_told) {
  Descriptor& record = descriptor();
  const bool is_known = is_told || source() != AlignmentSource::status;
  if (is_refused_ || !is_known || !record.is_disk) co_return fail(ErrorCode::no_direct_io, "open");
  if (!has_flag_) co_await ok(set_direct(true));
  if (!is_told) co_await ok(probe_alignment());
  record.is_direct = true;
  co_return Result<void>();
}

// On kernels whose statx does not know (before 6.1): by real reads at the start of the file, the finest that works. An
// empty file answers every read, so it gets the coarsest.
Task<Result<void>> FileOpening::probe_alignment() {
  Descriptor& record = descriptor();
  uint32_t offset_alignment = record.size_at_open == 0 ? probe_alignment_max : 0;
  uint32_t memory_alignment = offset_alignment;
  for (const uint32_t tried : probe_alignments) {
    if (offset_alignment != 0) break;
    const bool works = co_await ok(takes_read(probe_alignment_max, tried));
    if (works) offset_alignment = tried;
  }
  if (offset_alignment == 0) co_return fail(ErrorCode::no_direct_io, "open");
  for (const uint32_t tried : probe_alignments) {
    if (memory_alignment != 0) break;
    const bool works = co_await ok(takes_read(tried, offset_alignment));
    if (works) memory_alignment = tried;
  }
  if (memory_alignment == 0) co_return fail(ErrorCode::no_direct_io, "open");
  record.memory_alignment = memory_alignment;
  record.offset_alignment = offset_alignment;
  co_return Result<void>();
}

// A read of that size into memory that is aligned to that much, and to no more.
Task<Result<bool>> FileOpening::takes_read(uint32_t memory_alignment, uint32_t offset_alignment) {
  constexpr size_t coarser = 2 * size_t{probe_alignment_max};
  std::vector<std::byte> memory(coarser + coarser);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory.data());
  const uintptr_t aligned = (begin + coarser - 1) & ~uintptr_t{coarser - 1};
  const size_t shift = (aligned - begin) + memory_alignment;
  const std::span<std::byte> place(memory.data() + shift, offset_alignment);
  const Result<uint64_t> read = co_await file_.read_at(0, place);
  if (read.has_value()) co_return true;
  if (read.error().number == EINVAL) co_return false;
  co_return Unexpected(read.error());
}

Task<Result<void>> FileOpening::set_direct(bool direct) {
  const int32_t flag = direct ? 1 : 0;
  const Result<void> set = co_await PlainOperation(descriptor(), Opcode::set_direct, flag);
  if (set.has_value()) has_flag_ = direct;
  if (set.has_value() || set.error().number != EINVAL) co_return set;
  co_return fail(ErrorCode::no_direct_io, "open");
}

Task<Result<void>> FileOpening::go_without_direct() {
  Descriptor& record = descriptor();
  record.memory_alignment = record.offset_alignment = 1;
  record.read_offset_alignment = 0;
  if (has_flag_) co_await ok(set_direct(false));
  co_return Result<void>();
}

// Removes the file that was made for nothing. One that did not have to be new stays where others could use it.
Task<Result<void>> FileOpening::discard(ErrorCode reason) {
  const bool stays = !is_made_ || (!options_.exclusive && reason != ErrorCode::no_direct_io);
  if (stays) co_return Result<void>();
  const Result<void> unlinked = co_await unlink_made(file_, descriptor().path);
  co_return unlinked;
}

}  // namespace spindle
