#include "benchmarks/plot.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "benchmarks/process.h"
#include "benchmarks/target.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

constexpr const char* preamble =
    "set terminal svg size 620,380 dynamic enhanced font 'Helvetica, Arial, sans-serif,13' linewidth 1\n"
    "set encoding utf8\n"
    "set border 3 linecolor '#8a919c' linewidth 1\n"
    "set grid ytics linecolor '#e3e6ea' linetype 1 linewidth 1\n"
    "set tics nomirror out scale 0.6 textcolor '#3c434d'\n"
    "unset key\n"
    "set pointintervalbox 0\n"
    "set style fill solid 0.9 noborder\n"
    "set bars 0.6\n";

std::string number(double value) { return text_of("%.9g", value); }

std::string tics_text(const std::vector<Tic>& tics) {
  std::string text;
  for (const Tic& tic : tics) text += (text.empty() ? "'" : ", '") + tic.label + "' " + number(tic.at);
  return "(" + text + ")";
}

struct Range {
  double min = INFINITY;
  double max = -INFINITY;
  void add(double value) noexcept {
    min = std::min(min, value);
    max = std::max(max, value);
  }
};

std::string axes_text(const Plot& plot) {
  Range x;
  Range y;
  for (const Curve& curve : plot.curves) {
    for (const Point& point : curve.points) {
      x.add(point.x);
      for (const double value : {point.y, point.y_min, point.y_max}) {
        if (value > 0) y.add(value);
      }
    }
  }
  std::string text;
  if (plot.x_is_log) text += "set logscale x\n";
  if (plot.y_is_log) text += "set logscale y\n";
  if (plot.kind == Plot::Kind::bars) {
    text += "set xrange [" + number(x.min - 0.6) + ":" + number(x.max + 0.6) + "]\nset boxwidth 0.5\n";
  } else if (plot.x_is_log) {
    text += "set xrange [" + number(x.min * 0.85) + ":" + number(x.max * 1.18) + "]\n";
  } else {
    text += "set xrange [" + number(x.min) + ":" + number(x.max) + "]\n";
  }
  if (!plot.y_tics.empty()) {
    // A hair wider than the tics: one exactly at the end is dropped now and then.
    text +=
        "set yrange [" + number(plot.y_tics.front().at * 0.999) + ":" + number(plot.y_tics.back().at * 1.001) + "]\n";
    text += "set ytics " + tics_text(plot.y_tics) + "\n";
  } else {
    text += "set yrange [0:" + number(y.max * 1.08) + "]\n";
  }
  if (!plot.x_tics.empty()) text += "set xtics " + tics_text(plot.x_tics) + "\n";
  const std::string style = "' textcolor '#3c434d'\n";
  return text + "set xlabel '" + plot.x_label + style + "set ylabel '" + plot.y_label + style;
}

std::string curve_text(const Plot& plot, const Curve& curve, size_t index) {
  const std::string data = "$curve" + std::to_string(index);
  const std::string colour = " linecolor rgb '" + curve.colour + "'";
  const bool whiskers =
      std::any_of(curve.points.begin(), curve.points.end(), [](const Point& p) { return p.y_min != p.y_max; });
  std::string text;
  if (plot.kind == Plot::Kind::bars) {
    text = data + " using 1:2 with boxes" + colour + " notitle";
  } else {
    const char* const style = !curve.marked ? "lines" : curve.points.size() == 1 ? "points" : "linespoints";
    text = data + " using 1:2 with " + style + colour + " linewidth 2" + (curve.dashed ? " dashtype (8,5)" : "");
    if (curve.marked) text += std::string(" pointtype ") + (curve.dashed ? "6" : "7") + " pointsize 0.6";
    text += " notitle";
  }
  if (!whiskers) return text;
  const std::string whisker_colour = plot.kind == Plot::Kind::bars ? " linecolor rgb '#22272e'" : colour;
  // Not yerrorbars: those paint a white disk over the point.
  const std::string whisker =
      data + " using 1:3:(0):($4-$3) with vectors heads size screen 0.007,90" + whisker_colour + " linewidth 1 notitle";
  return plot.kind == Plot::Kind::bars ? text + ", " + whisker : whisker + ", " + text;
}

std::string script_of(const Plot& plot) {
  std::string script = preamble;
  std::string command;
  for (size_t i = 0; i < plot.curves.size(); ++i) {
    script += "$curve" + std::to_string(i) + " << EOD\n";
    for (const Point& point : plot.curves[i].points) {
      script += number(point.x) + " " + number(point.y) + " " + number(point.y_min) + " " + number(point.y_max) + "\n";
    }
    script += "EOD\n";
    command += (command.empty() ? "plot " : ", ") + curve_text(plot, plot.curves[i], i);
  }
  return script + axes_text(plot) + command + "\n";
}

}  // namespace

std::vector<Tic> time_tics(double min, double max) {
  std::vector<Tic> tics;
  if (!(min > 0) || !(max >= min)) return tics;
  const auto steps = max / min > 3000 ? std::vector<double>{1, 10} : std::vector<double>{1, 2, 5, 10};
  double decade = std::pow(10, std::floor(std::log10(min)));
  for (;; decade *= 10) {
    for (size_t i = 0; i + 1 < steps.size(); ++i) {
      const double at = decade * steps[i];
      if (decade * steps[i + 1] <= min) continue;
      const double scale = at < 999 ? 1 : at < 999e3 ? 1e3 : at < 999e6 ? 1e6 : 1e9;
      const char* const unit = scale == 1 ? " ns" : scale == 1e3 ? " µs" : scale == 1e6 ? " ms" : " s";
      tics.push_back({at, text_of("%.0f", at / scale) + unit});
      if (at > max) return tics;
    }
  }
}

bool gnuplot_installed() { return is_in_path("gnuplot"); }

Checked<std::string> svg_of(const Plot& plot) {
  const Descriptor script(memfd_create("plot", MFD_CLOEXEC));
  const std::string text = script_of(plot);
  if (script.fd() < 0 || write(script.fd(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return {{}, failure_errno(errno, "cannot write the script of a plot", "")};
  }
  const std::string path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(script.fd());
  auto output = run_process({"gnuplot", path});
  if (output.failure) return {{}, std::move(output.failure)};
  const std::string& svg = output.value.standard_output;
  const size_t begin = svg.find("<svg");
  if (output.value.exit_status != 0 || begin == std::string::npos) {
    const std::string& error = output.value.standard_error;
    return {{}, {"gnuplot could not draw \"" + plot.title + "\": " + error.substr(0, error.find('\n'))}};
  }
  return {svg.substr(begin), {}};
}

}  // namespace spindle::bench
