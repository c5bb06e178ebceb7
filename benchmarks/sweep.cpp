#include "benchmarks/sweep.h"

#include <stdio.h>

#include <memory>

#include "benchmarks/command_text.h"
#include "benchmarks/compare.h"
#include "benchmarks/engines.h"
#include "benchmarks/fio_engine.h"
#include "benchmarks/report_text.h"
#include "benchmarks/units.h"
#include "benchmarks/verdict.h"

namespace spindle::bench {

namespace {

// Times are chosen so that all of it, with fio, takes about 100 seconds after the file is laid out.
struct Pace {
  uint32_t rounds_count = 3;
  double random_s = 0.8;
  double sequential_s = 1.0;
  double nop_s = 0.4;
  double beside_s = 1.2;
  double ramp_s = 0.1;
};
constexpr Pace smoke_pace{1, 0.01, 0.01, 0.01, 0.01, 0};

class Sweep {
 public:
  Sweep(const TestFile& file, const SweepOptions& options)
      : file_(file), options_(options), pace_(options.smoke ? smoke_pace : Pace{}) {}

  SweepResult run();

 private:
  using Engines = std::vector<std::unique_ptr<Engine>>;

  Job job(Pattern rw, uint32_t block_size, uint32_t depth, double runtime_s) const;
  std::vector<Series> measure(const Job& job, const Engines& engines);
  void run_parts();
  void random_part();
  void sequential_part();
  void nop_part();
  void beside_part();

  const TestFile& file_;
  const SweepOptions& options_;
  Pace pace_;
  bool is_planning_ = false;  // measure() only adds up how long it would take
  double left_s_ = 0;
  Findings findings_;
  SweepResult result_;
};

Job Sweep::job(Pattern rw, uint32_t block_size, uint32_t depth, double runtime_s) const {
  Job job;
  job.filename = file_.path;
  job.disk = file_.target.disk;
  job.size_bytes = file_.size_bytes;
  job.rw = rw;
  job.block_size = block_size;
  job.depth = depth;
  job.runtime_s = runtime_s;
  job.ramp_s = pace_.ramp_s;
  job.random_seed = options_.random_seed;
  return job;
}

void append(std::vector<Series>& all, std::vector<Series> more) {
  for (Series& series : more) all.push_back(std::move(series));
}

std::vector<std::unique_ptr<Engine>> only_spindle() {
  std::vector<std::unique_ptr<Engine>> engines;
  engines.push_back(make_spindle_engine());
  return engines;
}

std::string jobname(const Job& job) {
  if (job.nop) return "nop-d" + std::to_string(job.depth);
  return std::string(name_of(job.rw)) + "-" + std::to_string(job.block_size / 1024) + "k-d" + std::to_string(job.depth);
}

// Empty after a failure, which is then in result_, and while planning.
std::vector<Series> Sweep::measure(const Job& wanted, const Engines& engines) {
  if (result_.failure) return {};
  const double duration_s = comparison_s(wanted, engines, pace_.rounds_count);
  if (is_planning_) {
    left_s_ += duration_s;
    return {};
  }
  left_s_ -= duration_s;
  Job job = wanted;
  job.progress = options_.progress;
  job.later_s = left_s_;
  const std::string name = jobname(job);
  Comparison comparison = compare(job, engines, pace_.rounds_count, name);
  if (comparison.failure) {
    result_.failure = {name + ": " + comparison.failure.line};
    return {};
  }
  for (Series& series : comparison.series) add_commands(series, file_.unnamed.fd() >= 0 ? "" : file_.path);
  result_.series.insert(result_.series.end(), comparison.series.begin(), comparison.series.end());
  return std::move(comparison.series);
}

std::string random_row(const Series& series) {
  const Spread iops = series.spread(iops_of);
  const Sample& middle = series.median_sample();
  const auto time = [&](double percent) {
    return text_of_ns(static_cast<double>(middle.latency_ns.percentile(percent)));
  };
  const std::string range = text_of_count(iops.min) + " .. " + text_of_count(iops.max);
  char text[200];
  snprintf(text, sizeof(text), "  %-10s %5u %9s  %-18s %9s %9s %9s %9s\n", name_of(series.job.rw).data(),
           series.job.depth, text_of_count(iops.median).c_str(), range.c_str(), time(50).c_str(), time(99).c_str(),
           time(99.9).c_str(), text_of_ns(middle.user_ns_per_operation() + middle.system_ns_per_operation()).c_str());
  return text;
}

std::string sequential_row(const Series& series) {
  const Spread rate = series.spread([](const Sample& sample) { return sample.bytes_per_second() / 1e6; });
  char text[200];
  snprintf(text, sizeof(text), "  %-10s %9s %5u %10.0f  %.0f .. %.0f\n", name_of(series.job.rw).data(),
           text_of_bytes(series.job.block_size).c_str(), series.job.depth, rate.median, rate.min, rate.max);
  return text;
}

void Sweep::random_part() {
  char heading[200];
  snprintf(heading, sizeof(heading), "\nRandom, 4 KiB\n  %-10s %5s %9s  %-18s %9s %9s %9s %9s\n", "", "depth", "IOPS",
           "min .. max", "p50", "p99", "p99.9", "CPU/I/O");
  result_.text += heading;
  using Depths = std::vector<uint32_t>;
  const Depths reads = options_.smoke ? Depths{1, 8} : Depths{1, 2, 4, 8, 16, 32, 64, 128, 256};
  const Depths writes = options_.smoke ? Depths{1, 8} : Depths{1, 8, 32, 128};
  const Engines engines = only_spindle();
  for (const uint32_t depth : reads) {
    append(findings_.reads, measure(job(Pattern::randread, 4096, depth, pace_.random_s), engines));
  }
  for (const uint32_t depth : writes) {
    append(findings_.writes, measure(job(Pattern::randwrite, 4096, depth, pace_.random_s), engines));
  }
  for (const Series& series : findings_.reads) result_.text += random_row(series);
  for (const Series& series : findings_.writes) result_.text += random_row(series);
}

void Sweep::sequential_part() {
  char heading[200];
  snprintf(heading, sizeof(heading), "\nSequential\n  %-10s %9s %5s %10s  %s\n", "", "block", "depth", "MB/s",
           "min .. max");
  result_.text += heading;
  struct Shape {
    uint32_t block_size;
    uint32_t depth;
  };
  const Engines engines = only_spindle();
  for (const Shape shape : {Shape{128u << 10, 16}, Shape{1u << 20, 8}}) {
    append(findings_.sequential_reads,
           measure(job(Pattern::read, shape.block_size, shape.depth, pace_.sequential_s), engines));
    append(findings_.sequential_writes,
           measure(job(Pattern::write, shape.block_size, shape.depth, pace_.sequential_s), engines));
  }
  for (const Series& series : findings_.sequential_reads) result_.text += sequential_row(series);
  for (const Series& series : findings_.sequential_writes) result_.text += sequential_row(series);
}

void Sweep::nop_part() {
  Job nops = job(Pattern::randread, 4096, 128, pace_.nop_s);
  nops.nop = true;
  findings_.nops = measure(nops, make_engines_to_compare(nops));
  result_.text += "\nThe runtime alone: ring NOPs, depth 128\n" + comparison_table(findings_.nops);
}

void Sweep::beside_part() {
  using Depths = std::vector<uint32_t>;
  for (const uint32_t depth : options_.smoke ? Depths{8} : Depths{1, 32, 128}) {
    const Job reads = job(Pattern::randread, 4096, depth, pace_.beside_s);
    Engines engines = make_engines_to_compare(reads);
    if (options_.smoke) engines.resize(2);
    std::vector<Series> series = measure(reads, engines);
    result_.text += "\nBeside others: 4 KiB random reads, depth " + std::to_string(depth) + "\n";
    result_.text += comparison_table(series);
    findings_.beside.push_back(std::move(series));
  }
}

void Sweep::run_parts() {
  random_part();
  sequential_part();
  nop_part();
  beside_part();
}

SweepResult Sweep::run() {
  is_planning_ = true;
  run_parts();
  is_planning_ = false;
  findings_ = {};
  result_.text = "Direct I/O on this machine\n  machine       " + describe_machine() + "\n";
  const std::string fio = options_.smoke ? std::string() : fio_version();
  if (fio.empty()) findings_.fio_absence = options_.smoke ? "this was a smoke run" : "fio is not installed";
  if (!fio.empty()) result_.text += "  yardstick     " + fio + "\n";
  result_.text += describe_test_file(file_);
  run_parts();
  if (result_.failure) return std::move(result_);
  result_.verdict = verdict(findings_);
  result_.text += "\n" + result_.verdict;
  return std::move(result_);
}

}  // namespace

SweepResult sweep(const TestFile& file, const SweepOptions& options) { return Sweep(file, options).run(); }

}  // namespace spindle::bench
