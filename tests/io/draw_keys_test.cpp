// The chances of an operation on a simulated host depend on its trace and its number there, not on what else goes on.
#include "io/sim/draw_keys.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "runtime/scope.h"
#include "runtime/trace.h"
#include "tests/io/sim_world_fixture.h"

namespace spindle {
namespace {

constexpr uint64_t operations_count = 40;
constexpr uint32_t traces_count = 5;

/// What one operation met.
struct Met {
  uint64_t transferred = 0;
  int32_t number = 0;
  friend bool operator==(const Met&, const Met&) = default;
};
using MetByTrace = std::map<uint32_t, std::vector<Met>>;

Task<Result<void>> work(uint32_t trace, MetByTrace* met) {
  co_await set_trace_id(trace);
  const OpenOptions options{.access = Access::read_write, .create = true};
  const std::string path = "data" + std::to_string(trace);
  File file = co_await ok(File::open(path, options));
  Blocks memory(4, 7);
  for (uint64_t count = 0; count < operations_count; ++count) {
    const uint64_t offset = count % 8 * block_size;
    const Result<uint64_t> written = co_await file.write_at(offset, memory.all());
    (*met)[trace].push_back(written.has_value() ? Met{*written, 0} : Met{0, written.error().number});
  }
  const Result<void> closed = co_await file.close();
  co_return closed;
}

Task<Result<void>> spawn_workers(Scope& scope, std::vector<uint32_t>& traces, MetByTrace& met) {
  MetByTrace* const address = &met;
  for (const uint32_t trace : traces) co_await ok(scope.spawn(work, trace, address));
  co_return Result<void>();
}

Task<Result<void>> work_all(std::vector<uint32_t>& traces, MetByTrace& met) {
  co_await ok(with_scope(ScopeOptions{}, spawn_workers, traces, met));
  co_return Result<void>();
}

/// Keeps all faults, or some, and remembers those that it kept.
class KeepSome final : public FaultFilter {
 public:
  bool allows(FaultId id, Fault) noexcept override {
    const bool is_allowed = keeps_all || kept.contains(id);
    if (is_allowed) seen.insert(id);
    return is_allowed;
  }
  bool keeps_all = true;
  std::set<FaultId> kept;
  std::set<FaultId> seen;
};

SimBackendOptions options_with_faults(FaultFilter* filter) {
  SimBackendOptions options;
  options.faults.everywhere.set(Fault::short_write, 100'000).set(Fault::write_error, 100'000);
  options.faults.everywhere.set(Fault::stall, 50'000);
  options.faults.filter = filter;
  return options;
}

MetByTrace run_traces(std::vector<uint32_t> traces, FaultFilter* filter = nullptr) {
  MetByTrace met;
  Machine machine(99, options_with_faults(filter));
  const Result<void> done = machine.run(work_all, traces, met);
  REQUIRE(done.has_value());
  return met;
}

std::vector<uint32_t> all_traces() {
  std::vector<uint32_t> traces;
  for (uint32_t trace = 1; trace <= traces_count; ++trace) traces.push_back(trace);
  return traces;
}

TEST_CASE("leaving out what one trace does leaves the faults of the others as they were") {
  const MetByTrace whole = run_traces(all_traces());
  REQUIRE(whole.size() == traces_count);
  for (uint32_t left_out = 1; left_out <= traces_count; ++left_out) {
    std::vector<uint32_t> traces = all_traces();
    std::erase(traces, left_out);
    std::reverse(traces.begin(), traces.end());
    MetByTrace expected = whole;
    expected.erase(left_out);
    CHECK(run_traces(traces) == expected);
  }
}

TEST_CASE("traces meet faults of their own, and so do the operations of a trace") {
  const MetByTrace whole = run_traces(all_traces());
  for (uint32_t trace = 2; trace <= traces_count; ++trace) CHECK(whole.at(trace) != whole.at(1));
  uint64_t faults_count = 0;
  for (const Met& met : whole.at(1)) faults_count += met.transferred != 4 * block_size;
  CHECK(faults_count > 0);
  CHECK(faults_count < operations_count / 2);
}

TEST_CASE("a filter sees each fault that is going to happen, and may prevent it") {
  KeepSome all;
  const MetByTrace whole = run_traces(all_traces(), &all);
  CHECK(whole == run_traces(all_traces()));
  REQUIRE(all.seen.size() > 10);
  KeepSome none;
  none.keeps_all = false;
  for (const auto& [trace, operations] : run_traces(all_traces(), &none)) {
    for (const Met& met : operations) CHECK(met == Met{4 * block_size, 0});
  }
  CHECK(none.seen.empty());
}

TEST_CASE("one fault that a filter keeps happens where it happened among the others") {
  KeepSome all;
  const MetByTrace whole = run_traces(all_traces(), &all);
  uint64_t found_count = 0;
  for (const FaultId id : all.seen) {
    KeepSome one;
    one.keeps_all = false;
    one.kept = {id};
    const MetByTrace met = run_traces(all_traces(), &one);
    CHECK(one.seen == one.kept);
    for (const auto& [trace, operations] : met) {
      for (size_t index = 0; index < operations.size(); ++index) {
        if (operations[index] == Met{4 * block_size, 0}) continue;
        CHECK(trace == id.trace);
        CHECK(operations[index] == whole.at(trace)[index]);
        ++found_count;
      }
    }
  }
  CHECK(found_count > 10);  // the rest were stalls
}

Task<Result<void>> write_blocks(uint64_t times) {
  File file = co_await ok(File::open("data", open_direct));
  Blocks memory(16, 9);
  for (uint64_t time = 0; time < times; ++time) co_await ok(file.write_all_at(0, memory.all()));
  co_return Result<void>();
}

std::string after_losses(std::vector<uint64_t> keys) {
  Machine machine(5);
  machine.files().put("data", std::vector<std::byte>(16 * block_size));
  for (const uint64_t key : keys) {
    machine.files().put("data", std::vector<std::byte>(16 * block_size));
    REQUIRE(machine.run(write_blocks, 1 + key).has_value());
    machine.host().lose_power(key);
    machine.host().restart();
  }
  const std::vector<std::byte> content = machine.files().find("data")->content();
  return std::string(reinterpret_cast<const char*>(content.data()), content.size());
}

TEST_CASE("a loss of power with a key of its own has the same outcome whatever came before it") {
  std::set<std::string> outcomes;
  for (uint64_t key = 1; key <= 20; ++key) {
    const std::string outcome = after_losses({key});
    CHECK(after_losses({100, key}) == outcome);
    CHECK(after_losses({key + 1, 3, key}) == outcome);
    outcomes.insert(outcome);
  }
  CHECK(outcomes.size() > 5);
}

}  // namespace
}  // namespace spindle
