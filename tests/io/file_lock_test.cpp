// Advisory locks: who excludes whom, waiting, giving up, being cancelled and dropped; and the lock of a process that
// was killed.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>

#include "io/directory.h"
#include "runtime/combinators.h"
#include "tests/io/every_world.h"

namespace spindle {
namespace {

using std::chrono::milliseconds;

constexpr LockOptions lock_once{.wait_max = Duration::zero()};

bool is_taken(const Result<void>& result) {
  if (result.has_value()) return false;
  CHECK(result.error().code == ErrorCode::system);
  CHECK(result.error().number == EWOULDBLOCK);
  return true;
}

Task<Result<void>> exclude(std::string folder) {
  const std::string path = folder + "/file";
  File one = co_await ok(File::open(path, open_cached_new));
  File two = co_await ok(File::open(path, open_cached));
  File reader = co_await ok(File::open(path, {.direct = Direct::never}));
  co_await ok(one.lock(LockMode::shared));
  co_await ok(two.lock(LockMode::shared));
  const Result<void> third = co_await reader.try_lock(LockMode::exclusive);
  CHECK(is_taken(third));
  co_await ok(one.unlock());
  co_await ok(two.lock(LockMode::exclusive));  // one's own does not stand in the way
  co_await ok(two.lock(LockMode::exclusive));
  const Result<void> shared = co_await one.try_lock(LockMode::shared);
  CHECK(is_taken(shared));
  const Result<void> once = co_await one.lock(LockMode::shared, lock_once);
  CHECK(is_taken(once));
  const Time before = Loop::current().now();
  const LockOptions patient{.wait_max = milliseconds(30)};
  const Result<void> waited = co_await one.lock(LockMode::exclusive, patient);
  CHECK(is_taken(waited));
  CHECK(Loop::current().now() - before >= milliseconds(30));
  co_await ok(two.close());
  co_await ok(reader.lock(LockMode::exclusive));  // open for reading is enough
  co_return Result<void>();
}

TEST_CASE("an exclusive lock excludes all others, shared ones only that") { in_every_world(exclude); }

Task<Result<void>> release_later(File* holder) {
  co_await ok(sleep_for(milliseconds(20)));
  co_await ok(holder->close());
  co_return Result<void>();
}

Task<Result<void>> lock_while_released(Scope& scope, File* holder, File* other) {
  co_await ok(scope.spawn(release_later, holder));
  co_await ok(other->lock(LockMode::exclusive));
  co_return Result<void>();
}

Task<Result<void>> wait_for_lock(std::string folder) {
  File holder = co_await ok(File::open(folder + "/file", open_cached_new));
  File other = co_await ok(File::open(folder + "/file", open_cached));
  co_await ok(holder.lock(LockMode::exclusive));
  File* holder_address = &holder;
  File* other_address = &other;
  auto locking = with_scope(ScopeOptions{}, lock_while_released, holder_address, other_address);
  const Result<void> locked = co_await std::move(locking);
  co_return locked;
}

TEST_CASE("a lock is waited for until its holder closes the file") { in_every_world(wait_for_lock); }

Task<Result<void>> note_release(File* holder, Duration after, Time* released) {
  co_await ok(sleep_for(after));
  co_await ok(holder->close());
  *released = Loop::current().now();
  co_return Result<void>();
}

Task<Result<void>> lock_after_long(std::string folder, Duration after) {
  File holder = co_await ok(File::open(folder + "/file", open_cached_new));
  File other = co_await ok(File::open(folder + "/file", open_cached));
  co_await ok(holder.lock(LockMode::exclusive));
  File* const address = &holder;
  Time released{};
  Time* const released_address = &released;
  const LockOptions patient{.wait_max = std::chrono::minutes(10)};
  auto both = when_all(other.lock(LockMode::exclusive, patient), note_release(address, after, released_address));
  co_await ok(std::move(both));
  CHECK(Loop::current().now() - released <= milliseconds(51));  // and what the try itself takes
  co_return Result<void>();
}

TEST_CASE("however long a lock was held, it is got within one interval of its release") {
  SimBackendOptions options;
  options.latency_ns_max = 100'000;
  const Duration step = milliseconds(777);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    in_simulation(seed, options, lock_after_long, step * static_cast<int64_t>(seed * seed));
  }
}

Task<Result<void>> give_up_waiting(std::string folder) {
  File holder = co_await ok(File::open(folder + "/file", open_cached_new));
  File other = co_await ok(File::open(folder + "/file", open_cached));
  co_await ok(holder.lock(LockMode::exclusive));
  auto locking = other.lock(LockMode::exclusive);
  const Result<void> locked = co_await timeout(milliseconds(20), std::move(locking));
  CHECK(locked.error().code == ErrorCode::timed_out);
  co_return Result<void>();
}

TEST_CASE("waiting for a lock can be cancelled") { in_every_world(give_up_waiting); }

Task<Result<void>> lock_and_note(File* file, bool* has_ended) {
  const Result<void> locked = co_await file->lock(LockMode::exclusive);
  CHECK(!locked.has_value());
  *has_ended = true;
  co_return Result<void>();
}

Task<Result<void>> drop_under_lock(Scope& scope, std::unique_ptr<File>* file, bool* has_ended) {
  File* address = file->get();
  co_await ok(scope.spawn(lock_and_note, address, has_ended));
  co_await ok(sleep_for(milliseconds(5)));
  CHECK_FALSE(*has_ended);
  file->reset();
  co_return Result<void>();
}

Task<Result<void>> drop_waiting(std::string folder) {
  File holder = co_await ok(File::open(folder + "/file", open_cached_new));
  co_await ok(holder.lock(LockMode::exclusive));
  File opened = co_await ok(File::open(folder + "/file", open_cached));
  auto file = std::make_unique<File>(std::move(opened));
  bool has_ended = false;
  std::unique_ptr<File>* file_address = &file;
  bool* ended_address = &has_ended;
  co_await ok(with_scope(ScopeOptions{}, drop_under_lock, file_address, ended_address));
  CHECK(has_ended);
  co_return Result<void>();
}

TEST_CASE("a file can be dropped while its lock is waited for") { in_every_world(drop_waiting); }

/// One that waits for the lock, and is dropped meanwhile.
struct Waiting {
  std::unique_ptr<File> file;
  std::optional<Result<void>> result;
  Time ended{};
};

Task<Result<void>> lock_patiently(Waiting* waiting) {
  waiting->result = co_await waiting->file->lock(LockMode::exclusive);
  waiting->ended = Loop::current().now();
  co_return Result<void>();
}

Task<Result<void>> drop_then_unlock(Scope& scope, Waiting* waiting, File* holder) {
  co_await ok(scope.spawn(lock_patiently, waiting));
  const Duration patience(Loop::current().random().below(100'000'000));
  co_await ok(sleep_for(patience));
  CHECK_FALSE(waiting->result.has_value());
  waiting->file.reset();
  co_await ok(sleep_for(milliseconds(20)));  // a try that was in flight has ended
  co_await ok(holder->unlock());
  co_return Result<void>();
}

Task<Result<void>> drop_between_tries(std::string folder) {
  File holder = co_await ok(File::open(folder + "/file", open_cached_new));
  co_await ok(holder.lock(LockMode::exclusive));
  File opened = co_await ok(File::open(folder + "/file", open_cached));
  Waiting waiting{.file = std::make_unique<File>(std::move(opened)), .result = std::nullopt};
  Waiting* const waiting_address = &waiting;
  File* const holder_address = &holder;
  const Time before = Loop::current().now();
  co_await ok(with_scope(ScopeOptions{}, drop_then_unlock, waiting_address, holder_address));
  REQUIRE(waiting.result.has_value());
  REQUIRE_FALSE(waiting.result->has_value());
  const ErrorCode code = waiting.result->error().code;
  CHECK((code == ErrorCode::closed || code == ErrorCode::cancelled));
  CHECK(waiting.ended - before < std::chrono::seconds(2));  // and not after all of wait_max
  const Result<void> free = co_await holder.try_lock(LockMode::exclusive);
  CHECK(free.has_value());
  co_return Result<void>();
}

TEST_CASE("a file that is dropped while its lock is waited for never gets it, and does not wait on") {
  in_every_world(drop_between_tries);
  for (uint64_t seed = 10; seed < 60; ++seed) in_simulation(seed, SimBackendOptions(), drop_between_tries);
}

Task<Result<void>> hold_for_ever(const std::string& path, int told) {
  File file = co_await ok(File::open(path, open_cached));
  co_await ok(file.lock(LockMode::exclusive));
  const ssize_t written = ::write(told, "x", 1);
  SPINDLE_ASSERT(written == 1, "the parent is gone");
  co_await ok(read_forever(&file));
  co_return Result<void>();
}

/// A child process that holds the lock of a FIFO while a read of it is in flight on its ring.
pid_t start_holder(const std::string& path) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
    SPINDLE_ASSERT(backend.has_value(), "no ring");
    Loop loop(**backend);
    static_cast<void>(run(loop, hold_for_ever, path, ends[1]));
    ::_exit(1);
  }
  ::close(ends[1]);
  char told = 0;
  CHECK(::read(ends[0], &told, 1) == 1);
  ::close(ends[0]);
  ::usleep(20000);  // until the read is in flight
  return child;
}

Task<Result<void>> take_over(const std::string& path, pid_t child) {
  File file = co_await ok(File::open(path, open_cached));
  const Result<void> tried = co_await file.try_lock(LockMode::exclusive);
  CHECK(is_taken(tried));
  CHECK(::kill(child, SIGKILL) == 0);
  CHECK(::waitpid(child, nullptr, 0) == child);
  co_await ok(file.lock(LockMode::exclusive));
  co_return Result<void>();
}

TEST_CASE("the lock of a process that was killed with a read in flight is got by who waits for it") {
  TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  for (int round = 0; round < 5; ++round) {
    const pid_t child = start_holder(fifo.path());
    UringLoop ring;
    ring.run_in_time(take_over, fifo.path(), child);
  }
}

}  // namespace
}  // namespace spindle
