// Waking a loop from other threads, timers on the real clock, and loops that run side by side on threads of
// their own.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// A number that another thread counts up and a task waits for.
class Mailbox final : public Posted {
 public:
  explicit Mailbox(Reactor& reactor) noexcept : reactor_(reactor) {}
  ~Mailbox() {
    if (is_linked()) unlink();
  }
  /// From any thread.
  void post() noexcept {
    posted_count_.fetch_add(1, std::memory_order_release);
    reactor_.wake();
  }
  void collect() noexcept override {
    const uint64_t count = posted_count_.load(std::memory_order_acquire);
    if (count == seen_count_) return;
    seen_count_ = count;
    arrived_.set();
  }
  Event& arrived() noexcept { return arrived_; }
  uint64_t seen_count() const noexcept { return seen_count_; }

 private:
  Reactor& reactor_;
  std::atomic<uint64_t> posted_count_{0};
  uint64_t seen_count_ = 0;
  Event arrived_;
};

Task<Result<void>> await_mail(Mailbox& mailbox, uint64_t count, std::atomic<uint64_t>& seen) {
  for (;;) {
    seen.store(mailbox.seen_count(), std::memory_order_release);
    if (mailbox.seen_count() >= count) break;
    mailbox.arrived().reset();
    co_await ok(mailbox.arrived().wait());
  }
  co_return Result<void>();
}

Task<Result<void>> await_mail_in_time(Mailbox& mailbox, uint64_t count, std::atomic<uint64_t>& seen) {
  co_return co_await timeout(30s, await_mail(mailbox, count, seen));
}

TEST_CASE("a loop that sleeps is woken from another thread, each time") {
  constexpr uint64_t count = 2000;
  UringLoop ring;
  Mailbox mailbox(ring.backend());
  ring.loop().add_posted(mailbox);
  std::atomic<uint64_t> seen{0};
  uint64_t lost_count = 0;
  std::thread poster([&] {
    for (uint64_t number = 0; number < count; ++number) {
      mailbox.post();
      // The next only after this one was seen: nothing covers up for a lost wake-up.
      const Clock::time_point before = Clock::now();
      while (seen.load(std::memory_order_acquire) <= number && Clock::now() - before < 5s) {
        std::this_thread::yield();
      }
      if (seen.load(std::memory_order_acquire) <= number) ++lost_count;
      if (number % 16 == 0) std::this_thread::sleep_for(100us);
    }
  });
  ring.run_to_success(await_mail_in_time, mailbox, count, seen);
  poster.join();
  CHECK(lost_count == 0);
  CHECK(mailbox.seen_count() == count);
}

TEST_CASE("many threads that wake at once lose nothing") {
  constexpr uint64_t count = 20000;
  UringLoop ring;
  Mailbox mailbox(ring.backend());
  ring.loop().add_posted(mailbox);
  std::atomic<uint64_t> seen{0};
  std::vector<std::thread> posters;
  for (int poster = 0; poster < 4; ++poster) {
    posters.emplace_back([&] {
      for (uint64_t number = 0; number < count / 4; ++number) mailbox.post();
    });
  }
  ring.run_to_success(await_mail_in_time, mailbox, count, seen);
  for (std::thread& poster : posters) poster.join();
  CHECK(mailbox.seen_count() == count);
}

/// What the loop has in flight while it sleeps.
struct Sleeper {
  Fifo* fifo;
  Mailbox* mailbox;
  std::atomic<uint64_t>* seen;
  uint32_t reads_count;
  bool are_of_disk;
};

Task<Result<void>> read_bare(Descriptor* file) {
  std::byte byte;
  const Result<uint64_t> count = co_await TransferOnce(*file, Opcode::read, &byte, 1, 0);
  CHECK(count.error().code == ErrorCode::cancelled);
  co_return Result<void>();
}

Task<Result<void>> sleep_in_reads(Scope& scope, Sleeper* sleeper, Descriptor* file) {
  for (uint32_t count = 0; count < sleeper->reads_count; ++count) co_await ok(scope.spawn(read_bare, file));
  co_await ok(await_mail_in_time(*sleeper->mailbox, 100, *sleeper->seen));
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> play_sleeper(Sleeper& sleeper) {
  Backend& backend = Backend::current();
  auto file = std::make_unique<Descriptor>(backend, "slow");
  file->fd = ::open(sleeper.fifo->path().c_str(), O_RDWR | O_CLOEXEC);
  file->is_disk = sleeper.are_of_disk;
  Sleeper* sleeper_address = &sleeper;
  Descriptor* file_address = file.get();
  auto sleeping = with_scope(ScopeOptions{}, sleep_in_reads, sleeper_address, file_address);
  const Result<void> slept = co_await std::move(sleeping);
  backend.drop(std::move(file));
  co_return slept;
}

void wake_with_reads(uint32_t reads_count, bool are_of_disk) {
  TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  UringLoop ring;
  Mailbox mailbox(ring.backend());
  ring.loop().add_posted(mailbox);
  std::atomic<uint64_t> seen{0};
  uint64_t late_count = 0;
  std::thread poster([&] {
    for (uint64_t number = 0; number < 100; ++number) {
      mailbox.post();
      const Clock::time_point before = Clock::now();
      while (seen.load(std::memory_order_acquire) <= number && Clock::now() - before < 5s) {
        std::this_thread::yield();
      }
      if (seen.load(std::memory_order_acquire) <= number) ++late_count;
      if (late_count > 0) break;
    }
    for (uint64_t number = 0; late_count > 0 && number < 100; ++number) mailbox.post();
  });
  Sleeper sleeper{&fifo, &mailbox, &seen, reads_count, are_of_disk};
  ring.run_in_time(play_sleeper, sleeper);
  poster.join();
  CHECK(late_count == 0);
}

TEST_CASE("a loop with reads in flight is woken, though none of them completes") { wake_with_reads(20, false); }

TEST_CASE("a loop that waits for several disk reads at once is woken by one call") { wake_with_reads(32, true); }

TEST_CASE("a wake before the sleep is not lost") {
  UringLoop ring;
  for (int round = 0; round < 20; ++round) {
    ring.backend().wake();
    const Clock::time_point before = Clock::now();
    ring.backend().wait(ring.backend().now() + 5s);
    CHECK(Clock::now() - before < 4s);
  }
}

TEST_CASE("several wakes before a sleep end that sleep, and do not pile up") {
  UringLoop ring;
  for (int count = 0; count < 100; ++count) ring.backend().wake();
  ring.backend().wait(ring.backend().now() + 5s);
  const Clock::time_point before = Clock::now();
  int waits_count = 0;
  // At most a few empty turns, then it sleeps for real.
  while (Clock::now() - before < 20ms) {
    ring.backend().wait(ring.backend().now() + 20ms);
    ++waits_count;
  }
  CHECK(waits_count < 10);
}

TEST_CASE("a wait with a deadline returns at its deadline, not before, when nothing happens") {
  UringLoop ring;
  const Time until = ring.backend().now() + 20ms;
  while (ring.backend().now() < until) ring.backend().wait(until);
  CHECK(ring.backend().now() < until + 5s);
  const uint64_t enters = ring.backend().counters().enters;
  const Time later = ring.backend().now() + 30ms;
  while (ring.backend().now() < later) ring.backend().wait(later);
  CHECK(ring.backend().counters().enters - enters <= 5);
}

struct Firing {
  int number;
  Time at;
};

Task<Result<void>> sleep_and_note(int number, Time until, std::vector<Firing>* fired) {
  co_await ok(sleep_until(until));
  fired->push_back({number, Loop::current().now()});
  co_return Result<void>();
}

Task<Result<void>> spawn_sleepers(Scope& scope, Time start, std::vector<Firing>* fired) {
  for (int number = 19; number >= 0; --number) {
    co_await ok(scope.spawn(sleep_and_note, number, start + number * 2ms, fired));
  }
  co_return Result<void>();
}

Task<Result<void>> sleep_in_order(std::vector<Firing>& fired, Time& start) {
  start = Loop::current().now() + 5ms;
  std::vector<Firing>* fired_address = &fired;
  co_return co_await with_scope(ScopeOptions{}, spawn_sleepers, start, fired_address);
}

TEST_CASE("timers fire on the real clock in their order and never early") {
  UringLoop ring;
  std::vector<Firing> fired;
  Time start;
  ring.run_to_success(sleep_in_order, fired, start);
  REQUIRE(fired.size() == 20);
  for (int number = 0; number < 20; ++number) {
    CHECK(fired[static_cast<size_t>(number)].number == number);
    CHECK(fired[static_cast<size_t>(number)].at >= start + number * 2ms);
  }
}

// Two loops.

Task<Result<void>> write_and_read(std::string path, Memory& out, Memory& in, int rounds) {
  File file = co_await ok(File::open(std::move(path), open_cached_new));
  const std::span<std::byte> written = out.all();
  const std::span<std::byte> read = in.all();
  for (int round = 0; round < rounds; ++round) {
    const uint64_t offset = static_cast<uint64_t>(round % 8) * written.size();
    co_await ok(file.write_all_at(offset, written));
    co_await ok(file.read_exact_at(offset, read));
    if (!in.has_pattern(7)) co_return fail(ErrorCode::invalid_argument, "what was read is not what was written");
    if (round % 16 == 0) co_await ok(sleep_for(100us));
  }
  co_return Result<void>();
}

bool run_own_loop(const std::string& path) {
  Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
  if (!backend.has_value()) return false;
  Loop loop(**backend);
  Memory out(4096);
  Memory in(4096);
  out.fill_with_pattern(7);
  const Result<void> result = run(loop, write_and_read, path, out, in, 300);
  return result.has_value() && loop.frames().live_count() == 0;
}

TEST_CASE("two loops on two threads run independently") {
  TemporaryFolder folder;
  std::atomic<int> succeeded_count{0};
  std::vector<std::thread> threads;
  for (const char* name : {"one", "two"}) {
    threads.emplace_back([&folder, &succeeded_count, name] {
      if (run_own_loop(folder.file(name))) succeeded_count.fetch_add(1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(succeeded_count.load() == 2);
}

Task<Result<void>> ping(Mailbox& own, Mailbox& other, uint64_t count, bool begins) {
  if (begins) other.post();
  for (uint64_t number = 1; number <= count; ++number) {
    while (own.seen_count() < number) {
      own.arrived().reset();
      co_await ok(own.arrived().wait());
    }
    if (!begins || number < count) other.post();
  }
  co_return Result<void>();
}

TEST_CASE("two loops wake each other in turn") {
  constexpr uint64_t count = 500;
  UringLoop first;
  Mailbox first_mail(first.backend());
  std::atomic<Mailbox*> second_mail{nullptr};
  std::atomic<bool> first_has_ended{false};
  bool second_succeeded = false;
  std::thread second([&] {
    Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
    if (!backend.has_value()) return;
    Loop loop(**backend);
    Mailbox mailbox(**backend);
    loop.add_posted(mailbox);
    second_mail.store(&mailbox);
    second_succeeded = run(loop, ping, mailbox, first_mail, count, false).has_value();
    while (!first_has_ended.load()) std::this_thread::yield();  // the first may still be inside of post()
  });
  while (second_mail.load() == nullptr) std::this_thread::yield();
  first.loop().add_posted(first_mail);
  first.run_to_success(ping, first_mail, *second_mail.load(), count, true);
  first_has_ended.store(true);
  second.join();
  CHECK(second_succeeded);
}

}  // namespace
}  // namespace spindle
