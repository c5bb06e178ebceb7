#include "benchmarks/report_html.h"

#include <time.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "benchmarks/fio_engine.h"
#include "benchmarks/report_plots.h"
#include "benchmarks/report_text.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

constexpr const char* style = R"(
:root { color-scheme: light; }
body { font: 15px/1.5 "Helvetica Neue", Helvetica, Arial, sans-serif; color: #22272e; background: #f6f7f9;
       margin: 0; }
main { max-width: 1320px; margin: 0 auto; padding: 32px 28px 64px; }
h1 { font-size: 26px; font-weight: 600; margin: 0 0 4px; }
h2 { font-size: 18px; font-weight: 600; margin: 36px 0 12px; }
p.when { color: #6b7280; margin: 0 0 20px; }
section.card, figure { background: #fff; border: 1px solid #e3e6ea; border-radius: 8px; }
section.card { padding: 16px 20px; overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; }
dt { color: #6b7280; }
dd { margin: 0; overflow-wrap: anywhere; }
ol { margin: 0; padding-left: 22px; }
ol li { margin: 4px 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(520px, 1fr)); gap: 18px; }
figure { margin: 0; padding: 14px 14px 6px; }
figcaption { font-weight: 600; margin: 0 6px 6px; }
.legend { margin: 0 6px 4px; font-size: 13.5px; color: #3c434d; }
.legend span { display: inline-block; margin-right: 18px; white-space: nowrap; }
.legend i { display: inline-block; width: 22px; height: 0; border-top: 3px solid; vertical-align: middle;
            margin-right: 7px; }
.legend i.dashed { border-top-style: dashed; }
figure svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: #3c434d; border-bottom: 2px solid #d5d9df; padding: 6px 10px;
     white-space: nowrap; }
td { text-align: right; padding: 5px 10px; white-space: nowrap; border-bottom: 1px solid #eef0f3; }
th.left, td.left { text-align: left; }
tr.first td { border-top: 1px solid #c9ced6; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 8px; }
pre { margin: 0; font: 12.5px/1.6 "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre-wrap;
      overflow-wrap: anywhere; }
p.note { color: #6b7280; margin: 10px 0 0; font-size: 14px; }
)";

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      default: safe += c;
    }
  }
  return safe;
}

std::string fact(const std::string& name, const std::string& text) {
  return text.empty() ? std::string() : "<dt>" + escaped(name) + "</dt><dd>" + escaped(text) + "</dd>\n";
}

std::string features_of(const std::vector<Series>& all) {
  std::string text;
  for (const Series& series : all) {
    if (series.engine != "spindle" && all.size() != 1) continue;
    for (const std::string& feature : series.samples.front().features) text += (text.empty() ? "" : ", ") + feature;
    return text;
  }
  return text;
}

std::string facts(const std::vector<Series>& all, const Page& page) {
  std::string text = fact("job", page.job) + fact("machine", describe_machine());
  if (page.file != nullptr) {
    const Target& target = page.file->target;
    text += fact("file", page.file->label + ", " + text_of_bytes(page.file->size_bytes));
    text += fact("device", target.device) + fact("file system", target.file_system);
    text += fact("alignment", describe_alignment(target)) + fact("note", page.file->note);
  }
  const bool has_fio =
      std::any_of(all.begin(), all.end(), [](const Series& series) { return series.engine.starts_with("fio"); });
  text += fact("ring features in use", features_of(all)) + fact("beside it", has_fio ? fio_version() : "");
  return "<section class=\"card\"><dl>\n" + text + "</dl></section>\n";
}

std::string verdict_section(const std::string& verdict) {
  if (verdict.empty()) return {};
  std::istringstream lines(verdict);
  std::string items;
  for (std::string line; std::getline(lines, line);) {
    const size_t text = line.find(". ");  // "1. this disk: ..."
    if (!line.empty()) items += "<li>" + escaped(text == 1 ? line.substr(3) : line) + "</li>\n";
  }
  return "<h2>Verdict</h2>\n<section class=\"card\"><ol>\n" + items + "</ol></section>\n";
}

std::string legend_of(const Plot& plot) {
  if (plot.kind == Plot::Kind::bars) return {};
  std::string text;
  for (const Curve& curve : plot.curves) {
    text += std::string("<span><i") + (curve.dashed ? " class=\"dashed\"" : "") +
            " style=\"border-color:" + curve.colour + "\"></i>" + escaped(curve.name) + "</span>";
  }
  return "<div class=\"legend\">" + text + "</div>\n";
}

std::string plots_section(const std::vector<Series>& all) {
  std::string text = "<h2>Plots</h2>\n";
  if (!gnuplot_installed()) {
    return text + "<section class=\"card\">There are none: gnuplot is not installed (Debian: gnuplot-nox).</section>\n";
  }
  text += "<div class=\"plots\">\n";
  for (const Plot& plot : plots_of(all)) {
    const auto svg = svg_of(plot);
    text += "<figure><figcaption>" + escaped(plot.title) + "</figcaption>\n" + legend_of(plot) +
            (svg.failure ? escaped(svg.failure.line) : svg.value) + "</figure>\n";
  }
  return text + "</div>\n";
}

std::string time_of(double ns) {
  std::string text = text_of_ns(ns);
  if (text.ends_with(" us")) text.replace(text.size() - 2, 1, "µ");
  return text;
}

std::string cell(const std::string& text) { return "<td>" + escaped(text) + "</td>"; }

// `yardstick`: null where there is nothing to compare with.
std::string table_row(const Series& series, const Series* yardstick, bool is_first) {
  const auto median = [&](auto projection) { return series.spread(projection).median; };
  const auto percentile = [&](double percent) {
    return time_of(median([&](const Sample& s) { return static_cast<double>(s.latency_ns.percentile(percent)); }));
  };
  const Spread iops = series.spread(iops_of);
  const double base = yardstick == nullptr ? 0 : yardstick->spread(iops_of).median;
  const Job& job = series.job;
  std::string row = is_first ? "<tr class=\"first\">" : "<tr>";
  row += "<td class=\"left\">" + escaped(job.nop ? "ring NOPs" : std::string(name_of(job.rw))) + "</td>";
  row += cell(job.nop ? "" : text_of_bytes(job.block_size)) + cell(std::to_string(job.depth));
  row += "<td class=\"left\"><span class=\"swatch\" style=\"background:" + colour_of(series.engine) + "\"></span>" +
         escaped(series.engine) + "</td>";
  row += cell(text_of_count(iops.median)) + cell(text_of_count(iops.min) + " – " + text_of_count(iops.max));
  row += cell(base > 0 ? text_of("%.2f", iops.median / base) : "");
  row += cell(job.nop ? "" : text_of("%.0f", median([](const Sample& s) { return s.bytes_per_second(); }) / 1e6));
  row += cell(percentile(50)) + cell(percentile(99)) + cell(percentile(99.9)) + cell(percentile(99.99));
  row += cell(time_of(median([](const Sample& s) { return static_cast<double>(s.latency_ns.max()); })));
  row += cell(time_of(median([](const Sample& s) { return s.user_ns_per_operation(); })));
  row += cell(time_of(median([](const Sample& s) { return s.system_ns_per_operation(); })));
  return row + "</tr>\n";
}

std::string table_section(const std::vector<Series>& all) {
  std::string text =
      "<h2>Figures</h2>\n<section class=\"card\"><table>\n<tr><th class=\"left\">job</th><th>block</th>"
      "<th>depth</th><th class=\"left\">engine</th><th>IOPS</th><th>lowest – highest</th><th>ratio</th>"
      "<th>MB/s</th><th>p50</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th>"
      "<th>user/I/O</th><th>system/I/O</th></tr>\n";
  for (const Group& group : groups_of(all)) {
    const Series* const yardstick = group.end - group.begin > 1 ? &all[group.begin] : nullptr;
    for (size_t i = group.begin; i < group.end; ++i) text += table_row(all[i], yardstick, i == group.begin);
  }
  return text +
         "</table>\n<p class=\"note\">Medians over the runs of each job; ratio: to the first engine of the same "
         "job. user/I/O and system/I/O: CPU time of the threads that drive the rings.</p></section>\n";
}

std::string commands_section(const std::vector<Series>& all) {
  std::string text;
  std::set<std::string> seen;
  for (const Series& series : all) {
    const std::string& command = series.median_sample().command;
    if (!command.empty() && seen.insert(command).second) text += escaped(command) + "\n";
  }
  if (text.empty()) return {};
  return "<h2>Command lines</h2>\n<section class=\"card\"><pre>" + text + "</pre></section>\n";
}

}  // namespace

std::string report_html(const std::vector<Series>& all, const Page& page) {
  const time_t now = time(nullptr);
  tm local{};
  char when[64] = "";
  strftime(when, sizeof(when), "%Y-%m-%d %H:%M", localtime_r(&now, &local));
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + escaped(page.title) +
         "</title>\n<style>" + style + "</style></head>\n<body><main>\n<h1>" + escaped(page.title) +
         "</h1>\n<p class=\"when\">spindle-bench, " + when + "</p>\n" + facts(all, page) +
         verdict_section(page.verdict) + plots_section(all) + table_section(all) + commands_section(all) +
         "</main></body></html>\n";
}

}  // namespace spindle::bench
