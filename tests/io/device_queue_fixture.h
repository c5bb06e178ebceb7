// What the tests of device queues and of deadlines share: a slow disk, and a queue before it.
#pragma once

#include <doctest/doctest.h>

#include <vector>

#include "io/device_queue.h"
#include "io/file.h"
#include "io/sim/world.h"

namespace spindle {

struct alignas(512) Sector {
  std::byte bytes[512];
};

/// A disk that takes from 100 to 200 µs.
inline SimBackendOptions slow_disk() {
  SimBackendOptions options;
  options.queue_depth = 1024;
  options.latency_ns_min = 100'000;
  options.latency_ns_max = 200'000;
  return options;
}

struct Scene {
  explicit Scene(uint64_t seed, DeviceQueueOptions options = {.requests_max = 9}) : world(seed), queue(options) {
    host = &world.add_host("a", slow_disk());
  }
  OpenOptions how() noexcept {
    OpenOptions options;
    options.access = Access::read_write;
    options.direct = Direct::never;
    options.create = true;
    options.queue = &queue;
    return options;
  }
  Result<void> run_to_end() {
    REQUIRE(world.run() == World::Outcome::idle);
    CHECK(host->loop().frames().live_count() == 0);
    CHECK(host->backend().pending_count() == 0);
    CHECK(host->backend().open_count() == 0);
    Result<void> result = host->take();
    if (!result.has_value()) MESSAGE(describe(result.error()));
    return result;
  }

  /// Of a writer of its own: two writes to one place at one time are a bug.
  uint64_t take_place() noexcept { return places_count++ * sizeof(sector.bytes); }

  World world;
  Host* host;
  DeviceQueue queue;
  Sector sector{};
  uint64_t places_count = 0;
  std::vector<int> order;
};

inline Task<Result<void>> write_some(Scene* scene, File* file, IoClass io_class, int count) {
  const uint64_t place = scene->take_place();
  const std::span<std::byte> memory(scene->sector.bytes);
  WriteOptions options;
  options.io_class = io_class;
  for (int round = 0; round < count; ++round) co_await ok(file->write_all_at(place, memory, options));
  co_return Result<void>();
}

/// Of two requests.
struct Ends {
  Result<void> first;
  Result<void> second;
};

inline Task<Result<void>> write_into(Scene* scene, File* file, Result<void>* end) {
  const uint64_t place = scene->take_place();
  const std::span<std::byte> memory(scene->sector.bytes);
  *end = co_await file->write_all_at(place, memory);
  co_return Result<void>();
}

}  // namespace spindle
