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

/// Fills an open, empty file with `size_bytes` (a multiple of 4096) of incompressible data and the trailer,
/// durable. `path` opens the same file again, for direct I/O where there is any; `label` is for messages.
/// Stops early, with a failure, on Ctrl-C. The caller removes the file on failure.
Failure lay_out(int fd, const std::string& path, const std::string& label, uint64_t size_bytes, bool progress);

/// How many bytes an unprivileged user could still allocate in the file system of `fd`.
uint64_t space_free(int fd);

}  // namespace spindle::bench
