#include "io/sim/world.h"

#include <algorithm>
#include <atomic>

#include "runtime/task_tree.h"

namespace spindle {

namespace {

/// Makes a loop the thread's current one for a while.
class CurrentLoop {
 public:
  explicit CurrentLoop(Loop& loop) noexcept : former_(Loop::set_current(&loop)) {}
  CurrentLoop(const CurrentLoop&) = delete;
  CurrentLoop& operator=(const CurrentLoop&) = delete;
  ~CurrentLoop() { Loop::set_current(former_); }

 private:
  Loop* former_;
};

}  // namespace

Host::Host(World& world, uint32_t index, std::string name, SimBackendOptions options)
    : world_(world),
      index_(index),
      name_(std::move(name)),
      options_(std::move(options)),
      keys_(mix64(world.seed() + index)) {
  restart();
}

Host::~Host() {
  if (is_alive()) kill_process();
}

void Host::restart() {
  SPINDLE_ASSERT(!is_alive(), "a host was started twice");
  const uint64_t seed = mix64(mix64(world_.seed() + index_) + ++process_count_);
  backend_ = std::make_unique<SimBackend>(*files_, world_.now_, world_.hash_, options_, keys_);
  Loop::Options options;
  options.ready_budget = 1;  // so that the world can stop at every await
  options.random_seed = mix64(seed + 2);
  options.schedule_randomly = true;
  options.frames_per_class = 0;
  loop_ = std::make_unique<Loop>(*backend_, options);
}

void Host::cancel() noexcept {
  if (!is_running()) return;
  const CurrentLoop current(*loop_);
  world_.hash_.mix(6, index_);
  root_->cancel();
}

Result<void> Host::take() {
  SPINDLE_ASSERT(root_.has_value(), "the result of a root task that was not started");
  Result<void> result = root_->take();
  root_.reset();
  return result;
}

void Host::kill_process() noexcept {
  SPINDLE_ASSERT(is_alive(), "a dead host was killed");
  world_.hash_.mix(7, index_, static_cast<uint64_t>(world_.now_.time_since_epoch().count()));
  {
    const CurrentLoop current(*loop_);
    loop_->mark_dying();
    backend_->forget_all();
    root_.reset();
    backend_->forget_dropped_files();
  }
  if (Loop::has_current() && &Loop::current() == loop_.get()) Loop::set_current(nullptr);
  loop_.reset();
  backend_.reset();
}

void Host::lose_power(uint64_t key) noexcept {
  kill_process();
  Random random(mix64(mix64(mix64(world_.seed() + index_) + 3) + key));
  files_->lose_power(options_.sector_size, random);
  world_.hash_.mix(11, index_, random.next());
}

void Host::replace_files(SimFiles files) noexcept {
  SPINDLE_ASSERT(!is_alive(), "the disk of a live host was replaced");
  files_ = std::make_unique<SimFiles>(std::move(files));
}

Time Host::next_event() const noexcept {
  if (!is_alive()) return time_never;
  return std::min(loop_->timers().next(), backend_->next_due());
}

void Host::turn() noexcept {
  const CurrentLoop current(*loop_);
  world_.hash_.mix(8, index_, static_cast<uint64_t>(world_.now_.time_since_epoch().count()));
  if (world_.observer_ != nullptr) world_.observer_->before_turn(*this);
  loop_->turn();
}

void Host::complete_next() noexcept {
  const CurrentLoop current(*loop_);
  world_.hash_.mix(9, index_, static_cast<uint64_t>(world_.now_.time_since_epoch().count()));
  backend_->complete_next();
}

Host& World::add_host(std::string name, SimBackendOptions options) {
  const uint32_t index = static_cast<uint32_t>(hosts_.size());
  hosts_.push_back(std::make_unique<Host>(*this, index, std::move(name), std::move(options)));
  return *hosts_.back();
}

Host& World::add_host(std::string name, SimBackendOptions options, SimFiles files) {
  Host& host = add_host(std::move(name), std::move(options));
  host.kill_process();
  host.replace_files(std::move(files));
  host.restart();
  return host;
}

// Draws one of what can happen at this moment; false when nothing can.
bool World::step_now() noexcept {
  uint64_t choices_count = 0;
  for (const auto& host : hosts_) {
    choices_count += host->has_turn(now_);
    choices_count += host->has_completion(now_);
  }
  if (choices_count == 0) return false;
  uint64_t choice = choices_count == 1 ? 0 : random_.below(choices_count);
  ++steps_count_;
  for (const auto& host : hosts_) {
    if (host->has_turn(now_) && choice-- == 0) {
      host->turn();
      return true;
    }
    if (host->has_completion(now_) && choice-- == 0) {
      host->complete_next();
      return true;
    }
  }
  SPINDLE_ASSERT(false, "the world chose something that is not there");
  return false;
}

Time World::next_event() const noexcept {
  Time next = time_never;
  for (const auto& host : hosts_) next = std::min(next, host->next_event());
  return next;
}

World::Step World::step(Time until) noexcept {
  if (step_now()) return Step::worked;
  const Time next = next_event();
  if (next != time_never) {
    now_ = std::max(now_, std::min(next, until));
    if (next <= until) step_now();
    return Step::worked;
  }
  for (const auto& host : hosts_) {
    if (host->is_running()) return Step::deadlock;
  }
  return Step::idle;
}

std::string World::report() const {
  std::string text;
  for (const auto& host : hosts_) {
    text += "host " + host->name();
    if (!host->is_alive()) {
      text += ": dead\n";
    } else if (!host->is_running()) {
      text += ": no task\n";
    } else {
      text += ":\n" + task_tree(host->loop());
    }
  }
  return text;
}

World::Outcome World::run(Time until) noexcept {
  const Outcome outcome = run_all(until);
  // The disks were written past the cache, in no order that another thread would see: it may be the next to look.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return outcome;
}

World::Outcome World::run_all(Time until) noexcept {
  for (;;) {
    const Step result = step(until);
    if (result == Step::idle) return Outcome::idle;
    if (result == Step::deadlock) return Outcome::deadlock;
    if (now_ < until || until == time_never) continue;
    bool anything = false;
    for (const auto& host : hosts_) anything = anything || host->has_turn(now_) || host->has_completion(now_);
    if (!anything) return Outcome::out_of_time;
  }
}

}  // namespace spindle
