// Plots as SVG, drawn by gnuplot (https://gnuplot.info), which is looked for when the program runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/failure.h"

namespace spindle::bench {

struct Point {
  double x = 0;
  double y = 0;
  double y_min = 0;  ///< of the whisker; both equal: none
  double y_max = 0;
};

struct Curve {
  std::string name;
  std::string colour;  ///< "#rrggbb"
  bool dashed = false;
  bool marked = true;  ///< a dot at each point
  std::vector<Point> points;
};

struct Tic {
  double at = 0;
  std::string label;
};

struct Plot {
  enum class Kind : uint8_t { lines, bars };

  std::string title;  ///< for the page, not drawn; the same goes for the names of the curves
  std::string x_label;
  std::string y_label;
  Kind kind = Kind::lines;
  bool x_is_log = false;
  bool y_is_log = false;
  std::vector<Tic> x_tics;
  std::vector<Tic> y_tics;    ///< empty: gnuplot's own
  std::vector<Curve> curves;  ///< bars: one point each
};

/// 1, 2, 5, 10, 20, ... from below `min` to above `max`, labelled as times: "200 us". Nanoseconds.
std::vector<Tic> time_tics(double min, double max);

bool gnuplot_installed();

/// The plot as an `<svg>` element, to be put into a page. Blocks.
Checked<std::string> svg_of(const Plot& plot);

}  // namespace spindle::bench
