// What takes rights away from a child process of a test, for good: system calls that a filter answers with an errno,
// and an ordinary user with little lockable memory. Never in the test's own process.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "runtime/assert.h"

namespace spindle {

/// Answers the system call `call` (__NR_…) with `number`, in this process and what it executes.
inline void forbid_call(uint32_t call, int number) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(number)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  SPINDLE_ASSERT(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
  SPINDLE_ASSERT(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "seccomp");
}

/// Becomes an ordinary user, who may lock so many bytes. (Who is one already only gets the limit.) It is a user of this
/// process's own, not `nobody`: what is locked counts per user, and others may be running this test.
inline void become_ordinary(uint64_t lockable_size) {
  const rlimit little{lockable_size, lockable_size};
  SPINDLE_ASSERT(::setrlimit(RLIMIT_MEMLOCK, &little) == 0, "setrlimit");
  if (::geteuid() != 0) return;
  const auto number = static_cast<uint32_t>(20'000 + ::getpid() % 40'000);
  SPINDLE_ASSERT(::setresgid(number, number, number) == 0, "setresgid");
  SPINDLE_ASSERT(::setresuid(number, number, number) == 0, "setresuid");
}

}  // namespace spindle
