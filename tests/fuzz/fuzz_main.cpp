// spindle-fuzz: runs one fuzzer, with its fixed seeds and then a new one, or with what the options say.
#include <sys/random.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "runtime/random.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

namespace {

constexpr const Fuzzer* all_fuzzers[] = {
    &runtime_fuzzer,   &node_pool_fuzzer, &message_pool_fuzzer, &file_fuzzer,
    &file_ring_fuzzer, &storage_fuzzer,   &canary_fuzzer,
};
constexpr uint64_t default_seconds = 5;

// The command that repeats the run under way, written out by whatever ends the process.
char repeat_command[256];
size_t repeat_command_size = 0;

void print_repeat_command() noexcept {
  const ssize_t written = ::write(STDERR_FILENO, repeat_command, repeat_command_size);
  static_cast<void>(written);
}

void on_fatal_signal(int) {
  print_repeat_command();
  ::_exit(1);
}

uint64_t seed_of_text(const std::string& text) {
  if (text.size() != 40) return std::strtoull(text.c_str(), nullptr, 10);
  uint64_t seed = 0;
  for (size_t at = 0; at < 40; at += 8) seed = mix64(seed ^ std::strtoull(text.substr(at, 8).c_str(), nullptr, 16));
  return seed;
}

bool is_seed(const std::string& text) {
  const bool is_hash = text.size() == 40;
  const char* digits = is_hash ? "0123456789abcdefABCDEF" : "0123456789";
  return !text.empty() && (is_hash || text.size() <= 20) && text.find_first_not_of(digits) == std::string::npos;
}

uint64_t new_seed() {
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) seed = static_cast<uint64_t>(std::time(nullptr));
  return seed;
}

uint64_t seconds_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec);
}

class Session {
 public:
  Session(const Fuzzer& fuzzer, uint64_t events_max, bool is_verbose)
      : fuzzer_(fuzzer), events_max_(events_max), is_verbose_(is_verbose) {
    coverage_.expect(fuzzer.marks);
  }
  RunResult run(uint64_t seed) {
    const int size = std::snprintf(repeat_command, sizeof(repeat_command),
                                   "FAILED. To repeat: spindle-fuzz %s --seed %" PRIu64 " --events-max %" PRIu64 "\n",
                                   fuzzer_.name, seed, events_max_);
    repeat_command_size = static_cast<size_t>(size);
    if (is_verbose_) std::printf("seed %" PRIu64 "\n", seed);
    const RunResult result = fuzzer_.run(RunOptions{seed, events_max_, is_verbose_}, coverage_);
    events_count_ += result.events_count;
    ++runs_count_;
    return result;
  }
  /// `seed`, and then others that follow from it, until the time is over.
  void run_until(uint64_t seed, uint64_t end_seconds) {
    do {
      run(seed);
      seed = mix64(seed);
    } while (seconds_now() < end_seconds);
  }
  void report() const {
    std::printf("%s: %" PRIu64 " runs, %" PRIu64 " events\n", fuzzer_.name, runs_count_, events_count_);
    if (!is_verbose_) return;
    for (size_t index = 0; index < coverage_.names().size(); ++index) {
      std::printf("  %10" PRIu64 " %s\n", coverage_.count(index), coverage_.names()[index]);
    }
  }
  bool reached_everything() const {
    bool reached = true;
    for (size_t index = 0; index < coverage_.names().size(); ++index) {
      if (coverage_.count(index) > 0) continue;
      std::fprintf(stderr, "%s: never reached: %s\n", fuzzer_.name, coverage_.names()[index]);
      reached = false;
    }
    return reached;
  }

 private:
  const Fuzzer& fuzzer_;
  uint64_t events_max_;
  bool is_verbose_;
  Coverage coverage_;
  uint64_t events_count_ = 0;
  uint64_t runs_count_ = 0;
};

struct CommandLine {
  std::string name;
  std::string seed;
  uint64_t events_max = 0;
  uint64_t seconds = 0;
  bool prints_hash = false;
  bool is_verbose = false;
};

int run_fuzzer(const Fuzzer& fuzzer, const CommandLine& line) {
  const uint64_t events_max = line.events_max == 0 ? fuzzer.events_max : line.events_max;
  Session session(fuzzer, events_max, line.is_verbose);
  const uint64_t begin_seconds = seconds_now();
  if (!line.seed.empty()) {
    const uint64_t seed = seed_of_text(line.seed);
    const RunResult result = session.run(seed);
    if (line.prints_hash) std::printf("%016" PRIx64 "\n", result.hash);
    if (line.seconds > 0) session.run_until(mix64(seed), begin_seconds + line.seconds);
    if (!line.prints_hash) session.report();
    return 0;
  }
  uint64_t hash = 0;
  for (const uint64_t seed : fuzzer.fixed_seeds) hash = mix64(hash ^ session.run(seed).hash);
  if (line.prints_hash) {
    std::printf("%016" PRIx64 "\n", hash);
    return 0;
  }
  const uint64_t seed = new_seed();
  std::printf("%s: new seed %" PRIu64 "\n", fuzzer.name, seed);
  std::fflush(stdout);
  session.run_until(seed, begin_seconds + (line.seconds > 0 ? line.seconds : default_seconds));
  session.report();
  const bool is_default_budget = line.seconds == 0 && line.events_max == 0;
  return !is_default_budget || session.reached_everything() ? 0 : 1;
}

int run_command(const CommandLine& line) {
  if (line.name == "list") {
    for (const Fuzzer* fuzzer : fuzzers()) std::printf("%-12s %s\n", fuzzer->name, fuzzer->purpose);
    return 0;
  }
  for (const Fuzzer* fuzzer : fuzzers()) {
    if (line.name == fuzzer->name) return run_fuzzer(*fuzzer, line);
  }
  std::fprintf(stderr, "spindle-fuzz: there is no fuzzer '%s' (see spindle-fuzz list)\n", line.name.c_str());
  return 2;
}

}  // namespace

std::span<const Fuzzer* const> fuzzers() noexcept { return all_fuzzers; }

void failed(const char* file, int line, const char* what) noexcept {
  std::fflush(stdout);
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
  std::fflush(stderr);
  std::abort();
}

}  // namespace spindle::fuzz

// Called by AddressSanitizer, where it is, before its report.
extern "C" void __asan_on_error() { spindle::fuzz::print_repeat_command(); }

int main(int argc, char** argv) {
  using namespace spindle::fuzz;
  for (const int number : {SIGABRT, SIGSEGV, SIGILL, SIGTRAP, SIGFPE, SIGBUS}) std::signal(number, on_fatal_signal);
  CommandLine line;
  CLI::App app("Runs a fuzzer: its fixed seeds and then a new one, or what the options say.", "spindle-fuzz");
  app.add_option("fuzzer", line.name, "A fuzzer's name, or 'list'")->required();
  CLI::Option* seed = app.add_option("--seed", line.seed, "Run this seed: decimal, or a commit hash of 40 digits");
  seed->check([](const std::string& text) { return is_seed(text) ? std::string() : "not a seed: " + text; });
  app.add_option("--events-max", line.events_max, "Most events per run (default: the fuzzer's own)");
  app.add_option("--seconds", line.seconds, "Go on with further seeds for this long");
  app.add_flag("--hash", line.prints_hash, "Print a hash over all events; without --seed, of the fixed seeds");
  app.add_flag("--verbose", line.is_verbose, "Print each seed, and how often each mark was reached");
  CLI11_PARSE(app, argc, argv);
  return run_command(line);
}
