#include "benchmarks/command_text.h"

#include "benchmarks/process.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

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
  if (job.spin != 1) line += " --spin " + text_of("%g", job.spin);
  if (job.operations_max != 0) add(" --number_ios ", job.operations_max);
  return line;
}

}  // namespace

std::string command_of(const Job& job, const std::string& engine, const std::string& filename) {
  std::string line = "spindle-bench --engine " + (engine == "plain loop" ? std::string("plain") : engine) + " --rw " +
                     std::string(name_of(job.rw)) + " --bs " + std::to_string(job.block_size) + " --iodepth " +
                     std::to_string(job.depth) + " --runtime " + text_of("%g", job.runtime_s) + " --ramp_time " +
                     text_of("%g", job.ramp_s) + " --randseed " + std::to_string(job.random_seed) +
                     extended_options(job);
  if (job.nop) return line + " --nop";
  if (!filename.empty()) line += " --filename " + command_line_of({filename});
  return line + " --size " + std::to_string(job.size_bytes) + " --direct " + (job.direct ? "1" : "0");
}

void add_commands(Series& series, const std::string& filename) {
  for (Sample& sample : series.samples) {
    if (sample.command.empty()) sample.command = command_of(series.job, series.engine, filename);
  }
}

}  // namespace spindle::bench
