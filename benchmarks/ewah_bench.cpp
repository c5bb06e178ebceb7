// How fast bit sets are encoded and decoded: 4 MiB of random bits (a grid of 2^25 blocks), at several densities, the
// last word always set, so that zeroes at the end are not left out. GB/s of bits, not of the encoding. One thread.
//
// The yardstick, in the same run: memcpy of the same 4 MiB, which writes as much as a decoder does.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "benchmarks/meter.h"
#include "lsm/ewah.h"
#include "runtime/random.h"

namespace spindle::bench {

namespace {

struct Plan {
  size_t words_count = (size_t{4} << 20) / ewah_word_size;
  uint32_t rounds_count = 31;
};

// Bits of a million that are set.
constexpr uint32_t densities[] = {0, 1'000, 10'000, 500'000, 999'000, 1'000'000};

std::vector<uint64_t> words_of(size_t count, uint32_t density) {
  Random random(density);
  std::vector<uint64_t> words(count);
  for (uint64_t& word : words) {
    for (uint32_t bit = 0; bit < 64; ++bit) word |= uint64_t{random.below(1'000'000) < density} << bit;
  }
  words.back() |= uint64_t{1} << 63;
  return words;
}

struct Spread {
  double low;
  double median;
  double high;
};

// GB/s, of times in ns.
Spread speed_of(std::vector<uint64_t> times_ns, size_t size) {
  std::sort(times_ns.begin(), times_ns.end());
  const auto speed = [size](uint64_t time_ns) { return static_cast<double>(size) / static_cast<double>(time_ns); };
  return {speed(times_ns.back()), speed(times_ns[times_ns.size() / 2]), speed(times_ns.front())};
}

bool run_density(const Plan& plan, uint32_t density) {
  const std::vector<uint64_t> words = words_of(plan.words_count, density);
  const size_t size = words.size() * ewah_word_size;
  std::vector<uint64_t> decoded(words.size());
  std::vector<uint64_t> copied(words.size());
  std::vector<std::byte> encoding(EwahEncoder::encode_size_max(words.size()));
  std::vector<uint64_t> times_ns[3];
  size_t encoded_size = 0;
  for (uint32_t round = 0; round < plan.rounds_count + 2; ++round) {
    const uint64_t begin_ns = clock_ns();
    EwahEncoder encoder(words);
    encoded_size = encoder.encode(encoding);
    const uint64_t encoded_ns = clock_ns();
    EwahDecoder decoder(decoded);
    decoder.decode(std::span<const std::byte>(encoding).first(encoded_size));
    const EwahFault fault = decoder.finish();
    const uint64_t decoded_ns = clock_ns();
    std::memcpy(copied.data(), words.data(), size);
    asm volatile("" : : "r"(copied.data()) : "memory");
    const uint64_t end_ns = clock_ns();
    if (fault != EwahFault::none || decoded != words) return false;
    if (round < 2) continue;
    times_ns[0].push_back(encoded_ns - begin_ns);
    times_ns[1].push_back(decoded_ns - encoded_ns);
    times_ns[2].push_back(end_ns - decoded_ns);
  }
  printf("  %6.1f %%  %9zu", density / 1e4, encoded_size);
  const double copy = speed_of(times_ns[2], size).median;
  for (const std::vector<uint64_t>& times : times_ns) {
    const Spread speed = speed_of(times, size);
    printf("  %5.1f (%4.1f .. %4.1f) %4.2f", speed.median, speed.low, speed.high, speed.median / copy);
  }
  printf("\n");
  return true;
}

}  // namespace

}  // namespace spindle::bench

int main(int argc, char** argv) {
  using namespace spindle::bench;
  if (argc > 2 || (argc == 2 && std::string(argv[1]) != "--smoke")) {
    fputs("usage: spindle-ewah-bench [--smoke]\n", stderr);
    return 2;
  }
  Plan plan;
  if (argc == 2) plan.rounds_count = 1;
  printf(
      "%zu KiB of random bits, the last one set; GB/s of bits: medians of %u rounds (lowest .. highest), and the\n"
      "ratio to memcpy\n",
      plan.words_count * spindle::ewah_word_size >> 10, plan.rounds_count);
  printf("   density  bytes      encode                     decode                     memcpy\n");
  for (const uint32_t density : densities) {
    if (!run_density(plan, density)) {
      fputs("spindle-ewah-bench: what was encoded does not come back\n", stderr);
      return 1;
    }
  }
  return 0;
}
