// The free set, written down a second time with sets of addresses: what the fuzzer `free_set` compares it with.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "lsm/free_set.h"

namespace spindle::fuzz {

/// What a window is: the addresses that it gives out, in order, known from the beginning.
struct WindowModel {
  uint64_t begin = 0;
  uint64_t end = 0;
  std::vector<uint64_t> addresses;
  size_t taken_count = 0;
};

struct FreeSetModel {
  using Addresses = std::set<uint64_t>;

  explicit FreeSetModel(uint64_t blocks_count_value) : blocks_count(blocks_count_value) {
    for (uint64_t address = 1; address <= blocks_count; ++address) free.insert(free.end(), address);
  }

  std::optional<WindowModel> reserve(uint64_t count) {
    WindowModel window;
    window.begin = window_begin;
    window.end = window_begin;
    for (auto at = free.lower_bound(window_begin); at != free.end() && window.addresses.size() < count; ++at) {
      window.addresses.push_back(*at);
      window.end = *at + 1;
    }
    if (window.addresses.size() < count) return std::nullopt;
    window_begin = window.end;
    return window;
  }
  std::optional<uint64_t> acquire(WindowModel& window) {
    if (window.taken_count == window.addresses.size()) return std::nullopt;
    const uint64_t address = window.addresses[window.taken_count++];
    free.erase(address);
    acquired.insert(address);
    return address;
  }
  void release(uint64_t address) {
    acquired.erase(address);
    (is_durable ? released : before).insert(address);
  }
  void mark_durable() {
    free.insert(released.begin(), released.end());
    released = std::move(before);
    before.clear();
    is_durable = true;
    window_begin = 1;
  }
  bool is_free(uint64_t address) const { return free.count(address) == 1; }
  bool is_released(uint64_t address) const { return released.count(address) + before.count(address) == 1; }
  uint64_t highest_released() const { return std::max(highest_of(released), highest_of(before)); }
  uint64_t highest_acquired() const { return std::max(highest_of(acquired), highest_released()); }

  /// Bit by bit, as words: of all that is acquired, or of what is released.
  std::vector<uint64_t> words_of(bool only_released) const {
    std::vector<uint64_t> words((blocks_count + 63) / 64);
    const auto add = [&words](const Addresses& addresses) {
      for (const uint64_t address : addresses) words[(address - 1) / 64] |= uint64_t{1} << ((address - 1) % 64);
    };
    add(released);
    if (!only_released) add(acquired);
    if (!only_released) add(before);
    return words;
  }

  static uint64_t highest_of(const Addresses& addresses) { return addresses.empty() ? 0 : *addresses.rbegin(); }

  uint64_t blocks_count;
  Addresses free;
  Addresses acquired;  // and not released
  Addresses released;
  Addresses before;    // released before durability
  uint64_t window_begin = 1;
  bool is_durable = false;
};

/// What a superblock refers to.
struct FreeSetImage {
  std::vector<std::byte> acquired;
  std::vector<std::byte> released;
  std::vector<uint64_t> trailers;
};

/// What open() has to say of an image, and the model of it when nothing.
FreeSetOpened open_model(const FreeSetImage& image, uint32_t before_max, FreeSetModel& model);

}  // namespace spindle::fuzz
