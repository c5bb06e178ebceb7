#include "io/sim/fuzz_shrink.h"

#include <algorithm>
#include <utility>

namespace spindle::fuzz {

namespace {

// Neighbours that are worth nothing without each other: a push and the pop that takes it.
constexpr size_t window_max = 16;
// And such ones that are apart: n² / 2 candidates.
constexpr size_t pairs_of_items_max = 64;

class Shrinking {
 public:
  Shrinking(std::vector<uint32_t> items, ShrinkTest& test) : items_(std::move(items)), test_(test) {}

  std::vector<uint32_t> run() {
    if (items_.empty() || keep({})) return {};
    shorten();
    split();
    while (!test_.is_over() && (leave_out_windows() || leave_out_pairs())) {
    }
    return std::move(items_);
  }

 private:
  /// Makes it the list if it fails.
  bool keep(std::vector<uint32_t> candidate) {
    if (test_.is_over() || !test_.fails(candidate)) return false;
    items_ = std::move(candidate);
    return true;
  }
  std::vector<uint32_t> without(size_t place, size_t count) const {
    std::vector<uint32_t> rest(items_.begin(), items_.begin() + static_cast<ptrdiff_t>(place));
    rest.insert(rest.end(), items_.begin() + static_cast<ptrdiff_t>(std::min(place + count, items_.size())),
                items_.end());
    return rest;
  }

  // Binary search for the shortest beginning that fails. All events up to the failure are in it.
  void shorten() {
    size_t passes_count = 0;
    while (passes_count + 1 < items_.size() && !test_.is_over()) {
      const size_t middle = passes_count + (items_.size() - passes_count) / 2;
      if (!keep(without(middle, items_.size()))) passes_count = middle;
    }
  }

  // Leaves out a part of a half, a quarter, …, down to single items.
  void split() {
    for (size_t size = items_.size() / 2; size > 0 && !test_.is_over();) {
      bool is_shorter = false;
      // From the end: later events depend on earlier ones, seldom the other way round.
      for (size_t end = items_.size(); end > 0 && !test_.is_over();) {
        const size_t place = end > size ? end - size : 0;
        if (keep(without(place, end - place))) is_shorter = true;
        end = place;
      }
      if (size == 1 && !is_shorter) break;
      if (size > 1) size /= 2;
    }
  }

  bool leave_out_windows() {
    bool is_shorter = false;
    for (size_t size = 1; size <= std::min(window_max, items_.size()); ++size) {
      for (size_t end = items_.size(); end >= size && !test_.is_over(); --end) {
        if (keep(without(end - size, size))) is_shorter = true;
        end = std::min(end, items_.size() + 1);
      }
    }
    return is_shorter;
  }

  bool leave_out_pairs() {
    if (items_.size() > pairs_of_items_max) return false;
    for (size_t later = items_.size(); later-- > 1;) {
      for (size_t earlier = later; earlier-- > 0 && !test_.is_over();) {
        std::vector<uint32_t> candidate = without(later, 1);
        candidate.erase(candidate.begin() + static_cast<ptrdiff_t>(earlier));
        if (keep(std::move(candidate))) return true;
      }
    }
    return false;
  }

  std::vector<uint32_t> items_;
  ShrinkTest& test_;
};

}  // namespace

std::vector<uint32_t> shrink(std::vector<uint32_t> items, ShrinkTest& test) {
  return Shrinking(std::move(items), test).run();
}

}  // namespace spindle::fuzz
