// Operations against a backend that answers what it is told: storms of transient errors, short counts, the
// end of the file, and failures that stay.
#include "io/operation.h"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <string>

#include "io/file.h"
#include "runtime/combinators.h"
#include "runtime/root.h"
#include "runtime/sleep.h"
#include "tests/io/scripted_backend.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

constexpr uint32_t block_size = 4096;

/// A descriptor by hand on a scripted backend, as File would make it.
class Stage {
 public:
  explicit Stage(uint32_t alignment = 1) : loop_(backend_), descriptor_(backend_, "scripted") {
    descriptor_.fd = 1000;
    descriptor_.memory_alignment = alignment;
    descriptor_.offset_alignment = alignment;
  }
  ~Stage() {
    CHECK(descriptor_.live_count == 0);
    CHECK(loop_.frames().live_count() == 0);
  }
  ScriptedBackend& backend() noexcept { return backend_; }
  Descriptor& descriptor() noexcept { return descriptor_; }
  Loop& loop() noexcept { return loop_; }
  std::span<std::byte> memory(size_t size) noexcept { return {memory_.data(), size}; }

 private:
  ScriptedBackend backend_;
  Loop loop_;
  Descriptor descriptor_;
  alignas(block_size) std::array<std::byte, 4 * block_size> memory_{};
};

Task<Result<uint64_t>> read_once(Stage& stage, uint64_t offset, size_t size) {
  const std::span<std::byte> memory = stage.memory(size);
  co_return co_await TransferOnce(stage.descriptor(), Opcode::read, memory.data(), memory.size(), offset);
}

Task<Result<void>> move_all(Stage& stage, Opcode opcode, uint64_t offset, size_t size, bool durable) {
  const std::span<std::byte> memory = stage.memory(size);
  WriteOptions options;
  options.durable = durable;
  co_return co_await TransferExact(stage.descriptor(), opcode, memory, offset, options);
}

Task<Result<void>> plain(Stage& stage, Opcode opcode) {
  co_return co_await PlainOperation(stage.descriptor(), opcode, 0, block_size);
}

Error error_of(const Result<void>& result) {
  REQUIRE(!result.has_value());
  return result.error();
}

TEST_CASE("transient errors are tried again, and the answer that follows is the result") {
  for (const int number : {EAGAIN, EINTR, ECANCELED}) {
    CAPTURE(number);
    Stage stage;
    stage.backend().answer({-number, -number, -number, int32_t{block_size}});
    const Result<uint64_t> count = run(stage.loop(), read_once, stage, 0, block_size);
    CHECK(count.value() == block_size);
    CHECK(stage.backend().asked.size() == 4);
  }
}

TEST_CASE("a storm of transient errors ends after a bounded number of tries with its errno") {
  for (const int number : {EAGAIN, EINTR, ECANCELED}) {
    CAPTURE(number);
    Stage stage;
    stage.backend().answer_always(-number);
    const Result<uint64_t> count = run(stage.loop(), read_once, stage, 0, block_size);
    REQUIRE(!count.has_value());
    CHECK(count.error().code == ErrorCode::system);
    CHECK(count.error().number == number);
    CHECK(stage.backend().asked.size() == operation_retries_max + 1u);
  }
}

TEST_CASE("progress grants new tries to a composite") {
  Stage stage;
  for (int step = 0; step < 4; ++step) {
    for (uint32_t storm = 0; storm < operation_retries_max; ++storm) stage.backend().answer({-EAGAIN});
    stage.backend().answer({1024});
  }
  const Result<void> read = run(stage.loop(), move_all, stage, Opcode::read, 0, block_size, false);
  CHECK(read.has_value());
}

TEST_CASE("a short count in the middle is continued behind it") {
  for (const Opcode opcode : {Opcode::read, Opcode::write}) {
    Stage stage;
    stage.backend().answer({100, 1, 3995});
    const Result<void> moved = run(stage.loop(), move_all, stage, opcode, 512, block_size, false);
    CHECK(moved.has_value());
    REQUIRE(stage.backend().asked.size() == 3);
    CHECK(stage.backend().asked[1].offset == 612);
    CHECK(stage.backend().asked[1].size == 3996);
    CHECK(stage.backend().asked[2].offset == 613);
    CHECK(stage.backend().asked[2].size == 3995);
  }
}

TEST_CASE("a transfer that may be short ends at the first count") {
  Stage stage;
  stage.backend().answer({100});
  CHECK(run(stage.loop(), read_once, stage, 0, block_size).value() == 100);
  stage.backend().answer({0});
  CHECK(run(stage.loop(), read_once, stage, 0, block_size).value() == 0);
  CHECK(stage.backend().asked.size() == 2);
}

TEST_CASE("a count of zero ends a composite with what it had transferred") {
  Stage stage;
  stage.backend().answer({1000, 0});
  const Error read = error_of(run(stage.loop(), move_all, stage, Opcode::read, 0, block_size, false));
  CHECK(read.code == ErrorCode::end_of_file);
  CHECK(read.transferred == 1000);
  stage.backend().answer({1000, 0});
  const Error written = error_of(run(stage.loop(), move_all, stage, Opcode::write, 0, block_size, false));
  CHECK(written.code == ErrorCode::short_transfer);
  CHECK(written.transferred == 1000);
}

TEST_CASE("a short write and then an error tell how far it came") {
  Stage stage;
  stage.backend().answer({2048, -ENOSPC});
  const Error error = error_of(run(stage.loop(), move_all, stage, Opcode::write, 0, block_size, false));
  CHECK(error.code == ErrorCode::system);
  CHECK(error.number == ENOSPC);
  CHECK(error.transferred == 2048);
  CHECK_FALSE(stage.descriptor().is_poisoned);
}

TEST_CASE("a ragged count of direct I/O ends a composite: the rest can't be asked for") {
  Stage stage(512);
  stage.backend().answer({1024, 100});
  const Error error = error_of(run(stage.loop(), move_all, stage, Opcode::read, 0, block_size, false));
  CHECK(error.code == ErrorCode::end_of_file);
  CHECK(error.transferred == 1124);
  CHECK(stage.backend().asked.size() == 2);
}

Task<Result<void>> read_into_parts(Stage& stage, std::span<iovec> parts) {
  co_return co_await TransferExact(stage.descriptor(), Opcode::readv, parts, 0, WriteOptions{});
}

TEST_CASE("a short vectored count moves on inside of its parts, past empty ones") {
  Stage stage;
  std::byte* base = stage.memory(300).data();
  iovec parts[] = {{base, 100}, {base + 100, 0}, {base + 100, 100}, {base + 200, 100}};
  stage.backend().answer({100, 150, 50});
  const std::span<iovec> vector(parts);
  CHECK(run(stage.loop(), read_into_parts, stage, vector).has_value());
  CHECK(stage.backend().asked[1].offset == 100);
  CHECK(stage.backend().asked[2].offset == 250);
  CHECK(parts[3].iov_base == base + 250);
  CHECK(parts[3].iov_len == 50);
}

Task<Result<void>> move_parts(Stage& stage, Opcode opcode, std::span<iovec> parts, uint64_t offset, bool durable) {
  WriteOptions options;
  options.durable = durable;
  co_return co_await TransferExact(stage.descriptor(), opcode, parts, offset, options);
}

TEST_CASE("a failed sync poisons its file: changes are refused, reads are not") {
  for (const Opcode opcode : {Opcode::sync, Opcode::sync_data}) {
    Stage stage;
    stage.backend().answer({-EIO});
    CHECK(error_of(run(stage.loop(), plain, stage, opcode)).number == EIO);
    CHECK(stage.descriptor().is_poisoned);
    for (const Opcode refused :
         {Opcode::sync, Opcode::sync_data, Opcode::allocate, Opcode::truncate, Opcode::punch_hole}) {
      CHECK(error_of(run(stage.loop(), plain, stage, refused)).code == ErrorCode::poisoned);
    }
    const Error written = error_of(run(stage.loop(), move_all, stage, Opcode::write, 0, 512, false));
    CHECK(written.code == ErrorCode::poisoned);
    alignas(512) std::byte block[512]{};
    iovec part{block, sizeof block};
    const std::span<iovec> vector(&part, 1);
    const Error refused = error_of(run(stage.loop(), move_parts, stage, Opcode::writev, vector, 0, false));
    CHECK(refused.code == ErrorCode::poisoned);
    CHECK(stage.backend().asked.size() == 1);
    stage.backend().answer({100});
    CHECK(run(stage.loop(), read_once, stage, 0, block_size).value() == 100);
  }
}

TEST_CASE("a failed durable write poisons its file, a failed plain one does not") {
  Stage stage;
  stage.backend().answer({-EIO, -EIO});
  CHECK(error_of(run(stage.loop(), move_all, stage, Opcode::write, 0, 512, false)).number == EIO);
  CHECK_FALSE(stage.descriptor().is_poisoned);
  CHECK(error_of(run(stage.loop(), move_all, stage, Opcode::write, 0, 512, true)).number == EIO);
  CHECK(stage.descriptor().is_poisoned);
}

TEST_CASE("a durable write that ends short of what was asked for poisons its file, a plain one does not") {
  for (const std::initializer_list<int32_t> answers : {std::initializer_list<int32_t>{0}, {100}}) {
    for (const bool is_durable : {false, true}) {
      Stage stage;
      stage.descriptor().offset_alignment = 512;
      stage.backend().answer(answers);
      const Error error = error_of(run(stage.loop(), move_all, stage, Opcode::write, 0, block_size, is_durable));
      CHECK(error.code == ErrorCode::short_transfer);
      CHECK(stage.descriptor().is_poisoned == is_durable);
    }
  }
}

/// Of the first block: a transfer of it, or what else there is.
Result<void> do_one(Stage& stage, Opcode opcode, bool durable) {
  iovec part{stage.memory(block_size).data(), block_size};
  const std::span<iovec> vector(&part, 1);
  switch (opcode) {
    case Opcode::read:
    case Opcode::write: return run(stage.loop(), move_all, stage, opcode, 0, block_size, durable);
    case Opcode::readv:
    case Opcode::writev: return run(stage.loop(), move_parts, stage, opcode, vector, 0, durable);
    default: return run(stage.loop(), plain, stage, opcode);
  }
}

TEST_CASE("a sync or durable write that is interrupted too often has failed like any other: its file is poisoned") {
  for (const int number : {EAGAIN, EINTR, ECANCELED}) {
    for (const Opcode opcode : {Opcode::sync, Opcode::sync_data, Opcode::write, Opcode::writev}) {
      CAPTURE(number);
      CAPTURE(name_of(opcode));
      Stage stage;
      stage.backend().answer_always(-number);
      const Error error = error_of(do_one(stage, opcode, true));
      CHECK(error.code == ErrorCode::system);
      CHECK(error.number == number);
      CHECK(stage.backend().asked.size() == operation_retries_max + 1u);
      CHECK(stage.descriptor().is_poisoned);
      stage.backend().answer_always(0);
      for (const Opcode next : {Opcode::sync, Opcode::sync_data, Opcode::write, Opcode::writev, Opcode::truncate}) {
        CHECK(error_of(do_one(stage, next, false)).code == ErrorCode::poisoned);
      }
      CHECK(stage.backend().asked.size() == operation_retries_max + 1u);
    }
  }
}

TEST_CASE("what promises nothing may be interrupted too often, and leaves its file as good as it was") {
  for (const int number : {EAGAIN, EINTR, ECANCELED}) {
    for (const Opcode opcode : {Opcode::read, Opcode::readv, Opcode::write, Opcode::writev, Opcode::allocate,
                                Opcode::truncate, Opcode::punch_hole}) {
      CAPTURE(number);
      CAPTURE(name_of(opcode));
      Stage stage;
      stage.backend().answer_always(-number);
      CHECK(error_of(do_one(stage, opcode, false)).number == number);
      CHECK_FALSE(stage.descriptor().is_poisoned);
    }
  }
}

Task<Result<void>> read_huge(Stage& stage, std::byte* memory, uint64_t size) {
  const std::span<std::byte> whole(memory, size);
  co_return co_await TransferExact(stage.descriptor(), Opcode::read, whole, 0, WriteOptions{});
}

TEST_CASE("a transfer of more than a backend takes at once is split") {
  Stage stage;
  constexpr uint64_t size = 2 * transfer_size_max + block_size;
  // Never touched: the address sanitizer would need an eighth of it.
  if constexpr (has_asan) return skip_in_this_build("too large for the address sanitizer");
  void* mapped = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  stage.backend().answer({1 << 30, 1 << 30, block_size});
  CHECK(run(stage.loop(), read_huge, stage, static_cast<std::byte*>(mapped), size).has_value());
  REQUIRE(stage.backend().asked.size() == 3);
  CHECK(stage.backend().asked[0].size == transfer_size_max);
  CHECK(stage.backend().asked[1].offset == transfer_size_max);
  CHECK(stage.backend().asked[2].offset == 2 * transfer_size_max);
  CHECK(stage.backend().asked[2].size == block_size);
  ::munmap(mapped, size);
}

TEST_CASE("a transfer of nothing succeeds without asking anybody") {
  Stage stage;
  CHECK(run(stage.loop(), read_once, stage, 0, 0).value() == 0);
  CHECK(run(stage.loop(), move_all, stage, Opcode::write, 0, 0, false).has_value());
  CHECK(stage.backend().asked.empty());
}

// Cancelling.

Task<Result<void>> do_and_note(Stage* stage, Opcode opcode, std::optional<Result<void>>* noted) {
  const bool is_write = opcode == Opcode::write;
  const bool is_transfer = is_write || opcode == Opcode::read;
  auto doing = is_transfer ? move_all(*stage, opcode, 0, block_size, is_write) : plain(*stage, opcode);
  const Result<void> result = co_await std::move(doing);
  noted->emplace(result);
  co_return Result<void>();
}

Task<Result<void>> cancel_then_answer(Scope& scope, Stage* stage, Opcode opcode, std::optional<Result<void>>* noted,
                                      int32_t first, int32_t then) {
  co_await ok(scope.spawn(do_and_note, stage, opcode, noted));
  co_await ok(yield());
  REQUIRE(stage->backend().held.size() == 1);
  if (first > 0) stage->backend().release(*stage->backend().held[0], first);
  scope.cancel();
  scope.cancel();
  CHECK(stage->backend().cancels_count == 1);
  REQUIRE(stage->backend().held.size() == 1);
  stage->backend().release(*stage->backend().held[0], then);
  CHECK(stage->backend().held.empty());
  co_return Result<void>();
}

Result<void> cancel_during(Opcode opcode, Stage& stage, int32_t first, int32_t then) {
  std::optional<Result<void>> noted;
  Stage* at = &stage;
  auto* noted_at = &noted;
  struct Body {
    static Task<Result<void>> go(Stage* on, Opcode what, std::optional<Result<void>>* into, int32_t one, int32_t two) {
      auto scoped = with_scope(ScopeOptions{}, cancel_then_answer, on, what, into, one, two);
      co_return co_await std::move(scoped);
    }
  };
  const Result<void> ended = run(stage.loop(), Body::go, at, opcode, noted_at, first, then);
  CHECK(ended.has_value());
  return noted.value();
}

Result<void> cancel_during_read(Stage& stage, int32_t first, int32_t then) {
  return cancel_during(Opcode::read, stage, first, then);
}

TEST_CASE("an operation's own completion decides what a cancel did") {
  SUBCASE("everything came in spite of it") {
    Stage stage;
    CHECK(cancel_during_read(stage, 0, block_size).has_value());
  }
  SUBCASE("a part came: how much is told") {
    Stage stage;
    const Error error = error_of(cancel_during_read(stage, 0, 1000));
    CHECK(error.code == ErrorCode::cancelled);
    CHECK(error.transferred == 1000);
  }
  SUBCASE("a part came before it, nothing after it") {
    Stage stage;
    const Error error = error_of(cancel_during_read(stage, 1000, -ECANCELED));
    CHECK(error.code == ErrorCode::cancelled);
    CHECK(error.transferred == 1000);
  }
  SUBCASE("an interruption counts as its effect and is not tried again") {
    for (const int number : {EINTR, EAGAIN, ECANCELED}) {
      Stage stage;
      CHECK(error_of(cancel_during_read(stage, 0, -number)).code == ErrorCode::cancelled);
      CHECK(stage.backend().asked.size() == 1);
    }
  }
  SUBCASE("a real error stays one") {
    Stage stage;
    const Error error = error_of(cancel_during_read(stage, 0, -EIO));
    CHECK(error.code == ErrorCode::system);
    CHECK(error.number == EIO);
  }
}

TEST_CASE("a sync or durable write that ends because it was cancelled does not poison its file") {
  for (const Opcode opcode : {Opcode::sync, Opcode::sync_data, Opcode::write}) {
    for (const int number : {EINTR, EAGAIN, ECANCELED}) {
      Stage stage;
      CHECK(error_of(cancel_during(opcode, stage, 0, -number)).code == ErrorCode::cancelled);
      CHECK_FALSE(stage.descriptor().is_poisoned);
    }
    Stage stage;
    CHECK(error_of(cancel_during(opcode, stage, 0, -EIO)).number == EIO);
    CHECK(stage.descriptor().is_poisoned);
  }
}

Task<Result<void>> open_and_drop(int32_t* refused_number) {
  auto opening = File::open("scripted", {.access = Access::read_write, .direct = Direct::never});
  const Result<File> opened = co_await std::move(opening);
  if (!opened.has_value()) *refused_number = opened.error().number;
  co_return Result<void>();
}

TEST_CASE("a file whose stat fails is closed") {
  ScriptedBackend backend;
  Loop loop(backend);
  int32_t refused_number = 0;
  backend.answer({1000, -EIO, 0});
  CHECK(run(loop, open_and_drop, &refused_number).has_value());
  CHECK(refused_number == EIO);
  REQUIRE(backend.asked.size() == 3);
  CHECK(backend.asked[2].opcode == Opcode::close);
  CHECK(backend.dropped_count() == 0);
}

Task<Result<void>> open_and_close(Error* error) {
  File file = co_await ok(File::open("scripted", {.access = Access::read_write, .direct = Direct::never}));
  const Result<void> closed = co_await file.close();
  *error = closed.error();
  CHECK_FALSE(file.is_open());
  co_return Result<void>();
}

TEST_CASE("a close that fails is not tried again, and the file counts as closed") {
  for (const int number : {EIO, EINTR}) {
    ScriptedBackend backend;
    Loop loop(backend);
    Error error;
    backend.answer({1000, 0, -number});
    CHECK(run(loop, open_and_close, &error).has_value());
    CHECK(error.number == number);
    CHECK(backend.asked.size() == 3);
  }
}

TEST_CASE("reads may be finer aligned than writes where the file system says so") {
  Stage stage(block_size);
  stage.descriptor().read_offset_alignment = 512;
  stage.backend().answer_always(512);
  CHECK(run(stage.loop(), move_all, stage, Opcode::read, 512, 512, false).has_value());
  const Error written = error_of(run(stage.loop(), move_all, stage, Opcode::write, 512, 512, false));
  CHECK(written.code == ErrorCode::misaligned);
  const Error read = error_of(run(stage.loop(), move_all, stage, Opcode::read, 256, 512, false));
  CHECK(read.code == ErrorCode::misaligned);
}

}  // namespace
}  // namespace spindle
