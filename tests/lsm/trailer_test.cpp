// Trailers: a stream in a chain of blocks is the same when it is read back.
#include "lsm/trailer.h"

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "tests/death.h"
#include "tests/format_example.h"
#include "tests/lsm/trailer_fixture.h"

namespace spindle {
namespace {

TEST_CASE("a trailer takes the blocks for its bound from the pool, at least one, or none and says that it is empty") {
  struct Case {
    uint64_t size_max;
    uint32_t blocks_count;
  };
  for (const Case& wanted :
       {Case{0, 1}, Case{1, 1}, Case{body_size_max, 1}, Case{body_size_max + 1, 2}, Case{4 * body_size_max, 4}}) {
    CAPTURE(wanted.size_max);
    const auto pool = make_block_pool(4);
    {
      const Trailer trailer = make_trailer(*pool, TrailerKind::blocks_acquired, wanted.size_max);
      CHECK(trailer.blocks_max() == wanted.blocks_count);
      CHECK(trailer.bodies().size() == wanted.blocks_count);
      for (const std::span<std::byte> body : trailer.bodies()) CHECK(body.size() == body_size_max);
      CHECK(trailer.blocks_count() == 0);
      CHECK(pool->in_use_count() == wanted.blocks_count);
    }
    CHECK(pool->in_use_count() == 0);
  }
  const auto pool = make_block_pool(4);
  for (const uint64_t size_max : {4 * body_size_max + 1, uint64_t{1} << 50, UINT64_MAX}) {
    const Result<Trailer> made = Trailer::create(*pool, trailer_cluster, TrailerKind::blocks_acquired, size_max);
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::exhausted);
    CHECK(pool->in_use_count() == 0);
  }
}

TEST_CASE("a stream takes as many blocks as its size says, of whatever size they are") {
  for (const uint32_t block_size : {4096u, 8192u, 1u << 26}) {
    const uint64_t body_size = block_size - 256;
    CHECK(Trailer::blocks_count_of(0, block_size) == 0);
    for (const uint64_t count : {1u, 2u, 1000u}) {
      CHECK(Trailer::blocks_count_of((count - 1) * body_size + 1, block_size) == count);
      CHECK(Trailer::blocks_count_of(count * body_size, block_size) == count);
    }
    CHECK(Trailer::blocks_count_of(UINT64_MAX, block_size) == UINT64_MAX / body_size + 1);
  }
}

void check_round_trip(uint64_t size, uint32_t copies_count) {
  CAPTURE(size);
  CAPTURE(copies_count);
  const auto pool = make_block_pool(8);
  Trailer writer = make_trailer(*pool, TrailerKind::blocks_released, 4 * body_size_max);
  const Bytes bytes = random_bytes(size, size);
  const TrailerReference reference = seal_stream(writer, bytes, 10, copies_count);
  const size_t blocks_count = (size + body_size_max - 1) / body_size_max;
  CHECK(writer.blocks_count() == blocks_count);
  CHECK(reference.size == size);
  if (size == 0) CHECK(reference == TrailerReference());
  BlockDisk disk;
  disk.write(writer);
  Trailer reader = make_trailer(*pool, TrailerKind::blocks_released, 4 * body_size_max);
  REQUIRE(read_trailer(reader, disk, reference).is_none());
  CHECK(bytes_of(reader) == bytes);
  CHECK(reader.blocks_count() == blocks_count);
  CHECK(reader.chunks().size() == blocks_count);
  for (const Trailer* const trailer : {&writer, &reader}) {
    std::vector<uint64_t> addresses(8);
    addresses.resize(trailer->addresses(addresses));
    CHECK(addresses == addresses_from(10, blocks_count * copies_count));
  }
  for (uint32_t index = 0; index < blocks_count; ++index) CHECK(reader.reference(index) == writer.reference(index));
}

TEST_CASE("a stream of any size is read back as it was written, and the addresses of its blocks are known") {
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{1}, uint64_t{8}, body_size_max - 1, body_size_max, body_size_max + 1,
        2 * body_size_max - 1, 2 * body_size_max, 3 * body_size_max + 1, 4 * body_size_max - 1, 4 * body_size_max}) {
    for (const uint32_t copies_count : {1u, 2u}) check_round_trip(size, copies_count);
  }
}

TEST_CASE("the chunks of a stream that is written are those of the stream, too") {
  const auto pool = make_block_pool(8);
  Trailer trailer = make_trailer(*pool, TrailerKind::blocks_acquired, 4 * body_size_max);
  const Bytes bytes = random_bytes(2 * body_size_max + 5, 1);
  fill_stream(trailer, bytes);
  trailer.set_size(bytes.size());
  REQUIRE(trailer.chunks().size() == 3);
  CHECK(trailer.chunks()[0].size() == body_size_max);
  CHECK(trailer.chunks()[1].size() == body_size_max);
  CHECK(trailer.chunks()[2].size() == 5);
  CHECK(bytes_of(trailer) == bytes);
}

TEST_CASE("only the sectors in use of each block are written, and each block is whole by itself") {
  const auto pool = make_block_pool(3, 16384);
  Trailer trailer = make_trailer(*pool, TrailerKind::blocks_acquired, 3 * (16384 - 256));
  const TrailerReference reference = seal_stream(trailer, random_bytes(16384 - 256 + 4000, 1), 10, 2);
  REQUIRE(trailer.blocks_count() == 2);
  CHECK(trailer.sectors(0).size() == 16384);
  CHECK(trailer.sectors(1).size() == 8192);
  CHECK(trailer.reference(1) == reference.last);
  for (uint32_t index = 0; index < 2; ++index) {
    const BlockExpected expected{trailer_cluster, trailer.reference(index), BlockType::free_set};
    CHECK(verify_block(trailer.memory(index), expected) == BlockFault::none);
  }
}

TEST_CASE("a trailer is filled, written and read again and again") {
  const auto pool = make_block_pool(8);
  Trailer writer = make_trailer(*pool, TrailerKind::blocks_acquired, 4 * body_size_max);
  Trailer reader = make_trailer(*pool, TrailerKind::blocks_acquired, 4 * body_size_max);
  BlockDisk disk;
  uint64_t seed = 1;
  for (const uint64_t size : {4 * body_size_max, uint64_t{7}, uint64_t{0}, 2 * body_size_max, body_size_max}) {
    const Bytes bytes = random_bytes(size, ++seed);
    const TrailerReference reference = seal_stream(writer, bytes, 10 + seed * 100, 2);
    disk.write(writer);
    REQUIRE(read_trailer(reader, disk, reference).is_none());
    CHECK(bytes_of(reader) == bytes);
    CHECK(reader.blocks_count() == Trailer::blocks_count_of(size, block_size_min));
  }
}

TEST_CASE("a stream beyond the bound of its trailer is caught") {
  for (const uint64_t size : {4 * body_size_max + 1, UINT64_MAX}) {
    expect_abort(
        [=] {
          const auto pool = make_block_pool(4);
          make_trailer(*pool, TrailerKind::blocks_acquired, 4 * body_size_max).set_size(size);
        },
        "a trailer is larger than it can be");
  }
}

TEST_CASE("addresses for another number of blocks than the stream takes are caught") {
  for (const size_t addresses_count : {0, 1, 3, 5}) {
    expect_abort(
        [=] {
          const auto pool = make_block_pool(4);
          Trailer trailer = make_trailer(*pool, TrailerKind::blocks_acquired, 4 * body_size_max);
          trailer.set_size(2 * body_size_max);
          static_cast<void>(trailer.seal(addresses_from(1, addresses_count), 2));
        },
        "addresses of another number of blocks");
  }
}

TEST_CASE("the example in FORMAT.md is what the second block of a trailer looks like") {
  const auto pool = make_block_pool(2);
  Trailer trailer = make_trailer(*pool, TrailerKind::blocks_released, 2 * body_size_max);
  Bytes bytes(body_size_max + 7);
  std::memcpy(bytes.data() + body_size_max, "spindle", 7);
  fill_stream(trailer, bytes);
  trailer.set_size(bytes.size());
  const std::vector<uint64_t> addresses{42, 43, 44, 45};
  static_cast<void>(trailer.seal(addresses, 2));
  const std::span<const std::byte> block = trailer.sectors(1).first(message_header_size + 7);
  const Bytes made(block.begin(), block.end());
  CHECK_MESSAGE(made == format_example("Checkpoint trailer"), hex_dump(made));
}

}  // namespace
}  // namespace spindle
