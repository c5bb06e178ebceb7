// A file of a simulated disk: its two images, and what syncs and losses of power make of them.
#include "io/sim/sim_file.h"

#include <doctest/doctest.h>

#include "tests/io/sim_file_fixture.h"

namespace spindle {
namespace {

TEST_CASE("what is written is read, and what is not reads as zeroes") {
  LoneFile lone;
  lone.write(100, 5000, 0x1111111111111111);
  lone.write(3 * page, grain, 2);
  CHECK(lone.file().size() == 3 * page + grain);
  const std::vector<std::byte> content = lone.file().content();
  for (uint64_t at = 0; at < 3 * page; ++at) {
    REQUIRE(content[at] == (at >= 100 && at < 5100 ? std::byte{0x11} : std::byte{0}));
  }
  CHECK(lone.word(3 * page) == 2);
  CHECK(lone.word(4 * page) == no_word);
  std::byte bytes[page];
  CHECK(lone.file().read(3 * page, bytes) == grain);
}

TEST_CASE("without a sync a sector is old, new or torn after a loss of power") {
  LoneFile lone;
  lone.write(0, 2 * page, 1);
  lone.sync();
  lone.write(0, page, 2);
  CHECK(lone.words_after_power_loss(page, 0) == Words{1, 2, garbage_word});
  CHECK(lone.words_after_power_loss(page, page) == Words{1});
  CHECK(lone.word(0) == 2);
}

TEST_CASE("unsynced sectors are decided independently of one another and of their order") {
  for (const uint32_t sector_size : {512u, 1024u, 4096u}) {
    LoneFile lone;
    lone.write(0, 2 * page, 1);
    lone.sync();
    lone.write(0, 2 * page, 2);
    std::set<std::pair<uint64_t, uint64_t>> pairs;
    lone.after_power_losses(sector_size, [&](const SimFile& file, uint64_t) {
      pairs.insert({word_at(file, sector_size - grain), word_at(file, sector_size)});
    });
    CHECK(pairs.count({1, 1}) == 1);
    CHECK(pairs.count({1, 2}) == 1);
    CHECK(pairs.count({2, 1}) == 1);
    CHECK(pairs.count({2, 2}) == 1);
  }
}

TEST_CASE("a sector of 4096 bytes is torn at a grain of 512, and only where it was written") {
  LoneFile lone;
  lone.write(0, page, 1);
  lone.sync();
  lone.write(grain, 2 * grain, 2);
  std::set<std::pair<uint64_t, uint64_t>> pairs;
  lone.after_power_losses(page, [&](const SimFile& file, uint64_t) {
    pairs.insert({word_at(file, grain), word_at(file, 2 * grain)});
    for (uint64_t at = 0; at < page; at += grain) {
      if (at != grain && at != 2 * grain) REQUIRE(word_at(file, at) == 1);
    }
  });
  CHECK(pairs.size() == 9);  // each of the two is old, new or garbage
}

TEST_CASE("a sync keeps what was acknowledged before it was submitted, and nothing else") {
  LoneFile lone;
  lone.write(0, 4 * page, 1);
  lone.sync();
  lone.write(0, page, 2);
  const uint64_t covered = lone.begin_sync();
  lone.write(page, page, 3);
  lone.file().end_sync(covered);
  CHECK(lone.words_after_power_loss(page, 0) == Words{2});
  CHECK(lone.words_after_power_loss(page, page) == Words{1, 3, garbage_word});
}

TEST_CASE("a page that is rewritten while a sync is under way keeps what the sync covers") {
  LoneFile lone;
  lone.write(0, page, 1);
  lone.sync();
  lone.write(0, page, 2);
  const uint64_t covered = lone.begin_sync();
  lone.write(0, page, 3);
  lone.write(0, grain, 4);
  lone.file().end_sync(covered);
  CHECK(lone.words_after_power_loss(page, 0) == Words{2, 4, garbage_word});
  CHECK(lone.words_after_power_loss(page, grain) == Words{2, 3, garbage_word});
}

TEST_CASE("another part of a page that is written while a sync is under way is not covered") {
  LoneFile lone;
  lone.write(0, page, 1);
  lone.sync();
  lone.write(0, grain, 2);
  const uint64_t covered = lone.begin_sync();
  lone.write(grain, grain, 3);
  lone.file().end_sync(covered);
  CHECK(lone.words_after_power_loss(512, 0) == Words{2});
  CHECK(lone.words_after_power_loss(512, grain) == Words{1, 3, garbage_word});
}

TEST_CASE("of two syncs under way each covers its own") {
  LoneFile lone;
  lone.write(0, 2 * page, 1);
  lone.sync();
  lone.write(0, page, 2);
  const uint64_t first = lone.begin_sync();
  lone.write(page, page, 3);
  const uint64_t second = lone.begin_sync();
  lone.file().end_sync(first);
  CHECK(lone.words_after_power_loss(page, 0) == Words{2});
  CHECK(lone.words_after_power_loss(page, page) == Words{1, 3, garbage_word});
  lone.file().end_sync(second);
  CHECK(lone.words_after_power_loss(page, page) == Words{3});
}

TEST_CASE("a sync that was given up makes nothing durable") {
  LoneFile lone;
  lone.write(0, page, 1);
  lone.begin_sync();
  lone.file().abandon_sync();
  CHECK(lone.words_after_power_loss(page, 0) == Words{0, 1, garbage_word, no_word});
}

TEST_CASE("the size that a sync covers is the one at its submission") {
  LoneFile lone;
  lone.write(0, page, 1);
  const uint64_t covered = lone.begin_sync();
  lone.write(page, page, 2);
  lone.file().end_sync(covered);
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{page, 2 * page});
  CHECK(lone.words_after_power_loss(page, 0) == Words{1});

  lone.sync();
  const uint64_t before_cut = lone.begin_sync();
  lone.resize(grain);
  lone.file().end_sync(before_cut);
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{grain, 2 * page});
}

TEST_CASE("a file grows, and is cut, durably or not") {
  LoneFile lone;
  lone.write(0, page, 1);
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{0, page});
  lone.sync();
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{page});
  lone.resize(grain);
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{grain, page});
  CHECK(lone.words_after_power_loss(page, 0) == Words{1});
  CHECK(lone.words_after_power_loss(page, grain) == Words{0, 1, no_word});  // never garbage: nobody wrote there
  lone.resize(2 * page);
  CHECK(lone.word(grain) == 0);
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{grain, page, 2 * page});
  CHECK(lone.words_after_power_loss(page, page) == Words{0, no_word});
  lone.sync();
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{2 * page});
  CHECK(lone.words_after_power_loss(page, grain) == Words{0});
}

TEST_CASE("what lies past a size that was taken at a loss of power does not come back when the file grows") {
  LoneFile lone;
  lone.write(0, 2 * page, 1);
  lone.after_power_losses(page, [&](SimFile& file, uint64_t) {
    if (file.size() != 0) return;
    CHECK(file.allocated_size() == 0);
    file.resize(2 * page, lone.sequence() + 1);
    CHECK(word_at(file, 0) == 0);
    CHECK(word_at(file, page) == 0);
  });
}

TEST_CASE("a durable write makes its own sectors stay, and only those") {
  LoneFile lone;
  lone.write(0, 2 * page, 1);
  lone.sync();
  lone.write(0, page, 2);
  lone.write_durably(grain, grain, 3);
  CHECK(lone.words_after_power_loss(512, grain) == Words{3});
  CHECK(lone.words_after_power_loss(page, grain) == Words{3});
  CHECK(lone.words_after_power_loss(512, 0) == Words{1, 2, garbage_word});
  CHECK(lone.words_after_power_loss(512, 2 * grain) == Words{1, 2, garbage_word});
  CHECK(lone.words_after_power_loss(512, page) == Words{1});
}

TEST_CASE("a durable write in a page whose rest is clean leaves it so") {
  LoneFile lone;
  lone.write(0, page, 1);
  lone.sync();
  lone.write_durably(grain, grain, 3);
  for (uint64_t at = 0; at < page; at += grain) {
    CHECK(lone.words_after_power_loss(512, at) == Words{at == grain ? uint64_t{3} : uint64_t{1}});
  }
}

TEST_CASE("a durable write takes the size with it, as far as it is needed") {
  LoneFile lone;
  lone.write_durably(0, page, 1);
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{page});
  lone.write(2 * page, page, 2);
  lone.write_durably(page, page, 3);
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{2 * page, 3 * page});
  CHECK(lone.words_after_power_loss(page, page) == Words{3});
}

TEST_CASE("a durable write after a truncate is there whether the truncate is or not") {
  LoneFile lone;
  lone.write(0, 4 * page, 1);
  lone.sync();
  lone.resize(0);
  lone.write_durably(page, page, 2);
  CHECK(lone.sizes_after_power_loss() == std::set<uint64_t>{2 * page, 4 * page});
  CHECK(lone.words_after_power_loss(page, page) == Words{2});
  CHECK(lone.words_after_power_loss(page, 0) == Words{0, 1});
  CHECK(lone.words_after_power_loss(page, 2 * page) == Words{0, 1, no_word});
}

TEST_CASE("what a failed sync covered is durable by chance, and a later sync does not help") {
  uint32_t lost_count = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    LoneFile lone;
    lone.write(0, 2 * page, 1);
    lone.sync();
    lone.write(0, 2 * page, 2);
    lone.fail_sync(seed);
    CHECK(lone.word(0) == 2);
    lone.sync();
    const Words words = lone.words_after_power_loss(page, 0);
    const bool is_durable = words == Words{2};
    CHECK((is_durable || words.count(1) == 1));
    lost_count += !is_durable;
  }
  CHECK(lost_count > 10);
  CHECK(lost_count < 30);
}

TEST_CASE("what is written again after a failed sync is durable with the next one") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    LoneFile lone;
    lone.write(0, 2 * page, 1);
    lone.fail_sync(seed);
    lone.write(0, page, 2);
    lone.sync();
    CHECK(lone.words_after_power_loss(page, 0) == Words{2});
    CHECK(lone.file().size() == 2 * page);
  }
}

TEST_CASE("a sync that fails says nothing of what came after its submission") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    LoneFile lone;
    Random random(seed);
    lone.write(0, page, 1);
    lone.sync();
    const uint64_t covered = lone.begin_sync();
    lone.write(0, page, 2);
    lone.file().fail_sync(covered, random);
    CHECK(lone.words_after_power_loss(page, 0) == Words{1, 2, garbage_word});
    lone.sync();
    CHECK(lone.words_after_power_loss(page, 0) == Words{2});
  }
}

}  // namespace
}  // namespace spindle
