// Results as a page: one file, no network, plots as SVG within.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/prepare.h"
#include "benchmarks/report.h"

namespace spindle::bench {

struct Page {
  std::string title;
  std::string job;                 ///< what ran; empty for a sweep
  std::string verdict;             ///< lines of it; may be empty
  const TestFile* file = nullptr;  ///< null: the jobs had none
};

/// Blocks while gnuplot draws; without gnuplot the page says so and has no plots.
std::string report_html(const std::vector<Series>& all, const Page& page);

}  // namespace spindle::bench
