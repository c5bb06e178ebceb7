// What the tests of the simulated world share: memory in blocks of 4 KiB, and a host that runs one program to its end.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/file.h"
#include "io/sim/world.h"

namespace spindle {

inline constexpr uint64_t block_size = 4096;

class Blocks {
 public:
  explicit Blocks(size_t count, int fill = 0) : blocks_(count) { refill(fill); }
  std::span<std::byte> all() noexcept {
    return {reinterpret_cast<std::byte*>(blocks_.data()), blocks_.size() * block_size};
  }
  void refill(int fill) noexcept { std::memset(blocks_.data(), fill, blocks_.size() * block_size); }

 private:
  struct alignas(block_size) Block {
    std::byte bytes[block_size];
  };
  std::vector<Block> blocks_;
};

inline constexpr OpenOptions open_direct{.access = Access::read_write, .create = true};

/// A host by itself.
class Machine {
 public:
  explicit Machine(uint64_t seed, SimBackendOptions options = {})
      : world_(seed), host_(world_.add_host("a", std::move(options))) {}

  World& world() noexcept { return world_; }
  Host& host() noexcept { return host_; }
  SimFiles& files() noexcept { return host_.files(); }
  FaultRecord& record() noexcept { return host_.files().record(); }

  template <class Program, class... Args>
  Result<void> run(Program program, Args&&... args) {
    host_.start(program, std::forward<Args>(args)...);
    REQUIRE(world_.run() == World::Outcome::idle);
    return host_.take();
  }
  /// At the end of a program, or in the midst of one.
  void lose_power() {
    host_.lose_power();
    host_.restart();
  }

 private:
  World world_;
  Host& host_;
};

}  // namespace spindle
