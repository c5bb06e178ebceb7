// The pool of memory nodes: lowest first, what is caught, and that nodes are apart from one another.
#include "pools/node_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "pools/poison.h"
#include "runtime/random.h"
#include "tests/death.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {
namespace {

using Pool = NodePool<64, 64>;

constexpr NodePoolNames names{.pool = "manifest", .option = "manifest_nodes_count"};

template <class P = Pool>
P make_pool(uint32_t count) {
  Result<P> made = P::create(count, names);
  REQUIRE(made.has_value());
  return std::move(*made);
}

static_assert(is_node_shape(8, 8) && is_node_shape(64, 8) && is_node_shape(1, 1) && is_node_shape(16384, 4096));
static_assert(!is_node_shape(0, 1) && !is_node_shape(8, 0), "nothing");
static_assert(!is_node_shape(24, 8) && !is_node_shape(64, 24), "no powers of two");
static_assert(!is_node_shape(8, 64), "less than its alignment");
static_assert(!is_node_shape(8192, 8192) && is_node_shape(8192, 4096), "more than a page");

TEST_CASE("a node pool that moves keeps its counts and its nodes") {
  Pool pool = make_pool(100);
  std::vector<std::byte*> nodes;
  for (size_t index = 0; index < 7; ++index) nodes.push_back(pool.acquire());
  for (std::byte* node : nodes) pool.release(node);
  std::byte* const held = pool.acquire();
  Pool moved(std::move(pool));
  CHECK(moved.high_water_count() == 7);
  CHECK(moved.in_use_count() == 1);
  CHECK(moved.acquire() == held + 64);
  moved.release(held);
  moved.release(held + 64);
}

TEST_CASE("a node pool larger than the address space is refused") {
  using Huge = NodePool<size_t{1} << 40, 4096>;
  const Result<Huge> made = Huge::create(1u << 24, names);
  REQUIRE_FALSE(made.has_value());
  CHECK(made.error().number == ENOMEM);
}

#if !SPINDLE_LEDGER
// Builds with the ledger fill what is released, and would touch all of it.
TEST_CASE("nodes that lie beyond four gibibytes are apart from those before") {
  using Wide = NodePool<size_t{1} << 30, 4096>;
  Result<Wide> made = Wide::create(6, names);
  if (!made.has_value()) {
    MESSAGE("SKIP: no such amount of address space");
    return;
  }
  std::vector<std::byte*> nodes;
  for (size_t index = 0; index < 6; ++index) nodes.push_back(made->acquire());
  for (size_t index = 0; index < 6; ++index) CHECK(nodes[index] == made->arena().data() + (index << 30));
  for (std::byte* node : nodes) made->release(node);
}
#endif

TEST_CASE("a node pool gives the free node with the lowest index") {
  Pool pool = make_pool(200);
  CHECK(pool.capacity() == 200);
  CHECK(pool.arena().size() == size_t{200} * 64);
  std::vector<std::byte*> nodes;
  for (size_t index = 0; index < 200; ++index) {
    nodes.push_back(pool.acquire());
    CHECK(nodes.back() == pool.arena().data() + index * 64);
  }
  for (const size_t index : {150u, 3u, 64u, 199u}) pool.release(nodes[index]);
  for (const size_t index : {3u, 64u, 150u, 199u}) CHECK(pool.acquire() == nodes[index]);
  pool.reset();
}

TEST_CASE("a node pool counts what is acquired and what was at most") {
  Pool pool = make_pool(3);
  CHECK(pool.in_use_count() == 0);
  std::byte* const first = pool.acquire();
  std::byte* const second = pool.acquire();
  CHECK(pool.in_use_count() == 2);
  pool.release(first);
  CHECK(pool.in_use_count() == 1);
  CHECK(pool.high_water_count() == 2);
  pool.release(second);
  CHECK(pool.in_use_count() == 0);
  CHECK(pool.high_water_count() == 2);
  pool.release(pool.acquire());
  CHECK(pool.high_water_count() == 2);
}

TEST_CASE("try_acquire of a node pool that is used up gives nothing, and a released node can be had again") {
  Pool pool = make_pool(2);
  std::byte* const first = pool.try_acquire();
  std::byte* const second = pool.try_acquire();
  CHECK(first != nullptr);
  CHECK(second != nullptr);
  CHECK(pool.try_acquire() == nullptr);
  CHECK(pool.in_use_count() == 2);
  pool.release(second);
  CHECK(pool.try_acquire() == second);
  pool.release(first);
  pool.release(second);
}

TEST_CASE("after a reset every node is free, those that were held included") {
  Pool pool = make_pool(100);
  for (int count = 0; count < 77; ++count) static_cast<void>(pool.acquire());
  pool.reset();
  CHECK(pool.in_use_count() == 0);
  CHECK(pool.high_water_count() == 77);
  for (size_t index = 0; index < 100; ++index) CHECK(pool.acquire() == pool.arena().data() + index * 64);
  CHECK(pool.try_acquire() == nullptr);
  pool.reset();
}

TEST_CASE("a node pool of no nodes is refused") {
  const Result<Pool> made = Pool::create(0);
  REQUIRE(!made.has_value());
  CHECK(made.error().code == ErrorCode::invalid_argument);
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("a node pool that does not fit into memory is refused with ENOMEM") {
  const auto made = NodePool<size_t{1} << 40, 4096>::create(1u << 23);
  REQUIRE(!made.has_value());
  CHECK(made.error().code == ErrorCode::system);
  CHECK(made.error().number == ENOMEM);
}
#endif

TEST_CASE("a node pool that was moved away can be destroyed, and its nodes belong to the new one") {
  Pool pool = make_pool(4);
  std::byte* const node = pool.acquire();
  Pool other = std::move(pool);
  CHECK(other.in_use_count() == 1);
  other.release(node);
}

// What is caught.

TEST_CASE("a node pool that is used up ends the process and names itself, its capacity and its option") {
  const auto exhaust = [] {
    Pool pool = make_pool(5);
    for (int count = 0; count < 6; ++count) static_cast<void>(pool.acquire());
  };
  expect_abort(exhaust, "the manifest is used up: all its 5 nodes are acquired; raise manifest_nodes_count");
}

TEST_CASE("the release of a foreign pointer is caught") {
  alignas(64) static std::byte foreign[64];
  const char* const message = "a node was released that is not of this pool";
  expect_abort([] { make_pool(5).release(foreign); }, message);
  expect_abort([] { make_pool(5).release(nullptr); }, message);
  expect_abort(
      [] {
        Pool pool = make_pool(5);
        pool.release(pool.arena().data() + pool.arena().size());
      },
      message);
  expect_abort(
      [] {
        Pool pool = make_pool(5);
        pool.release(pool.arena().data() - 64);
      },
      message);
}

TEST_CASE("the release of an inner pointer is caught, at every offset") {
  for (const size_t offset : {1u, 8u, 32u, 63u}) {
    const auto violate = [offset] {
      Pool pool = make_pool(5);
      pool.release(pool.acquire() + offset);
    };
    expect_abort(violate, "a pointer into the middle of a node was released");
  }
}

TEST_CASE("a double release, and the release of a node that was never acquired, are caught") {
  const char* const message = "a node was released that is not acquired";
  expect_abort(
      [] {
        Pool pool = make_pool(5);
        std::byte* const node = pool.acquire();
        pool.release(node);
        pool.release(node);
      },
      message);
  expect_abort(
      [] {
        Pool pool = make_pool(5);
        pool.release(pool.arena().data() + 64);
      },
      message);
  expect_abort(
      [] {
        Pool pool = make_pool(5);
        std::byte* const node = pool.acquire();
        pool.reset();
        pool.release(node);
      },
      message);
}

TEST_CASE("destroying a node pool with nodes acquired is caught") {
  expect_abort(
      [] {
        Pool pool = make_pool(5);
        static_cast<void>(pool.acquire());
      },
      "a node pool was destroyed with nodes acquired");
}

TEST_CASE("a node pool of a dying host goes with nodes acquired") {
  TestLoop test;
  Loop* const former = Loop::set_current(&test.loop);
  {
    Pool pool = make_pool(5);
    static_cast<void>(pool.acquire());
    test.loop.mark_dying();
  }
  Loop::set_current(former);
}

TEST_CASE("a node is poisoned, or filled, once it is released or reset") {
#if SPINDLE_POISON_WITH_ASAN
  for (const bool resets : {false, true}) {
    auto touch = [resets] {
      Pool pool = make_pool(5);
      std::byte* const node = pool.acquire();
      volatile std::byte* const last = node + 63;
      *last = std::byte{1};
      resets ? pool.reset() : pool.release(node);
      *last = std::byte{2};
    };
    const Death death = run_in_child(touch);
    CHECK_FALSE(death.has_exited);
    CHECK_MESSAGE(death.text.find("use-after-poison") != std::string::npos, death.text);
  }
#elif SPINDLE_LEDGER
  Pool pool = make_pool(5);
  for (const bool resets : {false, true}) {
    std::byte* const node = pool.acquire();
    CHECK(node[0] == released_fill);
    std::memset(node, 1, 64);
    resets ? pool.reset() : pool.release(node);
    CHECK(node[0] == released_fill);
    CHECK(node[63] == released_fill);
  }
#endif
}

// Many shapes: nodes are aligned, apart from one another, and nothing but what was acquired is written.

template <class P>
class SentinelRound {
 public:
  SentinelRound(uint32_t node_count, uint64_t seed) : random_(seed), pool_(make_pool<P>(node_count)) {
    sentinel_.resize(pool_.arena().size());
    for (std::byte& byte : sentinel_) byte = static_cast<std::byte>(random_.next());
    unpoison_acquired(pool_.arena());
    std::memcpy(pool_.arena().data(), sentinel_.data(), sentinel_.size());
  }
  void run() {
    const uint32_t steps_count = 4 * pool_.capacity();
    for (uint32_t step = 0; step < steps_count; ++step) take_step(60);
    for (uint32_t step = 0; step < steps_count; ++step) take_step(40);
    while (!held_.empty()) release(held_.size() - 1);
    // In builds that fill what is released, the fill was put there by the pool itself, and replaced in release().
    unpoison_acquired(pool_.arena());
    CHECK(std::memcmp(pool_.arena().data(), sentinel_.data(), sentinel_.size()) == 0);
    CHECK(wrong_count_ == 0);
  }

 private:
  struct Held {
    std::byte* node;
    uint64_t id;
  };
  static constexpr size_t id_size = P::node_size < 8 ? P::node_size : 8;

  void take_step(uint32_t acquire_percent) {
    if (random_.chance(acquire_percent, 100)) {
      std::byte* const node = pool_.try_acquire();
      wrong_count_ += (node == nullptr) != (held_.size() == pool_.capacity());
      if (node == nullptr) return;
      wrong_count_ += reinterpret_cast<uintptr_t>(node) % P::node_alignment != 0;
      const uint64_t id = random_.next();
      for (size_t at = 0; at < P::node_size; at += id_size) std::memcpy(node + at, &id, id_size);
      held_.push_back({node, id});
    } else if (!held_.empty()) {
      release(random_.below(held_.size()));
    }
  }
  void release(size_t place) {
    const Held held = held_[place];
    held_[place] = held_.back();
    held_.pop_back();
    for (size_t at = 0; at < P::node_size; at += id_size) {
      wrong_count_ += std::memcmp(held.node + at, &held.id, id_size) != 0;
    }
    const std::byte* const original = sentinel_.data() + (held.node - pool_.arena().data());
    std::memcpy(held.node, original, P::node_size);
    pool_.release(held.node);
#if SPINDLE_LEDGER && !SPINDLE_POISON_WITH_ASAN
    std::memcpy(held.node, original, P::node_size);
#endif
  }

  Random random_;
  P pool_;
  std::vector<std::byte> sentinel_;
  std::vector<Held> held_;
  uint64_t wrong_count_ = 0;
};

TEST_CASE_TEMPLATE("random steps over a sentinel leave nothing but the sentinel", P, NodePool<1, 1>, NodePool<2, 1>,
                   NodePool<4, 4>, NodePool<8, 8>, NodePool<64, 8>, NodePool<64, 64>, NodePool<128, 16>,
                   NodePool<512, 512>, NodePool<4096, 512>, NodePool<4096, 4096>, NodePool<16384, 4096>) {
  for (uint64_t round = 0; round < 64; ++round) {
    CAPTURE(round);
    const uint32_t most = P::node_size >= 4096 ? 80 : 300;
    SentinelRound<P>(1 + static_cast<uint32_t>(mix64(round) % most), round).run();
  }
}

}  // namespace
}  // namespace spindle
