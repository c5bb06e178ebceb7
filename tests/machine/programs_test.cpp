// Other programs: what one that is executed inherits of the ring, and what the benchmark says where the ring is
// forbidden.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/death.h"
#include "tests/io/uring_fixture.h"
#include "tests/machine/restricted.h"

namespace spindle {
namespace {

/// A program's exit status and what it wrote.
struct Ended {
  int status = -1;
  std::string output;
  std::string errors;
};

/// Runs `words` after `prepare()`, in a child process.
Ended run_program(std::vector<std::string> words, void (*prepare)()) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  int output[2];
  int errors[2];
  REQUIRE(::pipe2(output, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(errors, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(output[1], STDOUT_FILENO);
    ::dup2(errors[1], STDERR_FILENO);
    prepare();
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(output[1]);
  ::close(errors[1]);
  Ended ended;
  ended.output = read_all(output[0]);
  ended.errors = read_all(errors[0]);
  ::close(output[0]);
  ::close(errors[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFEXITED(status)) ended.status = WEXITSTATUS(status);
  return ended;
}

void forbid_nothing() {}

Task<Result<void>> execute_while_reading(const std::string& path, const std::string& fifo_path, Ended& ended) {
  File file = co_await ok(File::open(path, open_cached));
  File fifo = co_await ok(File::open(fifo_path, open_cached));
  auto body = [](Scope& scope, File* reads, Ended* into) -> Task<Result<void>> {
    co_await ok(scope.spawn(read_forever, reads));
    co_await settle_ring();
    *into = run_program({"ls", "-l", "/proc/self/fd"}, forbid_nothing);
    scope.cancel();
    co_return Result<void>();
  };
  File* const reads = &fifo;
  Ended* const into = &ended;
  co_return co_await with_scope({.children_max = 1}, body, reads, into);
}

TEST_CASE("a program that is executed inherits neither the ring nor its eventfd nor a file, with a read in flight") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 100);
  const Fifo fifo(folder.file("fifo"));
  Ended ended;
  {
    UringLoop ring;
    ring.run_to_success(execute_while_reading, path, fifo.path(), ended);
  }
  INFO(ended.output, ended.errors);
  REQUIRE(ended.status == 0);
  CHECK(ended.output.find("pipe:") != std::string::npos);  // its standard output: the list is one
  for (const char* part : {"io_uring", "eventfd", "spindle-test"}) {
    CHECK_MESSAGE(ended.output.find(part) == std::string::npos, "inherited: ", std::string(part));
  }
}

TEST_CASE("the benchmark says in one line, with status 1 and no result, that a filter forbids the ring") {
  const char* program = std::getenv("SPINDLE_BENCH_PROGRAM");
  if (program == nullptr) return skip_in_this_build("SPINDLE_BENCH_PROGRAM, which meson test sets, names no program");
  const auto refuse = [] { forbid_call(__NR_io_uring_setup, EPERM); };
  const auto hide = [] { forbid_call(__NR_io_uring_setup, ENOSYS); };
  for (const std::string engine : {"spindle", "plain"}) {
    for (void (*prepare)() : {+refuse, +hide}) {
      const Ended ended = run_program({program, "--nop", "--runtime", "0.1", "--engine", engine}, prepare);
      INFO(ended.errors);
      CHECK(ended.status == 1);
      CHECK(ended.output.empty());
      CHECK(std::count(ended.errors.begin(), ended.errors.end(), '\n') == 1);
      const bool is_named = ended.errors.find("seccomp") != std::string::npos ||
                            ended.errors.find("kernel.io_uring_disabled") != std::string::npos ||
                            ended.errors.find("filtered") != std::string::npos;
      CHECK(is_named);
    }
  }
}

}  // namespace
}  // namespace spindle
