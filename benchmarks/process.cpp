#include "benchmarks/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>

#include "benchmarks/interrupt.h"
#include "benchmarks/target.h"

extern char** environ;

namespace spindle::bench {

namespace {

struct Pipe {
  Descriptor read_end;
  Descriptor write_end;
};

Checked<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {{}, failure_errno(errno, "cannot make a pipe", "")};
  return {Pipe{Descriptor(ends[0]), Descriptor(ends[1])}, {}};
}

// The child: its own output and error, and the signals that this program ignores back at their defaults.
int spawn(const std::vector<std::string>& arguments, const Pipe& output, const Pipe& error, pid_t& child) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output.write_end.fd(), 1);
  posix_spawn_file_actions_adddup2(&actions, error.write_end.fd(), 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGXFSZ);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  const int number = posix_spawnp(&child, pointers[0], &actions, &attributes, pointers.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return number;
}

// Reads both pipes until both have ended. Passes Ctrl-C on to the child, once.
void collect(pid_t child, int output_fd, int error_fd, ProcessOutput& result) {
  pollfd polled[2] = {{output_fd, POLLIN, 0}, {error_fd, POLLIN, 0}};
  std::string* const texts[2] = {&result.standard_output, &result.standard_error};
  bool told = false;
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    const int ready_count = poll(polled, 2, 100);
    if (interrupted() && !told) {
      kill(child, SIGINT);
      told = true;
    }
    if (ready_count <= 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      char bytes[65536];
      const ssize_t count = read(polled[i].fd, bytes, sizeof(bytes));
      if (count > 0) texts[i]->append(bytes, static_cast<size_t>(count));
      if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) polled[i].fd = -1;
    }
  }
}

}  // namespace

Checked<ProcessOutput> run_process(const std::vector<std::string>& arguments) {
  auto output = make_pipe();
  auto error = make_pipe();
  if (output.failure) return {{}, std::move(output.failure)};
  if (error.failure) return {{}, std::move(error.failure)};
  pid_t child = 0;
  const int number = spawn(arguments, output.value, error.value, child);
  if (number != 0) return {{}, failure_errno(number, "cannot start", arguments[0], "is it installed?")};
  output.value.write_end = Descriptor();
  error.value.write_end = Descriptor();
  ProcessOutput result;
  collect(child, output.value.read_end.fd(), error.value.read_end.fd(), result);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (interrupted()) return {{}, {"interrupted"}};
  return {std::move(result), {}};
}

bool is_in_path(const std::string& program) {
  const char* const path = getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  std::string folder;
  while (std::getline(folders, folder, ':')) {
    if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

std::string command_line_of(const std::vector<std::string>& arguments) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,+@%";
  std::string line;
  for (const std::string& argument : arguments) {
    if (!line.empty()) line += ' ';
    if (!argument.empty() && argument.find_first_not_of(plain) == std::string::npos) {
      line += argument;
      continue;
    }
    line += '\'';
    for (const char c : argument) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

}  // namespace spindle::bench
