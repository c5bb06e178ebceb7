// A store on a block device: what the device must be, and that a format leaves nothing half done on it.
#include <cerrno>

#include "runtime/combinators.h"
#include "runtime/sleep.h"
#include "tests/lsm/store_fixture.h"

namespace spindle {
namespace {

/// That small_format() needs.
constexpr uint64_t device_size = superblock_zone_size + 8192 + 1000 * 4096;

/// With that at its front, and whatever behind it.
SimFiles device_with(uint64_t size, std::span<const std::byte> content = {}) {
  SimFiles files;
  SimFile& device = files.add_device(store_path, size);
  if (!content.empty()) device.write(0, content, files.take_sequence());
  files.settle();
  return files;
}

TEST_CASE("a block device becomes a store when that is forced, and only then") {
  Disk disk(device_with(device_size));
  const std::vector<std::byte> before = content_of(disk);
  StoreFormer former;
  const Result<void> refused = disk.run(note_former, &former, small_format());
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().number == EEXIST);
  CHECK(content_of(disk) == before);
  REQUIRE(disk.run(note_former, &former, small_format(4, true)).has_value());
  CHECK(former.is_device);
  CHECK(former.file_size == device_size);
  CHECK(open_of(disk).is_open);
  CHECK(inspection_of(disk).findings.empty());
}

TEST_CASE("a device that ends before the grid of a store does takes none, and none opens on it") {
  Disk disk(device_with(device_size));
  StoreFormer former;
  REQUIRE(disk.run(note_former, &former, small_format(4, true)).has_value());
  const std::vector<std::byte> content = content_of(disk);
  for (const uint64_t missing : {uint64_t{4096}, uint64_t{1000} * 4096}) {
    CAPTURE(missing);
    const std::span<const std::byte> rest = std::span(content).first(device_size - missing);
    Disk cut(device_with(device_size - missing, rest));
    const Found found = open_of(cut);
    CHECK_FALSE(found.is_open);
    CHECK(found.code == ErrorCode::end_of_file);
    const Result<void> formatted = cut.run(note_former, &former, small_format(4, true));
    REQUIRE_FALSE(formatted.has_value());
    CHECK(formatted.error().code == ErrorCode::end_of_file);
  }
}

// ---- two at one time

Task<Result<void>> format_by_force(ClusterId cluster, bool* is_done) {
  static_cast<void>(co_await ok(format_store(store_path, small_format(4, true, cluster))));
  *is_done = true;
  co_return Result<void>();
}

// Again and again: so it comes in where the other one lets go of the device.
Task<Result<void>> format_in_between(Duration delay, ClusterId cluster, bool* is_done) {
  co_await ok(sleep_for(delay));
  while (!*is_done) {
    const Result<StoreFormer> formatted =
        co_await format_store(store_path, small_format(4, true, cluster), store_impatient);
    *is_done = formatted.has_value();
    if (!*is_done) co_await ok(sleep_for(std::chrono::microseconds(1)));
  }
  co_return Result<void>();
}

constexpr ClusterId first_cluster{1, 1};
constexpr ClusterId second_cluster{2, 2};

Task<Result<void>> format_both(Duration delay, bool* is_first_done, bool* is_second_done) {
  auto first = format_by_force(first_cluster, is_first_done);
  auto second = format_in_between(delay, second_cluster, is_second_done);
  const auto both = co_await when_all_settled(std::move(first), std::move(second));
  CHECK(std::get<0>(both).has_value());
  CHECK(std::get<1>(both).has_value());
  co_return Result<void>();
}

/// The device as a format left it that was interrupted.
std::vector<std::byte> marked_front() {
  std::vector<std::byte> content(superblock_zone_size);
  fill_with_mark(std::span(content).subspan(format_mark_offset, format_mark_size));
  return content;
}

TEST_CASE("a device that somebody else has formatted since it was looked at is marked again before it is wiped") {
  uint64_t in_between_count = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    World world(seed);
    Host& host = world.add_host("a", {}, device_with(device_size, marked_front()));
    bool is_first_done = false;
    bool is_second_done = false;
    const Duration delay = std::chrono::microseconds(200) * static_cast<int64_t>(seed);
    host.start(format_both, delay, &is_first_done, &is_second_done);
    bool is_between = false;
    while (host.is_running() && world.step() == World::Step::worked) {
      if (!is_second_done || is_first_done) continue;
      is_between = true;
      Disk disk(host.files().clone());
      const StoreInspection found = inspection_of(disk);
      const bool is_known = found.content == StoreContent::half_formatted || found.has_version();
      CHECK(is_known);
    }
    REQUIRE(host.take().has_value());
    in_between_count += is_between;
    Disk disk(host.files().clone());
    CHECK(open_of(disk).cluster == (is_between ? first_cluster : second_cluster));
  }
  CHECK(in_between_count > 0);
}

}  // namespace
}  // namespace spindle
