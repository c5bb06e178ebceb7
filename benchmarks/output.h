// Where the result goes: standard output or a file the user named.
#pragma once

#include <string>

#include "benchmarks/failure.h"
#include "benchmarks/target.h"

namespace spindle::bench {

/// Opened before the benchmark runs, so that a path that can't be written costs nobody two minutes; changed
/// only by write(). A file that this object created, and never wrote to, is removed again.
class Output {
 public:
  Output() = default;
  Output(const Output&) = delete;
  ~Output();

  /// An empty path is standard output. `option` is what named it, for messages.
  Failure open(const std::string& path, const std::string& option);
  /// Replaces what the file held.
  Failure write(const std::string& text);

 private:
  std::string path_;
  Descriptor file_;
  bool remove_ = false;
};

}  // namespace spindle::bench
