// Calls of several steps on a file that is dropped, or closed, meanwhile: between two of their requests, whichever
// these are, nothing goes on but the close.
#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "runtime/combinators.h"
#include "runtime/scope.h"
#include "runtime/sleep.h"
#include "tests/io/bad_disk.h"

namespace spindle {
namespace {

using namespace std::chrono_literals;

enum class Call : uint8_t { lock, read, write, write_durably };
enum class End : uint8_t { drop, close };

constexpr OpenOptions open_ragged{
    .access = Access::read_write, .direct = Direct::prefer, .create = true, .ragged = true};
// Three chunks of at most 256 KiB, with blocks at both edges that are only in part to be transferred.
constexpr uint64_t offset = 100;
constexpr uint64_t size = (600 << 10) + 3;
constexpr uint64_t file_size = 640 << 10;
// And the last of them is the last of the file.
constexpr uint64_t file_size_short = 64 << 10;

struct Caller {
  BadDisk& disk;
  std::unique_ptr<File> file{};
  std::vector<std::byte> memory = std::vector<std::byte>(size);
  std::optional<Result<void>> result{};
};

Task<Result<void>> make_call(Caller* caller, Call call) {
  const std::span<std::byte> memory(caller->memory);
  const WriteOptions options{.durable = call == Call::write_durably};
  File& file = *caller->file;
  auto calling = call == Call::lock   ? file.lock(LockMode::exclusive)
                 : call == Call::read ? file.read_any_at(offset, memory)
                                      : file.write_any_at(offset, memory, options);
  caller->result = co_await std::move(calling);
  co_return Result<void>();
}

Task<Result<void>> end_when_held(Scope& scope, Caller* caller, Call call, End end) {
  BadDisk& disk = caller->disk;
  co_await ok(scope.spawn(make_call, caller, call));
  while (disk.held.empty() && !caller->result.has_value()) co_await ok(sleep_for(1ms));
  // The answer is on its way: it is no cancel that ends the call.
  const size_t asked_count = disk.asked.size();
  disk.answer_held();
  disk.release();
  if (end == End::drop) caller->file.reset();
  if (end == End::close) co_await ok(caller->file->close());
  while (!caller->result.has_value()) co_await ok(sleep_for(1ms));
  for (size_t index = asked_count; index < disk.asked.size(); ++index) {
    CHECK(std::string(name_of(disk.asked[index].opcode)) == name_of(Opcode::close));
  }
  co_return Result<void>();
}

Task<Result<void>> call_and_end(Caller& caller, Call call, End end, size_t step) {
  File opened = co_await ok(File::open("data", open_ragged));
  caller.file = std::make_unique<File>(std::move(opened));
  caller.disk.asked.clear();
  caller.disk.hold_from(step);
  Caller* const address = &caller;
  co_return co_await with_scope(ScopeOptions{}, end_when_held, address, call, end);
}

/// How many requests the call takes.
size_t end_at_each_step(Call call, End end, uint64_t size_before) {
  for (size_t step = 0;; ++step) {
    CAPTURE(static_cast<int>(call));
    CAPTURE(static_cast<int>(end));
    CAPTURE(step);
    BadDiskLoop on(size_before);
    on.disk.answer(Opcode::lock, {-EWOULDBLOCK, -EWOULDBLOCK, -EWOULDBLOCK});
    Caller caller{on.disk};
    on.run_to_success(call_and_end, caller, call, end, step);
    REQUIRE(caller.result.has_value());
    if (!caller.result->has_value()) {
      CHECK(std::string(name_of(caller.result->error().code)) == name_of(ErrorCode::closed));
      continue;
    }
    // Its last answer was there before; or it had ended.
    const bool has_ended = on.disk.asked.size() == step + 1 && on.disk.asked.back().opcode == Opcode::close;
    if (has_ended) return step;
  }
}

TEST_CASE("whatever request was the last before its file was dropped or closed, a call of several takes no further") {
  for (const End end : {End::drop, End::close}) {
    CHECK(end_at_each_step(Call::lock, end, file_size) == 4);
    CHECK(end_at_each_step(Call::read, end, file_size) == 3);
    // A look at the file; the blocks at the edges, and the chunks.
    CHECK(end_at_each_step(Call::write, end, file_size) == 6);
    CHECK(end_at_each_step(Call::write_durably, end, file_size) == 6);
    // What is too long is looked at once more, and cut.
    CHECK(end_at_each_step(Call::write, end, file_size_short) == 8);
    CHECK(end_at_each_step(Call::write_durably, end, file_size_short) == 9);
  }
}

}  // namespace
}  // namespace spindle
