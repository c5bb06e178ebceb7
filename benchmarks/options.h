// The command line of spindle-bench: fio's names and spellings where fio has the same thing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/failure.h"
#include "benchmarks/job.h"
#include "benchmarks/prepare.h"

namespace spindle::bench {

enum class Command : uint8_t {
  sweep,    ///< no job given: what can this disk do?
  run,      ///< one job on one engine
  compare,  ///< one job on all engines
  capabilities,  ///< what the ring can do here
  help,          ///< `text` was asked for
};

enum class OutputFormat : uint8_t { normal, json, json_plus };

struct Options {
  Command command = Command::sweep;
  Job job;  ///< filename and size are the request's until the file is prepared
  FileRequest file;
  std::string name;  ///< fio's jobname
  std::string engine = "spindle";
  OutputFormat format = OutputFormat::normal;
  std::string output;  ///< file for the result; empty: standard output
  std::string report;  ///< file for the page with plots; empty: none
  std::vector<uint32_t> depths;  ///< at least one; the job is run with each
  uint32_t rounds_count = 1;
  bool smoke = false;
  std::string text;  ///< of Command::help
};

/// A failure is one line for standard error, and means exit status 2.
Checked<Options> parse_options(int argument_count, const char* const* arguments);

}  // namespace spindle::bench
