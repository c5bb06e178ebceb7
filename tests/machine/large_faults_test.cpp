// Faults in the middle of one large transfer, plain and vectored with ragged parts: the kernel cuts it into several
// requests. What was transferred is told to the byte, and what was only short is gone on with, in the right place.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tests/machine/faulty_files.h"

namespace spindle {
namespace {

constexpr uint64_t size_in_all = 300'000;  // three requests at least

/// Ragged parts, an empty one and single bytes among them.
std::vector<iovec> cut(std::span<std::byte> memory) {
  const size_t sizes[] = {1, 4095, 0, 70'000, 1, 60'001};
  std::vector<iovec> parts;
  size_t at = 0;
  for (const size_t size : sizes) {
    parts.push_back({memory.data() + at, size});
    at += size;
  }
  parts.push_back({memory.data() + at, memory.size() - at});
  return parts;
}

/// Result: that of the transfer.
Task<Result<void>> transfer(const std::string& path, Request request, bool vectored, Memory& memory) {
  File file = co_await ok(File::open(path, open_cached_new));
  const std::span<std::byte> all = memory.all();
  std::vector<iovec> parts = cut(all);
  const std::span<iovec> vector(parts);
  if (request == Request::write) {
    if (vectored) co_return co_await file.write_all_at(0, vector);
    co_return co_await file.write_all_at(0, all);
  }
  if (vectored) co_return co_await file.read_exact_at(0, vector);
  co_return co_await file.read_exact_at(0, all);
}

Task<Result<void>> transfer_in_time(const std::string& path, Request request, bool vectored, Memory& memory) {
  auto transferring = transfer(path, request, vectored, memory);
  co_return co_await timeout(std::chrono::seconds(20), std::move(transferring));
}

/// One transfer on a ring of its own. The memory is that of a write, or what a read brought.
Result<void> run_transfer(const FaultyFiles& files, Request request, bool vectored, Memory& memory) {
  UringLoop ring;
  if (request == Request::write) memory.fill_with_pattern();
  const std::string path = files.file(request == Request::write ? "target" : "source");
  return run(ring.loop(), transfer_in_time, path, request, vectored, memory);
}

uint64_t size_of_target(const FaultyFiles& files) {
  std::error_code none;
  const uint64_t size = std::filesystem::file_size(files.file("target"), none);
  return none ? 0 : size;
}

bool has_right_content(const FaultyFiles& files, Request request, Memory& memory, uint64_t size) {
  if (request == Request::write) {
    const int descriptor = ::open(files.file("target").c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(descriptor >= 0);
    std::memset(memory.all().data(), 0, memory.all().size());
    uint64_t at = 0;
    for (ssize_t count = 1; count > 0 && at < size; at += static_cast<uint64_t>(count)) {
      count = ::pread(descriptor, memory.all().data() + at, size - at, static_cast<off_t>(at));
    }
    ::close(descriptor);
    if (at != size) return false;
  }
  for (uint64_t at = 0; at < size; ++at) {
    if (memory.all()[at] != pattern_at(at)) return false;
  }
  return true;
}

void clean(FaultyFiles& files) {
  files.disarm();
  ::unlink(files.file("target").c_str());
}

/// From the request `index` on every one fails: what came before is told to the byte.
void fail_from(FaultyFiles& files, Request request, bool vectored, uint32_t index) {
  CAPTURE(index);
  Memory memory(size_in_all);
  files.arm({.request = request, .index = index, .times = UINT32_MAX, .number = EIO});
  const Result<void> result = run_transfer(files, request, vectored, memory);
  files.disarm();
  REQUIRE(!result.has_value());
  CHECK(result.error().number == EIO);
  const uint64_t transferred = result.error().transferred;
  CHECK(transferred < size_in_all);
  CHECK((transferred > 0) == (index > 0));
  if (request == Request::write) CHECK(size_of_target(files) == transferred);
  CHECK(has_right_content(files, request, memory, transferred));
  clean(files);
}

/// The request `index` fails once in a way that is gone on with.
void disturb(FaultyFiles& files, bool vectored, const Fault& fault) {
  CAPTURE(fault.index);
  CAPTURE(fault.number);
  CAPTURE(fault.short_size);
  Memory memory(size_in_all);
  files.arm(fault);
  const Result<void> result = run_transfer(files, fault.request, vectored, memory);
  CHECK(files.hits_count() == 1);
  files.disarm();
  CHECK_MESSAGE(result.has_value(), (result.has_value() ? std::string() : describe(result.error())));
  CHECK(has_right_content(files, fault.request, memory, size_in_all));
  clean(files);
}

TEST_CASE("a large transfer with a fault at any of its requests goes on, or tells to the byte how far it came") {
  FaultyFiles files(size_in_all);
  if (!files.is_mounted()) return skip(files.obstacle());
  for (const Request request : {Request::read, Request::write}) {
    for (const bool vectored : {false, true}) {
      CAPTURE(std::string(name_of(request)));
      CAPTURE(vectored);
      Memory memory(size_in_all);
      files.disarm();
      REQUIRE(run_transfer(files, request, vectored, memory).has_value());
      const uint32_t count = files.served_count(request);
      CHECK(has_right_content(files, request, memory, size_in_all));
      clean(files);
      REQUIRE(count >= 3);
      for (uint32_t index = 0; index < count; ++index) {
        fail_from(files, request, vectored, index);
        for (const int number : {EAGAIN, EINTR}) {
          disturb(files, vectored, {.request = request, .index = index, .number = number, .in_worker = true});
        }
        for (const uint32_t size : {1u, 511u}) {
          disturb(files, vectored, {.request = request, .index = index, .short_size = size});
        }
      }
    }
  }
}

Task<Result<void>> transfer_before(const std::string& path, Request request, Memory& memory) {
  File file = co_await ok(File::open(path, open_cached_new));
  const std::span<std::byte> all = memory.all();
  const Time deadline = Backend::current().now() + std::chrono::milliseconds(100);
  if (request == Request::write) co_return co_await file.write_all_before(deadline, 0, all);
  co_return co_await file.read_exact_before(deadline, 0, all);
}

TEST_CASE("a deadline ends a transfer that hangs in the file system, and what it had moved is told to the byte") {
  FaultyFiles files(size_in_all);
  if (!files.is_mounted()) return skip(files.obstacle());
  for (const Request request : {Request::read, Request::write}) {
    for (const uint32_t index : {0u, 1u}) {
      CAPTURE(std::string(name_of(request)));
      CAPTURE(index);
      Memory memory(size_in_all);
      if (request == Request::write) memory.fill_with_pattern();
      files.arm({.request = request, .index = index, .times = UINT32_MAX, .hangs = true});
      const std::string path = files.file(request == Request::write ? "target" : "source");
      UringLoop ring;
      const Result<void> result = run(ring.loop(), transfer_before, path, request, memory);
      files.disarm();
      REQUIRE(!result.has_value());
      CHECK(result.error().code == ErrorCode::timed_out);
      const uint64_t transferred = result.error().transferred;
      CHECK(transferred < size_in_all);
      if (request == Request::write) CHECK(size_of_target(files) == transferred);
      CHECK(has_right_content(files, request, memory, transferred));
      clean(files);
    }
  }
}

}  // namespace
}  // namespace spindle
