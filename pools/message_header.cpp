#include "pools/message_header.h"

// For a state on the stack; its layout is the same since XXH3 is stable, 0.8.0.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if SPINDLE_XXHASH_DISPATCHES
#include <xxh_x86dispatch.h>  // makes XXH3_128bits one that uses AVX2 or AVX-512 where the processor has it
#endif

namespace spindle {

const char* name_of(MessageFault fault) noexcept {
  switch (fault) {
    case MessageFault::none: return "none";
    case MessageFault::header_checksum: return "header_checksum";
    case MessageFault::protocol: return "protocol";
    case MessageFault::command: return "command";
    case MessageFault::size: return "size";
    case MessageFault::reserved: return "reserved";
    case MessageFault::body_size: return "body_size";
    case MessageFault::body_checksum: return "body_checksum";
  }
  return "?";
}

Checksum checksum_of(std::span<const std::byte> bytes) noexcept {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

Checksum checksum_of(std::span<const std::span<const std::byte>> chunks) noexcept {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset(&state);
  for (const std::span<const std::byte> chunk : chunks) XXH3_128bits_update(&state, chunk.data(), chunk.size());
  const XXH128_hash_t hash = XXH3_128bits_digest(&state);
  return {hash.low64, hash.high64};
}

Checksum checksum_of(const MessageHeader& header) noexcept {
  return checksum_of(std::as_bytes(std::span(&header, 1)).subspan(sizeof(Checksum)));
}

bool are_zero(std::span<const uint8_t> bytes) noexcept {
  uint8_t any = 0;
  for (const uint8_t byte : bytes) any = static_cast<uint8_t>(any | byte);
  return any == 0;
}

MessageFault verify_header(const MessageHeader& header, uint32_t message_size_max) noexcept {
  const HeaderFrame& frame = header.frame;
  if (frame.checksum != checksum_of(header)) return MessageFault::header_checksum;
  if (frame.protocol != message_protocol) return MessageFault::protocol;
  if (frame.command == Command::none) return MessageFault::command;
  if (frame.size < message_header_size) return MessageFault::size;
  if (frame.size > message_size_max) return MessageFault::size;
  if (!are_zero(frame.reserved)) return MessageFault::reserved;
  return MessageFault::none;
}

MessageFault verify_body(const MessageHeader& header, std::span<const std::byte> body) noexcept {
  if (body.size() + message_header_size != header.frame.size) return MessageFault::body_size;
  if (header.frame.checksum_body != checksum_of(body)) return MessageFault::body_checksum;
  return MessageFault::none;
}

}  // namespace spindle
