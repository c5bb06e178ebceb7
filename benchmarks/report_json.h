// Results as JSON with fio's field names, units and shape, so that a script which reads `fio
// --output-format=json` reads this too. What we don't measure (disk_util, job groups, sync and trim) is left
// out rather than made up.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/report.h"

namespace spindle::bench {

/// One entry of jobs[] per series, made of its median run. `bins`: fio's json+, with the histogram in clat_ns
/// and lat_ns.
std::string report_json(const std::vector<Series>& all, bool bins);

}  // namespace spindle::bench
