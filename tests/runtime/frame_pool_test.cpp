#include "runtime/frame_pool.h"

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "runtime/random.h"
#include "tests/death.h"

namespace spindle {
namespace {

struct Frame {
  void* memory;
  size_t size;
  unsigned char mark;
};

bool is_intact(const Frame& frame) {
  const unsigned char* bytes = static_cast<const unsigned char*>(frame.memory);
  for (size_t index = 0; index < frame.size; ++index) {
    if (bytes[index] != frame.mark) return false;
  }
  return true;
}

TEST_SUITE_BEGIN("frame pool");

TEST_CASE("what comes back is given out again, within its class") {
  if (!FramePool::pooled) return;
  FramePool pool(0, 0);
  void* first = pool.acquire(65);
  pool.release(first, 65);
  CHECK(pool.acquire(128) == first);
  void* other = pool.acquire(64);
  CHECK(other != first);
  CHECK(pool.missed_count() == 2);
  pool.release(first, 128);
  pool.release(other, 64);
}

TEST_CASE("a filled pool serves its classes without a miss, and counts what it could not serve") {
  if (!FramePool::pooled) return;
  FramePool pool(2, 3);
  void* first = pool.acquire(192);
  void* second = pool.acquire(129);
  CHECK(pool.missed_count() == 0);
  void* third = pool.acquire(160);
  CHECK(pool.missed_count() == 1);
  void* larger = pool.acquire(193);
  CHECK(pool.missed_count() == 2);
  pool.release(first, 192);
  pool.release(second, 129);
  pool.release(third, 160);
  pool.release(larger, 193);
}

TEST_CASE("live frames and bytes are counted, of every size") {
  FramePool pool(1, 4);
  CHECK(pool.live_count() == 0);
  void* small = pool.acquire(1);
  void* large = pool.acquire(FramePool::pooled_size_max);
  void* huge = pool.acquire(FramePool::pooled_size_max + 1);
  CHECK(pool.live_count() == 3);
  CHECK(pool.live_bytes() >= 1 + 2 * FramePool::pooled_size_max + 1);
  pool.release(huge, FramePool::pooled_size_max + 1);
  pool.release(small, 1);
  CHECK(pool.live_count() == 1);
  pool.release(large, FramePool::pooled_size_max);
  CHECK(pool.live_count() == 0);
  CHECK(pool.live_bytes() == 0);
}

TEST_CASE("frames are aligned to 16 bytes and do not overlap") {
  Random random(3);
  FramePool pool(4, 64);
  std::vector<Frame> live;
  for (int step = 0; step < 20000; ++step) {
    if (live.size() < 50 && random.chance(1, 2)) {
      const size_t size = random.between(1, random.chance(1, 10) ? 9000 : 1000);
      Frame frame{pool.acquire(size), size, static_cast<unsigned char>(step)};
      REQUIRE(reinterpret_cast<uintptr_t>(frame.memory) % 16 == 0);
      std::memset(frame.memory, frame.mark, size);
      live.push_back(frame);
    } else if (!live.empty()) {
      const size_t index = random.below(live.size());
      REQUIRE(is_intact(live[index]));
      pool.release(live[index].memory, live[index].size);
      live[index] = live.back();
      live.pop_back();
    }
    REQUIRE(pool.live_count() == live.size());
  }
  for (const Frame& frame : live) pool.release(frame.memory, frame.size);
}

TEST_CASE("a pool that ends with frames alive is a caught bug") {
  expect_abort(
      [] {
        FramePool pool(1, 1);
        static_cast<void>(pool.acquire(10));
      },
      "a loop ended with coroutine frames alive");
  if (!FramePool::pooled) return;
  expect_abort([] { FramePool pool(1, FramePool::class_count + 1); }, "more frame classes to fill than there are");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
