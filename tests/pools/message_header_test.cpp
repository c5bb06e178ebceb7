// Headers: their layout, and that whatever is wrong with one is said, not asserted.
#include "pools/message_header.h"

#include <doctest/doctest.h>
#include <xxhash.h>

#include <cstring>
#include <string>
#include <vector>

#include "pools/message_command.h"
#include "runtime/random.h"
#include "tests/format_example.h"

namespace spindle {
namespace {

constexpr uint32_t size_max = 8192;

/// A header as a message with that body would have it.
MessageHeader header_of(std::span<const std::byte> body, Command command = Command::ping) {
  MessageHeader header{};
  header.frame.cluster = {0x1122334455667788u, 0x99aabbccddeeff00u};
  header.frame.size = message_header_size + static_cast<uint32_t>(body.size());
  header.frame.command = command;
  header.frame.protocol = message_protocol;
  header.frame.checksum_body = checksum_of(body);
  header.frame.checksum = checksum_of(header);
  return header;
}

/// The same after `change(header)`, with a checksum that fits.
template <class Change>
MessageHeader changed(Change change) {
  MessageHeader header = header_of({});
  change(header);
  header.frame.checksum = checksum_of(header);
  return header;
}

MessageFault verify(const MessageHeader& header) { return verify_header(header, size_max); }

std::span<std::byte> bytes_of(MessageHeader& header) { return std::as_writable_bytes(std::span(&header, 1)); }

TEST_CASE("a header that is right is accepted, with and without a body") {
  CHECK(verify(header_of({})) == MessageFault::none);
  CHECK(verify_body(header_of({}), {}) == MessageFault::none);
  const std::vector<std::byte> body(size_max - message_header_size, std::byte{7});
  CHECK(verify(header_of(body)) == MessageFault::none);
  CHECK(verify_body(header_of(body), body) == MessageFault::none);
}

TEST_CASE("every single-bit flip in a header is detected") {
  const MessageHeader good = header_of({});
  for (size_t bit = 0; bit < size_t{message_header_size} * 8; ++bit) {
    MessageHeader header = good;
    bytes_of(header)[bit / 8] ^= std::byte{1} << (bit % 8);
    if (verify(header) != MessageFault::header_checksum) FAIL_CHECK("bit ", bit, " was not detected");
  }
}

TEST_CASE("every single-bit flip in a body is detected") {
  std::vector<std::byte> body(300);
  for (size_t index = 0; index < body.size(); ++index) body[index] = static_cast<std::byte>(mix64(index));
  const MessageHeader header = header_of(body);
  for (size_t bit = 0; bit < body.size() * 8; ++bit) {
    body[bit / 8] ^= std::byte{1} << (bit % 8);
    if (verify_body(header, body) != MessageFault::body_checksum) FAIL_CHECK("bit ", bit, " was not detected");
    body[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  CHECK(verify_body(header, body) == MessageFault::none);
}

TEST_CASE("a body that is shorter or longer than the header says is detected") {
  const std::vector<std::byte> body(300);
  const MessageHeader header = header_of(std::span(body).first(200));
  CHECK(verify_body(header, std::span(body).first(200)) == MessageFault::none);
  CHECK(verify_body(header, std::span(body).first(199)) == MessageFault::body_size);
  CHECK(verify_body(header, std::span(body).first(201)) == MessageFault::body_size);
  CHECK(verify_body(header, {}) == MessageFault::body_size);
}

TEST_CASE("a size out of range is detected although the checksum fits") {
  for (const uint32_t size : {0u, 1u, 255u, size_max + 1, size_max + 4096, UINT32_MAX}) {
    CAPTURE(size);
    CHECK(verify(changed([size](MessageHeader& header) { header.frame.size = size; })) == MessageFault::size);
  }
  for (const uint32_t size : {256u, 257u, size_max}) {
    CHECK(verify(changed([size](MessageHeader& header) { header.frame.size = size; })) == MessageFault::none);
  }
}

TEST_CASE("another protocol and no command are detected although the checksum fits") {
  for (const uint16_t protocol : {0, 2, 0xffff}) {
    const MessageHeader header = changed([protocol](MessageHeader& wrong) { wrong.frame.protocol = protocol; });
    CHECK(verify(header) == MessageFault::protocol);
  }
  CHECK(verify(changed([](MessageHeader& header) { header.frame.command = Command::none; })) == MessageFault::command);
  CHECK(verify(changed([](MessageHeader& header) { header.frame.command = Command{0xffff}; })) == MessageFault::none);
}

TEST_CASE("a checksum does not depend on where chunks end") {
  std::vector<std::byte> bytes(3000);
  for (size_t index = 0; index < bytes.size(); ++index) bytes[index] = static_cast<std::byte>(mix64(index));
  const std::span<const std::byte> all = bytes;
  for (const size_t size : {0u, 1u, 240u, 241u, 1024u, 3000u}) {
    for (const size_t first : {size_t{0}, size_t{1}, size / 3, size}) {
      const size_t begin = std::min(first, size);
      const std::span<const std::byte> chunks[] = {all.first(begin), {}, all.first(size).subspan(begin)};
      CHECK(checksum_of(chunks) == checksum_of(all.first(size)));
    }
  }
  CHECK(checksum_of(std::span<const std::span<const std::byte>>()) == checksum_of(std::span<const std::byte>()));
}

TEST_CASE("of two faults the one that is looked for first is told") {
  const auto both = [](MessageHeader& header) {
    header.frame.command = Command::none;
    header.frame.size = 0;
  };
  CHECK(verify(changed(both)) == MessageFault::command);
}

TEST_CASE("each reserved byte that is not zero is detected although the checksum fits") {
  for (size_t index = 0; index < sizeof(HeaderFrame::reserved); ++index) {
    for (const uint8_t value : {1, 0x80}) {
      const MessageHeader header = changed([=](MessageHeader& wrong) { wrong.frame.reserved[index] = value; });
      CHECK(verify(header) == MessageFault::reserved);
    }
  }
  for (size_t index = 0; index < sizeof(PingHeader::reserved); ++index) {
    PingHeader header{};
    CHECK(verify_fields<Command::ping>(header) == MessageFault::none);
    header.reserved[index] = 1;
    if (verify_fields<Command::ping>(header) != MessageFault::reserved) FAIL_CHECK("byte ", index, " was not detected");
  }
}

TEST_CASE("reserved bytes that are not zero do not hide one another") {
  const auto all_same = [](MessageHeader& header) { std::memset(header.frame.reserved, 0x55, 8); };
  CHECK(verify(changed(all_same)) == MessageFault::reserved);
  const auto opposite = [](MessageHeader& header) {
    header.frame.reserved[0] = 1;
    header.frame.reserved[7] = 0xff;
  };
  CHECK(verify(changed(opposite)) == MessageFault::reserved);
  PongHeader header{};
  std::memset(header.reserved, 0xaa, sizeof(header.reserved));
  CHECK(verify_fields<Command::pong>(header) == MessageFault::reserved);
}

TEST_CASE("garbage is refused, and nothing is asserted on it") {
  Random random(1);
  for (int round = 0; round < 1000; ++round) {
    MessageHeader header;
    for (std::byte& byte : bytes_of(header)) byte = static_cast<std::byte>(random.next());
    CHECK(verify(header) == MessageFault::header_checksum);
    header.frame.checksum = checksum_of(header);
    CHECK(verify(header) != MessageFault::none);
    CHECK(verify_body(header, {}) != MessageFault::none);
  }
}

TEST_CASE("the checksum is that of xxHash, over the bytes after itself") {
  MessageHeader header = header_of({});
  const XXH128_hash_t hash = XXH3_128bits(bytes_of(header).data() + 16, 240);
  CHECK(header.frame.checksum.low == hash.low64);
  CHECK(header.frame.checksum.high == hash.high64);
  const XXH128_hash_t nothing = XXH3_128bits(nullptr, 0);
  CHECK(header.frame.checksum_body == Checksum{nothing.low64, nothing.high64});
}

TEST_CASE("every fault has a name of its own") {
  std::string names;
  for (uint8_t fault = 0; fault <= static_cast<uint8_t>(MessageFault::body_checksum); ++fault) {
    const std::string name = name_of(static_cast<MessageFault>(fault));
    CHECK(name != "?");
    CHECK(names.find("|" + name + "|") == std::string::npos);
    names += "|" + name + "|";
  }
}

// docs/FORMAT.md holds the example; this test reads it there.

std::vector<std::byte> example_as_built() {
  const char text[] = "spindle";
  const std::span<const std::byte> body = std::as_bytes(std::span(text).first(7));
  MessageHeader header = header_of(body);
  const uint64_t sent_at_ns = 1'000'000'007;
  std::memcpy(header.fields, &sent_at_ns, sizeof(sent_at_ns));
  header.frame.checksum = checksum_of(header);
  std::vector<std::byte> bytes(message_header_size + body.size());
  std::memcpy(bytes.data(), &header, message_header_size);
  std::memcpy(bytes.data() + message_header_size, body.data(), body.size());
  return bytes;
}

TEST_CASE("the worked example of docs/FORMAT.md is what the code builds, byte by byte") {
  const std::vector<std::byte> documented = format_example("Message");
  const std::vector<std::byte> built = example_as_built();
  CHECK(built.size() == 263);
  REQUIRE_MESSAGE(documented.size() == built.size(), hex_dump(built));
  for (size_t at = 0; at < built.size(); ++at) {
    CAPTURE(at);
    CHECK(documented[at] == built[at]);
  }
}

}  // namespace
}  // namespace spindle
