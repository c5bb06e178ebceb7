#include "io/sim/fuzz_report.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "io/sim/fuzz.h"

// There when a sanitizer is linked in. Its callback runs after a report that ends the process, without a signal.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace spindle::fuzz {

namespace {

// A handler may come while a report is being replaced: it finds the former or the next. They are never destroyed: the
// check for leaks comes after the destructors of what is static.
constexpr size_t reports_count = 2;
FailureReport* const reports = new FailureReport[reports_count];
size_t report_next = 0;
std::atomic<const FailureReport*> report_current = nullptr;

constexpr size_t stack_size = 64 << 10;
alignas(16) std::byte handler_stack[stack_size];

bool write_all(int descriptor, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool save(const FailureReport& report) noexcept {
  ::mkdir(report.folder.c_str(), 0777);  // it may be there
  const int file = ::open(report.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return false;
  const bool is_written = write_all(file, report.content);
  return ::close(file) == 0 && is_written;
}

void on_fatal_signal(int) {
  report_failure();
  ::_exit(1);
}

constexpr int signals_always[] = {SIGABRT, SIGTRAP, SIGTERM};
// A sanitizer has a report for these, which is worth more.
constexpr int signals_without_sanitizer[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS};

bool has_sanitizer() noexcept { return __sanitizer_set_death_callback != nullptr; }

void handle(int number, void (*handler)(int)) noexcept {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK;
  ::sigaction(number, &action, nullptr);
}

void handle_all(void (*handler)(int)) noexcept {
  for (const int number : signals_always) handle(number, handler);
  if (has_sanitizer()) return;
  for (const int number : signals_without_sanitizer) handle(number, handler);
}

}  // namespace

// In a signal handler, mostly: no allocation, no stdio.
void report_failure() noexcept {
  const FailureReport* const report = report_current.exchange(nullptr);
  if (report == nullptr) return;
  write_all(STDERR_FILENO, report->command);
  if (!report->path.empty()) write_all(STDERR_FILENO, save(*report) ? report->saved_line : report->unsaved_line);
}

void watch_failures() {
  if (has_sanitizer()) {
    __sanitizer_set_death_callback(report_failure);
  } else {
    // A stack that has overflowed has no room for a handler.
    stack_t stack = {};
    stack.ss_sp = handler_stack;
    stack.ss_size = stack_size;
    ::sigaltstack(&stack, nullptr);
  }
  handle_all(on_fatal_signal);
}

}  // namespace spindle::fuzz

// Called for each report by sanitizers that have no such callback, or one in a library of their own.
extern "C" void __ubsan_on_report();
extern "C" void __ubsan_on_report() { spindle::fuzz::report_failure(); }
extern "C" void __tsan_on_report(const void* report);
extern "C" void __tsan_on_report(const void*) { spindle::fuzz::report_failure(); }

namespace spindle::fuzz {

void set_failure_report(FailureReport report) {
  FailureReport& place = reports[report_next];
  report_next = (report_next + 1) % reports_count;
  place = std::move(report);
  report_current.store(&place);
}

void clear_failure_report() noexcept { report_current.store(nullptr); }

void stop_watching_failures() noexcept {
  clear_failure_report();
  handle_all(SIG_DFL);
}

void print_event(uint32_t number, const std::string& text) {
  std::printf("  %6" PRIu32 "  %s\n", number, text.c_str());
}

void failed(const char* file, int line, const char* what) noexcept {
  std::fflush(stdout);
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
  std::fflush(stderr);
  std::abort();
}

}  // namespace spindle::fuzz
