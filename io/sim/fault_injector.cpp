#include "io/sim/fault_injector.h"

#include <algorithm>
#include <cstring>

#include "runtime/assert.h"

namespace spindle {

namespace {

struct FaultSpan {
  Fault first;
  Fault last;
};

/// What can happen to a group beside what can happen to all; first > last: nothing.
FaultSpan faults_of(FaultGroup group) noexcept {
  switch (group) {
    case FaultGroup::read: return {Fault::latent_error, Fault::short_read};
    case FaultGroup::write: return {Fault::stale_sector, Fault::no_space};
    case FaultGroup::durable_write: return {Fault::stale_sector, Fault::failed_sync};
    case FaultGroup::sync: return {Fault::failed_sync, Fault::failed_sync};
    case FaultGroup::other: break;
  }
  return {Fault::cancelled, Fault::again};
}

void fill_randomly(std::span<std::byte> memory, Random& random) noexcept {
  for (size_t at = 0; at < memory.size(); at += 8) {
    const uint64_t word = random.next();
    std::memcpy(memory.data() + at, &word, std::min<size_t>(8, memory.size() - at));
  }
}

}  // namespace

FaultInjector::FaultInjector(SimFiles& files, const FaultPlan& plan, uint32_t sector_size, Random& random)
    : files_(files), plan_(plan), sector_size_(sector_size), random_(random) {
  for (uint32_t region = 0; region <= plan.regions.size(); ++region) {
    stall_rate_max_ = std::max(stall_rate_max_, rates_of(region).of(Fault::stall));
  }
  for (size_t index = 0; index < group_count; ++index) {
    const FaultSpan span = faults_of(static_cast<FaultGroup>(index));
    for (uint32_t region = 0; region <= plan.regions.size(); ++region) {
      const FaultRates& rates = rates_of(region);
      const uint32_t total = rates.sum(span.first, span.last) + rates.sum(Fault::again, Fault::cancelled);
      SPINDLE_ASSERT(total <= FaultRates::denominator, "the rates of faults add up to more than one");
      rates_max_[index] = std::max(rates_max_[index], total);
    }
  }
}

const FaultRates& FaultInjector::rates_of(uint32_t region) const noexcept {
  return region < plan_.regions.size() ? plan_.regions[region].rates : plan_.everywhere;
}

uint32_t FaultInjector::region_of(std::string_view path, uint64_t offset) const noexcept {
  for (uint32_t index = 0; index < plan_.regions.size(); ++index) {
    const FaultRegion& region = plan_.regions[index];
    const bool is_there = offset >= region.offset && offset - region.offset < region.size;
    if (is_there && (region.path.empty() || region.path == path)) return index;
  }
  return static_cast<uint32_t>(plan_.regions.size());
}

std::optional<Fault> FaultInjector::choose(FaultGroup group, const FaultTarget& target, uint32_t drawn) noexcept {
  const FaultRates& rates = rates_of(region_of(target.path, target.offset));
  const FaultSpan own = faults_of(group);
  for (const FaultSpan& span : {own, FaultSpan{Fault::again, Fault::cancelled}}) {
    for (size_t index = static_cast<size_t>(span.first); index <= static_cast<size_t>(span.last); ++index) {
      const Fault fault = static_cast<Fault>(index);
      const uint32_t rate = rates.of(fault);
      if (drawn >= rate) {
        drawn -= rate;
        continue;
      }
      if (is_damage(fault) && !may_damage(fault, target)) return std::nullopt;
      if (is_filtered(fault)) return std::nullopt;
      files_.record().note(fault);
      return fault;
    }
  }
  return std::nullopt;
}

uint64_t FaultInjector::draw_sector(uint64_t offset, uint64_t end) noexcept {
  return random_.between(offset / sector_size_, (end - 1) / sector_size_) * sector_size_;
}

// Draws the sector, in the part of the operation that is in one region with its beginning.
bool FaultInjector::may_damage(Fault fault, const FaultTarget& target) noexcept {
  // What is read or comes back must be there.
  const bool needs_content = fault <= Fault::garbage || fault == Fault::stale_sector;
  uint64_t end = target.offset + target.size;
  if (needs_content) end = std::min(end, target.file->size());
  if (end <= target.offset) return false;
  sector_ = draw_sector(target.offset, end);
  const uint32_t region = region_of(target.path, std::max(sector_, target.offset));
  if (region != region_of(target.path, target.offset)) return false;
  return is_allowed({fault, target.path, target.file->number(), sector_}, region);
}

bool FaultInjector::is_allowed(const FaultSite& site, uint32_t region) noexcept {
  const uint32_t most = region < plan_.regions.size() ? plan_.regions[region].damage_max : plan_.damage_max;
  const bool is_bounded = most != UINT32_MAX;
  if (is_bounded && files_.record().damaged_count(region) >= most) return false;
  return plan_.policy == nullptr || plan_.policy->may_damage(site);
}

uint64_t FaultInjector::draw_stall_ns(const FaultTarget& target) noexcept {
  if (stall_rate_max_ == 0) return 0;
  const uint32_t rate = rates_of(region_of(target.path, target.offset)).of(Fault::stall);
  if (rate == 0 || random_.below(FaultRates::denominator) >= rate) return 0;
  if (is_filtered(Fault::stall)) return 0;
  files_.record().note(Fault::stall);
  return 1 + random_.below(plan_.stall_ns_max);
}

void FaultInjector::note_damage(Fault fault, const FaultTarget& target, uint64_t sector) {
  target.file->watch(sector);
  files_.record().add(target.file->number(), sector, {fault, region_of(target.path, std::max(sector, target.offset))});
}

void FaultInjector::damage(Fault fault, const FaultTarget& target) {
  SimFile& file = *target.file;
  note_damage(fault, target, sector_);
  if (fault == Fault::latent_error) return file.make_unreadable(sector_, sector_size_);
  std::vector<std::byte> content(std::min<uint64_t>(sector_size_, file.size() - sector_));
  file.read(sector_, content);
  if (fault == Fault::garbage) {
    fill_randomly(content, random_);
  } else {
    const uint64_t bit = random_.below(content.size() * 8);
    content[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  file.damage(sector_, content);
}

// The file itself, half of the time, or any other of the disk.
SimFile& FaultInjector::some_file(SimFile& own, std::string& path) noexcept {
  if (random_.chance(1, 2)) return own;
  std::vector<std::pair<std::string, SimFile*>> candidates;
  files_.for_each([&](const std::string& name, SimFile& file) {
    if (!file.is_directory() && file.size() >= sector_size_) candidates.push_back({name, &file});
  });
  if (candidates.empty()) return own;
  const auto& [name, chosen] = candidates[random_.below(candidates.size())];
  path = name;
  return *chosen;
}

void FaultInjector::mix_up(const FaultTarget& target, std::span<std::byte> memory) {
  std::string path;
  SimFile& other = some_file(*target.file, path);
  if (memory.empty() || other.size() < sector_size_) return;
  const uint64_t sector = draw_sector(target.offset, target.offset + memory.size());
  const uint64_t source = random_.below(other.size() / sector_size_) * sector_size_;
  std::vector<std::byte> content(sector_size_);
  other.read(source, content);
  const uint64_t begin = std::max(sector, target.offset);
  const uint64_t end = std::min(sector + sector_size_, target.offset + memory.size());
  if (begin < end) std::memcpy(memory.data() + (begin - target.offset), content.data() + (begin - sector), end - begin);
}

void FaultInjector::remember(const FaultTarget& target, std::vector<std::byte> content) {
  target.file->watch(sector_);
  const uint32_t reads_left = static_cast<uint32_t>(random_.below(3));
  const uint32_t region = region_of(target.path, std::max(sector_, target.offset));
  files_.record().remembered().push_back({target.file->number(), sector_, region, reads_left, std::move(content)});
}

void FaultInjector::bring_back(const FaultTarget& target) {
  std::vector<FaultRecord::Remembered>& all = files_.record().remembered();
  const uint64_t end = target.offset + target.size;
  for (size_t index = 0; index < all.size();) {
    FaultRecord::Remembered& remembered = all[index];
    const bool is_hit = remembered.file_number == target.file->number() && remembered.sector < end &&
                        remembered.sector + remembered.content.size() > target.offset;
    if (!is_hit || remembered.reads_left-- > 0) {
      ++index;
      continue;
    }
    if (remembered.sector + remembered.content.size() <= target.file->size()) {
      target.file->damage(remembered.sector, remembered.content);
      files_.record().add(remembered.file_number, remembered.sector, {Fault::stale_sector, remembered.region});
    }
    all.erase(all.begin() + static_cast<ptrdiff_t>(index));
  }
}

void FaultInjector::write_elsewhere(const FaultTarget& target, std::span<const std::byte> content) {
  std::string path(target.path);
  SimFile& other = some_file(*target.file, path);
  if (other.size() < sector_size_) return;
  const uint64_t place = random_.below(other.size() / sector_size_) * sector_size_;
  if (&other == target.file && place == sector_) return;
  const FaultTarget hit{&other, path, place, sector_size_};
  if (!is_allowed({Fault::misdirected_write, path, other.number(), place}, region_of(path, place))) return;
  if (other.writable_size(place, sector_size_) < sector_size_) return;  // a hole, on a full disk
  other.write(place, content, files_.take_sequence());
  note_damage(Fault::misdirected_write, hit, place);
}

// Of sectors that were written as a whole.
void FaultInjector::note_written(const FaultTarget& target) {
  if (!target.file->is_watched(target.offset, target.size)) [[likely]]
    return;
  FaultRecord& record = files_.record();
  const uint64_t first = (target.offset + sector_size_ - 1) / sector_size_ * sector_size_;
  const uint64_t end = target.size > UINT64_MAX - target.offset ? UINT64_MAX : target.offset + target.size;
  const uint64_t last = end / sector_size_ * sector_size_;
  if (first >= last) return;
  record.remove(target.file->number(), first, last - first);
  target.file->make_readable(first, last - first);  // in several parts, as of a vector, none of which was all of it
  std::erase_if(record.remembered(), [&](const FaultRecord::Remembered& remembered) {
    return remembered.file_number == target.file->number() && remembered.sector >= first && remembered.sector < last;
  });
}

}  // namespace spindle
