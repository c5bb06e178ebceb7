#include "benchmarks/units.h"

#include <ctype.h>
#include <stdio.h>

#include <charconv>
#include <iterator>
#include <string_view>

namespace spindle::bench {

Checked<uint64_t> size_of_text(const std::string& text) {
  const Failure bad{"bad size '" + text + "': give a number with k, m, g or t, like 4k or 1g"};
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc{}) return {0, bad};
  std::string suffix;
  for (const char* c = rest; c != end; ++c) suffix.push_back(static_cast<char>(tolower(*c)));
  if (suffix.empty() || suffix == "b") return {number, {}};
  const size_t power = std::string("kmgt").find(suffix[0]);
  const std::string unit = suffix.substr(1);
  if (power == std::string::npos || !(unit.empty() || unit == "b" || unit == "ib")) return {0, bad};
  const auto shift = static_cast<uint32_t>(10 * (power + 1));
  if (number > (UINT64_MAX >> shift)) return {0, bad};
  return {number << shift, {}};
}

Checked<double> seconds_of_text(const std::string& text) {
  struct Unit {
    std::string_view suffix;
    double seconds;
  };
  static constexpr Unit units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"m", 60}, {"h", 3600}};
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  const std::string_view suffix(rest, static_cast<size_t>(end - rest));
  for (const Unit& unit : units) {
    if (code == std::errc{} && number >= 0 && suffix == unit.suffix) return {number * unit.seconds, {}};
  }
  return {0, {"bad time '" + text + "': give seconds, or a number with ms, s, m or h"}};
}

std::string text_of(const char* format, double number) {
  char text[64];
  snprintf(text, sizeof(text), format, number);
  return text;
}

namespace {
std::string three_digits(double number) {
  if (number >= 99.95) return text_of("%.0f", number);
  return number >= 9.995 ? text_of("%.1f", number) : text_of("%.2f", number);
}
}  // namespace

std::string text_of_count(double count) {
  if (count < 999.5) return text_of("%.0f", count);
  if (count < 999.5e3) return three_digits(count / 1e3) + " k";
  return three_digits(count / 1e6) + " M";
}

std::string text_of_bytes(uint64_t size_bytes) {
  static constexpr const char* units[] = {" bytes", " KiB", " MiB", " GiB", " TiB", " PiB"};
  auto number = static_cast<double>(size_bytes);
  size_t unit = 0;
  for (; number >= 1024 && unit + 1 < std::size(units); ++unit) number /= 1024;
  const bool whole = number == static_cast<double>(static_cast<uint64_t>(number));
  return (whole ? text_of("%.0f", number) : three_digits(number)) + units[unit];
}

std::string text_of_ns(double ns) {
  if (ns < 999.5) return text_of("%.0f ns", ns);
  if (ns < 999.5e3) return three_digits(ns / 1e3) + " us";
  if (ns < 999.5e6) return three_digits(ns / 1e6) + " ms";
  return three_digits(ns / 1e9) + " s";
}

}  // namespace spindle::bench
