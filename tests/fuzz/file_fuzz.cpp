// The fuzzers `file` and `file_ring`: File and the calls by name on the simulated disk, with every fault, cancels,
// kills and losses of power, against a naive model of what the disk may hold; and the same list of events on the
// kernel's ring, in a temporary folder, where nothing fails and a crash only closes all files and opens them again.
//
// Checked: every byte that is read, every size, name, list and lock is one that the model allows; every error has a
// cause; what a sync, a durable write or publish() acknowledged is there after a loss of power; a file whose sync
// failed takes no change; what is damaged is in the disk's record; space in use is that of the files.
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>

#include "io/uring/uring_backend.h"
#include "runtime/root.h"
#include "tests/fuzz/file_machine.h"

namespace spindle::fuzz {

namespace {

constexpr const char* mark_names[] = {
    "fault: latent error",
    "fault: bit flip",
    "fault: garbage",
    "fault: transient error",
    "fault: misdirected read",
    "fault: short read",
    "fault: stale sector",
    "fault: lost write",
    "fault: misdirected write",
    "fault: short write",
    "fault: write error",
    "fault: no space",
    "fault: failed sync",
    "fault: stall",
    "fault: again",
    "fault: interrupted",
    "fault: cancelled",
    "a torn sector after a loss of power",
    "garbage after a loss of power",
    "an old version after a loss of power",
    "a version that was not synced after a loss of power",
    "a smaller size after a loss of power",
    "a name lost in a loss of power",
    "a name kept in a loss of power",
    "a removed name back after a loss of power",
    "a rename half done in a loss of power",
    "a directory lost in a loss of power",
    "a publish that failed after its rename",
    "killed with a write in flight",
    "killed while looking around",
    "a write in part, then cancelled",
    "a cancelled write, undecided",
    "an undecided sector read",
    "a write that failed with EIO",
    "a name settled by looking, after a cancel",
    "a deadline passed",
    "a full disk as a short write",
    "a full disk",
    "a file as large as may be",
    "a poisoned file refused a change",
    "a misaligned transfer refused",
    "direct I/O not offered",
    "the end of the file",
    "a read during a write",
    "a sync during a write",
    "a file dropped with operations in flight",
    "a file closed with operations in flight",
    "a lock refused",
    "a ragged write cut back to its end",
    "a ragged write in several chunks",
    "a ragged write over damage",
    "an unreadable sector refused",
};
static_assert(sizeof(mark_names) / sizeof(mark_names[0]) == file_mark_count);

constexpr const char* folder_name = "folder";

/// The lives of a simulated host, one after the other.
class Simulation {
 public:
  Simulation(const RunOptions& run, std::span<const FileEvent> events, Coverage& coverage)
      : options_(disk_options(run)),
        world_(mix64(run.seed)),
        host_(prepare(world_, options_)),
        machine_(folder_name, &host_.files(), &host_.options(), events, file_workers_count(run.seed), coverage),
        coverage_(coverage) {
    machine_.is_verbose = run.is_verbose;
    if (!run.is_verbose) return;
    std::printf("  weights: %s\n", file_weights_text(run.seed, run.events_max).c_str());
    print_disk();
  }

  uint64_t run() {
    while (!machine_.is_finished) live();
    for (size_t index = 0; index < fault_count; ++index) {
      if (host_.files().record().count(static_cast<Fault>(index)) > 0) coverage_.mark(index);
    }
    machine_.check_space();
    return mix64(machine_.hash.value() ^ world_.hash());
  }

 private:
  static SimBackendOptions disk_options(const RunOptions& run) {
    SimBackendOptions options = file_disk_options(run.seed);
    options.faults.filter = run.faults;
    return options;
  }
  static Host& prepare(World& world, const SimBackendOptions& options) {
    Host& host = world.add_host("a", options);
    const int32_t made = host.files().make_directory(folder_name);
    const int32_t made_inside = host.files().make_directory(std::string(folder_name) + "/d0");
    FUZZ_CHECK(made == 0 && made_inside == 0, "the folder could not be made");
    host.files().settle();
    return host;
  }

  void print_disk() const {
    std::printf("  sectors of %u bytes, alignment %u and %u, %s; at most %" PRIu64 " bytes per file, %" PRIu64
                " in all\n",
                options_.sector_size, options_.offset_alignment, options_.read_offset_alignment,
                options_.tells_alignment ? "told" : "not told", options_.file_size_max, options_.capacity);
    for (size_t index = 0; index < fault_count; ++index) {
      const Fault fault = static_cast<Fault>(index);
      const uint32_t rate = options_.faults.everywhere.of(fault);
      if (rate > 0) std::printf("  %s: %u of a million\n", name_of(fault), rate);
    }
  }

  void live() {
    const size_t event_before = machine_.events_taken();
    host_.start(run_life, machine_);
    for (;;) {
      if (is_crash_due()) return crash(machine_.events_taken() == event_before);
      const World::Step step = world_.step();
      FUZZ_CHECK(host_.files().space().pages_count <= pages_most_, "a disk holds more than it can");
      if (step == World::Step::idle) break;
      if (step != World::Step::deadlock) continue;
      std::fputs(world_.report().c_str(), stderr);
      FUZZ_CHECK(false, "an operation never ended");
    }
    const Result<void> result = host_.take();
    if (!result.has_value()) std::fprintf(stderr, "%s\n", describe(result.error()).c_str());
    FUZZ_CHECK(result.has_value(), "a life ended with an error");
    FUZZ_CHECK(host_.backend().open_count() == 0 && host_.backend().pending_count() == 0, "a file is still open");
    FUZZ_CHECK(host_.loop().frames().live_count() == 0, "coroutine frames were leaked");
  }

  bool is_crash_due() noexcept {
    if (!machine_.crash.has_value()) return false;
    return machine_.crash->in_steps == 0 || machine_.crash->in_steps-- == 0;
  }

  void crash(bool is_early) {
    const CrashRequest request = *machine_.crash;
    machine_.crash.reset();
    if (is_early) machine_.mark(FileMark::killed_in_recovery);
    machine_.trace(request.kind == CrashKind::kill ? "killed" : "power lost", machine_.lives_count);
    machine_.note_crash(request.kind);
    machine_.life_number = request.number;
    if (request.kind == CrashKind::kill) {
      host_.kill_process();
    } else {
      host_.lose_power(request.number);
    }
    FUZZ_CHECK(world_.step() == World::Step::idle, "something goes on after a crash");
    machine_.check_space();
    host_.restart();
    machine_.note_restart();
    // What was removed, and its space used again, may be back.
    const SimSpace& space = host_.files().space();
    pages_most_ = std::max(space.pages_max, space.pages_count);
    machine_.hash.mix(static_cast<uint64_t>(request.kind));
    if (!request.again_in_steps.has_value()) return;
    CrashRequest again;
    again.kind = *request.again_in_steps % 2 == 0 ? CrashKind::kill : CrashKind::power;
    again.number = request.number;
    again.in_steps = *request.again_in_steps;
    machine_.crash = again;
  }

  SimBackendOptions options_;
  World world_;
  Host& host_;
  FileMachine machine_;
  Coverage& coverage_;
  uint64_t pages_most_ = host_.files().space().pages_max;
};

/// A folder on a real disk that goes away with its content.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const char* parent = std::getenv("TMPDIR");
    path_ = std::string(parent != nullptr ? parent : "/var/tmp") + "/spindle-fuzz-XXXXXX";
    FUZZ_CHECK(::mkdtemp(path_.data()) != nullptr, "no temporary folder could be made");
    FUZZ_CHECK(::mkdir((path_ + "/d0").c_str(), 0700) == 0, "no directory could be made in a temporary folder");
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

/// The same events on the kernel's ring. False: there is none.
bool run_on_ring(uint64_t seed, std::span<const FileEvent> events, bool is_verbose) {
  UringOptions options;
  options.rare_ring_operations = seed % 2 == 0;
  Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(options);
  if (!backend.has_value()) {
    static bool is_said = false;
    if (!is_said) std::printf("file: not on the ring: %s\n", explain_setup_failure(backend.error().number).c_str());
    is_said = true;
    return false;
  }
  const TemporaryFolder folder;
  Coverage coverage;  // what is reached here says nothing about the simulation
  coverage.expect(mark_names);
  FileMachine machine(folder.path(), nullptr, nullptr, events, file_workers_count(seed), coverage);
  machine.is_verbose = is_verbose;
  Loop loop(**backend, Loop::Options());
  while (!machine.is_finished) {
    const Result<void> result = spindle::run(loop, run_life, machine);
    if (!result.has_value()) std::fprintf(stderr, "%s\n", describe(result.error()).c_str());
    FUZZ_CHECK(result.has_value(), "a life on the ring ended with an error");
  }
  FUZZ_CHECK(loop.frames().live_count() == 0, "coroutine frames were leaked");
  return true;
}

/// The events up to this number are run on the ring beside the simulation, now and then.
constexpr uint32_t ring_number_max = 200;
constexpr uint64_t ring_share = 16;

RunResult run_file(const RunOptions& options, std::span<const FileEvent> events, Coverage& coverage) {
  RunResult result;
  result.events_count = events.size();
  Simulation simulation(options, events, coverage);
  result.hash = simulation.run();
  if (mix64(options.seed ^ 0x416) % ring_share != 0) return result;
  const auto is_later = [](uint32_t number, const FileEvent& event) { return number < event.number; };
  const auto end = std::upper_bound(events.begin(), events.end(), ring_number_max, is_later);
  run_on_ring(options.seed, events.first(static_cast<size_t>(end - events.begin())), options.is_verbose);
  return result;
}

RunResult run_file_ring(const RunOptions& options, std::span<const FileEvent> events, Coverage&) {
  RunResult result;
  if (run_on_ring(options.seed, events, options.is_verbose)) result.events_count = events.size();
  return result;
}

// The first reach every mark, each three times.
constexpr uint64_t fixed_seeds[] = {
    13, 25, 35, 47, 64, 71, 123, 142, 144, 176, 180, 182, 243, 283, 527, 582, 685, 853, 875, 895, 1042, 1117,
    // They found bugs: in ragged writes (a short read taken for the end of the file), and in the simulated disk.
    2930300713019373510u, 364, 625, 9438471701711700376u, 691224203544804902u, 8497186293616221994u,
    // And in the model: a sync that was interrupted, tried again, and then failed.
    14260053344114999684u};
constexpr uint64_t ring_fixed_seeds[] = {1, 2, 3, 4};

}  // namespace

const Fuzzer file_fuzzer = {"file",
                            "files against bytes in memory, with every fault of a disk",
                            true,
                            800,
                            fixed_seeds,
                            mark_names,
                            run_as<generate_file_events, run_file>};
const Fuzzer file_ring_fuzzer = {
    "file_ring", "the same on the kernel's ring, without faults", false, 800, ring_fixed_seeds,
    {},          run_as<generate_file_events, run_file_ring>};

}  // namespace spindle::fuzz
