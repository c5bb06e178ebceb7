// What a loss of power makes of a simulated file: its sectors and its size are decided.
#include <cstring>

#include "io/sim/page_ranges.h"
#include "io/sim/sim_file.h"

namespace spindle {

using namespace sim_pages;

void SimFile::decide(uint64_t offset, uint32_t sector_size, SectorFate fate, Random& random) {
  const uint64_t index = offset / page_size;
  Page* const page = find_page(index);
  if (page == nullptr) return;
  const uint8_t grains = page->changed & grains_of(offset % page_size, sector_size);
  if (grains == 0) return;
  if (fate == SectorFate::torn) {
    tear(*page, index, grains, random);
  } else if (grains != page->changed) {
    const bool is_former = fate == SectorFate::former;
    copy_grains(is_former ? page->durable : page->current, is_former ? page->current : page->durable, index, grains);
  } else if (fate == SectorFate::former) {
    pool_.share(page->durable);
    pool_.release(page->current);
    page->current = page->durable;
  }
  note_decided(*page, grains);
}

// Each grain is one or the other, or, where it was written, garbage. A single one that is torn is garbage.
void SimFile::tear(Page& page, uint64_t index, uint8_t grains, Random& random) {
  const bool is_single = (grains & (grains - 1)) == 0;
  for_each_grain(grains, [&](uint32_t grain) {
    const uint8_t bit = static_cast<uint8_t>(1u << grain);
    const bool can_be_garbage = (page.written & bit) != 0;
    const uint64_t choice = is_single && can_be_garbage ? 4 : random.below(can_be_garbage ? 5 : 4);
    if (choice < 2) return copy_grains(page.durable, page.current, index, bit);
    if (choice < 4) return copy_grains(page.current, page.durable, index, bit);
    std::byte* const memory = writable(page.current, index, true) + grain * grain_size;
    for (uint32_t at = 0; at < grain_size; at += 8) {
      const uint64_t word = random.next();
      std::memcpy(memory + at, &word, 8);
    }
    copy_grains(page.current, page.durable, index, bit);
  });
}

std::vector<uint64_t> SimFile::undecided_sizes() const {
  std::vector<uint64_t> sizes{durable_size_};
  if (size_ != durable_size_) sizes.push_back(size_);
  if (size_min_ < std::min(size_, durable_size_)) sizes.push_back(size_min_);
  return sizes;
}

void SimFile::decide_size(uint64_t size) {
  // The space follows the content; what was allocated beside it, the size.
  size_ = std::max(size_, chunks_.size() * uint64_t{chunk_pages} * page_size);
  resize(size, 0);
  for (const uint64_t index : changed_) {
    Page& page = *find_page(index);
    if (page.current != page_none) set_allocated(page, true);
    make_page_durable(page);
  }
  settle_size();
  forget_clean();
  size_sequence_ = 0;
}

void SimFile::lose_power(uint32_t sector_size, Random& random) {
  syncs_count_ = 0;
  sync_covers_ = 0;
  // Some crashes leave all, some nothing, most a mixture: each is a state that recovery must know.
  const uint64_t mood = random.below(8);
  const uint64_t seed = random.next();
  for_each_undecided(sector_size, [&](uint64_t offset) {
    Random own(mix64(seed + offset));  // of each sector by itself, whatever others there are
    const uint64_t choice = mood < 2 ? mood : own.below(mood < 5 ? 2 : 3);
    decide(offset, sector_size, static_cast<SectorFate>(choice), own);
  });
  const bool allocates = random.chance(1, 2);
  for (const uint64_t index : changed_) {
    Page& page = *find_page(index);
    set_allocated(page, page.current != page_none || (allocates ? page.is_allocated : page.is_durably_allocated));
  }
  const std::vector<uint64_t> sizes = undecided_sizes();
  decide_size(sizes[random.below(sizes.size())]);
}

}  // namespace spindle
