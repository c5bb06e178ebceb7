#include "io/uring/idle_spin.h"

#include <algorithm>

namespace spindle {

namespace {

constexpr uint32_t rest_first = 64;        // waits before the first measurement
constexpr uint32_t rest_min = 1u << 11;    // after a trial that did not pay
constexpr uint32_t rest_max = 1u << 18;
constexpr uint32_t spins_per_check = 4096;  // then a window of sleeping: under 1 %
constexpr uint32_t misses_trying_max = 4;     // in a window: then looking is given up at once
constexpr uint32_t misses_spinning_max = 16;  // the same, where it has paid: a disk has its slow moments
constexpr uint64_t sleep_ns_min = 2'000;    // what completes within the system call leaves nothing to gain
constexpr double credit_ns_max = 10e6;
// Looking must save a tenth of the wait: less is noise, and a core is worth something.
constexpr uint64_t gain_numerator = 9;
constexpr uint64_t gain_denominator = 10;

uint64_t count_ns(Duration duration) noexcept { return static_cast<uint64_t>(std::max<int64_t>(duration.count(), 0)); }

}  // namespace

IdleSpin::IdleSpin(const IdleSpinOptions& options) noexcept
    : options_(options), rest_(rest_first), rest_next_(rest_min), credit_ns_(credit_ns_max * options.budget) {
  if (!is_enabled()) rest_ = UINT32_MAX;
}

IdleSpin::Way IdleSpin::choose() noexcept {
  if (!is_enabled()) return Way::sleep;
  if (phase_ == Phase::resting) begin_window(Phase::sleeping);
  return phase_ == Phase::sleeping ? Way::sleep_timed : Way::look;
}

void IdleSpin::begin_window(Phase phase) noexcept {
  phase_ = phase;
  window_count_ = 0;
  misses_ = 0;
}

void IdleSpin::rest_longer() noexcept {
  phase_ = Phase::resting;
  rest_ = rest_next_;
  rest_next_ = std::min(rest_next_ * 2, rest_max);
}

// True when the window is full.
bool IdleSpin::add(Duration took) noexcept {
  window_[window_count_++] = count_ns(took);
  return window_count_ == window_size;
}

uint64_t IdleSpin::median_ns() noexcept {
  const auto middle = window_.begin() + window_size / 2;
  std::nth_element(window_.begin(), middle, window_.end());
  return *middle;
}

Duration IdleSpin::limit(Time now) noexcept {
  if (credited_at_ != Time{}) {
    credit_ns_ += static_cast<double>((now - credited_at_).count()) * options_.budget;
    credit_ns_ = std::min(credit_ns_, credit_ns_max * options_.budget);
  }
  credited_at_ = now;
  const uint64_t wanted = std::min(2 * sleep_ns_, count_ns(options_.longest));
  // Not less than a wait: a look that must end before the completion comes is thrown away.
  if (credit_ns_ < static_cast<double>(wanted)) {
    ++counters_.budget_refusals;
    return Duration::zero();
  }
  return Duration(wanted);
}

void IdleSpin::slept(Duration took) noexcept {
  if (phase_ != Phase::sleeping || !add(took)) return;
  sleep_ns_ = median_ns();
  if (sleep_ns_ < sleep_ns_min || sleep_ns_ > count_ns(options_.longest)) return rest_longer();
  begin_window(Phase::trying);
  ++counters_.trials;
}

void IdleSpin::looked(Duration took, bool found) noexcept {
  credit_ns_ -= static_cast<double>(count_ns(took));
  ++counters_.looks;
  counters_.finds += found;
  counters_.looked_ns += count_ns(took);
  if (phase_ != Phase::trying && phase_ != Phase::spinning) return;
  const uint32_t misses_max = phase_ == Phase::trying ? misses_trying_max : misses_spinning_max;
  if (!found && ++misses_ > misses_max) return rest_longer();
  if (phase_ == Phase::spinning && --spins_left_ == 0) return begin_window(Phase::sleeping);
  if (!add(took)) return;
  if (phase_ == Phase::trying) {
    compare();
  } else {
    begin_window(Phase::spinning);
  }
}

void IdleSpin::compare() noexcept {
  if (median_ns() * gain_denominator > sleep_ns_ * gain_numerator) return rest_longer();
  ++counters_.trials_paid;
  rest_next_ = rest_min;
  spins_left_ = spins_per_check;
  begin_window(Phase::spinning);
}

}  // namespace spindle
