#include "runtime/assert.h"

#include <cstdio>
#include <cstdlib>

namespace spindle {

void invariant_failed(const char* expression, const char* message, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: invariant failed: %s: %s\n", file, line, expression, message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace spindle
