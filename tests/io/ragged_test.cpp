// Transfers at any alignment: against a plain array, at the end of the file, many at once, cancelled, dropped.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "tests/io/every_world.h"

namespace spindle {
namespace {

constexpr OpenOptions open_ragged{
    .access = Access::read_write, .direct = Direct::prefer, .create = true, .ragged = true};

/// What is there already.
constexpr OpenOptions open_ragged_found{.access = Access::read_write, .ragged = true};

uint64_t size_of_model_max() { return 40000; }

/// Reads all of the file and compares it.
Task<Result<void>> compare(File& file, const std::vector<std::byte>& model) {
  const FileStatus status = co_await ok(file.stat());
  CHECK(status.size == model.size());
  std::vector<std::byte> content(model.size());
  const std::span<std::byte> memory(content);
  co_await ok(file.read_any_at(0, memory));
  CHECK(content == model);
  co_return Result<void>();
}

Task<Result<void>> write_one(File& file, std::vector<std::byte>& model, uint64_t offset, uint64_t size) {
  Random& random = Loop::current().random();
  std::vector<std::byte> memory(size + 64);
  const std::span<std::byte> part = std::span<std::byte>(memory).subspan(random.below(64), size);
  const uint8_t first = static_cast<uint8_t>(random.below(256));
  for (size_t at = 0; at < size; ++at) part[at] = static_cast<std::byte>(first + at * 13);
  const WriteOptions options{.durable = random.chance(1, 4)};
  co_await ok(file.write_any_at(offset, part, options));
  if (model.size() < offset + size) model.resize(offset + size);
  std::memcpy(model.data() + offset, part.data(), size);
  co_return Result<void>();
}

Task<Result<void>> read_one(File& file, const std::vector<std::byte>& model, uint64_t offset, uint64_t size) {
  std::vector<std::byte> memory(size, std::byte{0xee});
  const std::span<std::byte> into(memory);
  const Result<void> read = co_await file.read_any_at(offset, into);
  const uint64_t there = offset < model.size() ? std::min<uint64_t>(size, model.size() - offset) : 0;
  CHECK(read.has_value() == (there == size));
  if (!read.has_value()) {
    CHECK(read.error().code == ErrorCode::end_of_file);
    CHECK(read.error().transferred == there);
  }
  if (there > 0) CHECK(std::memcmp(memory.data(), model.data() + offset, there) == 0);
  co_return Result<void>();
}

Task<Result<void>> follow_model(std::string folder, int rounds) {
  File file = co_await ok(File::open(folder + "/file", open_ragged));
  std::vector<std::byte> model;
  Random& random = Loop::current().random();
  for (int round = 0; round < rounds; ++round) {
    const uint64_t unit = uint64_t{512} << random.below(4);
    uint64_t offset = random.below(size_of_model_max());
    uint64_t size = 1 + random.below(6000);
    if (random.chance(1, 4)) offset = offset / unit * unit;
    if (random.chance(1, 4)) size = (size + unit - 1) / unit * unit;
    if (random.chance(1, 8)) offset = model.size();
    const bool writes = random.chance(1, 2);
    if (writes) co_await ok(write_one(file, model, offset, size));
    if (!writes) co_await ok(read_one(file, model, offset, size));
  }
  co_await ok(compare(file, model));
  co_return Result<void>();
}

TEST_CASE("ragged reads and writes do what they do to an array") {
  in_every_world(follow_model, 150);
  SimBackendOptions large = faulty_disk();
  large.offset_alignment = large.memory_alignment = 4096;
  for (uint64_t seed = 100; seed < 110; ++seed) in_simulation(seed, large, follow_model, 150);
}

Task<Result<void>> move_much(std::string folder) {
  File file = co_await ok(File::open(folder + "/file", open_ragged));
  std::vector<std::byte> model;
  // Several bounces, with ragged edges on both sides, then past the end.
  co_await ok(write_one(file, model, 100, 1000003));
  co_await ok(write_one(file, model, 511, 262145));
  co_await ok(write_one(file, model, 1000200, 7));
  co_await ok(write_one(file, model, 2000000, 1));
  co_await ok(compare(file, model));
  co_await ok(read_one(file, model, 999999, 2000000));
  co_await ok(read_one(file, model, 5000001, 3));
  std::vector<std::byte> nothing;
  const std::span<std::byte> empty(nothing);
  co_await ok(file.write_any_at(7, empty));
  co_await ok(file.read_any_at(7, empty));
  co_return Result<void>();
}

TEST_CASE("large ragged transfers go chunk by chunk, and the file ends where they end") { in_every_world(move_much); }

// Chunks are of 256 KiB.
constexpr uint64_t chunk = 256 << 10;

struct DurableWrite {
  uint64_t offset;
  uint64_t size;
  uint64_t memory_shift;
};

Task<Result<void>> write_durably(DurableWrite shape) {
  File file = co_await ok(File::open("file", open_ragged));
  Memory memory(shape.memory_shift + shape.size);
  const std::span<std::byte> part = memory.part(shape.memory_shift, shape.size);
  for (uint64_t at = 0; at < part.size(); ++at) part[at] = pattern_at(shape.offset + at);
  const WriteOptions options{.durable = true};
  co_await ok(file.write_any_at(shape.offset, part, options));
  co_return Result<void>();
}

void check_durable(uint64_t seed, uint32_t alignment, uint64_t former_size, DurableWrite shape) {
  CAPTURE(seed);
  CAPTURE(alignment);
  CAPTURE(former_size);
  CAPTURE(shape.offset);
  CAPTURE(shape.size);
  CAPTURE(shape.memory_shift);
  SimBackendOptions options = seed % 2 == 0 ? SimBackendOptions() : faulty_disk();
  options.memory_alignment = options.offset_alignment = alignment;
  World world(seed);
  Host& host = world.add_host("a", options);
  std::vector<std::byte> expected(former_size, std::byte{0xee});
  host.files().put("file", expected);
  host.start(write_durably, shape);
  REQUIRE(world.run() == World::Outcome::idle);
  const Result<void> written = host.take();
  REQUIRE(written.has_value());
  host.lose_power();
  const uint64_t end = shape.offset + shape.size;
  if (expected.size() < end) expected.resize(end);
  for (uint64_t at = shape.offset; at < end; ++at) expected[at] = pattern_at(at);
  const std::vector<std::byte> content = host.files().find("file")->content();
  CHECK(content.size() == expected.size());
  CHECK((content == expected));
}

TEST_CASE("whatever its shape, all of a durable ragged write outlives a loss of power") {
  uint64_t seed = 0;
  for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, uint64_t{8192}, chunk - 1, 3 * chunk + 700}) {
    for (const uint64_t size : {uint64_t{1}, uint64_t{5000}, chunk - 1, chunk, 2 * chunk + 1, 4 * chunk}) {
      for (const uint64_t former_size : {uint64_t{0}, uint64_t{4097}, 9 * chunk}) {
        const uint32_t alignment = seed % 3 == 0 ? 4096 : 512;
        check_durable(seed, alignment, former_size, {offset, size, seed % 2});
        ++seed;
      }
    }
  }
}

Task<Result<void>> write_own_bytes(size_t index, File* file) {
  const std::byte value = static_cast<std::byte>(index + 1);
  const std::vector<std::byte> bytes(10, value);
  const std::span<const std::byte> memory(bytes);
  co_return co_await file->write_any_at(index * 10, memory);
}

Task<Result<void>> write_ragged(File* file, uint64_t size) {
  Memory memory(size, 0x11);
  const std::span<std::byte> part = memory.all();
  co_await ok(file->write_any_at(0, part));
  co_return Result<void>();
}

Task<Result<void>> write_behind(File* file, Duration delay) {
  co_await ok(sleep_for(delay));
  Memory memory(4096, 0x22);
  const std::span<std::byte> part = memory.all();
  co_await ok(file->write_all_at(8192, part));
  co_return Result<void>();
}

Task<Result<void>> grow_behind(std::string folder, uint64_t delay_ns) {
  File file = co_await ok(File::open(folder + "/file", open_ragged));
  File* const address = &file;
  const Duration delay(delay_ns);
  auto both = when_all(write_ragged(address, 100), write_behind(address, delay));
  co_await ok(std::move(both));
  const FileStatus status = co_await ok(file.stat());
  CHECK(status.size == 8192 + 4096);
  Memory memory(4096);
  const std::span<std::byte> part = memory.all();
  co_await ok(file.read_exact_at(8192, part));
  CHECK(std::count(part.begin(), part.end(), std::byte{0x22}) == 4096);
  co_await ok(file.read_exact_at(0, part));
  CHECK(std::count(part.begin(), part.end(), std::byte{0x11}) == 100);
  CHECK(std::count(part.begin(), part.end(), std::byte{}) == 4096 - 100);
  co_return Result<void>();
}

TEST_CASE("a ragged write past the end leaves alone what others write behind it meanwhile") {
  // All but what comes while the cut itself is under way.
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SimBackendOptions options;
    options.latency_ns_min = options.latency_ns_max = 1000;
    in_simulation(seed, options, grow_behind, seed * 50);
  }
}

Task<Result<void>> write_in_the_middle() {
  File file = co_await ok(File::open("disk", open_ragged_found));
  Memory memory(1000, 0x33);
  const std::span<std::byte> part = memory.all();
  for (uint64_t at = 0; at < 4; ++at) co_await ok(file.write_any_at(at * 8192 + 4096 + 700, part));
  co_return Result<void>();
}

TEST_CASE("ragged writes to a device whose alignment was found by trying keep what is around them") {
  uint64_t written_count = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SimBackendOptions options;
    options.tells_alignment = false;
    options.offset_alignment = options.memory_alignment = 64;  // finer than any that is tried: reads end in the midst
    options.faults.everywhere.set(Fault::short_read, 400'000);
    World world(seed);
    Host& host = world.add_host("a", options);
    std::vector<std::byte> expected = host.files().add_device("disk", 16 * 4096).content();
    host.start(write_in_the_middle);
    REQUIRE(world.run() == World::Outcome::idle);
    const Result<void> written = host.take();
    if (!written.has_value()) continue;
    ++written_count;
    for (uint64_t at = 0; at < 4; ++at) {
      std::fill_n(expected.begin() + static_cast<ptrdiff_t>(at * 8192 + 4096 + 700), 1000, std::byte{0x33});
    }
    CHECK((host.files().find("disk")->content() == expected));
  }
  CHECK(written_count > 20);
}

Task<Result<void>> write_side_by_side(std::string folder) {
  File file = co_await ok(File::open(folder + "/file", open_ragged));
  std::vector<size_t> indices(100);
  for (size_t index = 0; index < indices.size(); ++index) indices[index] = index;
  File* address = &file;
  co_await ok(for_each_bounded(indices, 16, write_own_bytes, address));
  std::vector<std::byte> model(1000);
  for (size_t at = 0; at < model.size(); ++at) model[at] = static_cast<std::byte>(at / 10 + 1);
  co_await ok(compare(file, model));
  co_return Result<void>();
}

TEST_CASE("ragged writes to one block, many at once, keep each other's bytes") { in_every_world(write_side_by_side); }

Task<Result<void>> refuse_ragged(std::string folder) {
  OpenOptions options = open_ragged;
  options.ragged = false;
  File file = co_await ok(File::open(folder + "/file", options));
  Memory memory(8192, 5);
  const std::span<std::byte> block = memory.part(0, 4096);
  co_await ok(file.write_any_at(0, block));
  co_await ok(file.read_any_at(4096 - 4096, block));
  if (!file.is_direct()) co_return Result<void>();
  const std::span<std::byte> ragged = memory.part(0, 100);
  const Result<void> written = co_await file.write_any_at(0, ragged);
  CHECK(written.error().code == ErrorCode::misaligned);
  const Result<void> read = co_await file.read_any_at(100, block);
  CHECK(read.error().code == ErrorCode::misaligned);
  co_return Result<void>();
}

TEST_CASE("a file that was not opened for ragged transfers takes aligned ones only") { in_every_world(refuse_ragged); }

Task<Result<void>> cancel_write(std::string folder, uint64_t* cancelled_count) {
  File file = co_await ok(File::open(folder + "/file", open_ragged));
  std::vector<std::byte> model;
  co_await ok(write_one(file, model, 0, 1000));
  std::vector<std::byte> bytes(3000, std::byte{0xaa});
  const std::span<const std::byte> memory(bytes);
  const Duration patience(1 + Loop::current().random().below(6'000'000));
  auto writing = file.write_any_at(700, memory);
  const Result<void> written = co_await timeout(patience, std::move(writing));
  const FileStatus status = co_await ok(file.stat());
  CHECK(status.size <= 3700);
  if (written.has_value()) CHECK(status.size == 3700);
  if (!written.has_value()) ++*cancelled_count;
  std::vector<std::byte> front(700);
  const std::span<std::byte> into(front);
  co_await ok(file.read_any_at(0, into));
  CHECK(std::memcmp(front.data(), model.data(), 700) == 0);
  // The mutex is free again.
  model.resize(700);
  co_await ok(file.truncate(700));
  co_await ok(write_one(file, model, 700, 10));
  co_await ok(compare(file, model));
  co_return Result<void>();
}

TEST_CASE("a ragged write that is cancelled leaves what was before it alone, and the file no longer than asked for") {
  uint64_t cancelled_count = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    in_simulation(seed, SimBackendOptions(), cancel_write, &cancelled_count);
  }
  CHECK(cancelled_count > 20);
  CHECK(cancelled_count < 180);
}

Task<Result<void>> write_dropped(File* file, int* ended_count) {
  const std::vector<std::byte> bytes(3000, std::byte{0xaa});
  const std::span<const std::byte> memory(bytes);
  const Result<void> written = co_await file->write_any_at(700, memory);
  static_cast<void>(written);
  ++*ended_count;
  co_return Result<void>();
}

Task<Result<void>> drop_under_writes(Scope& scope, std::unique_ptr<File>* file, int* ended_count) {
  File* address = file->get();
  for (int count = 0; count < 6; ++count) co_await ok(scope.spawn(write_dropped, address, ended_count));
  const Duration patience(Loop::current().random().below(4'000'000));
  co_await ok(sleep_for(patience));
  file->reset();
  co_return Result<void>();
}

Task<Result<void>> drop_writing(std::string folder) {
  File opened = co_await ok(File::open(folder + "/file", open_ragged));
  auto file = std::make_unique<File>(std::move(opened));
  int ended_count = 0;
  std::unique_ptr<File>* file_address = &file;
  int* count_address = &ended_count;
  co_await ok(with_scope(ScopeOptions{}, drop_under_writes, file_address, count_address));
  CHECK(ended_count == 6);
  co_return Result<void>();
}

TEST_CASE("a file can be dropped under ragged writes, running and waiting") {
  on_ring(UringOptions(), drop_writing);
  for (uint64_t seed = 0; seed < 50; ++seed) in_simulation(seed, SimBackendOptions(), drop_writing);
}

TEST_CASE("a host can be killed in the middle of ragged writes") {
  for (uint64_t steps = 0; steps < 150; ++steps) {
    World world(steps);
    Host& host = world.add_host("a");
    REQUIRE(host.files().make_directory("folder") == 0);
    host.start(drop_writing, std::string("folder"));
    for (uint64_t done = 0; done < steps && world.step() == World::Step::worked; ++done) {
    }
    host.kill_process();
  }
}

}  // namespace
}  // namespace spindle
