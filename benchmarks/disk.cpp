#include "benchmarks/disk.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include "benchmarks/meter.h"

namespace spindle::bench {

DiskMeter::DiskMeter(std::string disk) : disk_(std::move(disk)), begin_ns_(clock_ns()) { known_ = read(disk_, begin_); }

DiskUse DiskMeter::use() const {
  DiskUse now;
  if (!known_ || !read(disk_, now)) return {};
  DiskUse use;
  for (int i = 0; i < 2; ++i) {
    use.ios[i] = now.ios[i] - begin_.ios[i];
    use.merges[i] = now.merges[i] - begin_.merges[i];
    use.ticks_ms[i] = now.ticks_ms[i] - begin_.ticks_ms[i];
  }
  use.busy_ms = now.busy_ms - begin_.busy_ms;
  use.queue_ms = now.queue_ms - begin_.queue_ms;
  use.elapsed_ms = std::max<uint64_t>(1, (clock_ns() - begin_ns_) / 1'000'000);
  return use;
}

// A line: major, minor, name, then per direction ios, merges, sectors, ticks; then in flight, busy, queue time
// (Documentation/admin-guide/iostats.rst of the kernel).
bool DiskMeter::read(const std::string& disk, DiskUse& counters) {
  if (disk.empty()) return false;
  std::ifstream file("/proc/diskstats");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    uint64_t number = 0;
    std::string name;
    if (!(words >> number >> number >> name) || name != disk) continue;
    for (int i = 0; i < 2; ++i) words >> counters.ios[i] >> counters.merges[i] >> number >> counters.ticks_ms[i];
    return static_cast<bool>(words >> number >> counters.busy_ms >> counters.queue_ms);
  }
  return false;
}

}  // namespace spindle::bench
