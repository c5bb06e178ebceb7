// The limit of a device and its classes, in the simulated world: every interleaving by seed.
#include "io/device_queue.h"

#include <algorithm>

#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "tests/io/device_queue_fixture.h"

namespace spindle {

namespace {

using namespace std::chrono_literals;

Task<Result<void>> spawn_writers(Scope& scope, Scene& scene, File& file) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  for (int index = 0; index < 16; ++index) {
    co_await ok(scope.spawn(write_some, scene_address, shared, IoClass::background, 20));
    co_await ok(scope.spawn(write_some, scene_address, shared, IoClass::foreground, 20));
  }
  co_return Result<void>();
}

Task<Result<void>> write_in_classes(Scene& scene) {
  File file = co_await ok(File::open("data", scene.how()));
  const ScopeOptions options;
  co_await ok(with_scope(options, spawn_writers, scene, file));
  const Result<void> closed = co_await file.close();
  co_return closed;
}

}  // namespace

TEST_CASE("the limit of a device holds, and no class waits while its part is free") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Scene scene(seed);
    DeviceQueue& queue = scene.queue;
    REQUIRE(queue.part_of(IoClass::foreground) == 8);
    REQUIRE(queue.part_of(IoClass::background) == 1);
    scene.host->start(write_in_classes, scene);
    bool both_waited = false;
    while (scene.world.step() == World::Step::worked) {
      const uint32_t foreground = queue.in_flight_count(IoClass::foreground);
      const uint32_t background = queue.in_flight_count(IoClass::background);
      REQUIRE(foreground + background <= 9);
      const bool is_full = foreground + background == 9;
      if (queue.waiting_count(IoClass::foreground) > 0) REQUIRE((is_full || foreground >= 8));
      if (queue.waiting_count(IoClass::background) > 0) REQUIRE((is_full || background >= 1));
      if (queue.waiting_count(IoClass::foreground) > 0 && queue.waiting_count(IoClass::background) > 0) {
        both_waited = true;
      }
    }
    CHECK(both_waited);
    CHECK(scene.run_to_end().has_value());
  }
}

Task<Result<void>> spawn_of_one_class(Scope& scope, Scene& scene, File& file) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  for (int index = 0; index < 16; ++index) {
    co_await ok(scope.spawn(write_some, scene_address, shared, IoClass::background, 4));
  }
  co_return Result<void>();
}

Task<Result<void>> write_in_background(Scene& scene) {
  File file = co_await ok(File::open("data", scene.how()));
  co_await ok(sleep_for(20ms));  // opening was foreground
  const ScopeOptions options;
  co_return co_await with_scope(options, spawn_of_one_class, scene, file);
}

TEST_CASE("a class that is alone has the whole limit") {
  Scene scene(3);
  scene.host->start(write_in_background, scene);
  uint32_t most = 0;
  while (scene.world.step() == World::Step::worked) {
    most = std::max(most, scene.queue.in_flight_count(IoClass::background));
  }
  CHECK(most == 9);
  CHECK(scene.run_to_end().has_value());
}

namespace {

IoClass other_than(IoClass io_class) {
  return io_class == IoClass::foreground ? IoClass::background : IoClass::foreground;
}

Task<Result<void>> spawn_one_class_longer(Scope& scope, Scene& scene, File& file, IoClass longer) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  for (int index = 0; index < 20; ++index) {
    co_await ok(scope.spawn(write_some, scene_address, shared, other_than(longer), 3));
    co_await ok(scope.spawn(write_some, scene_address, shared, longer, 150));
  }
  co_return Result<void>();
}

Task<Result<void>> write_one_class_longer(Scene& scene, IoClass longer) {
  File file = co_await ok(File::open("data", scene.how()));
  const ScopeOptions options;
  co_return co_await with_scope(options, spawn_one_class_longer, scene, file, longer);
}

/// Steps to the end; how often the class had waiting requests and the device to itself. Then it has the whole limit.
uint64_t run_until_alone(Scene& scene, IoClass io_class, const DeviceQueueOptions& options) {
  uint64_t alone_count = 0;
  Time others_until{};
  while (scene.world.step() == World::Step::worked) {
    const IoClass other = other_than(io_class);
    const Time now = scene.world.now();
    if (scene.queue.in_flight_count(other) + scene.queue.waiting_count(other) > 0) others_until = now;
    // By then one of its own requests, which take so long at most, has ended.
    const bool is_alone = now > others_until + options.idle_after + 200us;
    if (!is_alone || scene.queue.waiting_count(io_class) == 0) continue;
    ++alone_count;
    REQUIRE(scene.queue.in_flight_count(io_class) == options.requests_max);
  }
  return alone_count;
}

}  // namespace

TEST_CASE("a class that was held to its part has the whole limit once the other one has come to rest") {
  for (const IoClass io_class : {IoClass::background, IoClass::foreground}) {
    for (const DeviceQueueOptions& options :
         {DeviceQueueOptions{.requests_max = 9}, DeviceQueueOptions{.requests_max = 16, .foreground_share = 1},
          DeviceQueueOptions{.requests_max = 8, .foreground_share = 1, .background_share = 4}}) {
      for (uint64_t seed = 1; seed <= 5; ++seed) {
        Scene scene(seed, options);
        REQUIRE(scene.queue.part_of(io_class) < options.requests_max);
        scene.host->start(write_one_class_longer, scene, io_class);
        CHECK(run_until_alone(scene, io_class, options) > 100);
        CHECK(scene.run_to_end().has_value());
      }
    }
  }
}

Task<Result<void>> trickle(Scene* scene, File* file) {
  const uint64_t place = scene->take_place();
  const std::span<std::byte> memory(scene->sector.bytes);
  for (int round = 0; round < 50; ++round) {
    co_await ok(file->write_all_at(place, memory));
    co_await ok(sleep_for(1ms));
  }
  co_return Result<void>();
}

Task<Result<void>> spawn_beside_trickle(Scope& scope, Scene& scene, File& file) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  co_await ok(scope.spawn(trickle, scene_address, shared));
  co_await ok(sleep_for(5ms));
  for (int index = 0; index < 16; ++index) {
    co_await ok(scope.spawn(write_some, scene_address, shared, IoClass::background, 10));
  }
  co_return Result<void>();
}

Task<Result<void>> write_beside_trickle(Scene& scene) {
  File file = co_await ok(File::open("data", scene.how()));
  const ScopeOptions options;
  co_return co_await with_scope(options, spawn_beside_trickle, scene, file);
}

TEST_CASE("beside a foreground that asks now and then the background keeps to its part") {
  Scene scene(4);
  scene.host->start(write_beside_trickle, scene);
  uint32_t most = 0;
  while (scene.world.step() == World::Step::worked) {
    most = std::max(most, scene.queue.in_flight_count(IoClass::background));
  }
  CHECK(most == 1);
  CHECK(scene.run_to_end().has_value());
}

namespace {

Task<Result<void>> write_and_note(Scene* scene, File* file, int number) {
  const uint64_t place = scene->take_place();
  const std::span<std::byte> memory(scene->sector.bytes);
  co_await ok(file->write_all_at(place, memory));
  scene->order.push_back(number);
  co_return Result<void>();
}

Task<Result<void>> spawn_numbered(Scope& scope, Scene& scene, File& file) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  for (int number = 0; number < 30; ++number) {
    co_await ok(scope.spawn(write_and_note, scene_address, shared, number));
    co_await ok(sleep_for(1us));  // the order of spawning is the order of asking
  }
  co_return Result<void>();
}

Task<Result<void>> write_numbered(Scene& scene) {
  File file = co_await ok(File::open("data", scene.how()));
  const ScopeOptions options;
  co_return co_await with_scope(options, spawn_numbered, scene, file);
}

}  // namespace

TEST_CASE("within a class the first to ask is the first to go") {
  Scene scene(5, {.requests_max = 1});
  scene.host->start(write_numbered, scene);
  CHECK(scene.run_to_end().has_value());
  REQUIRE(scene.order.size() == 30);
  for (int number = 0; number < 30; ++number) CHECK(scene.order[static_cast<size_t>(number)] == number);
}

namespace {

Task<Result<void>> spawn_and_cancel(Scope& scope, Scene& scene, File& file, Ends& ends) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  Result<void>* const first = &ends.first;
  Result<void>* const second = &ends.second;
  co_await ok(scope.spawn(write_into, scene_address, shared, first));
  co_await ok(sleep_for(1us));
  co_await ok(scope.spawn(write_into, scene_address, shared, second));
  co_await ok(sleep_for(1us));
  CHECK(scene.queue.waiting_count(IoClass::foreground) == 1);
  scope.cancel();
  CHECK(scene.queue.waiting_count(IoClass::foreground) == 0);
  co_return Result<void>();
}

Task<Result<void>> cancel_held(Scene& scene, Ends& ends) {
  File file = co_await ok(File::open("data", scene.how()));
  const ScopeOptions options;
  const Result<void> done = co_await with_scope(options, spawn_and_cancel, scene, file, ends);
  static_cast<void>(done);
  co_return Result<void>();
}

}  // namespace

TEST_CASE("what a device queue holds is cancelled at once, and never reaches the backend") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Scene scene(seed, {.requests_max = 1});
    Ends ends;
    scene.host->start(cancel_held, scene, ends);
    CHECK(scene.run_to_end().has_value());
    REQUIRE_FALSE(ends.second.has_value());
    CHECK(ends.second.error().code == ErrorCode::cancelled);
    CHECK(scene.queue.in_flight_count(IoClass::foreground) == 0);
  }
}

namespace {

Task<Result<void>> spawn_and_close(Scope& scope, Scene& scene, File& file, Ends& ends) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  Result<void>* const first = &ends.first;
  Result<void>* const second = &ends.second;
  co_await ok(scope.spawn(write_into, scene_address, shared, first));
  co_await ok(sleep_for(1us));
  co_await ok(scope.spawn(write_into, scene_address, shared, second));
  co_await ok(sleep_for(1us));
  const Result<void> closed = co_await file.close();
  co_return closed;
}

Task<Result<void>> close_with_held(Scene& scene, Ends& ends) {
  File file = co_await ok(File::open("data", scene.how()));
  const ScopeOptions options;
  co_return co_await with_scope(options, spawn_and_close, scene, file, ends);
}

Task<Result<void>> drop_with_held(Scope& scope, Scene& scene, File& file, Ends& ends) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  Result<void>* const first = &ends.first;
  Result<void>* const second = &ends.second;
  co_await ok(scope.spawn(write_into, scene_address, shared, first));
  co_await ok(sleep_for(1us));
  co_await ok(scope.spawn(write_into, scene_address, shared, second));
  co_await ok(sleep_for(1us));
  {
    const File dropped = std::move(file);
  }
  co_return Result<void>();
}

Task<Result<void>> drop_file_with_held(Scene& scene, Ends& ends) {
  File file = co_await ok(File::open("data", scene.how()));
  const ScopeOptions options;
  co_return co_await with_scope(options, drop_with_held, scene, file, ends);
}

}  // namespace

TEST_CASE("closing a file cancels what its device queue holds of it") {
  Scene scene(7, {.requests_max = 1});
  Ends ends;
  scene.host->start(close_with_held, scene, ends);
  CHECK(scene.run_to_end().has_value());
  REQUIRE_FALSE(ends.second.has_value());
  CHECK(ends.second.error().code == ErrorCode::cancelled);
}

TEST_CASE("dropping a file cancels what its device queue holds of it") {
  Scene scene(8, {.requests_max = 1});
  Ends ends;
  scene.host->start(drop_file_with_held, scene, ends);
  CHECK(scene.run_to_end().has_value());
  REQUIRE_FALSE(ends.second.has_value());
  CHECK(ends.second.error().code == ErrorCode::cancelled);
}

TEST_CASE("a host that dies with held requests leaves nothing behind") {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Scene scene(seed, {.requests_max = 2});
    scene.host->start(write_in_classes, scene);
    for (uint64_t step = 0; step < 40 + 7 * seed; ++step) scene.world.step();
    scene.host->kill_process();
    CHECK(scene.queue.waiting_count(IoClass::foreground) == 0);
    CHECK(scene.queue.waiting_count(IoClass::background) == 0);
    CHECK(scene.queue.in_flight_count(IoClass::foreground) == 0);
    CHECK(scene.queue.in_flight_count(IoClass::background) == 0);
  }
}

namespace {

Task<Result<void>> truncate_and_lock(Scene& scene) {
  File file = co_await ok(File::open("data", scene.how()));
  const std::span<std::byte> memory(scene.sector.bytes);
  co_await ok(file.write_all_at(0, memory));
  co_await ok(file.truncate(256));
  co_await ok(file.punch_hole(0, 128));
  co_await ok(file.try_lock(LockMode::exclusive));
  co_await ok(file.sync());
  const Result<void> closed = co_await file.close();
  co_return closed;
}

}  // namespace

TEST_CASE("what is rare goes past a device queue, and leaves its counts alone") {
  Scene scene(14, {.requests_max = 1});
  scene.host->start(truncate_and_lock, scene);
  CHECK(scene.run_to_end().has_value());
  CHECK(scene.queue.in_flight_count(IoClass::foreground) == 0);
}

}  // namespace spindle
