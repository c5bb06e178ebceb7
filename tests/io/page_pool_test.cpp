// The pages that images of simulated disks share.
#include "io/sim/page_pool.h"

#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "runtime/random.h"
#include "tests/death.h"

namespace spindle {
namespace {

TEST_CASE("a page that is acquired is nobody else's") {
  PagePool pool;
  std::set<PageId> pages;
  for (uint32_t index = 0; index < 2000; ++index) {
    const PageId page = pool.acquire();
    CHECK(page != page_none);
    CHECK(pages.insert(page).second);
    std::memset(pool.at(page), static_cast<int>(index), PagePool::page_size);
  }
  CHECK(pool.in_use_count() == 2000);
  uint32_t index = 0;
  for (const PageId page : pages) {
    CHECK(pool.at(page)[0] == pool.at(page)[PagePool::page_size - 1]);
    pool.release(page);
    ++index;
  }
  CHECK(index == 2000);
  CHECK(pool.in_use_count() == 0);
}

TEST_CASE("a page lives until its last reference is released") {
  PagePool pool;
  const PageId page = pool.acquire();
  CHECK_FALSE(pool.is_shared(page));
  pool.share(page);
  CHECK(pool.is_shared(page));
  pool.release(page);
  CHECK_FALSE(pool.is_shared(page));
  CHECK(pool.in_use_count() == 1);
  pool.release(page);
  CHECK(pool.in_use_count() == 0);
  CHECK(pool.acquire() == page);
  pool.release(page);
}

TEST_CASE("pages are given again in the order of last release, first") {
  PagePool pool;
  const PageId first = pool.acquire();
  const PageId second = pool.acquire();
  pool.release(first);
  pool.release(second);
  CHECK(pool.acquire() == second);
  CHECK(pool.acquire() == first);
}

TEST_CASE("no page can be shared and released to no effect") {
  PagePool pool;
  pool.share(page_none);
  pool.release(page_none);
  CHECK(pool.in_use_count() == 0);
}

TEST_CASE("a page that is released once too often is a bug") {
  expect_abort(
      [] {
        PagePool pool;
        const PageId page = pool.acquire();
        pool.release(page);
        pool.release(page);
      },
      "released twice");
}

TEST_CASE("pages keep what was written to them while others come and go") {
  PagePool pool;
  Random random(5);
  std::map<PageId, std::pair<int, uint32_t>> model;  // what it holds, and references
  for (uint32_t step = 0; step < 20'000; ++step) {
    const uint64_t choice = random.below(8);
    if (model.empty() || choice < 4) {
      const PageId page = pool.acquire();
      const int fill = static_cast<int>(step % 256);
      REQUIRE(model.emplace(page, std::pair<int, uint32_t>(fill, 1)).second);
      std::memset(pool.at(page), fill, PagePool::page_size);
      continue;
    }
    const auto chosen =
        std::next(model.begin(), static_cast<ptrdiff_t>(random.below(std::min<size_t>(model.size(), 50))));
    const auto [fill, references] = chosen->second;
    REQUIRE(pool.at(chosen->first)[random.below(PagePool::page_size)] == static_cast<std::byte>(fill));
    REQUIRE(pool.is_shared(chosen->first) == (references > 1));
    if (choice == 4) {
      pool.share(chosen->first);
      ++chosen->second.second;
      continue;
    }
    pool.release(chosen->first);
    if (--chosen->second.second == 0) model.erase(chosen);
  }
  CHECK(pool.in_use_count() == model.size());
}

}  // namespace
}  // namespace spindle
