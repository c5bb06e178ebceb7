// What the tests of simulated files share: a file by itself, without a backend, whose grains of 512 bytes each hold one
// word, and what a loss of power may make of it.
#pragma once

#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "io/sim/page_pool.h"
#include "io/sim/sim_file.h"

namespace spindle {

inline constexpr uint64_t grain = SimFile::grain_size;
inline constexpr uint64_t page = SimFile::page_size;
/// A grain that does not hold one word over and over: random bytes.
inline constexpr uint64_t garbage_word = UINT64_MAX;
/// A grain beyond the end.
inline constexpr uint64_t no_word = UINT64_MAX - 1;

inline std::vector<std::byte> bytes_of(uint64_t word, uint64_t size) {
  std::vector<std::byte> bytes(size);
  for (uint64_t at = 0; at < size; ++at) bytes[at] = static_cast<std::byte>(word >> at % 8 * 8);
  return bytes;
}

/// What the grain at `offset` holds.
inline uint64_t word_at(const SimFile& file, uint64_t offset) {
  std::byte bytes[grain];
  if (file.read(offset, bytes) == 0) return no_word;
  uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  for (uint64_t at = sizeof word; at < grain; at += sizeof word) {
    if (std::memcmp(bytes, bytes + at, sizeof word) != 0) return garbage_word;
  }
  return word;
}

class LoneFile {
 public:
  explicit LoneFile(SimFile::Kind kind = SimFile::Kind::regular, uint64_t size = 0)
      : file_(std::make_unique<SimFile>(pool_, space_, 7, kind, size)) {}

  SimFile& file() noexcept { return *file_; }
  SimSpace& space() noexcept { return space_; }
  PagePool& pool() noexcept { return pool_; }
  uint64_t sequence() const noexcept { return sequence_; }
  uint64_t allocated_pages() const noexcept { return file_->allocated_size() / page; }

  void write(uint64_t offset, uint64_t size, uint64_t word) { file_->write(offset, bytes_of(word, size), ++sequence_); }
  void write_durably(uint64_t offset, uint64_t size, uint64_t word) {
    write(offset, size, word);
    file_->make_durable(offset, size);
  }
  void resize(uint64_t size) { file_->resize(size, ++sequence_); }
  bool allocate(uint64_t offset, uint64_t size) { return file_->allocate(offset, size, ++sequence_); }
  void punch(uint64_t offset, uint64_t size) { file_->punch_hole(offset, size, ++sequence_); }
  /// A sync is submitted; gives what it covers.
  uint64_t begin_sync() {
    file_->begin_sync(sequence_);
    return sequence_;
  }
  void sync() { file_->end_sync(begin_sync()); }
  /// It fails, and every sector that it covers is forgotten or durable.
  void fail_sync(uint64_t seed) {
    Random random(seed);
    file_->fail_sync(begin_sync(), random);
  }
  uint64_t word(uint64_t offset) const { return word_at(*file_, offset); }

  /// visit(file, seed) for what many losses of power at this moment leave.
  template <class Visit>
  void after_power_losses(uint32_t sector_size, Visit visit) const {
    for (uint64_t seed = 0; seed < 300; ++seed) {
      SimSpace space;
      const std::shared_ptr<SimFile> copy = file_->clone(space);
      Random random(mix64(seed));
      copy->lose_power(sector_size, random);
      visit(*copy, seed);
    }
  }
  /// What the grain may hold after a loss of power.
  std::set<uint64_t> words_after_power_loss(uint32_t sector_size, uint64_t offset) const {
    std::set<uint64_t> words;
    after_power_losses(sector_size, [&](const SimFile& file, uint64_t) { words.insert(word_at(file, offset)); });
    return words;
  }
  std::set<uint64_t> sizes_after_power_loss() const {
    std::set<uint64_t> sizes;
    after_power_losses(page, [&](const SimFile& file, uint64_t) { sizes.insert(file.size()); });
    return sizes;
  }

 private:
  PagePool pool_;
  SimSpace space_;
  std::unique_ptr<SimFile> file_;
  uint64_t sequence_ = 0;
};

using Words = std::set<uint64_t>;

}  // namespace spindle
