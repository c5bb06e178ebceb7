// One body, every backend: the kernel's ring, the ring of a kernel that lacks the rare operations, and simulated
// hosts with and without faults. What a test says of one it says of all.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "io/sim/world.h"
#include "tests/io/uring_fixture.h"

namespace spindle {

inline SimBackendOptions faulty_disk() {
  SimBackendOptions options;
  options.queue_depth = 2;
  options.faults.everywhere.set(Fault::short_read, 300'000).set(Fault::short_write, 300'000);
  options.faults.everywhere.set(Fault::again, 100'000).set(Fault::interrupted, 100'000);
  return options;
}

/// Runs body(folder, args...), a Task<Result<void>>, in a simulated world; `folder` is an empty directory.
template <class Body, class... Args>
void in_simulation(uint64_t seed, const SimBackendOptions& options, Body body, Args&&... args) {
  CAPTURE(seed);
  World world(seed);
  Host& host = world.add_host("a", options);
  REQUIRE(host.files().make_directory("folder") == 0);
  host.start(body, std::string("folder"), std::forward<Args>(args)...);
  REQUIRE(world.run() == World::Outcome::idle);
  CHECK(host.loop().frames().live_count() == 0);
  CHECK(host.backend().open_count() == 0);
  const Result<void> result = host.take();
  CHECK_MESSAGE(result.has_value(), (result.has_value() ? std::string() : describe(result.error())));
}

template <class Body, class... Args>
void on_ring(const UringOptions& options, Body body, Args&&... args) {
  TemporaryFolder folder;
  UringLoop ring(options);
  ring.run_in_time(body, folder.path(), std::forward<Args>(args)...);
}

template <class Body, class... Args>
void in_every_world(Body body, Args&&... args) {
  UringOptions options;
  on_ring(options, body, std::forward<Args>(args)...);
  options.rare_ring_operations = false;
  on_ring(options, body, std::forward<Args>(args)...);
  for (uint64_t seed = 0; seed < 10; ++seed) {
    in_simulation(seed, seed % 2 == 0 ? SimBackendOptions() : faulty_disk(), body, std::forward<Args>(args)...);
  }
}

}  // namespace spindle
