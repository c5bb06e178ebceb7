// Transfers with a deadline, in the simulated world: refused, ended in flight, or dropped by a device queue.
#include "io/timed_transfer.h"

#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "tests/io/device_queue_fixture.h"

namespace spindle {

using namespace std::chrono_literals;

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

}  // namespace spindle
