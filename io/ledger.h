// The ledger: in debug, test and sanitizer builds (SPINDLE_LEDGER) it follows every operation between submit and
// its final result, above both backends, and traps on
//   1. an operation that is submitted while it is in flight, or ends without having been submitted;
//   2. a read into memory that another operation in flight reads into or writes from;
//   3. a write from memory that a read in flight fills;
//   4. a write buffer that changed while it was in flight (checksums differ);
//   5. a close that reaches the backend while operations on the descriptor are in flight;
//   6. an access to a read buffer in flight (poisoned; with ASan only).
// A frame that is destroyed with an operation in flight traps in every build (runtime/leaf.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

namespace spindle {

class Operation;

class Ledger {
 public:
#if SPINDLE_LEDGER
  static constexpr bool enabled = true;
#else
  static constexpr bool enabled = false;
#endif

  void note_submit(Operation& operation) noexcept;
  void note_final(Operation& operation) noexcept;
  /// The operation vanishes with a killed host.
  void note_abandoned(Operation& operation) noexcept;
  /// The simulator is about to copy into the operation's memory.
  static void unpoison(void* memory, size_t size) noexcept;

 private:
  struct Range {
    uintptr_t begin;
    uintptr_t end;
    uint64_t checksum_low = 0;
    uint64_t checksum_high = 0;
  };
  struct Entry {
    bool is_read = false;
    std::vector<Range> ranges;
  };

  void check_overlap(const Entry& entry) const noexcept;
  void remove(Operation& operation, bool compare) noexcept;

  std::unordered_map<const Operation*, Entry> entries_;  // never iterated: its order is not deterministic
  std::multimap<uintptr_t, uintptr_t> reads_;            // begin → end of the memory that is being filled
  std::multimap<uintptr_t, uintptr_t> writes_;           // begin → end of the memory that is being written out
};

}  // namespace spindle
