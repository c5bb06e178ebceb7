#include "tests/fuzz/grid_model.h"

#include <algorithm>
#include <cstring>

#include "runtime/random.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

void make_block(StoredBlock& block, std::span<std::byte> memory) {
  BlockHeader& header = start_block(memory, grid_fuzz_cluster, block.type);
  header.address = block.reference.address;
  header.address_second = block.reference.address_second;
  std::memcpy(header.metadata, &block.number, sizeof(block.number));
  std::byte* const body = memory.data() + message_header_size;
  uint64_t word = mix64(block.number);
  for (uint32_t at = 0; at < block.body_size; at += sizeof(word)) {
    std::memcpy(body + at, &word, std::min<size_t>(sizeof(word), block.body_size - at));
    word = word * 0x9e3779b97f4a7c15u + 1;
  }
  header.frame.size += block.body_size;
  block.reference = seal_block(memory);
}

GridModel::GridModel(uint64_t blocks_count) { image_.states.assign(blocks_count + 1, AddressState::free); }

uint64_t GridModel::count(AddressState state) const noexcept {
  return static_cast<uint64_t>(std::count(image_.states.begin() + 1, image_.states.end(), state));
}

uint64_t GridModel::highest_acquired() const noexcept {
  uint64_t address = blocks_count();
  while (address > 0 && state(address) == AddressState::free) --address;
  return address;
}

bool GridModel::is_live(const BlockReference& reference) const noexcept {
  const auto found = image_.live.find(reference.address);
  return found != image_.live.end() && found->second.reference == reference;
}

WindowModel GridModel::begin_window(const FreeSet::Reservation& reservation, uint64_t count) {
  const WindowModel window{++window_number_, reservation.address_begin(), reservation.address_end(),
                           reservation.address_begin(), count};
  const bool begins_anew = window.begin == 1 && windows_.empty();
  const bool goes_on = window.begin == window_end_ && (!windows_.empty() || may_be_deferred_);
  FUZZ_CHECK(begins_anew || goes_on, "a window begins neither where the last one ended nor at the first address");
  FUZZ_CHECK(window.end <= blocks_count() + 1 && window.begin <= window.end, "a window beyond the last block");
  FUZZ_CHECK(reservation.left_count() == count, "a reservation has another count of blocks than was asked for");
  uint64_t free_count = 0;
  for (uint64_t address = window.begin; address < window.end; ++address) {
    if (state(address) == AddressState::free) ++free_count;
  }
  FUZZ_CHECK(free_count == count, "a window has another count of free blocks than was asked for");
  if (count > 0) FUZZ_CHECK(state(window.end - 1) == AddressState::free, "a window ends behind a block in use");
  for (const WindowModel& other : windows_) {
    const bool is_disjoint = window.end <= other.begin || other.end <= window.begin;
    FUZZ_CHECK(is_disjoint || count == 0, "two windows overlap");
  }
  if (begins_anew) may_be_deferred_ = false;
  window_end_ = window.end;
  windows_.push_back(window);
  return window;
}

void GridModel::acquire(WindowModel& window, uint64_t address) {
  FUZZ_CHECK(address >= window.begin && address < window.end, "an address outside of its window");
  FUZZ_CHECK(state(address) == AddressState::free, "an address that is in use was handed out");
  for (uint64_t lower = window.next; lower < address; ++lower) {
    FUZZ_CHECK(state(lower) != AddressState::free, "an address was handed out that is not the lowest of its window");
  }
  FUZZ_CHECK(window.left_count > 0, "more blocks were handed out than reserved");
  --window.left_count;
  window.next = address + 1;
  for (WindowModel& other : windows_) {
    if (other.number == window.number) other.left_count = window.left_count;
  }
  image_.states[address] = AddressState::acquired;
  image_.empty.insert(address);
}

void GridModel::end_window(const WindowModel& window, bool may_wait) {
  std::erase_if(windows_, [&](const WindowModel& other) { return other.number == window.number; });
  if (may_wait) may_be_deferred_ = true;
  if (windows_.empty() && !may_be_deferred_) window_end_ = 1;
}

uint64_t GridModel::free_from(uint64_t address) const noexcept {
  return static_cast<uint64_t>(
      std::count(image_.states.begin() + static_cast<int64_t>(address), image_.states.end(), AddressState::free));
}

uint64_t GridModel::unreserved_min() const noexcept { return free_from(window_end_); }

uint64_t GridModel::unreserved_max() const noexcept { return free_from(windows_.empty() ? 1 : window_end_); }

uint64_t GridModel::end_of_next(uint64_t count) const noexcept {
  uint64_t address = window_end_;
  for (; count > 0 && address <= blocks_count(); ++address) {
    if (state(address) == AddressState::free) --count;
  }
  return address;
}

void GridModel::note_written(const StoredBlock& block) {
  for (uint32_t copy = 0; copy < block.copies_count(); ++copy) {
    const size_t was_empty = image_.empty.erase(block.address(copy));
    FUZZ_CHECK(was_empty == 1, "a block was written that nobody had acquired");
  }
  image_.live.emplace(block.reference.address, block);
}

void GridModel::release(const BlockReference& reference) {
  image_.live.erase(reference.address);
  for (const uint64_t address : {reference.address, reference.address_second}) {
    if (address == 0) continue;
    image_.empty.erase(address);
    image_.states[address] = AddressState::released;
  }
}

GridImage GridModel::image(uint64_t op) const {
  GridImage image = image_;
  image.op = op;
  return image;
}

void GridModel::take_over(const GridImage& image, std::span<const uint64_t> trailers) {
  image_ = image;
  windows_.clear();
  window_end_ = 1;
  may_be_deferred_ = false;
  // The trailers are the lowest free blocks of the moment when the free set was encoded.
  const std::set<uint64_t> addresses(trailers.begin(), trailers.end());
  FUZZ_CHECK(addresses.size() == trailers.size(), "two trailer blocks at one address");
  uint64_t lowest = 1;
  for (const uint64_t address : addresses) {
    FUZZ_CHECK(address >= 1 && address <= blocks_count(), "a trailer block at no address");
    FUZZ_CHECK(state(address) == AddressState::free, "a trailer was written over a block in use");
    while (state(lowest) != AddressState::free) ++lowest;
    FUZZ_CHECK(address == lowest, "a trailer block not at the lowest free address");
    ++lowest;
  }
  for (AddressState& state : image_.states) {
    if (state == AddressState::released) state = AddressState::free;
  }
  for (const uint64_t address : addresses) image_.states[address] = AddressState::released;
}

void GridModel::check(const FreeSet& set, bool looks_at_all) const {
  FUZZ_CHECK(set.blocks_count() == blocks_count(), "another count of blocks");
  FUZZ_CHECK(set.free_count() == count(AddressState::free), "another count of free blocks");
  FUZZ_CHECK(set.released_count() == count(AddressState::released), "another count of released blocks");
  FUZZ_CHECK(set.highest_address_acquired() == highest_acquired(), "another highest acquired address");
  if (!looks_at_all) return;
  for (uint64_t address = 1; address <= blocks_count(); ++address) {
    FUZZ_CHECK(set.is_free(address) == (state(address) == AddressState::free), "a block is free, or not, in one only");
    const bool is_released = state(address) == AddressState::released;
    FUZZ_CHECK(set.is_released(address) == is_released, "a block is released, or not, in one only");
  }
  FUZZ_CHECK(set.is_consistent(), "the free set contradicts itself");
}

}  // namespace spindle::fuzz
