#include "tests/fuzz/storage_model.h"

#include <algorithm>
#include <cstring>

#include "runtime/random.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

namespace {

constexpr size_t words_count = grain_size / 8;

void add(std::vector<GrainIdentity>& set, GrainIdentity identity) {
  if (std::find(set.begin(), set.end(), identity) == set.end()) set.push_back(identity);
}

bool has(const std::vector<GrainIdentity>& set, GrainIdentity identity) {
  return std::find(set.begin(), set.end(), identity) != set.end();
}

GrainIdentity identity_at(std::span<const std::byte> content, size_t grain) {
  return (grain + 1) * grain_size <= content.size() ? identity_of(content.data() + grain * grain_size) : zero_grain;
}

}  // namespace

void fill_grain(std::byte* grain, GrainIdentity identity) noexcept {
  for (size_t word = 0; word < words_count; ++word) {
    const uint64_t value = identity == zero_grain ? 0 : identity + word;
    std::memcpy(grain + word * 8, &value, 8);
  }
}

GrainIdentity identity_of(const std::byte* grain) noexcept {
  uint64_t words[words_count];
  std::memcpy(words, grain, grain_size);
  bool is_zero = true;
  bool is_ours = true;
  for (size_t word = 0; word < words_count; ++word) {
    is_zero = is_zero && words[word] == 0;
    is_ours = is_ours && words[word] == words[0] + word;
  }
  if (is_zero) return zero_grain;
  if (is_ours) return words[0];
  uint64_t hash = 1;
  for (const uint64_t word : words) hash = mix64(hash ^ word);
  return hash;
}

GrainIdentity DiskModel::identity_in(const Write& write, size_t grain) noexcept {
  return write.number == 0 ? zero_grain : mix64(mix64(write.number) ^ grain) | 1;
}

void DiskModel::set_empty(uint64_t size) {
  for (Grain& grain : grains_) {
    Grain emptied;
    // What a failed sync forgot comes back with a loss of power, whatever is synced later.
    if (grain.is_forgotten) {
      emptied.crash = std::move(grain.crash);
      add(emptied.crash, zero_grain);
      emptied.may_tear = emptied.is_forgotten = true;
    }
    grain = std::move(emptied);
  }
  size_min_ = size_max_ = size_crash_min_ = size;
}

void DiskModel::set_content(std::span<const std::byte> content) {
  set_empty(content.size());
  for (size_t index = 0; index < grains_.size(); ++index) {
    grains_[index].now = grains_[index].crash = {identity_at(content, index)};
  }
}

void DiskModel::begin_emptying() {
  for (Grain& grain : grains_) {
    add(grain.now, zero_grain);
    add(grain.crash, zero_grain);
  }
  size_min_ = size_crash_min_ = 0;
}

DiskModel::Write DiskModel::begin_write(GrainRange range, bool is_zeroes) {
  const Write write{range, is_zeroes ? 0 : ++write_number_, ++clock_};
  for (size_t index = range.first; index < range.end(); ++index) {
    Grain& grain = grains_[index];
    ++grain.writes_count;
    grain.changed_at = clock_;
    add(grain.now, identity_in(write, index));
    add(grain.crash, identity_in(write, index));
    grain.may_tear = true;
  }
  for (ReadUnderWay* read : reads_) {
    if (!read->range.overlaps(range)) continue;
    read->is_shared = true;
    const size_t begin = std::max(range.first, read->range.first);
    const size_t end = std::min(range.end(), read->range.end());
    for (size_t index = begin; index < end; ++index) {
      add(read->may_be[index - read->range.first], identity_in(write, index));
    }
  }
  note_size(range.end() * grain_size);
  return write;
}

void DiskModel::end_write(const Write& write, End end) {
  ++clock_;
  const bool is_done = end == End::done || end == End::done_durably;
  for (size_t index = write.range.first; index < write.range.end(); ++index) {
    Grain& grain = grains_[index];
    --grain.writes_count;
    grain.changed_at = clock_;
    const GrainIdentity identity = identity_in(write, index);
    if (!is_done) continue;
    grain.now = {identity};
    grain.is_forgotten = false;
    if (end != End::done_durably) continue;
    grain.crash = {identity};
    grain.may_tear = false;
  }
  if (is_done) grow(write.range.end() * grain_size, end == End::done_durably);
}

void DiskModel::grow(uint64_t size, bool is_durable) noexcept {
  note_size(size);
  if (size > size_min_) {
    size_min_ = size;
    grown_at_ = ++clock_;
  }
  if (is_durable) size_crash_min_ = std::max(size_crash_min_, size);
}

void DiskModel::end_sync(uint64_t begun_at) {
  for (Grain& grain : grains_) {
    if (grain.writes_count > 0 || grain.changed_at > begun_at || grain.is_forgotten) continue;
    grain.crash = grain.now;
    grain.may_tear = false;
  }
  if (grown_at_ < begun_at) size_crash_min_ = std::max(size_crash_min_, size_min_);
}

void DiskModel::fail_sync() {
  for (Grain& grain : grains_) {
    if (grain.may_tear || grain.crash.size() > 1 || grain.crash != grain.now) grain.is_forgotten = true;
  }
}

void DiskModel::promise(GrainRange range) {
  for (size_t index = range.first; index < range.end(); ++index) grains_[index].is_promised = true;
}

bool DiskModel::is_promised(GrainRange range) const noexcept {
  for (size_t index = range.first; index < range.end(); ++index) {
    if (!grains_[index].is_promised) return false;
  }
  return true;
}

bool DiskModel::is_anything_promised() const noexcept {
  return std::any_of(grains_.begin(), grains_.end(), [](const Grain& grain) { return grain.is_promised; });
}

void DiskModel::begin_read(ReadUnderWay& read) {
  read.may_be.resize(read.range.count);
  for (size_t index = 0; index < read.range.count; ++index) {
    const Grain& grain = grains_[read.range.first + index];
    read.may_be[index] = grain.now;
    read.is_shared = read.is_shared || grain.writes_count > 0;
  }
  reads_.push_back(&read);
}

void DiskModel::end_read(ReadUnderWay& read) { std::erase(reads_, &read); }

void DiskModel::see(const ReadUnderWay& read, size_t index, GrainIdentity identity) {
  FUZZ_CHECK(has(read.may_be[index], identity), "a read gave what the sector can't hold");
  if (!read.is_shared) grains_[read.range.first + index].now = {identity};
}

bool DiskModel::is_being_written(GrainRange range) const noexcept {
  for (size_t index = range.first; index < range.end(); ++index) {
    if (grains_[index].writes_count > 0) return true;
  }
  return false;
}

void DiskModel::check_content(std::span<const std::byte> content) const {
  FUZZ_CHECK(content.size() >= size_min_ && content.size() <= size_max_, "the file has a size that nobody gave it");
  for (size_t index = 0; index < grains_.size(); ++index) {
    FUZZ_CHECK(has(grains_[index].now, identity_at(content, index)), "the file holds what nobody wrote there");
  }
}

// Whatever was under way is over, and nobody will tell.
void DiskModel::forget_under_way() {
  reads_.clear();
  ++clock_;
  for (Grain& grain : grains_) {
    if (grain.writes_count > 0) grain.changed_at = clock_;
    grain.writes_count = 0;
  }
}

void DiskModel::survive_kill(std::span<const std::byte> content) {
  forget_under_way();
  check_content(content);
  for (size_t index = 0; index < grains_.size(); ++index) grains_[index].now = {identity_at(content, index)};
  if (content.size() != size_min_) grown_at_ = clock_;
  size_min_ = size_max_ = content.size();
}

void DiskModel::survive_power_loss(std::span<const std::byte> content) {
  forget_under_way();
  FUZZ_CHECK(content.size() >= size_crash_min_ && content.size() <= size_max_,
             "a loss of power left the file a size that it can't have");
  for (size_t index = 0; index < grains_.size(); ++index) {
    Grain& grain = grains_[index];
    const GrainIdentity identity = identity_at(content, index);
    const bool is_cut = (index + 1) * grain_size > content.size();
    FUZZ_CHECK(is_cut || grain.may_tear || has(grain.crash, identity), "a loss of power took what was durable");
    grain.now = grain.crash = {identity};
    grain.may_tear = grain.is_forgotten = false;
  }
  size_min_ = size_max_ = size_crash_min_ = content.size();
}

uint64_t DiskModel::loose_count() const noexcept {
  return static_cast<uint64_t>(std::count_if(
      grains_.begin(), grains_.end(), [](const Grain& grain) { return grain.may_tear || grain.crash != grain.now; }));
}

}  // namespace spindle::fuzz
