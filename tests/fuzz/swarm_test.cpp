// The weights of a run's actions.
#include "io/sim/swarm.h"

#include <doctest/doctest.h>

namespace spindle::fuzz {
namespace {

enum class Step : uint8_t { push, pop, clear };
using Steps = Swarm<Step, 3>;
const char* name_of(Step step) { return step == Step::push ? "push" : step == Step::pop ? "pop" : "clear"; }

Steps all_off() {
  Random random(1);
  Steps steps(random);
  for (const Step step : {Step::push, Step::pop, Step::clear}) steps.set(step, 0);
  return steps;
}

TEST_CASE("A third of the actions is off, and the others weigh the unit times a power of two") {
  Random random(20261121);
  uint32_t counts[65] = {};
  for (uint32_t round = 0; round < 3000; ++round) ++counts[Steps(random).weight(Step::pop)];
  CHECK(counts[0] > 900);
  CHECK(counts[0] < 1100);
  for (const uint32_t weight : {8u, 16u, 32u, 64u}) CHECK(counts[weight] > 400);
  CHECK(counts[0] + counts[8] + counts[16] + counts[32] + counts[64] == 3000);
}

TEST_CASE("Each action takes one draw") {
  Random drawn(7);
  Random counted(7);
  const Steps steps(drawn);
  for (uint32_t draw = 0; draw < 3; ++draw) counted.next();
  CHECK(drawn.next() == counted.next());
}

TEST_CASE("An action is chosen as often as it weighs") {
  Steps steps = all_off();
  steps.add(Step::push, 3);
  steps.raise(Step::clear, 1);
  steps.raise(Step::push, 2);
  steps.limit(Step::push, 5);
  CHECK(steps.weight(Step::push) == 3);
  uint32_t counts[3] = {};
  for (uint64_t word = 0; word < 400; ++word) ++counts[static_cast<size_t>(steps.choose(word))];
  CHECK(counts[0] == 300);
  CHECK(counts[1] == 0);
  CHECK(counts[2] == 100);
  CHECK(steps.text(name_of) == "push 3, clear 1");
}

TEST_CASE("Where all actions are off, any of them is chosen") {
  const Steps steps = all_off();
  uint32_t counts[3] = {};
  for (uint64_t word = 0; word < 30; ++word) ++counts[static_cast<size_t>(steps.choose(word))];
  for (const uint32_t count : counts) CHECK(count == 10);
  CHECK(steps.text(name_of).empty());
}

}  // namespace
}  // namespace spindle::fuzz
