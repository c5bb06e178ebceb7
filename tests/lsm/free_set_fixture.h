// What the tests of the free set share: making, opening, encoding and reopening one in a line each.
#pragma once

#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "lsm/free_set.h"

namespace spindle {

using EncodingBytes = std::vector<std::byte>;
using Addresses = std::vector<uint64_t>;

inline FreeSet make_free_set(uint64_t blocks_count, uint32_t before_max = 100) {
  Result<FreeSet> made = FreeSet::create({blocks_count, before_max});
  REQUIRE(made.has_value());
  return std::move(*made);
}

struct EncodedSets {
  EncodingBytes acquired;
  EncodingBytes released;
};

inline FreeSetOpened open_with(FreeSet& set, const EncodedSets& encoded, const Addresses& trailers = {}) {
  const std::span<const std::byte> acquired[] = {encoded.acquired};
  const std::span<const std::byte> released[] = {encoded.released};
  return set.open({acquired, released, trailers});
}

/// Opened empty, and durable.
inline FreeSet open_free_set(uint64_t blocks_count, uint32_t before_max = 100) {
  FreeSet set = make_free_set(blocks_count, before_max);
  REQUIRE(open_with(set, {}).fault == FreeSetFault::none);
  set.mark_checkpoint_durable();
  return set;
}

inline EncodedSets encode(FreeSet& set) {
  EncodedSets encoded;
  encoded.acquired.resize(set.encode_size_max());
  encoded.released.resize(set.encode_size_max());
  const std::span<std::byte> acquired[] = {encoded.acquired};
  const std::span<std::byte> released[] = {encoded.released};
  const FreeSetEncoded sizes = set.encode(acquired, released);
  encoded.acquired.resize(sizes.acquired_size);
  encoded.released.resize(sizes.released_size);
  return encoded;
}

inline FreeSet::Reservation reserve(FreeSet& set, uint64_t count) {
  std::optional<FreeSet::Reservation> reservation = set.reserve(count);
  REQUIRE(reservation.has_value());
  return std::move(*reservation);
}

/// Reserves, acquires and forfeits.
inline Addresses acquire(FreeSet& set, uint64_t count) {
  FreeSet::Reservation reservation = reserve(set, count);
  Addresses addresses;
  for (uint64_t index = 0; index < count; ++index) {
    const std::optional<uint64_t> address = set.acquire(reservation);
    if (!address.has_value()) FAIL("a window has fewer free blocks than were reserved");
    addresses.push_back(*address);
  }
  set.forfeit(std::move(reservation));
  return addresses;
}

inline void checkpoint(FreeSet& set) {
  set.mark_checkpoint_not_durable();
  set.mark_checkpoint_durable();
}

}  // namespace spindle
