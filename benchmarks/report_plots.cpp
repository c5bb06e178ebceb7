#include "benchmarks/report_plots.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

bool is_same_load(const Job& left, const Job& right) {
  return left.rw == right.rw && left.block_size == right.block_size && left.nop == right.nop &&
         left.jobs_count == right.jobs_count;
}

// Ring NOPs beside I/O would only stretch the axes.
bool is_shown(const std::vector<Series>& all, const Job& job) {
  return !job.nop || std::all_of(all.begin(), all.end(), [](const Series& series) { return series.job.nop; });
}

std::string load_name(const Job& job) {
  if (job.nop) return "ring NOPs";
  return std::string(name_of(job.rw)) + " " + text_of_bytes(job.block_size);
}

// One load on one engine, over the depths.
struct Line {
  const Series* first;
  std::vector<const Series*> points;  // depth ascending, each once
};

std::set<uint32_t> depths_of(const std::vector<Series>& all, const Job& load) {
  std::set<uint32_t> depths;
  for (const Series& series : all) {
    if (is_same_load(series.job, load)) depths.insert(series.job.depth);
  }
  return depths;
}

void add_to_lines(std::vector<Line>& lines, const Series& series) {
  const auto is_its = [&](const Line& line) {
    return line.first->engine == series.engine && is_same_load(line.first->job, series.job);
  };
  auto line = std::find_if(lines.begin(), lines.end(), is_its);
  if (line == lines.end()) line = lines.insert(line, {&series, {}});
  const auto has_depth = [&](const Series* point) { return point->job.depth == series.job.depth; };
  if (std::none_of(line->points.begin(), line->points.end(), has_depth)) line->points.push_back(&series);
}

// The loads that ran with several depths. Runs that alternated with those of other engines come first: beside them,
// runs of another time would compare unfairly.
std::vector<Line> lines_of(const std::vector<Series>& all) {
  std::vector<Line> lines;
  for (const bool alone : {false, true}) {
    for (const Group& group : groups_of(all)) {
      if ((group.end - group.begin == 1) != alone) continue;
      for (size_t i = group.begin; i < group.end; ++i) {
        if (is_shown(all, all[i].job) && depths_of(all, all[i].job).size() > 1) add_to_lines(lines, all[i]);
      }
    }
  }
  for (Line& line : lines) {
    std::sort(line.points.begin(), line.points.end(),
              [](const Series* left, const Series* right) { return left->job.depth < right->job.depth; });
  }
  return lines;
}

using Project = Spread (*)(const Series&);

// Moves the curves a little apart, so that their whiskers don't hide one another.
void spread_out(Plot& plot) {
  const auto middle = static_cast<double>(plot.curves.size() - 1) / 2;
  for (size_t i = 0; i < plot.curves.size(); ++i) {
    for (Point& point : plot.curves[i].points) point.x *= 1 + 0.03 * (static_cast<double>(i) - middle);
  }
}

Plot over_depth(const std::vector<Line>& lines, Project project) {
  Plot plot;
  plot.x_label = "operations in flight (queue depth)";
  plot.x_is_log = true;
  const bool several_loads = std::any_of(lines.begin(), lines.end(), [&](const Line& line) {
    return !is_same_load(line.first->job, lines.front().first->job);
  });
  std::set<uint32_t> depths;
  for (const Line& line : lines) {
    Curve curve;
    curve.name = line.first->engine + (several_loads ? ", " + load_name(line.first->job) : "");
    curve.colour = colour_of(line.first->engine);
    curve.dashed = several_loads && has_writes(line.first->job.rw);
    for (const Series* const series : line.points) {
      const Spread spread = project(*series);
      curve.points.push_back({static_cast<double>(series->job.depth), spread.median, spread.min, spread.max});
      depths.insert(series->job.depth);
    }
    plot.curves.push_back(std::move(curve));
  }
  for (const uint32_t depth : depths) plot.x_tics.push_back({static_cast<double>(depth), std::to_string(depth)});
  spread_out(plot);
  return plot;
}

void scale_iops(Plot& plot) {
  double max = 0;
  for (const Curve& curve : plot.curves) {
    for (const Point& point : curve.points) max = std::max(max, point.y_max);
  }
  const double unit = max >= 1e6 ? 1e6 : max >= 1e4 ? 1e3 : 1;
  plot.y_label = unit == 1e6 ? "million IOPS" : unit == 1e3 ? "thousand IOPS" : "IOPS";
  for (Curve& curve : plot.curves) {
    for (Point& point : curve.points) {
      point.y /= unit;
      point.y_min /= unit;
      point.y_max /= unit;
    }
  }
}

void scale_time(Plot& plot) {
  double min = INFINITY;
  double max = 0;
  for (const Curve& curve : plot.curves) {
    for (const Point& point : curve.points) {
      for (const double value : {point.y, point.y_min, point.y_max}) {
        if (value > 0) min = std::min(min, value);
        max = std::max(max, value);
      }
    }
  }
  plot.y_is_log = true;
  plot.y_label = "latency";
  plot.y_tics = time_tics(min, max);
}

Spread iops_spread(const Series& series) { return series.spread(iops_of); }
template <int percent>
Spread percentile_spread(const Series& series) {
  return series.spread([](const Sample& s) { return static_cast<double>(s.latency_ns.percentile(percent)); });
}

// Throughput of one job on several engines.
Plot bars(const std::vector<Series>& all, Group group) {
  Plot plot;
  plot.kind = Plot::Kind::bars;
  plot.title = "Throughput, " + load_name(all[group.begin].job) + ", depth " +
               std::to_string(all[group.begin].job.depth) + ": median, lowest and highest run";
  for (size_t i = group.begin; i < group.end; ++i) {
    const Spread iops = iops_spread(all[i]);
    const auto x = static_cast<double>(i - group.begin);
    plot.curves.push_back(
        {all[i].engine, colour_of(all[i].engine), false, false, {{x, iops.median, iops.min, iops.max}}});
    plot.x_tics.push_back({x, all[i].engine});
  }
  scale_iops(plot);
  return plot;
}

// The value at each rank, against -log10(1 - rank): 1 is p90, 2 is p99, and so on.
std::vector<Point> percentile_points(const Histogram& histogram) {
  std::vector<Point> points;
  const auto total = static_cast<double>(histogram.count());
  uint64_t below_count = 0;
  histogram.for_each([&](uint64_t value, uint64_t count) {
    const double rest = 1 - static_cast<double>(below_count) / total;
    points.push_back({-std::log10(rest), static_cast<double>(value), 0, 0});
    below_count += count;
  });
  if (!points.empty()) points.push_back({std::log10(total), static_cast<double>(histogram.max()), 0, 0});
  return points;
}

// Of all operations, or of one direction of a mix, over all runs.
Curve distribution_curve(const Series& series, const Side Sample::* side) {
  Histogram whole;
  for (const Sample& sample : series.samples)
    whole.merge(side == nullptr ? sample.latency_ns : (sample.*side).latency_ns);
  Curve curve{series.engine, colour_of(series.engine), false, false, {}};
  if (whole.count() != 0) curve.points = percentile_points(whole);
  return curve;
}

std::vector<Curve> distribution_curves(const std::vector<Series>& all, Group group) {
  std::vector<Curve> curves;
  const Series& first = all[group.begin];
  if (group.end - group.begin == 1 && is_mixed(first.job.rw)) {
    curves = {distribution_curve(first, &Sample::reads), distribution_curve(first, &Sample::writes)};
    curves[0].name += ", reads";
    curves[1].name += ", writes";
    curves[1].dashed = true;
  } else {
    for (size_t i = group.begin; i < group.end; ++i) curves.push_back(distribution_curve(all[i], nullptr));
  }
  std::erase_if(curves, [](const Curve& curve) { return curve.points.empty(); });
  return curves;
}

Plot distribution(const std::vector<Series>& all, Group group) {
  Plot plot;
  const Job& job = all[group.begin].job;
  plot.title = "Latency distribution, " + load_name(job) + ", depth " + std::to_string(job.depth) + ", all runs";
  plot.x_label = "percentile of operations";
  double x_max = 1;
  plot.curves = distribution_curves(all, group);
  for (const Curve& curve : plot.curves) x_max = std::max(x_max, curve.points.back().x);
  const std::vector<Tic> tics = {{0, "0"},    {0.30103, "50"}, {1, "90"},     {2, "99"},
                                 {3, "99.9"}, {4, "99.99"},    {5, "99.999"}, {6, "99.9999"}};
  for (const Tic& tic : tics) {
    if (tic.at <= x_max) plot.x_tics.push_back(tic);
  }
  scale_time(plot);
  return plot;
}

// The groups whose distributions are worth a plot: those with most engines, and of them the lowest and the highest
// depth.
std::vector<Group> chosen_groups(const std::vector<Series>& all) {
  std::vector<Group> chosen;
  size_t engines_max = 0;
  const std::vector<Group> groups = groups_of(all);
  const auto is_wanted = [&](const Group& group) { return is_shown(all, all[group.begin].job); };
  for (const Group& group : groups) {
    if (is_wanted(group)) engines_max = std::max(engines_max, group.end - group.begin);
  }
  // At depth 64 and more fio runs twice, so one engine less will do.
  for (const Group& group : groups) {
    if (is_wanted(group) && group.end - group.begin + (engines_max > 2 ? 1 : 0) >= engines_max) chosen.push_back(group);
  }
  if (chosen.size() > 2) chosen = {chosen.front(), chosen.back()};
  return chosen;
}

}  // namespace

std::string colour_of(const std::string& engine) {
  if (engine == "spindle") return "#1769aa";
  if (engine == "spindle-task") return "#2a9d8f";
  if (engine == "plain loop") return "#7b8490";
  if (engine == "fio") return "#d9731a";
  return "#8e5ea2";  // fio batched
}

std::vector<Group> groups_of(const std::vector<Series>& all) {
  std::vector<Group> groups;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool is_next = i > 0 && all[i].name == all[i - 1].name && all[i].job.depth == all[i - 1].job.depth &&
                         all[i].engine != all[groups.back().begin].engine;
    if (is_next) {
      groups.back().end = i + 1;
    } else {
      groups.push_back({i, i + 1});
    }
  }
  return groups;
}

std::vector<Plot> plots_of(const std::vector<Series>& all) {
  std::vector<Plot> plots;
  const std::vector<Line> lines = lines_of(all);
  const std::vector<Group> groups = chosen_groups(all);
  if (!lines.empty()) {
    plots.push_back(over_depth(lines, iops_spread));
    plots.back().title = "Throughput against depth: median, lowest and highest run";
    scale_iops(plots.back());
    plots.push_back(over_depth(lines, percentile_spread<50>));
    plots.back().title = "Median latency (p50) against depth";
    scale_time(plots.back());
    plots.push_back(over_depth(lines, percentile_spread<99>));
    plots.back().title = "Tail latency (p99) against depth";
    scale_time(plots.back());
  } else {
    for (const Group& group : groups) {
      if (group.end - group.begin > 1) plots.push_back(bars(all, group));
    }
  }
  for (const Group& group : groups) plots.push_back(distribution(all, group));
  return plots;
}

}  // namespace spindle::bench
