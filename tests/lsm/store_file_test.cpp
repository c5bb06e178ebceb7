// Making and opening the file of a store in the simulated world, and what a format refuses.
#include "lsm/store_file.h"

#include <algorithm>
#include <cerrno>

#include "runtime/combinators.h"
#include "tests/lsm/store_fixture.h"

namespace spindle {
namespace {

Error error_of(Disk& disk, const SuperblockFormat& format) {
  StoreFormer former;
  const Result<void> formatted = disk.run(note_former, &former, format);
  REQUIRE_FALSE(formatted.has_value());
  return formatted.error();
}

TEST_CASE("a format makes a file with all zones but the grid, which opens") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    for (const uint64_t journal_size : {0u, 4096u, 3u << 20}) {
      for (const uint32_t block_size : {4096u, 512u << 10}) {
        SuperblockFormat format = small_format(copies_count);
        format.configuration.journal_size = journal_size;
        format.configuration.block_size = block_size;
        Disk disk = no_file();
        StoreFormer former;
        REQUIRE(disk.run(note_former, &former, format).has_value());
        CHECK(former.content == StoreContent::nothing);
        const std::vector<std::byte> content = content_of(disk);
        CHECK(content.size() == superblock_zone_size + journal_size);
        const auto is_zero = [](std::byte byte) { return byte == std::byte{}; };
        CHECK(std::all_of(content.begin() + copies_count * superblock_slot_stride, content.end(), is_zero));
        const Found found = open_of(disk);
        CHECK(found.is_open);
        CHECK(found.sequence == 1);
        CHECK(found.cluster == test_cluster);
        CHECK(found.votes_count == copies_count);
      }
    }
  }
}

TEST_CASE("the zones that a format promises have their disk space") {
  SimBackendOptions options;
  options.capacity = superblock_zone_size + 8192;
  World world(1);
  Host& host = world.add_host("a", options);
  StoreFormer former;
  host.start(note_former, &former, small_format());
  REQUIRE(world.run() == World::Outcome::idle);
  CHECK(host.take().has_value());
  CHECK(host.files().find(store_path)->allocated_size() == superblock_zone_size + 8192);
}

TEST_CASE("a format without disk space is told so, and leaves no file") {
  for (const uint64_t missing : {4096u, 512u << 10}) {
    SimBackendOptions options;
    options.capacity = superblock_zone_size + 8192 - missing;
    World world(1);
    Host& host = world.add_host("a", options);
    StoreFormer former;
    host.start(note_former, &former, small_format());
    REQUIRE(world.run() == World::Outcome::idle);
    const Result<void> formatted = host.take();
    REQUIRE_FALSE(formatted.has_value());
    CHECK(formatted.error().number == ENOSPC);
    CHECK(host.files().find(store_path) == nullptr);
  }
}

TEST_CASE("a store is not formatted unasked, and asked it is, whatever state it is in") {
  Disk disk = formatted_store(small_format(6));
  REQUIRE(disk.run(run_store_update, uint64_t{5}, uint64_t{0}).has_value());
  const std::vector<std::byte> before = content_of(disk);
  CHECK(error_of(disk, small_format()).number == EEXIST);
  CHECK(content_of(disk) == before);
  for (uint32_t kept_count = 6; kept_count > 0; --kept_count) {
    std::vector<std::byte> damaged = before;
    for (uint32_t slot = kept_count; slot < 6; ++slot) damaged[slot * superblock_slot_stride + 100] ^= std::byte{1};
    Disk some = disk_with(damaged);
    CHECK(error_of(some, small_format()).number == EEXIST);
    CHECK(content_of(some) == damaged);
  }
  StoreFormer former;
  constexpr ClusterId other{1, 2};
  REQUIRE(disk.run(note_former, &former, small_format(4, true, other)).has_value());
  CHECK(former.content == StoreContent::store);
  CHECK(former.cluster == test_cluster);
  CHECK(former.sequence == 2);
  CHECK(former.file_size == superblock_zone_size + 8192);
  const Found found = open_of(disk);
  CHECK(found.cluster == other);
  CHECK(found.sequence == 1);
}

std::vector<std::byte> zeroes(uint64_t size) { return std::vector<std::byte>(size); }

std::vector<std::byte> zeroes_with(uint64_t size, uint64_t at, uint8_t value) {
  std::vector<std::byte> content(size);
  content[at] = std::byte{value};
  return content;
}

TEST_CASE("what is no store, and not left by a format, is not touched unless forced") {
  const uint64_t zone = superblock_zone_size;
  std::vector<std::byte> full_end = zeroes(file_begun_size);
  std::fill(full_end.begin() + format_mark_offset, full_end.end(), std::byte{'S'});
  const std::vector<std::byte> foreign[] = {
      zeroes(1),
      zeroes(4096),
      zeroes(file_begun_size - 4096),
      zeroes(file_begun_size - 1),
      zeroes(file_begun_size + 1),
      zeroes(zone),
      zeroes(zone + 8192),  // as long as a store, but without the mark
      zeroes_with(file_begun_size, 0, 1),
      zeroes_with(file_begun_size, 5000, 1),
      zeroes_with(file_begun_size, format_mark_offset - 1, 1),
      full_end,
      zeroes_with(64 << 20, zone, 1),  // a disk image, for example: it has nothing at its begin
  };
  for (const std::vector<std::byte>& content : foreign) {
    CAPTURE(content.size());
    Disk disk = disk_with(content);
    const Error error = error_of(disk, small_format());
    CHECK(error.number == EEXIST);
    CHECK(std::string(error.where) == "the file is not empty");
    CHECK(content_of(disk) == content);
    CHECK(inspection_of(disk).content == StoreContent::other);
    StoreFormer former;
    REQUIRE(disk.run(note_former, &former, small_format(4, true)).has_value());
    CHECK(former.content == StoreContent::other);
    CHECK(former.file_size == content.size());
    CHECK(content_of(disk).size() == zone + 8192);
    CHECK(open_of(disk).is_open);
  }
}

std::vector<std::byte> marked(uint64_t size) {
  std::vector<std::byte> content(size);
  fill_with_mark(std::span(content).subspan(format_mark_offset, format_mark_size));
  return content;
}

TEST_CASE("what a format has left that was interrupted does not open, and is taken without force") {
  const uint64_t zone = superblock_zone_size;
  std::vector<std::byte> torn = marked(file_begun_size);
  std::fill_n(torn.begin() + format_mark_offset + 512, 2048, std::byte{});
  std::vector<std::byte> with_store = content_of(*std::make_unique<Disk>(formatted_store(small_format(8))));
  fill_with_mark(std::span(with_store).subspan(format_mark_offset, format_mark_size));
  std::vector<std::byte> with_rubbish = marked(zone + (1 << 20));
  for (uint32_t slot = 0; slot < 8; ++slot) with_rubbish[slot * superblock_slot_stride] = std::byte{0x77};
  std::vector<std::byte> garbled = zeroes_with(file_begun_size, file_begun_size - 1, 0x77);
  const std::vector<std::byte> leavings[] = {
      zeroes(file_begun_size), torn,       garbled,     marked(file_begun_size), marked(zone),
      marked(zone + 4096),     with_store, with_rubbish};
  for (const std::vector<std::byte>& content : leavings) {
    CAPTURE(content.size());
    Disk disk = disk_with(content);
    CHECK_FALSE(open_of(disk).is_open);
    CHECK(inspection_of(disk).content == StoreContent::half_formatted);
    CHECK(content_of(disk) == content);
    StoreFormer former;
    REQUIRE(disk.run(note_former, &former, small_format()).has_value());
    CHECK(former.content == StoreContent::half_formatted);
    CHECK(open_of(disk).votes_count == 4);
    CHECK(inspection_of(disk).findings.empty());
  }
}

TEST_CASE("a configuration that can't be is refused before there is a file") {
  SuperblockFormat format = small_format();
  format.configuration.copies_count = 5;
  Disk disk = no_file();
  CHECK(error_of(disk, format).code == ErrorCode::invalid_argument);
  CHECK(disk.files().find(store_path) == nullptr);
}

// ---- opening

TEST_CASE("a store opens only with a file that reaches to where its checkpoint ends") {
  const uint64_t grid_begin = layout_of(small_format().configuration).grid_begin;
  Disk disk = formatted_store();
  REQUIRE(disk.run(run_store_update, uint64_t{1}, grid_begin + 2 * 4096).has_value());
  std::vector<std::byte> content = content_of(disk);
  for (const uint64_t missing : {2 * 4096u, 4096u, 1u}) {
    content.resize(grid_begin + 2 * 4096 - missing);
    Disk cut = disk_with(content);
    CHECK(open_of(cut).code == ErrorCode::end_of_file);
    const StoreInspection found = inspection_of(cut);
    REQUIRE(found.findings.size() == 1);
    CHECK(found.findings[0].fault == StoreFault::storage_cut);
    CHECK(found.findings[0].offset == content.size());
    CHECK(found.findings[0].size == missing);
  }
  content.resize(grid_begin + 2 * 4096);
  Disk whole = disk_with(content);
  CHECK(open_of(whole).op == 1);
  CHECK(inspection_of(whole).findings.empty());
}

TEST_CASE("a checkpoint that ends where none can does not open") {
  Disk disk = formatted_store();
  REQUIRE(disk.run(run_store_update, uint64_t{1}, uint64_t{4096}).has_value());
  CHECK(open_of(disk).code == ErrorCode::corrupt);
  const StoreInspection found = inspection_of(disk);
  REQUIRE(found.findings.size() == 1);
  CHECK(found.findings[0].fault == StoreFault::storage_size);
}

TEST_CASE("a store without all of its journal does not open") {
  Disk disk = formatted_store();
  std::vector<std::byte> content = content_of(disk);
  content.resize(content.size() - 4096);
  Disk cut = disk_with(content);
  CHECK(open_of(cut).code == ErrorCode::end_of_file);
  const StoreInspection found = inspection_of(cut);
  REQUIRE(found.findings.size() == 1);
  CHECK(found.findings[0].fault == StoreFault::zone_cut);
  CHECK(std::string(found.findings[0].zone) == "journal");
  CHECK(found.findings[0].size == 4096);
}

Task<Result<void>> use_zones() {
  const std::unique_ptr<StoreFile> store = co_await ok(open_store(store_path));
  Storage& storage = store->storage();
  const StoreZones& zones = store->zones();
  REQUIRE(zones.journal.has_value());
  CHECK(storage.zone_begin(*zones.journal) == superblock_zone_size);
  CHECK(storage.zone_size(*zones.journal) == 8192);
  CHECK(storage.zone_begin(zones.grid) == superblock_zone_size + 8192);
  CHECK(storage.zone_size(zones.grid) == 1000 * 4096);
  co_await ok(storage.allocate(zones.grid, 0, 4096));
  const Result<std::unique_ptr<StoreFile>> second = co_await open_store(store_path, store_impatient);
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().number == EWOULDBLOCK);
  const Result<StoreInspection> looked = co_await inspect_store(store_path);
  REQUIRE_FALSE(looked.has_value());
  CHECK(looked.error().number == EWOULDBLOCK);
  const Result<StoreFormer> formatted = co_await format_store(store_path, small_format(4, true), store_impatient);
  REQUIRE_FALSE(formatted.has_value());
  CHECK(formatted.error().number == EWOULDBLOCK);
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

TEST_CASE("an open store has its zones, and nobody else opens, looks at or formats it") {
  Disk disk = formatted_store();
  CHECK(disk.run(use_zones).has_value());
  CHECK(open_of(disk).is_open);
}

Task<Result<void>> open_other_cluster() {
  StoreOptions options;
  options.cluster = ClusterId{1, 2};
  const Result<std::unique_ptr<StoreFile>> opened = co_await open_store(store_path, options);
  REQUIRE_FALSE(opened.has_value());
  CHECK(opened.error().code == ErrorCode::corrupt);
  co_return Result<void>();
}

TEST_CASE("a store of another cluster than the one that was asked for does not open") {
  Disk disk = formatted_store();
  CHECK(disk.run(open_other_cluster).has_value());
}

// ---- two at one time

Task<Result<void>> format_and_note(SuperblockFormat format, Result<void>* into) {
  const Result<StoreFormer> formatted = co_await format_store(store_path, format);
  *into = Result<void>();
  if (!formatted.has_value()) *into = Unexpected(formatted.error());
  co_return Result<void>();
}

Task<Result<void>> format_twice(Result<void>* first, Result<void>* second) {
  auto one = format_and_note(small_format(4), first);
  auto other = format_and_note(small_format(8, false, {1, 2}), second);
  const auto both = co_await when_all_settled(std::move(one), std::move(other));
  CHECK(std::get<0>(both).has_value());
  CHECK(std::get<1>(both).has_value());
  co_return Result<void>();
}

TEST_CASE("of two formats at one time one makes the store, and the other one is refused") {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    for (const bool is_begun : {false, true}) {
      CAPTURE(seed);
      World world(seed);
      SimFiles files;
      if (is_begun) files.put(store_path, marked(superblock_zone_size + 4096));
      Host& host = world.add_host("a", {}, std::move(files));
      Result<void> first;
      Result<void> second;
      host.start(format_twice, &first, &second);
      REQUIRE(world.run() == World::Outcome::idle);
      REQUIRE(host.take().has_value());
      CHECK(first.has_value() != second.has_value());
      const Error error = first.has_value() ? second.error() : first.error();
      CHECK(error.number == EEXIST);
      Disk disk(host.files().clone());
      CHECK(open_of(disk).votes_count == (first.has_value() ? 4 : 8));
    }
  }
}

}  // namespace
}  // namespace spindle
