#include "benchmarks/compare.h"

#include <stdio.h>

#include "benchmarks/disk.h"
#include "benchmarks/interrupt.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

std::string table_row(const Series& series, double yardstick) {
  const Spread iops = series.spread(iops_of);
  const auto percentile = [&](double percent) {
    return text_of_ns(
        series.spread([&](const Sample& s) { return static_cast<double>(s.latency_ns.percentile(percent)); }).median);
  };
  const double cpu_ns =
      series.spread([](const Sample& s) { return s.user_ns_per_operation() + s.system_ns_per_operation(); }).median;
  const double user_ns = series.spread([](const Sample& s) { return s.user_ns_per_operation(); }).median;
  const std::string range = text_of_count(iops.min) + " .. " + text_of_count(iops.max);
  char text[200];
  snprintf(text, sizeof(text), "  %-12s %9s  %-18s %6.2f %9s %9s %9s %9s %9s\n", series.engine.c_str(),
           text_of_count(iops.median).c_str(), range.c_str(), yardstick > 0 ? iops.median / yardstick : 0,
           percentile(50).c_str(), percentile(99).c_str(), percentile(99.9).c_str(), text_of_ns(user_ns).c_str(),
           text_of_ns(cpu_ns).c_str());
  return text;
}

// The job of one run, with what its line of progress says; fio, which prints none of its own, leaves the line as it is
// at the start.
Job job_of_run(const Job& job, const std::string& label, double later_s) {
  Job run = job;
  run.progress_label = label;
  run.later_s = later_s;
  if (job.progress) {
    fprintf(stderr, "\r%s: %.0f s left \x1b[K", label.c_str(), job.ramp_s + job.runtime_s + later_s);
  }
  return run;
}

}  // namespace

double comparison_s(const Job& job, const std::vector<std::unique_ptr<Engine>>& engines, uint32_t rounds_count) {
  constexpr double fio_start_s = 0.5;  // it forks, checks the file and collects
  double round_s = 0;
  for (const auto& engine : engines) {
    round_s += job.ramp_s + job.runtime_s + (engine->name().starts_with("fio") ? fio_start_s : 0);
  }
  return round_s * rounds_count;
}

Comparison compare(const Job& job, const std::vector<std::unique_ptr<Engine>>& engines, uint32_t rounds_count,
                   const std::string& name) {
  Comparison comparison;
  for (const auto& engine : engines) comparison.series.push_back({name, std::string(engine->name()), job, {}});
  const double round_s = comparison_s(job, engines, 1);
  double left_s = job.later_s + round_s * rounds_count;
  for (uint32_t round = 0; round < rounds_count; ++round) {
    for (size_t i = 0; i < engines.size(); ++i) {
      const size_t index = (i + round) % engines.size();
      left_s -= round_s / static_cast<double>(engines.size());
      std::string label = name + " on " + std::string(engines[index]->name());
      if (rounds_count > 1) label += ", run " + std::to_string(round + 1) + " of " + std::to_string(rounds_count);
      const Job run = job_of_run(job, label, left_s);
      const DiskMeter disk(job.disk);
      Sample sample = engines[index]->run(run);
      sample.disk = disk.use();
      if (sample.error.empty() && interrupted()) sample.error = "interrupted";
      if (!sample.error.empty()) {
        if (job.progress) fputs("\r\x1b[K", stderr);
        comparison.failure = {std::string(engines[index]->name()) + ": " + sample.error};
        return comparison;
      }
      comparison.series[index].samples.push_back(std::move(sample));
    }
  }
  if (job.progress) fputs("\r\x1b[K", stderr);
  return comparison;
}

std::string comparison_table(const std::vector<Series>& all) {
  char text[200];
  snprintf(text, sizeof(text), "  %-12s %9s  %-18s %6s %9s %9s %9s %9s %9s\n", "engine", "IOPS", "min .. max", "ratio",
           "p50", "p99", "p99.9", "user/I/O", "CPU/I/O");
  std::string table = text;
  const double yardstick = all.empty() ? 0 : all.front().spread(iops_of).median;
  for (const Series& series : all) table += table_row(series, yardstick);
  return table;
}

std::string comparison_commands(const std::vector<Series>& all) {
  std::string text;
  for (const Series& series : all) {
    std::string name = series.engine;
    name.resize(12, ' ');
    text += "  " + name + " " + series.median_sample().command + "\n";
  }
  return text;
}

}  // namespace spindle::bench
