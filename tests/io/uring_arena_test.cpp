// Registered memory: operations inside of it take the kernel's fixed form, others work all the same, and
// places are limited.
#include <doctest/doctest.h>

#include <vector>

#include "pools/buffer_pool.h"
#include "tests/io/scripted_entry.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

constexpr uint32_t entries_count = 8;
constexpr size_t block_size = 4096;

uint32_t fixed_count = 0;
uint32_t plain_count = 0;

/// Counts both forms among all entries of the ring: what was taken stays visible, and the rings here do so
/// little that none is staged twice.
void count_forms(ScriptedEntry&, int descriptor) {
  SubmissionView view(descriptor, entries_count);
  fixed_count = plain_count = 0;
  for (const io_uring_sqe& entry : view) {
    if (entry.opcode == IORING_OP_READ_FIXED || entry.opcode == IORING_OP_WRITE_FIXED) ++fixed_count;
    const bool is_plain = entry.opcode == IORING_OP_READ || entry.opcode == IORING_OP_WRITE;
    if (is_plain && entry.len == block_size) ++plain_count;
  }
}

Task<Result<void>> write_then_read(const std::string& path, std::span<std::byte> out, std::span<std::byte> in) {
  File file = co_await ok(File::open(path, open_cached_new));
  co_await ok(file.write_all_at(0, out));
  co_await ok(file.read_exact_at(0, in));
  co_return Result<void>();
}

struct Forms {
  uint32_t fixed;
  uint32_t plain;
};

Forms forms_of(UringLoop& ring, const std::string& path, std::span<std::byte> out, std::span<std::byte> in) {
  for (size_t at = 0; at < out.size(); ++at) out[at] = pattern_at(at + fixed_count);
  ring.run_to_success(write_then_read, path, out, in);
  CHECK(std::memcmp(out.data(), in.data(), out.size()) == 0);
  return {fixed_count, plain_count};
}

UringOptions watched(ScriptedEntry& entry) {
  UringOptions options;
  options.ring.entries = entries_count;
  options.ring.entry = &entry;
  entry.inspect = count_forms;
  return options;
}

TEST_CASE("operations inside of a registered arena take the fixed form, those outside do not") {
  TemporaryFolder folder;
  Memory arena(8 * block_size);
  Memory outside(2 * block_size);
  const auto fresh_ring = [&](bool inside_out, bool inside_in) {
    ScriptedEntry entry;
    UringLoop ring(watched(entry));
    if (!ring.backend().capabilities().in_use("registered buffers")) {
      skip("no registered buffers");
      return Forms{UINT32_MAX, UINT32_MAX};
    }
    REQUIRE(ring.backend().register_arena(arena.all()).has_value());
    const std::span<std::byte> out = (inside_out ? arena : outside).part(0, block_size);
    const std::span<std::byte> in = (inside_in ? arena : outside).part(block_size, block_size);
    const Forms forms = forms_of(ring, folder.file("data"), out, in);
    ring.backend().unregister_arena(arena.all());
    return forms;
  };
  const Forms both = fresh_ring(true, true);
  if (both.fixed == UINT32_MAX) return;
  CHECK(both.fixed == 2);
  CHECK(both.plain == 0);
  const Forms none = fresh_ring(false, false);
  CHECK(none.fixed == 0);
  CHECK(none.plain == 2);
  const Forms one = fresh_ring(true, false);
  CHECK(one.fixed == 1);
  CHECK(one.plain == 1);
}

TEST_CASE("a transfer that reaches over the end of an arena takes the plain form") {
  TemporaryFolder folder;
  Memory memory(4 * block_size);
  ScriptedEntry entry;
  UringLoop ring(watched(entry));
  const std::span<std::byte> arena = memory.part(0, 2 * block_size);
  const Result<void> registered = ring.backend().register_arena(arena);
  CHECK(registered.has_value());
  const std::span<std::byte> across = memory.part(2 * block_size - 512, block_size);
  const Forms forms = forms_of(ring, folder.file("data"), across, memory.part(0, block_size));
  CHECK(forms.fixed == 1);
  CHECK(forms.plain == 1);
}

TEST_CASE("an arena can be registered and taken out many times") {
  TemporaryFolder folder;
  Memory memory(4 * block_size);
  UringLoop ring;
  for (int round = 0; round < 200; ++round) {
    REQUIRE(ring.backend().register_arena(memory.all()).has_value());
    if (round % 20 == 0) {
      ring.run_to_success(write_then_read, folder.file("data"), memory.part(0, block_size),
                          memory.part(block_size, block_size));
    }
    ring.backend().unregister_arena(memory.all());
  }
  ring.run_to_success(write_then_read, folder.file("data"), memory.part(0, block_size),
                      memory.part(block_size, block_size));
}

TEST_CASE("more arenas than places are refused as exhausted, and a place that is given back is used again") {
  UringOptions options;
  options.arenas_max = 3;
  UringLoop ring(options);
  std::vector<std::unique_ptr<Memory>> arenas;
  for (int count = 0; count < 3; ++count) {
    arenas.push_back(std::make_unique<Memory>(block_size));
    CHECK(ring.backend().register_arena(arenas.back()->all()).has_value());
  }
  Memory extra(block_size);
  const Result<void> refused = ring.backend().register_arena(extra.all());
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::exhausted);
  ring.backend().unregister_arena(arenas[1]->all());
  CHECK(ring.backend().register_arena(extra.all()).has_value());
}

TEST_CASE("a pool that was not registered, or whose ring has no registered buffers, is used all the same") {
  TemporaryFolder folder;
  UringOptions options;
  options.registered_buffers = false;
  UringLoop ring(options);
  Memory memory(2 * block_size);
  CHECK_FALSE(ring.backend().register_arena(memory.all()).has_value());
  ring.backend().unregister_arena(memory.all());
  ring.run_to_success(write_then_read, folder.file("data"), memory.part(0, block_size),
                      memory.part(block_size, block_size));
}

Task<Result<void>> open_many(const std::string& path, size_t count, Memory& memory) {
  std::vector<File> files;
  for (size_t index = 0; index < count; ++index) {
    File file = co_await ok(File::open(path, open_cached));
    files.push_back(std::move(file));
  }
  const std::span<std::byte> part = memory.all();
  for (File& file : files) co_await ok(file.read_exact_at(0, part));
  CHECK(memory.has_pattern());
  co_return Result<void>();
}

TEST_CASE("files beyond the places of the file table work unregistered, and places are used again") {
  TemporaryFolder folder;
  const std::string path = folder.filled("data", block_size);
  UringOptions options;
  options.files_max = 4;
  UringLoop ring(options);
  Memory memory(block_size);
  for (int round = 0; round < 3; ++round) ring.run_to_success(open_many, path, 10, memory);
}

}  // namespace
}  // namespace spindle
