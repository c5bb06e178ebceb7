#include "io/sim/fuzz_main.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "io/sim/fuzz_failures.h"
#include "io/sim/fuzz_minimize.h"
#include "io/sim/fuzz_report.h"
#include "io/sim/fuzz_session.h"
#include "runtime/random.h"

namespace spindle::fuzz {

namespace {

constexpr int status_bad_usage = 2;
constexpr uint64_t seconds_max = 10'000'000;
constexpr size_t commit_hash_size = 40;

/// The words of the command line.
struct Words {
  std::string name;
  std::optional<std::string> seed;
  std::optional<std::string> events_max;
  std::optional<std::string> seconds;
  std::optional<std::string> events;
  std::optional<std::string> faults;
  std::optional<std::string> failures;
  bool prints_hash = false;
  bool is_verbose = false;
  bool minimizes = false;
  bool is_default_only = false;

  bool has_run_options() const noexcept {
    const bool has_flag = prints_hash || is_verbose || minimizes;
    return has_flag || seed || events_max || seconds || events || faults || failures;
  }
};

/// Decimal, or a commit hash, so that a check of a commit can have a seed of its own.
std::optional<uint64_t> parse_seed(const std::string& text) {
  if (text.size() != commit_hash_size) return parse_number(text, UINT64_MAX);
  if (text.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) return std::nullopt;
  uint64_t seed = 0;
  for (size_t at = 0; at < text.size(); at += 8) {
    seed = mix64(seed ^ std::strtoull(text.substr(at, 8).c_str(), nullptr, 16));
  }
  return seed;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

class Program {
 public:
  Program(std::string path, std::span<const Fuzzer* const> fuzzers) : path_(std::move(path)), fuzzers_(fuzzers) {}

  int run(const Words& words) {
    if (words.name == "list" && words.has_run_options()) return complain("list: only --default goes with it");
    if (words.name == "list") return list(words);
    const auto found = std::find_if(fuzzers_.begin(), fuzzers_.end(),
                                    [&](const Fuzzer* fuzzer) { return words.name == fuzzer->name; });
    if (found == fuzzers_.end()) return complain("there is no fuzzer '" + words.name + "'; see " + path_ + " list");
    return run_fuzzer(**found, words);
  }

  /// One line, whatever the message was.
  int complain(const std::string& message) const {
    const std::string line = message.substr(0, message.find('\n'));
    std::fprintf(stderr, "%s: %s\n", last_part(path_).c_str(), line.c_str());
    return status_bad_usage;
  }

 private:
  int list(const Words& words) const {
    for (const Fuzzer* fuzzer : fuzzers_) {
      if (words.is_default_only && fuzzer->is_default) std::printf("%s\n", fuzzer->name);
      if (words.is_default_only) continue;
      std::printf("%-14s %-8s %s\n", fuzzer->name, fuzzer->is_default ? "default" : "by-name", fuzzer->purpose);
    }
    return 0;
  }

  int run_fuzzer(const Fuzzer& fuzzer, const Words& words) {
    FuzzSettings settings;
    FuzzCase of;
    std::string wrong = read_numbers(fuzzer, words, settings, of);
    if (wrong.empty()) wrong = read_selections(words, of);
    if (wrong.empty()) wrong = contradiction_of(words);
    if (!wrong.empty()) return complain(wrong);
    settings.program = path_;
    settings.failures_folder = failures_folder(words.failures.value_or(std::string()));
    settings.prints_hash = words.prints_hash;
    settings.is_verbose = words.is_verbose;
    watch_failures();
    if (words.minimizes) {
      const std::optional<FuzzCase> given = words.seed.has_value() ? std::optional<FuzzCase>(of) : std::nullopt;
      return minimize(fuzzer, settings, given, of.events_max);
    }
    if (words.seed.has_value()) return run_one_seed(fuzzer, settings, of);
    return run_default(fuzzer, settings, of.events_max);
  }

  /// What is wrong, or nothing.
  static std::string read_numbers(const Fuzzer& fuzzer, const Words& words, FuzzSettings& settings, FuzzCase& of) {
    if (words.seed.has_value()) {
      const auto seed = parse_seed(*words.seed);
      if (!seed.has_value()) {
        return "--seed: not a decimal number below 2^64, nor a commit hash of 40 digits: '" + *words.seed + "'";
      }
      of.seed = *seed;
    }
    of.events_max = fuzzer.events_max;
    settings.has_own_size = words.events_max.has_value();
    if (words.events_max.has_value()) {
      const auto events_max = parse_number(*words.events_max, UINT32_MAX);
      if (!events_max.has_value() || *events_max == 0) {
        return "--events-max: not a number from 1 to 4294967295: '" + *words.events_max + "'";
      }
      of.events_max = *events_max;
    }
    if (words.seconds.has_value()) {
      const auto seconds = parse_number(*words.seconds, seconds_max);
      if (!seconds.has_value() || *seconds == 0) {
        return "--seconds: not a number from 1 to 10000000: '" + *words.seconds + "'";
      }
      settings.seconds = *seconds;
    }
    return {};
  }

  static std::string read_selections(const Words& words, FuzzCase& of) {
    if (words.events.has_value()) {
      of.events = EventSelection::parse(*words.events);
      if (!of.events.has_value()) return "--events: not a list like 1,5-9, nor 'none': '" + *words.events + "'";
    }
    if (words.faults.has_value()) {
      of.faults = FaultSelection::parse(*words.faults);
      if (!of.faults.has_value()) return "--faults: not a list like 3.1,7.2, nor 'none': '" + *words.faults + "'";
    }
    if (words.failures.has_value() && words.failures->empty()) return "--failures: the name of a folder is missing";
    return {};
  }

  static std::string contradiction_of(const Words& words) {
    const bool selects = words.events.has_value() || words.faults.has_value();
    if (words.is_default_only) return "--default: goes with list only";
    if (selects && !words.seed.has_value()) return "--events and --faults: go with --seed only";
    if (selects && words.seconds.has_value() && !words.minimizes) {
      return "--seconds: further seeds have other events: not with --events or --faults";
    }
    if (words.minimizes && words.prints_hash) return "--hash: not with --minimize";
    return {};
  }

  const std::string path_;
  const std::span<const Fuzzer* const> fuzzers_;
};

void add_options(CLI::App& app, Words& words) {
  app.add_option("fuzzer", words.name, "A fuzzer's name, or 'list'")->required();
  app.add_option("--seed", words.seed, "Run this seed: decimal, or a commit hash of 40 digits");
  app.add_option("--events-max", words.events_max, "Most events per run (default: the fuzzer's own)");
  app.add_option("--seconds", words.seconds, "Go on with further seeds for this long; of --minimize, its time");
  app.add_flag("--hash", words.prints_hash, "Print a hash over all events; without --seed, of the fixed seeds");
  app.add_flag("--verbose", words.is_verbose, "Print each seed and its events, and how often each mark was reached");
  app.add_flag("--minimize", words.minimizes,
               "Find the smallest run that fails, of --seed or of one that it looks for");
  app.add_option("--events", words.events, "Of the seed's events only these: 1,5-9, or none");
  app.add_option("--faults", words.faults, "Of its faults only these: 3.1,7.2 (event.operation), or none");
  app.add_option("--failures", words.failures,
                 "The folder for seeds that fail (default: SPINDLE_FUZZ_FAILURES, else fuzz-failures here)");
  app.add_flag("--default", words.is_default_only, "Of list: the names of those that run by default");
}

}  // namespace

int fuzz_main(int argc, char** argv, std::span<const Fuzzer* const> fuzzers) {
  const std::string path = argc > 0 ? argv[0] : "fuzz";
  Program program(path, fuzzers);
  Words words;
  CLI::App app("Runs a fuzzer: the seeds that failed, its fixed ones and then a new one, or what the options say.",
               last_part(path));
  add_options(app, words);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wants_help) {
    return app.exit(wants_help);
  } catch (const CLI::ParseError& wrong) {
    return program.complain(wrong.what());
  }
  return program.run(words);
}

}  // namespace spindle::fuzz
