// Which events and which faults of a run take place: lists as they stand on a command line, `1,5-9` and `3.1,7.2`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/sim/disk_faults.h"

namespace spindle::fuzz {

/// Numbers of events, from 1.
class EventSelection {
 public:
  /// None of them.
  EventSelection() = default;
  /// Of numbers in any order.
  explicit EventSelection(std::span<const uint32_t> numbers);
  /// "1,5-9" in any order, or "none". No value: it is no such list.
  static std::optional<EventSelection> parse(std::string_view text);

  bool contains(uint32_t number) const noexcept;
  /// As parse() reads it.
  std::string text() const;

 private:
  struct Range {
    uint32_t first;
    uint32_t last;
  };
  void join_ranges();

  std::vector<Range> ranges_;  // ascending, with gaps between them
};

/// Faults, by the event and the operation that they hit. Only these happen.
class FaultSelection final : public FaultFilter {
 public:
  FaultSelection() = default;
  /// In any order.
  explicit FaultSelection(std::vector<FaultId> ids);
  /// "3.1,7.2" in any order, or "none": trace and number of each. No value: it is no such list.
  static std::optional<FaultSelection> parse(std::string_view text);

  bool allows(FaultId id, Fault fault) noexcept override;
  std::span<const FaultId> ids() const noexcept { return ids_; }
  std::string text() const;

 private:
  std::vector<FaultId> ids_;  // ascending
};

/// A decimal number of at most `most`, and nothing else.
std::optional<uint64_t> parse_number(std::string_view text, uint64_t most) noexcept;

}  // namespace spindle::fuzz
