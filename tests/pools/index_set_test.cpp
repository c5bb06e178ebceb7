// The hierarchical bit set, against a std::set.
#include "pools/index_set.h"

#include <doctest/doctest.h>

#include <set>

#include "runtime/random.h"
#include "tests/death.h"

namespace spindle {
namespace {

IndexSet make_full(uint32_t capacity) {
  Result<IndexSet> made = IndexSet::create_full(capacity);
  REQUIRE(made.has_value());
  return std::move(*made);
}

// Rounding up must not overflow: nobody makes a set of half a gibibyte to see it.
static_assert(IndexSet::words_count_of(1) == 1);
static_assert(IndexSet::words_count_of(64) == 1);
static_assert(IndexSet::words_count_of(65) == 2 + 1);
static_assert(IndexSet::words_count_of(4096) == 64 + 1);
static_assert(IndexSet::words_count_of(4097) == 65 + 2 + 1);
static_assert(IndexSet::words_count_of(UINT32_MAX) == (1u << 26) + (1u << 20) + (1u << 14) + (1u << 8) + 4 + 1);
static_assert(IndexSet::words_count_of(UINT32_MAX - 62) == (1u << 26) + (1u << 20) + (1u << 14) + (1u << 8) + 4 + 1);

TEST_CASE("a full set gives out all its indices in order, whatever its capacity") {
  for (const uint32_t capacity :
       {1u, 2u, 63u, 64u, 65u, 127u, 128u, 4095u, 4096u, 4097u, 262'143u, 262'144u, 262'145u}) {
    CAPTURE(capacity);
    IndexSet set = make_full(capacity);
    CHECK(set.capacity() == capacity);
    CHECK(set.is_consistent());
    uint32_t wrong_count = 0;
    for (uint32_t index = 0; index < capacity; ++index) wrong_count += set.take_lowest() != index;
    CHECK(wrong_count == 0);
    CHECK(set.empty());
    CHECK(set.is_consistent());
    set.insert(capacity - 1);
    CHECK_FALSE(set.empty());
    CHECK(set.is_consistent());
    CHECK(set.take_lowest() == capacity - 1);
    set.fill();
    CHECK(set.is_consistent());
    CHECK(set.contains(0));
    CHECK(set.contains(capacity - 1));
  }
}

TEST_CASE("a set of indices agrees with a std::set under random changes") {
  for (const uint32_t capacity : {7u, 64u, 200u, 5000u, 300'000u}) {
    CAPTURE(capacity);
    Random random(capacity);
    IndexSet set = make_full(capacity);
    std::set<uint32_t> model;
    uint32_t wrong_count = 0;
    while (!set.empty()) set.take_lowest();
    for (uint32_t step = 0; step < 50'000; ++step) {
      const uint32_t index = static_cast<uint32_t>(random.below(capacity));
      wrong_count += set.contains(index) != (model.count(index) == 1);
      if (random.chance(55, 100)) {
        if (model.insert(index).second) set.insert(index);
      } else if (!model.empty()) {
        wrong_count += set.take_lowest() != *model.begin();
        model.erase(model.begin());
      }
      wrong_count += set.empty() != model.empty();
    }
    CHECK(wrong_count == 0);
    CHECK(set.is_consistent());
  }
}

TEST_CASE("an index that is taken out, the next one from a place on and the highest one agree with a std::set") {
  for (const uint32_t capacity : {1u, 63u, 64u, 65u, 4096u, 4097u, 300'000u}) {
    CAPTURE(capacity);
    Random random(capacity);
    Result<IndexSet> made = IndexSet::create_empty(capacity);
    REQUIRE(made.has_value());
    IndexSet& set = *made;
    CHECK(set.empty());
    CHECK(set.is_consistent());
    std::set<uint32_t> model;
    uint32_t wrong_count = 0;
    for (uint32_t step = 0; step < 20'000; ++step) {
      const uint32_t index = static_cast<uint32_t>(random.below(capacity));
      // Few at first, then many, then few again: words and words of words become empty and full.
      const bool is_growing = step < 10'000;
      if (random.chance(is_growing ? 3 : 1, 4)) {
        if (model.insert(index).second) set.insert(index);
      } else if (const auto next = model.lower_bound(index); next != model.end()) {
        set.erase(*next);
        model.erase(next);
      }
      const uint32_t begin = static_cast<uint32_t>(random.below(capacity + 2));
      const auto next = model.lower_bound(begin);
      wrong_count += set.lowest_from(begin) != (next == model.end() ? capacity : *next);
      wrong_count += set.end() != (model.empty() ? 0 : *model.rbegin() + 1);
    }
    CHECK(wrong_count == 0);
    CHECK(set.is_consistent());
    CHECK(set.lowest_from(UINT32_MAX) == capacity);
    set.clear();
    CHECK(set.empty());
    CHECK(set.is_consistent());
    CHECK(set.lowest_from(0) == capacity);
    CHECK(set.end() == 0);
  }
}

TEST_CASE("taking from an empty set, putting in twice and an index beyond the capacity are caught") {
  expect_abort(
      [] {
        IndexSet set = make_full(1);
        set.take_lowest();
        set.take_lowest();
      },
      "the lowest index of an empty set");
  expect_abort(
      [] {
        IndexSet set = make_full(70);
        set.erase(69);
        set.erase(69);
      },
      "an index was taken out of a set that it is not in");
  expect_abort([] { make_full(70).insert(69); }, "an index was put into a set that it is in");
  expect_abort([] { static_cast<void>(make_full(70).contains(70)); }, "an index beyond the capacity of its set");
}

}  // namespace
}  // namespace spindle
