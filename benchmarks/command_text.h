// The command line that repeats a run.
#pragma once

#include <string>

#include "benchmarks/report.h"

namespace spindle::bench {

/// `filename` as the user gave it; empty: the program makes a file of its own.
std::string command_of(const Job& job, const std::string& engine, const std::string& filename);

/// Gives every sample that has none (fio's has its own) its command line.
void add_commands(Series& series, const std::string& filename);

}  // namespace spindle::bench
