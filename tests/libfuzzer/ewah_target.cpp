// The coverage-guided target for encodings of bit sets: any bytes, in two ways of cutting them into chunks (libFuzzer,
// llvm.org/docs/LibFuzzer.html). Nothing may be touched outside of chunk and set; what is taken must be what an encoder
// writes, and what is refused must be what the format refuses, which tests/lsm/ewah_oracle.h writes down a second time.
//
// The first byte is the capacity of the set, the second the size of the chunks. What comes after them is made a valid
// encoding in every tenth round and changed in the others, since libFuzzer builds on what it has: of noise, hardly any
// second marker would be reached.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "lsm/ewah.h"
#include "tests/lsm/ewah_oracle.h"

using namespace spindle;

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t size_max);

namespace {

using Words = std::vector<uint64_t>;
using Bytes = std::vector<std::byte>;

constexpr size_t prefix_size = 2;
constexpr size_t words_per_capacity = 3;

void require(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "ewah: %s\n", what);
  std::abort();
}

EwahFault decode(const Bytes& bytes, size_t chunk_size, Words& words) {
  // Memory of exactly that size, so that the address sanitizer sees a byte too much.
  const std::unique_ptr<uint64_t[]> memory(new uint64_t[words.size()]);
  EwahDecoder decoder({memory.get(), words.size()});
  for (size_t offset = 0; offset < bytes.size(); offset += chunk_size) {
    const size_t size = std::min(chunk_size, bytes.size() - offset);
    const std::unique_ptr<std::byte[]> chunk(new std::byte[size]);
    std::memcpy(chunk.get(), bytes.data() + offset, size);
    if (decoder.decode({chunk.get(), size}) != EwahFault::none) break;
  }
  const EwahFault fault = decoder.finish();
  if (fault == EwahFault::none) std::copy_n(memory.get(), words.size(), words.begin());
  return fault;
}

Bytes encode(const Words& words, size_t chunk_size) {
  EwahEncoder encoder(words);
  Bytes bytes;
  while (!encoder.done()) {
    const std::unique_ptr<std::byte[]> chunk(new std::byte[chunk_size]);
    const size_t size = encoder.encode({chunk.get(), chunk_size});
    bytes.insert(bytes.end(), chunk.get(), chunk.get() + size);
  }
  return bytes;
}

// The same bytes taken for a set, and encoded: each byte is a word, most of them uniform ones.
size_t make_valid(uint8_t* bytes, size_t size, size_t size_max) {
  Words words;
  for (size_t index = prefix_size; index < size; ++index) {
    const uint64_t byte = bytes[index];
    words.push_back(byte % 3 == 0 ? 0 : byte % 3 == 1 ? UINT64_MAX : byte + 1);
  }
  const Bytes encoding = ewah_oracle::encode(words);
  const size_t count = std::min(encoding.size(), (size_max - prefix_size) / 8 * 8);
  if (count > 0) std::memcpy(bytes + prefix_size, encoding.data(), count);
  return prefix_size + count;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t size_max, unsigned seed) {
  size = LLVMFuzzerMutate(bytes, size, size_max);
  // What was made valid before is changed only; what is new is made valid now and then.
  if (size > prefix_size && size_max > 64 && seed % 10 == 1) size = make_valid(bytes, size, size_max);
  // Whole words, nine times in ten.
  if (size > prefix_size && seed / 10 % 10 != 0) size = prefix_size + (size - prefix_size) / 8 * 8;
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < prefix_size) return 0;
  const size_t capacity = data[0] * words_per_capacity;
  const size_t chunk_size = 8 * (size_t{data[1]} + 1);
  Bytes bytes(size - prefix_size);
  if (!bytes.empty()) std::memcpy(bytes.data(), data + prefix_size, bytes.size());
  const ewah_oracle::Decoded expected = ewah_oracle::decode(bytes, capacity);
  Words words(capacity);
  const EwahFault fault = decode(bytes, chunk_size, words);
  require(fault == expected.fault, "another fault than the format says");
  require(name_of(fault) != nullptr, "a fault without a name");
  Words others(capacity);
  require(decode(bytes, bytes.size() + 8, others) == fault, "the fault depends on the chunks");
  if (fault != EwahFault::none) return 0;
  require(words == expected.words, "another set than the format says");
  require(others == words, "the set depends on the chunks");
  require(encode(words, chunk_size) == bytes, "what no encoder writes was taken");
  require(bytes.size() <= EwahEncoder::encode_size_max(capacity), "more bytes than the bound");
  return 0;
}
