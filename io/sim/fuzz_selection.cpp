#include "io/sim/fuzz_selection.h"

#include <algorithm>
#include <charconv>

namespace spindle::fuzz {

namespace {

/// The part before the first comma, which it takes away with that comma.
std::string_view take_part(std::string_view& text) noexcept {
  const size_t comma = text.find(',');
  const std::string_view part = text.substr(0, comma);
  text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  return part;
}

/// An empty part at the end is one too: "1,".
bool ends_well(std::string_view text) noexcept { return !text.empty() && text.back() != ','; }

}  // namespace

std::optional<uint64_t> parse_number(std::string_view text, uint64_t most) noexcept {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result parsed = std::from_chars(text.data(), end, number, 10);
  if (parsed.ec != std::errc() || parsed.ptr != end || number > most) return std::nullopt;
  return number;
}

EventSelection::EventSelection(std::span<const uint32_t> numbers) {
  for (const uint32_t number : numbers) ranges_.push_back({number, number});
  join_ranges();
}

std::optional<EventSelection> EventSelection::parse(std::string_view text) {
  EventSelection selection;
  if (text == "none") return selection;
  if (!ends_well(text)) return std::nullopt;
  while (!text.empty()) {
    const std::string_view part = take_part(text);
    const size_t dash = part.find('-');
    const auto first = parse_number(part.substr(0, dash), UINT32_MAX);
    const auto last = dash == std::string_view::npos ? first : parse_number(part.substr(dash + 1), UINT32_MAX);
    if (!first.has_value() || !last.has_value() || *first == 0 || *last < *first) return std::nullopt;
    selection.ranges_.push_back({static_cast<uint32_t>(*first), static_cast<uint32_t>(*last)});
  }
  selection.join_ranges();
  return selection;
}

void EventSelection::join_ranges() {
  std::sort(ranges_.begin(), ranges_.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  std::vector<Range> joined;
  for (const Range& range : ranges_) {
    if (!joined.empty() && range.first <= uint64_t{joined.back().last} + 1) {
      joined.back().last = std::max(joined.back().last, range.last);
    } else {
      joined.push_back(range);
    }
  }
  ranges_ = std::move(joined);
}

bool EventSelection::contains(uint32_t number) const noexcept {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), number,
                                      [](uint32_t value, const Range& range) { return value < range.first; });
  return after != ranges_.begin() && number <= (after - 1)->last;
}

std::string EventSelection::text() const {
  if (ranges_.empty()) return "none";
  std::string text;
  for (const Range& range : ranges_) {
    if (!text.empty()) text += ',';
    text += std::to_string(range.first);
    if (range.last > range.first) text += '-' + std::to_string(range.last);
  }
  return text;
}

FaultSelection::FaultSelection(std::vector<FaultId> ids) : ids_(std::move(ids)) {
  std::sort(ids_.begin(), ids_.end());
  ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
}

std::optional<FaultSelection> FaultSelection::parse(std::string_view text) {
  if (text == "none") return FaultSelection();
  if (!ends_well(text)) return std::nullopt;
  std::vector<FaultId> ids;
  while (!text.empty()) {
    const std::string_view part = take_part(text);
    const size_t dot = part.find('.');
    if (dot == std::string_view::npos) return std::nullopt;
    const auto trace = parse_number(part.substr(0, dot), UINT32_MAX);
    const auto number = parse_number(part.substr(dot + 1), UINT32_MAX);
    if (!trace.has_value() || !number.has_value() || *number == 0) return std::nullopt;
    ids.push_back({static_cast<uint32_t>(*trace), static_cast<uint32_t>(*number)});
  }
  return FaultSelection(std::move(ids));
}

bool FaultSelection::allows(FaultId id, Fault) noexcept { return std::binary_search(ids_.begin(), ids_.end(), id); }

std::string FaultSelection::text() const {
  if (ids_.empty()) return "none";
  std::string text;
  for (const FaultId& id : ids_) {
    if (!text.empty()) text += ',';
    text += std::to_string(id.trace) + '.' + std::to_string(id.number);
  }
  return text;
}

}  // namespace spindle::fuzz
