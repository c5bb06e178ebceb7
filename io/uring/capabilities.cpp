#include "io/uring/capabilities.h"

#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace spindle {

void Capabilities::set(Capability capability) {
  for (Capability& entry : entries_) {
    if (entry.name != capability.name) continue;
    entry = std::move(capability);
    return;
  }
  add(std::move(capability));
}

bool Capabilities::in_use(const std::string& name) const noexcept {
  for (const Capability& entry : entries_) {
    if (entry.name == name) return entry.in_use;
  }
  return false;
}

std::string Capabilities::text() const {
  std::string text = "io_uring on Linux " + kernel + ", " + std::to_string(entries_got) + " entries";
  if (entries_got < entries_asked) {
    text += " (" + std::to_string(entries_asked) + " asked for; raise the locked-memory limit, ulimit -l)";
  }
  text += "\n";
  for (const Capability& entry : entries_) {
    text += "  " + entry.name + ": " + (entry.in_use ? "in use" : "not in use");
    if (!entry.reason.empty()) text += " (" + entry.reason + ")";
    if (!entry.remedy.empty()) text += "; " + entry.remedy;
    text += "\n";
  }
  return text;
}

namespace {

/// kernel.io_uring_disabled: 0 allowed, 1 privileged only, 2 nobody; -1 where there is no such knob.
int disabled_by_sysctl() {
  std::FILE* file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re");
  if (file == nullptr) return -1;
  int value = -1;
  if (std::fscanf(file, "%d", &value) != 1) value = -1;
  std::fclose(file);
  return value;
}

}  // namespace

std::string explain_setup_failure(int number) {
  std::string line = std::string("io_uring_setup: ") + std::strerror(number);
  line += " (errno " + std::to_string(number) + "): ";
  const int disabled = disabled_by_sysctl();
  switch (number) {
    case ENOSYS:
      return line + "this kernel has no io_uring, or a seccomp filter hides it; Linux 5.15 or newer is needed";
    case EPERM:
      if (disabled > 0) {
        return line + "the sysctl kernel.io_uring_disabled is " + std::to_string(disabled) + "; set it to 0";
      }
      return line +
             "a seccomp filter forbids it (container runtimes do); allow io_uring_setup, io_uring_enter and "
             "io_uring_register in its profile";
    case ENOMEM: {
      rlimit limit{};
      getrlimit(RLIMIT_MEMLOCK, &limit);
      return line + "too little lockable memory: RLIMIT_MEMLOCK is " + std::to_string(limit.rlim_cur) +
             " bytes; raise it (ulimit -l)";
    }
    case EMFILE:
    case ENFILE: return line + "too many open files; raise the limit (ulimit -n)";
    default: return line + "see io_uring_setup(2)";
  }
}

}  // namespace spindle
