// The threads behind what the ring has no operation for: bounded, lazy, deaf to signals, and joined.
#include "io/uring/blocking_pool.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>

#include "io/directory.h"
#include "tests/io/held_calls.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

UringOptions with_calls(BlockingCalls& calls, uint32_t threads_max = 2) {
  UringOptions options;
  options.blocking = &calls;
  options.blocking_threads_max = threads_max;
  return options;
}

Task<Result<void>> list_one(std::string path, uint64_t* done_count) {
  const std::vector<DirectoryEntry> entries = co_await ok(list_directory(path));
  CHECK(entries.size() == 1);
  ++*done_count;
  co_return Result<void>();
}

Task<Result<void>> fill_pool(Scope& scope, const std::string& path, HeldCalls& calls, uint64_t& done_count) {
  calls.hold();
  uint64_t* count_address = &done_count;
  for (int count = 0; count < 10; ++count) co_await ok(scope.spawn(list_one, path, count_address));
  co_await settle_ring();
  calls.await_entered(2);
  co_await settle_ring();
  CHECK(calls.entered_count() == 2);
  CHECK(done_count == 0);
  calls.release();
  co_return Result<void>();
}

TEST_CASE("threads start when they are needed, no more than allowed, and the rest waits") {
  TemporaryFolder folder;
  folder.filled("one", 1);
  HeldCalls calls;
  UringLoop ring(with_calls(calls));
  CHECK(ring.backend().blocking_pool().threads_count() == 0);
  uint64_t done_count = 0;
  struct Body {
    static Task<Result<void>> run(const std::string& path, HeldCalls& calls, uint64_t& count) {
      co_return co_await with_scope(ScopeOptions{}, fill_pool, path, calls, count);
    }
  };
  ring.run_in_time(Body::run, folder.path(), calls, done_count);
  CHECK(done_count == 10);
  CHECK(ring.backend().blocking_pool().threads_count() == 2);
}

TEST_CASE("one blocking call after another needs one thread") {
  TemporaryFolder folder;
  folder.filled("one", 1);
  HeldCalls calls;
  UringLoop ring(with_calls(calls));
  uint64_t done_count = 0;
  for (int count = 0; count < 20; ++count) {
    ring.run_in_time(list_one, folder.path(), &done_count);
    struct Rest {
      static Task<Result<void>> settle() {
        co_await settle_ring();  // the thread is idle again
        co_return Result<void>();
      }
    };
    ring.run_to_success(Rest::settle);
  }
  CHECK(done_count == 20);
  CHECK(ring.backend().blocking_pool().threads_count() >= 1);
}

Task<Result<void>> list_in_vain(const std::string& path) {
  const auto listed = co_await list_directory(path);
  REQUIRE(!listed.has_value());
  CHECK(listed.error().number == ENOMEM);
  co_return Result<void>();
}

TEST_CASE("without a thread to be had a blocking call fails, and does not hang") {
  TemporaryFolder folder;
  HeldCalls calls;
  UringLoop ring(with_calls(calls, 0));
  ring.run_in_time(list_in_vain, folder.path());
}

/// Notes what the thread that makes the call would take of signals.
class MaskedCalls final : public BlockingCalls {
 public:
  int32_t call(Operation& operation) noexcept override {
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGCHLD}) all_blocked_ &= ::sigismember(&mask, number) == 1;
    return BlockingCalls::call(operation);
  }
  bool all_blocked() const { return all_blocked_; }

 private:
  bool all_blocked_ = true;
};

TEST_CASE("the threads take no signals, and whoever started them still does") {
  TemporaryFolder folder;
  folder.filled("one", 1);
  MaskedCalls calls;
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  uint64_t done_count = 0;
  {
    UringLoop ring(with_calls(calls));
    ring.run_in_time(list_one, folder.path(), &done_count);
  }
  CHECK(calls.all_blocked());
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK(::sigismember(&before, SIGTERM) == ::sigismember(&after, SIGTERM));
}

Task<Result<void>> list_and_cancel(Scope& scope, const std::string& path, uint64_t& done_count, int round) {
  uint64_t* count_address = &done_count;
  for (int count = 0; count < 8; ++count) co_await ok(scope.spawn(list_one, path, count_address));
  if (round % 3 != 0) co_await ok(sleep_for(std::chrono::microseconds(10 * round)));
  if (round % 2 == 0) scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> storm(const std::string& path, uint64_t& done_count) {
  for (int round = 0; round < 200; ++round) {
    co_await ok(with_scope(ScopeOptions{}, list_and_cancel, path, done_count, round));
  }
  co_return Result<void>();
}

TEST_CASE("calls and cancels in any order: each ends once, and nothing is left") {
  TemporaryFolder folder;
  folder.filled("one", 1);
  HeldCalls calls;
  UringLoop ring(with_calls(calls, 3));
  uint64_t done_count = 0;
  ring.run_to_success(storm, folder.path(), done_count);
  CHECK(done_count >= 800);
  CHECK(done_count < 1600);
}

Task<Result<void>> lock_file(File* file) {
  const Result<void> locked = co_await file->try_lock(LockMode::exclusive);
  if (!locked.has_value()) CHECK(locked.error().code == ErrorCode::cancelled);
  co_return Result<void>();
}

Task<Result<void>> drop_held(Scope& scope, const std::string& path, HeldCalls& calls) {
  calls.hold();
  auto opened = co_await ok(File::open(path, open_cached));
  auto file = std::make_unique<File>(std::move(opened));
  File* address = file.get();
  for (int count = 0; count < 5; ++count) co_await ok(scope.spawn(lock_file, address));
  co_await settle_ring();
  calls.await_entered(2);
  file.reset();
  co_await settle_ring();
  CHECK(Backend::current().dropped_count() == 1);
  calls.release();
  co_return Result<void>();
}

Task<Result<void>> run_drop_held(const std::string& path, HeldCalls& calls) {
  co_return co_await with_scope(ScopeOptions{}, drop_held, path, calls);
}

TEST_CASE("a file that is dropped is closed after the calls on it have returned") {
  TemporaryFolder folder;
  HeldCalls calls;
  UringLoop ring(with_calls(calls));
  ring.run_in_time(run_drop_held, folder.filled("data", 1), calls);
  CHECK(ring.backend().dropped_count() == 0);
}

}  // namespace
}  // namespace spindle
