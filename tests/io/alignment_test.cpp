// What direct I/O demands of offsets, sizes and memory, on simulated disks of every combination: found by reading where
// statx does not tell, and held to by every kind of transfer.
#include <doctest/doctest.h>

#include "runtime/random.h"
#include "tests/io/every_world.h"

namespace spindle {
namespace {

constexpr uint64_t file_size = 64 << 10;
constexpr OpenOptions open_required{.access = Access::read_write, .direct = Direct::require};
constexpr OpenOptions open_preferred{.access = Access::read_write, .direct = Direct::prefer};

/// Runs program(path, args...) in a world where that file is there, `size` bytes long.
template <class Program, class... Args>
void with_file(uint64_t seed, const SimBackendOptions& options, uint64_t size, Program program, Args&&... args) {
  CAPTURE(seed);
  World world(seed);
  Host& host = world.add_host("a", options);
  host.files().put("data", std::vector<std::byte>(size));
  host.start(program, std::string("data"), std::forward<Args>(args)...);
  REQUIRE(world.run() == World::Outcome::idle);
  const Result<void> result = host.take();
  CHECK_MESSAGE(result.has_value(), (result.has_value() ? std::string() : describe(result.error())));
}

SimBackendOptions disk_of(uint32_t memory_alignment, uint32_t offset_alignment) {
  SimBackendOptions options;
  options.memory_alignment = memory_alignment;
  options.offset_alignment = offset_alignment;
  return options;
}

// Found by reading.

struct Alignments {
  uint32_t of_memory;
  uint32_t of_offset;
};

Task<Result<void>> check_alignments(std::string path, OpenOptions options, Alignments expected) {
  File file = co_await ok(File::open(std::move(path), options));
  CHECK(file.is_direct());
  CHECK(file.memory_alignment() == expected.of_memory);
  CHECK(file.offset_alignment() == expected.of_offset);
  // It does with that.
  Memory memory(4 * 4096);
  const std::span<std::byte> place = memory.part(expected.of_memory, expected.of_offset);
  co_await ok(file.write_all_at(expected.of_offset, place));
  co_await ok(file.read_exact_at(expected.of_offset, place));
  co_return Result<void>();
}

TEST_CASE("where statx does not tell, reads find what the device needs of memory, and of offsets") {
  for (const uint32_t of_memory : {512u, 4096u}) {
    for (const uint32_t of_offset : {512u, 4096u}) {
      CAPTURE(of_memory);
      CAPTURE(of_offset);
      const Alignments expected{of_memory, of_offset};
      SimBackendOptions options = disk_of(of_memory, of_offset);
      options.tells_alignment = false;
      for (uint64_t seed = 0; seed < 10; ++seed) {
        options.faults = seed % 2 == 0 ? FaultPlan() : faulty_disk().faults;
        with_file(seed, options, file_size, check_alignments, open_required, expected);
        with_file(seed, options, file_size, check_alignments, open_preferred, expected);
      }
    }
  }
}

TEST_CASE("of an empty file reads tell nothing: it gets the coarsest alignment") {
  SimBackendOptions options;
  options.tells_alignment = false;
  const Alignments expected{4096, 4096};
  for (uint64_t seed = 0; seed < 5; ++seed) with_file(seed, options, 0, check_alignments, open_required, expected);
}

Task<Result<void>> check_no_direct(std::string path) {
  const Result<File> required = co_await File::open(path, open_required);
  REQUIRE(!required.has_value());
  CHECK(required.error().code == ErrorCode::no_direct_io);
  File preferred = co_await ok(File::open(path, open_preferred));
  CHECK_FALSE(preferred.is_direct());
  CHECK(preferred.memory_alignment() == 1);
  CHECK(preferred.offset_alignment() == 1);
  co_return Result<void>();
}

TEST_CASE("where no read that is tried works there is no direct I/O") {
  for (SimBackendOptions options : {disk_of(8192, 512), disk_of(512, 8192), disk_of(8192, 8192)}) {
    options.tells_alignment = false;
    for (uint64_t seed = 0; seed < 10; ++seed) with_file(seed, options, file_size, check_no_direct);
  }
}

// Held to. What is refused here for nothing would be `misaligned`; what slips through is EINVAL from the device.

uint64_t draw(Random& random) {
  constexpr uint64_t units[] = {256, 512, 4096, 4096};
  return random.below(3) * units[random.below(std::size(units))];
}

struct Counts {
  uint64_t moved = 0;
  uint64_t refused = 0;
};

Task<Result<void>> move_one(File& file, Memory& memory, bool is_write, Counts& counts) {
  Random& random = Loop::current().random();
  const uint64_t offset = draw(random);
  const size_t parts_count = 1 + random.below(3);
  const uint32_t unit = is_write ? file.offset_alignment() : file.read_offset_alignment();
  bool is_aligned = offset % unit == 0;
  iovec parts[3];
  for (size_t index = 0; index < parts_count; ++index) {
    const uint64_t shift = draw(random);
    const uint64_t size = draw(random);
    parts[index] = {memory.part(index * 16384 + shift, size).data(), size};
    is_aligned = is_aligned && shift % file.memory_alignment() == 0 && size % unit == 0;
  }
  const std::span<std::byte> single(static_cast<std::byte*>(parts[0].iov_base), parts[0].iov_len);
  const std::span<iovec> vector(parts, parts_count);
  const bool is_vectored = parts_count > 1 || random.chance(1, 2);
  Result<void> moved;
  if (is_vectored && is_write) moved = co_await file.write_all_at(offset, vector);
  if (is_vectored && !is_write) moved = co_await file.read_exact_at(offset, vector);
  if (!is_vectored && is_write) moved = co_await file.write_all_at(offset, single);
  if (!is_vectored && !is_write) moved = co_await file.read_exact_at(offset, single);
  CHECK(moved.has_value() == is_aligned);
  if (!moved.has_value()) CHECK(std::string(name_of(moved.error().code)) == name_of(ErrorCode::misaligned));
  ++(is_aligned ? counts.moved : counts.refused);
  co_return Result<void>();
}

Task<Result<void>> move_many(std::string path, Counts& counts) {
  File file = co_await ok(File::open(std::move(path), open_required));
  Memory memory(3 * 16384);
  for (int round = 0; round < 1000; ++round) co_await ok(move_one(file, memory, round % 2 == 0, counts));
  co_return Result<void>();
}

TEST_CASE("a transfer whose offset, or a part's memory or size, lacks its alignment is misaligned, and no other is") {
  for (const uint32_t of_memory : {512u, 4096u}) {
    for (const uint32_t of_offset : {512u, 4096u}) {
      for (const uint32_t of_reads : {0u, 512u}) {
        CAPTURE(of_memory);
        CAPTURE(of_offset);
        CAPTURE(of_reads);
        SimBackendOptions options = disk_of(of_memory, of_offset);
        options.read_offset_alignment = of_reads < of_offset ? of_reads : 0;
        Counts counts;
        for (uint64_t seed = 0; seed < 3; ++seed) with_file(seed, options, file_size, move_many, counts);
        CHECK(counts.moved > 300);
        CHECK(counts.refused > 300);
      }
    }
  }
}

}  // namespace
}  // namespace spindle
