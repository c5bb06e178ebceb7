// What a benchmark program says when it can't go on: one line with what, where, errno and what to do about
// it. (runtime/result.h's Error carries no text of its own; here a file name belongs in the line.)
#pragma once

#include <string>
#include <string_view>

namespace spindle::bench {

/// Empty: all is well. Otherwise one line, without a newline at its end.
struct [[nodiscard]] Failure {
  std::string line;

  explicit operator bool() const noexcept { return !line.empty(); }
};

/// A value, or the failure that prevented it; `value` means something only while `failure` is empty.
template <class T>
struct [[nodiscard]] Checked {
  T value{};
  Failure failure{};
};

/// "what where: Permission denied (errno 13); remedy". Without a remedy the last part is left out.
Failure failure_errno(int number, std::string_view what, std::string_view where, std::string_view remedy = {});

}  // namespace spindle::bench
