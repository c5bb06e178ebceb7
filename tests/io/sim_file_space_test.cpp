// A file of a simulated disk: holes, the space that it takes, devices, damage, and copies.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>

#include "io/sim/sim_file.h"
#include "tests/io/sim_file_fixture.h"

namespace spindle {
namespace {

TEST_CASE("only pages that were written or allocated take space") {
  LoneFile lone;
  lone.write(10 * page + 100, 1, 1);
  CHECK(lone.allocated_pages() == 1);
  lone.write(page - 1, 2, 1);
  CHECK(lone.allocated_pages() == 3);
  lone.write(0, 2 * page, 2);
  CHECK(lone.allocated_pages() == 3);
  CHECK(lone.allocate(0, 5 * page));
  CHECK(lone.allocated_pages() == 6);
  CHECK(lone.allocate(20 * page, 1));
  CHECK(lone.file().size() == 20 * page + 1);
  CHECK(lone.allocated_pages() == 7);
  CHECK(lone.space().pages_count == 7);
  lone.resize(page + 1);
  CHECK(lone.allocated_pages() == 2);
  CHECK(lone.space().pages_count == 2);
  lone.resize(100 * page);
  CHECK(lone.allocated_pages() == 2);
}

TEST_CASE("a disk that is larger than a cache holds what was written to it") {
  LoneFile lone;
  constexpr uint64_t pages_count = 20'000;
  for (uint64_t index = 0; index < pages_count; ++index) lone.write(index * page, page, index + 1);
  for (uint64_t index = 0; index < pages_count; index += 7) lone.write(index * page, page, index + 100'000);
  lone.write(3 * page + grain, grain, 5);
  bool is_right = true;
  for (uint64_t index = 0; index < pages_count; ++index) {
    const uint64_t word = index % 7 == 0 ? index + 100'000 : index + 1;
    is_right = is_right && lone.word(index * page) == word && lone.word(index * page + 7 * grain) == word;
  }
  CHECK(is_right);
  CHECK(lone.word(3 * page + grain) == 5);
}

TEST_CASE("a hole reads as zeroes, gives whole pages back, and keeps the size") {
  LoneFile lone;
  lone.write(0, 4 * page, 1);
  lone.punch(grain, 2 * page);
  CHECK(lone.file().size() == 4 * page);
  CHECK(lone.allocated_pages() == 3);
  CHECK(lone.word(0) == 1);
  CHECK(lone.word(grain) == 0);
  CHECK(lone.word(2 * page) == 0);
  CHECK(lone.word(2 * page + grain) == 1);
  lone.punch(3 * page, UINT64_MAX - 3 * page);
  CHECK(lone.word(3 * page) == 0);
  CHECK(lone.allocated_pages() == 2);
  CHECK(lone.file().size() == 4 * page);
  lone.punch(100 * page, page);
  CHECK(lone.file().size() == 4 * page);
}

TEST_CASE("a hole is there or not after a loss of power, and never garbage") {
  LoneFile lone;
  lone.write(0, 3 * page, 1);
  lone.sync();
  lone.punch(grain, 2 * page);
  CHECK(lone.words_after_power_loss(page, grain) == Words{0, 1});
  CHECK(lone.words_after_power_loss(page, page) == Words{0, 1});
  CHECK(lone.words_after_power_loss(page, 2 * page) == Words{0, 1});
  CHECK(lone.words_after_power_loss(page, 0) == Words{1});
  CHECK(lone.words_after_power_loss(page, 2 * page + grain) == Words{1});
  lone.sync();
  CHECK(lone.words_after_power_loss(page, page) == Words{0});
}

TEST_CASE("a full disk takes what fits, and space comes back") {
  LoneFile lone;
  lone.space().pages_max = 4;
  CHECK(lone.file().writable_size(0, 3 * page) == 3 * page);
  lone.write(0, 3 * page, 1);
  CHECK(lone.file().writable_size(0, 3 * page) == 3 * page);
  CHECK(lone.file().writable_size(2 * page, 8 * page) == 2 * page);
  CHECK(lone.file().writable_size(7 * page + 100, page) == page - 100);
  lone.write(7 * page, page, 1);
  CHECK(lone.file().writable_size(5 * page, 1) == 0);
  CHECK(lone.file().writable_size(page, 100 * page) == 2 * page);
  CHECK_FALSE(lone.allocate(0, 5 * page));
  CHECK(lone.allocated_pages() == 4);
  CHECK(lone.file().size() == 8 * page);
  lone.punch(0, page);
  CHECK(lone.file().writable_size(4 * page, 2 * page) == page);
  lone.resize(page);
  CHECK(lone.file().writable_size(page, 100 * page) == 4 * page);
  CHECK(lone.space().pages_count == 0);
}

TEST_CASE("after a loss of power the space that is taken is that of the file") {
  LoneFile lone;
  lone.write(0, 2 * page, 1);
  lone.sync();
  lone.write(2 * page, 2 * page, 2);
  CHECK(lone.allocate(4 * page, 2 * page));
  lone.punch(0, page);
  std::set<uint64_t> counts;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SimSpace space;
    std::shared_ptr<SimFile> copy = lone.file().clone(space);
    Random random(seed);
    copy->lose_power(page, random);
    CHECK(space.pages_count == copy->allocated_size() / page);
    CHECK(copy->allocated_size() <= (copy->size() + page - 1) / page * page);
    for (uint64_t at = 0; at < copy->size(); at += page) {
      const uint64_t word = word_at(*copy, at);
      if (word == 0) continue;
      copy->punch_hole(at, page, 1000);
      CHECK(space.pages_count == copy->allocated_size() / page);
    }
    counts.insert(space.pages_count);
    copy.reset();
    CHECK(space.pages_count == 0);
  }
  CHECK(counts.size() > 1);  // allocations without content are there or not
}

TEST_CASE("space whose sync failed is durable with the next one that does not, unlike content") {
  uint64_t lost_count = 0;
  uint64_t lost_content_count = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    LoneFile lone;
    lone.write(0, page, 1);
    CHECK(lone.allocate(page, 3 * page));
    lone.fail_sync(seed);
    const bool syncs_again = seed % 2 == 0;
    if (syncs_again) lone.sync();
    SimSpace space;
    const std::shared_ptr<SimFile> copy = lone.file().clone(space);
    Random random(seed);
    copy->lose_power(page, random);
    if (syncs_again) CHECK(copy->size() == 4 * page);
    if (syncs_again) CHECK(copy->allocated_size() >= 3 * page);
    lost_count += copy->allocated_size() < 3 * page;
    lost_content_count += syncs_again && word_at(*copy, 0) == 0;
  }
  CHECK(lost_count > 0);
  CHECK(lost_content_count > 0);
}

TEST_CASE("a file that nobody can reach takes no space") {
  LoneFile lone;
  lone.write(0, 3 * page, 1);
  lone.file().give_space_back();
  CHECK(lone.space().pages_count == 0);
  lone.file().recount();
  CHECK(lone.space().pages_count == 3);
}

TEST_CASE("pages are given back with their file") {
  PagePool pool;
  SimSpace space;
  {
    SimFile file(pool, space, 1, SimFile::Kind::regular);
    file.write(0, bytes_of(1, 3 * page), 1);
    file.settle();
    file.write(0, bytes_of(2, page), 2);
    CHECK(pool.in_use_count() == 4);
    const std::shared_ptr<SimFile> copy = file.clone(space);
    CHECK(pool.in_use_count() == 4);
  }
  CHECK(pool.in_use_count() == 0);
  CHECK(space.pages_count == 0);
}

TEST_CASE("what was never written reads as random bytes on a device, always the same") {
  LoneFile lone(SimFile::Kind::device, 8 * page);
  CHECK(lone.file().size() == 8 * page);
  const std::vector<std::byte> before = lone.file().content();
  uint32_t ones_count = 0;
  for (const std::byte byte : before) ones_count += static_cast<uint32_t>(std::popcount(static_cast<uint8_t>(byte)));
  CHECK(ones_count > 8 * page * 4 * 99 / 100);
  CHECK(ones_count < 8 * page * 4 * 101 / 100);
  CHECK(lone.file().content() == before);
  std::byte some[grain];
  CHECK(lone.file().read(3 * page + grain, some) == grain);
  CHECK(std::memcmp(some, before.data() + 3 * page + grain, grain) == 0);

  lone.write(3 * page + grain, grain, 1);
  std::vector<std::byte> expected = before;
  std::fill_n(expected.begin() + 3 * page + grain, grain, std::byte{0});
  for (uint64_t at = 0; at < grain; at += 8) expected[3 * page + grain + at] = std::byte{1};
  CHECK(lone.file().content() == expected);
  lone.after_power_losses(page, [&](const SimFile& file, uint64_t) {
    CHECK(file.size() == 8 * page);
    std::vector<std::byte> content = file.content();
    const auto written = content.begin() + 3 * page + grain;
    std::copy_n(before.begin() + 3 * page + grain, grain, written);
    CHECK(content == before);
  });
  CHECK(lone.words_after_power_loss(512, 3 * page + grain).count(1) == 1);
}

TEST_CASE("two devices hold different bytes, and a copy the same") {
  PagePool pool;
  SimSpace space;
  const SimFile one(pool, space, 1, SimFile::Kind::device, page);
  const SimFile other(pool, space, 2, SimFile::Kind::device, page);
  CHECK(one.content() != other.content());
  CHECK(one.clone(space)->content() == one.content());
  CHECK(one.writable_size(0, 2 * page) == page);
  CHECK(one.writable_size(page, page) == 0);
}

TEST_CASE("what is damaged while it is clean is damaged in both images") {
  LoneFile lone;
  lone.write(0, page, 1);
  lone.sync();
  lone.file().damage(grain, bytes_of(9, grain));
  CHECK(lone.word(grain) == 9);
  CHECK(lone.words_after_power_loss(512, grain) == Words{9});
  CHECK(lone.words_after_power_loss(page, 0) == Words{1});
}

TEST_CASE("a clean sector is damaged in both images although its page is not clean") {
  LoneFile lone;
  lone.write(0, page, 1);
  lone.sync();
  lone.write(0, grain, 2);
  lone.file().damage(grain, bytes_of(9, grain));
  CHECK(lone.word(grain) == 9);
  CHECK(lone.words_after_power_loss(512, grain) == Words{9});
  CHECK(lone.words_after_power_loss(512, 0) == Words{1, 2, garbage_word});
}

TEST_CASE("what is damaged before it is durable is whole again if the power fails") {
  LoneFile lone;
  lone.write(0, page, 1);
  lone.sync();
  lone.write(0, page, 2);
  lone.file().damage(0, bytes_of(9, grain));
  CHECK(lone.word(0) == 9);
  CHECK(lone.words_after_power_loss(page, 0) == Words{1, 9, garbage_word});
  lone.sync();
  CHECK(lone.words_after_power_loss(page, 0) == Words{9});
}

TEST_CASE("an unreadable sector can't be read until it is written") {
  LoneFile lone;
  lone.write(0, 2 * page, 1);
  lone.file().make_unreadable(grain, 512);
  CHECK_FALSE(lone.file().is_readable(0, page));
  CHECK_FALSE(lone.file().is_readable(grain + 511, 1));
  CHECK(lone.file().is_readable(0, grain));
  CHECK(lone.file().is_readable(2 * grain, 2 * page - 2 * grain));
  lone.write(grain, 100, 1);
  CHECK_FALSE(lone.file().is_readable(grain, grain));
  lone.write(grain, grain, 1);
  CHECK(lone.file().is_readable(0, 2 * page));
}

TEST_CASE("an unreadable sector that is cut away is whole when the file grows again") {
  LoneFile lone;
  lone.resize(3 * page);
  lone.write(0, page, 1);
  for (const uint64_t at : {uint64_t{0}, 2 * grain, page, page + grain, 2 * page}) lone.file().make_unreadable(at, 512);
  lone.punch(2 * page, page);
  CHECK(lone.file().is_readable(2 * page, page));
  lone.resize(page + grain);
  lone.resize(3 * page);
  CHECK(lone.file().is_readable(page + grain, grain));
  CHECK_FALSE(lone.file().is_readable(page, grain));
  lone.resize(grain);
  lone.resize(3 * page);
  CHECK(lone.file().is_readable(grain, 3 * page - grain));
  CHECK_FALSE(lone.file().is_readable(0, grain));
}

TEST_CASE("a copy shares nothing that either changes") {
  LoneFile lone;
  lone.write(0, 2 * page, 1);
  lone.sync();
  lone.write(0, page, 2);
  SimSpace space;
  const std::shared_ptr<SimFile> copy = lone.file().clone(space);
  CHECK(copy->content() == lone.file().content());
  CHECK(space.pages_count == 2);
  lone.write(0, 2 * page, 3);
  lone.file().damage(page, bytes_of(4, grain));
  lone.sync();
  CHECK(word_at(*copy, 0) == 2);
  CHECK(word_at(*copy, page) == 1);
  copy->write(0, bytes_of(5, 3 * page), 100);
  copy->damage(page, bytes_of(6, grain));
  copy->settle();
  CHECK(lone.word(0) == 3);
  CHECK(lone.word(page) == 4);
  CHECK(lone.words_after_power_loss(page, 0) == Words{3});
  CHECK(lone.file().size() == 2 * page);
  CHECK(lone.space().pages_count == 2);
  CHECK(space.pages_count == 3);
}

}  // namespace
}  // namespace spindle
