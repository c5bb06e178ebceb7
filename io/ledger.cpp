#include "io/ledger.h"

#include <xxhash.h>

#include "io/descriptor.h"
#include "io/operation.h"
#include "runtime/assert.h"

#if defined(__SANITIZE_ADDRESS__)
#define SPINDLE_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPINDLE_HAS_ASAN 1
#endif
#endif
#if SPINDLE_HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace spindle {

namespace {

void poison([[maybe_unused]] uintptr_t begin, [[maybe_unused]] uintptr_t end) noexcept {
#if SPINDLE_HAS_ASAN
  __asan_poison_memory_region(reinterpret_cast<void*>(begin), end - begin);
#endif
}

// Ranges in a map do not overlap more than the longest of them reaches back, so all that begin before `end` are
// looked at from the front: linear, but these maps are as small as the queue depth.
bool overlaps(const std::multimap<uintptr_t, uintptr_t>& ranges, uintptr_t begin, uintptr_t end) noexcept {
  for (auto at = ranges.begin(); at != ranges.end() && at->first < end; ++at) {
    if (at->second > begin) return true;
  }
  return false;
}

void erase_one(std::multimap<uintptr_t, uintptr_t>& ranges, uintptr_t begin, uintptr_t end) noexcept {
  for (auto at = ranges.lower_bound(begin); at != ranges.end() && at->first == begin; ++at) {
    if (at->second != end) continue;
    ranges.erase(at);
    return;
  }
  SPINDLE_ASSERT(false, "the ledger lost a buffer");
}

}  // namespace

void Ledger::unpoison([[maybe_unused]] void* memory, [[maybe_unused]] size_t size) noexcept {
#if SPINDLE_HAS_ASAN
  __asan_unpoison_memory_region(memory, size);
#endif
}

void Ledger::check_overlap(const Entry& entry) const noexcept {
  for (const Range& range : entry.ranges) {
    SPINDLE_ASSERT(!overlaps(reads_, range.begin, range.end),
                   "memory was handed to an operation while a read in flight fills it");
    SPINDLE_ASSERT(!entry.is_read || !overlaps(writes_, range.begin, range.end),
                   "a read was submitted into memory that a write in flight reads");
  }
}

void Ledger::note_submit(Operation& operation) noexcept {
  SPINDLE_ASSERT(!entries_.contains(&operation), "an operation was submitted while it was in flight");
  const Descriptor* descriptor = operation.descriptor();
  SPINDLE_ASSERT(operation.opcode() != Opcode::close || descriptor == nullptr || descriptor->live_count == 1,
                 "a close reached the backend while operations on its descriptor were in flight");
  Entry entry;
  entry.is_read = operation.reads_into_memory();
  if (operation.is_vectored()) {
    for (const iovec& part : operation.vector()) {
      const uintptr_t begin = reinterpret_cast<uintptr_t>(part.iov_base);
      if (part.iov_len > 0) entry.ranges.push_back({begin, begin + part.iov_len, 0, 0});
    }
  } else if (operation.is_transfer()) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(operation.memory());
    entry.ranges.push_back({begin, begin + operation.size(), 0, 0});
  }
  check_overlap(entry);
  for (Range& range : entry.ranges) {
    (entry.is_read ? reads_ : writes_).emplace(range.begin, range.end);
    if (entry.is_read) {
      poison(range.begin, range.end);
    } else {
      const XXH128_hash_t sum = XXH3_128bits(reinterpret_cast<void*>(range.begin), range.end - range.begin);
      range.checksum_low = sum.low64;
      range.checksum_high = sum.high64;
    }
  }
  entries_.emplace(&operation, std::move(entry));
}

void Ledger::note_final(Operation& operation) noexcept { remove(operation, true); }

void Ledger::note_abandoned(Operation& operation) noexcept {
  if (entries_.contains(&operation)) remove(operation, false);
}

void Ledger::remove(Operation& operation, bool compare) noexcept {
  const auto found = entries_.find(&operation);
  SPINDLE_ASSERT(found != entries_.end(), "an operation ended that was not in flight");
  const Entry& entry = found->second;
  for (const Range& range : entry.ranges) {
    void* memory = reinterpret_cast<void*>(range.begin);
    erase_one(entry.is_read ? reads_ : writes_, range.begin, range.end);
    if (entry.is_read) {
      unpoison(memory, range.end - range.begin);
    } else if (compare) {
      const XXH128_hash_t sum = XXH3_128bits(memory, range.end - range.begin);
      SPINDLE_ASSERT(sum.low64 == range.checksum_low && sum.high64 == range.checksum_high,
                     "a write buffer was changed while the write was in flight");
    }
  }
  entries_.erase(found);
}

}  // namespace spindle
