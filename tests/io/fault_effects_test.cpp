// What each fault of a simulated disk does, to a program that looks and to one that does not.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <set>
#include <vector>

#include "tests/io/sim_world_fixture.h"

namespace spindle {
namespace {

constexpr uint64_t blocks_count = 8;

/// What a program that ignores all checks finds.
struct Findings {
  uint64_t wrong_count = 0;  // blocks that do not hold what was written last
  std::set<int> numbers;     // errno
  void note(const Result<uint64_t>& result) {
    if (!result.has_value()) numbers.insert(result.error().number);
  }
};

/// Writes all blocks again and again and reads them, whatever comes of it.
Task<Result<void>> careless(Findings* findings) {
  File file = co_await ok(File::open("data", open_direct));
  Blocks memory(1);
  for (int round = 1; round <= 4; ++round) {
    for (uint64_t block = 0; block < blocks_count; ++block) {
      memory.refill(round * 16 + static_cast<int>(block));
      const Result<uint64_t> written = co_await file.write_at(block * block_size, memory.all());
      findings->note(written);
    }
    for (uint64_t read_count = 0; read_count < 4 * blocks_count; ++read_count) {
      memory.refill(0xee);
      const uint64_t block = read_count % blocks_count;
      const Result<uint64_t> read = co_await file.read_at(block * block_size, memory.all());
      findings->note(read);
      const std::byte expected = static_cast<std::byte>(static_cast<uint64_t>(round) * 16 + block);
      const auto right = std::count(memory.all().begin(), memory.all().end(), expected);
      findings->wrong_count += right != block_size;
    }
  }
  co_return Result<void>();
}

Findings careless_under(Fault fault, uint32_t rate, uint32_t sector_size = 4096) {
  Findings all;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    SimBackendOptions options;
    options.sector_size = sector_size;
    options.faults.regions.push_back({"data", 0, UINT64_MAX, FaultRates().set(fault, rate)});
    Machine machine(seed, options);
    machine.files().put("data", std::vector<std::byte>(blocks_count * block_size, std::byte{0xdd}));
    machine.files().put("other", std::vector<std::byte>(blocks_count * block_size, std::byte{0xcc}));
    const Result<void> result = machine.run(careless, &all);
    CHECK(result.has_value());
  }
  return all;
}

TEST_CASE("a careless program reads wrong content under every fault that is silent, and is told nothing") {
  for (const Fault fault : {Fault::bit_flip, Fault::garbage, Fault::misdirected_read, Fault::short_read,
                            Fault::stale_sector, Fault::lost_write, Fault::misdirected_write, Fault::short_write}) {
    for (const uint32_t sector_size : {512u, 4096u}) {
      const std::string name = name_of(fault);
      CAPTURE(name);
      const Findings findings = careless_under(fault, 50'000, sector_size);
      CHECK(findings.wrong_count > 5);
      CHECK(findings.numbers.empty());
    }
  }
}

TEST_CASE("a careless program reads wrong content under every fault that it is told of") {
  const std::pair<Fault, int> faults[] = {
      {Fault::latent_error, EIO}, {Fault::transient_error, EIO}, {Fault::write_error, EIO}, {Fault::no_space, ENOSPC}};
  for (const auto& [fault, number] : faults) {
    const std::string name = name_of(fault);
    CAPTURE(name);
    const Findings findings = careless_under(fault, 50'000);
    CHECK(findings.wrong_count > 5);
    CHECK(findings.numbers == std::set<int>{number});
  }
}

TEST_CASE("what passes is tried again, and is an error when it never passes") {
  const std::pair<Fault, int> faults[] = {
      {Fault::again, EAGAIN}, {Fault::interrupted, EINTR}, {Fault::cancelled, ECANCELED}};
  for (const auto& [fault, number] : faults) {
    const std::string name = name_of(fault);
    CAPTURE(name);
    const Findings tried_again = careless_under(fault, 500'000);
    CHECK(tried_again.numbers.empty());
    CHECK(tried_again.wrong_count == 0);
    const Findings never = careless_under(fault, 950'000);
    CHECK(never.numbers == std::set<int>{number});
    CHECK(never.wrong_count > 5);
  }
}

TEST_CASE("a device that stalls does nothing for a while") {
  const auto time_under = [](uint32_t rate, const std::string& path) {
    SimBackendOptions options;
    options.faults.stall_ns_max = 1'000'000'000;
    options.faults.regions.push_back({path, 0, UINT64_MAX, FaultRates().set(Fault::stall, rate)});
    Machine machine(1, options);
    Findings findings;
    const Result<void> result = machine.run(careless, &findings);
    CHECK(result.has_value());
    CHECK(findings.wrong_count == 0);
    return machine.world().now();
  };
  using namespace std::chrono_literals;
  CHECK(time_under(0, "data") < Time(1s));
  CHECK(time_under(200'000, "other") < Time(1s));
  CHECK(time_under(200'000, "data") > Time(5s));
}

/// One read of all blocks; gives what it read.
Task<Result<void>> read_all(Blocks* memory, Result<uint64_t>* result) {
  File file = co_await ok(File::open("data", open_direct));
  *result = co_await file.read_at(0, memory->all());
  co_return Result<void>();
}

/// The one write of all blocks, without a care.
Task<Result<void>> write_all(Blocks* memory, WriteOptions options, Result<uint64_t>* result) {
  File file = co_await ok(File::open("data", open_direct));
  const Result<void> written = co_await file.write_all_at(0, memory->all(), options);
  *result = written.has_value() ? Result<uint64_t>(memory->all().size()) : Unexpected(written.error());
  co_return Result<void>();
}

/// A disk on which one operation is hit for certain.
struct OneFault {
  Machine machine;
  Blocks memory{blocks_count, 0xee};
  Result<uint64_t> result = uint64_t{0};

  static SimBackendOptions options_for(Fault fault, uint32_t sector_size) {
    SimBackendOptions options;
    options.sector_size = sector_size;
    options.faults.regions.push_back({"data", 0, UINT64_MAX, FaultRates().set(fault, 1'000'000), 1});
    return options;
  }
  OneFault(Fault fault, uint64_t seed, uint32_t sector_size) : machine(seed, options_for(fault, sector_size)) {
    std::vector<std::byte> content(blocks_count * block_size);
    Random random(99);
    for (std::byte& byte : content) byte = static_cast<std::byte>(random.below(255));
    machine.files().put("data", content);
  }
  std::vector<std::byte> content() { return machine.files().find("data")->content(); }
};

uint64_t bits_different(const std::vector<std::byte>& one, const std::vector<std::byte>& other) {
  uint64_t count = 0;
  for (size_t at = 0; at < one.size(); ++at) {
    count += static_cast<uint64_t>(std::popcount(static_cast<uint8_t>(one[at] ^ other[at])));
  }
  return count;
}

std::set<uint64_t> sectors_different(const std::vector<std::byte>& one, const std::vector<std::byte>& other,
                                     uint32_t sector_size) {
  std::set<uint64_t> sectors;
  for (size_t at = 0; at < one.size(); ++at) {
    if (one[at] != other[at]) sectors.insert(at / sector_size);
  }
  return sectors;
}

template <class Visit>
void for_each_seed(Visit visit) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    visit(seed, seed % 2 == 0 ? 512u : 4096u);
  }
}

TEST_CASE("a bit flip is of one bit, and garbage of one sector, for good") {
  for (const Fault fault : {Fault::bit_flip, Fault::garbage}) {
    for_each_seed([&](uint64_t seed, uint32_t sector_size) {
      OneFault one(fault, seed, sector_size);
      const std::vector<std::byte> before = one.content();
      const Result<void> ran = one.machine.run(read_all, &one.memory, &one.result);
      REQUIRE(ran.has_value());
      CHECK(one.result.value() == before.size());
      const std::vector<std::byte> read(one.memory.all().begin(), one.memory.all().end());
      CHECK(sectors_different(read, before, sector_size).size() == 1);
      if (fault == Fault::bit_flip) CHECK(bits_different(read, before) == 1);
      if (fault == Fault::garbage) CHECK(bits_different(read, before) > sector_size * 3);
      one.machine.lose_power();
      CHECK(one.content() == read);
    });
  }
}

TEST_CASE("a sector that can't be read is one sector, and fails what touches it only") {
  for_each_seed([](uint64_t seed, uint32_t sector_size) {
    OneFault one(Fault::latent_error, seed, sector_size);
    const Result<void> ran = one.machine.run(read_all, &one.memory, &one.result);
    REQUIRE(ran.has_value());
    CHECK(one.result.error().number == EIO);
    const SimFile& file = *one.machine.files().find("data");
    uint64_t unreadable_count = 0;
    for (uint64_t at = 0; at < file.size(); at += sector_size) unreadable_count += !file.is_readable(at, sector_size);
    CHECK(unreadable_count == 1);
  });
}

TEST_CASE("a misdirected read passes") {
  for_each_seed([](uint64_t seed, uint32_t sector_size) {
    OneFault one(Fault::misdirected_read, seed, sector_size);
    const std::vector<std::byte> before = one.content();
    const Result<void> ran = one.machine.run(read_all, &one.memory, &one.result);
    REQUIRE(ran.has_value());
    CHECK(one.result.value() == before.size());
    const std::vector<std::byte> read(one.memory.all().begin(), one.memory.all().end());
    CHECK(sectors_different(read, before, sector_size).size() <= 1);
    CHECK(one.content() == before);
    CHECK(one.machine.record().damages().empty());
  });
}

TEST_CASE("a write is lost in one sector, durable or not") {
  for (const bool is_durable : {false, true}) {
    for_each_seed([&](uint64_t seed, uint32_t sector_size) {
      OneFault one(Fault::lost_write, seed, sector_size);
      const std::vector<std::byte> before = one.content();
      // The rest of a page may be unsynced.
      one.machine.files().find("data")->write(512, std::vector<std::byte>(512), one.machine.files().take_sequence());
      const std::vector<std::byte> changed = one.content();
      one.memory.refill(0xff);
      const WriteOptions options{.durable = is_durable};
      const Result<void> ran = one.machine.run(write_all, &one.memory, options, &one.result);
      REQUIRE(ran.has_value());
      CHECK(one.result.has_value());
      const std::vector<std::byte> expected(before.size(), std::byte{0xff});
      const std::vector<std::byte> after = one.content();
      const std::set<uint64_t> lost = sectors_different(after, expected, sector_size);
      REQUIRE(lost.size() == 1);
      const auto begin = static_cast<ptrdiff_t>(*lost.begin() * sector_size);
      CHECK(std::equal(after.begin() + begin, after.begin() + begin + sector_size, changed.begin() + begin));
      if (!is_durable) return;
      one.machine.lose_power();
      CHECK(one.content() == after);
    });
  }
}

TEST_CASE("a misdirected write is in one other place") {
  uint64_t elsewhere_count = 0;
  for_each_seed([&](uint64_t seed, uint32_t sector_size) {
    OneFault one(Fault::misdirected_write, seed, sector_size);
    one.machine.files().put("other", std::vector<std::byte>(blocks_count * block_size));
    one.memory.refill(0xff);
    const Result<void> ran = one.machine.run(write_all, &one.memory, WriteOptions(), &one.result);
    REQUIRE(ran.has_value());
    CHECK(one.result.has_value());
    const std::vector<std::byte> expected(blocks_count * block_size, std::byte{0xff});
    CHECK(sectors_different(one.content(), expected, sector_size).size() == 1);
    const std::vector<std::byte> other = one.machine.files().find("other")->content();
    const auto hit_count = std::count(other.begin(), other.end(), std::byte{0xff});
    CHECK((hit_count == 0 || hit_count == sector_size));
    elsewhere_count += hit_count > 0;
    CHECK(one.machine.record().damages().size() == (hit_count > 0 ? 2 : 1));
  });
  CHECK(elsewhere_count > 3);
}

TEST_CASE("a write that fails leaves each sector as it was or as it should be, and what is written is not damaged") {
  std::set<uint64_t> counts;
  for_each_seed([&](uint64_t seed, uint32_t sector_size) {
    OneFault one(Fault::write_error, seed, sector_size);
    SimFile& file = *one.machine.files().find("data");
    for (uint64_t at = 0; at < file.size(); at += sector_size) {
      file.watch(at);
      one.machine.record().add(file.number(), at, {Fault::garbage, 0});
    }
    one.memory.refill(0xff);
    const Result<void> ran = one.machine.run(write_all, &one.memory, WriteOptions(), &one.result);
    REQUIRE(ran.has_value());
    CHECK(one.result.error().number == EIO);
    const std::vector<std::byte> expected(blocks_count * block_size, std::byte{0xff});
    const std::set<uint64_t> former = sectors_different(one.content(), expected, sector_size);
    counts.insert(former.size());
    CHECK(one.machine.record().damages().size() == former.size());
    for (const auto& [place, damage] : one.machine.record().damages()) {
      CHECK(former.count(place.second / sector_size) == 1);
    }
  });
  CHECK(counts.size() > 5);
}

/// Ignores the failure of a sync, and syncs again until it succeeds.
Task<Result<void>> sync_until_it_works() {
  for (int attempt = 0; attempt < 100; ++attempt) {
    File file = co_await ok(File::open("data", open_direct));
    if (attempt == 0) {
      Blocks memory(blocks_count, 0xff);
      co_await ok(file.write_all_at(0, memory.all()));
    }
    const Result<void> synced = co_await file.sync();
    if (synced.has_value()) co_return Result<void>();
    CHECK(synced.error().number == EIO);
    CHECK(file.is_poisoned());
  }
  co_return Result<void>();
}

TEST_CASE("a program that trusts a sync after a failed one loses what it wrote") {
  uint32_t losses_count = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SimBackendOptions options;
    options.faults.everywhere.set(Fault::failed_sync, 500'000);
    Machine machine(seed, options);
    machine.files().put("data", std::vector<std::byte>(blocks_count * block_size));
    const Result<void> ran = machine.run(sync_until_it_works);
    REQUIRE(ran.has_value());
    const bool has_failed = machine.record().count(Fault::failed_sync) > 0;
    machine.lose_power();
    const std::vector<std::byte> expected(blocks_count * block_size, std::byte{0xff});
    const bool is_lost = machine.files().find("data")->content() != expected;
    losses_count += is_lost;
    if (!has_failed) CHECK_FALSE(is_lost);
  }
  CHECK(losses_count > 5);
}

}  // namespace
}  // namespace spindle
