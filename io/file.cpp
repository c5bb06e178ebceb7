#include "io/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>

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

int32_t flags_of(const OpenOptions& options, bool direct) noexcept {
  int32_t flags = O_CLOEXEC;
  flags |= options.access == Access::read_write ? O_RDWR : O_RDONLY;
  if (direct) flags |= O_DIRECT;
  if (options.create) flags |= O_CREAT;
  if (options.create && options.exclusive) flags |= O_EXCL;
  if (options.truncate) flags |= O_TRUNC;
  return flags;
}

}  // namespace

Task<Result<void>> File::open_descriptor(Descriptor& descriptor, OpenOptions options, bool direct) {
  const char* path = descriptor.path.c_str();
  const int32_t flags = flags_of(options, direct);
  // The descriptor gets its owner in the same step in which the open completes: a cancel can't lose it.
  descriptor.fd = co_await ok(OpenOperation(*descriptor.backend, path, flags, options.mode));
  descriptor.is_direct = direct;
  co_return Result<void>();
}

Task<Result<File>> File::open_as(std::string path, OpenOptions options, bool direct) {
  Backend& backend = Backend::current();
  File file(std::make_unique<Descriptor>(backend, std::move(path)));
  file.descriptor_->queue = options.queue;
  co_await ok(open_descriptor(*file.descriptor_, options, direct));
  co_await ok(file.learn_alignment());
  co_return std::move(file);
}

Task<Result<File>> File::open(std::string path, OpenOptions options) {
  if (options.direct != Direct::never) {
    Result<File> opened = co_await open_as(path, options, true);
    const bool has_it = opened.has_value();
    if (has_it) opened->descriptor_->backend->register_descriptor(*opened->descriptor_);
    if (has_it) co_return std::move(opened);
    const Error error = opened.error();
    const bool refuses_direct = error.code == ErrorCode::no_direct_io || error.number == EINVAL;
    if (!refuses_direct) co_return Unexpected(error);
    if (options.direct == Direct::require) co_return fail(ErrorCode::no_direct_io, "open");
    options.exclusive = false;  // the first try has made the file, even where direct I/O was refused
  }
  Result<File> opened = co_await open_as(std::move(path), options, false);
  if (opened.has_value()) opened->descriptor_->backend->register_descriptor(*opened->descriptor_);
  co_return std::move(opened);
}

// open(2) takes O_DIRECT on tmpfs too; only statx tells, and only when the mask says that it knows.
Task<Result<void>> File::learn_alignment() {
  Descriptor& descriptor = *descriptor_;
  struct statx status{};
  co_await ok(PlainOperation(descriptor, status));
  descriptor.size_at_open = status.stx_size;
  // A device's status has no size.
  if (S_ISBLK(status.stx_mode) && ::ioctl(descriptor.fd, BLKGETSIZE64, &descriptor.size_at_open) < 0) {
    co_return fail_errno(errno, "open");
  }
  descriptor.is_disk = S_ISREG(status.stx_mode) || S_ISBLK(status.stx_mode);
  if (!descriptor.is_direct) co_return Result<void>();
  const bool is_known = (status.stx_mask & STATX_DIOALIGN) != 0 && status.stx_dio_offset_align != 0;
  if (!is_known) co_return fail(ErrorCode::no_direct_io, "open");
  descriptor.memory_alignment = status.stx_dio_mem_align;
  descriptor.offset_alignment = status.stx_dio_offset_align;
  co_return Result<void>();
}

File& File::operator=(File&& other) noexcept {
  if (this == &other) return *this;
  File former(std::move(descriptor_));
  descriptor_ = std::move(other.descriptor_);
  return *this;
}

File::~File() {
  if (descriptor_ == nullptr) return;
  Backend& backend = *descriptor_->backend;
  backend.drop(std::move(descriptor_));
}

Task<Result<void>> File::close() {
  Descriptor& descriptor = record();
  if (descriptor.fd < 0 || descriptor.is_closing) co_return fail(ErrorCode::closed, "close");
  Section shielded(CancelContext::Kind::shield);
  co_await shielded.enter();
  descriptor.is_closing = true;  // nothing new begins from here on
  if (descriptor.live_count > 0) {
    descriptor.backend->cancel_all_of(descriptor);
    descriptor.drained.reset();
    if (descriptor.live_count > 0) {
      const Result<void> drained = co_await descriptor.drained.wait();
      SPINDLE_ASSERT(drained.has_value(), "a shielded wait was cancelled");
    }
  }
  descriptor.backend->unregister_descriptor(descriptor);
  const Result<void> closed = co_await PlainOperation(*descriptor.backend, Opcode::close, &descriptor);
  descriptor.fd = -1;
  shielded.leave();
  if (descriptor.is_dropped) descriptor.backend->free_dropped(descriptor);
  co_return closed;
}

}  // namespace spindle
