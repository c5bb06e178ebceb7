// Millions of completions in a row grow no stack, whether or not a task suspends for them: at -O0 and under
// the sanitizers too, where g++ makes no tail calls.
#include <doctest/doctest.h>

#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

constexpr uint32_t rounds_count = 1'000'000;

/// How far apart the stack was, at most, at the points where a task looked.
class StackWatch {
 public:
  __attribute__((noinline)) void look() noexcept {
    const uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    if (lowest_ == 0 || here < lowest_) lowest_ = here;
    if (here > highest_) highest_ = here;
  }
  size_t spread() const noexcept { return highest_ - lowest_; }

 private:
  uintptr_t lowest_ = 0;
  uintptr_t highest_ = 0;
};

Task<Result<void>> nops_in_a_row(StackWatch& watch) {
  Backend& backend = Backend::current();
  for (uint32_t round = 0; round < rounds_count; ++round) {
    co_await ok(nop(backend));
    watch.look();
  }
  co_return Result<void>();
}

TEST_CASE("a million no-ops in a row grow no stack") {
  UringLoop ring;
  StackWatch watch;
  ring.run_to_success(nops_in_a_row, watch);
  CHECK(watch.spread() < 4096);
}

Task<Result<uint64_t>> read_nothing(File& file, std::span<std::byte> memory) {
  const uint64_t count = co_await ok(file.read_at(0, memory));
  co_return count;
}

/// Empty transfers complete without suspending, through a task of their own.
Task<Result<void>> empty_reads_in_a_row(const std::string& path, StackWatch& watch) {
  File file = co_await ok(File::open(path, open_cached));
  for (uint32_t round = 0; round < rounds_count; ++round) {
    const uint64_t count = co_await ok(read_nothing(file, std::span<std::byte>()));
    CHECK_FALSE(count > 0);
    watch.look();
  }
  co_return Result<void>();
}

TEST_CASE("a million reads that complete at once grow no stack") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 4096);
  UringLoop ring;
  StackWatch watch;
  ring.run_to_success(empty_reads_in_a_row, path, watch);
  CHECK(watch.spread() < 4096);
}

Task<Result<void>> refused_reads_in_a_row(const std::string& path, StackWatch& watch) {
  File file = co_await ok(File::open(path, open_cached));
  const Result<void> closed = co_await file.close();
  CHECK(closed.has_value());
  for (uint32_t round = 0; round < rounds_count; ++round) {
    auto reading = read_nothing(file, std::span<std::byte>());
    const Result<uint64_t> refused = co_await std::move(reading);
    if (refused.has_value()) co_return fail(ErrorCode::invalid_argument, "a closed file was read");
    watch.look();
  }
  co_return Result<void>();
}

TEST_CASE("a million refusals in a row, each leaving a task early, grow no stack") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 4096);
  UringLoop ring;
  StackWatch watch;
  ring.run_to_success(refused_reads_in_a_row, path, watch);
  CHECK(watch.spread() < 4096);
}

Task<Result<void>> read_from_cache(uint32_t, File* file, StackWatch* watch) {
  std::byte bytes[16];
  const std::span<std::byte> memory(bytes);
  for (uint32_t round = 0; round < rounds_count / 16; ++round) {
    co_await ok(file->read_exact_at(0, memory));
    watch->look();
  }
  co_return Result<void>();
}

Task<Result<void>> cached_reads_in_a_row(const std::string& path, StackWatch& watch) {
  File file = co_await ok(File::open(path, open_cached));
  const uint32_t readers[16] = {};
  File* file_address = &file;
  StackWatch* watch_address = &watch;
  co_return co_await for_each_bounded(readers, 16, read_from_cache, file_address, watch_address);
}

TEST_CASE("a million reads from the page cache grow no stack") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 4096);
  UringLoop ring;
  StackWatch watch;
  ring.run_to_success(cached_reads_in_a_row, path, watch);
  CHECK(watch.spread() < 4096);
}

}  // namespace
}  // namespace spindle
