// The limit of a device and its classes, and deadlines, in the simulated world: every interleaving by seed.
#include "io/device_queue.h"

#include <doctest/doctest.h>

#include <vector>

#include "io/file.h"
#include "io/sim/world.h"
#include "runtime/combinators.h"
#include "runtime/event.h"
#include "runtime/sleep.h"

namespace spindle {

namespace {

using namespace std::chrono_literals;

struct alignas(512) Sector {
  std::byte bytes[512];
};

/// A disk that takes from 100 to 200 µs.
SimBackendOptions slow_disk() {
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

Task<Result<void>> write_some(Scene* scene, File* file, IoClass io_class, int count) {
  const uint64_t place = scene->take_place();
  const std::span<std::byte> memory(scene->sector.bytes);
  WriteOptions options;
  options.io_class = io_class;
  for (int round = 0; round < count; ++round) co_await ok(file->write_all_at(place, memory, options));
  co_return Result<void>();
}

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

struct Ends {
  Result<void> first;
  Result<void> second;
};

Task<Result<void>> write_into(Scene* scene, File* file, Result<void>* end) {
  const uint64_t place = scene->take_place();
  const std::span<std::byte> memory(scene->sector.bytes);
  *end = co_await file->write_all_at(place, memory);
  co_return Result<void>();
}

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

Task<Result<void>> write_before(Scene& scene, Duration from_now, Result<void>& end) {
  File file = co_await ok(File::open("data", scene.how()));
  const std::span<std::byte> memory(scene.sector.bytes);
  const Time deadline = scene.host->loop().now() + from_now;
  end = co_await file.write_all_before(deadline, 0, memory);
  CHECK(scene.host->loop().timers().empty());
  co_return Result<void>();
}

Result<void> end_of_write_before(Scene& scene, Duration from_now) {
  Result<void> end;
  scene.host->start(write_before, scene, from_now, end);
  CHECK(scene.run_to_end().has_value());
  return end;
}

}  // namespace

TEST_CASE("a deadline that has passed submits nothing") {
  Scene scene(11);
  const Result<void> end = end_of_write_before(scene, Duration::zero());
  REQUIRE_FALSE(end.has_value());
  CHECK(end.error().code == ErrorCode::timed_out);
  CHECK(scene.host->files().find("data")->size() == 0);
}

TEST_CASE("a deadline that passes in flight asks for an end, and the write's own completion decides") {
  bool timed_out = false;
  bool succeeded = false;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Scene scene(seed);
    const Result<void> end = end_of_write_before(scene, 50us);
    if (end.has_value()) {
      succeeded = true;
    } else {
      timed_out = true;
      CHECK(end.error().code == ErrorCode::timed_out);
    }
  }
  CHECK(timed_out);
  CHECK(succeeded);
}

TEST_CASE("a deadline that does not pass changes nothing") {
  Scene scene(12);
  CHECK(end_of_write_before(scene, 1s).has_value());
}

namespace {

Task<Result<void>> write_late(Scene* scene, File* file, Result<void>* end) {
  const std::span<std::byte> memory(scene->sector.bytes);
  const Time deadline = scene->host->loop().now() + 20us;
  *end = co_await file->write_all_before(deadline, 0, memory);
  co_return Result<void>();
}

Task<Result<void>> spawn_late(Scope& scope, Scene& scene, File& file, Ends& ends) {
  File* const shared = &file;
  Scene* const scene_address = &scene;
  Result<void>* const first = &ends.first;
  Result<void>* const second = &ends.second;
  co_await ok(scope.spawn(write_into, scene_address, shared, first));
  co_await ok(sleep_for(1us));
  co_await ok(scope.spawn(write_late, scene_address, shared, second));
  co_return Result<void>();
}

Task<Result<void>> hold_past_deadline(Scene& scene, Ends& ends) {
  File file = co_await ok(File::open("data", scene.how()));
  const ScopeOptions options;
  co_return co_await with_scope(options, spawn_late, scene, file, ends);
}

}  // namespace

TEST_CASE("a request whose deadline passes while a device queue holds it is dropped") {
  Scene scene(13, {.requests_max = 1});
  Ends ends;
  scene.host->start(hold_past_deadline, scene, ends);
  CHECK(scene.run_to_end().has_value());
  CHECK(ends.first.has_value());
  REQUIRE_FALSE(ends.second.has_value());
  CHECK(ends.second.error().code == ErrorCode::timed_out);
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
