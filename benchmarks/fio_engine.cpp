#include "benchmarks/fio_engine.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>

#include "benchmarks/job_group.h"
#include "benchmarks/process.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

using nlohmann::json;

constexpr uint32_t batch_count = 32;

// fio separates file names by colons.
std::string escaped(const std::string& filename) {
  std::string text;
  for (const char c : filename) {
    if (c == ':' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

// The number at a path of names; 0 where it is missing or is no number.
double number_at(const json& object, std::initializer_list<const char*> names) {
  const json* at = &object;
  for (const char* const name : names) {
    if (!at->is_object()) return 0;
    const auto found = at->find(name);
    if (found == at->end()) return 0;
    at = &*found;
  }
  return at->is_number() ? at->get<double>() : 0;
}

uint64_t count_at(const json& object, std::initializer_list<const char*> names) {
  return static_cast<uint64_t>(number_at(object, names));
}

void read_bins(const json& latency, Histogram& histogram) {
  const auto bins = latency.find("bins");
  if (bins == latency.end() || !bins->is_object()) return;
  for (const auto& [value, count] : bins->items()) {
    if (count.is_number_unsigned()) {
      histogram.record_many(strtoull(value.c_str(), nullptr, 10), count.get<uint64_t>());
    }
  }
}

// Adds "read" or "write" to the sample, and to the side of a mixed job.
void read_direction(const json& job_output, bool is_write, const Job& job, Sample& sample) {
  const auto direction = job_output.find(is_write ? "write" : "read");
  if (direction == job_output.end() || !direction->is_object()) return;
  Side side;
  side.operations_count = count_at(*direction, {"total_ios"});
  side.bytes = count_at(*direction, {"io_bytes"});
  const auto latency = direction->find("lat_ns");
  if (latency != direction->end() && latency->is_object()) read_bins(*latency, side.latency_ns);
  sample.operations_count += side.operations_count;
  sample.bytes += side.bytes;
  sample.latency_ns.merge(side.latency_ns);
  const double runtime_ms = number_at(*direction, {"runtime"});
  sample.elapsed_ns = std::max(sample.elapsed_ns, static_cast<uint64_t>(runtime_ms * 1e6));
  if (is_mixed(job.rw)) (is_write ? sample.writes : sample.reads) = std::move(side);
}

void read_job(const json& job_output, const Job& job, Sample& sample) {
  // With --verify fio counts what it reads back at the end as reads.
  if (has_reads(job.rw)) read_direction(job_output, false, job, sample);
  if (has_writes(job.rw)) read_direction(job_output, true, job, sample);
  const double job_ns = number_at(job_output, {"job_runtime"}) * 1e6;
  sample.user_ns = static_cast<uint64_t>(number_at(job_output, {"usr_cpu"}) / 100 * job_ns);
  sample.system_ns = static_cast<uint64_t>(number_at(job_output, {"sys_cpu"}) / 100 * job_ns);
  sample.switches_voluntary_count = count_at(job_output, {"ctx"});  // fio adds both kinds
  sample.faults_major_count = count_at(job_output, {"majf"});
  sample.faults_minor_count = count_at(job_output, {"minf"});
  const auto sync = job_output.find("sync");
  if (sync != job_output.end() && sync->contains("lat_ns")) read_bins((*sync)["lat_ns"], sample.sync_latency_ns);
  if (sample.operations_count == 0) sample.error = "fio completed no operation within the measured time";
}

std::string first_line_of(const std::string& text) { return text.substr(0, text.find('\n')); }

class FioEngine final : public Engine {
 public:
  explicit FioEngine(FioVariant variant) : variant_(variant) {}

  std::string_view name() const noexcept override { return variant_ == FioVariant::defaults ? "fio" : "fio batched"; }

  Sample run(const Job& job) override {
    Sample sample;
    Failure bad = check(job);
    if (!bad) bad = refuse_fio(job);
    if (bad) {
      sample.error = bad.line;
      return sample;
    }
    const auto arguments = fio_arguments(job, variant_);
    auto output = run_process(arguments);
    if (output.failure) {
      sample.error = output.failure.line;
      sample.interrupted = sample.error == "interrupted";
    } else if (output.value.exit_status != 0) {
      sample.error = "fio ended with status " + std::to_string(output.value.exit_status) + ": " +
                     first_line_of(output.value.standard_error + output.value.standard_output);
    } else {
      sample = sample_of_fio_json(output.value.standard_output, job);
    }
    sample.command = command_line_of(arguments);
    return sample;
  }

 private:
  FioVariant variant_;
};

}  // namespace

bool fio_installed() { return is_in_path("fio"); }

std::string fio_version() {
  if (!fio_installed()) return {};
  const auto output = run_process({"fio", "--version"});
  return output.failure ? std::string() : first_line_of(output.value.standard_output);
}

Failure refuse_fio(const Job& job) {
  if (job.nop) return {"fio has no job of ring NOPs; use --engine spindle or plain"};
  if (job.verify && has_reads(job.rw)) {
    return {"fio cannot check the stamps that --verify reads here; use --engine spindle or plain"};
  }
  return {};
}

namespace {

// What only extended jobs and those of several threads ask for.
void add_extended_arguments(const Job& job, std::vector<std::string>& arguments) {
  const auto add = [&](const char* option, uint64_t value) {
    arguments.push_back(std::string(option) + "=" + std::to_string(value));
  };
  if (is_mixed(job.rw)) add("--rwmixread", job.read_percent);
  if (job.jobs_count > 1) {
    add("--numjobs", job.jobs_count);
    add("--group_reporting", 1);
    const Job second = part_of(job, 1);
    if (second.begin_offset != job.begin_offset) add("--offset_increment", second.begin_offset - job.begin_offset);
  }
  if (job.fsync_every != 0) add("--fsync", job.fsync_every);
  if (job.durable) arguments.emplace_back("--sync=dsync");
  if (job.rate_iops != 0) add("--rate_iops", job.rate_iops);
  if (job.verify) arguments.emplace_back("--verify=xxhash");
}

}  // namespace

std::vector<std::string> fio_arguments(const Job& job, FioVariant variant) {
  const std::string registered = job.registered ? "1" : "0";
  const auto seconds = [](double number) { return text_of("%.0f", number * 1e6) + "us"; };
  std::vector<std::string> arguments = {
      "fio",
      "--name=" + std::string(name_of(job.rw)),
      "--filename=" + escaped(job.filename),
      "--size=" + std::to_string(part_of(job, 0).size_bytes),
      "--rw=" + std::string(name_of(job.rw)),
      "--bs=" + std::to_string(job.block_size),
      "--iodepth=" + std::to_string(job.depth),
      "--ioengine=io_uring",
      "--direct=" + std::string(job.direct ? "1" : "0"),
      "--fixedbufs=" + registered,
      "--registerfiles=" + registered,
      // Verification needs a map, lest two writes of one block are in flight at once.
      "--norandommap=" + std::string(job.verify ? "0" : "1"),
      "--randrepeat=1",
      "--randseed=" + std::to_string(job.random_seed),
      "--gtod_reduce=0",
      "--lat_percentiles=1",
      "--allow_file_create=0",
      "--runtime=" + seconds(job.runtime_s),
      "--ramp_time=" + seconds(job.ramp_s),
      "--time_based=1",
  };
  if (job.operations_max != 0) arguments.push_back("--number_ios=" + std::to_string(job.operations_max));
  add_extended_arguments(job, arguments);
  if (variant == FioVariant::batched) {
    const std::string count = std::to_string(std::min(batch_count, job.depth));
    arguments.push_back("--iodepth_batch_submit=" + count);
    arguments.push_back("--iodepth_batch_complete_min=" + count);
  }
  arguments.emplace_back("--output-format=json+");
  return arguments;
}

Sample sample_of_fio_json(const std::string& text, const Job& job) {
  Sample sample;
  sample.features = {"fio"};
  // Warnings may stand before the object.
  const size_t begin = text.find('{');
  const json output = begin == std::string::npos ? json() : json::parse(text.substr(begin), nullptr, false);
  if (!output.is_object() || !output.contains("jobs") || !output["jobs"].is_array() || output["jobs"].empty()) {
    sample.error = "cannot read fio's output as JSON; it begins: " + first_line_of(text);
    return sample;
  }
  const json& first = output["jobs"][0];
  const auto error = static_cast<int>(number_at(first, {"error"}));
  if (error != 0) {
    sample.error = failure_errno(error, "fio failed on", job.filename).line;
    return sample;
  }
  read_job(first, job, sample);
  return sample;
}

std::unique_ptr<Engine> make_fio_engine(FioVariant variant) { return std::make_unique<FioEngine>(variant); }

}  // namespace spindle::bench
