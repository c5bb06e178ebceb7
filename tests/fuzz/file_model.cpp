#include "tests/fuzz/file_model.h"

#include <algorithm>
#include <cstring>

#include "tests/fuzz/file_grains.h"

namespace spindle::fuzz {

namespace {

const GrainState& zero_state() noexcept {
  static const GrainState state{0, {nullptr}, false, false, false, false, false};
  return state;
}

}  // namespace

FileModel::FileModel() { sizes_.push_back(SizeState{0, {SizeRange{0, 0}}, false}); }

bool FileModel::is_free(uint64_t begin, uint64_t end) const noexcept {
  return std::none_of(changes_.begin(), changes_.end(),
                      [&](const Change* change) { return change->lock_begin < end && begin < change->lock_end; });
}

uint64_t FileModel::pages_in_flight() const noexcept {
  uint64_t count = 0;
  for (const Change* const change : changes_) {
    const bool needs_pages = change->kind == Change::Kind::write || change->kind == Change::Kind::allocate;
    if (needs_pages) count += change->size / 4096 + 2;
  }
  return count;
}

const GrainState& FileModel::state_at(uint64_t index) const noexcept {
  return index < grains_.size() ? grains_[index].back() : zero_state();
}

FileModel::History& FileModel::history_at(uint64_t index) {
  if (index >= grains_.size()) grains_.resize(index + 1, History{zero_state()});
  return grains_[index];
}

uint64_t FileModel::grain_begin_of(const Change& change) noexcept {
  const uint64_t begin = change.kind == Change::Kind::write ? change.block_begin : change.offset;
  return begin / grain_size;
}

uint64_t FileModel::grain_end_of(const Change& change) const noexcept {
  switch (change.kind) {
    case Change::Kind::write: return (change.block_end + grain_size - 1) / grain_size;
    case Change::Kind::hole: return (change.end() + grain_size - 1) / grain_size;
    case Change::Kind::truncate: return grains_.size();
    case Change::Kind::allocate: return 0;
  }
  return 0;
}

// The state of a grain after the first `done` bytes of a change took effect on it.
GrainState FileModel::after(const GrainState& before, const Change& change, uint64_t index, uint64_t done) const {
  const bool is_write = change.kind == Change::Kind::write;
  const uint64_t end = change.kind == Change::Kind::truncate ? UINT64_MAX : change.offset + done;
  const Part part(index, change.offset, end);
  GrainState next = before;
  next.is_written = is_write;
  next.is_forgotten = next.is_from_power_loss = false;
  if (part.is_empty()) return next;
  const std::byte* const from =
      is_write ? change.content.data() + (index * grain_size + part.first - change.offset) : zeroes.data();
  if (part.is_whole()) next.is_anything = next.is_mixed = false;
  next.values.clear();
  for (const GrainValue& value : before.values) {
    if (!is_write && part.is_whole()) {
      add_value(next.values, nullptr);
      break;
    }
    auto changed = std::make_shared<GrainBytes>();
    std::memcpy(changed->data(), bytes_of(value), grain_size);
    std::memcpy(changed->data() + part.first, from, part.last - part.first);
    add_value(next.values, std::move(changed));
    if (part.is_whole()) break;
  }
  return next;
}

void FileModel::begin(Change& change) {
  changes_.push_back(&change);
  for (Watch* const watch : watches_) disturb(*watch, change);
}

void FileModel::disturb(Watch& watch, const Change& change) const {
  const uint64_t first = std::max(grain_begin_of(change), watch.grain_first());
  // Where nothing was written there can be damage, which a cut takes away.
  const uint64_t change_end = change.kind == Change::Kind::truncate ? UINT64_MAX : grain_end_of(change);
  const uint64_t end = std::min(change_end, watch.grain_first() + watch.grains.size());
  for (uint64_t index = first; index < end; ++index) {
    Watch::Grain& grain = watch.grains[index - watch.grain_first()];
    add_values(grain.values, state_at(index).values);
    add_values(grain.values, after(state_at(index), change, index, change.size).values);
    grain.is_mixed = grain.is_disturbed = true;
    grain.is_anything |= change.may_spread_damage && is_edge(change, index);
  }
  if (change.kind == Change::Kind::hole) return;
  watch.is_size_disturbed = true;
  widen(watch);
  if (change.kind == Change::Kind::truncate) watch.size_low = std::min(watch.size_low, change.size);
  const uint64_t end_most = change.kind == Change::Kind::write ? change.block_end : change.end();
  watch.size_high = std::max(watch.size_high, change.kind == Change::Kind::truncate ? change.size : end_most);
}

void FileModel::widen(Watch& watch) const noexcept {
  watch.size_low = std::min(watch.size_low, size_low());
  watch.size_high = std::max(watch.size_high, size_high());
}

void FileModel::change_grain(const Change& change, const ChangeOutcome& outcome, uint64_t index, uint64_t sequence) {
  History& history = history_at(index);
  const GrainState& before = history.back();
  GrainState next = after(before, change, index, outcome.is_whole ? change.size : outcome.done);
  const uint64_t grain_end = (index + 1) * grain_size;
  const bool is_reached = outcome.is_whole || (outcome.done > 0 && grain_end <= change.offset + outcome.done);
  if (!is_reached) {
    const GrainState full = after(before, change, index, change.size);
    if (outcome.done == 0) next.values = before.values;
    add_values(next.values, full.values);
    next.is_anything = before.is_anything || outcome.may_be_garbage;
    next.is_mixed = before.is_mixed || change.is_loose;
  }
  if (outcome.edges_are_unknown && is_edge(change, index)) next.is_anything = true;
  next.sequence = sequence;
  // What was zero already, the file system need not have touched.
  const bool may_be_idle = change.kind != Change::Kind::write &&
                           std::any_of(before.values.begin(), before.values.end(),
                                       [&](const GrainValue& value) { return is_same(value, next.values.front()); });
  next.is_forgotten = outcome.is_forgotten || ((may_be_idle || !is_reached) && before.is_forgotten);
  if (outcome.is_whole && change.is_durable) history.clear();
  history.push_back(std::move(next));
}

void FileModel::change_size(const Change& change, const ChangeOutcome& outcome, uint64_t sequence) {
  if (change.kind == Change::Kind::hole) return;
  const bool grows = change.kind == Change::Kind::write && change.block_end > size_high();
  SizeState next{sequence, sizes_.back().ranges, outcome.is_forgotten};
  if (!outcome.is_whole) next.is_forgotten |= sizes_.back().is_forgotten;
  if (change.kind == Change::Kind::truncate) {
    if (outcome.is_whole) next.ranges.clear();
    next.ranges.push_back(SizeRange{change.size, change.size});
  } else if (outcome.is_whole) {
    for (SizeRange& range : next.ranges)
      range = {std::max(range.low, change.end()), std::max(range.high, change.end())};
  } else {
    const bool is_write = change.kind == Change::Kind::write;
    const uint64_t reached = is_write && outcome.done > 0 ? change.offset + outcome.done : 0;
    const uint64_t most = is_write ? change.block_end : change.end();
    for (SizeRange& range : next.ranges) range = {std::max(range.low, reached), std::max(range.high, most)};
  }
  if (change.is_durable) {  // what is needed to read it is durable, or may be
    const uint64_t least = outcome.is_whole ? change.end() : 0;
    for (SizeState& state : sizes_) {
      for (SizeRange& range : state.ranges) {
        range = {std::max(range.low, least), std::max(range.high, change.block_end)};
      }
    }
  }
  if (grows) {
    // It grew step by step, and may have been longer for a moment. What is durable was synced after that.
    const bool is_synced = outcome.is_whole && change.is_durable;
    SizeState moment{sequence, {SizeRange{size_low(), change.block_end}}, outcome.is_forgotten};
    if (!is_synced) sizes_.push_back(std::move(moment));
    if (is_synced && change.block_end > change.end()) sizes_.clear();
  }
  sizes_.push_back(std::move(next));
  size_latest_ = size_high();
}

void FileModel::end(Change& change, const ChangeOutcome& outcome, uint64_t sequence) {
  std::erase(changes_, &change);
  const uint64_t grain_end = grain_end_of(change);
  for (uint64_t index = grain_begin_of(change); index < grain_end; ++index) {
    change_grain(change, outcome, index, sequence);
    if (!state_at(index).is_anything) continue;
    for (Watch* const watch : watches_) {
      if (index < watch->grain_first() || index >= watch->grain_first() + watch->grains.size()) continue;
      watch->grains[index - watch->grain_first()].is_anything = true;
    }
  }
  change_size(change, outcome, sequence);
  for (Watch* const watch : watches_) widen(*watch);
}

bool FileModel::is_size_known() const noexcept {
  const std::vector<SizeRange>& ranges = sizes_.back().ranges;
  return ranges.size() == 1 && ranges[0].low == ranges[0].high;
}

uint64_t FileModel::size_low() const noexcept {
  uint64_t low = UINT64_MAX;
  for (const SizeRange& range : sizes_.back().ranges) low = std::min(low, range.low);
  return low;
}

uint64_t FileModel::size_high() const noexcept {
  uint64_t high = 0;
  for (const SizeRange& range : sizes_.back().ranges) high = std::max(high, range.high);
  return high;
}

bool FileModel::learn_size(uint64_t size, uint64_t sequence) {
  std::vector<SizeRange>& ranges = sizes_.back().ranges;
  const bool is_possible = std::any_of(ranges.begin(), ranges.end(),
                                       [&](const SizeRange& range) { return range.low <= size && size <= range.high; });
  if (!is_possible) return false;
  if (is_size_known()) return true;
  ranges.assign(1, SizeRange{size, size});
  cut_after(size, sequence);
  return true;
}

// There is nothing behind the end.
void FileModel::cut_after(uint64_t size, uint64_t sequence) {
  Change cut;
  cut.kind = Change::Kind::truncate;
  cut.offset = cut.size = size;
  for (uint64_t index = size / grain_size; index < grains_.size(); ++index) {
    History& history = grains_[index];
    GrainState next = after(history.back(), cut, index, 0);
    next.is_from_power_loss = history.back().is_from_power_loss;
    next.is_forgotten = history.back().is_forgotten && history.size() > 1;
    next.sequence = sequence;
    if (history.size() == 1) history.clear();
    history.push_back(std::move(next));
  }
}

void FileModel::note_synced(uint64_t sequence) {
  const auto drop_older = [&](auto& history) {
    size_t covered = history.size();
    while (covered > 0 && history[covered - 1].sequence > sequence) --covered;
    if (covered < 2 || history[covered - 1].is_forgotten) return;
    history.erase(history.begin(), history.begin() + static_cast<ptrdiff_t>(covered - 1));
  };
  for (History& history : grains_) drop_older(history);
  drop_older(sizes_);
}

void FileModel::note_sync_failed(uint64_t sequence) {
  const auto forget = [&](auto& history) {
    for (auto& state : history) state.is_forgotten |= state.sequence <= sequence;
    history.front().is_forgotten &= history.size() > 1;
  };
  for (History& history : grains_) forget(history);
  forget(sizes_);
}

uint32_t FileModel::note_killed(uint64_t sequence) {
  uint32_t writes_count = 0;
  while (!changes_.empty()) {
    Change& change = *changes_.front();
    writes_count += change.kind == Change::Kind::write;
    ChangeOutcome outcome;
    outcome.is_whole = false;
    outcome.edges_are_unknown = change.may_spread_damage;
    end(change, outcome, sequence);
  }
  watches_.clear();
  return writes_count;
}

void FileModel::note_power_lost() {
  for (History& history : grains_) {
    if (history.size() == 1) continue;
    GrainState all = history.front();
    for (size_t index = 1; index < history.size(); ++index) {
      const GrainState& state = history[index];
      add_values(all.values, state.values);
      all.is_anything |= state.is_anything || state.is_written;
      all.is_mixed |= state.is_mixed;
    }
    all.sequence = 0;
    all.is_forgotten = false;
    all.is_from_power_loss = true;
    history.assign(1, std::move(all));
  }
  SizeState all{0, {}, false};
  for (const SizeState& state : sizes_) all.ranges.insert(all.ranges.end(), state.ranges.begin(), state.ranges.end());
  sizes_.assign(1, std::move(all));
}

}  // namespace spindle::fuzz
