// Runs another program and collects what it prints.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/failure.h"

namespace spindle::bench {

struct ProcessOutput {
  std::string standard_output;
  std::string standard_error;
  int exit_status = 0;  ///< 128 + signal if one ended it
};

/// Starts `arguments[0]`, found in PATH, without a shell, and blocks until it ends. On Ctrl-C the child gets
/// SIGINT and is waited for; the failure then is "interrupted".
Checked<ProcessOutput> run_process(const std::vector<std::string>& arguments);

/// An executable of this name is in PATH.
bool is_in_path(const std::string& program);

/// The arguments as a line that a shell would take apart into the same.
std::string command_line_of(const std::vector<std::string>& arguments);

}  // namespace spindle::bench
