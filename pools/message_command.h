// The header type of each command. A command gets one by a specialization of HeaderOf, anywhere:
//
//     inline constexpr Command lookup{0x100};
//     struct [[gnu::may_alias]] LookupHeader {
//       HeaderFrame frame;
//       uint64_t key;
//       uint8_t reserved[184];  // what is left of 256 bytes
//     };
//     template <>
//     struct spindle::HeaderOf<lookup> { using type = LookupHeader; };
//
// RegisteredCommand checks such a type at compile time: 256 bytes without padding, the frame in front, and what is not
// used named `reserved`, at the end (a type without it uses all).
#pragma once

#include "pools/message_header.h"

namespace spindle {

/// `HeaderOf<command>::type` is the header type of a command that is registered.
template <Command command>
struct HeaderOf;

template <class Header>
concept CommandHeader =
    std::is_standard_layout_v<Header> && std::is_trivially_copyable_v<Header> &&
    std::has_unique_object_representations_v<Header> && sizeof(Header) == message_header_size &&
    alignof(Header) <= 16 && std::is_same_v<decltype(Header::frame), HeaderFrame> && offsetof(Header, frame) == 0;

template <class Header>
constexpr bool has_reserved_at_end() {
  if constexpr (requires { Header::reserved; }) {
    using Reserved = decltype(Header::reserved);
    return std::is_array_v<Reserved> && std::is_same_v<std::remove_extent_t<Reserved>, uint8_t> &&
           offsetof(Header, reserved) + sizeof(Reserved) == sizeof(Header);
  } else {
    return true;
  }
}

template <Command command>
concept RegisteredCommand = command != Command::none && requires {
  typename HeaderOf<command>::type;
} && CommandHeader<typename HeaderOf<command>::type> && has_reserved_at_end<typename HeaderOf<command>::type>();

/// Asks the other side for a pong with the same time: is it there, and how far away.
struct [[gnu::may_alias]] PingHeader {
  HeaderFrame frame;
  uint64_t sent_at_ns;    ///< by the clock of who sent the ping
  uint8_t reserved[184];
};
struct [[gnu::may_alias]] PongHeader {
  HeaderFrame frame;
  uint64_t sent_at_ns;    ///< of the ping
  uint8_t reserved[184];
};

template <>
struct HeaderOf<Command::ping> {
  using type = PingHeader;
};
template <>
struct HeaderOf<Command::pong> {
  using type = PongHeader;
};
static_assert(RegisteredCommand<Command::ping> && RegisteredCommand<Command::pong>);

/// Of a header that was verified: are the bytes that its command has no use for zero?
template <Command command>
  requires RegisteredCommand<command>
MessageFault verify_fields(const typename HeaderOf<command>::type& header) noexcept {
  if constexpr (requires { header.reserved; }) {
    if (!are_zero(header.reserved)) return MessageFault::reserved;
  }
  return MessageFault::none;
}

}  // namespace spindle
