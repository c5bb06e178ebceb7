// The invariant macros: always on, in release builds too. A failed one is a bug of the program, never bad
// input, corruption or an errno (those are values, see result.h): it prints the expression, the place and a
// sentence, then traps.
#pragma once

namespace spindle {

/// Prints "file:line: invariant failed: expression: message" to standard error and ends the process with SIGABRT.
[[noreturn]] void invariant_failed(const char* expression, const char* message, const char* file, int line) noexcept;

}  // namespace spindle

/// `message` says what the caller did wrong, for whoever reads the one line that is left.
#define SPINDLE_ASSERT(expression, message)           \
  (__builtin_expect(static_cast<bool>(expression), 1) \
       ? static_cast<void>(0)                         \
       : ::spindle::invariant_failed(#expression, message, __FILE__, __LINE__))

/// For checks that cost more than a few instructions: on with the ledger (tests, fuzzers, debug builds).
#if SPINDLE_LEDGER
#define SPINDLE_ASSERT_SLOW(expression, message) SPINDLE_ASSERT(expression, message)
#else
#define SPINDLE_ASSERT_SLOW(expression, message) static_cast<void>(sizeof(static_cast<bool>(expression)))
#endif
