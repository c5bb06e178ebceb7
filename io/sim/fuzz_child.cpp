#include "io/sim/fuzz_child.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "io/sim/fuzz_report.h"
#include "io/sim/fuzz_session.h"

// There when LeakSanitizer is linked in: a child ends without its check at the end.
extern "C" __attribute__((weak)) int __lsan_do_recoverable_leak_check();

namespace spindle::fuzz {

namespace {

/// The machine has no room for a child: that says nothing about the fuzzer, so nothing is saved, and the status is not
/// that of a failure.
[[noreturn]] void give_up(const char* what) noexcept {
  clear_failure_report();
  std::fprintf(stderr, "can't run a case in a process of its own: %s: %s\n", what, ::strerror(errno));
  std::exit(2);
}

/// Shared with the child: it outlives it, however it ends.
class SharedFaults {
 public:
  SharedFaults() {
    void* const memory = ::mmap(nullptr, sizeof(Content), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) give_up("mmap");
    content_ = static_cast<Content*>(memory);
  }
  SharedFaults(const SharedFaults&) = delete;
  SharedFaults& operator=(const SharedFaults&) = delete;
  ~SharedFaults() { ::munmap(content_, sizeof(Content)); }

  void add(FaultId id, Fault fault) noexcept {
    if (content_->count < faults_max) content_->faults[content_->count] = {id, fault};
    ++content_->count;
  }
  bool has_all() const noexcept { return content_->count <= faults_max; }
  std::vector<SeenFault> faults() const {
    return {content_->faults, content_->faults + std::min<uint64_t>(content_->count, faults_max)};
  }

 private:
  static constexpr uint64_t faults_max = 65'536;
  struct Content {
    uint64_t count;
    SeenFault faults[faults_max];
  };
  Content* content_;
};

/// Lets pass what the case lets pass, and notes it.
class RecordingFilter final : public FaultFilter {
 public:
  RecordingFilter(FuzzCase& of, SharedFaults& seen) noexcept : case_(of), seen_(seen) {}
  bool allows(FaultId id, Fault fault) noexcept override {
    if (case_.faults.has_value() && !case_.faults->allows(id, fault)) return false;
    seen_.add(id, fault);
    return true;
  }

 private:
  FuzzCase& case_;
  SharedFaults& seen_;
};

/// Of a place in memory, to which the child's output goes.
class Output {
 public:
  Output() : file_(::memfd_create("fuzz-output", MFD_CLOEXEC)) {
    if (file_ < 0) give_up("memfd_create");
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() { ::close(file_); }
  void take_standard_output() const noexcept {
    ::dup2(file_, STDOUT_FILENO);
    ::dup2(file_, STDERR_FILENO);
  }
  /// Its last part: a failure comes at the end.
  std::string text() const {
    constexpr off_t size_max = 1 << 20;
    const off_t size = ::lseek(file_, 0, SEEK_END);
    std::string text(static_cast<size_t>(std::min(size, size_max)), '\0');
    const ssize_t count = ::pread(file_, text.data(), text.size(), std::max<off_t>(size - size_max, 0));
    text.resize(count < 0 ? 0 : static_cast<size_t>(count));
    return text;
  }

 private:
  int file_;
};

[[noreturn]] void be_child(const Fuzzer& fuzzer, FuzzCase of, const Output& output, SharedFaults& seen) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  stop_watching_failures();
  output.take_standard_output();
  RecordingFilter filter(of, seen);
  {
    Coverage coverage;
    coverage.expect(fuzzer.marks);
    run_case(fuzzer, of, false, &filter, coverage);
  }
  std::fflush(nullptr);
  const bool has_leaks = __lsan_do_recoverable_leak_check != nullptr && __lsan_do_recoverable_leak_check() != 0;
  ::_exit(has_leaks ? 1 : 0);
}

/// "path:12: text", as failed checks and assertions print it.
bool is_place_line(std::string_view line) noexcept {
  const size_t colon = line.find(':');
  if (colon == 0 || colon == std::string_view::npos || line.substr(0, colon).find(' ') != std::string_view::npos) {
    return false;
  }
  const size_t end = line.find_first_not_of("0123456789", colon + 1);
  return end != std::string_view::npos && end > colon + 1 && line.substr(end).starts_with(": ");
}

/// A sanitizer's line, without the addresses and values, which differ from run to run. Empty: it is none.
std::string sanitizer_line(std::string_view line) {
  constexpr std::string_view summary = "SUMMARY: ";
  constexpr std::string_view undefined = ": runtime error: ";
  const size_t place = line.find(undefined);
  if (place != std::string_view::npos) return std::string(line.substr(0, place + undefined.size() - 2));
  // Its number of bytes and blocks is not what makes a leak another one.
  if (line.starts_with(summary) && line.find("leaked in") != std::string_view::npos) return "LeakSanitizer";
  return line.starts_with(summary) ? std::string(line.substr(summary.size())) : std::string();
}

std::string signature_of(int status, const std::string& output) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  std::string of_check;
  for (size_t begin = 0; begin < output.size();) {
    const size_t end = std::min(output.find('\n', begin), output.size());
    const std::string_view line = std::string_view(output).substr(begin, end - begin);
    const std::string of_sanitizer = sanitizer_line(line);
    if (!of_sanitizer.empty()) return of_sanitizer;
    if (is_place_line(line)) of_check = line;
    begin = end + 1;
  }
  if (!of_check.empty()) return of_check;
  if (WIFSIGNALED(status)) return std::string("killed by SIG") + ::sigabbrev_np(WTERMSIG(status));
  return "exit status " + std::to_string(WEXITSTATUS(status));
}

/// Waits for the end of all that hold the other end of a pipe. False: not in time.
bool wait_for_end(int pipe, uint64_t limit_ms) noexcept {
  const uint64_t end_ms = milliseconds_now() + limit_ms;
  for (;;) {
    const uint64_t now_ms = milliseconds_now();
    if (now_ms >= end_ms) return false;
    pollfd polled{pipe, POLLIN, 0};
    const int ready = ::poll(&polled, 1, static_cast<int>(std::min<uint64_t>(end_ms - now_ms, 1'000'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return true;
  }
}

}  // namespace

ChildOutcome run_in_child(const Fuzzer& fuzzer, const FuzzCase& of, uint64_t limit_ms) {
  const Output output;
  SharedFaults seen;
  int pipe[2];
  if (::pipe(pipe) != 0) give_up("pipe");
  std::fflush(nullptr);  // or the child prints it, too
  const uint64_t begin_ms = milliseconds_now();
  const pid_t child = ::fork();
  if (child < 0) give_up("fork");
  if (child == 0) {
    ::close(pipe[0]);
    be_child(fuzzer, of, output, seen);
  }
  ::close(pipe[1]);
  const bool is_in_time = wait_for_end(pipe[0], limit_ms);
  if (!is_in_time) ::kill(child, SIGKILL);
  ::close(pipe[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ChildOutcome outcome;
  outcome.duration_ms = milliseconds_now() - begin_ms;
  outcome.signature = is_in_time ? signature_of(status, output.text()) : "hangs";
  outcome.faults = seen.faults();
  outcome.has_all_faults = seen.has_all();
  return outcome;
}

}  // namespace spindle::fuzz
