// How many completions the loop waits for: one, unless many disk operations are in flight, and then not for
// long.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tests/io/scripted_entry.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t batch_ns_max = 10'000'000;

UringOptions recorded(ScriptedEntry& entry, bool min_wait) {
  UringOptions options;
  options.ring.entry = &entry;
  options.ring.min_wait = min_wait;
  return options;
}

struct Place {
  Place() : fifo(folder.file("fifo")), path(folder.filled("data", 64 * 4096)) {}
  TemporaryFolder folder;
  Fifo fifo;
  std::string path;
  Memory memory{64 * 4096};
};

Task<Result<void>> one_read_among_idle(Scope& scope, Place* place, File* fifo, ScriptedEntry* entry) {
  for (int count = 0; count < 127; ++count) co_await ok(scope.spawn(read_forever, fifo));
  co_await settle_ring();
  File file = co_await ok(File::open(place->path, open_cached));
  const std::span<std::byte> memory = place->memory.part(0, 4096);
  entry->calls.clear();
  for (int round = 0; round < 10; ++round) co_await ok(file.read_exact_at(0, memory));
  CHECK(entry->calls.size() >= 10);
  for (const ScriptedEntry::Call& call : entry->calls) CHECK(call.wait_count == 1);
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> idle_and_read(Place& place, ScriptedEntry& entry) {
  File fifo = co_await ok(File::open(place.fifo.path(), open_cached));
  Place* place_address = &place;
  File* fifo_address = &fifo;
  ScriptedEntry* entry_address = &entry;
  co_return co_await with_scope(ScopeOptions{}, one_read_among_idle, place_address, fifo_address, entry_address);
}

TEST_CASE("with 127 idle waits and one read in flight the loop asks the kernel for one completion") {
  Place place;
  ScriptedEntry entry;
  UringLoop ring(recorded(entry, true));
  ring.run_to_success(idle_and_read, place, entry);
  CHECK(ring.backend().counters().batched_waits == 0);
}

Task<Result<void>> read_block(size_t index, File* file, Memory* memory) {
  const std::span<std::byte> part = memory->part(index * 4096, 4096);
  co_return co_await file->read_exact_at(index * 4096, part);
}

Task<Result<void>> read_blocks(Place& place, uint32_t depth) {
  File file = co_await ok(File::open(place.path, open_cached));
  std::vector<size_t> indices(64);
  for (size_t index = 0; index < indices.size(); ++index) indices[index] = index;
  File* file_address = &file;
  Memory* memory = &place.memory;
  co_return co_await for_each_bounded(indices, depth, read_block, file_address, memory);
}

TEST_CASE("with 32 file reads in flight the loop asks for more than one completion, for a bounded time") {
  for (const bool min_wait : {true, false}) {
    CAPTURE(min_wait);
    Place place;
    ScriptedEntry entry;
    UringLoop ring(recorded(entry, min_wait));
    ring.run_to_success(read_blocks, place, 32);
    CHECK(place.memory.has_pattern());
    unsigned most = 0;
    for (const ScriptedEntry::Call& call : entry.calls) {
      most = std::max(most, call.wait_count);
      if (call.wait_count <= 1) continue;
      const bool bounded_by_kernel = call.min_wait_us > 0 && call.min_wait_us <= batch_ns_max / 1000;
      const bool bounded_by_timeout = call.has_timeout && call.timeout_ns <= batch_ns_max;
      CHECK((bounded_by_kernel || bounded_by_timeout));
      if (!min_wait) CHECK(bounded_by_timeout);
    }
    CHECK(most > 1);
    CHECK(most <= 32);
    CHECK(ring.backend().counters().batched_waits > 0);
  }
}

TEST_CASE("below the batching depth the loop waits for one completion") {
  Place place;
  ScriptedEntry entry;
  UringLoop ring(recorded(entry, true));
  ring.run_to_success(read_blocks, place, 7);
  CHECK(ring.backend().counters().batched_waits == 0);
}

// A single completion among many slow ones: FIFO reads that pretend to be of a disk.

Task<Result<void>> read_slowly(Descriptor* file, Event* first_arrived) {
  std::byte byte;
  const Result<uint64_t> count = co_await TransferOnce(*file, Opcode::read, &byte, 1, 0);
  if (count.has_value()) first_arrived->set();
  co_return Result<void>();
}

Task<Result<void>> one_of_many(Scope& scope, Descriptor* file, Fifo* fifo, Duration* took) {
  Event arrived;
  for (int count = 0; count < 32; ++count) co_await ok(scope.spawn(read_slowly, file, &arrived));
  co_await ok(sleep_for(std::chrono::milliseconds(2)));
  const Clock::time_point before = Clock::now();
  fifo->put("x");
  co_await ok(arrived.wait());
  *took = Clock::now() - before;
  scope.cancel();
  const Result<void> rested = co_await shield(sleep_for(std::chrono::milliseconds(5)));
  co_return rested;
}

Task<Result<void>> play_one_of_many(Fifo& fifo, Duration& took) {
  Backend& backend = Backend::current();
  auto file = std::make_unique<Descriptor>(backend, "pretended disk");
  file->fd = ::open(fifo.path().c_str(), O_RDWR | O_CLOEXEC);
  file->is_disk = true;
  Descriptor* file_address = file.get();
  Fifo* fifo_address = &fifo;
  Duration* took_address = &took;
  auto playing = with_scope(ScopeOptions{}, one_of_many, file_address, fifo_address, took_address);
  const Result<void> played = co_await std::move(playing);
  backend.drop(std::move(file));
  co_return played;
}

TEST_CASE("a single completion among 32 slow reads is not held back for long") {
  for (const bool min_wait : {true, false}) {
    CAPTURE(min_wait);
    TemporaryFolder folder;
    Fifo fifo(folder.file("fifo"));
    ScriptedEntry entry;
    UringLoop ring(recorded(entry, min_wait));
    Duration took{};
    ring.run_to_success(play_one_of_many, fifo, took);
    CHECK(took < std::chrono::seconds(1));
    CHECK(ring.backend().counters().batched_waits > 0);
  }
}

}  // namespace
}  // namespace spindle
