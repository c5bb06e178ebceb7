// Makes a list that fails shorter, and asks for each candidate whether it still fails: delta debugging (Zeller and
// Hildebrandt: "Simplifying and isolating failure-inducing input", 2002).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spindle::fuzz {

class ShrinkTest {
 public:
  /// A part of the list, in its order, fails as the whole list does.
  virtual bool fails(std::span<const uint32_t> items) = 0;
  /// It is time to stop with what is there.
  virtual bool is_over() = 0;

 protected:
  ~ShrinkTest() = default;
};

/// A part of `items` that fails, of which no single item, and few things larger, can be left out; or what was found
/// when the time was over. The whole list fails. Finds a short beginning first: what comes after a failure is idle.
std::vector<uint32_t> shrink(std::vector<uint32_t> items, ShrinkTest& test);

}  // namespace spindle::fuzz
