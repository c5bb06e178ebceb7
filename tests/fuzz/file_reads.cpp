// What reads may see, and what they teach: the other half of the model of files.
#include <cinttypes>
#include <cstdio>

#include "tests/fuzz/file_grains.h"

namespace spindle::fuzz {

namespace {

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

}  // namespace spindle::fuzz
