// spindle-bench: what direct I/O can do on this machine, and what the runtime costs on it.
//
// Exit status: 0 done; 1 it could not be done; 2 wrong usage; 130 interrupted. Every failure is one line on
// standard error, and then nothing is printed as a result.

#include <stdio.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "benchmarks/command_text.h"
#include "benchmarks/compare.h"
#include "benchmarks/engines.h"
#include "benchmarks/interrupt.h"
#include "benchmarks/options.h"
#include "benchmarks/output.h"
#include "benchmarks/plot.h"
#include "benchmarks/prepare.h"
#include "benchmarks/report_html.h"
#include "benchmarks/report_json.h"
#include "benchmarks/report_text.h"
#include "benchmarks/sweep.h"
#include "benchmarks/units.h"
#include "io/uring/uring_backend.h"

namespace spindle::bench {

namespace {

constexpr uint64_t smoke_file_size = 16u << 20;

struct Outcome {
  std::vector<Series> series;
  std::string text;
  Failure failure;
  std::string verdict;  // of a sweep
};

struct Outputs {
  Output result;
  Output page;
};

// Runs the job with one of the depths; empty after a failure, which is then in `outcome`.
std::vector<Series> run_depth(const Options& options, size_t index, Outcome& outcome) {
  const uint32_t depth = options.depths[index];
  Job job = options.job;
  job.depth = depth;
  std::vector<std::unique_ptr<Engine>> engines;
  if (options.command == Command::compare) {
    engines = make_engines_to_compare(job);
  } else {
    engines.push_back(make_engine(options.engine));
  }
  const auto depths_left = static_cast<double>(options.depths.size() - 1 - index);
  job.later_s = depths_left * comparison_s(job, engines, options.rounds_count);
  const std::string name = options.depths.size() == 1 ? options.name : options.name + "-d" + std::to_string(depth);
  Comparison comparison = compare(job, engines, options.rounds_count, name);
  outcome.failure = std::move(comparison.failure);
  if (outcome.failure) return {};
  for (Series& series : comparison.series) add_commands(series, options.file.filename);
  return std::move(comparison.series);
}

Outcome run_job(const Options& options, const TestFile* file) {
  Outcome outcome;
  const bool compares = options.command == Command::compare;
  if (compares) {
    outcome.text = "The same job on several engines, " + std::to_string(options.rounds_count) +
                   " alternating runs each: medians\n  machine       " + describe_machine() + "\n" +
                   (file != nullptr ? describe_test_file(*file) : "");
  }
  for (size_t i = 0; i < options.depths.size(); ++i) {
    std::vector<Series> group = run_depth(options, i, outcome);
    if (outcome.failure) return outcome;
    if (compares) {
      outcome.text += "\n" + headline_of(group.front()) + comparison_table(group) + "\n" + comparison_commands(group);
    } else {
      outcome.text += report_text(group.front(), file);
    }
    for (Series& series : group) outcome.series.push_back(std::move(series));
  }
  return outcome;
}

// What the ring can do here, tried on a ring of its own.
Outcome run_capabilities() {
  const auto backend = UringBackend::create({});
  if (!backend.has_value()) return {{}, {}, {explain_setup_failure(backend.error().number)}, {}};
  return {{}, describe_machine() + "\n" + (*backend)->capabilities().text(), {}, {}};
}

Outcome run_command(Options& options, TestFile& file) {
  if (options.command == Command::capabilities) return run_capabilities();
  Outcome outcome;
  const bool needs_file = options.command == Command::sweep || !options.job.nop;
  if (needs_file) {
    if (options.smoke && options.file.size_bytes == 0 && options.file.filename.empty()) {
      options.file.size_bytes = smoke_file_size;
    }
    auto prepared = prepare_file(options.file);
    if (prepared.failure) return {{}, {}, std::move(prepared.failure), {}};
    file = std::move(prepared.value);
    options.job.filename = file.path;
    options.job.size_bytes = file.size_bytes;
    options.job.disk = file.target.disk;
    for (const uint32_t depth : options.depths) {
      options.job.depth = depth;
      if (!outcome.failure) outcome.failure = check(options.job);
    }
    if (!outcome.failure) outcome.failure = check_alignment(options.job, file.target);
    if (outcome.failure) return outcome;
  }
  if (options.command != Command::sweep) return run_job(options, needs_file ? &file : nullptr);
  SweepResult swept = sweep(file, {options.smoke, options.file.progress, options.job.random_seed});
  return {std::move(swept.series), std::move(swept.text), std::move(swept.failure), std::move(swept.verdict)};
}

int say(const std::string& line, int status) {
  fprintf(stderr, "spindle-bench: %s\n", line.c_str());
  return status;
}

std::string page_title(const Options& options) {
  if (options.command == Command::sweep) return "Direct I/O on this machine";
  const Job& job = options.job;
  std::string title = job.nop ? "ring NOPs" : std::string(name_of(job.rw)) + ", " + text_of_bytes(job.block_size);
  return title + (options.command == Command::compare ? ": engines compared" : ", engine " + options.engine);
}

Failure write_results(const Options& options, const TestFile& file, Outcome& outcome, Outputs& outputs) {
  if (!outcome.series.empty() && options.format != OutputFormat::normal) {
    outcome.text = report_json(outcome.series, options.format == OutputFormat::json_plus);
  }
  Failure failure = outputs.result.write(outcome.text);
  if (failure || options.report.empty() || outcome.series.empty()) return failure;
  if (!gnuplot_installed()) say("note: gnuplot is not installed (Debian: gnuplot-nox); the page has no plots", 0);
  const Page page = {page_title(options),
                     options.command == Command::sweep ? "" : describe_job(options.job, options.depths.size() == 1),
                     outcome.verdict, file.path.empty() ? nullptr : &file};
  return outputs.page.write(report_html(outcome.series, page));
}

// Runs what was asked for, and returns the exit status.
int run_to_result(Options& options, TestFile& file, Outputs& outputs) {
  Outcome outcome = run_command(options, file);
  if (interrupted()) return say("interrupted; no result", 130);
  if (outcome.failure) return say(outcome.failure.line, 1);
  const Failure failure = write_results(options, file, outcome, outputs);
  if (interrupted()) return say("interrupted", 130);
  return failure ? say(failure.line, 1) : 0;
}

int run(int argument_count, const char* const* arguments) {
  catch_interrupts();
  auto parsed = parse_options(argument_count, arguments);
  if (parsed.failure) return say(parsed.failure.line, 2);
  Options& options = parsed.value;
  Outputs outputs;
  Failure failure = outputs.result.open(options.output, "--output");
  if (!failure && !options.report.empty()) failure = outputs.page.open(options.report, "--report");
  if (!failure && options.command == Command::help) failure = outputs.result.write(options.text);
  if (failure) return say(failure.line, 1);
  if (options.command == Command::help) return 0;
  TestFile file;
  const int status = run_to_result(options, file, outputs);
  // A run without a result leaves nothing behind; but what a verification found stays, to be looked at.
  if (status != 0 && file.is_new && !(options.job.verify && !interrupted())) unlink(file.path.c_str());
  return status;
}

}  // namespace

}  // namespace spindle::bench

int main(int argument_count, char** arguments) { return spindle::bench::run(argument_count, arguments); }
