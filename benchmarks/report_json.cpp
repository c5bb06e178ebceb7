#include "benchmarks/report_json.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

using json = nlohmann::ordered_json;

constexpr double percentiles[] = {1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99};
constexpr uint64_t latency_bounds[] = {2, 4, 10, 20, 50, 100, 250, 500, 750, 1000};

json no_latency() { return {{"min", 0}, {"max", 0}, {"mean", 0.0}, {"stddev", 0.0}, {"N", 0}}; }

json latency(const Histogram& histogram, bool bins) {
  json object = {{"min", histogram.min()},
                 {"max", histogram.max()},
                 {"mean", histogram.mean()},
                 {"stddev", histogram.standard_deviation()},
                 {"N", histogram.count()}};
  json& values = object["percentile"] = json::object();
  for (const double percent : percentiles) values[text_of("%.6f", percent)] = histogram.percentile(percent);
  if (!bins) return object;
  json& counts = object["bins"] = json::object();
  histogram.for_each([&](uint64_t value, uint64_t count) { counts[std::to_string(value)] = count; });
  return object;
}

// fio's statistics over intervals, here of half a second. A run too short for one is one interval.
void add_intervals(json& object, const std::string& prefix, std::vector<double> values, double whole, bool integers) {
  if (values.empty()) values.push_back(whole);
  const Spread spread = spread_of(values);
  double mean = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  double variance = 0;
  for (const double value : values) variance += (value - mean) * (value - mean) / static_cast<double>(values.size());
  object[prefix + "_min"] = static_cast<uint64_t>(spread.min);
  object[prefix + "_max"] = static_cast<uint64_t>(spread.max);
  if (integers) object[prefix + "_agg"] = 100.0;
  object[prefix + "_mean"] = mean;
  object[prefix + (integers ? "_dev" : "_stddev")] = std::sqrt(variance);
  object[prefix + "_samples"] = values.size();
}

json direction(const Job& job, const Side& side, uint64_t elapsed_ns, bool bins) {
  const double seconds = static_cast<double>(std::max<uint64_t>(1, elapsed_ns)) / 1e9;
  const double bytes_per_s = static_cast<double>(side.bytes) / seconds;
  const double iops = static_cast<double>(side.operations_count) / seconds;
  json object = {{"io_bytes", side.bytes},
                 {"io_kbytes", side.bytes / 1024},
                 {"bw_bytes", static_cast<uint64_t>(bytes_per_s)},
                 {"bw", static_cast<uint64_t>(bytes_per_s / 1024)},
                 {"iops", iops},
                 {"runtime", side.operations_count == 0 ? 0 : elapsed_ns / 1'000'000},
                 {"total_ios", side.operations_count},
                 {"short_ios", 0},
                 {"drop_ios", 0}};
  // An operation is stamped once, when it is staged for submission: all of its latency is fio's clat, none
  // slat.
  object["slat_ns"] = no_latency();
  const bool idle = side.operations_count == 0;
  object["clat_ns"] = idle ? no_latency() : latency(side.latency_ns, bins);
  object["lat_ns"] = object["clat_ns"];
  std::vector<double> kib_per_s;
  for (const double interval : side.iops_intervals) kib_per_s.push_back(interval * job.block_size / 1024);
  add_intervals(object, "bw", std::move(kib_per_s), bytes_per_s / 1024, true);
  add_intervals(object, "iops", side.iops_intervals, iops, false);
  return object;
}

json idle_direction() {
  json object = {{"io_bytes", 0}, {"io_kbytes", 0}, {"bw_bytes", 0},  {"bw", 0},      {"iops", 0.0},
                 {"runtime", 0},  {"total_ios", 0}, {"short_ios", 0}, {"drop_ios", 0}};
  for (const char* const name : {"slat_ns", "clat_ns", "lat_ns"}) object[name] = no_latency();
  for (const char* const name : {"bw_min", "bw_max"}) object[name] = 0;
  for (const char* const name : {"bw_agg", "bw_mean", "bw_dev"}) object[name] = 0.0;
  for (const char* const name : {"bw_samples", "iops_min", "iops_max"}) object[name] = 0;
  for (const char* const name : {"iops_mean", "iops_stddev"}) object[name] = 0.0;
  object["iops_samples"] = 0;
  return object;
}

// fio's read, write, trim and sync.
void add_directions(json& object, const Series& series, bool bins) {
  const Sample& sample = series.median_sample();
  const Pattern rw = series.job.rw;
  const auto one = [&](bool is_there, const Side& mixed) {
    if (!is_there) return idle_direction();
    return direction(series.job, is_mixed(rw) ? mixed : sample, sample.elapsed_ns, bins);
  };
  object["read"] = one(has_reads(rw), sample.reads);
  object["write"] = one(has_writes(rw), sample.writes);
  object["trim"] = idle_direction();
  const uint64_t syncs_count = sample.sync_latency_ns.count();
  object["sync"] = {{"total_ios", syncs_count},
                    {"lat_ns", syncs_count == 0 ? no_latency() : latency(sample.sync_latency_ns, bins)}};
}

json job_options(const Series& series) {
  const Job& job = series.job;
  const auto flag = [](bool on) { return on ? "1" : "0"; };
  json options = {{"name", series.name},
                  {"filename", job.filename},
                  {"size", std::to_string(job.size_bytes)},
                  {"rw", name_of(job.rw)},
                  {"bs", std::to_string(job.block_size)},
                  {"iodepth", std::to_string(job.depth)},
                  {"runtime", text_of("%g", job.runtime_s)},
                  {"ramp_time", text_of("%g", job.ramp_s)},
                  {"direct", flag(job.direct)},
                  {"randseed", std::to_string(job.random_seed)},
                  {"engine", series.engine}};
  if (job.nop) options["nop"] = "1";
  if (is_mixed(job.rw)) options["rwmixread"] = std::to_string(job.read_percent);
  if (job.jobs_count > 1) options["numjobs"] = std::to_string(job.jobs_count);
  if (job.fsync_every != 0) options["fsync"] = std::to_string(job.fsync_every);
  if (job.durable) options["sync"] = "dsync";
  if (job.verify) options["verify"] = "xxh3";
  if (job.rate_iops != 0) options["rate_iops"] = std::to_string(job.rate_iops);
  return options;
}

// Which of fio's depth classes is the one that every operation was in: depth is constant.
json depth_levels(uint32_t depth) {
  json levels;
  for (uint32_t level = 1; level <= 32; level *= 2) {
    levels[std::to_string(level)] = depth >= level && depth < 2 * level ? 100.0 : 0.0;
  }
  levels[">=64"] = depth >= 64 ? 100.0 : 0.0;
  return levels;
}

// The share of operations, in percent, that took up to each bound, and longer than the bound before it.
json latency_classes(const Histogram& histogram, uint64_t unit_ns) {
  const double total = static_cast<double>(std::max<uint64_t>(1, histogram.count()));
  const auto percent = [&](uint64_t begin, uint64_t end) {
    return 100.0 * static_cast<double>(histogram.count_between(begin, end)) / total;
  };
  json classes;
  uint64_t begin = unit_ns == 1 ? 0 : unit_ns;
  for (const uint64_t bound : latency_bounds) {
    classes[std::to_string(bound)] = percent(begin, bound * unit_ns);
    begin = bound * unit_ns;
  }
  if (unit_ns == 1'000'000) {
    classes["2000"] = percent(begin, 2 * begin);
    classes[">=2000"] = percent(2 * begin, UINT64_MAX);
  }
  return classes;
}

json job_of(const Series& series, bool bins) {
  const Sample& sample = series.median_sample();
  // Of one thread, as fio has it for a group.
  const uint64_t threads_ns = sample.elapsed_ns * series.job.jobs_count;
  const auto share = [&](uint64_t ns) {
    return threads_ns == 0 ? 0.0 : 100.0 * static_cast<double>(ns) / static_cast<double>(threads_ns);
  };
  json object = {{"jobname", series.name}, {"groupid", 0}, {"error", 0}, {"eta", 0}};
  object["elapsed"] =
      static_cast<uint64_t>(std::ceil(series.job.ramp_s + static_cast<double>(sample.elapsed_ns) / 1e9));
  object["job options"] = job_options(series);
  add_directions(object, series, bins);
  object["job_runtime"] = threads_ns / 1'000'000;
  object["usr_cpu"] = share(sample.user_ns);
  object["sys_cpu"] = share(sample.system_ns);
  object["ctx"] = sample.switches_voluntary_count + sample.switches_involuntary_count;
  object["majf"] = sample.faults_major_count;
  object["minf"] = sample.faults_minor_count;
  object["iodepth_level"] = depth_levels(series.job.depth);
  object["latency_ns"] = latency_classes(sample.latency_ns, 1);
  object["latency_us"] = latency_classes(sample.latency_ns, 1000);
  object["latency_ms"] = latency_classes(sample.latency_ns, 1'000'000);
  object["latency_depth"] = series.job.depth;
  object["latency_target"] = 0;
  object["latency_percentile"] = 100.0;
  object["latency_window"] = 0;
  object["features"] = sample.features;
  if (series.job.verify) object["verified_blocks"] = sample.verified_count;
  json& rounds = object["iops_rounds"] = json::array();
  for (const Sample& round : series.samples) rounds.push_back(round.iops());
  return object;
}

// Of all runs together, the disks of all jobs; fio has one entry per disk.
json disk_util(const std::vector<Series>& all) {
  json disks = json::array();
  DiskUse sum;
  std::string name;
  for (const Series& series : all) {
    for (const Sample& sample : series.samples) {
      if (sample.disk.elapsed_ms == 0) continue;
      name = series.job.disk;
      for (int i = 0; i < 2; ++i) {
        sum.ios[i] += sample.disk.ios[i];
        sum.merges[i] += sample.disk.merges[i];
        sum.ticks_ms[i] += sample.disk.ticks_ms[i];
      }
      sum.busy_ms += sample.disk.busy_ms;
      sum.queue_ms += sample.disk.queue_ms;
      sum.elapsed_ms += sample.disk.elapsed_ms;
    }
  }
  if (sum.elapsed_ms == 0) return disks;
  const double util = 100.0 * static_cast<double>(sum.busy_ms) / static_cast<double>(sum.elapsed_ms);
  disks.push_back({{"name", name},
                   {"read_ios", sum.ios[0]},
                   {"write_ios", sum.ios[1]},
                   {"read_merges", sum.merges[0]},
                   {"write_merges", sum.merges[1]},
                   {"read_ticks", sum.ticks_ms[0]},
                   {"write_ticks", sum.ticks_ms[1]},
                   {"in_queue", sum.queue_ms},
                   {"util", std::min(100.0, util)}});
  return disks;
}

}  // namespace

std::string report_json(const std::vector<Series>& all, bool bins) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  char text[64] = "";
  tm local{};
  strftime(text, sizeof(text), "%a %b %e %H:%M:%S %Y", localtime_r(&now.tv_sec, &local));
  // "fio version" is what scripts recognize the format by.
  json report = {{"fio version", "spindle-bench-1"},
                 {"timestamp", now.tv_sec},
                 {"timestamp_ms", now.tv_sec * 1000 + now.tv_nsec / 1'000'000},
                 {"time", text},
                 {"global options", json::object()},
                 {"jobs", json::array()}};
  for (const Series& series : all) report["jobs"].push_back(job_of(series, bins));
  const json disks = disk_util(all);
  if (!disks.empty()) report["disk_util"] = disks;
  return report.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace spindle::bench
