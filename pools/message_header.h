// MessageHeader: the first 256 bytes of every message, and of every block on disk. docs/FORMAT.md draws it.
//
//     0        16              32        48     52        54         56         64                     256
//     | checksum | checksum_body | cluster | size | command | protocol | reserved | fields of the command |
//
// All integers are little-endian. checksum covers bytes 16 to 255, and so checksum_body, which covers the body: who
// knows the checksum knows the whole message. Bytes that are reserved are zero; that is checked.
//
// Bytes that came from outside are never asserted on: what is wrong with them is a value, a MessageFault.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace spindle {

inline constexpr uint32_t message_header_size = 256;
inline constexpr uint16_t message_protocol = 1;  ///< version of this layout
/// What direct I/O aligns to, at most, on the devices supported.
inline constexpr uint32_t sector_size = 4096;

static_assert(std::endian::native == std::endian::little, "headers are used in place, and are little-endian");

/// XXH3-128 with seed 0 (xxHash); the low half first.
struct Checksum {
  uint64_t low = 0;
  uint64_t high = 0;
  friend bool operator==(const Checksum&, const Checksum&) noexcept = default;
};

/// Says which cluster a message belongs to; drawn once, when the cluster is made.
struct ClusterId {
  uint64_t low = 0;
  uint64_t high = 0;
  friend bool operator==(const ClusterId&, const ClusterId&) noexcept = default;
};

/// What a message is. Numbers below user_begin are given out here; a program adds its own from there on:
/// `inline constexpr Command lookup{0x100};`. See message_command.h for the header types.
enum class Command : uint16_t {
  none = 0,  ///< of a fresh message; never valid on the wire
  ping = 1,
  pong = 2,
  block = 3,  ///< a block of the grid, see lsm/block_header.h
  user_begin = 0x100,
};

/// What all headers share: their first 64 bytes.
struct HeaderFrame {
  Checksum checksum;       ///< of bytes 16 to 255
  Checksum checksum_body;  ///< of the body; of no bytes when there is none
  ClusterId cluster;
  uint32_t size;           ///< bytes, header included
  Command command;
  uint16_t protocol;       ///< message_protocol
  uint8_t reserved[8];     ///< zero
};
static_assert(sizeof(HeaderFrame) == 64 && std::is_standard_layout_v<HeaderFrame>);
static_assert(offsetof(HeaderFrame, checksum) == 0 && offsetof(HeaderFrame, checksum_body) == 16);
static_assert(offsetof(HeaderFrame, cluster) == 32 && offsetof(HeaderFrame, size) == 48);
static_assert(offsetof(HeaderFrame, command) == 52 && offsetof(HeaderFrame, protocol) == 54);
static_assert(offsetof(HeaderFrame, reserved) == 56);
static_assert(std::has_unique_object_representations_v<HeaderFrame>, "no padding: every byte is checked");

/// A header whose command is not looked at. The same bytes are also read as the header type of a command, which is why
/// it may alias.
struct [[gnu::may_alias]] MessageHeader {
  HeaderFrame frame;
  uint8_t fields[message_header_size - sizeof(HeaderFrame)];  ///< belong to the command
};
static_assert(sizeof(MessageHeader) == message_header_size && offsetof(MessageHeader, fields) == 64);

/// What is wrong with a message, in the order in which it is looked for.
enum class MessageFault : uint8_t {
  none,
  header_checksum,  ///< nothing in the header can be trusted
  protocol,         ///< another version of the layout
  command,          ///< Command::none
  size,             ///< smaller than a header, or larger than a message can be
  reserved,         ///< a reserved byte is not zero
  body_size,        ///< the body is not of the size that the header says
  body_checksum,
};
const char* name_of(MessageFault fault) noexcept;

Checksum checksum_of(std::span<const std::byte> bytes) noexcept;
/// Of the chunks, one behind the other: the same wherever they end.
Checksum checksum_of(std::span<const std::span<const std::byte>> chunks) noexcept;
/// The checksum that belongs into header.frame.checksum.
Checksum checksum_of(const MessageHeader& header) noexcept;

/// Everything that can be said of a header without its body and without knowing its command.
MessageFault verify_header(const MessageHeader& header, uint32_t message_size_max) noexcept;
/// Of a header that was verified: is `body` the one that it describes?
MessageFault verify_body(const MessageHeader& header, std::span<const std::byte> body) noexcept;

bool are_zero(std::span<const uint8_t> bytes) noexcept;

}  // namespace spindle
