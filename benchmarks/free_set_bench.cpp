// What blocks of a nearly full grid cost: 2^25 blocks (16 TiB of 512 KiB), filled lowest first to 99.9 %, then rounds
// of 4096 random releases, a checkpoint, and 64 times reserve(64) with 64 acquires. One thread; the checkpoint is what
// the free set does when it becomes durable: what was released is freed.
//
// The yardsticks do the same in the same run (free_set_yardsticks.h), on grids that hold the same blocks: all three
// must give out the same addresses.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/free_set_yardsticks.h"
#include "benchmarks/meter.h"
#include "lsm/free_set.h"
#include "runtime/random.h"

namespace spindle::bench {

namespace {

constexpr uint32_t reservations_count = 64;
constexpr uint32_t reservation_blocks = 64;
constexpr uint32_t releases_count = reservations_count * reservation_blocks;

struct Plan {
  uint32_t blocks_count = 1u << 25;
  uint32_t rounds_count = 21;
  uint64_t seed = 1;
};

// Of one round, in ns.
struct Cost {
  double release = 0;
  double checkpoint = 0;
  double acquire = 0;  // reservations, acquires and forfeits
  uint64_t addresses_sum = 0;
};

void require(bool is_right, const char* what) {
  if (is_right) return;
  fprintf(stderr, "spindle-free-set-bench: %s\n", what);
  exit(1);
}

// The same operations on all three.
class Subject {
 public:
  explicit Subject(uint32_t blocks_count) : set_(make(blocks_count)) {}
  bool is_releasable(uint32_t block) const { return !set_.is_free(block + 1) && !set_.is_released(block + 1); }
  void release(uint32_t block) { set_.release(block + 1); }
  void checkpoint() {
    set_.mark_checkpoint_not_durable();
    set_.mark_checkpoint_durable();
  }
  uint64_t acquire(uint32_t windows_count, uint32_t count) {
    std::vector<FreeSet::Reservation> reservations;
    reservations.reserve(windows_count);
    uint64_t sum = 0;
    for (uint32_t window = 0; window < windows_count; ++window) {
      std::optional<FreeSet::Reservation> reservation = set_.reserve(count);
      require(reservation.has_value(), "there is no room");
      for (uint32_t index = 0; index < count; ++index) {
        const std::optional<uint64_t> address = set_.acquire(*reservation);
        sum = mix64(sum ^ *address);
      }
      reservations.push_back(std::move(*reservation));
    }
    for (FreeSet::Reservation& reservation : reservations) set_.forfeit(std::move(reservation));
    return sum;
  }

 private:
  static FreeSet make(uint32_t blocks_count) {
    Result<FreeSet> made = FreeSet::create({blocks_count, 0});
    require(made.has_value(), "there is no memory");
    require(made->open({}).fault == FreeSetFault::none, "an empty set was refused");
    made->mark_checkpoint_durable();
    return std::move(*made);
  }

  FreeSet set_;
};

template <bool is_sharded, bool has_cursor>
class Yardstick {
 public:
  explicit Yardstick(uint32_t blocks_count) : set_(blocks_count) {}
  bool is_releasable(uint32_t block) const { return !set_.is_free(block) && !set_.is_released(block); }
  void release(uint32_t block) { set_.release(block); }
  void checkpoint() { set_.mark_checkpoint_durable(); }
  void fill(uint32_t count) { set_.fill(count); }
  uint64_t acquire(uint32_t windows_count, uint32_t count) {
    uint64_t sum = 0;
    for (uint32_t window = 0; window < windows_count; ++window) {
      std::optional<Window> reservation = set_.reserve(count);
      require(reservation.has_value(), "there is no room");
      for (uint32_t index = 0; index < count; ++index) {
        const std::optional<uint32_t> block = set_.acquire(*reservation);
        sum = mix64(sum ^ (uint64_t{*block} + 1));
      }
    }
    set_.forfeit_all();
    return sum;
  }

 private:
  PlainFreeSet<is_sharded, has_cursor> set_;
};

template <class Set>
Cost round(Set& set, const Plan& plan, uint64_t number) {
  Random random(mix64(plan.seed) ^ number);
  std::vector<uint32_t> blocks;
  while (blocks.size() < releases_count) {
    const uint32_t block = static_cast<uint32_t>(random.below(plan.blocks_count));
    if (set.is_releasable(block)) blocks.push_back(block);
  }
  std::sort(blocks.begin(), blocks.end());
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
  for (size_t index = blocks.size(); index > 1; --index) std::swap(blocks[index - 1], blocks[random.below(index)]);
  Cost cost;
  const uint64_t begin_ns = clock_ns();
  for (const uint32_t block : blocks) set.release(block);
  const uint64_t released_ns = clock_ns();
  set.checkpoint();
  const uint64_t durable_ns = clock_ns();
  cost.addresses_sum = set.acquire(reservations_count, reservation_blocks);
  const uint64_t end_ns = clock_ns();
  cost.release = static_cast<double>(released_ns - begin_ns);
  cost.checkpoint = static_cast<double>(durable_ns - released_ns);
  cost.acquire = static_cast<double>(end_ns - durable_ns);
  return cost;
}

struct Spread {
  double low;
  double median;
  double high;
};

Spread spread_of(const std::vector<Cost>& costs, double (*of)(const Cost& cost)) {
  std::vector<double> values;
  for (const Cost& cost : costs) values.push_back(of(cost));
  std::sort(values.begin(), values.end());
  return {values.front(), values[values.size() / 2], values.back()};
}

double of_acquire(const Cost& cost) { return cost.acquire; }
double of_checkpoint(const Cost& cost) { return cost.checkpoint; }
double of_release(const Cost& cost) { return cost.release; }
double of_all(const Cost& cost) { return cost.acquire + cost.checkpoint + cost.release; }

struct Line {
  const char* name;
  std::vector<Cost> costs;
};

void print(const Line& line, const Line& subject) {
  constexpr double (*parts[])(const Cost&) = {of_release, of_checkpoint, of_acquire, of_all};
  printf("  %-20s", line.name);
  for (double (*const part)(const Cost&) : parts) {
    const Spread spread = spread_of(line.costs, part);
    printf("  %8.1f (%.1f .. %.1f)", spread.median / 1e3, spread.low / 1e3, spread.high / 1e3);
  }
  const double acquire = spread_of(line.costs, of_acquire).median / spread_of(subject.costs, of_acquire).median;
  const double all = spread_of(line.costs, of_all).median / spread_of(subject.costs, of_all).median;
  if (&line != &subject) printf("   %.1f x, whole round %.1f x", acquire, all);
  printf("\n");
}

int run_all(const Plan& plan) {
  Subject subject(plan.blocks_count);
  Yardstick<true, true> sharded(plan.blocks_count);
  Yardstick<false, true> remembering(plan.blocks_count);
  Yardstick<false, false> flat(plan.blocks_count);
  const uint32_t filled_count = static_cast<uint32_t>(uint64_t{plan.blocks_count} * 999 / 1000);
  const uint64_t begin_ns = clock_ns();
  const uint64_t filled_sum = subject.acquire(1, filled_count);
  const double fill_ns = static_cast<double>(clock_ns() - begin_ns) / filled_count;
  require(sharded.acquire(1, filled_count) == filled_sum, "a yardstick gives out other addresses");
  require(remembering.acquire(1, filled_count) == filled_sum, "a yardstick gives out other addresses");
  flat.fill(filled_count);
  Line lines[] = {{"free set", {}}, {"single-level index", {}}, {"flat, with a cursor", {}}, {"flat scan", {}}};
  // Some rounds without counting, until the holes of one round are filled by the next.
  for (uint32_t number = 0; number < plan.rounds_count + 3; ++number) {
    const Cost costs[] = {round(subject, plan, number), round(sharded, plan, number), round(remembering, plan, number),
                          round(flat, plan, number)};
    for (const Cost& cost : costs) {
      require(cost.addresses_sum == costs[0].addresses_sum, "a yardstick gives out other addresses");
    }
    for (size_t index = 0; number >= 3 && index < 4; ++index) lines[index].costs.push_back(costs[index]);
  }
  printf("%u blocks, filled lowest first to 99.9 %% (%.1f ns a block); rounds of %u random releases, a checkpoint,\n",
         plan.blocks_count, fill_ns, releases_count);
  printf("%u x (reserve(%u) + %u acquires); us per round: medians of %u rounds (lowest .. highest)\n",
         reservations_count, reservation_blocks, reservation_blocks, plan.rounds_count);
  printf("  %-20s  %-24s  %-24s  %-24s  %-24s\n", "", "release", "checkpoint", "reserve and acquire", "whole round");
  for (const Line& line : lines) print(line, lines[0]);
  printf("  free set: %.1f ns per acquire, with its share of the reservation\n",
         spread_of(lines[0].costs, of_acquire).median / releases_count);
  return 0;
}

}  // namespace

}  // namespace spindle::bench

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && std::string(argv[1]) != "--smoke")) {
    fputs("usage: spindle-free-set-bench [--smoke]\n", stderr);
    return 2;
  }
  spindle::bench::Plan plan;
  if (argc == 2) {
    plan.blocks_count = 1u << 23;
    plan.rounds_count = 1;
  }
  return spindle::bench::run_all(plan);
}
