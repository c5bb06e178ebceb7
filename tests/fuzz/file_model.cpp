#include "tests/fuzz/file_model.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

namespace {

constexpr GrainBytes zeroes{};

const std::byte* bytes_of(const GrainValue& value) noexcept { return value == nullptr ? zeroes.data() : value->data(); }

bool is_same(const GrainValue& left, const GrainValue& right) noexcept {
  return left == right || std::memcmp(bytes_of(left), bytes_of(right), grain_size) == 0;
}

void add_value(std::vector<GrainValue>& values, const GrainValue& value) {
  const bool is_there =
      std::any_of(values.begin(), values.end(), [&](const auto& other) { return is_same(other, value); });
  if (!is_there) values.push_back(value);
}

void add_values(std::vector<GrainValue>& values, const std::vector<GrainValue>& others) {
  for (const GrainValue& value : others) add_value(values, value);
}

const GrainState& zero_state() noexcept {
  static const GrainState state{0, {nullptr}, false, false, false, false, false};
  return state;
}

/// The part of grain `index` in [begin, end), relative to it.
struct Part {
  size_t first;
  size_t last;  // exclusive
  Part(uint64_t index, uint64_t begin, uint64_t end) noexcept
      : first(
            static_cast<size_t>(std::clamp(begin, index * grain_size, (index + 1) * grain_size) - index * grain_size)),
        last(static_cast<size_t>(std::clamp(end, index * grain_size, (index + 1) * grain_size) - index * grain_size)) {}
  bool is_empty() const noexcept { return first >= last; }
  bool is_whole() const noexcept { return first == 0 && last == grain_size; }
};

/// Some of it is not the content of the write.
bool is_edge(const Change& change, uint64_t index) noexcept {
  return !Part(index, change.offset, change.end()).is_whole();
}

bool matches(const GrainValue& value, std::span<const std::byte> seen, size_t first) noexcept {
  return std::memcmp(bytes_of(value) + first, seen.data(), seen.size()) == 0;
}

bool matches_any(const Watch::Grain& grain, std::span<const std::byte> seen, size_t first) {
  if (grain.is_anything) return true;
  for (const GrainValue& value : grain.values) {
    if (matches(value, seen, first)) return true;
  }
  if (!grain.is_mixed) return false;
  for (size_t at = 0; at < seen.size(); ++at) {
    const bool is_known = std::any_of(grain.values.begin(), grain.values.end(),
                                      [&](const auto& value) { return bytes_of(value)[first + at] == seen[at]; });
    if (!is_known) return false;
  }
  return true;
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
    case Change::Kind::hole: return std::min<uint64_t>(grains_.size(), (change.end() + grain_size - 1) / grain_size);
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
  const uint64_t end = std::min(grain_end_of(change), watch.grain_first() + watch.grains.size());
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
  next.is_forgotten = outcome.is_forgotten;
  if (outcome.is_whole && change.is_durable) history.clear();
  history.push_back(std::move(next));
}

void FileModel::change_size(const Change& change, const ChangeOutcome& outcome, uint64_t sequence) {
  if (change.kind == Change::Kind::hole) return;
  SizeState next{sequence, sizes_.back().ranges, outcome.is_forgotten};
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
  const bool grows = change.kind == Change::Kind::write && change.block_end > size_high();
  if (outcome.is_whole && grows) {
    // It grew step by step, and may have been longer for a moment. What is durable was synced after that.
    SizeState moment{sequence, {SizeRange{size_low(), change.block_end}}, outcome.is_forgotten};
    if (!change.is_durable) sizes_.push_back(std::move(moment));
    if (change.is_durable && change.block_end > change.end()) sizes_.clear();
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

void FileModel::begin(Watch& watch) {
  watches_.push_back(&watch);
  const uint64_t end = (watch.offset + watch.size + grain_size - 1) / grain_size;
  watch.grains.clear();
  for (uint64_t index = watch.grain_first(); index < end; ++index) {
    const GrainState& state = state_at(index);
    watch.grains.push_back(Watch::Grain{state.values, state.is_anything, state.is_mixed, false});
  }
  watch.size_low = size_low();
  watch.size_high = size_high();
  for (const Change* const change : changes_) disturb(watch, *change);
}

void FileModel::end(Watch& watch) { std::erase(watches_, &watch); }

void FileModel::learn(GrainState& state, std::span<const std::byte> seen, size_t first, bool is_last,
                      ReadFindings& findings) {
  if (state.is_known()) return;
  const bool is_whole = first == 0 && (seen.size() == grain_size || is_last);
  if (!is_whole) {
    if (state.is_anything || state.is_mixed) return;
    std::erase_if(state.values, [&](const GrainValue& value) { return !matches(value, seen, first); });
    return;
  }
  const bool is_new = matches(state.values.back(), seen, first);
  const bool is_former = !is_new && std::any_of(state.values.begin(), state.values.end(),
                                                [&](const GrainValue& value) { return matches(value, seen, first); });
  if (state.is_from_power_loss) {
    ++(is_new ? findings.new_count : is_former ? findings.old_count : findings.garbage_count);
  } else {
    ++findings.undecided_count;
  }
  auto value = std::make_shared<GrainBytes>();
  std::memcpy(value->data(), seen.data(), seen.size());
  state.values.assign(1, std::move(value));
  state.is_anything = state.is_mixed = false;
}

ReadFindings FileModel::compare(const Watch& watch, std::span<const std::byte> bytes, const std::vector<bool>& skipped,
                                uint32_t sector_size, bool can_learn) {
  ReadFindings findings;
  ReadFindings before;
  uint64_t wrong_sector = UINT64_MAX;
  uint64_t sector = UINT64_MAX;
  const auto note_sector_end = [&] {
    const int kinds = (findings.old_count > before.old_count) + (findings.new_count > before.new_count) +
                      (findings.garbage_count > before.garbage_count);
    if (kinds > 1) ++findings.torn_count;
    before = findings;
  };
  const uint64_t end = watch.offset + bytes.size();
  for (size_t place = 0; place < watch.grains.size(); ++place) {
    const uint64_t index = watch.grain_first() + place;
    const Part part(index, watch.offset, end);
    if (part.is_empty() || skipped[place]) continue;
    if (index * grain_size / sector_size != sector) note_sector_end();
    sector = index * grain_size / sector_size;
    Watch::Grain grain = watch.grains[place];
    if (!grain.is_disturbed) {  // others that read it meanwhile may have learned what it is
      const GrainState& state = state_at(index);
      grain = Watch::Grain{state.values, state.is_anything, state.is_mixed, false};
    }
    findings.disturbed_count += grain.is_disturbed;
    const std::span<const std::byte> seen =
        bytes.subspan(index * grain_size + part.first - watch.offset, part.last - part.first);
    if (!matches_any(grain, seen, part.first)) {
      findings.wrong_sectors += wrong_sector != sector;
      wrong_sector = sector;
      findings.wrong_offset = index * grain_size;
    } else if (can_learn && !grain.is_disturbed) {
      const bool is_last = is_size_known() && end == size_low();
      learn(history_at(index).back(), seen, part.first, is_last, findings);
    }
  }
  note_sector_end();
  return findings;
}

void FileModel::print(uint64_t index, std::span<const std::byte> seen) const {
  const auto print_words = [](std::span<const std::byte> bytes) {
    for (size_t at = 0; at + 8 <= bytes.size(); at += 248) {
      uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, 8);
      std::fprintf(stderr, " %016" PRIx64, word);
    }
    std::fprintf(stderr, "\n");
  };
  std::fprintf(stderr, "  offset %" PRIu64 ", seen:", index * grain_size);
  print_words(seen);
  if (index >= grains_.size()) return;
  for (const GrainState& state : grains_[index]) {
    std::fprintf(stderr, "  state %" PRIu64 "%s%s%s%s\n", state.sequence, state.is_anything ? ", anything" : "",
                 state.is_mixed ? ", mixed" : "", state.is_written ? ", written" : "",
                 state.is_forgotten ? ", forgotten" : "");
    for (const GrainValue& value : state.values) print_words(std::span<const std::byte>(bytes_of(value), grain_size));
  }
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
