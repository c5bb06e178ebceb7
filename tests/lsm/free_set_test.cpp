// Reservations, acquisition, release and durability of the free set.
#include "lsm/free_set.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/lsm/free_set_fixture.h"

namespace spindle {
namespace {

Addresses consecutive(uint64_t begin, uint64_t end) {
  Addresses addresses;
  for (uint64_t address = begin; address < end; ++address) addresses.push_back(address);
  return addresses;
}

TEST_CASE("addresses are given out from 1 on, up to the storage limit, whatever that is") {
  for (const uint64_t blocks_count : {1u, 2u, 63u, 64u, 65u, 4095u, 4096u, 4097u, 8200u}) {
    CAPTURE(blocks_count);
    FreeSet set = open_free_set(blocks_count);
    CHECK(set.free_count() == blocks_count);
    CHECK_FALSE(set.reserve(blocks_count + 1).has_value());
    CHECK(acquire(set, blocks_count) == consecutive(1, blocks_count + 1));
    CHECK(set.free_count() == 0);
    CHECK(set.acquired_count() == blocks_count);
    CHECK(set.highest_address_acquired() == blocks_count);
    CHECK_FALSE(set.reserve(1).has_value());
    CHECK_FALSE(set.is_free(blocks_count));
    CHECK(set.is_consistent());
  }
}

TEST_CASE("a count of blocks that can't be is an error") {
  CHECK(FreeSet::create({0, 1}).error().code == ErrorCode::invalid_argument);
  CHECK(FreeSet::create({FreeBlocks::blocks_count_max + 1, 1}).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("windows follow one another, hold exactly what was asked for, and may span acquired blocks") {
  FreeSet set = open_free_set(100);
  acquire(set, 10);
  for (const uint64_t address : {2u, 4u, 6u}) set.release(address);
  checkpoint(set);
  FreeSet::Reservation first = reserve(set, 2);
  CHECK(first.address_begin() == 1);
  CHECK(first.address_end() == 5);
  FreeSet::Reservation second = reserve(set, 3);
  CHECK(second.address_begin() == 5);
  CHECK(second.address_end() == 13);
  CHECK(set.reservations_count() == 2);
  CHECK(set.acquire(second) == 6);
  CHECK(set.acquire(first) == 2);
  CHECK(set.acquire(second) == 11);
  CHECK(set.acquire(first) == 4);
  CHECK(set.acquire(second) == 12);
  CHECK(set.acquire(first) == std::nullopt);
  CHECK(set.acquire(second) == std::nullopt);
  CHECK(first.left_count() == 0);
  set.forfeit(std::move(first));
  set.forfeit(std::move(second));
  CHECK(set.reservations_count() == 0);
}

TEST_CASE("what a job acquires does not depend on when the others do") {
  const auto run = [](bool is_reversed) {
    FreeSet set = open_free_set(5000);
    FreeSet::Reservation first = reserve(set, 70);
    FreeSet::Reservation second = reserve(set, 70);
    Addresses of_first;
    Addresses of_second;
    for (uint32_t index = 0; index < 70; ++index) {
      if (is_reversed) of_second.push_back(set.acquire(second).value());
      of_first.push_back(set.acquire(first).value());
      if (!is_reversed) of_second.push_back(set.acquire(second).value());
    }
    of_first.insert(of_first.end(), of_second.begin(), of_second.end());
    return of_first;
  };
  CHECK(run(true) == run(false));
  CHECK(run(true) == consecutive(1, 141));
}

TEST_CASE("after the last forfeit the windows begin at the lowest address again, in a new session") {
  FreeSet set = open_free_set(100);
  const uint64_t session = set.session();
  FreeSet::Reservation first = reserve(set, 60);
  FreeSet::Reservation second = reserve(set, 40);
  CHECK_FALSE(set.reserve(1).has_value());
  CHECK(set.acquire(second) == 61);
  set.forfeit(std::move(first));
  CHECK(set.session() == session);
  // Those that are left go on.
  CHECK(set.acquire(second) == 62);
  set.forfeit(std::move(second));
  CHECK(set.session() == session + 1);
  CHECK(acquire(set, 98).front() == 1);
  CHECK(set.free_count() == 0);
}

TEST_CASE("a reservation of nothing is an empty window") {
  FreeSet set = open_free_set(10);
  FreeSet::Reservation some = reserve(set, 10);
  FreeSet::Reservation none = reserve(set, 0);
  CHECK(none.address_begin() == none.address_end());
  CHECK(set.acquire(none) == std::nullopt);
  CHECK(set.reservations_count() == 2);
  set.forfeit(std::move(none));
  set.forfeit(std::move(some));
  CHECK(set.reservations_count() == 0);
}

TEST_CASE("what can't be reserved changes nothing") {
  FreeSet set = open_free_set(10);
  CHECK_FALSE(set.reserve(11).has_value());
  CHECK_FALSE(set.reserve(UINT64_MAX).has_value());
  CHECK_FALSE(set.reserve((uint64_t{1} << 32) + 1).has_value());
  CHECK(set.reservations_count() == 0);
  FreeSet::Reservation all = reserve(set, 10);
  CHECK(all.address_begin() == 1);
  CHECK(all.address_end() == 11);
}

TEST_CASE("a released block is free once the next checkpoint is durable, and not earlier") {
  FreeSet set = open_free_set(10);
  acquire(set, 5);
  set.release(3);
  CHECK_FALSE(set.is_free(3));
  CHECK(set.is_released(3));
  CHECK(set.to_be_freed_at_checkpoint_durability(3));
  CHECK(set.released_count() == 1);
  CHECK(set.acquired_count() == 5);
  CHECK(set.highest_address_released() == 3);
  set.mark_checkpoint_not_durable();
  CHECK_FALSE(set.is_free(3));
  CHECK_FALSE(set.is_checkpoint_durable());
  set.mark_checkpoint_durable();
  CHECK(set.is_free(3));
  CHECK_FALSE(set.is_released(3));
  CHECK(set.released_count() == 0);
  CHECK(set.highest_address_released() == 0);
  CHECK(acquire(set, 2) == Addresses{3, 6});
}

TEST_CASE("what is released while a checkpoint is not durable waits for the one after it") {
  FreeSet set = open_free_set(300);
  acquire(set, 200);
  set.release(70);
  set.mark_checkpoint_not_durable();
  for (const uint64_t address : {130u, 1u, 129u, 71u}) set.release(address);
  CHECK(set.is_released(130));
  CHECK_FALSE(set.to_be_freed_at_checkpoint_durability(130));
  CHECK(set.to_be_freed_at_checkpoint_durability(70));
  CHECK(set.released_count() == 5);
  CHECK(set.released_before_durability_count() == 4);
  CHECK(set.highest_address_released() == 130);
  set.mark_checkpoint_durable();
  CHECK(set.is_free(70));
  CHECK_FALSE(set.is_free(130));
  CHECK(set.to_be_freed_at_checkpoint_durability(130));
  CHECK(set.released_before_durability_count() == 0);
  CHECK(set.released_count() == 4);
  CHECK(set.highest_address_released() == 130);
  checkpoint(set);
  CHECK(set.is_free(1));
  CHECK(set.is_free(71));
  CHECK(set.is_free(129));
  CHECK(set.is_free(130));
  CHECK(set.is_consistent());
}

TEST_CASE("as many blocks as were stated can be released before durability") {
  FreeSet set = open_free_set(10, 3);
  acquire(set, 5);
  for (uint32_t round = 0; round < 2; ++round) {
    set.mark_checkpoint_not_durable();
    for (const uint64_t address : {1u, 2u, 3u}) set.release(address);
    set.mark_checkpoint_durable();
    checkpoint(set);
    CHECK(set.free_count() == 8);
    acquire(set, 3);
  }
}

TEST_CASE("a window may end in the last, partly used shard, and so may all blocks released there") {
  FreeSet set = open_free_set(3 * 4096 + 100);
  acquire(set, 3 * 4096 + 100);
  for (uint64_t address = 2 * 4096; address <= 3 * 4096 + 100; ++address) set.release(address);
  checkpoint(set);
  CHECK(set.free_count() == 4096 + 101);
  FreeSet::Reservation first = reserve(set, 1);
  CHECK(first.address_end() == 2 * 4096 + 1);
  FreeSet::Reservation second = reserve(set, 4096);
  CHECK(second.address_end() == 3 * 4096 + 1);
  FreeSet::Reservation third = reserve(set, 100);
  CHECK(third.address_end() == 3 * 4096 + 101);
  CHECK_FALSE(set.reserve(1).has_value());
  CHECK(set.acquire(third) == 3 * 4096 + 1);
}

TEST_CASE("reset leaves nothing but the session number, which rises") {
  FreeSet set = open_free_set(200);
  acquire(set, 100);
  set.release(5);
  set.mark_checkpoint_not_durable();
  set.release(90);
  [[maybe_unused]] const FreeSet::Reservation open = reserve(set, 10);
  const uint64_t session = set.session();
  set.reset();
  CHECK(set.session() == session + 1);
  CHECK_FALSE(set.is_opened());
  CHECK_FALSE(set.is_checkpoint_durable());
  CHECK(set.reservations_count() == 0);
  CHECK(set.free_count() == 200);
  CHECK(set.released_count() == 0);
  CHECK(set.highest_address_acquired() == 0);
  CHECK(set.highest_address_released() == 0);
  CHECK(set.is_consistent());
  REQUIRE(open_with(set, {}).fault == FreeSetFault::none);
  set.mark_checkpoint_durable();
  CHECK(acquire(set, 200) == consecutive(1, 201));
}

TEST_CASE("reset ends forfeiting, too") {
  FreeSet set = open_free_set(20);
  FreeSet::Reservation first = reserve(set, 1);
  [[maybe_unused]] const FreeSet::Reservation second = reserve(set, 1);
  set.forfeit(std::move(first));
  set.reset();
  REQUIRE(open_with(set, {}).fault == FreeSetFault::none);
  CHECK(set.reserve(20).has_value());
}

TEST_CASE("a set that was moved goes on") {
  FreeSet first = open_free_set(20);
  FreeSet::Reservation reservation = reserve(first, 3);
  FreeSet set = std::move(first);
  CHECK(set.acquire(reservation) == 1);
  CHECK(set.free_count() == 19);
}

}  // namespace
}  // namespace spindle
