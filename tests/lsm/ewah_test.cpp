// The run-length codec, against one that is written bit by bit, and against the bytes of docs/FORMAT.md.
#include "lsm/ewah.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/random.h"
#include "tests/death.h"
#include "tests/format_example.h"
#include "tests/lsm/ewah_oracle.h"

namespace spindle {
namespace {

using Words = std::vector<uint64_t>;
using Bytes = std::vector<std::byte>;

Bytes encode(const Words& words, size_t chunk_size = SIZE_MAX) {
  EwahEncoder encoder(words);
  Bytes bytes;
  while (!encoder.done()) {
    const size_t size = std::min<size_t>(chunk_size, EwahEncoder::encode_size_max(words.size()));
    // Of exactly that size, so that the address sanitizer sees a byte too much.
    const std::unique_ptr<std::byte[]> chunk(new std::byte[size]);
    const size_t written = encoder.encode({chunk.get(), size});
    CHECK((written == size || encoder.done()));
    bytes.insert(bytes.end(), chunk.get(), chunk.get() + written);
  }
  return bytes;
}

struct Decoded {
  EwahFault fault = EwahFault::none;
  Words words;
};

Decoded decode(const Bytes& bytes, size_t words_count, size_t chunk_size = SIZE_MAX) {
  // Filled with what must not stay, and behind the set with what must.
  const Words untouched(50, 0x5555);
  Words memory(words_count + untouched.size(), 0x5555);
  EwahDecoder decoder(std::span<uint64_t>(memory).first(words_count));
  for (size_t offset = 0; offset < bytes.size();) {
    const size_t size = std::min(chunk_size, bytes.size() - offset);
    const Bytes chunk(bytes.begin() + static_cast<ptrdiff_t>(offset),
                      bytes.begin() + static_cast<ptrdiff_t>(offset + size));
    if (decoder.decode(chunk) != EwahFault::none) break;
    offset += size;
  }
  const EwahFault fault = decoder.finish();
  CHECK(Words(memory.end() - 50, memory.end()) == untouched);
  memory.resize(words_count);
  return {fault, std::move(memory)};
}

Bytes bytes_of(const Words& words) {
  Bytes bytes;
  for (const uint64_t word : words) ewah_oracle::append(bytes, word);
  return bytes;
}

EwahFault fault_of(const Words& encoding, size_t words_count = 100) {
  const Bytes bytes = bytes_of(encoding);
  const EwahFault fault = decode(bytes, words_count).fault;
  CHECK(fault == ewah_oracle::decode(bytes, words_count).fault);
  CHECK(fault == decode(bytes, words_count, 8).fault);
  return fault;
}

uint64_t marker(bool run_value, uint32_t uniform_count, uint32_t literals_count) {
  return EwahMarker{run_value, uniform_count, literals_count}.word();
}

// Runs and literals of the given mean length.
Words random_words(Random& random, size_t count, uint64_t length_mean) {
  Words words;
  uint64_t kind = 0;
  while (words.size() < count) {
    if (random.chance(1, length_mean)) kind = random.below(4);
    const uint64_t literal = random.next() | 1;
    words.push_back(kind == 0 ? 0 : kind == 1 ? UINT64_MAX : literal & ~uint64_t{2});
  }
  return words;
}

// Not with insert(): g++ 14 sees an overflow in that, and there is none.
void append(Words& words, std::initializer_list<uint64_t> more) {
  for (const uint64_t word : more) words.push_back(word);
}

TEST_CASE("the example of the format comes out byte for byte, and back") {
  const Words words = {0, 0, 0, 0xfe, 0x0123456789abcdef, UINT64_MAX, UINT64_MAX, 0x8000000000000000, 0, 0};
  const Bytes bytes = encode(words);
  CHECK_MESSAGE(bytes == format_example("EWAH (lsm/ewah.h)"), hex_dump(bytes));
  const Decoded decoded = decode(bytes, words.size());
  CHECK(decoded.fault == EwahFault::none);
  CHECK(decoded.words == words);
}

TEST_CASE("a set comes back from chunks of every size, and its bytes do not depend on them") {
  Random random(1);
  for (const uint64_t length_mean : {1u, 2u, 5u, 30u, 200u}) {
    for (const size_t count : {1u, 2u, 7u, 63u, 64u, 65u, 100u, 137u, 500u, 1000u}) {
      CAPTURE(length_mean);
      CAPTURE(count);
      const Words words = random_words(random, count, length_mean);
      const Bytes whole = encode(words);
      CHECK(whole == ewah_oracle::encode(words));
      CHECK(whole.size() <= EwahEncoder::encode_size_max(count));
      for (const size_t chunk_size : {8u, 16u, 24u, 72u, 136u, 512u, 584u, 592u, 600u, 4096u}) {
        CAPTURE(chunk_size);
        CHECK(encode(words, chunk_size) == whole);
        const Decoded decoded = decode(whole, count, chunk_size);
        CHECK(decoded.fault == EwahFault::none);
        CHECK(decoded.words == words);
      }
    }
  }
}

TEST_CASE("zeroes at the end are not encoded, so a set may have another capacity when it comes back") {
  Words words(300, 0);
  CHECK(encode(words).empty());
  words[0] = 1;
  const Bytes bytes = encode(words);
  CHECK(bytes.size() == 16);
  for (const size_t count : {1u, 2u, 1000u}) {
    const Decoded decoded = decode(bytes, count);
    CHECK(decoded.fault == EwahFault::none);
    Words expected(count, 0);
    expected[0] = 1;
    CHECK(decoded.words == expected);
  }
  CHECK(decode(bytes, 0).fault == EwahFault::capacity);
  CHECK(decode({}, 0).fault == EwahFault::none);
  CHECK(decode({}, 3).words == Words(3, 0));
}

TEST_CASE("no set takes more bytes than the bound, and some take all of them") {
  for (const size_t count : {1u, 2u, 3u, 64u, 65u, 400u}) {
    const uint64_t size_max = EwahEncoder::encode_size_max(count);
    CHECK(encode(Words(count, 2)).size() == size_max);
    Words alternating(count, 2);
    for (size_t index = 1; index < count; index += 2) alternating[index] = index % 4 == 1 ? 0 : UINT64_MAX;
    CHECK(encode(alternating).size() <= size_max);
    if (count % 2 == 1) CHECK(encode(alternating).size() == size_max);
    CHECK(encode(Words(count, UINT64_MAX)).size() == 8);
  }
  CHECK(EwahEncoder::encode_size_max(0) == encode({}).size());
}

TEST_CASE("what an encoder never writes is refused, with the rule that it breaks") {
  CHECK(fault_of({marker(false, 0, 0)}) == EwahFault::empty_marker);
  CHECK(fault_of({marker(true, 0, 0)}) == EwahFault::empty_marker);
  CHECK(fault_of({marker(true, 0, 1), 5}) == EwahFault::run_value);
  CHECK(fault_of({marker(false, 0, 1), 5, marker(false, 0, 1), 5}) == EwahFault::split);
  CHECK(fault_of({marker(true, 2, 0), marker(false, 0, 1), 5}) == EwahFault::split);
  CHECK(fault_of({marker(true, 2, 0), marker(true, 3, 0)}) == EwahFault::split);
  CHECK(fault_of({marker(false, 2, 0), marker(false, 3, 1), 5}) == EwahFault::split);
  CHECK(fault_of({marker(true, 2, 0), marker(false, 3, 0), marker(true, 1, 0)}) == EwahFault::none);
  CHECK(fault_of({marker(true, 2, 0), marker(false, 3, 0)}) == EwahFault::trailing_zeroes);
  CHECK(fault_of({marker(false, 1, 0)}) == EwahFault::trailing_zeroes);
  CHECK(fault_of({marker(false, 100, 0)}) == EwahFault::trailing_zeroes);
  CHECK(fault_of({marker(true, 100, 0)}) == EwahFault::none);
  CHECK(fault_of({marker(true, 101, 0)}) == EwahFault::capacity);
  CHECK(fault_of({marker(true, 99, 2), 5, 6}) == EwahFault::capacity);
  CHECK(fault_of({marker(true, 0x7fffffff, 0xffffffff)}) == EwahFault::capacity);
  CHECK(fault_of({marker(false, 0, 1), 0}) == EwahFault::uniform_literal);
  CHECK(fault_of({marker(true, 1, 2), 5, UINT64_MAX}) == EwahFault::uniform_literal);
  CHECK(fault_of({marker(true, 1, 2), 5}) == EwahFault::truncated);
  CHECK(fault_of({marker(true, 1, 1)}) == EwahFault::truncated);
}

TEST_CASE("the same faults are found in the middle of a long encoding") {
  // Long enough for the loop that takes short markers without looking at each word.
  for (const uint64_t bad : {marker(false, 0, 0), marker(true, 0, 0), marker(true, 0, 2), marker(false, 0, 2),
                             marker(true, 900, 0), marker(true, 1, 900), marker(true, 1, 0)}) {
    for (size_t place = 1; place < 60; ++place) {
      Words encoding;
      for (size_t index = 0; index < 60; ++index) {
        encoding.push_back(index == place ? bad : marker(index % 2 == 0, 3, 2));
        append(encoding, {6, 7});
      }
      fault_of(encoding, 301);
      encoding.resize(place * 3 + 1);
      encoding.insert(encoding.end(), 20, UINT64_MAX);
      fault_of(encoding, 301);
    }
  }
  for (size_t place = 0; place < 200; ++place) {
    Words encoding;
    for (size_t index = 0; index < 50; ++index) append(encoding, {marker(true, 1, 3), 6, 7, 8});
    encoding[place] = place % 8 < 4 ? 0 : UINT64_MAX;
    CHECK(fault_of(encoding, 200) != EwahFault::none);
  }
  for (size_t place = 0; place < 20 * 9; ++place) {
    Words encoding;
    for (size_t index = 0; index < 20; ++index) {
      encoding.push_back(marker(true, 1, 8));
      for (uint64_t literal = 2; literal < 10; ++literal) encoding.push_back(literal);
    }
    encoding[place] = place % 2 == 0 ? 0 : UINT64_MAX;
    const EwahFault fault = fault_of(encoding, 300);
    if (place % 9 > 0) CHECK(fault == EwahFault::uniform_literal);
  }
}

TEST_CASE("a set that is too small is refused at every size, and nothing behind it is written") {
  for (const uint32_t uniform_count : {1u, 7u, 31u}) {
    Words encoding;
    for (size_t index = 0; index < 10; ++index) {
      append(encoding, {marker(index % 2 == 0, uniform_count, 8), 2, 3, 4, 5, 6, 7, 8, 9});
    }
    const size_t words_count = 10 * (uniform_count + 8);
    for (size_t count = 0; count < words_count; ++count) CHECK(fault_of(encoding, count) == EwahFault::capacity);
    CHECK(fault_of(encoding, words_count) == EwahFault::none);
  }
}

TEST_CASE("bytes that are no whole number of words are refused, after what comes before them") {
  Bytes bytes = bytes_of({marker(true, 3, 0)});
  bytes.push_back(std::byte{1});
  CHECK(decode(bytes, 10).fault == EwahFault::size);
  Bytes empty_marker(9, std::byte{0});
  CHECK(decode(empty_marker, 10).fault == EwahFault::empty_marker);
}

TEST_CASE("a fault stays, whatever comes after it") {
  Words words(10, 0);
  EwahDecoder decoder(words);
  CHECK(decoder.decode(bytes_of({0})) == EwahFault::empty_marker);
  CHECK(decoder.decode(bytes_of({marker(true, 1, 0)})) == EwahFault::empty_marker);
  CHECK(decoder.finish() == EwahFault::empty_marker);
}

TEST_CASE("every fault of an encoding has a name of its own") {
  std::string names;
  for (uint8_t fault = 0; fault <= static_cast<uint8_t>(EwahFault::trailing_zeroes); ++fault) {
    const std::string name = name_of(static_cast<EwahFault>(fault));
    CHECK(name != "?");
    CHECK(names.find("|" + name + "|") == std::string::npos);
    names += "|" + name + "|";
  }
}

TEST_CASE("the decoder says up to where the set goes") {
  Words words(10, 0);
  EwahDecoder decoder(words);
  CHECK(decoder.decode(bytes_of({marker(false, 3, 1), 5})) == EwahFault::none);
  CHECK(decoder.finish() == EwahFault::none);
  CHECK(decoder.words_count() == 4);
}

TEST_CASE("a chunk for encoding that is no whole number of words is caught") {
  expect_abort(
      [] {
        const Words words(3, 5);
        EwahEncoder encoder(words);
        std::byte chunk[12];
        encoder.encode(chunk);
      },
      "a chunk that is no whole number of words");
}

TEST_CASE("an empty chunk changes nothing") {
  const Words words(3, 5);
  EwahEncoder encoder(words);
  CHECK(encoder.encode({}) == 0);
  CHECK_FALSE(encoder.done());
}

}  // namespace
}  // namespace spindle
