#include "benchmarks/interrupt.h"

#include <signal.h>
#include <unistd.h>
#include <initializer_list>

#include <atomic>

namespace spindle::bench {

namespace {

// A signal handler can reach nothing but a global.
std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int) {
  if (requested.exchange(true)) _exit(130);
}

}  // namespace

void catch_interrupts() noexcept {
  struct sigaction action{};
  action.sa_handler = on_signal;  // no SA_RESTART: waits must return
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  action.sa_handler = SIG_IGN;
  for (const int number : {SIGPIPE, SIGXFSZ}) sigaction(number, &action, nullptr);
}

bool interrupted() noexcept { return requested.load(std::memory_order_relaxed); }

}  // namespace spindle::bench
