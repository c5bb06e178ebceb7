// The coverage-guided target for messages from outside: header, fields and body are any bytes (libFuzzer,
// llvm.org/docs/LibFuzzer.html). Nothing may be read outside of them, and what passes must be what the rules say,
// which are written down here a second time.
//
// Noise dies at the first checksum. So nine of ten inputs are changed and then sealed again, half of these with
// their body.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "pools/message_header.h"

using namespace spindle;

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t size_max);

namespace {

constexpr uint32_t message_size_max = 2048;

void require(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "message: %s\n", what);
  std::abort();
}

template <class T>
T at(const uint8_t* bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes + offset, sizeof(value));
  return value;
}

std::span<const std::byte> span_of(const uint8_t* bytes, size_t begin, size_t end) {
  return {reinterpret_cast<const std::byte*>(bytes) + begin, end - begin};
}

/// By docs/FORMAT.md, with nothing of the code under test but the hash itself.
MessageFault expected_of(const uint8_t* bytes) {
  const Checksum checksum = checksum_of(span_of(bytes, 16, message_header_size));
  if (std::memcmp(bytes, &checksum, 16) != 0) return MessageFault::header_checksum;
  if (at<uint16_t>(bytes, 54) != message_protocol) return MessageFault::protocol;
  if (at<uint16_t>(bytes, 52) == 0) return MessageFault::command;
  const uint32_t size = at<uint32_t>(bytes, 48);
  if (size < message_header_size || size > message_size_max) return MessageFault::size;
  const bool is_reserved_zero = at<uint64_t>(bytes, 56) == 0;
  return is_reserved_zero ? MessageFault::none : MessageFault::reserved;
}

MessageFault expected_of_body(const uint8_t* bytes, size_t size) {
  if (size != at<uint32_t>(bytes, 48)) return MessageFault::body_size;
  const Checksum checksum = checksum_of(span_of(bytes, message_header_size, size));
  return std::memcmp(bytes + 16, &checksum, 16) == 0 ? MessageFault::none : MessageFault::body_checksum;
}

void seal(uint8_t* bytes, size_t size, bool with_body) {
  if (with_body) {
    const uint32_t size_in_header = static_cast<uint32_t>(size);
    std::memcpy(bytes + 48, &size_in_header, sizeof(size_in_header));
    const Checksum body = checksum_of(span_of(bytes, message_header_size, size));
    std::memcpy(bytes + 16, &body, sizeof(body));
  }
  const Checksum header = checksum_of(span_of(bytes, 16, message_header_size));
  std::memcpy(bytes, &header, sizeof(header));
}

size_t make_valid(uint8_t* bytes, size_t size) {
  std::memset(bytes, 0, message_header_size);
  const uint16_t words[] = {static_cast<uint16_t>(Command::ping), message_protocol};
  std::memcpy(bytes + 52, words, sizeof(words));
  const size_t whole = std::max<size_t>(size, message_header_size);
  seal(bytes, whole, true);
  return whole;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t size_max, unsigned seed) {
  if (size_max < message_header_size) return LLVMFuzzerMutate(bytes, size, size_max);
  if (size < message_header_size) size = make_valid(bytes, size);
  size = LLVMFuzzerMutate(bytes, size, size_max);
  if (size >= message_header_size && seed % 10 != 0) seal(bytes, size, seed / 10 % 2 == 0);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < message_header_size) return 0;
  // Memory of exactly that size, so that the address sanitizer sees a byte too much.
  MessageHeader header;
  std::memcpy(&header, data, sizeof(header));
  const size_t body_size = size - message_header_size;
  const std::unique_ptr<std::byte[]> body(new std::byte[body_size]);
  if (body_size > 0) std::memcpy(body.get(), data + message_header_size, body_size);

  const MessageFault fault = verify_header(header, message_size_max);
  require(fault == expected_of(data), "verify_header() says something else than the format");
  require(name_of(fault) != nullptr, "a fault without a name");
  if (fault != MessageFault::none) return 0;
  const MessageFault fault_of_body = verify_body(header, {body.get(), body_size});
  require(fault_of_body == expected_of_body(data, size), "verify_body() says something else than the format");
  return 0;
}
