#include "benchmarks/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <sstream>

#include "benchmarks/engines.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

constexpr const char* description =
    "What can direct I/O do on this machine? Without a job: a sweep of about two minutes on a file of its "
    "own, and a\n"
    "verdict. With a job (--rw, --bs, --iodepth, --engine, --compare or --nop): that job, as fio would run "
    "it.";

// As text, the way they stand on the command line; empty or negative: not given.
struct Words {
  std::string size, rw, block_size, runtime, ramp, sync, operations, rate, seed, format = "normal";
  int direct = 1;
  std::string depths = "1";
  uint32_t rounds = 0;
  bool compare = false;
  bool capabilities = false;
  bool accepted = false;  // for what fio needs to be told, and here is always so
};

void add_job_options(CLI::App& app, Options& options, Words& words) {
  app.add_option("--filename", options.file.filename, "file or device; made if it is missing [a file of its own]");
  app.add_option("--size", words.size, "size of the part that is used, like 512m or 4g [all of it, or 1g]");
  app.add_option("--rw", words.rw, "read, write, randread, randwrite, rw or randrw [read]");
  app.add_option("--bs", words.block_size, "block size, like 4k or 1m [4k]");
  app.add_option("--iodepth", words.depths,
                 "operations in flight, per thread; several, like 1,8,32: one run of each [1]");
  app.add_option("--runtime", words.runtime, "measured time, like 10 or 500ms [5 s; with --compare 2 s]");
  app.add_option("--ramp_time", words.ramp, "time that runs first and does not count [200ms]");
  app.add_option("--direct", words.direct, "1: O_DIRECT, 0: through the page cache [1]")->check(CLI::Range(0, 1));
  app.add_option("--number_ios", words.operations, "end after so many operations");
  app.add_option("--rwmixread", options.job.read_percent, "share of reads in rw and randrw, in percent [50]");
  app.add_option("--numjobs", options.job.jobs_count, "threads with a ring each; the result is that of all [1]");
  app.add_option("--fsync", options.job.fsync_every, "fsync after so many writes [never]");
  app.add_option("--sync", words.sync, "dsync: each write is durable when it completes; none [none]");
  app.add_flag("--verify", options.job.verify, "stamp what is written, check what is read, read all back at the end");
  app.add_option("--rate_iops", words.rate, "at most so many reads, and writes, a second and thread");
  app.add_option("--randseed", words.seed, "seed of the random offsets [1]");
  app.add_option("--spin", options.job.spin,
                 "spindle: share of a core, 0 to 1, for looking before sleeping, where it pays [1]")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--name", options.name, "name of the job in the results [the pattern]");
  app.add_flag("--nop", options.job.nop, "ring NOPs in place of I/O: the cost of the software alone");
  app.add_flag("--time_based", words.accepted, "as fio: always so here");
  app.add_flag("--norandommap", words.accepted, "as fio: always so here");
}

void add_program_options(CLI::App& app, Options& options, Words& words) {
  app.add_option("--engine", options.engine, "spindle, plain, fio or fio-batched [spindle]");
  app.add_flag("--compare", words.compare, "the job on all engines, in alternating runs");
  app.add_option("--rounds", words.rounds, "runs per engine; the median is shown [1; with --compare 5]");
  app.add_option("--output-format", words.format, "normal, json or json+ (fio's field names) [normal]");
  app.add_option("--output", options.output, "write the result to this file [standard output]");
  app.add_option("--report", options.report, "write a page with plots, FILE.html (needs gnuplot)");
  app.add_flag("--capabilities", words.capabilities, "print what the ring can do here, and end");
  app.add_flag("--overwrite", options.file.overwrite,
               "allow writing to a file or device that this program did not make");
  app.add_flag("--smoke", options.smoke, "a run of milliseconds that only shows that it works");
}

Failure take_size(const std::string& text, const char* option, uint64_t max, uint64_t& value) {
  if (text.empty()) return {};
  const auto size = size_of_text(text);
  if (size.failure) return {std::string(option) + ": " + size.failure.line};
  if (size.value == 0 || size.value > max) {
    return {std::string(option) + " " + text + ": must be 1 byte to " + text_of_bytes(max)};
  }
  value = size.value;
  return {};
}

// Not left to CLI11: its versions differ in whether "-1" is a huge unsigned number.
Failure take_count(const std::string& text, const char* option, uint64_t& value) {
  if (text.empty()) return {};
  const auto count = size_of_text(text);
  if (count.failure) return {std::string(option) + " " + text + ": must be a number from 0 on"};
  value = count.value;
  return {};
}

Failure take_time(const std::string& text, const char* option, double& value) {
  if (text.empty()) return {};
  const auto seconds = seconds_of_text(text);
  if (seconds.failure) return {std::string(option) + ": " + seconds.failure.line};
  value = seconds.value;
  return {};
}

Failure take_pattern(const std::string& text, Pattern& pattern) {
  if (text.empty()) {
    pattern = Pattern::read;
    return {};
  }
  if (text == "readwrite") pattern = Pattern::rw;
  for (const Pattern candidate : patterns) {
    if (text == name_of(candidate)) {
      pattern = candidate;
      return {};
    }
  }
  if (text == "readwrite") return {};
  return {"--rw " + text + ": must be read, write, randread, randwrite, rw or randrw"};
}

Failure take_depths(const std::string& text, std::vector<uint32_t>& depths) {
  depths.clear();
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    uint64_t depth = 0;
    Failure failure = take_count(word, "--iodepth", depth);
    if (failure) return failure;
    depths.push_back(static_cast<uint32_t>(std::min<uint64_t>(depth, UINT32_MAX)));
  }
  if (depths.empty()) return {"--iodepth: give a number, or several like 1,8,32"};
  return {};
}

Failure take_words(const Words& words, Options& options) {
  constexpr uint64_t file_size_max = uint64_t{1} << 62;
  uint64_t block_size = options.job.block_size;
  Failure failure = take_size(words.size, "--size", file_size_max, options.file.size_bytes);
  if (!failure) failure = take_size(words.block_size, "--bs", 64u << 20, block_size);
  options.job.block_size = static_cast<uint32_t>(block_size);
  if (!failure) failure = take_count(words.operations, "--number_ios", options.job.operations_max);
  if (!failure) failure = take_count(words.rate, "--rate_iops", options.job.rate_iops);
  if (!failure) failure = take_count(words.seed, "--randseed", options.job.random_seed);
  if (!failure) failure = take_pattern(words.rw, options.job.rw);
  options.job.runtime_s = words.compare ? 2 : 5;
  if (options.smoke) options.job.runtime_s = 0.05;
  if (options.smoke) options.job.ramp_s = 0;
  if (!failure) failure = take_time(words.runtime, "--runtime", options.job.runtime_s);
  if (!failure) failure = take_time(words.ramp, "--ramp_time", options.job.ramp_s);
  if (words.sync == "dsync") options.job.durable = true;
  if (!failure && !options.job.durable && !words.sync.empty() && words.sync != "none" && words.sync != "0") {
    failure = {"--sync " + words.sync + ": must be dsync or none"};
  }
  if (!failure) failure = take_depths(words.depths, options.depths);
  if (!failure) options.job.depth = options.depths.front();
  options.job.direct = options.file.direct = words.direct == 1;
  options.rounds_count = words.rounds != 0 ? words.rounds : (words.compare && !options.smoke ? 5 : 1);
  if (words.format == "json") options.format = OutputFormat::json;
  if (words.format == "json+") options.format = OutputFormat::json_plus;
  if (!failure && options.format == OutputFormat::normal && words.format != "normal") {
    failure = {"--output-format " + words.format + ": must be normal, json or json+"};
  }
  if (!failure && !make_engine(options.engine)) {
    failure = {"--engine " + options.engine + ": must be one of " + std::string(engine_names)};
  }
  return failure;
}

Failure settle(const CLI::App& app, const Words& words, Options& options) {
  Failure failure = take_words(words, options);
  if (failure) return failure;
  bool job_given = false;
  for (const char* const option : {"--rw", "--bs", "--iodepth", "--engine", "--compare", "--nop", "--number_ios",
                                   "--numjobs", "--verify", "--fsync", "--sync", "--rate_iops", "--rwmixread"}) {
    job_given = job_given || app.count(option) > 0;
  }
  if (words.capabilities) {
    options.command = Command::capabilities;
    return {};
  }
  options.command = words.compare ? Command::compare : job_given ? Command::run : Command::sweep;
  if (options.command == Command::sweep) {
    for (const char* const option : {"--runtime", "--ramp_time", "--direct", "--rounds", "--name"}) {
      if (app.count(option) > 0) return {std::string(option) + " belongs to a job: give --rw too"};
    }
  }
  if (words.compare && app.count("--engine") > 0) return {"--compare runs all engines: leave out --engine"};
  for (const std::string* const path : {&options.output, &options.report}) {
    if (!path->empty() && (*path == options.file.filename || (options.output == options.report))) {
      return {*path + ": --filename, --output and --report must be different files"};
    }
  }
  options.file.writes = options.command == Command::sweep || has_writes(options.job.rw);
  options.file.verify_block_size = options.job.verify ? options.job.block_size : 0;
  options.file.progress = isatty(STDERR_FILENO) == 1;
  options.job.progress = options.file.progress && options.command != Command::sweep;
  if (options.name.empty()) options.name = options.job.nop ? "nop" : std::string(name_of(options.job.rw));
  // The file may yet turn out to be smaller: checked again when it is known.
  Job probe = options.job;
  probe.size_bytes = options.file.size_bytes == 0 ? UINT64_MAX : options.file.size_bytes;
  for (const uint32_t depth : options.depths) {
    probe.depth = depth;
    failure = check(probe);
    if (failure) return failure;
  }
  return {};
}

}  // namespace

Checked<Options> parse_options(int argument_count, const char* const* arguments) {
  Options options;
  Words words;
  CLI::App app{description, "spindle-bench"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // as fio has it
  add_job_options(app, options, words);
  add_program_options(app, options, words);
  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::CallForHelp&) {
    options.command = Command::help;
    options.text = app.help();
    return {std::move(options), {}};
  } catch (const CLI::ParseError& error) {
    return {{}, {std::string(error.what()) + "; see --help"}};
  }
  Failure failure = settle(app, words, options);
  return {std::move(options), std::move(failure)};
}

}  // namespace spindle::bench
