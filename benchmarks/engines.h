// The engines that can run a job, by the name they have on the command line.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "benchmarks/job.h"

namespace spindle::bench {

/// This runtime (spindle_engine.cpp).
/// With `in_task` each operation gets a Task frame around it, to show what that costs.
std::unique_ptr<Engine> make_spindle_engine(bool in_task = false);

/// "spindle", "spindle-task", "plain", "fio" or "fio-batched"; null for another name.
std::unique_ptr<Engine> make_engine(std::string_view name);

inline constexpr std::string_view engine_names = "spindle, spindle-task, plain, fio, fio-batched";

/// For a comparison: the plain loop first, it is the yardstick; then this runtime; then fio, with its
/// defaults and, at depth 64 and more, batched. Without fio on the machine, and for jobs that fio can't do,
/// only the first two.
std::vector<std::unique_ptr<Engine>> make_engines_to_compare(const Job& job);

}  // namespace spindle::bench
