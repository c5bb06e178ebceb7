// Misuse of the free set ends the process, in every build.
#include <doctest/doctest.h>

#include "lsm/free_set.h"
#include "tests/death.h"
#include "tests/lsm/free_set_fixture.h"

namespace spindle {
namespace {

// Of a set with blocks 1 to 10 acquired, of 20.
void expect_caught(void (*misuse)(FreeSet& set), const char* message) {
  expect_abort(
      [misuse] {
        FreeSet set = open_free_set(20, 2);
        acquire(set, 10);
        misuse(set);
      },
      message);
}

TEST_CASE("a reservation that is over is caught") {
  expect_caught(
      [](FreeSet& set) {
        FreeSet::Reservation reservation = reserve(set, 1);
        set.forfeit(std::move(reservation));
        static_cast<void>(set.acquire(reservation));
      },
      "a reservation that was forfeited");
  expect_caught(
      [](FreeSet& set) {
        FreeSet::Reservation reservation = reserve(set, 1);
        [[maybe_unused]] const FreeSet::Reservation other = reserve(set, 1);
        set.forfeit(std::move(reservation));
        set.forfeit(std::move(reservation));
      },
      "a reservation that was forfeited");
  expect_caught(
      [](FreeSet& set) {
        FreeSet::Reservation reservation = reserve(set, 1);
        [[maybe_unused]] const FreeSet::Reservation other = std::move(reservation);
        static_cast<void>(set.acquire(reservation));
      },
      "a reservation that was forfeited or moved away");
  expect_caught(
      [](FreeSet& set) {
        FreeSet::Reservation reservation = reserve(set, 1);
        set.reset();
        static_cast<void>(set.acquire(reservation));
      },
      "a stale reservation");
  expect_caught(
      [](FreeSet& set) {
        FreeSet::Reservation reservation = reserve(set, 1);
        set.reset();
        REQUIRE(open_with(set, {}).fault == FreeSetFault::none);
        [[maybe_unused]] const FreeSet::Reservation other = reserve(set, 1);
        set.forfeit(std::move(reservation));
      },
      "a stale reservation");
}

TEST_CASE("a reserve between the first and the last forfeit is caught") {
  expect_caught(
      [](FreeSet& set) {
        FreeSet::Reservation first = reserve(set, 1);
        [[maybe_unused]] const FreeSet::Reservation second = reserve(set, 1);
        set.forfeit(std::move(first));
        static_cast<void>(set.reserve(1));
      },
      "blocks were reserved between the first and the last forfeit");
}

TEST_CASE("a release of what is not acquired, or twice, is caught") {
  expect_caught([](FreeSet& set) { set.release(11); }, "a block was released that is free");
  expect_caught([](FreeSet& set) { set.release(0); }, "an address that is no block of the grid");
  expect_caught([](FreeSet& set) { set.release(21); }, "an address that is no block of the grid");
  expect_caught([](FreeSet& set) { set.release((uint64_t{1} << 32) + 1); }, "an address that is no block of the grid");
  expect_caught(
      [](FreeSet& set) {
        set.release(3);
        set.release(3);
      },
      "a block was released twice");
  expect_caught(
      [](FreeSet& set) {
        set.mark_checkpoint_not_durable();
        set.release(3);
        set.release(3);
      },
      "a block was released twice");
  expect_caught(
      [](FreeSet& set) {
        set.release(3);
        set.mark_checkpoint_not_durable();
        set.release(3);
      },
      "a block was released twice");
  expect_caught(
      [](FreeSet& set) {
        set.release(3);
        checkpoint(set);
        set.release(3);
      },
      "a block was released that is free");
}

TEST_CASE("more releases before durability than were stated are caught") {
  expect_caught(
      [](FreeSet& set) {
        set.mark_checkpoint_not_durable();
        for (const uint64_t address : {1u, 2u, 3u}) set.release(address);
      },
      "more blocks were released before durability than was stated");
}

TEST_CASE("checkpoints out of order are caught") {
  expect_caught([](FreeSet& set) { set.mark_checkpoint_durable(); }, "a checkpoint was marked durable twice");
  expect_caught(
      [](FreeSet& set) {
        set.mark_checkpoint_not_durable();
        set.mark_checkpoint_not_durable();
      },
      "a checkpoint was marked not durable twice");
  expect_caught(
      [](FreeSet& set) {
        set.mark_checkpoint_not_durable();
        [[maybe_unused]] const FreeSet::Reservation reservation = reserve(set, 0);
        set.mark_checkpoint_durable();
      },
      "a checkpoint was marked durable with a reservation open");
  expect_caught(
      [](FreeSet& set) {
        set.mark_checkpoint_not_durable();
        encode(set);
      },
      "a free set was encoded while the checkpoint before was not durable");
  expect_caught(
      [](FreeSet& set) {
        encode(set);
        set.release(3);
      },
      "a block was released between encoding and the end of durability");
}

TEST_CASE("a set that is not opened is not used") {
  const char* const sentences[] = {
      "blocks were reserved of a free set that is not opened", "a block was released of a free set that is not opened",
      "a checkpoint of a free set that is not opened", "a checkpoint of a free set that is not opened",
      "a free set was encoded that is not opened"};
  void (*const misuses[])(FreeSet&) = {
      [](FreeSet& set) { static_cast<void>(set.reserve(1)); },  //
      [](FreeSet& set) { set.release(1); },                     //
      [](FreeSet& set) { set.mark_checkpoint_durable(); },      //
      [](FreeSet& set) { set.mark_checkpoint_not_durable(); },  //
      [](FreeSet& set) { encode(set); },                        //
  };
  for (size_t index = 0; index < 5; ++index) {
    expect_abort(
        [&] {
          FreeSet set = make_free_set(20);
          misuses[index](set);
        },
        sentences[index]);
  }
  expect_caught([](FreeSet& set) { static_cast<void>(open_with(set, {})); }, "a free set was opened twice");
}

TEST_CASE("less room for an encoding than its bound is caught, even where it would do") {
  expect_caught(
      [](FreeSet& set) {
        std::byte enough[16];
        std::byte few[8];
        const std::span<std::byte> acquired[] = {enough};
        const std::span<std::byte> released[] = {few};
        set.encode(acquired, released);
      },
      "a free set is encoded into less room than its bound");
}

TEST_CASE("an address that is no block of the grid is caught in every question") {
  void (*const misuses[])(FreeSet&) = {
      [](FreeSet& set) { static_cast<void>(set.is_free(0)); },
      [](FreeSet& set) { static_cast<void>(set.is_free(21)); },
      [](FreeSet& set) { static_cast<void>(set.is_released(21)); },
      [](FreeSet& set) { static_cast<void>(set.to_be_freed_at_checkpoint_durability(21)); },
  };
  for (void (*const misuse)(FreeSet&) : misuses) expect_caught(misuse, "an address that is no block of the grid");
}

}  // namespace
}  // namespace spindle
