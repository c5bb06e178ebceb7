#include "io/uring/entry.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include "io/descriptor.h"
#include "io/file_status.h"

namespace spindle {

namespace {

// From linux/io_uring.h of Linux 6.9; the headers and the library here are older. The size goes into `off`.
constexpr uint8_t opcode_ftruncate = 55;
constexpr uint32_t mask_status = STATX_BASIC_STATS | STATX_DIOALIGN | mask_read_alignment;
constexpr int no_ring_operation = -1;

/// The ring's own opcode; those of transfers and of nop are not asked for.
int ring_opcode_of(Opcode opcode) noexcept {
  switch (opcode) {
    case Opcode::nop:
    case Opcode::read:
    case Opcode::write:
    case Opcode::readv:
    case Opcode::writev: return IORING_OP_NOP;
    case Opcode::sync:
    case Opcode::sync_data: return IORING_OP_FSYNC;
    case Opcode::allocate:
    case Opcode::punch_hole: return IORING_OP_FALLOCATE;
    case Opcode::open: return IORING_OP_OPENAT;
    case Opcode::stat:
    case Opcode::stat_path: return IORING_OP_STATX;
    case Opcode::close: return IORING_OP_CLOSE;
    case Opcode::truncate: return opcode_ftruncate;
    case Opcode::rename: return IORING_OP_RENAMEAT;
    case Opcode::unlink:
    case Opcode::remove_directory: return IORING_OP_UNLINKAT;
    case Opcode::make_directory: return IORING_OP_MKDIRAT;
    case Opcode::list_directory:
    case Opcode::lock:
    case Opcode::set_direct:
    case Opcode::device_size: return no_ring_operation;
  }
  return no_ring_operation;
}

void fill_allocation(io_uring_sqe& entry, const Operation& operation, int mode) noexcept {
  io_uring_prep_rw(IORING_OP_FALLOCATE, &entry, operation.descriptor()->fd, reinterpret_cast<void*>(operation.size()),
                   static_cast<unsigned>(mode), operation.offset());
}

}  // namespace

void fill_entry(io_uring_sqe& entry, Operation& operation) noexcept {
  const Descriptor* file = operation.descriptor();
  const int fd = file == nullptr ? -1 : file->fd;
  switch (operation.opcode()) {
    case Opcode::nop:
    case Opcode::read:
    case Opcode::write:
    case Opcode::readv:
    case Opcode::writev: break;  // the backend has done it
    case Opcode::sync: io_uring_prep_fsync(&entry, fd, 0); break;
    case Opcode::sync_data: io_uring_prep_fsync(&entry, fd, IORING_FSYNC_DATASYNC); break;
    case Opcode::allocate: fill_allocation(entry, operation, 0); break;
    case Opcode::punch_hole: fill_allocation(entry, operation, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE); break;
    case Opcode::open:
      io_uring_prep_openat(&entry, AT_FDCWD, operation.path(), operation.open_flags(), operation.open_mode());
      break;
    case Opcode::stat: io_uring_prep_statx(&entry, fd, "", AT_EMPTY_PATH, mask_status, operation.status()); break;
    case Opcode::stat_path:
      io_uring_prep_statx(&entry, AT_FDCWD, operation.path(), 0, mask_status, operation.status());
      break;
    case Opcode::truncate: io_uring_prep_rw(opcode_ftruncate, &entry, fd, nullptr, 0, operation.size()); break;
    case Opcode::rename:
      io_uring_prep_renameat(&entry, AT_FDCWD, operation.path(), AT_FDCWD, operation.target_path(), 0);
      break;
    case Opcode::unlink: io_uring_prep_unlinkat(&entry, AT_FDCWD, operation.path(), 0); break;
    case Opcode::remove_directory: io_uring_prep_unlinkat(&entry, AT_FDCWD, operation.path(), AT_REMOVEDIR); break;
    case Opcode::make_directory:
      io_uring_prep_mkdirat(&entry, AT_FDCWD, operation.path(), operation.open_mode());
      break;
    case Opcode::close: io_uring_prep_close(&entry, fd); break;
    case Opcode::list_directory:
    case Opcode::lock:
    case Opcode::set_direct:
    case Opcode::device_size: SPINDLE_ASSERT(false, "an operation that the ring does not have was given to it");
  }
}

void RingOperations::probe(io_uring& ring, bool rare_too) noexcept {
  io_uring_probe* answer = io_uring_get_probe_ring(&ring);
  for (uint32_t index = 0; index < opcode_count; ++index) {
    const Opcode opcode = static_cast<Opcode>(index);
    const int asked = ring_opcode_of(opcode);
    const bool is_known =
        answer == nullptr ? asked <= IORING_OP_MKDIRAT : io_uring_opcode_supported(answer, asked) != 0;
    const bool is_wanted = opcode < opcode_rare_first || rare_too;
    in_ring_[index] = asked != no_ring_operation && is_known && is_wanted;
  }
  if (answer != nullptr) io_uring_free_probe(answer);
}

}  // namespace spindle
