// What a disk counted while a job ran, from /proc/diskstats: fio's disk_util.
#pragma once

#include <string>

#include "benchmarks/job.h"

namespace spindle::bench {

/// Takes the counters of a disk ("vda") when made; use() is what they grew by since. An unknown disk has no use.
class DiskMeter {
 public:
  explicit DiskMeter(std::string disk);
  DiskUse use() const;

 private:
  static bool read(const std::string& disk, DiskUse& counters);

  std::string disk_;
  DiskUse begin_;
  uint64_t begin_ns_ = 0;
  bool known_ = false;
};

}  // namespace spindle::bench
