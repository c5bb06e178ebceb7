// A file, directory or device of a simulated disk, in two images: what was acknowledged, which every read sees, and
// what is durable, which a loss of power leaves.
//
//     write ──► acknowledged ──(sync, durable write, or by itself at any time)──► durable
//
// Content is kept in pages of 4 KiB, of which only those that were written exist. A change is noted at a grain of 512
// bytes. What lies between the two images is undecided: at a loss of power each sector of it (1, 2, 4 or 8 grains) is,
// independently, as it is durable, as it was acknowledged, or torn: of each of its grains that was written, one or the
// other, or garbage. What the file system itself changed, a tail cut off or a hole, is one or the other, never garbage.
//
// Invariants
// 1. A page whose two images differ is listed in changed_.
// 2. When a page is changed again while a sync is under way that covers its last change, that change is durable first,
//    as a disk may do at any time: so a sync needs no versions between the two images.
// 3. Every sequence number is of one disk and grows; a sync covers what has a number up to the one at its submission.
// One thread. Sizes in bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/sim/page_pool.h"
#include "runtime/random.h"

namespace spindle {

/// Bytes of a disk that are in use, against its capacity.
struct SimSpace {
  uint64_t pages_max = UINT64_MAX;
  uint64_t pages_count = 0;
};

/// What becomes of one undecided sector.
enum class SectorFate : uint8_t { former, written, torn };

class SimFile {
 public:
  enum class Kind : uint8_t { regular, directory, device };
  using Entries = std::map<std::string, std::shared_ptr<SimFile>, std::less<>>;

  static constexpr uint32_t page_size = PagePool::page_size;
  static constexpr uint32_t grain_size = 512;
  static constexpr uint32_t grains_per_page = page_size / grain_size;

  /// `pool` and `space` outlive it. `size`: of a device.
  SimFile(PagePool& pool, SimSpace& space, uint64_t number, Kind kind, uint64_t size = 0) noexcept
      : pool_(pool), space_(space), number_(number), kind_(kind), size_(size), durable_size_(size), size_min_(size) {}
  SimFile(const SimFile&) = delete;
  SimFile& operator=(const SimFile&) = delete;
  ~SimFile();

  uint64_t number() const noexcept { return number_; }  ///< as an inode's: never given twice
  Kind kind() const noexcept { return kind_; }
  bool is_directory() const noexcept { return kind_ == Kind::directory; }
  bool is_device() const noexcept { return kind_ == Kind::device; }
  uint64_t size() const noexcept { return size_; }
  uint64_t durable_size() const noexcept { return durable_size_; }
  uint64_t allocated_size() const noexcept { return allocated_count_ * page_size; }

  // The acknowledged image.
  // Memory is what a large simulated disk waits for. So the processor is asked ahead for what a transfer is going to
  // need: by the time that its latency is over, other operations have been simulated, and it is there. In two steps,
  // since to ask for the content means to look at the page, which is not there yet either.
  void prefetch_page(uint64_t offset) const noexcept {
    const Page* const page = find_page(offset / page_size);
    if (page != nullptr) __builtin_prefetch(page, 1);
  }
  /// Of the content the beginning: the rest is fetched ahead by the processor itself, and better. To ask for all fills
  /// what it has for misses.
  void prefetch_content(uint64_t offset) const noexcept {
    const Page* const page = find_page(offset / page_size);
    if (page == nullptr || page->current == page_none) return;
    const std::byte* const content = pool_.at(page->current);
    for (uint32_t at = 0; at < prefetch_size; at += 64) __builtin_prefetch(content + at, 0, 2);
  }
  /// Copies what lies below size(); gives how much that is. Holes are zeroes.
  uint64_t read(uint64_t offset, std::span<std::byte> memory) const noexcept;
  std::vector<std::byte> content() const;
  /// Bytes that can be written there before the disk is full.
  uint64_t writable_size(uint64_t offset, uint64_t size) const noexcept;
  /// Whole grains or not; grows the file. There is room.
  void write(uint64_t offset, std::span<const std::byte> memory, uint64_t sequence);
  void resize(uint64_t size, uint64_t sequence);
  /// False: the disk is full, and nothing was changed.
  bool allocate(uint64_t offset, uint64_t size, uint64_t sequence);
  void punch_hole(uint64_t offset, uint64_t size, uint64_t sequence);

  // Durability.
  /// A sync that covers what has a number up to `sequence` has been submitted, and …
  void begin_sync(uint64_t sequence) noexcept;
  /// … has ended: with success …
  void end_sync(uint64_t sequence);
  /// … or not: each page that it covers is durable, by seed, or no later sync makes it so unless it is written again,
  /// though reads see it (Linux marks the pages clean: Rebello et al., "Can Applications Recover from fsync Failures?",
  /// 2020). It stays undecided: the disk may have written it all the same. Sizes and space, which a file system has in
  /// its journal, are durable with a later sync.
  void fail_sync(uint64_t sequence, Random& random);
  void abandon_sync() noexcept;
  /// What was written there is durable, and that alone; with the size, as far as is needed to read it.
  void make_durable(uint64_t offset, uint64_t size);
  /// Everything is durable.
  void settle();

  // Loss of power.
  /// Sectors whose two images differ, in the order of their offsets; visit(offset).
  template <class Visit>
  void for_each_undecided(uint32_t sector_size, Visit visit) const;
  /// Of the last change there, and of the last change of the size.
  uint64_t sequence_at(uint64_t offset) const noexcept {
    const Page* const page = find_page(offset / page_size);
    return page == nullptr ? 0 : page->sequence;
  }
  uint64_t size_sequence() const noexcept { return size_sequence_; }
  /// Decides one of them, in both images. `random` is drawn from for what is torn.
  void decide(uint64_t offset, uint32_t sector_size, SectorFate fate, Random& random);
  /// The sizes that a loss of power may leave: the durable one, the acknowledged, and the smallest in between.
  std::vector<uint64_t> undecided_sizes() const;
  /// Takes this size in both images; sectors must have been decided.
  void decide_size(uint64_t size);
  /// All of it, by seed.
  void lose_power(uint32_t sector_size, Random& random);

  // Damage. Sector-wise, `offset` within the sector; in what is durable too, where the two are the same.
  void make_unreadable(uint64_t offset, uint32_t sector_size);
  /// Whole sectors.
  void make_readable(uint64_t offset, uint64_t size) noexcept;
  /// Of the range, whether a sector is; a write makes it readable.
  bool is_readable(uint64_t offset, uint64_t size) const noexcept;
  /// Says that a sector there is of interest to the record of faults, so that it need not be asked of the others.
  void watch(uint64_t offset) { page_at(offset / page_size).is_watched = true; }
  bool is_watched(uint64_t offset, uint64_t size) const noexcept;
  /// Changes content that nobody wrote. `offset + memory.size()` within size().
  void damage(uint64_t offset, std::span<const std::byte> memory);

  /// A copy that shares its pages; of a directory, without the entries.
  std::shared_ptr<SimFile> clone(SimSpace& space) const;
  /// Nobody can reach it any more: its space is free. recount() takes it back.
  void give_space_back() noexcept;
  void recount() noexcept;

  /// Of a directory: acknowledged, and durable.
  Entries entries;
  Entries durable_entries;
  uint32_t links = 1;  ///< 0: it has no name any more, and lives for as long as somebody has it open
  uint32_t open_count = 0;  ///< descriptors

 private:
  struct Page {
    PageId current = page_none;  // page_none: a hole, or allocated and never written
    PageId durable = page_none;
    uint8_t changed = 0;  // a bit per grain in which the two may differ
    uint8_t written = 0;  // of those: what was written, and can tear
    uint8_t unreadable = 0;  // a bit per grain
    bool is_listed = false;  // in changed_
    bool is_watched = false;
    bool is_forgotten = false;  // a failed sync left it so: no later one makes its content durable
    bool is_allocated = false;
    bool is_durably_allocated = false;
    uint64_t sequence = 0;  // of its last change

    bool is_changed() const noexcept { return changed != 0 || is_allocated != is_durably_allocated; }
  };
  static constexpr uint32_t chunk_pages = 256;
  static constexpr uint32_t prefetch_size = 512;
  static constexpr uint64_t pages_cached_max = 16 << 10;
  struct Chunk {
    Page pages[chunk_pages];
  };

  /// More than any cache holds: then what is written is better not put there.
  bool goes_past_cache() const noexcept { return space_.pages_count > pages_cached_max; }
  const Page* find_page(uint64_t index) const noexcept;
  Page* find_page(uint64_t index) noexcept { return const_cast<Page*>(std::as_const(*this).find_page(index)); }
  Page& page_at(uint64_t index);
  void note_change(Page& page, uint64_t index, uint64_t sequence);
  std::byte* writable(PageId& id, uint64_t index, bool keeps_content);
  void copy_unwritten(uint64_t index, std::byte* memory) const noexcept;
  void set_allocated(Page& page, bool is_allocated) noexcept;
  void drop_page(uint64_t index, uint64_t sequence);
  void zero_part(uint64_t offset, uint64_t size, uint64_t sequence);
  void make_page_durable(Page& page) noexcept;
  void make_grains_durable(Page& page, uint64_t index, uint8_t grains);
  void copy_grains(PageId from, PageId& to, uint64_t index, uint8_t grains);
  void note_decided(Page& page, uint8_t grains) noexcept;
  void note_size(uint64_t size, uint64_t sequence) noexcept;
  void settle_size() noexcept;
  void forget_clean() noexcept;
  void count_sync_ended() noexcept;
  void tear(Page& page, uint64_t index, uint8_t grains, Random& random);

  PagePool& pool_;
  SimSpace& space_;
  uint64_t number_;
  Kind kind_;
  uint64_t size_;
  uint64_t durable_size_;
  uint64_t size_min_;  // since size_ was durable
  uint64_t size_sequence_ = 0;  // of its last change
  uint64_t allocated_count_ = 0;
  uint32_t syncs_count_ = 0;  // under way
  uint64_t sync_covers_ = 0;  // the most that one of them covers
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<uint64_t> changed_;  // indices of pages
};

template <class Visit>
void SimFile::for_each_undecided(uint32_t sector_size, Visit visit) const {
  const uint8_t sector_mask = static_cast<uint8_t>((1u << (sector_size / grain_size)) - 1);
  std::vector<uint64_t> indices(changed_);
  std::sort(indices.begin(), indices.end());
  for (const uint64_t index : indices) {
    const Page& page = *find_page(index);
    for (uint32_t grain = 0; grain < grains_per_page; grain += sector_size / grain_size) {
      const bool is_changed = (page.changed >> grain & sector_mask) != 0;
      if (is_changed) visit(index * page_size + uint64_t{grain} * grain_size);
    }
  }
}

}  // namespace spindle
