#include "runtime/units.h"

#include <charconv>
#include <cstdio>
#include <iterator>

namespace spindle {

namespace {

char lower_of(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string three_digits(double number) {
  char text[32];
  const int digits = number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  std::snprintf(text, sizeof(text), "%.*f", digits, number);
  return text;
}

}  // namespace

std::optional<uint64_t> size_of_text(std::string_view text) {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc{}) return std::nullopt;
  std::string suffix;
  for (const char* c = rest; c != end; ++c) suffix.push_back(lower_of(*c));
  if (suffix.empty() || suffix == "b") return number;
  const size_t power = std::string_view("kmgt").find(suffix[0]);
  const std::string unit = suffix.substr(1);
  if (power == std::string_view::npos || !(unit.empty() || unit == "b" || unit == "ib")) return std::nullopt;
  const auto shift = static_cast<uint32_t>(10 * (power + 1));
  if (number > (UINT64_MAX >> shift)) return std::nullopt;
  return number << shift;
}

std::string text_of_size(uint64_t size) {
  static constexpr const char* units[] = {" bytes", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
  auto number = static_cast<double>(size);
  size_t unit = 0;
  for (; number >= 1024 && unit + 1 < std::size(units); ++unit) number /= 1024;
  const bool is_whole = number == static_cast<double>(static_cast<uint64_t>(number));
  return (is_whole ? std::to_string(static_cast<uint64_t>(number)) : three_digits(number)) + units[unit];
}

}  // namespace spindle
