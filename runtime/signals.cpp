#include "runtime/signals.h"

#include <bit>
#include <cerrno>

#include "runtime/loop.h"

namespace spindle {

namespace {
// A signal handler can reach nothing but globals: who owns each number.
std::atomic<Signals*> owners[64];
}  // namespace

Signals::Signals(Loop& loop, uint64_t set) : loop_(loop), set_(set) {
  SPINDLE_ASSERT(set != 0 && (set & 1) == 0, "a set of signals that holds none, or number 0");
  for (int number = 1; number < number_end; ++number) {
    if ((set >> number & 1) == 0) continue;
    Signals* nobody = nullptr;
    const bool is_free = owners[number].compare_exchange_strong(nobody, this);
    SPINDLE_ASSERT(is_free, "a signal that another Signals owns");
    struct sigaction action{};
    action.sa_handler = handle;
    sigfillset(&action.sa_mask);
    const int result = ::sigaction(number, &action, &former_[number]);
    SPINDLE_ASSERT(result == 0, "a signal that can't be handled");
  }
  loop_.add_posted(*this);
}

Signals::~Signals() {
  for (int number = 1; number < number_end; ++number) {
    if ((set_ >> number & 1) == 0) continue;
    ::sigaction(number, &former_[number], nullptr);
    owners[number].store(nullptr);
  }
  unlink();
}

void Signals::handle(int number) noexcept {
  const int saved = errno;
  Signals* owner = owners[number].load();
  if (owner != nullptr) {
    owner->arrived_.fetch_or(uint64_t{1} << number);
    owner->loop_.reactor().wake();
  }
  errno = saved;
}

int Signals::take_pending() noexcept {
  const int number = std::countr_zero(pending_);
  pending_ &= pending_ - 1;
  return number;
}

bool Signals::Next::begin(Loop&) noexcept {
  signals_.collect();
  if (signals_.pending_ != 0) {
    number_ = signals_.take_pending();
    return true;
  }
  signals_.waiters_.push_back(*this);
  return false;
}

void Signals::deliver(int number) noexcept {
  SPINDLE_ASSERT(number > 0 && number < number_end && (set_ >> number & 1) != 0, "a signal outside the set");
  pending_ |= uint64_t{1} << number;
  collect();
}

void Signals::collect() noexcept {
  pending_ |= arrived_.exchange(0);
  while (pending_ != 0) {
    Waiter* first = waiters_.first();
    if (first == nullptr) break;
    static_cast<Next&>(*first).number_ = take_pending();
    first->grant();
  }
}

}  // namespace spindle
