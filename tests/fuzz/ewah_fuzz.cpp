// The fuzzer `ewah`: bit sets of many shapes and sizes there and back, in chunks of every size, and encodings that were
// changed, nine tenths, or are noise, one tenth; against a codec that goes bit by bit (tests/lsm/ewah_oracle.h).
//
// Checked: the bytes, whatever the chunks; the bound; the set that comes back; for what is no encoding, which fault;
// that what is taken is what an encoder would have written; nothing written beside chunk and set.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "io/sim/event_hash.h"
#include "lsm/ewah.h"
#include "runtime/random.h"
#include "tests/fuzz/ewah_mutations.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lsm/ewah_oracle.h"

namespace spindle::fuzz {

namespace {

enum class Mark : uint8_t {
  empty_set,
  as_large_as_the_bound,
  chunk_of_one_word,
  chunk_ends_in_literals,
  chunk_ends_after_marker,
  run_of_hundreds,
  literals_of_hundreds,
  runs_one_after_another,
  taken_after_change,
  noise_taken,
  fault_first,  // and one for each fault
};
constexpr const char* mark_names[] = {
    "an empty set",
    "an encoding as large as the bound",
    "a chunk of one word",
    "a chunk that ends between literals",
    "a chunk that ends right after a marker with literals",
    "a run of hundreds of words",
    "hundreds of literals in a row",
    "a run right after a run of the other value",
    "a changed encoding that is one",
    "noise that is an encoding",
    "size",
    "empty_marker",
    "run_value",
    "split",
    "capacity",
    "uniform_literal",
    "truncated",
    "trailing_zeroes",
};
constexpr size_t faults_count = static_cast<size_t>(EwahFault::trailing_zeroes);
static_assert(static_cast<size_t>(Mark::fault_first) + faults_count == sizeof(mark_names) / sizeof(mark_names[0]));

enum class Action : uint8_t { round_trip, change, noise };

struct Event {
  uint32_t number;
  Action action;
  uint64_t value;
};

std::string to_string(const Event& event) {
  constexpr const char* names[] = {"round trip ", "change ", "noise "};
  return names[static_cast<size_t>(event.action)] + std::to_string(event.value);
}

std::vector<Event> generate(uint64_t seed, uint64_t events_max) {
  Random random(mix64(seed ^ 0xe3));
  const uint64_t garbage_percent = random.chance(1, 2) ? 50 : random.between(5, 95);
  const uint64_t events_count = random.between(std::min<uint64_t>(events_max, 20), events_max);
  std::vector<Event> events;
  events.reserve(events_count);
  for (uint64_t index = 0; index < events_count; ++index) {
    const uint64_t word = mix64(mix64(seed) + index * 2);
    const bool is_garbage = word % 100 < garbage_percent;
    const Action garbage = (word >> 32) % 10 == 0 ? Action::noise : Action::change;
    events.push_back({0, is_garbage ? garbage : Action::round_trip, mix64(mix64(seed) + index * 2 + 1)});
  }
  return events;
}

using Words = std::vector<uint64_t>;
using Bytes = std::vector<std::byte>;

uint64_t literal_of(Random& random) {
  switch (random.below(4)) {
    case 0: return uint64_t{1} << random.below(64);
    case 1: return ~(uint64_t{1} << random.below(64));
    default: return (random.next() & ~uint64_t{2}) | 1;
  }
}

// Runs and literals by turns, each with its own mean length; sometimes without any of a kind.
Words words_of(Random& random) {
  constexpr uint64_t sizes_max[] = {4, 20, 70, 140, 600, 1500};
  const size_t count = random.between(0, sizes_max[random.below(6)]);
  uint64_t lengths_max[3];
  for (uint64_t& length : lengths_max) length = random.chance(1, 6) ? 0 : uint64_t{1} << random.below(10);
  Words words;
  while (words.size() < count) {
    const uint64_t kind = random.below(3);
    uint64_t length = std::min(random.between(0, lengths_max[kind]), count - words.size());
    if (lengths_max[0] + lengths_max[1] + lengths_max[2] == 0) length = 1;
    for (; length > 0; --length) {
      words.push_back(kind == 0 ? 0 : kind == 1 ? UINT64_MAX : literal_of(random));
    }
  }
  return words;
}

// The words of an encoding that are literals.
std::vector<bool> literals_in(const Bytes& encoding) {
  std::vector<bool> are_literals;
  uint64_t literals_left = 0;
  for (size_t index = 0; index < encoding.size() / 8; ++index) {
    are_literals.push_back(literals_left > 0);
    literals_left = literals_left > 0 ? literals_left - 1 : ewah_oracle::word_at(encoding, index) >> 32;
  }
  are_literals.push_back(false);
  return are_literals;
}

class Machine {
 public:
  explicit Machine(Coverage& coverage) : coverage_(coverage) {}

  void take(const Event& event) {
    Random random(event.value);
    switch (event.action) {
      case Action::round_trip: round_trip(random); break;
      case Action::change: change(random); break;
      case Action::noise: noise(random); break;
    }
  }
  uint64_t hash() const { return hash_.value(); }

 private:
  // Chunk sizes of a run through an encoding: all of one size, or each of its own.
  struct Chunking {
    explicit Chunking(Random& source) : random(source.next()), size_max(uint64_t{1} << source.below(12)) {
      is_fixed = random.chance(1, 2);
    }
    size_t next() { return 8 * (is_fixed ? size_max : random.between(1, size_max)); }

    Random random;
    uint64_t size_max;
    bool is_fixed;
  };

  void mark(Mark reached) { coverage_.mark(static_cast<size_t>(reached)); }

  void round_trip(Random& random) {
    const Words words = words_of(random);
    const Bytes encoding = encode(words, Chunking(random));
    FUZZ_CHECK(encoding == ewah_oracle::encode(words), "an encoding has other bytes than the format says");
    FUZZ_CHECK(encoding.size() <= EwahEncoder::encode_size_max(words.size()), "an encoding is larger than the bound");
    if (encoding.empty()) {
      mark(Mark::empty_set);
    } else if (encoding.size() == EwahEncoder::encode_size_max(words.size())) {
      mark(Mark::as_large_as_the_bound);
    }
    const size_t more = random.chance(1, 2) ? 0 : random.below(100);
    Words expected = words;
    expected.resize(words.size() + more, 0);
    Words decoded;
    const EwahFault fault = decode(encoding, expected.size(), Chunking(random), decoded);
    FUZZ_CHECK(fault == EwahFault::none, "what was encoded is refused");
    FUZZ_CHECK(decoded == expected, "what was encoded comes back as something else");
    mark_lengths(encoding);
    for (const uint64_t word : decoded) hash_.mix(word);
  }

  void mark_lengths(const Bytes& encoding) {
    const std::vector<bool> are_literals = literals_in(encoding);
    bool was_run_only = false;
    for (size_t index = 0; index < encoding.size() / 8; ++index) {
      if (are_literals[index]) continue;
      const EwahMarker marker = EwahMarker::of(ewah_oracle::word_at(encoding, index));
      if (marker.uniform_count >= 200) mark(Mark::run_of_hundreds);
      if (marker.literals_count >= 200) mark(Mark::literals_of_hundreds);
      if (was_run_only) mark(Mark::runs_one_after_another);
      was_run_only = marker.literals_count == 0;
    }
  }

  void change(Random& random) {
    const Words words = words_of(random);
    Bytes bytes = ewah_oracle::encode(words);
    for (uint64_t changes = random.between(1, 3); changes > 0; --changes) mutate_encoding(bytes, random);
    const size_t capacity = random.chance(3, 4) ? words.size() + 2 : random.below(words.size() + 1);
    if (compare(bytes, capacity, random)) mark(Mark::taken_after_change);
  }

  void noise(Random& random) {
    Bytes bytes(random.below(60));
    const uint64_t mask = random.chance(1, 2) ? 0xff : 0x03;
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.chance(1, 2) ? 0 : random.next() & mask);
    if (compare(bytes, random.below(3000), random)) mark(Mark::noise_taken);
  }

  // Whether it is an encoding.
  bool compare(const Bytes& bytes, size_t capacity, Random& random) {
    const ewah_oracle::Decoded expected = ewah_oracle::decode(bytes, capacity);
    Words decoded;
    const EwahFault fault = decode(bytes, capacity, Chunking(random), decoded);
    FUZZ_CHECK(fault == expected.fault, "another fault than the format says");
    hash_.mix(static_cast<uint64_t>(fault), bytes.size());
    if (fault != EwahFault::none) {
      coverage_.mark(static_cast<size_t>(Mark::fault_first) + static_cast<size_t>(fault) - 1);
      return false;
    }
    FUZZ_CHECK(decoded == expected.words, "another set than the format says");
    FUZZ_CHECK(encode(decoded, Chunking(random)) == bytes, "what no encoder writes was taken");
    return true;
  }

  Bytes encode(const Words& words, Chunking chunking) {
    EwahEncoder encoder(words);
    Bytes bytes;
    std::vector<size_t> ends;
    while (!encoder.done()) {
      const size_t size = chunking.next();
      if (size == 8) mark(Mark::chunk_of_one_word);
      // Of exactly that size, so that the address sanitizer sees a byte too much.
      const std::unique_ptr<std::byte[]> chunk(new std::byte[size]);
      const size_t written = encoder.encode({chunk.get(), size});
      FUZZ_CHECK(written == size || (encoder.done() && written < size), "a chunk was not filled");
      bytes.insert(bytes.end(), chunk.get(), chunk.get() + written);
      ends.push_back(bytes.size() / 8);
    }
    const std::vector<bool> are_literals = literals_in(bytes);
    for (const size_t end : ends) {
      if (!are_literals[end]) continue;
      mark(are_literals[end - 1] ? Mark::chunk_ends_in_literals : Mark::chunk_ends_after_marker);
    }
    return bytes;
  }

  EwahFault decode(const Bytes& bytes, size_t capacity, Chunking chunking, Words& words) {
    // What is beside the set must stay.
    constexpr uint64_t sentinel = 0x5e5e5e5e5e5e5e5e;
    Words memory(capacity + 2, sentinel);
    EwahDecoder decoder(std::span<uint64_t>(memory).subspan(1, capacity));
    size_t offset = 0;
    EwahFault fault = EwahFault::none;
    while (offset < bytes.size() && fault == EwahFault::none) {
      const size_t size = std::min(chunking.next(), bytes.size() - offset);
      const std::unique_ptr<std::byte[]> chunk(new std::byte[size]);
      std::memcpy(chunk.get(), bytes.data() + offset, size);
      fault = decoder.decode({chunk.get(), size});
      offset += size;
    }
    const EwahFault at_end = decoder.finish();
    FUZZ_CHECK(fault == EwahFault::none || at_end == fault, "a fault was forgotten");
    FUZZ_CHECK(memory.front() == sentinel && memory.back() == sentinel, "memory beside the set was written");
    words.assign(memory.begin() + 1, memory.end() - 1);
    if (at_end == EwahFault::none) check_words_count(decoder, words);
    return at_end;
  }

  static void check_words_count(const EwahDecoder& decoder, const Words& words) {
    size_t count = words.size();
    while (count > 0 && words[count - 1] == 0) --count;
    FUZZ_CHECK(decoder.words_count() == count, "a wrong count of words");
  }

  Coverage& coverage_;
  EventHash hash_;
};

RunResult run_events(const RunOptions&, std::span<const Event> events, Coverage& coverage) {
  Machine machine(coverage);
  for (const Event& event : events) machine.take(event);
  return {machine.hash(), events.size()};
}

constexpr uint64_t fixed_seeds[] = {1, 2, 3, 4, 5, 6, 7, 8};

}  // namespace

const Fuzzer ewah_fuzzer = {"ewah",
                            "bit sets as run lengths, there and back, and what is no encoding",
                            true,
                            3000,
                            fixed_seeds,
                            mark_names,
                            run_as<generate, run_events>};

}  // namespace spindle::fuzz
