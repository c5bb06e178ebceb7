// The end of a file: close() with operations in flight, dropping with operations in flight, and what a
// closed, moved or dropped file still does.
#include <doctest/doctest.h>

#include <optional>
#include <vector>

#include "io/file.h"
#include "tests/death.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

struct Ends {
  std::vector<const char*> order;
};

Task<Result<void>> read_and_note(File* file, Ends* ends) {
  std::byte byte;
  const std::span<std::byte> memory(&byte, 1);
  const Result<uint64_t> count = co_await file->read_at(0, memory);
  REQUIRE(!count.has_value());
  CHECK(count.error().code == ErrorCode::cancelled);
  ends->order.push_back("read");
  co_return Result<void>();
}

Task<Result<void>> close_and_note(File* file, Ends* ends) {
  const Result<void> closed = co_await file->close();
  CHECK(closed.has_value());
  ends->order.push_back("close");
  co_return Result<void>();
}

Task<Result<void>> close_under_reads(Scope& scope, File* file, Ends* ends, int reads_count) {
  for (int count = 0; count < reads_count; ++count) co_await ok(scope.spawn(read_and_note, file, ends));
  co_await settle_ring();
  co_await ok(scope.spawn(close_and_note, file, ends));
  co_await ok(yield());
  // From the moment on that somebody closes nothing new begins.
  std::byte byte;
  const std::span<std::byte> memory(&byte, 1);
  const Result<uint64_t> refused = co_await file->read_at(0, memory);
  CHECK(refused.error().code == ErrorCode::closed);
  const Result<void> second = co_await file->close();
  CHECK(second.error().code == ErrorCode::closed);
  co_return Result<void>();
}

Task<Result<void>> play_close(const std::string& path, Ends& ends, int reads_count) {
  File file = co_await ok(File::open(path, open_cached));
  File* file_address = &file;
  Ends* ends_address = &ends;
  auto playing = with_scope(ScopeOptions{}, close_under_reads, file_address, ends_address, reads_count);
  const Result<void> played = co_await std::move(playing);
  CHECK_FALSE(file.is_open());
  co_return played;
}

TEST_CASE("close() with operations in flight cancels them, waits for their ends, and closes then") {
  TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  for (const int reads_count : {1, 5, 20}) {
    CAPTURE(reads_count);
    Ends ends;
    UringOptions options;
    options.ring.entries = 8;  // with 20 of them some are queued
    UringLoop ring(options);
    ring.run_to_success(play_close, fifo.path(), ends, reads_count);
    REQUIRE(ends.order.size() == static_cast<size_t>(reads_count) + 1);
    CHECK(std::string(ends.order.back()) == "close");
  }
}

Task<Result<void>> use_closed(const std::string& path) {
  File file = co_await ok(File::open(path, open_cached));
  const Result<void> closed = co_await file.close();
  CHECK(closed.has_value());
  CHECK_FALSE(file.is_open());
  std::byte byte{};
  const std::span<std::byte> memory(&byte, 1);
  iovec part{&byte, 1};
  const std::span<iovec> vector(&part, 1);
  const Result<uint64_t> read = co_await file.read_at(0, memory);
  CHECK(read.error().code == ErrorCode::closed);
  const Result<void> exact = co_await file.read_exact_at(0, memory);
  CHECK(exact.error().code == ErrorCode::closed);
  const Result<uint64_t> written = co_await file.write_at(0, memory);
  CHECK(written.error().code == ErrorCode::closed);
  const Result<void> vectored = co_await file.write_all_at(0, vector);
  CHECK(vectored.error().code == ErrorCode::closed);
  const Result<void> synced = co_await file.sync();
  CHECK(synced.error().code == ErrorCode::closed);
  const Result<void> data_synced = co_await file.sync_data();
  CHECK(data_synced.error().code == ErrorCode::closed);
  const Result<void> allocated = co_await file.allocate(0, 1);
  CHECK(allocated.error().code == ErrorCode::closed);
  const Result<void> again = co_await file.close();
  CHECK(again.error().code == ErrorCode::closed);
  co_return Result<void>();
}

TEST_CASE("every operation on a closed file is refused as closed") {
  TemporaryFolder folder;
  UringLoop ring;
  ring.run_to_success(use_closed, folder.filled("data", 10));
}

Task<Result<void>> move_around(const std::string& path) {
  File first = co_await ok(File::open(path, open_cached));
  File second(std::move(first));
  CHECK_FALSE(first.is_open());
  CHECK(second.is_open());
  std::byte bytes[10];
  const std::span<std::byte> memory(bytes);
  co_await ok(second.read_exact_at(0, memory));
  File third = co_await ok(File::open(path, open_cached));
  third = std::move(second);  // drops what it had
  CHECK(third.is_open());
  co_await ok(third.read_exact_at(0, memory));
  File& alias = third;
  third = std::move(alias);
  CHECK(third.is_open());
  std::vector<File> files;
  files.push_back(std::move(third));
  files.reserve(100);
  co_await ok(files[0].read_exact_at(0, memory));
  co_return Result<void>();
}

TEST_CASE("a file moves with its descriptor, and what an assignment replaces is closed") {
  TemporaryFolder folder;
  UringLoop ring;
  ring.run_to_success(move_around, folder.filled("data", 10));
}

Task<Result<void>> read_moved(const std::string& path) {
  File file = co_await ok(File::open(path, open_cached));
  const File other(std::move(file));
  std::byte byte;
  const std::span<std::byte> memory(&byte, 1);
  const Result<uint64_t> count = co_await file.read_at(0, memory);
  static_cast<void>(count);
  co_return Result<void>();
}

TEST_CASE("using a file that was moved away is caught") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 10);
  expect_abort(
      [&path] {
        Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
        Loop loop(**backend);
        static_cast<void>(run(loop, read_moved, path));
      },
      "a File that was moved away");
}

Task<Result<void>> move_under_a_read(Scope& scope, File* file, Fifo* fifo, File* other) {
  co_await ok(scope.spawn(read_forever, file));
  co_await settle_ring();
  *other = std::move(*file);
  fifo->put("x");
  co_await settle_ring();
  CHECK(Backend::current().dropped_count() == 0);
  CHECK(other->is_open());
  co_return Result<void>();
}

Task<Result<void>> play_move(Fifo& fifo, const std::string& path) {
  File file = co_await ok(File::open(fifo.path(), open_cached));
  File other = co_await ok(File::open(path, open_cached));
  const Result<void> closed = co_await other.close();
  CHECK(closed.has_value());
  File* file_address = &file;
  File* other_address = &other;
  Fifo* fifo_address = &fifo;
  co_return co_await with_scope(ScopeOptions{}, move_under_a_read, file_address, fifo_address, other_address);
}

TEST_CASE("a file may move while an operation on it is in flight") {
  TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  const std::string path = folder.filled("data", 10);
  UringLoop ring;
  ring.run_to_success(play_move, fifo, path);
}

Task<Result<void>> read_of_dropped(std::unique_ptr<File>* file, bool* has_ended) {
  std::byte byte;
  const std::span<std::byte> memory(&byte, 1);
  const Result<uint64_t> count = co_await (*file)->read_at(0, memory);
  CHECK(count.error().code == ErrorCode::cancelled);
  *has_ended = true;
  co_return Result<void>();
}

Task<Result<void>> drop_under_reads(Scope& scope, std::unique_ptr<File>* file, bool* first, bool* second) {
  co_await ok(scope.spawn(read_of_dropped, file, first));
  co_await ok(scope.spawn(read_of_dropped, file, second));
  co_await settle_ring();
  file->reset();
  CHECK(Backend::current().dropped_count() == 1);
  CHECK(Backend::current().has_detached_work());
  co_return Result<void>();
}

Task<Result<void>> play_drop(const std::string& path, bool& first, bool& second) {
  File opened = co_await ok(File::open(path, open_cached));
  auto file = std::make_unique<File>(std::move(opened));
  std::unique_ptr<File>* file_address = &file;
  bool* first_address = &first;
  bool* second_address = &second;
  co_return co_await with_scope(ScopeOptions{}, drop_under_reads, file_address, first_address, second_address);
}

TEST_CASE("a file that is dropped with operations in flight ends them as cancelled and is closed") {
  TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  bool first = false;
  bool second = false;
  UringLoop ring;
  ring.run_to_success(play_drop, fifo.path(), first, second);
  CHECK(first);
  CHECK(second);
}

Task<Result<void>> open_and_leave(const std::string& path, int count) {
  std::vector<File> files;
  for (int index = 0; index < count; ++index) {
    File file = co_await ok(File::open(path, open_cached));
    files.push_back(std::move(file));
  }
  co_return Result<void>();  // all are dropped at once, the last thing that this loop does
}

TEST_CASE("the loop ends only when every dropped file is closed") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 10);
  UringOptions options;
  options.ring.entries = 8;
  UringLoop ring(options);
  const size_t before_count = open_descriptors_count();
  ring.run_to_success(open_and_leave, path, 50);
  CHECK(ring.backend().dropped_count() == 0);
  CHECK(open_descriptors_count() == before_count);
}

Task<Result<void>> close_when_cancelled(Scope& scope, const std::string* path) {
  File file = co_await ok(File::open(*path, open_cached));
  scope.cancel();
  const Result<void> synced = co_await file.sync();
  CHECK(synced.error().code == ErrorCode::cancelled);
  const Result<void> closed = co_await file.close();
  CHECK(closed.has_value());
  CHECK_FALSE(file.is_open());
  co_return Result<void>();
}

Task<Result<void>> play_cancelled_close(const std::string& path) {
  const std::string* path_address = &path;
  co_return co_await with_scope(ScopeOptions{}, close_when_cancelled, path_address);
}

TEST_CASE("close() works in a context that is cancelled") {
  TemporaryFolder folder;
  UringLoop ring;
  ring.run_to_success(play_cancelled_close, folder.filled("data", 10));
}

Task<Result<void>> close_it(std::optional<File>* file) {
  const Result<void> closed = co_await (*file)->close();
  co_return closed;
}

Task<Result<void>> drop_while_closing(Scope& scope, std::optional<File>& file) {
  co_await ok(scope.spawn(close_it, &file));
  co_await ok(yield());
  file.reset();
  co_return Result<void>();
}

Task<Result<void>> close_and_drop(const std::string& path) {
  std::optional<File> file;
  File opened = co_await ok(File::open(path, open_cached));
  file.emplace(std::move(opened));
  co_await ok(with_scope(ScopeOptions{}, drop_while_closing, file));
  co_return Result<void>();
}

TEST_CASE("a file that is dropped while its close is under way is freed by the close") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", 4096);
  UringLoop ring;
  ring.run_to_success(close_and_drop, path);
}

}  // namespace
}  // namespace spindle
