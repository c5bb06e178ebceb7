#include "benchmarks/failure.h"

#include <cstring>

namespace spindle::bench {

Failure failure_errno(int number, std::string_view what, std::string_view where, std::string_view remedy) {
  std::string line{what};
  if (!where.empty()) line.append(" ").append(where);
  line.append(": ").append(strerror(number)).append(" (errno ").append(std::to_string(number)).append(")");
  if (!remedy.empty()) line.append("; ").append(remedy);
  return {std::move(line)};
}

}  // namespace spindle::bench
