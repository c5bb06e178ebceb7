// Laying out a test file: the data, then the trailer that marks it as ours (benchmarks/prepare.h has the
// picture).
#pragma once

#include <cstdint>
#include <string>

#include "benchmarks/failure.h"

namespace spindle::bench {

inline constexpr uint64_t trailer_size = 4096;

/// The size of the data if the file ends with a valid trailer; 0 if it isn't one of ours.
uint64_t own_data_size(int fd);

struct Layout {
  std::string path;                ///< opens the same file again, for direct I/O where there is any
  std::string label;               ///< for messages
  uint64_t size_bytes = 0;         ///< of the data, a multiple of 4096
  uint32_t verify_block_size = 0;  ///< stamp each block of that size (benchmarks/stamp.h); 0: plain random data
  bool progress = false;
};

/// Fills an open, empty file with incompressible data and the trailer, durable. Stops early, with a failure, on
/// Ctrl-C. The caller removes the file on failure.
Failure lay_out(int fd, const Layout& layout);

/// How many bytes an unprivileged user could still allocate in the file system of `fd`.
uint64_t space_free(int fd);

}  // namespace spindle::bench
