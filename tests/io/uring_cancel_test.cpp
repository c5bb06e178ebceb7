// Cancelling, dropping and leaving early, for every operation of a file at every moment of its life, on the
// kernel's ring: nothing leaks, nothing that was transferred is lost, every await ends.
#include <doctest/doctest.h>
#include <sys/uio.h>

#include <array>
#include <vector>

#include "io/directory.h"
#include "tests/io/held_calls.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

enum class Moment { before_submit, queued, in_flight, complete };
enum class Owner { awaited, dropped, left_early };

constexpr Moment moments[] = {Moment::before_submit, Moment::queued, Moment::in_flight, Moment::complete};
constexpr Owner owners[] = {Owner::awaited, Owner::dropped, Owner::left_early};
constexpr const char* moment_names[] = {"before submit", "queued", "in flight", "complete"};
constexpr const char* owner_names[] = {"awaited", "dropped", "left early"};

constexpr uint32_t slots_count = 8;
constexpr uint32_t threads_count = 2;
constexpr int32_t flags_none = 0;
constexpr size_t block_size = 4096;

/// What the operation under test works on. Reads and writes come in two kinds: of a regular file, where a
/// cancel in flight comes too late or not, and of a FIFO, where it always comes in time.
struct Case {
  Opcode opcode = Opcode::nop;
  Moment moment = Moment::in_flight;
  Owner owner = Owner::awaited;
  bool of_fifo = false;
};

/// Who does it: the ring, a thread, or the loop's own thread at once.
enum class Way { ring, pool, quick };

Way way_of(Opcode opcode, const UringBackend& backend) {
  switch (opcode) {
    case Opcode::list_directory:
    case Opcode::lock: return Way::pool;
    case Opcode::set_direct:
    case Opcode::device_size: return Way::quick;
    case Opcode::truncate: return backend.capabilities().in_use("truncate in the ring") ? Way::ring : Way::pool;
    default: return Way::ring;
  }
}

/// Works on names, not on an open file.
bool is_of_path(Opcode opcode) { return opcode >= Opcode::stat_path && opcode <= Opcode::list_directory; }
bool is_transfer(Opcode opcode) { return opcode >= Opcode::read && opcode <= Opcode::writev; }
bool is_read(Opcode opcode) { return opcode == Opcode::read || opcode == Opcode::readv; }

/// Which combinations mean anything.
bool is_possible(const Case& tried) {
  const bool has_file = tried.opcode != Opcode::nop && tried.opcode != Opcode::open && !is_of_path(tried.opcode);
  // A file can't be dropped under an operation that has none, nor under its own close.
  if (tried.owner == Owner::dropped && (!has_file || tried.opcode == Opcode::close)) return false;
  // A dropped file can't be used afterwards.
  if (tried.owner == Owner::dropped && tried.moment == Moment::before_submit) return false;
  if (tried.of_fifo) return is_transfer(tried.opcode) && tried.moment != Moment::complete;
  return true;
}

struct Bench {
  Bench() : regular(folder.filled("regular", block_size)), keeper(folder.file("keeper")), fifo(folder.file("fifo")) {}
  /// Each name as the operation on it needs it.
  void prepare() {
    folder.filled("regular", block_size);
    folder.filled("from", 1);
    folder.filled("doomed", 1);
    std::filesystem::remove(to);
    std::filesystem::remove(made);
    std::filesystem::create_directory(empty);
    keeper.drain();
    fifo.drain();
    calls.forget_counts();
  }
  /// No name has changed since prepare().
  bool is_untouched() const {
    const auto there = [](const std::string& path) { return std::filesystem::exists(path); };
    const bool all_there = there(from) && there(doomed) && there(empty);
    return all_there && !there(to) && !there(made) && std::filesystem::file_size(regular) == block_size;
  }

  TemporaryFolder folder;
  HeldCalls calls;
  std::string from = folder.file("from");
  std::string to = folder.file("to");
  std::string doomed = folder.file("doomed");
  std::string empty = folder.file("empty");
  std::string made = folder.file("made");
  std::string regular;
  Fifo keeper;  ///< keeps the slots busy
  Fifo fifo;    ///< under test
};

/// One run: the file under test, and what came of the operation.
struct Trial {
  Case tried;
  Bench* bench;
  UringBackend* backend;
  std::unique_ptr<File> file;
  std::unique_ptr<Descriptor> bare{};  ///< for what has no verb of File's
  Memory memory{block_size};
  std::array<iovec, 2> parts{};
  Scope* scope = nullptr;  ///< the one to be cancelled
  bool has_begun = false;
  bool has_ended = false;
  std::optional<Error> error{};
  uint64_t transferred = 0;

  void drop() {
    file.reset();
    if (bare != nullptr) backend->drop(std::move(bare));
  }
};

Task<Result<void>> open_and_forget(Trial& trial) {
  const File opened = co_await ok(File::open(trial.bench->regular, open_cached));
  CHECK(opened.path() == trial.bench->regular);
  co_return Result<void>();
}

/// Vectored and sized transfers, as Result<uint64_t>.
Task<Result<uint64_t>> transfer(Trial& trial) {
  const std::span<std::byte> memory = trial.memory.all();
  const std::span<iovec> vector = trial.parts;
  switch (trial.tried.opcode) {
    case Opcode::read: {
      const uint64_t count = co_await ok(trial.file->read_at(0, memory));
      co_return count;
    }
    case Opcode::write: {
      const uint64_t count = co_await ok(trial.file->write_at(0, memory));
      co_return count;
    }
    case Opcode::readv: co_await ok(trial.file->read_exact_at(0, vector)); break;
    default: co_await ok(trial.file->write_all_at(0, vector)); break;
  }
  co_return memory.size();
}

Task<Result<void>> perform_on_names(Trial& trial) {
  Bench& bench = *trial.bench;
  switch (trial.tried.opcode) {
    case Opcode::stat_path: {
      const FileStatus status = co_await ok(stat_path(bench.regular));
      CHECK(status.size == block_size);
      break;
    }
    case Opcode::rename: co_await ok(rename_path(bench.from, bench.to)); break;
    case Opcode::unlink: co_await ok(unlink_path(bench.doomed)); break;
    case Opcode::remove_directory: co_await ok(remove_directory(bench.empty)); break;
    case Opcode::make_directory: co_await ok(make_directory(bench.made)); break;
    default: {
      const std::vector<DirectoryEntry> entries = co_await ok(list_directory(bench.folder.path()));
      CHECK(entries.size() == 6);
      break;
    }
  }
  co_return Result<void>();
}

Task<Result<void>> ask_device_size(Trial& trial) {
  const Result<void> asked = co_await PlainOperation(*trial.bare, Opcode::device_size, 0, 0);
  const bool is_no_device = !asked.has_value() && asked.error().number == ENOTTY;
  if (is_no_device) co_return Result<void>();
  co_return asked;
}

/// The operation under test; ends early with its error.
Task<Result<void>> perform(Trial& trial) {
  if (is_of_path(trial.tried.opcode)) co_return co_await perform_on_names(trial);
  switch (trial.tried.opcode) {
    case Opcode::nop: co_await ok(nop(*trial.backend)); break;
    case Opcode::sync: co_await ok(trial.file->sync()); break;
    case Opcode::sync_data: co_await ok(trial.file->sync_data()); break;
    case Opcode::allocate: co_await ok(trial.file->allocate(0, 2 * block_size)); break;
    case Opcode::open: co_await ok(open_and_forget(trial)); break;
    case Opcode::stat: {
      struct statx status{};
      co_await ok(PlainOperation(*trial.bare, status));
      CHECK(status.stx_size == block_size);
      break;
    }
    case Opcode::close: co_await ok(trial.file->close()); break;
    case Opcode::truncate: co_await ok(trial.file->truncate(2 * block_size)); break;
    case Opcode::punch_hole: co_await ok(trial.file->punch_hole(0, block_size)); break;
    case Opcode::lock: co_await ok(trial.file->try_lock(LockMode::exclusive)); break;
    case Opcode::set_direct: co_await ok(PlainOperation(*trial.bare, Opcode::set_direct, flags_none)); break;
    case Opcode::device_size: co_await ok(ask_device_size(trial)); break;
    default: trial.transferred = co_await ok(transfer(trial)); break;
  }
  co_return Result<void>();
}

Task<Result<void>> perform_and_note(Trial* trial) {
  trial->has_begun = true;
  auto performing = perform(*trial);
  const Result<void> result = co_await std::move(performing);
  trial->has_ended = true;
  if (!result.has_value()) trial->error = result.error();
  co_return Result<void>();
}

/// The task that leaves early owns the file, so leaving drops it.
Task<Result<void>> own_and_leave(Trial* trial) {
  trial->has_begun = true;
  const std::unique_ptr<Trial*, void (*)(Trial**)> ended(&trial, [](Trial** left) {
    (*left)->has_ended = true;
    (*left)->drop();
  });
  co_await ok(perform(*trial));
  co_return Result<void>();
}

Task<Result<void>> cancelled_part(Scope& scope, Trial* trial) {
  trial->scope = &scope;
  if (trial->tried.moment == Moment::before_submit) scope.cancel();
  if (trial->tried.owner == Owner::left_early) co_return co_await own_and_leave(trial);
  co_return co_await perform_and_note(trial);
}

Task<Result<void>> run_part(Trial* trial) {
  auto part = with_scope(ScopeOptions{}, cancelled_part, trial);
  const Result<void> result = co_await std::move(part);
  if (!result.has_value()) trial->error = result.error();
  trial->scope = nullptr;
  co_return Result<void>();
}

/// The kernel has `count` operations less than that: the next one was answered, and its task is ready.
Task<void> await_completion(UringBackend& backend, uint32_t in_flight_count) {
  while (backend.in_flight_count() > in_flight_count) {
    const Result<void> rested = co_await yield();
    static_cast<void>(rested);
  }
}

void strike(Trial& trial) {
  if (trial.tried.owner == Owner::dropped) {
    trial.drop();
  } else if (trial.scope != nullptr) {
    trial.scope->cancel();
  }
}

Task<Result<void>> occupy_thread(Trial* trial) {
  auto listing = list_directory(trial->bench->folder.path());
  const Result<std::vector<DirectoryEntry>> entries = co_await listing;
  if (!entries.has_value()) CHECK(entries.error().code == ErrorCode::cancelled);
  co_return Result<void>();
}

/// Leaves the operation to come no slot of the ring, or no thread.
Task<Result<void>> occupy(Scope& scope, Trial* trial, File* keeper) {
  HeldCalls& calls = trial->bench->calls;
  const Way way = way_of(trial->tried.opcode, *trial->backend);
  for (uint32_t count = 0; way == Way::ring && count < slots_count; ++count) {
    co_await ok(scope.spawn(read_forever, keeper));
  }
  if (way == Way::ring) co_await settle_ring();
  if (way != Way::pool) co_return Result<void>();
  calls.hold();
  for (uint32_t count = 0; count < threads_count; ++count) co_await ok(scope.spawn(occupy_thread, trial));
  while (calls.entered_count() < threads_count) co_await ok(yield());
  co_return Result<void>();
}

/// Until the operation is where it is to be struck.
Task<void> await_moment(Trial& trial) {
  const Way way = way_of(trial.tried.opcode, *trial.backend);
  HeldCalls& calls = trial.bench->calls;
  if (trial.tried.moment == Moment::complete) {
    // Not collected yet: nothing runs between the thread's answer and the strike.
    if (way == Way::pool) calls.await_returned(1);
    if (way != Way::pool) co_await await_completion(*trial.backend, 0);
  } else if (trial.tried.moment == Moment::in_flight) {
    if (way == Way::pool) calls.await_entered(1);
    if (trial.tried.of_fifo) co_await settle_ring();
    if (trial.tried.of_fifo) CHECK(trial.backend->in_flight_count() == 1);
  }
}

Task<Result<void>> occupy_and_run(Scope& scope, Trial* trial, File* keeper) {
  const bool is_queued = trial->tried.moment == Moment::queued;
  const Way way = way_of(trial->tried.opcode, *trial->backend);
  if (is_queued) co_await ok(occupy(scope, trial, keeper));
  if (trial->tried.moment == Moment::in_flight) trial->bench->calls.hold();
  const uint64_t queued_before = trial->backend->counters().queued;
  co_await ok(scope.spawn(run_part, trial));
  while (!trial->has_begun) co_await ok(yield());
  co_await await_moment(*trial);
  if (is_queued && way == Way::ring) CHECK(trial->backend->counters().queued == queued_before + 1);
  strike(*trial);
  if (is_queued) {
    // It ends although no slot comes free; a close and a cancelled file's close wait their turn.
    for (int round = 0; round < 4; ++round) co_await ok(yield());
    if (trial->tried.opcode != Opcode::close) CHECK(trial->has_ended);
  }
  trial->bench->calls.release();
  if (is_queued && way == Way::ring) trial->bench->keeper.put(std::string(slots_count, 'x'));
  co_return Result<void>();
}

Task<Result<void>> run_case(Trial& trial) {
  File keeper = co_await ok(File::open(trial.bench->keeper.path(), open_cached));
  const std::string path = trial.tried.of_fifo ? trial.bench->fifo.path() : trial.bench->regular;
  File opened = co_await ok(File::open(path, open_cached));
  trial.file = std::make_unique<File>(std::move(opened));
  const Opcode opcode = trial.tried.opcode;
  if (opcode == Opcode::stat || opcode == Opcode::set_direct || opcode == Opcode::device_size) {
    trial.bare = std::make_unique<Descriptor>(*trial.backend, path);
    trial.bare->fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  }
  if (trial.tried.of_fifo && !is_read(trial.tried.opcode)) trial.bench->fifo.fill();
  File* keeper_address = &keeper;
  Trial* trial_address = &trial;
  auto running = with_scope(ScopeOptions{}, occupy_and_run, trial_address, keeper_address);
  auto bounded = timeout(std::chrono::seconds(20), std::move(running));
  const Result<void> result = co_await std::move(bounded);
  co_return result;
}

/// The memory of an operation that ended is free for the next one: with the ledger anything else traps.
Task<Result<void>> reuse_memory(Trial& trial) {
  File file = co_await ok(File::open(trial.bench->regular, open_cached));
  const std::span<std::byte> memory = trial.memory.all();
  co_await ok(file.read_exact_at(0, memory));
  memory[0] = std::byte{1};
  co_await ok(file.write_all_at(0, memory));
  co_return Result<void>();
}

void check_outcome(const Trial& trial) {
  const Case& tried = trial.tried;
  CHECK(trial.has_begun);
  CHECK(trial.has_ended);
  const bool is_close = tried.opcode == Opcode::close;
  const Way way = way_of(tried.opcode, *trial.backend);
  const bool is_in_queue = tried.moment == Moment::queued && way != Way::quick;
  const bool surely_cancelled = !is_close && (tried.moment == Moment::before_submit || is_in_queue || tried.of_fifo);
  // A composite notices the cancel at its next step.
  const bool has_steps = tried.opcode == Opcode::open;
  // With left_early the scope swallows its own cancel.
  if (tried.owner != Owner::left_early && surely_cancelled) {
    REQUIRE(trial.error.has_value());
    CHECK(trial.error->code == ErrorCode::cancelled);
  }
  if (surely_cancelled) CHECK(trial.transferred == 0);
  if (surely_cancelled) CHECK(trial.bench->is_untouched());
  // What a thread has begun ends by itself, and that decides.
  if (tried.moment == Moment::in_flight && way != Way::ring) CHECK(!trial.error.has_value());
  if (is_close) CHECK(!trial.error.has_value());
  if (trial.error.has_value()) CHECK(trial.error->code == ErrorCode::cancelled);
  if (tried.moment == Moment::complete && !has_steps) {
    CHECK(!trial.error.has_value());
    if (is_transfer(tried.opcode)) CHECK(trial.transferred == block_size);
    if (is_read(tried.opcode)) CHECK(trial.memory.has_pattern());
  }
}

void run_one(UringLoop& ring, Bench& bench, const Case& tried) {
  CAPTURE(name_of(tried.opcode));
  CAPTURE(moment_names[static_cast<int>(tried.moment)]);
  CAPTURE(owner_names[static_cast<int>(tried.owner)]);
  CAPTURE(tried.of_fifo);
  bench.prepare();
  const size_t descriptors_count = open_descriptors_count();
  {
    Trial trial{.tried = tried, .bench = &bench, .backend = &ring.backend(), .file = nullptr};
    if (!is_read(tried.opcode)) trial.memory.fill_with_pattern();
    const std::span<std::byte> memory = trial.memory.all();
    trial.parts[0] = iovec{memory.data(), 1000};
    trial.parts[1] = iovec{memory.data() + 1000, block_size - 1000};
    ring.run_in_time(run_case, trial);
    check_outcome(trial);
    ring.run_to_success(reuse_memory, trial);
    struct CloseInLoop {
      static Task<Result<void>> drop(Trial& left) {
        left.drop();
        co_return Result<void>();
      }
    };
    ring.run_to_success(CloseInLoop::drop, trial);
  }
  CHECK(ring.loop().frames().live_count() == 0);
  CHECK(ring.backend().in_flight_count() == 0);
  CHECK(ring.backend().dropped_count() == 0);
  CHECK(open_descriptors_count() == descriptors_count);
}

TEST_CASE("every operation can be cancelled, dropped or left at every moment, and nothing leaks or gets lost") {
  Bench bench;
  UringOptions options;
  options.ring.entries = slots_count;
  options.blocking_threads_max = threads_count;
  options.blocking = &bench.calls;
  UringLoop ring(options);
  uint32_t tried_count = 0;
  for (uint32_t opcode = 0; opcode < opcode_count; ++opcode) {
    for (const Moment moment : moments) {
      for (const Owner owner : owners) {
        for (const bool of_fifo : {false, true}) {
          const Case tried{static_cast<Opcode>(opcode), moment, owner, of_fifo};
          if (!is_possible(tried)) continue;
          run_one(ring, bench, tried);
          ++tried_count;
        }
      }
    }
  }
  CHECK(tried_count == 247);
}

}  // namespace
}  // namespace spindle
