// The faults of a simulated disk: each comes at about its rate and only where it is asked for.
#include "io/sim/disk_faults.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <vector>

#include "tests/io/sim_world_fixture.h"

namespace spindle {
namespace {

constexpr uint64_t blocks_count = 16;

constexpr bool is_of_reads(Fault fault) { return fault <= Fault::short_read; }
constexpr bool is_of_writes(Fault fault) { return fault >= Fault::stale_sector && fault <= Fault::no_space; }

/// Reads, writes or syncs, whatever the fault hits: at blocks in [first, end), whatever comes of it.
struct Load {
  Fault fault;
  std::string path = "data";
  uint64_t operations_count = 2000;
  uint64_t first = 0;
  uint64_t end = blocks_count;
  uint64_t blocks_at_once = 1;
  bool is_durable = false;
  uint32_t damage_max = UINT32_MAX;
};

Task<Result<void>> work(Load load, FaultRecord* record) {
  File file = co_await ok(File::open(load.path, open_direct));
  Blocks memory(load.blocks_at_once, 7);
  for (uint64_t count = 0; count < load.operations_count; ++count) {
    const uint64_t places = load.end - load.first - load.blocks_at_once + 1;
    const uint64_t offset = (load.first + Loop::current().random().below(places)) * block_size;
    if (is_of_reads(load.fault)) {
      const Result<uint64_t> read = co_await file.read_at(offset, memory.all());
      static_cast<void>(read);
    } else if (is_of_writes(load.fault) || load.is_durable) {
      const WriteOptions options{.durable = load.is_durable};
      const Result<void> written = co_await file.write_all_at(offset, memory.all(), options);
      static_cast<void>(written);
    } else {
      const Result<uint64_t> read = co_await file.read_at(offset, memory.all());
      static_cast<void>(read);
      const Result<void> synced = co_await file.sync();
      static_cast<void>(synced);
    }
    CHECK(record->damages().size() <= load.damage_max);
    if (!file.is_poisoned()) continue;
    File again = co_await ok(File::open(load.path, open_direct));
    file = std::move(again);
  }
  co_return Result<void>();
}

void put_files(Machine& machine) {
  const std::vector<std::byte> content(blocks_count * block_size, std::byte{1});
  machine.files().put("data", content);
  machine.files().put("other", content);
}

void work_on(Machine& machine, const Load& load) {
  const Result<void> worked = machine.run(work, load, &machine.record());
  CHECK(worked.has_value());
}

template <class Visit>
void for_each_fault(Visit visit) {
  for (size_t index = 0; index < fault_count; ++index) {
    const Fault fault = static_cast<Fault>(index);
    const std::string name = name_of(fault);
    CAPTURE(name);
    visit(fault);
  }
}

TEST_CASE("every fault comes at about its rate, and no other") {
  for_each_fault([](Fault fault) {
    SimBackendOptions options;
    options.faults.everywhere.set(fault, 100'000);
    Machine machine(static_cast<uint64_t>(fault), options);
    put_files(machine);
    work_on(machine, Load{.fault = fault});
    for_each_fault([&](Fault other) {
      const uint64_t count = machine.record().count(other);
      if (other != fault) {
        CHECK(count == 0);
        return;
      }
      const uint64_t operations_count = fault >= Fault::stall ? 4000 : 2000;
      CHECK(count > operations_count / 10 * 3 / 4);
      CHECK(count < operations_count / 10 * 3 / 2);
    });
  });
}

TEST_CASE("a durable write can fail as a write and as a sync") {
  for (const Fault fault : {Fault::write_error, Fault::lost_write, Fault::failed_sync}) {
    SimBackendOptions options;
    options.faults.everywhere.set(fault, 100'000);
    Machine machine(3, options);
    put_files(machine);
    work_on(machine, Load{.fault = fault, .operations_count = 1000, .is_durable = true});
    CHECK(machine.record().count(fault) > 50);
  }
}

TEST_CASE("without a rate nothing happens") {
  for_each_fault([](Fault fault) {
    Machine machine(4);
    put_files(machine);
    work_on(machine, Load{.fault = fault, .operations_count = 200});
    for_each_fault([&](Fault other) { CHECK(machine.record().count(other) == 0); });
    CHECK(machine.record().damages().empty());
  });
}

TEST_CASE("a fault of a region comes there, and nowhere else") {
  for_each_fault([](Fault fault) {
    SimBackendOptions options;
    FaultRates rates;
    rates.set(fault, 200'000);
    options.faults.regions.push_back({"data", 0, 4 * block_size, rates});
    const auto count_of = [&](const Load& load) {
      Machine machine(5, options);
      put_files(machine);
      work_on(machine, load);
      return machine.record().count(fault);
    };
    CHECK(count_of({.fault = fault, .operations_count = 200, .end = 4}) > 10);
    CHECK(count_of({.fault = fault, .path = "other", .operations_count = 200}) == 0);
    if (fault == Fault::failed_sync) return;  // it has no place in its file
    if (fault < Fault::stall) CHECK(count_of({.fault = fault, .operations_count = 200, .first = 4}) == 0);
  });
}

TEST_CASE("the first region that holds a place has its rates") {
  SimBackendOptions options;
  options.faults.everywhere.set(Fault::transient_error, 1'000'000);
  options.faults.regions.push_back({"data", block_size, block_size, FaultRates()});
  options.faults.regions.push_back({"", 0, 4 * block_size, FaultRates().set(Fault::transient_error, 500'000)});
  const auto count_of = [&](uint64_t block) {
    Machine machine(6, options);
    put_files(machine);
    const Load load{.fault = Fault::transient_error, .operations_count = 100, .first = block, .end = block + 1};
    work_on(machine, load);
    return machine.record().count(Fault::transient_error);
  };
  CHECK(count_of(1) == 0);
  CHECK(count_of(0) > 20);
  CHECK(count_of(0) < 80);
  CHECK(count_of(4) == 100);
}

TEST_CASE("what spans the edge of a region is damaged in its own part only") {
  for (const Fault fault :
       {Fault::latent_error, Fault::bit_flip, Fault::garbage, Fault::stale_sector, Fault::lost_write}) {
    for (const uint32_t sector_size : {512u, 4096u}) {
      SimBackendOptions options;
      options.sector_size = sector_size;
      options.faults.regions.push_back({"data", 6 * block_size, 4 * block_size, FaultRates().set(fault, 200'000)});
      Machine machine(7, options);
      put_files(machine);
      work_on(machine, Load{.fault = fault, .operations_count = 300, .blocks_at_once = 6});
      work_on(machine, Load{.fault = Fault::short_read, .operations_count = 300});
      CHECK(machine.record().count(fault) > 5);
      for (const auto& [place, damage] : machine.record().damages()) {
        CHECK(place.second >= 6 * block_size);
        CHECK(place.second < 10 * block_size);
        CHECK(damage.region == 0);
      }
    }
  }
}

TEST_CASE("a region that is left alone is not damaged from before it") {
  SimBackendOptions options;
  options.faults.everywhere.set(Fault::garbage, 300'000);
  options.faults.regions.push_back({"data", 6 * block_size, 4 * block_size, FaultRates()});
  Machine machine(8, options);
  put_files(machine);
  work_on(machine, Load{.fault = Fault::garbage, .operations_count = 300, .blocks_at_once = 6});
  CHECK(machine.record().damages().size() > 3);
  for (const auto& [place, damage] : machine.record().damages()) {
    CHECK((place.second < 6 * block_size || place.second >= 10 * block_size));
    CHECK(damage.region == 1);
  }
}

TEST_CASE("no more sectors are damaged at once than the plan says") {
  for_each_fault([](Fault fault) {
    if (!is_damage(fault)) return;
    for (const bool is_region : {false, true}) {
      SimBackendOptions options;
      FaultRates rates;
      rates.set(fault, 300'000);
      if (is_region) {
        options.faults.regions.push_back({"data", 0, UINT64_MAX, rates, 3});
      } else {
        options.faults.everywhere = rates;
        options.faults.damage_max = 3;
      }
      Machine machine(9, options);
      put_files(machine);
      if (is_region) CHECK(machine.files().unlink("other") == 0);  // or it would be hit, outside of the region
      for (uint32_t round = 0; round < 20; ++round) {
        work_on(machine, Load{.fault = fault, .operations_count = 20, .damage_max = 3});
        // What is to come back does so in a read.
        work_on(machine, Load{.fault = Fault::short_read, .operations_count = 20, .damage_max = 3});
      }
      CHECK(machine.record().count(fault) > 0);
    }
  });
}

/// Allows damage of some sectors only, for as long as it is on.
class SomeSectors final : public FaultPolicy {
 public:
  explicit SomeSectors(std::set<uint64_t> offsets) : offsets_(std::move(offsets)) {}
  bool may_damage(const FaultSite& site) noexcept override {
    asked_.insert(site.offset);
    return is_on && offsets_.count(site.offset) > 0;
  }
  bool is_on = true;
  const std::set<uint64_t>& asked() const noexcept { return asked_; }

 private:
  std::set<uint64_t> offsets_;
  std::set<uint64_t> asked_;
};

TEST_CASE("a policy is asked for each sector that is to be damaged, and heeded") {
  for_each_fault([](Fault fault) {
    if (!is_damage(fault)) return;
    const std::set<uint64_t> allowed{3 * block_size, 5 * block_size, 6 * block_size};
    SomeSectors policy(allowed);
    SimBackendOptions options;
    options.faults.everywhere.set(fault, 300'000);
    options.faults.policy = &policy;
    Machine machine(10, options);
    put_files(machine);
    const auto round = [&] {
      work_on(machine, Load{.fault = fault, .operations_count = 500, .blocks_at_once = 4});
      work_on(machine, Load{.fault = Fault::short_read, .operations_count = 200});
      for (const auto& [place, damage] : machine.record().damages()) CHECK(allowed.count(place.second) == 1);
    };
    round();
    CHECK(machine.record().count(fault) > 0);
    CHECK(policy.asked().size() == blocks_count);
    policy.is_on = false;
    const uint64_t count = machine.record().count(fault);
    round();
    CHECK(machine.record().count(fault) == count);
  });
}

Task<Result<void>> rewrite(std::vector<std::pair<uint64_t, uint64_t>> parts) {
  File file = co_await ok(File::open("data", open_direct));
  Blocks memory(blocks_count, 9);
  for (const auto& [offset, size] : parts) {
    const auto part = memory.all().first(size);
    co_await ok(file.write_all_at(offset, part));
  }
  const auto whole = memory.all().first(size_t{blocks_count} * block_size);
  const Result<void> read = co_await file.read_exact_at(0, whole);
  co_return read;
}

TEST_CASE("damage ends where a sector is written as a whole") {
  for_each_fault([](Fault fault) {
    if (!is_damage(fault)) return;
    SomeSectors policy({block_size, 3 * block_size});
    SimBackendOptions options;
    options.faults.everywhere.set(fault, 300'000);
    options.faults.policy = &policy;
    Machine machine(11, options);
    machine.files().put("data", std::vector<std::byte>(blocks_count * block_size, std::byte{1}));
    const uint64_t number = machine.files().find("data")->number();
    for (uint32_t round = 0; round < 100 && !machine.record().is_damaged(number, 0, UINT64_MAX); ++round) {
      work_on(machine, Load{.fault = fault, .operations_count = 20, .blocks_at_once = 2});
      work_on(machine, Load{.fault = Fault::short_read, .operations_count = 50});
    }
    REQUIRE(machine.record().is_damaged(number, 0, blocks_count * block_size));
    policy.is_on = false;
    const Result<void> in_part =
        machine.run(rewrite, std::vector<std::pair<uint64_t, uint64_t>>{{0, block_size}, {block_size, 512}});
    static_cast<void>(in_part);
    CHECK(machine.record().is_damaged(number, block_size, 3 * block_size));
    const Result<void> read =
        machine.run(rewrite, std::vector<std::pair<uint64_t, uint64_t>>{{block_size, 3 * block_size}});
    CHECK(read.has_value());
    CHECK(machine.record().damages().empty());
  });
}

TEST_CASE("the record of damages knows what lies in the pages of a range") {
  FaultRecord record;
  record.add(1, 4096 + 1024, {Fault::garbage, 0});
  CHECK(record.is_damaged(1, 4096, 512));
  CHECK(record.is_damaged(1, 8191, 1));
  CHECK(record.is_damaged(1, 0, 4097));
  CHECK(record.is_damaged(1, 0, UINT64_MAX));
  CHECK_FALSE(record.is_damaged(1, 0, 4096));
  CHECK_FALSE(record.is_damaged(1, 8192, 4096));
  CHECK_FALSE(record.is_damaged(2, 4096, 4096));
  CHECK(record.damaged_count(0) == 1);
  CHECK(record.damaged_count(1) == 0);
  record.remove(1, 4096, 1024);
  CHECK(record.damages().size() == 1);
  record.remove(1, 5120, UINT64_MAX);
  CHECK(record.damages().empty());
}

TEST_CASE("rates that add up to more than one are a bug of the plan") {
  FaultRates rates;
  rates.set(Fault::short_read, 400'000).set(Fault::again, 300'000);
  CHECK(rates.sum(Fault::latent_error, Fault::short_read) == 400'000);
  CHECK(FaultRates::passing().of(Fault::garbage) == 0);
  CHECK(FaultRates::usual().of(Fault::garbage) > 0);
}

}  // namespace
}  // namespace spindle
