#include "io/uring/probe.h"

#include <sys/resource.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace spindle {

namespace {

constexpr uint32_t trial_count = 4;
constexpr uint64_t trial_mark = uint64_t{3} << 62;
constexpr uint32_t trial_rounds_max = 64;

void add_flag(Capabilities& capabilities, const char* name, bool in_use, bool wanted, const char* since) {
  Capability entry{name, in_use, "", ""};
  if (!in_use) {
    entry.reason = wanted ? std::string("the kernel does not take it") : std::string("forced off");
    if (wanted) entry.remedy = std::string("Linux ") + since + " or newer has it";
  }
  capabilities.add(std::move(entry));
}

/// The running kernel's version, as uname(2) says.
bool kernel_is_at_least(uint32_t major, uint32_t minor) noexcept {
  utsname names{};
  unsigned got_major = 0;
  unsigned got_minor = 0;
  if (::uname(&names) < 0) return false;
  if (std::sscanf(names.release, "%u.%u", &got_major, &got_minor) != 2) return false;
  return got_major > major || (got_major == major && got_minor >= minor);
}

}  // namespace

Result<void> try_ring(Ring& ring) {
  for (uint32_t count = 0; count < trial_count; ++count) {
    io_uring_sqe* entry = ring.stage();
    SPINDLE_ASSERT(entry != nullptr, "a fresh ring has no room");
    io_uring_prep_nop(entry);
    entry->user_data = trial_mark | count;
  }
  uint32_t seen = 0;
  bool right = true;
  for (uint32_t round = 0; round < trial_rounds_max && seen < trial_count; ++round) {
    Ring::Wait wait;
    wait.count = 1;
    const int number = ring.enter(wait);
    if (number != 0 && number != EINTR && number != EAGAIN && number != EBUSY) {
      return fail_errno(number, "io_uring_enter");
    }
    ring.drain([&](const io_uring_cqe& completion) {
      right = right && completion.user_data == (trial_mark | seen) && completion.res == 0;
      ++seen;
    });
  }
  if (!right || seen != trial_count) return fail_errno(EPROTO, "io_uring trial");
  return {};
}

void describe_ring(const Ring& ring, const RingOptions& options, Capabilities& capabilities) {
  utsname names{};
  uname(&names);
  capabilities.kernel = names.release;
  capabilities.entries_asked = options.entries;
  capabilities.entries_got = ring.entries();
  const uint32_t flags = ring.setup_flags();
  add_flag(capabilities, "SINGLE_ISSUER", (flags & IORING_SETUP_SINGLE_ISSUER) != 0, options.single_issuer, "6.0");
  add_flag(capabilities, "DEFER_TASKRUN", (flags & IORING_SETUP_DEFER_TASKRUN) != 0,
           options.defer_taskrun && options.single_issuer, "6.1");
  add_flag(capabilities, "SUBMIT_ALL", (flags & IORING_SETUP_SUBMIT_ALL) != 0, options.submit_all, "5.18");
  if (options.min_wait) add_flag(capabilities, "min-wait", ring.has_min_wait(), true, "6.12");
  add_flag(capabilities, "NO_IOWAIT", ring.has_no_iowait(), options.no_iowait, "6.15");
}

void describe_operations(const RingOperations& operations, bool wanted, Capabilities& capabilities) {
  Capability entry{"truncate in the ring", operations.has(Opcode::truncate), "", ""};
  if (!entry.in_use) {
    entry.reason = wanted ? "a thread does it; the kernel does not know it" : "forced off";
    if (wanted) entry.remedy = "Linux 6.9 or newer has it";
  }
  capabilities.add(std::move(entry));
}

bool describe_alignment(bool wanted, Capabilities& capabilities) {
  Capability entry{"alignment from statx", wanted && kernel_is_at_least(6, 1), "", ""};
  if (!entry.in_use) {
    entry.reason = wanted ? "found by reading; the kernel does not tell it" : "forced off";
    if (wanted) entry.remedy = "Linux 6.1 or newer has it";
  }
  const bool in_use = entry.in_use;
  capabilities.add(std::move(entry));
  return in_use;
}

std::string explain_registration_failure(int number, uint64_t size) {
  switch (number) {
    case ENOMEM: {
      rlimit limit{};
      getrlimit(RLIMIT_MEMLOCK, &limit);
      std::string text = "too little lockable memory: RLIMIT_MEMLOCK is " + std::to_string(limit.rlim_cur) + " bytes";
      if (size > 0) text += ", and this needs " + std::to_string(size) + " more than is locked already";
      return text + "; raise it (ulimit -l)";
    }
    case EPERM:
    case EACCES:
    case ENOSYS:
      return std::string(std::strerror(number)) +
             ": a seccomp filter forbids it; allow io_uring_register in its profile";
    default: return std::strerror(number);
  }
}

}  // namespace spindle
