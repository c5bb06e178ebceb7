// Who gets a slot: first come, first served, and an operation that goes round again comes last.
#include <doctest/doctest.h>

#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

constexpr uint32_t slots_count = 8;

/// Two bytes from a FIFO, which come one at a time if at all. Not an error when it is cancelled.
Task<Result<void>> read_pair(File* fifo) {
  std::byte bytes[2];
  const std::span<std::byte> memory(bytes, 2);
  const Result<void> done = co_await fifo->read_exact_at(0, memory);
  if (!done.has_value()) CHECK(done.error().code == ErrorCode::cancelled);
  co_return Result<void>();
}

Task<Result<void>> read_behind(File* file, bool* is_done) {
  std::byte bytes[16];
  const std::span<std::byte> memory(bytes, 16);
  co_await ok(file->read_exact_at(0, memory));
  *is_done = true;
  co_return Result<void>();
}

Task<Result<void>> fill_slots(Scope& scope, File& pairs, File& file, Fifo& fifo) {
  for (uint32_t count = 0; count < slots_count; ++count) co_await ok(scope.spawn(read_pair, &pairs));
  co_await settle_ring();
  bool is_done = false;
  co_await ok(scope.spawn(read_behind, &file, &is_done));
  co_await settle_ring();
  CHECK_FALSE(is_done);
  fifo.put("x");  // the first pair gets half, and goes round again: behind the one that waits
  co_await settle_ring();
  CHECK(is_done);
  scope.cancel();
  co_await settle_ring();
  co_return Result<void>();
}

Task<Result<void>> short_read_among_waiting(Fifo& fifo, std::string& path) {
  File pairs = co_await ok(File::open(fifo.path(), open_cached));
  File file = co_await ok(File::open(path, open_cached));
  co_await ok(with_scope(ScopeOptions{}, fill_slots, pairs, file, fifo));
  co_return Result<void>();
}

TEST_CASE("an operation that goes round again waits behind those that wait for a slot") {
  TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  std::string path = folder.filled("data", 4096);
  UringOptions options;
  options.ring.entries = slots_count;
  UringLoop ring(options);
  ring.run_to_success(short_read_among_waiting, fifo, path);
}

}  // namespace
}  // namespace spindle
