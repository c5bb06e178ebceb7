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
#include "benchmarks/report_json.h"
#include "benchmarks/report_text.h"
#include "benchmarks/sweep.h"

namespace spindle::bench {

namespace {

constexpr uint64_t smoke_file_size = 16u << 20;

struct Outcome {
  std::vector<Series> series;
  std::string text;
  Failure failure;
};

std::string option_line(const Options& options, const std::string& engine) {
  const Job& job = options.job;
  const auto number = [](double value) { return std::to_string(value); };
  std::string line = "spindle-bench --engine " + engine + " --rw " + std::string(name_of(job.rw)) + " --bs " +
                     std::to_string(job.block_size) + " --iodepth " + std::to_string(job.depth) + " --runtime " +
                     number(job.runtime_s) + " --ramp_time " + number(job.ramp_s) + " --randseed " +
                     std::to_string(job.random_seed);
  if (job.nop) return line + " --nop";
  if (!options.file.filename.empty()) line += " --filename " + options.file.filename;
  return line + " --size " + std::to_string(job.size_bytes) + " --direct " + (job.direct ? "1" : "0");
}

Outcome run_job(const Options& options, const TestFile* file) {
  const bool compares = options.command == Command::compare;
  std::vector<std::unique_ptr<Engine>> engines;
  if (compares) {
    engines = make_engines_to_compare(options.job);
  } else {
    engines.push_back(make_engine(options.engine));
  }
  Comparison comparison = compare(options.job, engines, options.rounds_count, options.name);
  Outcome outcome;
  outcome.failure = std::move(comparison.failure);
  outcome.series = std::move(comparison.series);
  if (outcome.failure) return outcome;
  for (Series& series : outcome.series) {
    const std::string word = series.engine == "plain loop" ? "plain" : series.engine;
    for (Sample& sample : series.samples) {
      if (sample.command.empty()) sample.command = option_line(options, word);
    }
  }
  if (compares) {
    outcome.text = "The same job on " + std::to_string(engines.size()) + " engines, " +
                   std::to_string(options.rounds_count) + " alternating runs each: medians\n  machine       " +
                   describe_machine() + "\n" + (file != nullptr ? describe_test_file(*file) : "") + "\n" +
                   comparison_table(outcome.series) + "\n" + comparison_commands(outcome.series);
  } else {
    outcome.text = report_text(outcome.series.front(), file);
  }
  return outcome;
}

Outcome run_command(Options& options) {
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
    outcome.failure = check(options.job);
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
  if (options.value.command != Command::help && options.value.format != OutputFormat::normal) {
    outcome.text = report_json(outcome.series, options.value.format == OutputFormat::json_plus);
  }
  failure = output.write(outcome.text);
  return failure ? say(failure.line, 1) : 0;
}

}  // namespace

}  // namespace spindle::bench

int main(int argument_count, char** arguments) { return spindle::bench::run(argument_count, arguments); }
