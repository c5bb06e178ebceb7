// The memory of a transfer, contiguous part by part.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "io/operation.h"

namespace spindle {

inline bool is_write(const Operation& operation) noexcept {
  return operation.opcode() == Opcode::write || operation.opcode() == Opcode::writev;
}
inline bool is_sync(const Operation& operation) noexcept {
  return operation.opcode() == Opcode::sync || operation.opcode() == Opcode::sync_data;
}

/// Bytes that the backend is asked for.
inline uint64_t size_to_do(const Operation& operation) noexcept {
  if (!operation.is_vectored()) return operation.chunk_size();
  uint64_t size = 0;
  for (const iovec& part : operation.vector()) size += part.iov_len;
  return size;
}

/// visit(memory, size, offset in the file) for each contiguous part of the first `size` bytes.
template <class Visit>
void for_each_part(const Operation& operation, uint64_t size, Visit visit) {
  if (!operation.is_vectored()) {
    size = std::min<uint64_t>(size, operation.chunk_size());
    if (size > 0) visit(static_cast<std::byte*>(operation.memory()), size, operation.offset());
    return;
  }
  uint64_t offset = operation.offset();
  for (const iovec& part : operation.vector()) {
    const uint64_t here = std::min<uint64_t>(part.iov_len, size);
    if (here > 0) visit(static_cast<std::byte*>(part.iov_base), here, offset);
    offset += here;
    size -= here;
  }
}

}  // namespace spindle
