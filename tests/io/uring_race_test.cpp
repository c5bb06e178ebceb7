// Cancels that race with what they cancel, on the kernel's ring: bytes are delivered or stay, descriptors have
// an owner.
#include <doctest/doctest.h>

#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

struct RaceCounts {
  uint64_t put = 0;
  uint64_t taken = 0;
  uint64_t cancelled = 0;
};

Task<Result<void>> take_bytes(File* fifo, RaceCounts* counts) {
  std::byte bytes[8];
  const std::span<std::byte> memory(bytes);
  const Result<uint64_t> count = co_await fifo->read_at(0, memory);
  if (count.has_value()) {
    counts->taken += *count;
  } else {
    CHECK(count.error().code == ErrorCode::cancelled);
    CHECK(count.error().transferred == 0);
    ++counts->cancelled;
  }
  co_return Result<void>();
}

Task<Result<void>> race_one(Scope& scope, File* file, Fifo* fifo, RaceCounts* counts, int round) {
  co_await ok(scope.spawn(take_bytes, file, counts));
  co_await ok(yield());
  if (round % 2 == 0) co_await ok(sleep_for(std::chrono::microseconds(20)));
  if (round % 3 != 0) {
    fifo->put("abc");
    counts->put += 3;
  }
  if (round % 5 == 0) co_await ok(sleep_for(std::chrono::microseconds(20)));
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> race_bytes(Fifo& fifo, RaceCounts& counts) {
  File file = co_await ok(File::open(fifo.path(), open_cached));
  File* file_address = &file;
  Fifo* fifo_address = &fifo;
  RaceCounts* counts_address = &counts;
  for (int round = 0; round < 600; ++round) {
    co_await ok(with_scope(ScopeOptions{}, race_one, file_address, fifo_address, counts_address, round));
  }
  co_return Result<void>();
}

TEST_CASE("a byte that arrives while its read is being cancelled is delivered or stays in the FIFO") {
  TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  RaceCounts counts;
  UringLoop ring;
  ring.run_to_success(race_bytes, fifo, counts);
  CHECK(counts.put == counts.taken + fifo.drain());
  CHECK(counts.taken > 0);
  CHECK(counts.cancelled > 0);
}

Task<Result<void>> open_in_a_race(std::string path, uint64_t* opened_count) {
  auto opening = File::open(std::move(path), open_cached);
  const Result<File> file = co_await std::move(opening);
  if (file.has_value()) {
    ++*opened_count;
  } else {
    CHECK(file.error().code == ErrorCode::cancelled);
  }
  co_return Result<void>();
}

Task<Result<void>> open_and_cancel(Scope& scope, std::string* path, int round, uint64_t* opened_count) {
  co_await ok(scope.spawn(open_in_a_race, *path, opened_count));
  if (round % 4 != 0) co_await ok(sleep_for(std::chrono::microseconds(round)));
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> race_opens(std::string& path, uint64_t& opened_count) {
  std::string* path_address = &path;
  uint64_t* count_address = &opened_count;
  for (int round = 0; round < 400; ++round) {
    co_await ok(with_scope(ScopeOptions{}, open_and_cancel, path_address, round, count_address));
  }
  co_return Result<void>();
}

TEST_CASE("an open that completes after its cancel leaves no descriptor behind") {
  TemporaryFolder folder;
  std::string path = folder.filled("data", 100);
  uint64_t opened_count = 0;
  const size_t before_count = open_descriptors_count();
  {
    UringLoop ring;
    ring.run_to_success(race_opens, path, opened_count);
    CHECK(ring.backend().dropped_count() == 0);
  }
  CHECK(opened_count > 0);
  CHECK(opened_count < 400);
  CHECK(open_descriptors_count() == before_count);
}

}  // namespace
}  // namespace spindle
