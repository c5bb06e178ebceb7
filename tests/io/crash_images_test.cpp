// Crash images: which there are, and the exhaustive crash tests of File's promises: publish(), a write and its sync, a
// durable write. At every step of a program, every image of what a loss of power could leave.
#include "io/sim/crash_images.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "io/directory.h"
#include "io/file.h"
#include "io/sim/world.h"

namespace spindle {

namespace {

constexpr OpenOptions open_new{.access = Access::read_write, .direct = Direct::require, .create = true};
constexpr OpenOptions open_there{.access = Access::read_write, .direct = Direct::require};

struct alignas(4096) Page {
  std::byte bytes[4096];
};

/// Aligned memory, filled with one letter.
class Pages {
 public:
  Pages(size_t size, char fill) : pages_((size + sizeof(Page) - 1) / sizeof(Page)), size_(size) {
    std::memset(static_cast<void*>(pages_.data()), fill, pages_.size() * sizeof(Page));
  }
  std::span<std::byte> all() noexcept { return {reinterpret_cast<std::byte*>(pages_.data()), size_}; }

 private:
  std::vector<Page> pages_;
  size_t size_;
};

std::vector<std::byte> filled(size_t size, char fill) {
  return std::vector<std::byte>(size, static_cast<std::byte>(fill));
}

SimBackendOptions sectors_of(uint32_t sector_size) {
  SimBackendOptions options;
  options.sector_size = sector_size;
  options.offset_alignment = sector_size;
  return options;
}

/// Calls visit(image) for every image at every step of the host's program.
template <class Visit>
uint64_t at_every_step(World& world, Host& host, Visit visit) {
  uint64_t images_count = 0;
  do {
    const CrashImages images(host);
    images_count += images.for_each({.seed = images_count}, visit);
  } while (world.step() == World::Step::worked);
  REQUIRE_FALSE(host.is_running());
  const Result<void> result = host.take();
  CHECK_MESSAGE(result.has_value(), (result.has_value() ? std::string() : describe(result.error())));
  const CrashImages images(host);
  return images_count + images.for_each({}, visit);
}

/// What a sector holds: one letter all through, or a mixture.
struct Counts {
  uint64_t old_count = 0;
  uint64_t new_count = 0;
  uint64_t torn_count = 0;
};

bool holds(std::span<const std::byte> memory, char fill) {
  for (const std::byte byte : memory) {
    if (byte != static_cast<std::byte>(fill)) return false;
  }
  return true;
}

struct Writing {
  uint32_t sector_size;
  uint32_t first = 1;
  uint32_t count;
  bool is_durable;
  bool is_done = false;

  uint64_t file_size() const noexcept { return uint64_t{sector_size} * (first + count + 1); }
};

Task<Result<void>> write_over(Writing& writing) {
  File file = co_await ok(File::open("data", open_there));
  Pages memory(size_t{writing.count} * writing.sector_size, 'n');
  const uint64_t offset = uint64_t{writing.first} * writing.sector_size;
  WriteOptions options;
  options.durable = writing.is_durable;
  co_await ok(file.write_all_at(offset, memory.all(), options));
  if (!writing.is_durable) co_await ok(file.sync());
  writing.is_done = true;
  const Result<void> closed = co_await file.close();
  co_return closed;
}

void check_image(SimFiles& image, const Writing& writing, Counts& counts) {
  const SimFile* const file = image.find("data");
  REQUIRE(file != nullptr);
  const std::vector<std::byte> content = file->content();
  REQUIRE(content.size() == writing.file_size());
  bool is_right = true;
  for (uint32_t sector = 0; sector < writing.first + writing.count + 1; ++sector) {
    const std::span<const std::byte> here(content.data() + size_t{sector} * writing.sector_size, writing.sector_size);
    const bool is_target = sector >= writing.first && sector < writing.first + writing.count;
    const bool is_old = holds(here, 'o');
    const bool is_new = holds(here, 'n');
    if (!is_target) is_right = is_right && is_old;
    if (is_target && writing.is_done) is_right = is_right && is_new;
    if (!is_target) continue;
    counts.old_count += is_old;
    counts.new_count += is_new;
    counts.torn_count += !is_old && !is_new;
  }
  CHECK(is_right);
}

void write_through_all_crashes(Writing writing, uint64_t seed, Counts& counts) {
  World world(seed);
  Host& host = world.add_host("a", sectors_of(writing.sector_size));
  host.files().put("data", filled(writing.file_size(), 'o'));
  host.start(write_over, writing);
  uint64_t images_done_count = 0;
  const uint64_t images_count = at_every_step(world, host, [&](SimFiles image) {
    images_done_count += writing.is_done;
    check_image(image, writing, counts);
  });
  CHECK(images_count > (uint64_t{1} << writing.count));
  CHECK(images_done_count > 0);
}

void write_through_all_crashes(bool is_durable) {
  for (const uint32_t count : {1u, 2u, 3u, 6u, 10u}) {
    for (const uint32_t sector_size : {512u, 4096u}) {
      CAPTURE(count);
      CAPTURE(sector_size);
      Counts counts;
      const Writing writing{.sector_size = sector_size, .count = count, .is_durable = is_durable};
      for (uint64_t seed = 1; seed <= 8; ++seed) write_through_all_crashes(writing, seed, counts);
      CHECK(counts.old_count > 0);
      CHECK(counts.new_count > 0);
      CHECK(counts.torn_count > 0);
    }
  }
}

}  // namespace

TEST_CASE("a write and its sync: before the end any mixture of old, new and torn sectors, after it all are new") {
  write_through_all_crashes(false);
}

TEST_CASE("a durable write: before the end any mixture of old, new and torn sectors, after it all are new") {
  write_through_all_crashes(true);
}

namespace {

struct Publishing {
  size_t size;
  bool syncs = true;
  bool is_done = false;
};

Task<Result<void>> publish_new(Publishing& publishing) {
  File file = co_await ok(File::open("folder/temporary", open_new));
  Pages memory(publishing.size, 'n');
  co_await ok(file.write_all_at(0, memory.all()));
  if (publishing.syncs) {
    co_await ok(publish(file, "folder/temporary", "folder/final"));
  } else {
    co_await ok(rename_path("folder/temporary", "folder/final"));
    co_await ok(sync_directory("folder"));
  }
  publishing.is_done = true;
  const Result<void> closed = co_await file.close();
  co_return closed;
}

struct Published {
  uint64_t old_count = 0;
  uint64_t new_count = 0;
  uint64_t wrong_count = 0;
};

Published publish_through_all_crashes(Publishing publishing, uint64_t seed) {
  World world(seed);
  Host& host = world.add_host("a", sectors_of(512));
  REQUIRE(host.files().make_directory("folder") == 0);
  const std::vector<std::byte> former = filled(1024, 'o');
  const std::vector<std::byte> latter = filled(publishing.size, 'n');
  host.files().put("folder/final", former);
  host.start(publish_new, publishing);
  Published published;
  at_every_step(world, host, [&](SimFiles image) {
    const SimFile* const file = image.find("folder/final");
    const std::vector<std::byte> content = file == nullptr ? std::vector<std::byte>() : file->content();
    const bool is_new = content == latter;
    const bool is_old = content == former && !publishing.is_done;
    published.new_count += is_new;
    published.old_count += is_old;
    published.wrong_count += !is_new && !is_old;
  });
  return published;
}

}  // namespace

TEST_CASE("whatever a loss of power leaves, a file that is published over another is the old one or the new one") {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (const size_t sectors : {1u, 4u, 9u}) {
      const Published published = publish_through_all_crashes({.size = sectors * 512}, seed);
      CHECK(published.old_count > 100);
      CHECK(published.new_count > 0);
      CHECK(published.wrong_count == 0);
    }
  }
}

namespace {

Task<Result<void>> publish_from_elsewhere(bool& is_done) {
  File file = co_await ok(File::open("scratch/file", open_new));
  Pages memory(512, 'n');
  co_await ok(file.write_all_at(0, memory.all()));
  co_await ok(publish(file, "scratch/file", "folder/final"));
  is_done = true;
  const Result<void> closed = co_await file.close();
  co_return closed;
}

}  // namespace

TEST_CASE("a file that was published from another directory is in one place, whatever a loss of power leaves") {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    World world(seed);
    Host& host = world.add_host("a", sectors_of(512));
    REQUIRE(host.files().make_directory("folder") == 0);
    REQUIRE(host.files().make_directory("scratch") == 0);
    host.files().put("folder/final", filled(1024, 'o'));
    bool is_done = false;
    host.start(publish_from_elsewhere, is_done);
    uint64_t both_count = 0;
    at_every_step(world, host, [&](SimFiles image) {
      REQUIRE(image.find("folder/final") != nullptr);
      const std::vector<std::byte> content = image.find("folder/final")->content();
      const bool is_new = content == filled(512, 'n');
      CHECK((is_new || (!is_done && content == filled(1024, 'o'))));
      const bool is_left = image.find("scratch/file") != nullptr;
      both_count += is_new && is_left;
      if (is_done) CHECK_FALSE(is_left);
    });
    CHECK(both_count > 0);
  }
}

TEST_CASE("the crash images show what a rename without a sync of the file loses") {
  const Published published = publish_through_all_crashes({.size = 4 * 512, .syncs = false}, 1);
  CHECK(published.wrong_count > 0);
}

namespace {

Task<Result<void>> read_back(std::vector<std::byte>& content) {
  File file = co_await ok(File::open("data", open_there));
  Pages memory(file.size_at_open(), 0);
  co_await ok(file.read_exact_at(0, memory.all()));
  content.assign(memory.all().begin(), memory.all().end());
  co_return Result<void>();
}

Task<Result<void>> write_only(uint64_t count) {
  File file = co_await ok(File::open("data", open_there));
  Pages memory(512, 'n');
  for (uint64_t sector = 0; sector < count; ++sector) {
    const uint64_t offset = sector * 512;
    co_await ok(file.write_all_at(offset, memory.all()));
  }
  co_return Result<void>();
}

}  // namespace

TEST_CASE("an image can be opened by a host of its own, and the world that it came from goes on") {
  World world(3);
  Host& host = world.add_host("a", sectors_of(512));
  host.files().put("data", filled(1024, 'o'));
  host.start(write_only, uint64_t{2});
  REQUIRE(world.run() == World::Outcome::idle);
  const CrashImages images(host);
  REQUIRE(images.units().size() == 2);
  uint64_t half_count = 0;
  const uint64_t images_count = images.for_each({}, [&](SimFiles image) {
    World after(1);
    Host& restarted = after.add_host("b", sectors_of(512), std::move(image));
    std::vector<std::byte> content;
    restarted.start(read_back, content);
    REQUIRE(after.run() == World::Outcome::idle);
    CHECK(restarted.take().has_value());
    half_count += holds(std::span(content).first(512), 'n') && holds(std::span(content).subspan(512), 'o');
  });
  CHECK(images_count == 9);
  CHECK(half_count >= 1);  // and what is torn may look like it
  CHECK(host.files().find("data")->content() == filled(1024, 'n'));
}

TEST_CASE("many units are sampled, and the named images are among the samples") {
  World world(4);
  Host& host = world.add_host("a", sectors_of(512));
  host.files().put("data", filled(32 * 512, 'o'));
  host.start(write_only, uint64_t{20});
  REQUIRE(world.run() == World::Outcome::idle);
  const CrashImages images(host);
  REQUIRE(images.units().size() == 20);
  const std::vector<std::vector<SectorFate>> choices = images.choices({.samples_count = 50});
  CHECK(choices.size() > 2 * 20 + 3 * 20 + 40);
  CHECK(choices.size() < 200);
  bool has_prefix = false;
  for (const std::vector<SectorFate>& fates : choices) {
    bool is_prefix = true;
    for (size_t unit = 0; unit < 20; ++unit) {
      is_prefix = is_prefix && fates[unit] == (unit < 7 ? SectorFate::written : SectorFate::former);
    }
    has_prefix = has_prefix || is_prefix;
  }
  CHECK(has_prefix);
  for (size_t unit = 1; unit < 20; ++unit) CHECK(images.units()[unit].offset == images.units()[unit - 1].offset + 512);
}

TEST_CASE("a size that is not durable, a new name, and a removed one are units of their own") {
  World world(5);
  Host& host = world.add_host("a", sectors_of(512));
  host.files().put("grown", filled(512, 'o'));
  host.files().put("gone", filled(512, 'o'));
  const std::vector<std::byte> more = filled(512, 'n');
  host.files().find("grown")->write(512, more, host.files().take_sequence());
  REQUIRE(host.files().unlink("gone") == 0);
  host.files().create("made");
  const CrashImages images(host);
  CHECK(images.units().size() == 4);
  uint64_t kinds[2][2][3] = {};
  images.for_each({}, [&](SimFiles image) {
    const uint64_t size = image.find("grown")->size();
    CHECK((size == 512 || size == 1024));
    const SimFile* const gone = image.find("gone");
    if (gone != nullptr) CHECK(gone->content() == filled(512, 'o'));
    ++kinds[gone != nullptr][image.find("made") != nullptr][size / 512];
  });
  for (const auto& of_gone : kinds) {
    for (const auto& of_made : of_gone) {
      CHECK(of_made[1] > 0);
      CHECK(of_made[2] > 0);
    }
  }
}

}  // namespace spindle
