// spindle-bench: what direct I/O can do on this machine, and what the runtime costs on it.
//
// Exit status: 0 done; 1 it could not be done; 2 wrong usage; 130 interrupted. Every failure is one line on
// standard error, and then nothing is printed as a result.

#include <stdio.h>

#include <string>
#include <vector>

#include "benchmarks/compare.h"
#include "benchmarks/engines.h"
#include "benchmarks/interrupt.h"
#include "benchmarks/options.h"
#include "benchmarks/output.h"
#include "benchmarks/prepare.h"
#include "benchmarks/process.h"
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
};

// Of the options that only some jobs have.
std::string extended_options(const Job& job) {
  std::string line;
  const auto add = [&](const char* option, uint64_t value) { line += std::string(option) + std::to_string(value); };
  if (is_mixed(job.rw)) add(" --rwmixread ", job.read_percent);
  if (job.jobs_count != 1) add(" --numjobs ", job.jobs_count);
  if (job.fsync_every != 0) add(" --fsync ", job.fsync_every);
  if (job.durable) line += " --sync dsync";
  if (job.verify) line += " --verify";
  if (job.rate_iops != 0) add(" --rate_iops ", job.rate_iops);
  if (job.operations_max != 0) add(" --number_ios ", job.operations_max);
  return line;
}

std::string option_line(const Options& options, const Job& job, const std::string& engine) {
  std::string line = "spindle-bench --engine " + engine + " --rw " + std::string(name_of(job.rw)) + " --bs " +
                     std::to_string(job.block_size) + " --iodepth " + std::to_string(job.depth) + " --runtime " +
                     text_of("%g", job.runtime_s) + " --ramp_time " + text_of("%g", job.ramp_s) + " --randseed " +
                     std::to_string(job.random_seed) + extended_options(job);
  if (job.nop) return line + " --nop";
  if (!options.file.filename.empty()) line += " --filename " + command_line_of({options.file.filename});
  return line + " --size " + std::to_string(job.size_bytes) + " --direct " + (job.direct ? "1" : "0");
}

// Runs the job with one depth; empty after a failure, which is then in `outcome`.
std::vector<Series> run_depth(const Options& options, uint32_t depth, Outcome& outcome) {
  Job job = options.job;
  job.depth = depth;
  std::vector<std::unique_ptr<Engine>> engines;
  if (options.command == Command::compare) {
    engines = make_engines_to_compare(job);
  } else {
    engines.push_back(make_engine(options.engine));
  }
  const std::string name = options.depths.size() == 1 ? options.name : options.name + "-d" + std::to_string(depth);
  Comparison comparison = compare(job, engines, options.rounds_count, name);
  outcome.failure = std::move(comparison.failure);
  if (outcome.failure) return {};
  for (Series& series : comparison.series) {
    const std::string word = series.engine == "plain loop" ? "plain" : series.engine;
    for (Sample& sample : series.samples) {
      if (sample.command.empty()) sample.command = option_line(options, job, word);
    }
  }
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
  for (const uint32_t depth : options.depths) {
    std::vector<Series> group = run_depth(options, depth, outcome);
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
  if (!backend.has_value()) return {{}, {}, {explain_setup_failure(backend.error().number)}};
  return {{}, describe_machine() + "\n" + (*backend)->capabilities().text(), {}};
}

Outcome run_command(Options& options) {
  if (options.command == Command::capabilities) return run_capabilities();
  Outcome outcome;
  TestFile file;
  const bool needs_file = options.command == Command::sweep || !options.job.nop;
  if (needs_file) {
    if (options.smoke && options.file.size_bytes == 0 && options.file.filename.empty()) {
      options.file.size_bytes = smoke_file_size;
    }
    auto prepared = prepare_file(options.file);
    if (prepared.failure) return {{}, {}, std::move(prepared.failure)};
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
  return {std::move(swept.series), std::move(swept.text), std::move(swept.failure)};
}

int say(const std::string& line, int status) {
  fprintf(stderr, "spindle-bench: %s\n", line.c_str());
  return status;
}

int run(int argument_count, const char* const* arguments) {
  catch_interrupts();
  auto options = parse_options(argument_count, arguments);
  if (options.failure) return say(options.failure.line, 2);
  Output output;
  Failure failure = output.open(options.value.output);
  if (failure) return say(failure.line, 1);
  Outcome outcome;
  if (options.value.command == Command::help) {
    outcome.text = options.value.text;
  } else {
    outcome = run_command(options.value);
  }
  if (interrupted()) return say("interrupted; no result", 130);
  if (outcome.failure) return say(outcome.failure.line, 1);
  if (!outcome.series.empty() && options.value.format != OutputFormat::normal) {
    outcome.text = report_json(outcome.series, options.value.format == OutputFormat::json_plus);
  }
  failure = output.write(outcome.text);
  return failure ? say(failure.line, 1) : 0;
}

}  // namespace

}  // namespace spindle::bench

int main(int argument_count, char** arguments) { return spindle::bench::run(argument_count, arguments); }
