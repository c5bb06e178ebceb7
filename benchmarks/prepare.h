// The file under test: found, made, recognized, and removed again.
//
//     | data: size_bytes, incompressible, written with direct I/O, fsynced | trailer: 4096 |
//
// The trailer marks a file as ours: magic, data size, checksum. It stands behind the data, not before it, so
// that write jobs over [0, size_bytes) leave it alone whichever engine runs them. It is written last: a file
// that was only half laid out is not ours, and is removed when laying it out fails.
//
// Invariants:
//  1. Nothing is written to a file or device that has no valid trailer, unless the user said --overwrite.
//  2. Reads run over data that was really written: a foreign file with holes or unwritten extents is refused.
//  3. A file that the user did not name has no name: it is unlinked as soon as it exists and engines open it
//     as /proc/PID/fd/N, so that no end of this process, however rude, leaves it behind.
#pragma once

#include <cstdint>
#include <string>

#include "benchmarks/failure.h"
#include "benchmarks/job.h"
#include "benchmarks/target.h"

namespace spindle::bench {

struct FileRequest {
  std::string filename;     ///< empty: a file of our own in the first folder that supports direct I/O
  uint64_t size_bytes = 0;  ///< 0: the file's own size; for a new file 1 GiB, or less if space is short
  bool writes = false;      ///< the jobs will write to it
  bool direct = true;
  bool overwrite = false;  ///< writing to what we did not make is wanted
  uint32_t verify_block_size = 0;  ///< stamp each block of a new file (benchmarks/stamp.h); 0: plain random data
  bool progress = false;   ///< say on standard error that it is being laid out
};

struct TestFile {
  std::string path;         ///< what engines open; valid while this object lives
  std::string label;        ///< for people
  uint64_t size_bytes = 0;  ///< of the data
  bool is_new = false;      ///< a named one that did not exist before
  std::string note;         ///< something the user should know; empty for most
  Target target;
  Descriptor unnamed;  ///< keeps the unnamed file alive; empty for a named one
};

/// Blocks: laying out 1 GiB takes as long as the disk takes to write it.
Checked<TestFile> prepare_file(const FileRequest& request);

}  // namespace spindle::bench
