// What the tests of Storage share: three zones, and looks at files.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <utility>

#include "io/directory.h"
#include "io/storage.h"
#include "tests/io/uring_fixture.h"

namespace spindle {

inline constexpr uint64_t sector = 4096;
inline constexpr ZoneIndex head{0};
inline constexpr ZoneIndex journal{1};
inline constexpr ZoneIndex grid{2};
inline constexpr uint64_t block = 16 * sector;
inline constexpr ZoneOptions zones[] = {
    {.name = "head", .size = 3 * sector},
    {.name = "journal", .size = 8 * sector},
    {.name = "grid", .size = 64 * block, .alignment = block, .size_present_min = block}};
inline constexpr uint64_t size_made = 2 * block;
inline constexpr StorageOptions impatient{.lock = {.wait_max = Duration::zero()}};
inline constexpr StorageOptions overwriting{.overwrite = true, .lock = {.wait_max = Duration::zero()}};

inline void check_code(const Error& error, ErrorCode code, int number = 0) {
  CHECK(std::string(name_of(error.code)) == name_of(code));
  CHECK(error.number == number);
}

template <class T>
void check_code(const Result<T>& result, ErrorCode code, int number = 0) {
  REQUIRE_FALSE(result.has_value());
  check_code(result.error(), code, number);
}

inline Task<Result<uint64_t>> size_of(std::string path) {
  const FileStatus status = co_await ok(stat_path(path));
  co_return status.size;
}

inline Task<Result<void>> check_missing(std::string path) {
  const Result<FileStatus> status = co_await stat_path(path);
  check_code(status, ErrorCode::system, ENOENT);
  co_return Result<void>();
}

/// A file with something in it.
inline Task<Result<void>> make_file(std::string path, uint64_t size, uint8_t fill) {
  File file = co_await ok(File::open(std::move(path), open_cached_new));
  Memory memory(size, fill);
  const std::span<std::byte> all = memory.all();
  co_await ok(file.write_all_at(0, all));
  co_return co_await file.close();
}

inline bool is_all(std::span<const std::byte> memory, uint8_t value) {
  return std::all_of(memory.begin(), memory.end(), [&](std::byte byte) { return byte == std::byte{value}; });
}

}  // namespace spindle
