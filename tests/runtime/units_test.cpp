#include "runtime/units.h"

#include <doctest/doctest.h>

namespace spindle {
namespace {

TEST_CASE("a size is a number with a suffix of powers of 1024") {
  CHECK(size_of_text("0") == 0);
  CHECK(size_of_text("4096") == 4096);
  CHECK(size_of_text("7b") == 7);
  for (const char* const text : {"4k", "4K", "4kb", "4KB", "4kib", "4KiB"}) CHECK(size_of_text(text) == 4096);
  CHECK(size_of_text("3m") == 3u << 20);
  CHECK(size_of_text("2G") == uint64_t{2} << 30);
  CHECK(size_of_text("1T") == uint64_t{1} << 40);
  CHECK(size_of_text("18446744073709551615") == UINT64_MAX);
  CHECK(size_of_text("16777215T") == uint64_t{16777215} << 40);
}

TEST_CASE("other text is no size, and so is what 64 bits do not hold") {
  for (const char* const text : {"", " ", "k", "-1", "+1", "1.5G", "1 k", "1x", "1kk", "1kbb", "1ki", "0x10", "ten",
                                 "18446744073709551616", "16777216T", "1k "}) {
    CAPTURE(text);
    CHECK_FALSE(size_of_text(text).has_value());
  }
}

TEST_CASE("a size as text has three digits at most") {
  CHECK(text_of_size(0) == "0 bytes");
  CHECK(text_of_size(1023) == "1023 bytes");
  CHECK(text_of_size(4096) == "4 KiB");
  CHECK(text_of_size((uint64_t{3} << 30) / 2) == "1.50 GiB");
  CHECK(text_of_size(uint64_t{100} << 30) == "100 GiB");
  CHECK(text_of_size(12'900'000) == "12.3 MiB");
  CHECK(text_of_size(UINT64_MAX) == "16 EiB");
}

}  // namespace
}  // namespace spindle
