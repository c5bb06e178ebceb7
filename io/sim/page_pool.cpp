#include "io/sim/page_pool.h"

#include <sys/mman.h>

#include <new>

#include "runtime/assert.h"

namespace spindle {

PagePool::~PagePool() {
  for (std::byte* chunk : chunks_) ::operator delete(chunk, std::align_val_t{size_t{chunk_pages} * page_size});
}

void PagePool::add_chunk() {
  constexpr size_t size = size_t{chunk_pages} * page_size;
  std::byte* const chunk = static_cast<std::byte*>(::operator new(size, std::align_val_t{size}));
  // Advice, so no harm when it is refused: fewer misses of the address cache. Small disks aren't worth 2 MiB of zeroes.
  if (!chunks_.empty()) ::madvise(chunk, size, MADV_HUGEPAGE);
  const PageId first = static_cast<PageId>(chunks_.size()) * chunk_pages;
  chunks_.push_back(chunk);
  references_.resize(references_.size() + chunk_pages);
  free_.reserve(references_.size());
  for (uint32_t index = chunk_pages; index-- > 0;) {
    if (first + index != page_none) free_.push_back(first + index);
  }
}

PageId PagePool::acquire() {
  if (free_.empty()) add_chunk();
  const PageId page = free_.back();
  free_.pop_back();
  references_[page] = 1;
  return page;
}

void PagePool::release(PageId page) noexcept {
  if (page == page_none) return;
  SPINDLE_ASSERT(references_[page] > 0, "a page of a simulated disk was released twice");
  if (--references_[page] == 0) free_.push_back(page);
}

}  // namespace spindle
