// Every crash of an add: at each step, each disk that a loss of power could leave holds the old value or the new one.
#include <cstdio>
#include <cstdlib>

#include "counter.h"
#include "io/sim/crash_images.h"
#include "io/sim/world.h"

using namespace spindle;

namespace {

void check(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "counter_test: %s\n", what);
  std::exit(1);
}

Task<Result<void>> add_to(uint64_t amount, uint64_t* acknowledged) {
  Counter counter = co_await ok(Counter::open("counter"));
  *acknowledged = co_await ok(counter.add(amount));
  const Result<void> closed = co_await counter.close();
  co_return closed;
}

Task<Result<void>> read_value(uint64_t* value) {
  Counter counter = co_await ok(Counter::open("counter"));
  *value = counter.value();
  co_return Result<void>();
}

/// What a machine with this disk finds.
uint64_t value_in(const SimBackendOptions& options, SimFiles image) {
  World after(1);
  Host& host = after.add_host("a", options, std::move(image));
  uint64_t value = 0;
  host.start(read_value, &value);
  after.run();
  check(host.take().has_value(), "the counter can't be opened after a loss of power");
  return value;
}

uint64_t crash_everywhere(uint64_t seed) {
  World world(seed);
  Host& host = world.add_host("a");
  uint64_t acknowledged = 0;
  uint64_t images_count = 0;
  for (const uint64_t amount : {5u, 7u, 9u}) {
    const uint64_t former = acknowledged;
    host.start(add_to, amount, &acknowledged);
    do {
      const CrashImages images(host);
      images.for_each({}, [&](SimFiles image) {
        const uint64_t found = value_in(host.options(), std::move(image));
        const bool is_right = found == acknowledged || (acknowledged == former && found == former + amount);
        check(is_right, "an acknowledged value is gone, or one appeared that nobody wrote");
        ++images_count;
      });
    } while (world.step() == World::Step::worked);
    check(host.take().has_value(), "an add failed");
  }
  check(acknowledged == 21, "the sum is wrong");
  return images_count;
}

}  // namespace

int main() {
  uint64_t images_count = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) images_count += crash_everywhere(seed);
  std::printf("%llu disks\n", static_cast<unsigned long long>(images_count));
  return 0;
}
