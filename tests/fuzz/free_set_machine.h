// A free set and its model, side by side: the machine of the fuzzer `free_set`. Each action does what the model allows,
// and nothing where it allows nothing.
#pragma once

#include <optional>
#include <vector>

#include "io/sim/event_hash.h"
#include "lsm/free_set.h"
#include "runtime/random.h"
#include "tests/fuzz/free_set_model.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

enum class FreeSetMark : uint8_t {
  large_set,
  limit_inside_word,
  used_up,
  reserve_refused,
  empty_window,
  window_over_acquired,
  window_over_shards,
  window_exhausted,
  windows_in_turns,
  forfeit_with_blocks_left,
  acquired_while_forfeiting,
  released_before_durability,
  released_before_durability_full,
  durable_with_both_released,
  encoded_with_released,
  encoded_twice,
  trailers_acquired,
  reopened_with_trailers,
  reopened_before_mark,
  reopened_with_other_limit,
  reset_with_reservations,
  fault_first,  // and one for each fault
};
inline constexpr const char* free_set_mark_names[] = {
    "a set of more than 2^18 blocks",
    "a storage limit inside of a word",
    "no block is free",
    "more was to be reserved than is free",
    "a reservation of nothing",
    "a window with acquired blocks in it",
    "a window over several shards",
    "an acquire after the last block of a window",
    "windows used by turns",
    "a reservation forfeited with blocks left",
    "an acquire between first and last forfeit",
    "a block released before durability",
    "as many released before durability as can be",
    "durability with blocks in both released sets",
    "an encoding with released blocks",
    "an encoding that was never referred to",
    "trailers acquired after an encoding",
    "opened with trailers",
    "opened while an encoding was on its way",
    "opened with another storage limit",
    "reset with reservations open",
    "acquired_encoding",
    "acquired_beyond_end",
    "released_encoding",
    "released_not_acquired",
    "trailers_count",
    "trailer_address",
    "trailer_acquired",
};
static_assert(static_cast<size_t>(FreeSetMark::fault_first) + static_cast<size_t>(FreeSetFault::trailer_acquired) ==
              sizeof(free_set_mark_names) / sizeof(free_set_mark_names[0]));

class FreeSetMachine {
 public:
  FreeSetMachine(uint64_t seed, Coverage& coverage);

  void reserve(Random& random);
  void acquire(Random& random);
  void forfeit(Random& random);
  void release(Random& random);
  /// Encodes, and acquires trailers of reservations that are open.
  void encode(Random& random);
  void mark_not_durable(Random& random);
  void mark_durable(Random& random);
  /// A crash, and the last image that a superblock refers to; with luck also a damaged one before.
  void reopen(Random& random);
  void reset(Random& random);

  /// Counts, extremes and a few addresses.
  void check(Random& random);
  uint64_t finish();

 private:
  struct Window {
    FreeSet::Reservation reservation;
    WindowModel model;
  };

  static FreeSet make(uint64_t blocks_count, uint32_t before_max);
  void mark(FreeSetMark reached) { coverage_.mark(static_cast<size_t>(reached)); }
  void fill(Random& random);
  void reserve_count(uint64_t count);
  void acquire_one(Window& window);
  void forfeit_one(size_t place);
  void forfeit_all();
  void release_one(uint64_t address);
  void open_image(uint64_t blocks_count);
  void flip_bit(std::vector<std::byte>& encoding, Random& random) const;
  void open_damaged(Random& random);
  uint64_t other_limit(Random& random) const;
  void check_address(uint64_t address);
  void check_all();

  uint32_t before_max_;
  Coverage& coverage_;
  std::optional<FreeSet> set_;
  FreeSetModel model_;
  std::vector<Window> windows_;
  size_t window_last_ = 0;  // that was acquired from
  bool is_forfeiting_ = false;
  uint64_t session_ = 1;
  FreeSetImage image_;  // what the superblock refers to
  std::optional<FreeSetImage> pending_;  // encoded since
  EventHash hash_;
};

}  // namespace spindle::fuzz
