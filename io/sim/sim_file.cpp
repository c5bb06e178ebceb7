#include "io/sim/sim_file.h"

#include <emmintrin.h>

#include <cstring>

#include "io/sim/page_ranges.h"
#include "runtime/assert.h"

namespace spindle {

using namespace sim_pages;

SimFile::~SimFile() {
  for (const std::unique_ptr<Chunk>& chunk : chunks_) {
    if (chunk == nullptr) continue;
    for (const Page& page : chunk->pages) {
      pool_.release(page.current);
      pool_.release(page.durable);
    }
  }
  give_space_back();
}

void SimFile::give_space_back() noexcept {
  space_.pages_count -= allocated_count_;
  allocated_count_ = 0;
}

void SimFile::recount() noexcept {
  give_space_back();
  for (const std::unique_ptr<Chunk>& chunk : chunks_) {
    if (chunk == nullptr) continue;
    for (const Page& page : chunk->pages) allocated_count_ += page.is_allocated;
  }
  space_.pages_count += allocated_count_;
}

// ---- pages

const SimFile::Page* SimFile::find_page(uint64_t index) const noexcept {
  const uint64_t chunk = index / chunk_pages;
  if (chunk >= chunks_.size() || chunks_[chunk] == nullptr) return nullptr;
  return &chunks_[chunk]->pages[index % chunk_pages];
}

SimFile::Page& SimFile::page_at(uint64_t index) {
  const uint64_t chunk = index / chunk_pages;
  if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
  if (chunks_[chunk] == nullptr) chunks_[chunk] = std::make_unique<Chunk>();
  return chunks_[chunk]->pages[index % chunk_pages];
}

// Before each change of the acknowledged image.
void SimFile::note_change(Page& page, uint64_t index, uint64_t sequence) {
  const bool is_covered = syncs_count_ > 0 && page.sequence <= sync_covers_;
  if (is_covered && page.is_changed() && !page.is_forgotten) make_page_durable(page);
  page.is_forgotten = false;
  page.sequence = sequence;
  if (page.is_listed) return;
  page.is_listed = true;
  changed_.push_back(index);
}

// What a page without content reads as: zeroes; on a device, whatever was there.
void SimFile::copy_unwritten(uint64_t index, std::byte* memory) const noexcept {
  if (!is_device()) {
    std::memset(memory, 0, page_size);
    return;
  }
  for (uint32_t at = 0; at < page_size; at += 8) {
    const uint64_t word = mix64(mix64(number_ ^ 0x64657669) + index * (page_size / 8) + at / 8);
    std::memcpy(memory + at, &word, 8);
  }
}

// The page's memory, its own: a version that somebody else has is left as it is.
std::byte* SimFile::writable(PageId& id, uint64_t index, bool keeps_content) {
  if (id != page_none && !pool_.is_shared(id)) return pool_.at(id);
  const PageId made = pool_.acquire();
  if (keeps_content && id != page_none) std::memcpy(pool_.at(made), pool_.at(id), page_size);
  if (keeps_content && id == page_none) copy_unwritten(index, pool_.at(made));
  pool_.release(id);
  id = made;
  return pool_.at(made);
}

void SimFile::set_allocated(Page& page, bool is_allocated) noexcept {
  if (page.is_allocated == is_allocated || is_device()) return;  // a device is all there from the start
  page.is_allocated = is_allocated;
  allocated_count_ += is_allocated ? 1 : UINT64_MAX;
  space_.pages_count += is_allocated ? 1 : UINT64_MAX;
}

// ---- the acknowledged image

uint64_t SimFile::read(uint64_t offset, std::span<std::byte> memory) const noexcept {
  const uint64_t size = offset >= size_ ? 0 : std::min<uint64_t>(memory.size(), size_ - offset);
  std::byte* to = memory.data();
  for_each_page(offset, size, [&](uint64_t index, uint32_t begin, uint32_t here) {
    const Page* const page = find_page(index);
    if (page != nullptr && page->current != page_none) {
      std::memcpy(to, pool_.at(page->current) + begin, here);
    } else if (!is_device()) {
      std::memset(to, 0, here);
    } else {
      std::byte content[page_size];
      copy_unwritten(index, content);
      std::memcpy(to, content + begin, here);
    }
    to += here;
  });
  return size;
}

std::vector<std::byte> SimFile::content() const {
  std::vector<std::byte> bytes(size_);
  read(0, bytes);
  return bytes;
}

uint64_t SimFile::writable_size(uint64_t offset, uint64_t size) const noexcept {
  if (is_device()) return offset >= size_ ? 0 : std::min(size, size_ - offset);
  uint64_t left = space_.pages_max - std::min(space_.pages_max, space_.pages_count);
  if (left >= size / page_size + 2) return size;
  uint64_t fitting = 0;
  bool is_full = false;
  for_each_page(offset, size, [&](uint64_t index, uint32_t, uint32_t here) {
    const Page* const page = find_page(index);
    const bool is_there = page != nullptr && page->is_allocated;
    is_full = is_full || (!is_there && left == 0);
    if (is_full) return;
    if (!is_there) --left;
    fitting += here;
  });
  return fitting;
}

namespace {

/// A page, without reading its former content into the cache. This thread sees it at once; for others see World::run():
/// a fence for every page would wait for the memory each time.
void copy_past_cache(std::byte* to, const std::byte* from) noexcept {
  for (uint32_t at = 0; at < page_size; at += sizeof(__m128i)) {
    const __m128i word = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at));
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at), word);
  }
}

}  // namespace

void SimFile::write(uint64_t offset, std::span<const std::byte> memory, uint64_t sequence) {
  const std::byte* from = memory.data();
  for_each_page(offset, memory.size(), [&](uint64_t index, uint32_t begin, uint32_t here) {
    Page& page = page_at(index);
    note_change(page, index, sequence);
    // Not asking for its references, which are far away.
    const bool is_own = page.current != page_none && page.current != page.durable && !pool_.is_cloned();
    std::byte* const to = is_own ? pool_.at(page.current) : writable(page.current, index, here < page_size);
    if (here == page_size && goes_past_cache()) {
      copy_past_cache(to, from);
    } else {
      std::memcpy(to + begin, from, here);
    }
    const uint8_t grains = grains_of(begin, here);
    page.changed |= grains;
    page.written |= grains;
    page.unreadable &= static_cast<uint8_t>(~grains_covered(begin, here));
    set_allocated(page, true);
    from += here;
  });
  const uint64_t end = offset + memory.size();
  if (end > size_ && !memory.empty()) note_size(end, sequence);
}

void SimFile::note_size(uint64_t size, uint64_t sequence) noexcept {
  if (syncs_count_ > 0 && size_sequence_ <= sync_covers_) settle_size();
  size_ = size;
  size_sequence_ = sequence;
  size_min_ = std::min(size_min_, size);
}

void SimFile::settle_size() noexcept { durable_size_ = size_min_ = size_; }

// Zeroes within one page, as the file system does it: without a write that could leave garbage.
void SimFile::zero_part(uint64_t offset, uint64_t size, uint64_t sequence) {
  const uint64_t index = offset / page_size;
  Page* const page = find_page(index);
  if (size == 0 || page == nullptr) return;
  const uint32_t begin = offset % page_size;
  page->unreadable &= static_cast<uint8_t>(~grains_covered(begin, static_cast<uint32_t>(size)));
  if (page->current == page_none) return;
  note_change(*page, index, sequence);
  std::memset(writable(page->current, index, true) + begin, 0, size);
  page->changed |= grains_of(begin, static_cast<uint32_t>(size));
}

void SimFile::drop_page(uint64_t index, uint64_t sequence) {
  Page* const page = find_page(index);
  if (page == nullptr) return;
  page->unreadable = 0;  // of a hole, too
  if (page->current == page_none && !page->is_allocated) return;
  note_change(*page, index, sequence);
  pool_.release(page->current);
  page->current = page_none;
  page->changed = all_grains;
  page->written = 0;
  set_allocated(*page, false);
}

void SimFile::resize(uint64_t size, uint64_t sequence) {
  if (size < size_) {
    const uint64_t pages_end = (size_ + page_size - 1) / page_size;
    const uint64_t index_end = std::min<uint64_t>(std::max(pages_end, uint64_t{0}), chunks_.size() * chunk_pages);
    if (size % page_size != 0) zero_part(size, page_size - size % page_size, sequence);
    for (uint64_t index = (size + page_size - 1) / page_size; index < index_end; ++index) drop_page(index, sequence);
  }
  if (size != size_) note_size(size, sequence);
}

bool SimFile::allocate(uint64_t offset, uint64_t size, uint64_t sequence) {
  if (writable_size(offset, size) < size) return false;
  for_each_page(offset, size, [&](uint64_t index, uint32_t, uint32_t) {
    Page& page = page_at(index);
    if (page.is_allocated) return;
    note_change(page, index, sequence);
    set_allocated(page, true);
  });
  if (offset + size > size_) note_size(offset + size, sequence);
  return true;
}

void SimFile::punch_hole(uint64_t offset, uint64_t size, uint64_t sequence) {
  const uint64_t end = std::min(size_, size > size_ - std::min(size_, offset) ? size_ : offset + size);
  if (offset >= end) return;
  for_each_page(offset, end - offset, [&](uint64_t index, uint32_t begin, uint32_t here) {
    const bool is_whole = here == page_size || (begin == 0 && index * page_size + here == size_);
    if (is_whole) return drop_page(index, sequence);
    zero_part(index * page_size + begin, here, sequence);
  });
}

// ---- durability

// Both images are one.
void SimFile::make_page_durable(Page& page) noexcept {
  pool_.share(page.current);
  pool_.release(page.durable);
  page.durable = page.current;
  page.changed = page.written = 0;
  page.is_forgotten = false;
  page.is_durably_allocated = page.is_allocated;
}

void SimFile::copy_grains(PageId from, PageId& to, uint64_t index, uint8_t grains) {
  std::byte unwritten[page_size];
  if (from == page_none) copy_unwritten(index, unwritten);
  const std::byte* const source = from == page_none ? unwritten : pool_.at(from);
  std::byte* const target = writable(to, index, true);
  for_each_grain(grains, [&](uint32_t grain) {
    std::memcpy(target + grain * grain_size, source + grain * grain_size, grain_size);
  });
}

void SimFile::note_decided(Page& page, uint8_t grains) noexcept {
  page.changed &= static_cast<uint8_t>(~grains);
  page.written &= static_cast<uint8_t>(~grains);
  if (page.changed != 0) return;
  // The contents are equal: one page is enough.
  pool_.share(page.current);
  pool_.release(page.durable);
  page.durable = page.current;
  page.is_forgotten = false;
}

void SimFile::make_grains_durable(Page& page, uint64_t index, uint8_t grains) {
  page.is_durably_allocated = page.is_allocated;
  grains &= page.changed;
  if (grains == page.changed) return make_page_durable(page);
  if (grains == 0) return;
  copy_grains(page.current, page.durable, index, grains);
  note_decided(page, grains);
}

void SimFile::make_durable(uint64_t offset, uint64_t size) {
  for_each_page(offset, size, [&](uint64_t index, uint32_t begin, uint32_t here) {
    Page* const page = find_page(index);
    if (page != nullptr) make_grains_durable(*page, index, grains_of(begin, here));
  });
  const uint64_t end = std::min(offset + size, size_);
  durable_size_ = std::max(durable_size_, end);
  size_min_ = std::max(size_min_, end);
  if (changed_.size() > 64) forget_clean();
}

void SimFile::begin_sync(uint64_t sequence) noexcept {
  ++syncs_count_;
  sync_covers_ = std::max(sync_covers_, sequence);
}

void SimFile::count_sync_ended() noexcept {
  SPINDLE_ASSERT(syncs_count_ > 0, "a sync of a simulated file ended that had not begun");
  if (--syncs_count_ == 0) sync_covers_ = 0;
}

void SimFile::abandon_sync() noexcept { count_sync_ended(); }

void SimFile::end_sync(uint64_t sequence) {
  count_sync_ended();
  if (size_sequence_ <= sequence) settle_size();
  for (const uint64_t index : changed_) {
    Page& page = *find_page(index);
    if (page.sequence > sequence) continue;
    if (!page.is_forgotten) make_page_durable(page);
    page.is_durably_allocated = page.is_allocated;
  }
  forget_clean();
}

void SimFile::fail_sync(uint64_t sequence, Random& random) {
  count_sync_ended();
  for (const uint64_t index : changed_) {
    Page& page = *find_page(index);
    if (page.sequence > sequence || page.is_forgotten || !page.is_changed()) continue;
    if (random.chance(1, 2)) {
      make_page_durable(page);
    } else {
      page.is_forgotten = page.changed != 0;
    }
  }
  forget_clean();
}

void SimFile::settle() {
  for (const uint64_t index : changed_) make_page_durable(*find_page(index));
  settle_size();
  forget_clean();
}

void SimFile::forget_clean() noexcept {
  size_t kept = 0;
  for (const uint64_t index : changed_) {
    Page& page = *find_page(index);
    page.is_listed = page.is_changed();
    if (page.is_listed) changed_[kept++] = index;
  }
  changed_.resize(kept);
}

// ---- damage

void SimFile::make_unreadable(uint64_t offset, uint32_t sector_size) {
  Page& page = page_at(offset / page_size);
  page.unreadable |= grains_of(offset % page_size, sector_size);
  page.is_watched = true;
}

bool SimFile::is_readable(uint64_t offset, uint64_t size) const noexcept {
  bool is_readable = true;
  for_each_page(offset, size, [&](uint64_t index, uint32_t begin, uint32_t here) {
    const Page* const page = find_page(index);
    is_readable = is_readable && (page == nullptr || (page->unreadable & grains_of(begin, here)) == 0);
  });
  return is_readable;
}

bool SimFile::is_watched(uint64_t offset, uint64_t size) const noexcept {
  const uint64_t end = std::min<uint64_t>(size > UINT64_MAX - offset ? UINT64_MAX : offset + size,
                                          chunks_.size() * uint64_t{chunk_pages} * page_size);
  for (uint64_t index = offset / page_size; index * page_size < end; ++index) {
    const Page* const page = find_page(index);
    if (page != nullptr && page->is_watched) return true;
  }
  return false;
}

void SimFile::make_readable(uint64_t offset, uint64_t size) noexcept {
  const uint64_t size_most = std::max(chunks_.size() * uint64_t{chunk_pages} * page_size, offset) - offset;
  for_each_page(offset, std::min(size, size_most), [&](uint64_t index, uint32_t begin, uint32_t here) {
    Page* const page = find_page(index);
    if (page != nullptr) page->unreadable &= static_cast<uint8_t>(~grains_covered(begin, here));
  });
}

void SimFile::damage(uint64_t offset, std::span<const std::byte> memory) {
  const std::byte* from = memory.data();
  for_each_page(offset, memory.size(), [&](uint64_t index, uint32_t begin, uint32_t here) {
    Page& page = page_at(index);
    const uint8_t grains_clean = static_cast<uint8_t>(grains_of(begin, here) & ~page.changed);
    std::memcpy(writable(page.current, index, true) + begin, from, here);
    from += here;
    if (page.changed != 0) {
      if (grains_clean != 0) copy_grains(page.current, page.durable, index, grains_clean);
      return;
    }
    pool_.share(page.current);
    pool_.release(page.durable);
    page.durable = page.current;
  });
}

std::shared_ptr<SimFile> SimFile::clone(SimSpace& space) const {
  pool_.note_clone();
  auto copy = std::make_shared<SimFile>(pool_, space, number_, kind_, size_);
  copy->links = links;
  copy->durable_size_ = durable_size_;
  copy->size_min_ = size_min_;
  copy->size_sequence_ = size_sequence_;
  copy->allocated_count_ = allocated_count_;
  space.pages_count += allocated_count_;
  copy->changed_ = changed_;
  for (const std::unique_ptr<Chunk>& chunk : chunks_) {
    copy->chunks_.push_back(chunk == nullptr ? nullptr : std::make_unique<Chunk>(*chunk));
    if (chunk == nullptr) continue;
    for (const Page& page : chunk->pages) {
      pool_.share(page.current);
      pool_.share(page.durable);
    }
  }
  return copy;
}

}  // namespace spindle
