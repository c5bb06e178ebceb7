// Contract violations end the process. A death test runs one in a child process and looks at how it died.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace spindle {

/// Reads a pipe to its end.
inline std::string read_all(int descriptor) {
  std::string text;
  char buffer[512];
  for (;;) {
    const ssize_t count = ::read(descriptor, buffer, sizeof buffer);
    if (count <= 0) return text;
    text.append(buffer, static_cast<size_t>(count));
  }
}

/// How a child process ended.
struct Death {
  bool has_aborted = false;
  bool has_exited = false;  ///< by itself, with status 0
  std::string text;         ///< its standard error
};

/// Runs `body()` in a child process.
template <class Callable>
Death run_in_child(Callable& body) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    for (int number : {SIGABRT, SIGSEGV}) ::signal(number, SIG_DFL);  // doctest has handlers of its own
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    body();
    ::_exit(0);
  }
  ::close(ends[1]);
  Death death;
  death.text = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  death.has_aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
  death.has_exited = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return death;
}

/// Checks that `violate()` ends its process with SIGABRT, and a line on standard error that contains
/// `message`.
template <class Callable>
void expect_abort(Callable violate, const char* message) {
  const Death death = run_in_child(violate);
  INFO("standard error: ", death.text);
  CHECK_MESSAGE(death.has_aborted, "no abort; expected: ", message);
  CHECK_MESSAGE(death.text.find(message) != std::string::npos, "expected: ", message);
}

/// Checks that `survive()` returns: for what would take the whole test program down if it broke.
template <class Callable>
void expect_survival(Callable survive) {
  const Death death = run_in_child(survive);
  CHECK_MESSAGE(death.has_exited, "standard error: ", death.text);
}

}  // namespace spindle
