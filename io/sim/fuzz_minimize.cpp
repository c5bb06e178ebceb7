#include "io/sim/fuzz_minimize.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <utility>
#include <vector>

#include "io/sim/fuzz_child.h"
#include "io/sim/fuzz_failures.h"
#include "io/sim/fuzz_report.h"
#include "io/sim/fuzz_shrink.h"
#include "runtime/random.h"

namespace spindle::fuzz {

namespace {

constexpr uint64_t seconds_default = 60;

struct Failure {
  FuzzCase of;
  ChildOutcome outcome;
};

/// Looks for a seed that fails.
class Search {
 public:
  Search(const Fuzzer& fuzzer, const FuzzSettings& settings, uint64_t budget_ms)
      : fuzzer_(fuzzer), settings_(settings), limit_ms_(budget_ms / 4), end_ms_(milliseconds_now() + budget_ms) {}

  std::optional<Failure> find(uint64_t events_max) {
    for (const FuzzCase& saved : load_failures(settings_.failures_folder, fuzzer_)) {
      if (fails(saved)) return std::move(found_);
    }
    FuzzCase next;
    next.events_max = events_max;
    for (const uint64_t seed : fuzzer_.fixed_seeds) {
      next.seed = seed;
      if (fails(next)) return std::move(found_);
    }
    for (next.seed = new_seed(); milliseconds_now() < end_ms_; next.seed = mix64(next.seed)) {
      if (fails(next)) return std::move(found_);
    }
    clear_failure_report();
    std::printf("%s: nothing fails, in %" PRIu64 " runs\n", fuzzer_.name, runs_count_);
    return std::nullopt;
  }
  std::optional<Failure> look_at(const FuzzCase& given) {
    if (fails(given)) return std::move(found_);
    std::printf("%s: seed %" PRIu64 " does not fail\n", fuzzer_.name, given.seed);
    return std::nullopt;
  }

 private:
  bool fails(const FuzzCase& of) {
    ++runs_count_;
    set_failure_report(report_of(settings_, fuzzer_, of));
    found_ = Failure{of, run_in_child(fuzzer_, of, limit_ms_)};
    return !found_.outcome.signature.empty();
  }

  const Fuzzer& fuzzer_;
  const FuzzSettings& settings_;
  const uint64_t limit_ms_;
  const uint64_t end_ms_;
  uint64_t runs_count_ = 0;
  Failure found_;
};

class Minimizer {
 public:
  Minimizer(const Fuzzer& fuzzer, const FuzzSettings& settings, Failure failure, uint64_t budget_ms)
      : fuzzer_(fuzzer),
        settings_(settings),
        whole_(failure.of),
        case_(failure.of),
        signature_(std::move(failure.outcome.signature)),
        begin_ms_(milliseconds_now()),
        end_ms_(begin_ms_ + budget_ms) {
    // What hangs is told from what passes by this limit alone, and takes all of it each time.
    const uint64_t of_hang_ms = std::max<uint64_t>(300, budget_ms / 32);
    limit_ms_ = signature_ == "hangs" ? of_hang_ms : std::max<uint64_t>(2000, failure.outcome.duration_ms * 10);
    note_failure();
  }

  int run() {
    std::printf("%s: seed %" PRIu64 " fails: %s\n", fuzzer_.name, case_.seed, signature_.c_str());
    std::fflush(stdout);
    if (!fails(case_)) {
      std::printf("%s: but not each time: there is nothing to make smaller\n", fuzzer_.name);
      return finish();
    }
    faults_count_ = ids_of(outcome_.faults).size();
    // While all events are there: later the few that are left may fail only as these faults delay them.
    if (faults_count_ > 0) leave_out_all_faults();
    shrink_events();
    if (shrink_faults()) shrink_events();
    const bool repeats = fails(case_);
    print_what_is_left();
    if (!repeats) std::printf("%s: it does not fail each time\n", fuzzer_.name);
    return finish();
  }

 private:
  /// Items are numbers of events.
  class EventsTest final : public ShrinkTest {
   public:
    explicit EventsTest(Minimizer& minimizer) noexcept : minimizer_(minimizer) {}
    bool fails(std::span<const uint32_t> items) override {
      FuzzCase candidate = minimizer_.case_;
      candidate.events = EventSelection(items);
      return minimizer_.try_instead(std::move(candidate));
    }
    bool is_over() override { return minimizer_.is_over(); }

   private:
    Minimizer& minimizer_;
  };

  /// Items are places in a list of faults.
  class FaultsTest final : public ShrinkTest {
   public:
    FaultsTest(Minimizer& minimizer, const std::vector<FaultId>& ids) noexcept : minimizer_(minimizer), ids_(ids) {}
    bool fails(std::span<const uint32_t> items) override {
      std::vector<FaultId> ids;
      for (const uint32_t item : items) ids.push_back(ids_[item]);
      FuzzCase candidate = minimizer_.case_;
      candidate.faults = FaultSelection(std::move(ids));
      return minimizer_.try_instead(std::move(candidate));
    }
    bool is_over() override { return minimizer_.is_over(); }

   private:
    Minimizer& minimizer_;
    const std::vector<FaultId>& ids_;
  };

  bool is_over() const noexcept { return milliseconds_now() >= end_ms_; }
  /// As the whole does.
  bool fails(const FuzzCase& candidate) {
    ++runs_count_;
    ChildOutcome outcome = run_in_child(fuzzer_, candidate, limit_ms_);
    if (outcome.signature != signature_) return false;
    outcome_ = std::move(outcome);
    return true;
  }
  /// True: it fails, too, and is what is shrunk from here on.
  bool try_instead(FuzzCase candidate) {
    if (!fails(candidate)) return false;
    case_ = std::move(candidate);
    note_failure();
    return true;
  }
  /// For a SIGTERM that comes now: the smallest run so far, and the whole one to be saved.
  void note_failure() {
    FailureReport report = report_of(settings_, fuzzer_, whole_);
    report.command = repeat_line(settings_, fuzzer_, case_);
    set_failure_report(std::move(report));
  }

  void shrink_events() {
    events_count_ = list_events(fuzzer_, whole_, false);
    std::vector<uint32_t> items;
    for (uint32_t number = 1; number <= events_count_; ++number) {
      if (!case_.events.has_value() || case_.events->contains(number)) items.push_back(number);
    }
    EventsTest test(*this);
    events_left_count_ = shrink(std::move(items), test).size();
  }

  static std::vector<FaultId> ids_of(const std::vector<SeenFault>& faults) {
    std::vector<FaultId> ids;
    for (const SeenFault& seen : faults) ids.push_back(seen.id);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
  }
  void leave_out_all_faults() {
    FuzzCase candidate = case_;
    candidate.faults = FaultSelection();
    try_instead(std::move(candidate));
  }

  /// True: there are fewer now.
  bool shrink_faults() {
    if (!fails(case_) || outcome_.faults.empty()) return false;
    if (!outcome_.has_all_faults) {
      std::printf("%s: too many faults to make them fewer\n", fuzzer_.name);
      return false;
    }
    const std::vector<FaultId> ids = ids_of(outcome_.faults);
    // From now on by name, even if it is all of them.
    FuzzCase named = case_;
    named.faults = FaultSelection(ids);
    if (!try_instead(std::move(named))) return false;
    std::vector<uint32_t> items(ids.size());
    for (uint32_t place = 0; place < items.size(); ++place) items[place] = place;
    FaultsTest test(*this, ids);
    return shrink(std::move(items), test).size() < ids.size();
  }

  void print_what_is_left() const {
    std::printf("%s: %zu of %" PRIu64 " events", fuzzer_.name, events_left_count_, events_count_);
    const size_t faults_left_count = case_.faults.has_value() ? case_.faults->ids().size() : faults_count_;
    if (faults_count_ > 0) std::printf(" and %zu of %zu faults", faults_left_count, faults_count_);
    const uint64_t took_ms = milliseconds_now() - begin_ms_;
    std::printf(" are left, after %" PRIu64 " runs in %" PRIu64 ".%" PRIu64 " s%s\n", runs_count_, took_ms / 1000,
                took_ms % 1000 / 100, is_over() ? ": the time was over" : "");
    list_events(fuzzer_, case_, true);
    for (const SeenFault& seen : outcome_.faults) {
      std::printf("  fault %" PRIu32 ".%" PRIu32 ": %s\n", seen.id.trace, seen.id.number, name_of(seen.fault));
    }
  }

  int finish() const {
    std::fflush(stdout);
    std::fprintf(stderr, "%s\n", signature_.c_str());
    report_failure();
    return 1;
  }

  const Fuzzer& fuzzer_;
  const FuzzSettings& settings_;
  const FuzzCase whole_;
  FuzzCase case_;  // the smallest so far
  const std::string signature_;
  ChildOutcome outcome_;  // of the last run that failed
  const uint64_t begin_ms_;
  const uint64_t end_ms_;
  uint64_t limit_ms_ = 0;
  uint64_t runs_count_ = 0;
  uint64_t events_count_ = 0;
  size_t events_left_count_ = 0;
  size_t faults_count_ = 0;
};

}  // namespace

int minimize(const Fuzzer& fuzzer, const FuzzSettings& settings, const std::optional<FuzzCase>& given,
             uint64_t events_max) {
  const uint64_t budget_ms = (settings.seconds > 0 ? settings.seconds : seconds_default) * 1000;
  Search search(fuzzer, settings, budget_ms);
  std::optional<Failure> failure = given.has_value() ? search.look_at(*given) : search.find(events_max);
  if (!failure.has_value()) return 0;
  return Minimizer(fuzzer, settings, std::move(*failure), budget_ms).run();
}

}  // namespace spindle::fuzz
