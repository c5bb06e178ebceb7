#include "lsm/format_mark.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/format_example.h"

namespace spindle {
namespace {

std::vector<std::byte> mark() {
  std::vector<std::byte> sector(format_mark_size, std::byte{0xee});
  fill_with_mark(sector);
  return sector;
}

TEST_CASE("a mark is what docs/FORMAT.md says, eight times") {
  const std::vector<std::byte> made = mark();
  CHECK(is_mark(made));
  CHECK(is_torn_mark(made));
  const std::vector<std::byte> documented = format_example("Mark of a format under way");
  REQUIRE(documented.size() < 512);
  for (size_t piece = 0; piece < made.size(); piece += 512) {
    const std::vector<std::byte> front(made.begin() + static_cast<ptrdiff_t>(piece),
                                       made.begin() + static_cast<ptrdiff_t>(piece + documented.size()));
    CHECK_MESSAGE(front == documented, hex_dump(front));
    for (size_t at = documented.size(); at < 512; ++at) CHECK(made[piece + at] == std::byte{});
  }
}

TEST_CASE("a mark with any byte changed is none, and a torn one as long as one piece is whole") {
  const std::vector<std::byte> whole = mark();
  for (size_t at = 0; at < whole.size(); ++at) {
    std::vector<std::byte> sector = whole;
    sector[at] ^= std::byte{0x80};
    if (is_mark(sector) || !is_torn_mark(sector)) FAIL_CHECK("byte ", at);
  }
}

TEST_CASE("a torn mark has a piece of zeroes or of the mark, wherever that is") {
  const std::vector<std::byte> whole = mark();
  std::vector<std::byte> sector(format_mark_size, std::byte{0x5a});
  CHECK_FALSE(is_torn_mark(sector));
  for (size_t piece = 0; piece < sector.size(); piece += 512) {
    for (const bool is_zero : {false, true}) {
      std::vector<std::byte> torn = sector;
      for (size_t at = piece; at < piece + 512; ++at) torn[at] = is_zero ? std::byte{} : whole[at];
      CHECK(is_torn_mark(torn));
      CHECK_FALSE(is_mark(torn));
      torn[piece + 511] = std::byte{1};
      CHECK_FALSE(is_torn_mark(torn));
    }
  }
}

}  // namespace
}  // namespace spindle
