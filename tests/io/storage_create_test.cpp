// What the making of a storage leaves under its name: a file whose name is durable; and wherever it fails or is
// cancelled, the file as it was.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "io/sim/world.h"
#include "runtime/combinators.h"
#include "runtime/scope.h"
#include "runtime/sleep.h"
#include "tests/io/bad_disk.h"
#include "tests/io/every_world.h"
#include "tests/io/storage_fixture.h"

namespace spindle {
namespace {

/// Bytes of the file under the name; none: there is no file.
using Size = std::optional<uint64_t>;

/// What is there before.
constexpr Size formers[] = {std::nullopt, 0, sector};

StorageOptions options_over(const Size& there) { return there.value_or(0) > 0 ? overwriting : impatient; }

/// What was to be overwritten may be gone.
bool is_as_before(const Size& former, const Size& there) {
  const bool is_emptied = former.value_or(0) > 0 && there == Size(0);
  return there == former || is_emptied;
}

Task<Result<void>> create_one(std::string path, StorageOptions options, Result<void>* into) {
  const Result<Storage> created = co_await Storage::create(std::move(path), zones, options);
  *into = Result<void>();
  if (!created.has_value()) *into = Unexpected(created.error());
  co_return Result<void>();
}

// On a disk that does as it is told.

class BadScene {
 public:
  explicit BadScene(const Size& former) : on(former.value_or(0)) { on.disk.exists = former.has_value(); }
  Size there() const { return on.disk.exists ? Size(on.disk.bytes.size()) : std::nullopt; }
  Result<void> create() {
    Result<void> result;
    Result<void>* const into = &result;
    on.run_to_success(create_one, std::string("data"), options_over(there()), into);
    return result;
  }
  /// And nothing goes wrong any more.
  void create_again() {
    on.disk.asked.clear();
    on.disk.refuse(SIZE_MAX, 0);
    const Result<void> again = create();
    CHECK(again.has_value());
    CHECK(there() == Size(size_made));
  }
  bool is_first_sync(size_t index) const {
    const auto is_sync = [](const BadDisk::Asked& one) { return one.opcode == Opcode::sync; };
    const auto first = std::find_if(on.disk.asked.begin(), on.disk.asked.end(), is_sync);
    return first - on.disk.asked.begin() == static_cast<ptrdiff_t>(index);
  }

  BadDiskLoop on;
};

/// Of the request with that index; false: there are not that many.
bool fail_at(const Size& former, size_t index) {
  BadScene scene(former);
  scene.on.disk.refuse(index, EIO);
  const Result<void> created = scene.create();
  if (created.has_value()) {
    CHECK(index + 1 == scene.on.disk.asked.size());  // the close of what was made
    CHECK(scene.there() == Size(size_made));
    return false;
  }
  CAPTURE(std::string(name_of(scene.on.disk.asked[index].opcode)));
  check_code(created, ErrorCode::system, EIO);
  // Nothing can be done about the size of a file whose own sync failed.
  const bool may_stay_grown = former.has_value() && scene.is_first_sync(index);
  if (!may_stay_grown) CHECK(is_as_before(former, scene.there()));
  scene.create_again();
  return true;
}

TEST_CASE("whatever request of making a storage fails, its errno is the answer, and the file is as it was") {
  for (const Size& former : formers) {
    CAPTURE(former.has_value());
    size_t index = 0;
    while (fail_at(former, index)) ++index;
    CHECK(index > 12);
  }
}

Task<Result<void>> cancel_when_held(Scope& scope, BadDisk* disk, StorageOptions options, Result<void>* into) {
  co_await ok(scope.spawn(create_one, std::string("data"), options, into));
  while (disk->held.empty()) co_await ok(yield());
  scope.cancel();
  disk->release();  // what is shielded
  co_return Result<void>();
}

Task<Result<void>> cancel_creation(BadDisk& disk, StorageOptions options, Result<void>& created) {
  BadDisk* const disk_address = &disk;
  Result<void>* const into = &created;
  auto cancelling = with_scope(ScopeOptions{}, cancel_when_held, disk_address, options, into);
  co_return co_await std::move(cancelling);
}

/// At the request with that index; false: there are not that many.
bool cancel_at(const Size& former, size_t index) {
  BadScene scene(former);
  scene.on.disk.hold_from(index);
  Result<void> created;
  scene.on.run_to_success(cancel_creation, scene.on.disk, options_over(former), created);
  CAPTURE(std::string(name_of(scene.on.disk.asked[index].opcode)));
  if (created.has_value()) {
    CHECK(scene.on.disk.asked[index].opcode == Opcode::close);  // of the directory, and of what was made
    CHECK(scene.there() == Size(size_made));
    return index + 1 < scene.on.disk.asked.size();
  }
  check_code(created, ErrorCode::cancelled);
  CHECK(is_as_before(former, scene.there()));
  scene.create_again();
  return true;
}

TEST_CASE("at whatever request the making of a storage is cancelled, the file is as it was") {
  for (const Size& former : formers) {
    CAPTURE(former.has_value());
    size_t index = 0;
    while (cancel_at(former, index)) ++index;
    CHECK(index > 12);
  }
}

// In the simulated world.

struct SimScene {
  explicit SimScene(uint64_t seed, const Size& former = std::nullopt) : world(seed), host(world.add_host("a")) {
    REQUIRE(host.files().make_directory("folder") == 0);
    if (former.has_value()) host.files().put(path, std::vector<std::byte>(*former, std::byte{1}));
    host.files().settle();
  }
  Size there() {
    const SimFile* const file = host.files().find(path);
    return file == nullptr ? std::nullopt : Size(file->size());
  }
  /// That many steps of it; false: it has come to its end before.
  bool begin(uint64_t steps) {
    Result<void>* const into = &created;
    host.start(create_one, path, options_over(there()), into);
    for (uint64_t done = 0; done < steps; ++done) {
      if (world.step() != World::Step::worked) return false;
    }
    return true;
  }
  void end() {
    REQUIRE(world.run() == World::Outcome::idle);
    CHECK(host.take().has_value());
    CHECK(host.loop().frames().live_count() == 0);
    CHECK(host.backend().open_count() == 0);
  }
  /// From the beginning to the end.
  void create() {
    begin(0);
    end();
    CHECK(created.has_value());
    CHECK(there() == Size(size_made));
  }

  const std::string path = "folder/data";
  World world;
  Host& host;
  Result<void> created;
};

TEST_CASE("at whatever moment the making of a storage is cancelled, it is made, or the file is as it was") {
  uint64_t cancelled_count = 0;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    for (const Size& former : formers) {
      bool goes_on = true;
      for (uint64_t steps = 0; goes_on; ++steps) {
        CAPTURE(seed);
        CAPTURE(steps);
        CAPTURE(former.has_value());
        SimScene scene(seed, former);
        goes_on = scene.begin(steps);
        scene.host.cancel();
        scene.end();
        if (scene.created.has_value()) {
          CHECK(scene.there() == Size(size_made));
          continue;
        }
        ++cancelled_count;
        check_code(scene.created, ErrorCode::cancelled);
        CHECK(is_as_before(former, scene.there()));
        scene.create();
      }
    }
  }
  CHECK(cancelled_count > 200);
}

Task<Result<void>> create_and_keep(std::string path, StorageOptions options, std::optional<Storage>* into) {
  Result<Storage> created = co_await Storage::create(std::move(path), zones, options);
  if (created.has_value()) into->emplace(std::move(*created));
  co_return Result<void>();
}

Task<Result<void>> compete(std::string folder, StorageOptions options, uint64_t* made_count) {
  const std::string path = folder + "/data";
  std::optional<Storage> storages[2];
  std::optional<Storage>* const one = &storages[0];
  std::optional<Storage>* const other = &storages[1];
  auto first = create_and_keep(path, options, one);
  auto second = create_and_keep(path, options, other);
  const auto both = co_await when_all_settled(std::move(first), std::move(second));
  CHECK(std::get<0>(both).has_value());
  CHECK(std::get<1>(both).has_value());
  CHECK_FALSE((storages[0].has_value() && storages[1].has_value()));
  if (!storages[0].has_value() && !storages[1].has_value()) co_return Result<void>();
  ++*made_count;
  const uint64_t size = co_await ok(size_of(path));
  CHECK(size == size_made);
  co_return Result<void>();
}

TEST_CASE("of two that make a storage at once one at most does, and the other leaves its file alone") {
  uint64_t made_count = 0;
  uint64_t* const count = &made_count;
  in_every_world(compete, impatient, count);
  made_count = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    in_simulation(seed, SimBackendOptions(), compete, impatient, count);
    in_simulation(seed, SimBackendOptions(), compete, StorageOptions(), count);
  }
  CHECK(made_count > 400);
}

TEST_CASE("the name of a storage that was made is durable, whatever a creation that was killed has left under it") {
  uint64_t empty_count = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    bool goes_on = true;
    for (uint64_t steps = 0; goes_on; ++steps) {
      CAPTURE(seed);
      CAPTURE(steps);
      SimScene scene(seed);
      goes_on = scene.begin(steps);
      scene.host.kill_process();
      scene.host.restart();
      empty_count += scene.there() == Size(0);
      scene.create();
      scene.host.lose_power(mix64(seed + steps));
      CHECK(scene.there() == Size(size_made));
    }
  }
  CHECK(empty_count > 30);
}

}  // namespace
}  // namespace spindle
