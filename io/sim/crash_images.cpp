#include "io/sim/crash_images.h"

#include <algorithm>
#include <memory>
#include <set>
#include <tuple>

#include "io/sim/world.h"
#include "runtime/assert.h"

namespace spindle {

namespace {

using Fates = std::vector<SectorFate>;

/// Each of `kinds` fates for each unit, in every combination.
void add_combinations(size_t units_count, uint64_t kinds, std::set<Fates>& all) {
  uint64_t end = 1;
  for (size_t unit = 0; unit < units_count; ++unit) end *= kinds;
  for (uint64_t number = 0; number < end; ++number) {
    Fates fates(units_count);
    uint64_t rest = number;
    for (SectorFate& fate : fates) {
      fate = static_cast<SectorFate>(rest % kinds);
      rest /= kinds;
    }
    all.insert(std::move(fates));
  }
}

void add_named(size_t units_count, std::set<Fates>& all) {
  for (size_t count = 0; count <= units_count; ++count) {
    Fates prefix(units_count, SectorFate::former);
    std::fill_n(prefix.begin(), count, SectorFate::written);
    Fates suffix(prefix.rbegin(), prefix.rend());
    all.insert(std::move(prefix));
    all.insert(std::move(suffix));
  }
  for (const SectorFate others : {SectorFate::former, SectorFate::written}) {
    const SectorFate other = others == SectorFate::former ? SectorFate::written : SectorFate::former;
    for (size_t unit = 0; unit < units_count; ++unit) {
      for (const SectorFate own : {other, SectorFate::torn}) {
        Fates fates(units_count, others);
        fates[unit] = own;
        all.insert(std::move(fates));
      }
    }
  }
}

void add_samples(size_t units_count, const CrashImageOptions& options, std::set<Fates>& all) {
  Random random(mix64(options.seed));
  for (uint32_t sample = 0; sample < options.samples_count; ++sample) {
    const uint64_t kinds = random.between(2, 3);
    Fates fates(units_count);
    for (SectorFate& fate : fates) fate = static_cast<SectorFate>(random.below(kinds));
    all.insert(std::move(fates));
  }
}

}  // namespace

CrashImages::CrashImages(Host& host) : base_(host.files().clone()), sector_size_(host.options().sector_size) {
  if (host.is_alive()) add_writes(host);
  base_.for_each_file([&](SimFile& file) { add_units_of(file); });
  for (size_t index = 0; index < base_.changes().size(); ++index) {
    CrashUnit unit;
    unit.kind = CrashUnit::Kind::change;
    unit.sequence = base_.changes()[index].sequence;
    unit.offset = index;
    units_.push_back(unit);
  }
  std::sort(units_.begin(), units_.end(), [](const CrashUnit& one, const CrashUnit& other) {
    return std::tie(one.sequence, one.is_in_flight, one.kind, one.write_index, one.file_number, one.offset) <
           std::tie(other.sequence, other.is_in_flight, other.kind, other.write_index, other.file_number, other.offset);
  });
}

void CrashImages::add_writes(Host& host) {
  host.backend().for_each_write_in_flight([&](const SimFile& file, uint64_t offset, std::span<const std::byte> memory) {
    writes_.push_back({file.number(), offset, std::vector<std::byte>(memory.begin(), memory.end())});
    for (uint64_t done = 0; done < memory.size();) {
      CrashUnit unit;
      unit.is_in_flight = true;
      unit.sequence = UINT64_MAX;
      unit.file_number = file.number();
      unit.offset = offset + done;
      unit.write_index = writes_.size() - 1;
      units_.push_back(unit);
      done += sector_size_ - unit.offset % sector_size_;
    }
  });
}

bool CrashImages::extends(const SimFile& file) const noexcept {
  return std::any_of(writes_.begin(), writes_.end(), [&](const Write& write) {
    return write.file_number == file.number() && write.offset + write.content.size() > file.size();
  });
}

void CrashImages::add_units_of(const SimFile& file) {
  CrashUnit unit;
  unit.file_number = file.number();
  file.for_each_undecided(sector_size_, [&](uint64_t offset) {
    unit.offset = offset;
    unit.sequence = file.sequence_at(offset);
    units_.push_back(unit);
  });
  const bool is_extended = extends(file);
  if (file.undecided_sizes().size() == 1 && !is_extended) return;
  unit.kind = CrashUnit::Kind::size;
  unit.offset = 0;
  unit.sequence = is_extended ? UINT64_MAX : file.size_sequence();
  units_.push_back(unit);
}

void CrashImages::apply(SimFiles& files, const CrashUnit& unit, SectorFate fate, Random& random) const {
  if (unit.kind != CrashUnit::Kind::sector) return;
  SimFile* const file = files.find_number(unit.file_number);
  if (file == nullptr) return;
  if (!unit.is_in_flight) return file->decide(unit.offset, sector_size_, fate, random);
  if (fate == SectorFate::former) return;
  const Write& write = writes_[unit.write_index];
  const uint64_t begin = unit.offset - write.offset;
  const uint64_t end = std::min<uint64_t>(begin + sector_size_ - unit.offset % sector_size_, write.content.size());
  file->write(unit.offset, std::span(write.content).subspan(begin, end - begin), files.take_sequence());
  file->decide(unit.offset / sector_size_ * sector_size_, sector_size_, fate, random);
}

void CrashImages::apply_sizes(SimFiles& files, std::span<const SectorFate> fates) const {
  files.for_each_file([&](SimFile& file) {
    uint64_t size = file.size();
    for (size_t index = 0; index < units_.size(); ++index) {
      const CrashUnit& unit = units_[index];
      if (unit.kind != CrashUnit::Kind::size || unit.file_number != file.number()) continue;
      const std::vector<uint64_t> sizes = file.undecided_sizes();
      if (fates[index] == SectorFate::former) size = file.durable_size();
      if (fates[index] == SectorFate::torn) size = *std::min_element(sizes.begin(), sizes.end());
    }
    file.decide_size(size);
  });
}

SimFiles CrashImages::image(std::span<const SectorFate> fates, uint64_t seed) const {
  SPINDLE_ASSERT(fates.size() == units_.size(), "a crash image takes one fate per unit");
  SimFiles files = base_.clone();
  Random random(seed);
  std::vector<bool> kept(files.changes().size());
  // What was acknowledged first, then what was in flight above it: units_ has them in this order.
  for (size_t index = 0; index < units_.size(); ++index) {
    apply(files, units_[index], fates[index], random);
    if (units_[index].kind == CrashUnit::Kind::change) kept[units_[index].offset] = fates[index] != SectorFate::former;
  }
  apply_sizes(files, fates);
  files.decide_changes(kept);
  return files;
}

std::vector<Fates> CrashImages::choices(const CrashImageOptions& options) const {
  std::set<Fates> all;
  const size_t units_count = units_.size();
  add_named(units_count, all);
  if (units_count <= options.units_torn_max) {
    add_combinations(units_count, 3, all);
  } else if (units_count <= options.units_all_max) {
    add_combinations(units_count, 2, all);
    add_samples(units_count, options, all);
  } else {
    add_samples(units_count, options, all);
  }
  return {all.begin(), all.end()};
}

}  // namespace spindle
