// What the tests of the kernel's ring share: a loop on a ring that expects everything to come back, temporary
// files, FIFOs whose reads stay in flight as long as a test wants, aligned memory, skipping.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "io/file.h"
#include "io/uring/uring_backend.h"
#include "runtime/combinators.h"
#include "runtime/event.h"
#include "runtime/root.h"
#include "runtime/scope.h"
#include "runtime/sleep.h"

namespace spindle {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool has_asan = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool has_asan = true;
#else
inline constexpr bool has_asan = false;
#endif
#else
inline constexpr bool has_asan = false;
#endif

/// The test can't run in a build like this one: says so.
inline void skip_in_this_build(const char* reason) {
  std::printf("SKIP: %s: %s\n", doctest::getContextOptions()->currentTest->m_name, reason);
  std::fflush(stdout);
}

/// The test can't run on this machine: says so; with SPINDLE_NO_SKIP=1 that is a failure.
inline void skip(const char* reason) {
  skip_in_this_build(reason);
  const char* forbidden = std::getenv("SPINDLE_NO_SKIP");
  if (forbidden != nullptr && std::strcmp(forbidden, "1") == 0) FAIL_CHECK("skipped: ", reason);
}

inline size_t open_descriptors_count() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

/// A folder that goes away with its content. Below the current one by default: a build folder is on a disk,
/// while /tmp may be in memory.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& parent = ".") {
    std::string pattern = std::filesystem::absolute(parent).lexically_normal() / "spindle-test-XXXXXX";
    REQUIRE_MESSAGE(::mkdtemp(pattern.data()) != nullptr, "no folder in ", parent, ": ", std::strerror(errno));
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const noexcept { return path_; }
  std::string file(const char* name) const { return path_ + "/" + name; }
  /// Makes a file of `size` bytes, byte i being pattern_at(i).
  std::string filled(const char* name, size_t size) const;

 private:
  std::string path_;
};

inline std::byte pattern_at(uint64_t offset) noexcept {
  return static_cast<std::byte>((offset * 0x9e3779b97f4a7c15u) >> 56);
}

inline std::string TemporaryFolder::filled(const char* name, size_t size) const {
  const std::string path = file(name);
  std::string content(size, '\0');
  for (size_t at = 0; at < size; ++at) content[at] = static_cast<char>(pattern_at(at));
  std::FILE* made = std::fopen(path.c_str(), "wb");
  REQUIRE(made != nullptr);
  REQUIRE(std::fwrite(content.data(), 1, size, made) == size);
  REQUIRE(std::fclose(made) == 0);
  return path;
}

/// Memory for direct I/O.
class Memory {
 public:
  explicit Memory(size_t size, uint8_t fill = 0)
      : size_(size), bytes_(static_cast<std::byte*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096))) {
    REQUIRE(bytes_ != nullptr);
    std::memset(bytes_, fill, size);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { std::free(bytes_); }

  std::span<std::byte> all() noexcept { return {bytes_, size_}; }
  std::span<std::byte> part(size_t offset, size_t size) noexcept { return all().subspan(offset, size); }
  void fill_with_pattern(uint64_t offset = 0) noexcept {
    for (size_t at = 0; at < size_; ++at) bytes_[at] = pattern_at(offset + at);
  }
  bool has_pattern(uint64_t offset = 0) const noexcept {
    for (size_t at = 0; at < size_; ++at) {
      if (bytes_[at] != pattern_at(offset + at)) return false;
    }
    return true;
  }

 private:
  size_t size_;
  std::byte* bytes_;
};

/// A FIFO with an end of the test's own, which does not block. Reading it through a File stays in flight
/// until somebody writes; writing it through a File stays in flight once it is full.
class Fifo {
 public:
  explicit Fifo(const std::string& path) : path_(path) {
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    descriptor_ = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    REQUIRE(descriptor_ >= 0);
  }
  Fifo(const Fifo&) = delete;
  Fifo& operator=(const Fifo&) = delete;
  ~Fifo() { ::close(descriptor_); }

  const std::string& path() const noexcept { return path_; }
  void put(const std::string& text) {
    REQUIRE(::write(descriptor_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  /// Fills it up to the last byte.
  void fill() {
    char block[4096] = {};
    size_t size = sizeof block;
    while (size > 0) {
      if (::write(descriptor_, block, size) < 0) size /= 2;
    }
  }
  /// Takes everything out; how much it was.
  size_t drain() {
    size_t taken = 0;
    char block[4096];
    for (;;) {
      const ssize_t count = ::read(descriptor_, block, sizeof block);
      if (count <= 0) return taken;
      taken += static_cast<size_t>(count);
    }
  }

 private:
  std::string path_;
  int descriptor_ = -1;
};

inline constexpr OpenOptions open_cached{.access = Access::read_write, .direct = Direct::never};
inline constexpr OpenOptions open_cached_new{.access = Access::read_write, .direct = Direct::never, .create = true};
inline constexpr OpenOptions open_direct_new{.access = Access::read_write, .direct = Direct::require, .create = true};

/// A loop on the kernel's ring that expects frames, operations and descriptors to have come back at its end.
class UringLoop {
 public:
  explicit UringLoop(const UringOptions& options = UringOptions(), const Loop::Options& of_loop = Loop::Options()) {
    Result<std::unique_ptr<UringBackend>> made = UringBackend::create(options);
    if (!made.has_value()) FAIL(explain_setup_failure(made.error().number));
    backend_ = std::move(*made);
    loop_.emplace(*backend_, of_loop);
  }
  ~UringLoop() {
    CHECK(loop_->frames().live_count() == 0);
    CHECK(backend_->in_flight_count() == 0);
    CHECK(backend_->dropped_count() == 0);
    loop_.reset();
    backend_.reset();
    CHECK(open_descriptors_count() == descriptors_before_count_);
  }
  UringBackend& backend() noexcept { return *backend_; }
  Loop& loop() noexcept { return *loop_; }

  /// The same, for what bounds its own time by 20 s: reaching that bound is a failure, whatever came of it.
  template <class Body, class... Args>
  void run_in_time(Body&& body, Args&&... args) {
    const Time before = backend_->now();
    run_to_success(std::forward<Body>(body), std::forward<Args>(args)...);
    CHECK(backend_->now() - before < std::chrono::seconds(15));
  }
  /// Runs body(args...), a Task<Result<void>>, which must succeed.
  template <class Body, class... Args>
  void run_to_success(Body&& body, Args&&... args) {
    const Result<void> result = run(*loop_, std::forward<Body>(body), std::forward<Args>(args)...);
    CHECK_MESSAGE(result.has_value(), (result.has_value() ? std::string() : describe(result.error())));
  }

 private:
  size_t descriptors_before_count_ = open_descriptors_count();
  std::unique_ptr<UringBackend> backend_;
  std::optional<Loop> loop_;
};

/// Lets what is ready run, and the kernel answer what it can at once, in a cancelled context too.
inline Task<void> settle_ring() {
  for (int round = 0; round < 8; ++round) {
    const Result<void> rested = co_await shield(sleep_for(std::chrono::microseconds(200)));
    static_cast<void>(rested);
  }
}

/// One byte from a FIFO, which may never come. Not an error when it is cancelled.
inline Task<Result<void>> read_forever(File* fifo) {
  std::byte byte;
  const std::span<std::byte> memory(&byte, 1);
  const Result<uint64_t> count = co_await fifo->read_at(0, memory);
  if (!count.has_value()) CHECK(count.error().code == ErrorCode::cancelled);
  co_return Result<void>();
}

}  // namespace spindle
