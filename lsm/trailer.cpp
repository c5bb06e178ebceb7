#include "lsm/trailer.h"

#include <algorithm>

namespace spindle {

const char* name_of(TrailerFault fault) noexcept {
  switch (fault) {
    case TrailerFault::none: return "none";
    case TrailerFault::reference: return "reference";
    case TrailerFault::kind: return "kind";
    case TrailerFault::reserved: return "reserved";
    case TrailerFault::offset: return "offset";
    case TrailerFault::previous: return "previous";
    case TrailerFault::checksum: return "checksum";
  }
  return "?";
}

Result<Trailer> Trailer::create(BlockPool& pool, ClusterId cluster, TrailerKind kind, uint64_t size_max) {
  const uint64_t blocks_max = std::max<uint64_t>(blocks_count_of(size_max, pool.block_size()), 1);
  Trailer trailer(cluster, kind);
  for (uint64_t index = 0; index < blocks_max; ++index) {
    Result<BlockLease> lease = pool.try_acquire();
    if (!lease.has_value()) return Unexpected(lease.error());
    trailer.bodies_.push_back(lease->memory().subspan(message_header_size));
    trailer.blocks_.push_back(std::move(*lease));
  }
  trailer.chunks_.resize(blocks_max);
  trailer.references_.resize(blocks_max);
  return trailer;
}

uint64_t Trailer::body_size(uint32_t index) const noexcept {
  return std::min(body_size_max(), size_ - index * body_size_max());
}

void Trailer::set_size(uint64_t size) noexcept {
  const uint64_t blocks_count = blocks_count_of(size, static_cast<uint32_t>(blocks_.front().memory().size()));
  SPINDLE_ASSERT(blocks_count <= blocks_.size(), "a trailer is larger than it can be");
  size_ = size;
  blocks_count_ = static_cast<uint32_t>(blocks_count);
  for (uint32_t index = 0; index < blocks_count_; ++index) chunks_[index] = bodies_[index].first(body_size(index));
}

TrailerReference Trailer::seal(std::span<const uint64_t> addresses, uint32_t copies_count) noexcept {
  SPINDLE_ASSERT(addresses.size() == size_t{blocks_count_} * copies_count, "addresses of another number of blocks");
  TrailerReference reference;
  for (uint32_t index = 0; index < blocks_count_; ++index) {
    BlockHeader& header = start_block(blocks_[index].memory(), cluster_, BlockType::free_set);
    header.address = addresses[size_t{index} * copies_count];
    header.address_second = copies_count > 1 ? addresses[size_t{index} * copies_count + 1] : 0;
    header.frame.size += static_cast<uint32_t>(body_size(index));
    TrailerMetadata& metadata = reinterpret_cast<TrailerMetadata&>(header.metadata);
    metadata.previous = reference.last;
    metadata.offset = index * body_size_max();
    metadata.kind = kind_;
    references_[index] = seal_block(blocks_[index].memory());
    reference.last = references_[index];
  }
  if (size_ == 0) return reference;
  reference.size = size_;
  reference.checksum = checksum_of(chunks());
  return reference;
}

TrailerFault Trailer::begin_read(const TrailerReference& reference) noexcept {
  const uint64_t blocks_count = blocks_count_of(reference.size, static_cast<uint32_t>(blocks_.front().memory().size()));
  const bool is_too_large = reference.size > body_size_max() * blocks_.size();
  const bool is_empty = reference == TrailerReference();
  const bool is_whole = reference.size > 0 && reference.last.address != 0 && reference.reserved == 0;
  if (is_too_large || (!is_empty && !is_whole)) return TrailerFault::reference;
  size_ = reference.size;
  checksum_ = reference.checksum;
  blocks_count_ = static_cast<uint32_t>(blocks_count);
  if (blocks_count_ > 0) references_[blocks_count_ - 1] = reference.last;
  return TrailerFault::none;
}

TrailerFault Trailer::take(uint32_t index) noexcept {
  const BlockHeader& header = block_header_of(std::span<const std::byte>(memory(index)));
  const TrailerMetadata& metadata = metadata_of(header);
  if (metadata.kind != kind_) return TrailerFault::kind;
  if (!are_zero(metadata.reserved)) return TrailerFault::reserved;
  const bool is_in_place = metadata.offset == index * body_size_max();
  if (!is_in_place || header.frame.size - message_header_size != body_size(index)) return TrailerFault::offset;
  if (index == 0) return metadata.previous == BlockReference() ? TrailerFault::none : TrailerFault::previous;
  if (metadata.previous.address == 0) return TrailerFault::previous;
  references_[index - 1] = metadata.previous;
  return TrailerFault::none;
}

TrailerFault Trailer::finish() noexcept {
  for (uint32_t index = 0; index < blocks_count_; ++index) chunks_[index] = bodies_[index].first(body_size(index));
  if (size_ == 0) return TrailerFault::none;
  return checksum_of(chunks()) == checksum_ ? TrailerFault::none : TrailerFault::checksum;
}

uint32_t Trailer::addresses(std::span<uint64_t> into) const noexcept {
  uint32_t count = 0;
  for (uint32_t index = 0; index < blocks_count_; ++index) {
    into[count++] = references_[index].address;
    if (references_[index].address_second != 0) into[count++] = references_[index].address_second;
  }
  return count;
}

}  // namespace spindle
