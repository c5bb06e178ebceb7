// The superblock on a simulated disk: format, open, update, a disk with faults, and misuse.
#include "lsm/superblock.h"

#include <errno.h>

#include "runtime/combinators.h"
#include "tests/death.h"
#include "tests/format_example.h"
#include "tests/lsm/superblock_fixture.h"

namespace spindle {
namespace {

constexpr uint32_t all_slots[] = {0, 1, 2, 3, 4, 5, 6, 7};

std::span<const uint32_t> first_slots(uint32_t count) { return std::span(all_slots).first(count); }

ErrorCode code_of(const Result<void>& result) {
  REQUIRE_FALSE(result.has_value());
  return result.error().code;
}

// ---- what is in a copy

Superblock sealed(Superblock superblock) {
  superblock.checksum = checksum_of(superblock);
  return superblock;
}

Superblock first_version() {
  Superblock superblock;
  superblock.sequence = 1;
  superblock.cluster = test_cluster;
  superblock.configuration.blocks_max = 1000;
  return sealed(superblock);
}

TEST_CASE("every single bit of a copy is covered by its checksum, but for those of the copy index") {
  const Superblock good = first_version();
  CHECK(verify(good) == SuperblockFault::none);
  for (size_t bit = 0; bit < size_t{superblock_size} * 8; ++bit) {
    Superblock superblock = good;
    std::as_writable_bytes(std::span(&superblock, 1))[bit / 8] ^= std::byte{1} << (bit % 8);
    const bool is_copy = bit / 64 == 2;
    if (verify(superblock) != (is_copy ? SuperblockFault::none : SuperblockFault::checksum)) FAIL_CHECK("bit ", bit);
  }
}

template <class Change>
SuperblockFault fault_after(Change change) {
  Superblock superblock = first_version();
  change(superblock);
  return verify(sealed(superblock));
}

TEST_CASE("what is whole and can't be is a fault of its own") {
  using S = Superblock;
  Superblock zeroes;
  std::memset(static_cast<void*>(&zeroes), 0, sizeof(zeroes));
  CHECK(verify(zeroes) == SuperblockFault::zero);
  zeroes.copy = 3;
  CHECK(verify(zeroes) == SuperblockFault::checksum);
  CHECK(fault_after([](S& s) { s.format_version = 2; }) == SuperblockFault::version);
  CHECK(fault_after([](S& s) { s.sequence = 0; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.sequence = UINT64_MAX; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.sequence = UINT64_MAX - 1; }) == SuperblockFault::none);
  CHECK(fault_after([](S& s) { s.configuration.copies_count = 5; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.copies_count = 2; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.copies_count = 10; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.sector_size = 512; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.block_size = 2048; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.block_size = 12 << 10; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.block_size = 128 << 20; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.journal_size = 100; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.journal_size = -4096ull; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.blocks_max = 0; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.configuration.blocks_max = UINT64_MAX; }) == SuperblockFault::configuration);
  CHECK(fault_after([](S& s) { s.reserved_first = 1; }) == SuperblockFault::reserved);
  CHECK(fault_after([](S& s) { s.reserved_second = 1; }) == SuperblockFault::reserved);
  CHECK(fault_after([](S& s) { s.reserved_third = 1; }) == SuperblockFault::reserved);
  CHECK(fault_after([](S& s) { s.configuration.reserved = 1; }) == SuperblockFault::reserved);
  CHECK(fault_after([](S& s) { s.state.reserved = 1; }) == SuperblockFault::reserved);
  CHECK(fault_after([](S& s) { s.state.blocks_acquired.reserved = 1; }) == SuperblockFault::reserved);
  CHECK(fault_after([](S& s) { s.state.blocks_released.reserved = 1; }) == SuperblockFault::reserved);
  CHECK(fault_after([](S& s) { s.reserved[0] = 1; }) == SuperblockFault::reserved);
  CHECK(fault_after([](S& s) { s.reserved[3759] = 1; }) == SuperblockFault::reserved);
}

TEST_CASE("the worked example of docs/FORMAT.md is what a format writes, byte by byte") {
  Disk disk;
  SuperblockFormat format = format_of(4, false, {0x1122334455667788u, 0x99aabbccddeeff00u});
  format.configuration.journal_size = 64 << 20;
  format.configuration.blocks_max = 1 << 20;
  REQUIRE(disk.format(format).has_value());
  const std::vector<std::byte> store = disk.files().find(store_path)->content();
  const auto slot = store.begin() + 3 * superblock_slot_stride;
  const std::vector<std::byte> built(slot, slot + 0x70);
  const std::vector<std::byte> documented = format_example("Superblock");
  CHECK_MESSAGE(documented == built, hex_dump(built));
  const auto is_zero = [](std::byte byte) { return byte == std::byte{}; };
  CHECK(std::all_of(slot + 0x70, slot + superblock_slot_stride, is_zero));
}

// ---- a disk without faults

TEST_CASE("what was the last update is what opens") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    Disk disk;
    CHECK(disk.open().why == SuperblockError::not_found);
    CHECK(disk.format(format_of(copies_count)).has_value());
    Found found = disk.open(test_cluster);
    CHECK(found.is_open);
    CHECK(found.sequence == 1);
    CHECK(found.op == 0);
    for (uint64_t update = 1; update <= 5; ++update) {
      CHECK(disk.update(update / 2).has_value());
      found = disk.open();
      CHECK(found.sequence == 1 + update);
      CHECK(found.op == update / 2);
      CHECK(found.votes_count == copies_count);
      CHECK(disk.inspect().repairs_count == 0);
    }
    CHECK(disk.open(ClusterId{1, 2}).why == SuperblockError::foreign_cluster);
  }
}

Task<Result<void>> run_updates(CheckpointState* state) {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  co_await ok(superblock.open());
  for (uint64_t op = 1; op <= 4; ++op) {
    const Checksum parent = superblock.working().checksum;
    *state = superblock.working().state;
    state->op = op;
    state->storage_size = 100 * op;
    state->manifest_newest = {op, op + 1, {op, op}};
    state->blocks_acquired = {{op, 0, {1, op}}, op, 0, {2, op}};
    co_await ok(superblock.update(*state));
    CHECK(superblock.working().state == *state);
    CHECK(superblock.working().parent == parent);
    CHECK(superblock.working().sequence == 1 + op);
    CHECK(superblock.choice().winner->checksum == superblock.working().checksum);
  }
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

Task<Result<void>> run_compare(const CheckpointState* state) {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  CHECK_FALSE(superblock.is_open());
  co_await ok(superblock.open());
  CHECK(superblock.is_open());
  CHECK(superblock.working().state == *state);
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

TEST_CASE("several updates in one life follow one another, and every field of a state comes back") {
  Disk disk = store_of(6, 0);
  CheckpointState state;
  CHECK(disk.run(run_updates, &state).has_value());
  CHECK(state.op == 4);
  CHECK(disk.run(run_compare, &state).has_value());
}

TEST_CASE("a format refuses what holds a store, unless it is forced") {
  for (const uint64_t updates_count : {0u, 1u, 2u, 7u}) {
    Disk disk = store_of(8, updates_count);
    const Result<void> refused = disk.format(format_of(4));
    CHECK(code_of(refused) == ErrorCode::system);
    CHECK(refused.error().number == EEXIST);
    CHECK(disk.open().sequence == 1 + updates_count);
    CHECK(disk.format(format_of(4, true, {5, 5})).has_value());
    const Found found = disk.open();
    CHECK(found.sequence == 1);
    CHECK(found.op == 0);
    CHECK(found.votes_count == 4);
    CHECK(found.cluster == ClusterId{5, 5});
    const Found unasked = disk.open(test_cluster);
    CHECK(unasked.why == SuperblockError::foreign_cluster);
  }
}

TEST_CASE("a format refuses what is left of a store, too, and takes garbage") {
  const SuperblockVersions versions(4, false);
  const SuperblockVersions first = SuperblockVersions::first(4);
  constexpr Content winner{Filling::winner, 0}, other{Filling::winner, 1}, torn{Filling::torn, 0};
  const auto code_for = [](const SuperblockVersions& of, const Contents& contents) {
    const Result<void> result = disk_of(of, contents).format(format_of(4));
    return result.has_value() ? 0 : result.error().number;
  };
  CHECK(code_for(versions, {winner}) == EEXIST);
  CHECK(code_for(versions, {torn, torn, torn, Content{Filling::older, 2}}) == EEXIST);
  CHECK(code_for(versions, {Content{Filling::foreign, 0}}) == EEXIST);
  CHECK(code_for(first, {winner, other}) == EEXIST);
  CHECK(code_for(first, {winner, torn, torn}) == EEXIST);
  CHECK(code_for(first, {winner, torn}) == 0);
  CHECK(code_for(first, {torn, torn, torn, torn, torn, torn, torn, torn}) == 0);
}

TEST_CASE("a format refuses copies with what this version of the code does not allow: a later one may have made them") {
  const auto code_after = [](auto change) {
    Superblock superblock = first_version();
    change(superblock);
    superblock = sealed(superblock);
    std::vector<std::byte> bytes(superblock_zone_size);
    std::memcpy(bytes.data(), &superblock, superblock_size);
    SimFiles files;
    files.put(store_path, bytes);
    Disk disk(std::move(files));
    CHECK(disk.open().why == SuperblockError::unsupported);
    return disk.format(format_of(4)).has_value() ? 0 : EEXIST;
  };
  CHECK(code_after([](Superblock& superblock) { superblock.format_version = 2; }) == EEXIST);
  CHECK(code_after([](Superblock& superblock) { superblock.configuration.copies_count = 10; }) == EEXIST);
  CHECK(code_after([](Superblock& superblock) { superblock.reserved[100] = 1; }) == EEXIST);
}

TEST_CASE("a format refuses slots that can't be read: a store may be in them") {
  for (const uint32_t lost_count : {1u, 4u, 8u}) {
    Disk disk = lost_count == 1 ? Disk() : store_of(8, 2);
    for (uint32_t slot = 0; slot < lost_count; ++slot) disk.make_unreadable(slot);
    const bool has_rest = lost_count == 4;
    const Result<void> refused = disk.format(format_of(4));
    CHECK(code_of(refused) == (has_rest ? ErrorCode::system : ErrorCode::lost_sectors));
    CHECK(disk.format(format_of(4, true)).has_value());
    CHECK(disk.open().sequence == 1);
  }
}

TEST_CASE("a format refuses a configuration that can't be") {
  CHECK(code_of(Disk().format(format_of(5))) == ErrorCode::invalid_argument);
}

// ---- a disk with faults

TEST_CASE("slots that can't be read are borne up to the quorum, and repaired where they can be written") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    for (uint32_t lost_count = 1; lost_count <= copies_count; ++lost_count) {
      Disk disk = store_of(copies_count, 2);
      for (const uint32_t slot : first_slots(lost_count)) disk.make_unreadable(slot);
      const Found found = disk.open();
      const uint32_t left_count = copies_count - lost_count;
      CHECK(found.is_open == (left_count >= read_quorum_of(copies_count)));
      if (found.is_open) {
        CHECK(found.votes_count == copies_count);
        CHECK(found.op == 20);
        CHECK(disk.inspect().repairs_count == 0);
      } else {
        CHECK(found.code == ErrorCode::corrupt);
        CHECK(found.why == (left_count > 0 ? SuperblockError::quorum_lost : SuperblockError::not_found));
      }
    }
  }
}

TEST_CASE("slots that stay unreadable are borne up to the write quorum") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    for (uint32_t lost_count = 1; lost_count <= copies_count / 2; ++lost_count) {
      Disk disk = store_of(copies_count, 2);
      disk.set_fault(Fault::latent_error, first_slots(lost_count));
      const bool has_write_quorum = copies_count - lost_count >= write_quorum_of(copies_count);
      const Found found = disk.open();
      CHECK(found.is_open == has_write_quorum);
      CHECK(disk.update(30).has_value() == has_write_quorum);
      if (!has_write_quorum) CHECK(found.code == ErrorCode::corrupt);
      if (!has_write_quorum) CHECK(found.why == SuperblockError::none);
      CHECK(disk.inspect().why == SuperblockError::none);
      disk.set_fault(Fault::latent_error, {});
      CHECK(disk.open().op == (has_write_quorum ? 30 : 20));
    }
  }
}

/// An update under a fault, and another one after it, which must be refused.
Task<Result<void>> run_failing_update(Error* error) {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  const Result<void> opened = co_await superblock.open();
  // A sync counts as one at the beginning of the file: its faults are those of slot 0.
  if (!opened.has_value()) *error = opened.error();
  if (!opened.has_value()) co_return opened;
  const CheckpointState state = state_with(superblock.working().state, 30);
  const Result<void> updated = co_await superblock.update(state);
  if (!updated.has_value()) {
    *error = updated.error();
    CHECK(superblock.working().state.op == 20);
    const Result<void> again = co_await superblock.update(state);
    CHECK(code_of(again) == ErrorCode::poisoned);
    const Result<void> third = co_await superblock.update(state);
    CHECK(code_of(third) == ErrorCode::poisoned);
  }
  const Result<void> closed = co_await storage.close();
  static_cast<void>(closed);
  co_return updated;
}

TEST_CASE("an update with a write that fails is refused from then on, and opens as old or new") {
  for (const Fault fault : {Fault::write_error, Fault::no_space, Fault::failed_sync}) {
    for (uint32_t slot = 0; slot < 4; ++slot) {
      Disk disk = store_of(4, 2);
      disk.set_fault(fault, std::span(&slot, 1));
      Error error{};
      CHECK_FALSE(disk.run(run_failing_update, &error).has_value());
      CHECK(error.code == ErrorCode::system);
      CHECK(error.number == (fault == Fault::no_space ? ENOSPC : EIO));
      disk.set_fault(fault, {});
      const Found found = disk.open();
      CHECK(found.is_open);
      CHECK((found.op == 20 || found.op == 30));
      if (slot == 0 && fault == Fault::no_space) CHECK(found.op == 20);
      if (slot == 3) CHECK(found.op == 30);
      CHECK(disk.update(40).has_value());
    }
  }
}

TEST_CASE("writes that are lost are noticed when they are read back") {
  for (const uint32_t copies_count : {4u, 6u, 8u}) {
    for (uint32_t lost_count = 1; lost_count <= copies_count; ++lost_count) {
      Disk disk = store_of(copies_count, 2);
      disk.set_fault(Fault::lost_write, first_slots(lost_count));
      Error error{};
      const bool is_borne = copies_count - lost_count >= write_quorum_of(copies_count);
      CHECK(disk.run(run_failing_update, &error).has_value() == is_borne);
      if (!is_borne) CHECK(error.code == ErrorCode::corrupt);
      disk.set_fault(Fault::lost_write, {});
      const Found found = disk.open();
      CHECK(found.is_open);
      CHECK(found.op == (copies_count - lost_count >= read_quorum_of(copies_count) ? 30 : 20));
    }
  }
  Disk disk;
  disk.set_fault(Fault::lost_write, first_slots(1));
  CHECK(code_of(disk.format(format_of(4))) == ErrorCode::corrupt);
}

TEST_CASE("a forced format notices that an old version stayed") {
  constexpr uint32_t slots[] = {5};
  for (const uint64_t updates_count : {0u, 1u, 2u, 3u}) {
    Disk disk = store_of(6, updates_count);
    disk.set_fault(Fault::lost_write, slots);
    CHECK(code_of(disk.format(format_of(4, true))) == ErrorCode::corrupt);
  }
}

TEST_CASE("a repair that is not read back is no repair") {
  Disk disk = store_of(4, 2);
  disk.make_unreadable(0);
  disk.make_unreadable(1);
  disk.set_fault(Fault::latent_error, first_slots(2));
  const Found found = disk.open();
  CHECK_FALSE(found.is_open);
  CHECK(found.code == ErrorCode::corrupt);
}

TEST_CASE("an error of a read that is no medium error is returned") {
  Disk disk = store_of(4, 2);
  constexpr uint32_t slots[] = {6};
  disk.set_fault(Fault::again, slots);
  const Found found = disk.open();
  CHECK(found.code == ErrorCode::system);
  Found inspected;
  CHECK_FALSE(disk.run(run_inspect, &inspected).has_value());
}

// ---- misuse

using Misuse = Task<Result<void>> (*)(Storage& storage, SuperblockCopies& superblock);

Task<Result<void>> run_misuse(Misuse misuse) {
  Storage storage = co_await ok(Storage::open(store_path, store_zones));
  SuperblockCopies superblock(storage, superblock_zone);
  co_await ok(misuse(storage, superblock));
  co_return Result<void>();
}

void expect_caught(Misuse misuse, const char* message) {
  Disk disk = store_of(4, 2);
  expect_abort([&] { static_cast<void>(disk.run(run_misuse, misuse)); }, message);
}

Task<Result<void>> update_unopened(Storage&, SuperblockCopies& superblock) {
  const CheckpointState state;
  co_await ok(superblock.update(state));
  co_return Result<void>();
}

Task<Result<void>> look_unopened(Storage&, SuperblockCopies& superblock) {
  static_cast<void>(superblock.working());
  co_return Result<void>();
}

Task<Result<void>> go_back(Storage&, SuperblockCopies& superblock) {
  co_await ok(superblock.open());
  const CheckpointState state = state_with(superblock.working().state, 19);
  co_await ok(superblock.update(state));
  co_return Result<void>();
}

Task<Result<void>> use_reserved(Storage&, SuperblockCopies& superblock) {
  co_await ok(superblock.open());
  CheckpointState state = superblock.working().state;
  state.reserved = 1;
  co_await ok(superblock.update(state));
  co_return Result<void>();
}

Task<Result<void>> call_twice(Storage&, SuperblockCopies& superblock) {
  auto first = superblock.inspect();
  auto second = superblock.inspect();
  const auto results = co_await when_all(std::move(first), std::move(second));
  static_cast<void>(results);
  co_return Result<void>();
}

Task<Result<void>> update_twice(Storage&, SuperblockCopies& superblock) {
  co_await ok(superblock.open());
  const CheckpointState state = superblock.working().state;
  auto first = superblock.update(state);
  auto second = superblock.update(state);
  const auto results = co_await when_all(std::move(first), std::move(second));
  static_cast<void>(results);
  co_return Result<void>();
}

Task<Result<void>> open_twice(Storage&, SuperblockCopies& superblock) {
  co_await ok(superblock.open());
  co_await ok(superblock.open());
  co_return Result<void>();
}

Task<Result<void>> format_open(Storage&, SuperblockCopies& superblock) {
  co_await ok(superblock.open());
  const SuperblockFormat format = format_of(4, true);
  co_await ok(superblock.format(format));
  co_return Result<void>();
}

Task<Result<void>> inspect_open(Storage&, SuperblockCopies& superblock) {
  co_await ok(superblock.open());
  co_await ok(superblock.inspect());
  co_return Result<void>();
}

constexpr ZoneOptions small_zones[] = {{.name = "superblock", .size = superblock_zone_size / 2}};

Task<Result<void>> run_in_small_zone() {
  Storage storage = co_await ok(Storage::open(store_path, small_zones));
  const SuperblockCopies superblock(storage, superblock_zone);
  co_return Result<void>();
}

TEST_CASE("misuse of a superblock is caught") {
  expect_caught(update_unopened, "an update of a superblock that is not open");
  expect_caught(look_unopened, "the current version of a superblock that is not open");
  expect_caught(go_back, "a checkpoint that is older than the one before");
  expect_caught(use_reserved, "a checkpoint state with reserved bytes that are not zero");
  expect_caught(call_twice, "two calls on a superblock at a time");
  expect_caught(update_twice, "two calls on a superblock at a time");
  expect_caught(open_twice, "a superblock was opened twice");
  expect_caught(format_open, "a format of a superblock that is open");
  expect_caught(inspect_open, "an inspection of a superblock that is open");
  Disk disk;
  expect_abort([&] { static_cast<void>(disk.run(run_in_small_zone)); }, "a superblock in a zone of another size");
}

}  // namespace
}  // namespace spindle
