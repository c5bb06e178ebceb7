// What the tests of a store's file share: programs that format, open and look at one, in the simulated world.
#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lsm/format_mark.h"
#include "lsm/store_file.h"
#include "tests/lsm/superblock_fixture.h"

namespace spindle {

inline constexpr StoreOptions store_impatient{.lock = {.wait_max = Duration::zero()}};

/// Blocks of 4 KiB, two sectors of journal.
inline SuperblockFormat small_format(uint32_t copies_count = 4, bool force = false, ClusterId cluster = test_cluster) {
  SuperblockFormat format = format_of(copies_count, force, cluster);
  format.configuration.block_size = 4096;
  format.configuration.journal_size = 8192;
  return format;
}

inline Task<Result<void>> run_store_format(Found* found, SuperblockFormat format) {
  const Result<StoreFormer> former = co_await format_store(store_path, format, store_impatient);
  if (!former.has_value()) co_return Unexpected(former.error());
  found->is_done = true;
  co_return Result<void>();
}

inline Task<Result<void>> note_former(StoreFormer* into, SuperblockFormat format) {
  *into = co_await ok(format_store(store_path, format, store_impatient));
  co_return Result<void>();
}

inline Task<Result<void>> run_store_open(Found* found) {
  const Result<std::unique_ptr<StoreFile>> opened = co_await open_store(store_path, store_impatient);
  if (!opened.has_value()) {
    found->code = opened.error().code;
    co_return Result<void>();
  }
  StoreFile& store = **opened;
  note_open(*found, store.superblock(), Result<void>());
  CHECK(store.storage().zone_begin(store.zones().grid) % store.superblock().working().configuration.block_size == 0);
  const Result<void> closed = co_await store.storage().close();
  co_return closed;
}

/// Opens, and makes the version with that op and storage size the current one.
inline Task<Result<void>> run_store_update(uint64_t op, uint64_t storage_size) {
  const std::unique_ptr<StoreFile> store = co_await ok(open_store(store_path, store_impatient));
  CheckpointState state = store->superblock().working().state;
  state.op = op;
  state.storage_size = storage_size;
  co_await ok(store->superblock().update(state));
  const Result<void> closed = co_await store->storage().close();
  co_return closed;
}

inline Task<Result<void>> run_store_inspection(StoreInspection* into, std::optional<ClusterId> cluster) {
  StoreInspectionOptions options;
  options.cluster = cluster;
  *into = co_await ok(inspect_store(store_path, options));
  co_return Result<void>();
}

inline Disk no_file() { return Disk(SimFiles()); }

inline Disk disk_with(std::vector<std::byte> content) {
  SimFiles files;
  files.put(store_path, content);
  return Disk(std::move(files));
}

inline Disk formatted_store(SuperblockFormat format = small_format()) {
  Disk disk = no_file();
  Found found;
  REQUIRE(disk.run(run_store_format, &found, format).has_value());
  return disk;
}

inline Found open_of(Disk& disk) {
  Found found;
  CHECK(disk.run(run_store_open, &found).has_value());
  return found;
}

inline StoreInspection inspection_of(Disk& disk, std::optional<ClusterId> cluster = {}) {
  StoreInspection found;
  CHECK(disk.run(run_store_inspection, &found, cluster).has_value());
  return found;
}

inline std::vector<std::byte> content_of(Disk& disk) {
  const SimFile* const file = disk.files().find(store_path);
  REQUIRE(file != nullptr);
  return file->content();
}

}  // namespace spindle
