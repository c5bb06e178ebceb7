// Where zones lie, what can't be a zone, and what is no access to one.
#include "io/zone_layout.h"

#include <doctest/doctest.h>

#include "tests/death.h"

namespace spindle {
namespace {

constexpr ZoneIndex first{0};
constexpr ZoneIndex second{1};
constexpr ZoneIndex third{2};

ErrorCode code_of(const Result<ZoneIndex>& result) {
  REQUIRE_FALSE(result.has_value());
  return result.error().code;
}

TEST_CASE("zones follow one another, and begin at a multiple of their alignment") {
  ZoneLayout layout(512);
  CHECK(layout.add({.name = "a", .size = 1024}).value() == first);
  CHECK(layout.add({.name = "b", .size = 512}).value() == second);
  CHECK(layout.add({.name = "c", .size = 4096, .alignment = 2048, .size_present_min = 512}).value() == third);
  CHECK(layout.zone(first).begin == 0);
  CHECK(layout.zone(second).begin == 1024);
  CHECK(layout.zone(third).begin == 2048);
  CHECK(layout.zone(third).end() == 6144);
  CHECK(std::string(layout.zone(third).name) == "c");
  CHECK(layout.end_present_min() == 2560);
  CHECK(layout.place(second, 0, 512) == 1024);
  CHECK(layout.place(third, 3584, 512) == 5632);
  // An alignment that is no power of two, where the zone before ends at a multiple of it.
  CHECK(layout.add({.name = "d", .size = 512, .alignment = 1536, .size_present_min = 0}).has_value());
  CHECK(layout.zone(ZoneIndex{3}).begin == 6144);
  CHECK(layout.end_present_min() == 2560);
}

TEST_CASE("what can't be a zone is refused, and changes nothing") {
  ZoneLayout layout(4096);
  CHECK(code_of(layout.add({.size = 0})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = 512})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = 4097})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = 4096, .alignment = 512})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = 8192, .size_present_min = 512})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = 4096, .size_present_min = 8192})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = uint64_t{1} << 63})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = UINT64_MAX - 4095})) == ErrorCode::invalid_argument);
  CHECK(layout.zones_count() == 0);
  CHECK(layout.end_present_min() == 0);
  const uint64_t most = file_size_limit - 4095;
  REQUIRE(layout.add({.size = most - 4096, .size_present_min = 0}).has_value());
  CHECK(code_of(layout.add({.size = 8192})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = 4096, .alignment = uint64_t{1} << 62})) == ErrorCode::invalid_argument);
  CHECK(code_of(layout.add({.size = (uint64_t{1} << 63) + 8192})) == ErrorCode::invalid_argument);
  CHECK(layout.zones_count() == 1);
  CHECK(layout.add({.size = 4096}).has_value());
  CHECK(layout.end_present_min() == most);
}

TEST_CASE("there are eight zones at most") {
  ZoneLayout layout(4096);
  for (uint32_t count = 0; count < zones_count_max; ++count) CHECK(layout.add({.size = 4096}).has_value());
  CHECK(code_of(layout.add({.size = 4096})) == ErrorCode::exhausted);
}

TEST_CASE("a sector size is a power of two from 512 on") {
  for (const uint32_t size : {512u, 1024u, 4096u, 65536u}) CHECK(ZoneLayout::is_valid_sector_size(size));
  for (const uint32_t size : {0u, 1u, 256u, 513u, 1536u, 4095u}) CHECK_FALSE(ZoneLayout::is_valid_sector_size(size));
  expect_abort([] { ZoneLayout layout(1000); }, "a sector size that is no power of two");
}

void access(ZoneIndex zone, uint64_t offset, uint64_t size) {
  ZoneLayout layout(4096);
  static_cast<void>(layout.add({.name = "a", .size = 8192}));
  static_cast<void>(layout.place(zone, offset, size));
}

TEST_CASE("an access that is not to whole sectors of one zone is a caught bug") {
  expect_survival([] { access(first, 4096, 4096); });
  expect_abort([] { access(second, 0, 4096); }, "a zone that there is not");
  expect_abort([] { access(first, 0, 0); }, "no sector at all");
  expect_abort([] { access(first, 512, 4096); }, "not to whole sectors");
  expect_abort([] { access(first, 0, 4608); }, "not to whole sectors");
  expect_abort([] { access(first, 4096, 8192); }, "beyond the end of its zone");
  expect_abort([] { access(first, 8192, 4096); }, "beyond the end of its zone");
  expect_abort([] { access(first, UINT64_MAX - 4095, 8192); }, "beyond the end of its zone");
  expect_abort([] { access(first, 4096, UINT64_MAX - 4095); }, "beyond the end of its zone");
}

}  // namespace
}  // namespace spindle
