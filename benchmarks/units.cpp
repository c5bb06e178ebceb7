#include "benchmarks/units.h"

#include <stdio.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "runtime/units.h"

namespace spindle::bench {

Checked<uint64_t> size_of_text(const std::string& text) {
  const std::optional<uint64_t> size = spindle::size_of_text(text);
  if (size.has_value()) return {*size, {}};
  return {0, {"bad size '" + text + "': give a number with k, m, g or t, like 4k or 1g"}};
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

std::string text_of_bytes(uint64_t size_bytes) { return text_of_size(size_bytes); }

std::string text_of_ns(double ns) {
  if (ns < 999.5) return text_of("%.0f ns", ns);
  if (ns < 999.5e3) return three_digits(ns / 1e3) + " us";
  if (ns < 999.5e6) return three_digits(ns / 1e6) + " ms";
  return three_digits(ns / 1e9) + " s";
}

}  // namespace spindle::bench
