#include "tests/fuzz/superblock_model.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/fuzz/fuzz.h"
#include "tests/lsm/superblock_oracle.h"

namespace spindle::fuzz {

namespace {

using Kind = SlotImage::Kind;

std::span<const std::byte> bytes_of(const Superblock& superblock) { return std::as_bytes(std::span(&superblock, 1)); }

}  // namespace

size_t SuperblockModel::begin(const Superblock& version, bool is_first) {
  if (is_first) ++generation_;
  const auto [place, is_new] = indices_.insert({key_of(version), versions_.size()});
  const size_t index = place->second;
  if (is_new) {
    versions_.push_back(version);
    generations_.push_back(generation_);
  } else {
    generations_[index] = generation_;
  }
  flights.push_back(index);
  is_format_in_flight = is_format_in_flight || is_first;
  return index;
}

void SuperblockModel::settle(size_t version) {
  durable = version;
  flights.clear();
  is_format_in_flight = false;
}

void SuperblockModel::take_back(size_t version) {
  FUZZ_CHECK(!flights.empty() && flights.back() == version, "the model takes back what was not begun last");
  flights.pop_back();
  is_format_in_flight =
      std::any_of(flights.begin(), flights.end(), [&](size_t left) { return at(left).sequence == 1; });
}

std::optional<size_t> SuperblockModel::find(const Superblock& superblock) const {
  const auto found = indices_.find(key_of(superblock));
  if (found == indices_.end()) return std::nullopt;
  constexpr size_t covered = offsetof(Superblock, format_version);
  const auto there = bytes_of(superblock).subspan(covered);
  const auto written = bytes_of(at(found->second)).subspan(covered);
  const bool is_same = std::memcmp(there.data(), written.data(), there.size()) == 0;
  return is_same ? std::optional(found->second) : std::nullopt;
}

SlotImage SuperblockModel::classify(const Superblock& slot, bool is_readable) const {
  SlotImage image;
  const Checksum hash = checksum_of(bytes_of(slot));
  image.hash = hash.low;
  const std::optional<size_t> version = find(slot);
  if (!is_readable) {
    image.kind = Kind::unreadable;
  } else if (version.has_value()) {
    image.kind = Kind::version;
    image.version = *version;
    image.copy = slot.copy;
  } else if (slot.checksum == checksum_of(slot)) {
    image.kind = Kind::unsupported;
  } else {
    const auto bytes = bytes_of(slot);
    const bool is_zero = std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{}; });
    image.kind = is_zero ? Kind::zero : Kind::torn;
  }
  return image;
}

uint32_t SuperblockModel::in_place_count(const SlotImages& images, size_t version) const {
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < at(version).configuration.copies_count; ++slot) {
    count += images[slot].is_of(version) && images[slot].copy == slot;
  }
  return count;
}

uint32_t SuperblockModel::anywhere_count(const SlotImages& images, size_t version) {
  uint32_t count = 0;
  for (const SlotImage& image : images) count += image.is_of(version);
  return count;
}

bool SuperblockModel::is_candidate(size_t version) const {
  return durable == version || std::find(flights.begin(), flights.end(), version) != flights.end();
}

// Another version that has as many slots as it needs, and is not older.
bool SuperblockModel::has_rival(const SlotImages& images, size_t version, AskedCluster asked) const {
  return std::any_of(images.begin(), images.end(), [&](const SlotImage& image) {
    if (image.kind != Kind::version || image.version == version || !is_asked(image.version, asked)) return false;
    const Superblock& other = at(image.version);
    return other.sequence >= at(version).sequence &&
           anywhere_count(images, image.version) >= superblock_oracle::read_quorum_of(other.configuration.copies_count);
  });
}

// A copy that makes a reader doubt a version that is only on half of its slots; or any, when it skips one.
bool SuperblockModel::has_hazard(const SlotImages& images, size_t version) const {
  const Superblock& right = at(version);
  const bool is_doubtful =
      in_place_count(images, version) < superblock_oracle::write_quorum_of(right.configuration.copies_count);
  return std::any_of(images.begin(), images.end(), [&](const SlotImage& image) {
    if (image.kind != Kind::version || image.version == version) return false;
    const Superblock& other = at(image.version);
    if (other.cluster != right.cluster) return false;
    const bool is_skip = other.sequence > right.sequence + 1;
    const bool is_fork = other.sequence == right.sequence;
    const bool is_stranger = other.sequence + 1 == right.sequence && other.checksum != right.parent;
    return is_skip || (is_doubtful && (is_fork || is_stranger));
  });
}

bool SuperblockModel::has_former_store(const SlotImages& images) const {
  return std::any_of(images.begin(), images.end(), [&](const SlotImage& image) {
    return image.kind == Kind::version && generations_[image.version] != generations_[*durable];
  });
}

std::optional<size_t> SuperblockModel::certain(const SlotImages& images, AskedCluster asked) const {
  for (const SlotImage& image : images) {
    if (image.kind != Kind::version || !is_asked(image.version, asked)) continue;
    const size_t version = image.version;
    if (in_place_count(images, version) < superblock_oracle::read_quorum_of(at(version).configuration.copies_count))
      continue;
    if (!has_rival(images, version, asked) && !has_hazard(images, version)) return version;
  }
  return std::nullopt;
}

uint32_t SuperblockModel::damage_left() const {
  if (!durable.has_value()) return 0;
  const uint32_t copies_count = at(*durable).configuration.copies_count;
  const uint32_t damaged_count = static_cast<uint32_t>(std::popcount(damaged_slots & ((1u << copies_count) - 1)));
  const uint32_t bound = copies_count - superblock_oracle::write_quorum_of(copies_count);
  return bound - std::min(bound, damaged_count);
}

bool SuperblockModel::must_open(const SlotImages& images, AskedCluster asked) const {
  if (!durable.has_value() || !is_asked(*durable, asked) || is_format_in_flight) return false;
  if (damaged_slots == 0) return true;
  const uint32_t copies_count = at(*durable).configuration.copies_count;
  const uint32_t damaged_count = static_cast<uint32_t>(std::popcount(damaged_slots & ((1u << copies_count) - 1)));
  return flights.empty() && damaged_count <= copies_count - superblock_oracle::write_quorum_of(copies_count) &&
         !has_former_store(images);
}

bool SuperblockModel::may_open(const SlotImages& images, size_t version, AskedCluster asked) const {
  const uint32_t quorum = superblock_oracle::read_quorum_of(at(version).configuration.copies_count);
  if (!is_asked(version, asked) || anywhere_count(images, version) < quorum) return false;
  return is_candidate(version) || static_cast<uint32_t>(std::popcount(former_slots)) >= quorum;
}

bool SuperblockModel::must_format(const SlotImages& images) const {
  std::optional<size_t> first;
  uint32_t torn_count = 0;
  for (const SlotImage& image : images) {
    if (image.kind == Kind::unreadable || image.kind == Kind::unsupported) return false;
    torn_count += image.kind == Kind::torn;
    if (image.kind != Kind::version) continue;
    if (first.has_value() && *first != image.version) return false;
    first = image.version;
  }
  if (!first.has_value()) return true;
  const Superblock& version = at(*first);
  return torn_count <= 1 && version.sequence == 1 &&
         anywhere_count(images, *first) < superblock_oracle::read_quorum_of(version.configuration.copies_count);
}

bool SuperblockModel::must_refuse_format(const SlotImages& images) const {
  return std::any_of(images.begin(), images.end(), [&](const SlotImage& image) {
    if (image.kind == Kind::unreadable || image.kind == Kind::unsupported) return true;
    if (image.kind != Kind::version) return false;
    const Superblock& version = at(image.version);
    return version.sequence > 1 || in_place_count(images, image.version) >=
                                       superblock_oracle::read_quorum_of(version.configuration.copies_count);
  });
}

}  // namespace spindle::fuzz
