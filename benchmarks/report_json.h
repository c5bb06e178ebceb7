// Results as JSON with fio's field names, units and shape, so that a script which reads `fio --output-format=json`
// reads this too. What is never done here (trim) or can't be told apart (slat) is zero, as fio has it; what is not
// measured (batches per submission, steady state) is left out rather than made up.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/report.h"

namespace spindle::bench {

/// One entry of jobs[] per series, made of its median run. `bins`: fio's json+, with the histogram in clat_ns
/// and lat_ns.
std::string report_json(const std::vector<Series>& all, bool bins);

}  // namespace spindle::bench
