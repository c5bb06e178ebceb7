// Pages of 4 KiB that several images of a simulated disk share: counted references, never changed while shared. A new
// version of a page is a new page, so that keeping the old one costs nothing.
//
// Ids are given again in the order of last release, first: the memory is still in the processor's cache. Id 0 is no
// page. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spindle {

using PageId = uint32_t;
inline constexpr PageId page_none = 0;

class PagePool {
 public:
  static constexpr uint32_t page_size = 4096;

  PagePool() = default;
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;
  ~PagePool();

  /// A page with one reference, and any content.
  PageId acquire();
  /// One reference more; of no effect on page_none.
  void share(PageId page) noexcept {
    if (page != page_none) ++references_[page];
  }
  /// One reference less; of no effect on page_none.
  void release(PageId page) noexcept;
  bool is_shared(PageId page) const noexcept { return references_[page] > 1; }
  /// Several disks share the pool's pages. (While none do, a disk knows its shared pages without asking.)
  void note_clone() noexcept { is_cloned_ = true; }
  bool is_cloned() const noexcept { return is_cloned_; }
  std::byte* at(PageId page) noexcept { return chunks_[page / chunk_pages] + size_t{page % chunk_pages} * page_size; }
  const std::byte* at(PageId page) const noexcept {
    return chunks_[page / chunk_pages] + size_t{page % chunk_pages} * page_size;
  }
  uint64_t in_use_count() const noexcept { return references_.empty() ? 0 : references_.size() - 1 - free_.size(); }

 private:
  static constexpr uint32_t chunk_pages = 512;  // 2 MiB: a huge page, where the kernel gives them

  void add_chunk();

  std::vector<std::byte*> chunks_;
  std::vector<uint32_t> references_;  // by id
  std::vector<PageId> free_;          // the last one is the next to be given
  bool is_cloned_ = false;
};

}  // namespace spindle
