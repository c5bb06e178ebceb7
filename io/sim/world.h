// The simulated world: hosts in one process, virtual time, and one number, the seed, that decides everything:
// which host runs, what it runs of what is ready, latencies, faults, and what a dying host leaves behind.
//
//     World world(seed);
//     Host& host = world.add_host("a");
//     host.start(serve, configuration);
//     while (world.step() == World::Step::worked) { … host.kill_process() at any await … }
//
// The chances of an operation (its latency, its faults, what a kill leaves of it) depend on the seed, the trace of its
// task (runtime/trace.h) and its number in that trace, and on nothing else that happens. So whoever drives a world by a
// list of events, and gives each event's task the event's number as its trace, can leave out one event, and the others
// meet the same faults. The order in which ready tasks run is drawn as it comes.
//
// A step is one turn of one host (one entry of its ready queue, so one await to the next), or the completion of one
// operation. Where several are possible one is drawn. Where none is, time jumps to the next timer or completion.
//
// Invariants
// 1. A dying host: its loop is marked first, then what its operations in flight did to the disk is decided and they
//    are forgotten, then its frames are destroyed, top down, then the files that were dropped are forgotten, then
//    loop and backend go. None of its code runs, destructors aside.
// 2. The disk belongs to the host and survives its process.
// 3. Same seed, same calls: same hash(), whatever compiler or build type.
// One thread. Another may take over after run(), or through a lock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "io/sim/event_hash.h"
#include "io/sim/sim_backend.h"
#include "io/sim/sim_files.h"
#include "runtime/loop.h"
#include "runtime/root.h"

namespace spindle {

class World;

/// A simulated machine: a process (loop, backend, root task) that can die and come back, and a disk that stays.
class Host {
 public:
  Host(World& world, uint32_t index, std::string name, SimBackendOptions options);
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  /// Kills what still runs.
  ~Host();

  /// Begins `function(args...)`, a Task<Result<void>>, as the host's root. One at a time; what the arguments refer
  /// to must outlive it.
  template <class Function, class... Args>
  void start(Function&& function, Args&&... args) {
    SPINDLE_ASSERT(is_alive() && !is_running(), "a host runs one root task at a time");
    root_.emplace(std::source_location::current(), *loop_, std::forward<Function>(function),
                  std::forward<Args>(args)...);
  }
  /// Cancels the root task. From outside of the host's tasks.
  void cancel() noexcept;
  /// The result of a root task that is done, once.
  Result<void> take();

  /// kill -9, at whatever await the host's tasks stand. What the kernel acknowledged stays; each operation in
  /// flight is by seed done whole, in some of its sectors, or not at all. Not from inside a task.
  void kill_process() noexcept;
  /// The machine goes dark, at whatever await. Of what was not durable each sector and each change of a directory is by
  /// seed there, torn, or not; see sim_file.h and sim_files.h.
  void lose_power() noexcept { lose_power(++power_losses_count_); }
  /// The same, decided by (seed, key), for whoever wants the outcome not to depend on how often it happened before.
  void lose_power(uint64_t key) noexcept;
  /// Puts another disk in place of the host's. The host must be dead.
  void replace_files(SimFiles files) noexcept;
  /// A new process, without a task, on the same disk. The former one must be dead.
  void restart();

  bool is_alive() const noexcept { return loop_ != nullptr; }
  /// A root task was started and is not done.
  bool is_running() const noexcept { return root_.has_value() && !root_->is_done(); }
  const std::string& name() const noexcept { return name_; }
  const SimBackendOptions& options() const noexcept { return options_; }
  SimFiles& files() noexcept { return *files_; }
  Loop& loop() noexcept { return *loop_; }
  SimBackend& backend() noexcept { return *backend_; }

 private:
  friend class World;
  bool has_turn(Time now) const noexcept { return is_alive() && (loop_->has_ready() || loop_->timers().next() <= now); }
  bool has_completion(Time now) const noexcept { return is_alive() && backend_->next_due() <= now; }
  Time next_event() const noexcept;
  void turn() noexcept;
  void complete_next() noexcept;

  World& world_;
  uint32_t index_;
  uint32_t process_count_ = 0;
  uint64_t power_losses_count_ = 0;
  std::string name_;
  SimBackendOptions options_;
  DrawKeys keys_;
  std::unique_ptr<SimFiles> files_ = std::make_unique<SimFiles>();
  std::unique_ptr<SimBackend> backend_;
  std::unique_ptr<Loop> loop_;
  std::optional<Root<Result<void>>> root_;
};

/// Told of each turn before it begins, for models that keep in lock-step with a host's timers.
class TurnObserver {
 public:
  virtual void before_turn(Host& host) noexcept = 0;

 protected:
  ~TurnObserver() = default;
};

class World {
 public:
  enum class Step : uint8_t {
    worked,  ///< something happened
    idle,  ///< nothing will ever happen, and no root task is alive
    deadlock,  ///< nothing will ever happen, and a root task waits
  };
  enum class Outcome : uint8_t {
    idle,  ///< see Step::idle
    deadlock,  ///< see Step::deadlock
    out_of_time,  ///< `until` has come
  };

  explicit World(uint64_t seed) noexcept : seed_(seed), random_(mix64(seed)) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// The host stays where it is for as long as the world.
  Host& add_host(std::string name, SimBackendOptions options = {});
  /// The same on a disk that is there already.
  Host& add_host(std::string name, SimBackendOptions options, SimFiles files);
  /// One turn of one host, or one completion, after a jump in time if need be, but not past `until`.
  Step step(Time until = time_never) noexcept;
  /// Steps until nothing happens any more, or until that time: then it is `until`.
  Outcome run(Time until = time_never) noexcept;

  Time now() const noexcept { return now_; }
  /// For choices of whoever drives the world.
  Random& random() noexcept { return random_; }
  uint64_t seed() const noexcept { return seed_; }
  /// "Why is it stuck?": of every host its tasks, where each was spawned, and what it awaits. For a deadlock.
  std::string report() const;
  /// Over all that happened so far.
  uint64_t hash() const noexcept { return hash_.value(); }
  uint64_t steps_count() const noexcept { return steps_count_; }
  void observe(TurnObserver* observer) noexcept { observer_ = observer; }

 private:
  friend class Host;
  bool step_now() noexcept;
  Outcome run_all(Time until) noexcept;
  Time next_event() const noexcept;

  uint64_t seed_;
  Random random_;
  EventHash hash_;
  Time now_{};
  uint64_t steps_count_ = 0;
  TurnObserver* observer_ = nullptr;
  std::vector<std::unique_ptr<Host>> hosts_;
};

}  // namespace spindle
