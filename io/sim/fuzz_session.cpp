#include "io/sim/fuzz_session.h"

#include <sys/random.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <ctime>

#include "io/sim/fuzz_failures.h"
#include "io/sim/fuzz_report.h"
#include "runtime/random.h"

namespace spindle::fuzz {

namespace {

constexpr uint64_t seconds_default = 5;

}  // namespace

FailureReport report_of(const FuzzSettings& settings, const Fuzzer& fuzzer, const FuzzCase& of) {
  FailureReport report;
  report.command = repeat_line(settings, fuzzer, of);
  // A part of a run need not fail where the whole does; and fixed seeds are not forgotten.
  if (!of.is_whole() || is_fixed(fuzzer, of)) return report;
  report.folder = settings.failures_folder;
  report.path = report.folder + '/' + failure_file_name(fuzzer, of);
  report.content = arguments_of(fuzzer, of) + '\n';
  report.saved_line = "Saved as " + report.path + ": the next run without --seed begins with it.\n";
  report.unsaved_line = "The seed could not be saved as " + report.path + ".\n";
  return report;
}

std::string shell_word(const std::string& text) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+=:@%,";
  if (!text.empty() && text.find_first_not_of(plain) == std::string::npos) return text;
  std::string quoted = "'";
  for (const char character : text) {
    if (character == '\'') {
      quoted += "'\\''";
    } else {
      quoted += character;
    }
  }
  return quoted + '\'';
}

std::string repeat_line(const FuzzSettings& settings, const Fuzzer& fuzzer, const FuzzCase& of) {
  return "FAILED. To repeat: " + shell_word(settings.program) + ' ' + arguments_of(fuzzer, of) + '\n';
}

uint64_t new_seed() {
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) seed = static_cast<uint64_t>(std::time(nullptr));
  return seed;
}

bool is_fixed(const Fuzzer& fuzzer, const FuzzCase& of) noexcept {
  return of.events_max == fuzzer.events_max &&
         std::find(fuzzer.fixed_seeds.begin(), fuzzer.fixed_seeds.end(), of.seed) != fuzzer.fixed_seeds.end();
}

uint64_t milliseconds_now() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

FuzzSession::FuzzSession(const Fuzzer& fuzzer, const FuzzSettings& settings) : fuzzer_(fuzzer), settings_(settings) {
  coverage_.expect(fuzzer.marks);
}

RunResult FuzzSession::run(FuzzCase of) {
  set_failure_report(report_of(settings_, fuzzer_, of));
  if (settings_.is_verbose) std::printf("seed %" PRIu64 "\n", of.seed);
  const RunResult result = run_case(fuzzer_, of, settings_.is_verbose, nullptr, coverage_);
  events_count_ += result.events_count;
  ++runs_count_;
  return result;
}

void FuzzSession::run_until(FuzzCase first, uint64_t end_ms) {
  do {
    run(first);
    first.seed = mix64(first.seed);
  } while (milliseconds_now() < end_ms);
}

void FuzzSession::report() const {
  std::printf("%s: %" PRIu64 " runs, %" PRIu64 " events\n", fuzzer_.name, runs_count_, events_count_);
  if (!settings_.is_verbose) return;
  for (size_t index = 0; index < coverage_.names().size(); ++index) {
    std::printf("  %10" PRIu64 " %s\n", coverage_.count(index), coverage_.names()[index]);
  }
}

bool FuzzSession::reached_everything() const {
  bool reached = true;
  for (size_t index = 0; index < coverage_.names().size(); ++index) {
    if (coverage_.count(index) > 0) continue;
    std::fprintf(stderr, "%s: never reached: %s\n", fuzzer_.name, coverage_.names()[index]);
    reached = false;
  }
  return reached;
}

int run_one_seed(const Fuzzer& fuzzer, const FuzzSettings& settings, const FuzzCase& of) {
  FuzzSession session(fuzzer, settings);
  const uint64_t end_ms = milliseconds_now() + settings.seconds * 1000;
  const RunResult result = session.run(of);
  if (settings.prints_hash) std::printf("%016" PRIx64 "\n", result.hash);
  if (settings.seconds > 0) {
    FuzzCase next = of;
    next.seed = mix64(of.seed);
    session.run_until(next, end_ms);
  }
  if (!settings.prints_hash) session.report();
  return 0;
}

int run_default(const Fuzzer& fuzzer, const FuzzSettings& settings, uint64_t events_max) {
  FuzzSession session(fuzzer, settings);
  const uint64_t seconds = settings.seconds > 0 ? settings.seconds : seconds_default;
  const uint64_t end_ms = milliseconds_now() + seconds * 1000;
  if (!settings.prints_hash) {
    for (const FuzzCase& saved : load_failures(settings.failures_folder, fuzzer)) {
      session.run(saved);
      remove_failure(settings.failures_folder, fuzzer, saved);
    }
  }
  FuzzCase next;
  next.events_max = events_max;
  uint64_t hash = 0;
  for (const uint64_t seed : fuzzer.fixed_seeds) {
    next.seed = seed;
    hash = mix64(hash ^ session.run(next).hash);
  }
  if (settings.prints_hash) {
    std::printf("%016" PRIx64 "\n", hash);
    return 0;
  }
  next.seed = new_seed();
  std::printf("%s: new seed %" PRIu64 "\n", fuzzer.name, next.seed);
  std::fflush(stdout);
  session.run_until(next, end_ms);
  clear_failure_report();
  session.report();
  const bool is_default_budget = settings.seconds == 0 && !settings.has_own_size;
  return !is_default_budget || session.reached_everything() ? 0 : 1;
}

}  // namespace spindle::fuzz
