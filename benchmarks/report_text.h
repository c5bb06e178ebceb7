// Results for people.
#pragma once

#include <string>

#include "benchmarks/prepare.h"
#include "benchmarks/report.h"

namespace spindle::bench {

/// "Linux 6.1.0-18-amd64, 8 CPUs, AMD EPYC 7763".
std::string describe_machine();

/// "memory 512, offset 512".
std::string describe_alignment(const Target& target);

/// The lines that say what a job runs on: file and its size, file system and device, alignment. Each ends in
/// a newline and starts with two spaces and a name of 14 columns.
std::string describe_test_file(const TestFile& file);

/// "randread, 4 KiB, depth 8, direct, 2 s after 200 ms of ramp".
std::string describe_job(const Job& job, bool with_depth);

/// One line: "randread: randread, 4 KiB, depth 8, direct, 2 s after 200 ms of ramp".
std::string headline_of(const Series& series);

/// The summary of one job: throughput, latency, CPU, switches, and what it ran on; of the median run, and the
/// spread if there were several.
std::string report_text(const Series& series, const TestFile* file);

}  // namespace spindle::bench
