#include "benchmarks/meter.h"

#include <stdio.h>

#include <algorithm>

#include "benchmarks/interrupt.h"
#include "benchmarks/job_group.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

// How often an interrupt is looked for, and how long an interval of Sample::iops_intervals is (fio's).
constexpr uint64_t tick_every_ns = 100'000'000;
constexpr uint64_t interval_ns = 500'000'000;

uint64_t seconds_ns(double seconds) noexcept { return static_cast<uint64_t>(seconds * 1e9); }

uint64_t time_ns(const timeval& time) noexcept {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(time.tv_usec) * 1000u;
}

uint64_t difference(long end, long begin) noexcept { return static_cast<uint64_t>(end - begin); }

}  // namespace

Meter::Meter(const Job& job) noexcept : job_(job) {}

void Meter::start(uint64_t now_ns) noexcept {
  window_begin_ns_ = now_ns + seconds_ns(job_.ramp_s);
  event_ns_ = std::min(window_begin_ns_, now_ns + tick_every_ns);
}

void Meter::event(uint64_t now_ns) noexcept {
  if (state_ == State::done) return;
  if (interrupted()) {
    sample_.interrupted = true;
    close_window(now_ns);
    return;
  }
  if (state_ == State::ramp) {
    if (now_ns >= window_begin_ns_) open_window(now_ns);
  } else if (now_ns >= window_end_ns_ || operations_count_ >= operations_end_) {
    close_window(now_ns);
    return;
  } else if (now_ns - tick_ns_ >= interval_ns) {
    tick(now_ns);
  }
  event_ns_ = now_ns + tick_every_ns;
  event_ns_ = std::min(event_ns_, state_ == State::ramp ? window_begin_ns_ : window_end_ns_);
}

void Meter::open_window(uint64_t now_ns) noexcept {
  state_ = State::measure;
  sample_.latency_ns.reset();
  sample_.sync_latency_ns.reset();
  sample_.reads = sample_.writes = Side();
  operations_count_ = 0;
  if (job_.operations_max != 0) operations_end_ = job_.operations_max;
  getrusage(RUSAGE_THREAD, &thread_begin_);
  getrusage(RUSAGE_SELF, &process_begin_);
  window_begin_ns_ = now_ns;
  window_end_ns_ = now_ns + seconds_ns(job_.runtime_s);
  tick_ns_ = now_ns;
  tick_operations_count_ = tick_reads_count_ = tick_writes_count_ = 0;
}

void Meter::close_window(uint64_t now_ns) noexcept {
  if (state_ == State::measure) {
    rusage thread{};
    rusage process{};
    getrusage(RUSAGE_THREAD, &thread);
    getrusage(RUSAGE_SELF, &process);
    sample_.elapsed_ns = now_ns - window_begin_ns_;
    sample_.operations_count = operations_count_;
    sample_.bytes = job_.nop ? 0 : operations_count_ * job_.block_size;
    for (Side* const side : {&sample_.reads, &sample_.writes}) side->bytes = side->operations_count * job_.block_size;
    sample_.user_ns = time_ns(thread.ru_utime) - time_ns(thread_begin_.ru_utime);
    sample_.system_ns = time_ns(thread.ru_stime) - time_ns(thread_begin_.ru_stime);
    sample_.process_user_ns = time_ns(process.ru_utime) - time_ns(process_begin_.ru_utime);
    sample_.process_system_ns = time_ns(process.ru_stime) - time_ns(process_begin_.ru_stime);
    sample_.switches_voluntary_count = difference(thread.ru_nvcsw, thread_begin_.ru_nvcsw);
    sample_.switches_involuntary_count = difference(thread.ru_nivcsw, thread_begin_.ru_nivcsw);
    sample_.faults_major_count = difference(thread.ru_majflt, thread_begin_.ru_majflt);
    sample_.faults_minor_count = difference(thread.ru_minflt, thread_begin_.ru_minflt);
  }
  state_ = State::done;
  event_ns_ = UINT64_MAX;
}

void Meter::tick(uint64_t now_ns) noexcept {
  const double seconds = static_cast<double>(now_ns - tick_ns_) / 1e9;
  const double iops = static_cast<double>(operations_count_ - tick_operations_count_) / seconds;
  sample_.iops_intervals.push_back(iops);
  if (is_mixed(job_.rw)) {
    tick_side(sample_.reads, tick_reads_count_, seconds);
    tick_side(sample_.writes, tick_writes_count_, seconds);
  }
  if (job_.group != nullptr) job_.group->set_rate(job_.job_index, iops);
  tick_ns_ = now_ns;
  tick_operations_count_ = operations_count_;
  if (job_.progress) print_progress(now_ns, job_.group == nullptr ? iops : job_.group->rates_sum());
}

void Meter::tick_side(Side& side, uint64_t& tick_count, double seconds) noexcept {
  side.iops_intervals.push_back(static_cast<double>(side.operations_count - tick_count) / seconds);
  tick_count = side.operations_count;
}

void Meter::print_progress(uint64_t now_ns, double iops) const {
  const double left_s = static_cast<double>(window_end_ns_ - std::min(now_ns, window_end_ns_)) / 1e9 + job_.later_s;
  const auto time = [&](double percent) {
    return text_of_ns(static_cast<double>(sample_.latency_ns.percentile(percent)));
  };
  std::string rate = text_of_count(iops) + " IOPS";
  if (!job_.nop) rate += ", " + text_of("%.1f MB/s", iops * job_.block_size / 1e6);
  fprintf(stderr, "\r%s: %s, p50 %s, p99 %s, %.0f s left \x1b[K", job_.progress_label.c_str(), rate.c_str(),
          time(50).c_str(), time(99).c_str(), left_s);
}

Sample Meter::finish(std::string error) {
  if (job_.progress) fputs("\r\x1b[K", stderr);
  if (sample_.interrupted && error.empty()) error = "interrupted";
  if (error.empty() && sample_.operations_count == 0) {
    error = "no operation completed within the measured time; raise --runtime";
  }
  sample_.error = std::move(error);
  return std::move(sample_);
}

}  // namespace spindle::bench
