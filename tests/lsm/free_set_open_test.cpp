// Encoding, opening and what is refused there.
#include <doctest/doctest.h>

#include <string>

#include "lsm/free_set.h"
#include "tests/lsm/ewah_oracle.h"
#include "tests/lsm/free_set_fixture.h"

namespace spindle {
namespace {

EncodingBytes encoding_of(const std::vector<uint64_t>& words) { return ewah_oracle::encode(words); }

TEST_CASE("a set comes back as it was encoded, and what it had released is freed when that checkpoint is durable") {
  FreeSet set = open_free_set(10'000);
  acquire(set, 6000);
  for (uint64_t address = 100; address < 5000; address += 7) set.release(address);
  const uint64_t released_count = set.released_count();
  const EncodedSets encoded = encode(set);
  CHECK(encoded.acquired.size() > 0);
  FreeSet other = make_free_set(10'000);
  CHECK(open_with(other, encoded).fault == FreeSetFault::none);
  CHECK(other.is_opened());
  CHECK_FALSE(other.is_checkpoint_durable());
  CHECK(other.acquired_count() == 6000);
  CHECK(other.released_count() == released_count);
  CHECK(other.highest_address_released() == set.highest_address_released());
  uint32_t wrong_count = 0;
  for (uint64_t address = 1; address <= 10'000; ++address) {
    wrong_count += set.is_free(address) != other.is_free(address);
    wrong_count += set.is_released(address) != other.is_released(address);
  }
  CHECK(wrong_count == 0);
  other.mark_checkpoint_durable();
  CHECK(other.free_count() == 4000 + released_count);
  CHECK(other.is_consistent());
}

TEST_CASE("chunks of any number of whole words hold an encoding") {
  FreeSet set = open_free_set(5000);
  acquire(set, 4000);
  for (uint64_t address = 1; address < 4000; address += 3) set.release(address);
  checkpoint(set);
  const EncodedSets whole = encode(set);
  EncodingBytes memory(set.encode_size_max() + 64);
  std::vector<std::span<std::byte>> chunks;
  for (size_t offset = 0; offset + 24 <= memory.size(); offset += 24) chunks.push_back({memory.data() + offset, 24});
  EncodingBytes others(set.encode_size_max());
  const std::span<std::byte> other[] = {others};
  const FreeSetEncoded sizes = set.encode(chunks, other);
  CHECK(sizes.acquired_size == whole.acquired.size());
  memory.resize(sizes.acquired_size);
  CHECK(memory == whole.acquired);
}

TEST_CASE("the blocks of the trailers are acquired at open, and free two durable checkpoints later") {
  FreeSet set = open_free_set(100);
  acquire(set, 10);
  const EncodedSets encoded = encode(set);
  FreeSet other = make_free_set(100);
  CHECK(open_with(other, encoded, {12, 11, 100}).fault == FreeSetFault::none);
  CHECK(other.acquired_count() == 13);
  CHECK(other.released_before_durability_count() == 3);
  CHECK(other.is_released(100));
  CHECK_FALSE(other.to_be_freed_at_checkpoint_durability(100));
  other.mark_checkpoint_durable();
  CHECK_FALSE(other.is_free(100));
  checkpoint(other);
  CHECK(other.is_free(11));
  CHECK(other.is_free(100));
  CHECK(other.acquired_count() == 10);
}

TEST_CASE("an encoding may be opened by a set of another capacity, if what it says fits in") {
  FreeSet set = open_free_set(1000);
  acquire(set, 70);
  const EncodedSets encoded = encode(set);
  for (const uint64_t blocks_count : {70u, 71u, 128u, 100'000u}) {
    FreeSet other = make_free_set(blocks_count);
    CHECK(open_with(other, encoded).fault == FreeSetFault::none);
    CHECK(other.free_count() == blocks_count - 70);
  }
  FreeSet smaller = make_free_set(69);
  CHECK(open_with(smaller, encoded).fault == FreeSetFault::acquired_beyond_end);
  FreeSet smallest = make_free_set(64);
  const FreeSetOpened opened = open_with(smallest, encoded);
  CHECK(opened.fault == FreeSetFault::acquired_encoding);
  CHECK(opened.encoding == EwahFault::capacity);
}

TEST_CASE("what can't be is refused, with the rule that it breaks, and the set can be opened afterwards") {
  FreeSet set = make_free_set(130, 2);
  const EncodingBytes acquired = encoding_of({0xff, 0, 2});
  const auto expect = [&set](const EncodedSets& encoded, const Addresses& trailers, FreeSetFault fault) {
    const FreeSetOpened opened = open_with(set, encoded, trailers);
    CHECK_MESSAGE(opened.fault == fault, name_of(opened.fault));
    CHECK_FALSE(set.is_opened());
    CHECK(set.free_count() == 130);
    CHECK(set.released_count() == 0);
    CHECK(set.is_consistent());
    return opened.encoding;
  };
  CHECK(expect({EncodingBytes(8), {}}, {}, FreeSetFault::acquired_encoding) == EwahFault::empty_marker);
  CHECK(expect({EncodingBytes(3), {}}, {}, FreeSetFault::acquired_encoding) == EwahFault::size);
  expect({encoding_of({0, 0, 4}), {}}, {}, FreeSetFault::acquired_beyond_end);
  CHECK(expect({acquired, EncodingBytes(8)}, {}, FreeSetFault::released_encoding) == EwahFault::empty_marker);
  expect({acquired, encoding_of({0x101})}, {}, FreeSetFault::released_not_acquired);
  expect({acquired, encoding_of({0, 0, 3})}, {}, FreeSetFault::released_not_acquired);
  expect({acquired, encoding_of({3, 0, 2})}, {1}, FreeSetFault::trailer_acquired);
  expect({acquired, {}}, {9, 10, 11}, FreeSetFault::trailers_count);
  expect({acquired, {}}, {0}, FreeSetFault::trailer_address);
  expect({acquired, {}}, {131}, FreeSetFault::trailer_address);
  expect({acquired, {}}, {UINT64_MAX}, FreeSetFault::trailer_address);
  expect({acquired, {}}, {9, 9}, FreeSetFault::trailer_acquired);
  CHECK(open_with(set, {acquired, encoding_of({3, 0, 2})}, {9, 129}).fault == FreeSetFault::none);
  CHECK(set.acquired_count() == 11);
  CHECK(set.released_count() == 5);
  CHECK(set.highest_address_released() == 130);
}

TEST_CASE("every fault of opening has a name of its own") {
  std::string names;
  for (uint8_t fault = 0; fault <= static_cast<uint8_t>(FreeSetFault::trailer_acquired); ++fault) {
    const std::string name = name_of(static_cast<FreeSetFault>(fault));
    CHECK(name != "?");
    CHECK(names.find("|" + name + "|") == std::string::npos);
    names += "|" + name + "|";
  }
}

TEST_CASE("the life of a grid: format, checkpoints with trailers, crash, open") {
  FreeSet set = open_free_set(200);
  const Addresses data = acquire(set, 20);
  // Reserved before the encoding, acquired after it.
  FreeSet::Reservation reservation = reserve(set, 2);
  const EncodedSets encoded = encode(set);
  const Addresses trailers = {set.acquire(reservation).value(), set.acquire(reservation).value()};
  set.forfeit(std::move(reservation));
  set.mark_checkpoint_not_durable();
  for (const uint64_t address : trailers) set.release(address);
  set.mark_checkpoint_durable();
  set.release(data[0]);
  // What is opened is the state of that checkpoint, just before it became durable.
  FreeSet opened = make_free_set(200);
  REQUIRE(open_with(opened, encoded, trailers).fault == FreeSetFault::none);
  opened.mark_checkpoint_durable();
  CHECK(opened.released_count() == 2);
  CHECK(opened.acquired_count() == 22);
  CHECK_FALSE(opened.is_released(data[0]));
  opened.release(data[0]);
  uint32_t wrong_count = 0;
  for (uint64_t address = 1; address <= 200; ++address) {
    wrong_count += set.is_free(address) != opened.is_free(address);
    wrong_count += set.is_released(address) != opened.is_released(address);
  }
  CHECK(wrong_count == 0);
}

}  // namespace
}  // namespace spindle
