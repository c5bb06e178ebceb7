// Which plots a report has, made of the series that ran.
#pragma once

#include <vector>

#include "benchmarks/plot.h"
#include "benchmarks/report.h"

namespace spindle::bench {

/// The colour of an engine, the same in all plots and tables.
std::string colour_of(const std::string& engine);

/// Throughput and latency against the depth where there are several depths, else throughput per engine; and the
/// distribution of the latency. Ring NOPs only where nothing else ran.
std::vector<Plot> plots_of(const std::vector<Series>& all);

/// Neighbours that ran the same job, and so compare: [begin, end) of each group in `all`.
struct Group {
  size_t begin = 0;
  size_t end = 0;
};
std::vector<Group> groups_of(const std::vector<Series>& all);

}  // namespace spindle::bench
