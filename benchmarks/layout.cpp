#include "benchmarks/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>

#include "benchmarks/interrupt.h"
#include "benchmarks/job.h"
#include "benchmarks/stamp.h"
#include "benchmarks/target.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

constexpr uint64_t chunk_size_wanted = 4u << 20;
constexpr char trailer_magic[16] = "spindle-bench 1";

struct Trailer {
  char magic[16];
  uint64_t size_bytes;
  uint64_t checksum;  // of the members above
  uint8_t zeroes[trailer_size - 32];
};
static_assert(sizeof(Trailer) == trailer_size);

uint64_t checksum_of(const Trailer& trailer) noexcept {
  uint64_t checksum = mix64(trailer.size_bytes);
  for (const char byte : trailer.magic) checksum = mix64(checksum ^ static_cast<unsigned char>(byte));
  return checksum;
}

struct FreeDeleter {
  void operator()(std::byte* bytes) const noexcept { free(bytes); }
};

// EINTR and short counts are retried; 0 is success, otherwise an errno.
int write_all(int fd, const std::byte* bytes, uint64_t size, uint64_t offset) noexcept {
  while (size > 0) {
    const ssize_t count = pwrite(fd, bytes, size, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR && !interrupted()) continue;
    if (count < 0) return errno;
    if (count == 0) return ENOSPC;
    bytes += count;
    offset += static_cast<uint64_t>(count);
    size -= static_cast<uint64_t>(count);
  }
  return 0;
}

// What belongs at [offset, offset + size): whole stamped blocks, and random data where none fits any more.
void fill_chunk(std::span<std::byte> chunk, uint64_t offset, uint32_t verify_block_size) {
  uint64_t filled = 0;
  for (; verify_block_size != 0 && filled + verify_block_size <= chunk.size(); filled += verify_block_size) {
    stamp_block(chunk.subspan(filled, verify_block_size), offset + filled, 1);
  }
  fill_incompressible(chunk.data() + filled, chunk.size() - filled, offset + filled);
}

Failure write_data(int fd, const Layout& layout) {
  // Whole blocks and whole pages in each chunk.
  const uint64_t unit = std::lcm<uint64_t>(4096, std::max(1u, layout.verify_block_size));
  const uint64_t chunk_size = std::max(uint64_t{1}, chunk_size_wanted / unit) * unit;
  const std::unique_ptr<std::byte, FreeDeleter> chunk(static_cast<std::byte*>(aligned_alloc(4096, chunk_size)));
  if (!chunk) return failure_errno(ENOMEM, "cannot lay out", layout.label);
  uint64_t chunks_count = 0;
  for (uint64_t offset = 0; offset < layout.size_bytes; offset += chunk_size) {
    const uint64_t size = std::min(chunk_size, layout.size_bytes - offset);
    fill_chunk({chunk.get(), size}, offset, layout.verify_block_size);
    const int number = write_all(fd, chunk.get(), size, offset);
    if (interrupted()) return {"interrupted"};
    if (number != 0) {
      return failure_errno(number, "cannot lay out", layout.label, number == ENOSPC ? "give a smaller --size" : "");
    }
    if (layout.progress && chunks_count++ % 16 == 0) {
      fprintf(stderr, "\rlaying out %s: %.0f %% \x1b[K", text_of_bytes(layout.size_bytes).c_str(),
              100.0 * static_cast<double>(offset) / static_cast<double>(layout.size_bytes));
    }
  }
  return {};
}

}  // namespace

uint64_t own_data_size(int fd) {
  struct stat info{};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return 0;
  const auto file_size = static_cast<uint64_t>(info.st_size);
  if (file_size <= trailer_size) return 0;
  Trailer trailer;
  const uint64_t offset = file_size - trailer_size;
  if (pread(fd, &trailer, sizeof(trailer), static_cast<off_t>(offset)) != sizeof(trailer)) return 0;
  const bool ours = memcmp(trailer.magic, trailer_magic, sizeof(trailer_magic)) == 0 &&
                    trailer.checksum == checksum_of(trailer) && trailer.size_bytes == offset;
  return ours ? offset : 0;
}

Failure lay_out(int fd, const Layout& layout) {
  const std::string& label = layout.label;
  const auto file_size = static_cast<off_t>(layout.size_bytes + trailer_size);
  if (fallocate(fd, 0, 0, file_size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
    const int number = errno;
    const bool space = number == ENOSPC || number == EFBIG || number == EDQUOT;
    return failure_errno(number, "cannot allocate " + text_of_bytes(layout.size_bytes) + " for", label,
                         space ? "give a smaller --size" : "");
  }
  Descriptor direct(open(layout.path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  Failure failure = write_data(direct.fd() >= 0 ? direct.fd() : fd, layout);
  if (layout.progress) fputs("\r\x1b[K", stderr);
  if (failure) return failure;
  Trailer trailer{};
  memcpy(trailer.magic, trailer_magic, sizeof(trailer_magic));
  trailer.size_bytes = layout.size_bytes;
  trailer.checksum = checksum_of(trailer);
  // The data first, durably: a trailer must never vouch for data that isn't there.
  int number = fsync(fd) == 0 ? 0 : errno;
  if (number == 0)
    number = write_all(fd, reinterpret_cast<const std::byte*>(&trailer), trailer_size, layout.size_bytes);
  if (number == 0 && fsync(fd) != 0) number = errno;
  if (interrupted()) return {"interrupted"};
  return number == 0 ? Failure{} : failure_errno(number, "cannot finish", label);
}

uint64_t space_free(int fd) {
  struct statvfs info{};
  if (fstatvfs(fd, &info) != 0) return 0;
  return uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace spindle::bench
