// Damaged trailers whose blocks are whole: each block that was changed is sealed again, and so are those behind it.
// Whatever is wrong is said.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "lsm/trailer.h"
#include "tests/lsm/trailer_fixture.h"

namespace spindle {
namespace {

/// A stream of four blocks on a disk, the last one with a part of a body only.
class Chain {
 public:
  static constexpr uint32_t blocks_count = 4;
  static constexpr uint64_t size = 3 * body_size_max + 1000;

  explicit Chain(TrailerKind kind = TrailerKind::blocks_acquired, uint64_t address_first = 10)
      : address_first_(address_first),
        writer_(make_trailer(*pool_, kind, size)),
        reader_(make_trailer(*pool_, TrailerKind::blocks_acquired, size)) {
    reference_ = seal_stream(writer_, random_bytes(size, address_first), address_first);
    disk_.write(writer_);
  }

  uint64_t address(uint32_t index) const { return address_first_ + 3 * index; }
  const BlockReference& block(uint32_t index) const { return writer_.reference(index); }
  BlockHeader& header(uint32_t index) { return disk_.header_at(address(index)); }
  TrailerMetadata& metadata(uint32_t index) { return metadata_of(header(index)); }
  TrailerReference& reference() { return reference_; }
  BlockDisk& disk() { return disk_; }
  /// Makes all checksums right from that block on: of it, of those behind it, of the reference.
  void seal_from(uint32_t index) {
    reference_.last = disk_.seal(address(index));
    for (++index; index < blocks_count; ++index) {
      metadata(index).previous = reference_.last;
      reference_.last = disk_.seal(address(index));
    }
  }
  ReadFault read() { return read_trailer(reader_, disk_, reference_); }
  TrailerFault fault() {
    const ReadFault fault = read();
    CHECK_MESSAGE(fault.block == BlockFault::none, name_of(fault.block));
    return fault.trailer;
  }

 private:
  uint64_t address_first_;
  std::unique_ptr<BlockPool> pool_ = make_block_pool(2 * blocks_count);
  Trailer writer_;
  Trailer reader_;
  BlockDisk disk_;
  TrailerReference reference_;
};

template <class Change>
TrailerFault fault_after(uint32_t index, Change change) {
  Chain chain;
  change(chain.header(index), chain.metadata(index));
  chain.seal_from(index);
  return chain.fault();
}

TEST_CASE("a reference that can't be is refused before anything is read") {
  Chain chain;
  CHECK(chain.fault() == TrailerFault::none);
  const auto refused = [&](auto change) {
    const TrailerReference former = chain.reference();
    change(chain.reference());
    const TrailerFault fault = chain.fault();
    chain.reference() = former;
    return fault == TrailerFault::reference;
  };
  CHECK(refused([](TrailerReference& wrong) { wrong.size = 4 * body_size_max + 1; }));
  CHECK(refused([](TrailerReference& wrong) { wrong.size = UINT64_MAX; }));
  CHECK(refused([](TrailerReference& wrong) { wrong.size = UINT64_MAX - body_size_max + 1; }));
  CHECK(refused([](TrailerReference& wrong) { wrong.size = 0; }));
  CHECK(refused([](TrailerReference& wrong) { wrong.last.address = 0; }));
  CHECK(refused([](TrailerReference& wrong) { wrong.last = {}; }));
  CHECK(refused([](TrailerReference& wrong) { wrong.reserved = 1; }));
  CHECK(refused([](TrailerReference& wrong) { wrong.reserved = uint64_t{1} << 63; }));
  CHECK(refused([](TrailerReference& wrong) { wrong = {}, wrong.size = 1; }));
  CHECK(refused([](TrailerReference& wrong) { wrong = {}, wrong.last.address = 1; }));
  CHECK(refused([](TrailerReference& wrong) { wrong = {}, wrong.last.address_second = 1; }));
  CHECK(refused([](TrailerReference& wrong) { wrong = {}, wrong.last.checksum.low = 1; }));
  CHECK(refused([](TrailerReference& wrong) { wrong = {}, wrong.reserved = 1; }));
  CHECK(refused([](TrailerReference& wrong) { wrong = {}, wrong.checksum.high = 1; }));
  CHECK(chain.fault() == TrailerFault::none);
}

TEST_CASE("a block of another stream is noticed") {
  for (uint32_t index = 0; index < Chain::blocks_count; ++index) {
    for (const uint16_t kind : {0, 2, 3, 0x101}) {
      const auto change = [=](BlockHeader&, TrailerMetadata& metadata) { metadata.kind = TrailerKind{kind}; };
      CHECK(fault_after(index, change) == TrailerFault::kind);
    }
  }
  CHECK(Chain(TrailerKind::blocks_released).fault() == TrailerFault::kind);
}

TEST_CASE("a block with more or less of the stream than its place says is noticed") {
  for (uint32_t index = 0; index < Chain::blocks_count; ++index) {
    for (const uint64_t difference : {uint64_t{1}, body_size_max, ~uint64_t{0}, uint64_t{1} << 63}) {
      const auto change = [=](BlockHeader&, TrailerMetadata& metadata) { metadata.offset += difference; };
      CHECK(fault_after(index, change) == TrailerFault::offset);
    }
    const auto shorten = [](BlockHeader& header, TrailerMetadata&) { --header.frame.size; };
    CHECK(fault_after(index, shorten) == TrailerFault::offset);
    const auto empty = [](BlockHeader& header, TrailerMetadata&) { header.frame.size = message_header_size; };
    CHECK(fault_after(index, empty) == TrailerFault::offset);
  }
  const auto lengthen = [](BlockHeader& header, TrailerMetadata&) { ++header.frame.size; };
  CHECK(fault_after(Chain::blocks_count - 1, lengthen) == TrailerFault::offset);
}

TEST_CASE("a size that is not that of the stream is noticed") {
  for (const uint64_t size : {Chain::size - 1, Chain::size + 1, uint64_t{1}, 3 * body_size_max, 4 * body_size_max}) {
    Chain chain;
    chain.reference().size = size;
    CHECK(chain.fault() == TrailerFault::offset);
  }
}

TEST_CASE("a chain that is cut, or that begins in the middle, is noticed") {
  for (uint32_t index = 1; index < Chain::blocks_count; ++index) {
    const auto cut = [](BlockHeader&, TrailerMetadata& metadata) { metadata.previous = {}; };
    CHECK(fault_after(index, cut) == TrailerFault::previous);
    const auto half = [](BlockHeader&, TrailerMetadata& metadata) { metadata.previous.address = 0; };
    CHECK(fault_after(index, half) == TrailerFault::previous);
  }
  for (size_t byte = 0; byte < sizeof(BlockReference); ++byte) {
    const auto go_on = [=](BlockHeader&, TrailerMetadata& metadata) {
      reinterpret_cast<std::byte*>(&metadata.previous)[byte] = std::byte{1};
    };
    CHECK(fault_after(0, go_on) == TrailerFault::previous);
  }
}

TEST_CASE("a chain that is bitten into its own tail is noticed at the block where it happens") {
  for (uint32_t index = 1; index < Chain::blocks_count; ++index) {
    for (uint32_t bitten = 0; bitten < Chain::blocks_count; ++bitten) {
      if (bitten == index - 1) continue;
      CAPTURE(index);
      CAPTURE(bitten);
      Chain chain;
      chain.metadata(index).previous = chain.block(bitten);
      chain.seal_from(index);
      const ReadFault fault = chain.read();
      // No block can have the checksum of one behind it: the reference is to a version that is gone.
      if (bitten >= index) CHECK(fault.block == BlockFault::version);
      if (bitten < index) CHECK(fault.trailer == TrailerFault::offset);
    }
  }
}

/// A chain of four blocks that goes on with the second block of another one, and its first.
TrailerFault fault_of_crossed(TrailerKind kind, uint64_t other_size) {
  const auto pool = make_block_pool(4);
  Trailer other = make_trailer(*pool, kind, 4 * body_size_max);
  static_cast<void>(seal_stream(other, random_bytes(other_size, 2), 1000));
  Chain chain;
  chain.disk().write(other);
  chain.metadata(2).previous = other.reference(1);
  chain.seal_from(2);
  return chain.fault();
}

TEST_CASE("a chain that is crossed with another one is noticed") {
  CHECK(fault_of_crossed(TrailerKind::blocks_acquired, 4 * body_size_max) == TrailerFault::checksum);
  CHECK(fault_of_crossed(TrailerKind::blocks_acquired, Chain::size) == TrailerFault::checksum);
  CHECK(fault_of_crossed(TrailerKind::blocks_acquired, 2 * body_size_max - 1) == TrailerFault::offset);
  CHECK(fault_of_crossed(TrailerKind::blocks_released, 4 * body_size_max) == TrailerFault::kind);
}

TEST_CASE("a stream that has another checksum is noticed, whatever byte it is") {
  for (const uint64_t at : {uint64_t{0}, body_size_max - 1}) {
    for (uint32_t index = 0; index < Chain::blocks_count - 1; ++index) {
      CHECK(fault_after(index, [=](BlockHeader& header, TrailerMetadata&) {
              reinterpret_cast<std::byte*>(&header)[message_header_size + at] ^= std::byte{1};
            }) == TrailerFault::checksum);
    }
  }
  CHECK(fault_after(Chain::blocks_count - 1, [](BlockHeader& header, TrailerMetadata&) {
          reinterpret_cast<std::byte*>(&header)[message_header_size + 999] ^= std::byte{0x80};
        }) == TrailerFault::checksum);
  Chain chain;
  chain.reference().checksum.high ^= 1;
  CHECK(chain.fault() == TrailerFault::checksum);
}

TEST_CASE("of several faults the first one of the list is told") {
  const uint32_t index = 2;
  CHECK(fault_after(index, [](BlockHeader&, TrailerMetadata& metadata) {
          metadata.kind = TrailerKind::blocks_released;
          metadata.reserved[5] = 1;
          metadata.offset = 7;
          metadata.previous = {};
        }) == TrailerFault::kind);
  CHECK(fault_after(index, [](BlockHeader&, TrailerMetadata& metadata) {
          metadata.reserved[5] = 1;
          metadata.offset = 7;
          metadata.previous = {};
        }) == TrailerFault::reserved);
  CHECK(fault_after(index, [](BlockHeader&, TrailerMetadata& metadata) {
          metadata.offset = 7;
          metadata.previous = {};
        }) == TrailerFault::offset);
}

/// What has to come of it when that byte of the metadata of that block is another one.
bool is_expected(size_t byte, uint32_t index, const ReadFault& fault) {
  if (byte >= offsetof(TrailerMetadata, reserved)) return fault.trailer == TrailerFault::reserved;
  if (byte >= offsetof(TrailerMetadata, kind)) return fault.trailer == TrailerFault::kind;
  if (byte >= offsetof(TrailerMetadata, offset)) return fault.trailer == TrailerFault::offset;
  if (index == 0) return fault.trailer == TrailerFault::previous;
  // It refers to a block that is not there, or not that one.
  return fault.block != BlockFault::none || fault.trailer != TrailerFault::none;
}

TEST_CASE("whatever byte of a block's metadata is changed, the trailer is not accepted") {
  Chain chain;
  for (uint32_t index = 0; index < Chain::blocks_count; ++index) {
    for (size_t byte = 0; byte < sizeof(TrailerMetadata); ++byte) {
      for (const uint8_t change : {0x01, 0x80, 0xff}) {
        chain.header(index).metadata[byte] ^= change;
        chain.seal_from(index);
        const ReadFault fault = chain.read();
        if (!is_expected(byte, index, fault)) {
          FAIL_CHECK("block ", index, ", byte ", byte, ": ", name_of(fault.block), ", ", name_of(fault.trailer));
        }
        chain.header(index).metadata[byte] ^= change;
      }
    }
    chain.seal_from(index);
  }
  CHECK(chain.fault() == TrailerFault::none);
}

TEST_CASE("whatever byte of the reference to a trailer is changed, the trailer is not accepted") {
  Chain chain;
  for (size_t byte = 0; byte < sizeof(TrailerReference); ++byte) {
    for (const uint8_t change : {0x01, 0x80, 0xff}) {
      uint8_t& changed = reinterpret_cast<uint8_t*>(&chain.reference())[byte];
      changed ^= change;
      CHECK_FALSE(chain.read().is_none());
      changed ^= change;
    }
  }
  CHECK(chain.fault() == TrailerFault::none);
}

TEST_CASE("faults of trailers have names of their own") {
  std::vector<std::string> names;
  for (int fault = 0; fault <= static_cast<int>(TrailerFault::checksum); ++fault) {
    names.push_back(name_of(static_cast<TrailerFault>(fault)));
  }
  for (size_t first = 0; first < names.size(); ++first) {
    CHECK(names[first] != "?");
    for (size_t second = 0; second < first; ++second) CHECK(names[first] != names[second]);
  }
}

}  // namespace
}  // namespace spindle
