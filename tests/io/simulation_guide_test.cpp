// The disk with faults of docs/SIMULATION.md, and a counter in a file that is published. The other parts of the guide
// stand in examples/counter/.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <utility>

#include "io/directory.h"
#include "io/file.h"
#include "io/sim/crash_images.h"
#include "io/sim/world.h"

namespace spindle {

namespace {

Task<Result<void>> store(uint64_t& value) {
  OpenOptions how;
  how.access = Access::read_write;
  how.create = true;
  how.direct = Direct::never;
  File file = co_await ok(File::open("counter.new", how));
  const std::span<const std::byte> memory = std::as_bytes(std::span(&value, 1));
  co_await ok(file.write_all_at(0, memory));
  co_await ok(publish(file, "counter.new", "counter"));
  const Result<void> closed = co_await file.close();
  co_return closed;
}

/// Without the sync that publish() does.
Task<Result<void>> store_carelessly(uint64_t& value) {
  OpenOptions how;
  how.access = Access::read_write;
  how.create = true;
  how.direct = Direct::never;
  File file = co_await ok(File::open("counter.new", how));
  const std::span<const std::byte> memory = std::as_bytes(std::span(&value, 1));
  co_await ok(file.write_all_at(0, memory));
  co_await ok(rename_path("counter.new", "counter"));
  const Result<void> closed = co_await file.close();
  co_return closed;
}

Task<Result<void>> check_counter(const uint64_t& former, const uint64_t& value) {
  OpenOptions how;
  how.direct = Direct::never;
  File file = co_await ok(File::open("counter", how));
  uint64_t found = 0;
  const std::span<std::byte> memory = std::as_writable_bytes(std::span(&found, 1));
  co_await ok(file.read_exact_at(0, memory));
  const bool is_right = found == former || found == value;
  co_return is_right ? Result<void>() : Unexpected(Error{ErrorCode::system, EBADMSG, "counter", 0});
}

/// How many of all crash images at all steps don't hold one of the two numbers.
template <class Store>
uint64_t wrong_images_of(Store store_value) {
  const uint64_t former = 1;
  uint64_t value = 2;
  uint64_t wrong_count = 0;
  World world(7);
  Host& host = world.add_host("a");
  host.files().put("counter", std::as_bytes(std::span(&former, 1)));
  host.start(store_value, value);
  do {
    const CrashImages images(host);
    images.for_each({}, [&](SimFiles image) {
      World after(1);
      Host& restarted = after.add_host("a", host.options(), std::move(image));
      restarted.start(check_counter, former, std::as_const(value));
      REQUIRE(after.run() == World::Outcome::idle);
      wrong_count += !restarted.take().has_value();
    });
  } while (world.step() == World::Step::worked);
  CHECK(host.take().has_value());
  return wrong_count;
}

SimBackendOptions options_of_the_guide() {
  SimBackendOptions options;
  options.faults.everywhere = FaultRates::passing();
  options.faults.everywhere.set(Fault::failed_sync, 1000);
  FaultRegion region;
  region.path = "counter";
  region.rates.set(Fault::bit_flip, 10'000);
  region.damage_max = 1;
  options.faults.regions.push_back(region);
  return options;
}

}  // namespace

TEST_CASE("a counter that is published survives every crash") { CHECK(wrong_images_of(store) == 0); }

TEST_CASE("a counter that is renamed without a sync does not") { CHECK(wrong_images_of(store_carelessly) > 0); }

TEST_CASE("the guide's disk with faults runs a counter") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    World world(seed);
    Host& host = world.add_host("a", options_of_the_guide());
    uint64_t value = seed;
    host.start(store, value);
    while (world.step() == World::Step::worked) {
    }
    const Result<void> result = host.take();
    CHECK((result.has_value() || result.error().number == EIO));
  }
}

}  // namespace spindle
