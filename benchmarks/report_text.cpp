#include "benchmarks/report_text.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  }
  return {};
}

std::string row(std::string name, const std::string& text) {
  name.resize(14, ' ');
  return "  " + name + text + "\n";
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

// What only extended jobs and those of several threads ask for.
std::string extended_words(const Job& job) {
  std::string text;
  if (is_mixed(job.rw)) text += ", " + std::to_string(job.read_percent) + " % reads";
  if (job.jobs_count > 1) text += ", " + std::to_string(job.jobs_count) + " threads";
  if (job.fsync_every != 0) text += ", fsync every " + std::to_string(job.fsync_every) + " writes";
  if (job.durable) text += ", durable writes";
  if (job.verify) text += ", verified";
  if (job.rate_iops != 0) text += ", at most " + std::to_string(job.rate_iops) + " IOPS a thread and direction";
  return text;
}

std::string throughput_of(const Job& job, const Side& side, uint64_t elapsed_ns) {
  const double seconds = static_cast<double>(elapsed_ns) / 1e9;
  std::string text = text_of_count(static_cast<double>(side.operations_count) / seconds) + " IOPS";
  if (!job.nop) {
    const double rate = static_cast<double>(side.bytes) / seconds;
    text += ", " + text_of("%.1f MB/s", rate / 1e6) + text_of(" (%.1f MiB/s)", rate / (1 << 20));
  }
  return text + ", " + std::to_string(side.operations_count) + " operations in " +
         text_of_ns(static_cast<double>(elapsed_ns));
}

std::string throughput_rows(const Series& series, const Sample& sample) {
  std::string rows = row("throughput", throughput_of(series.job, sample, sample.elapsed_ns));
  if (series.samples.size() > 1) {
    const Spread iops = series.spread(iops_of);
    rows += row("spread", text_of_count(iops.min) + " to " + text_of_count(iops.max) + " IOPS in " +
                              std::to_string(series.samples.size()) + " runs; shown is the median run");
  }
  return rows;
}

std::string latency_rows(const std::string& name, const Histogram& latency) {
  const auto time = [](auto ns) { return text_of_ns(static_cast<double>(ns)); };
  std::string ranks;
  for (const double percent : {50.0, 90.0, 95.0, 99.0, 99.9, 99.99}) {
    ranks += "p" + text_of("%g", percent) + " " + time(latency.percentile(percent)) + ", ";
  }
  return row(name, "min " + time(latency.min()) + ", mean " + time(latency.mean()) + ", stddev " +
                       time(latency.standard_deviation())) +
         row("", ranks + "max " + time(latency.max()));
}

// The two directions of a mixed job.
std::string side_rows(const Series& series, const Sample& sample) {
  if (!is_mixed(series.job.rw)) return {};
  return row("reads", throughput_of(series.job, sample.reads, sample.elapsed_ns)) +
         latency_rows("", sample.reads.latency_ns) +
         row("writes", throughput_of(series.job, sample.writes, sample.elapsed_ns)) +
         latency_rows("", sample.writes.latency_ns);
}

std::string cpu_rows(const Sample& sample) {
  const auto per_operation = [&](uint64_t number) {
    return static_cast<double>(number) / static_cast<double>(sample.operations_count);
  };
  std::string cpu =
      "user " + text_of_ns(sample.user_ns_per_operation()) + ", system " + text_of_ns(sample.system_ns_per_operation());
  const uint64_t process_ns = sample.process_user_ns + sample.process_system_ns;
  if (process_ns != 0) cpu += "; with the kernel's workers " + text_of_ns(per_operation(process_ns));
  const std::string switches = std::to_string(sample.switches_voluntary_count) + " voluntary (" +
                               text_of("%.3f", per_operation(sample.switches_voluntary_count)) + " per I/O), " +
                               std::to_string(sample.switches_involuntary_count) + " involuntary";
  return row("CPU per I/O", cpu) + row("switches", switches);
}

}  // namespace

std::string describe_machine() {
  utsname names{};
  uname(&names);
  std::string text =
      std::string(names.sysname) + " " + names.release + ", " + std::to_string(sysconf(_SC_NPROCESSORS_ONLN)) + " CPUs";
  const std::string model = cpu_model();
  return model.empty() ? text : text + ", " + model;
}

std::string describe_alignment(const Target& target) {
  if (!target.alignment_known) return "not told by this kernel";
  if (target.direct_refused()) return "no direct I/O";
  return "memory " + std::to_string(target.memory_alignment) + ", offset " + std::to_string(target.offset_alignment);
}

std::string describe_test_file(const TestFile& file) {
  const Target& target = file.target;
  std::string place = target.file_system;
  if (!target.device.empty()) place += (place.empty() ? "" : " on ") + target.device;
  std::string rows = row("file", file.label + ", " + text_of_bytes(file.size_bytes));
  if (!place.empty()) rows += row("device", place);
  rows += row("alignment", describe_alignment(target));
  if (!file.note.empty()) rows += row("note", file.note);
  return rows;
}

std::string describe_job(const Job& job, bool with_depth) {
  std::string text = job.nop ? "ring NOPs" : std::string(name_of(job.rw)) + ", " + text_of_bytes(job.block_size);
  if (with_depth) text += ", depth " + std::to_string(job.depth);
  text += extended_words(job);
  if (!job.nop) text += job.direct ? ", direct" : ", through the page cache";
  return text + ", " + text_of("%g s", job.runtime_s) + " after " + text_of("%g s", job.ramp_s) + " of ramp";
}

std::string headline_of(const Series& series) { return series.name + ": " + describe_job(series.job, true) + "\n"; }

std::string report_text(const Series& series, const TestFile* file) {
  const Sample& sample = series.median_sample();
  std::string text = headline_of(series) + row("engine", series.engine) + row("machine", describe_machine());
  if (file != nullptr) text += describe_test_file(*file);
  text += row("in use", joined(sample.features)) + throughput_rows(series, sample);
  text += latency_rows("latency", sample.latency_ns) + side_rows(series, sample);
  if (sample.sync_latency_ns.count() != 0) {
    text += latency_rows(std::to_string(sample.sync_latency_ns.count()) + " fsyncs", sample.sync_latency_ns);
  }
  if (sample.verified_count != 0) {
    text += row("verified", std::to_string(sample.verified_count) + " blocks read, all as they were written");
  }
  return text + cpu_rows(sample);
}

}  // namespace spindle::bench
