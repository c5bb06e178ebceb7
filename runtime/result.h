// Errors as values. `Result<T>` holds a T or an Error and has the member names of std::expected (C++23), so that
// it can be swapped for it one day. An Error is small and trivially copyable: what kind, which errno, where.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "runtime/assert.h"

namespace spindle {

/// What went wrong, as far as a caller can act on it. `system` carries an errno.
enum class ErrorCode : uint8_t {
  cancelled,         ///< the context of the awaiting task was cancelled before the operation took effect
  timed_out,         ///< a timeout() or deadline passed
  closed,            ///< the channel, gate, file or loop does not take this any more
  exhausted,         ///< a fixed capacity is used up; the message names it
  system,            ///< the kernel said so: see Error::number
  end_of_file,       ///< fewer bytes than asked for exist
  misaligned,        ///< offset, size or memory does not have the alignment that direct I/O needs here
  no_direct_io,      ///< direct I/O was required, and this file system does not offer it
  short_transfer,    ///< a composite ended early with no errno to blame
  poisoned,          ///< an earlier sync of this file failed; nothing is known about its cached data
  invalid_argument,  ///< the call can't mean anything as it stands
  lost_sectors,      ///< the medium can't be read in some places; everything else was
  corrupt,           ///< what is on the disk is not what was written, or can't be told from it
};

/// A trivially copyable error. `where` is a string with static lifetime: the operation's name.
struct Error {
  ErrorCode code = ErrorCode::system;
  int32_t number = 0;  ///< errno when code is `system`, else 0
  const char* where = "";
  uint64_t transferred = 0;  ///< bytes that a composite operation had moved before it failed

  friend bool operator==(const Error& left, const Error& right) noexcept {
    return left.code == right.code && left.number == right.number;
  }
};

/// One clear line: what, where, errno with its text, and what to do about it where that is known.
std::string describe(const Error& error);
/// The name of the code, as it stands in the enumeration.
const char* name_of(ErrorCode code) noexcept;

/// Marks an error on its way into a Result (std::unexpected's role).
class Unexpected {
 public:
  constexpr explicit Unexpected(Error error) noexcept : error_(error) {}
  constexpr const Error& error() const noexcept { return error_; }

 private:
  Error error_;
};

constexpr Unexpected fail(ErrorCode code, const char* where) noexcept { return Unexpected(Error{code, 0, where, 0}); }
constexpr Unexpected fail_errno(int number, const char* where) noexcept {
  return Unexpected(Error{ErrorCode::system, number, where, 0});
}

template <class T>
class Result;
template <class T>
inline constexpr bool is_result_v = false;
template <class T>
inline constexpr bool is_result_v<Result<T>> = true;

/// A T or an Error. Reading the wrong side is a caught bug.
template <class T>
class [[nodiscard]] Result {
  static_assert(!std::is_reference_v<T>, "Result of a reference: return a pointer");

 public:
  using value_type = T;
  using error_type = Error;

  Result()
    requires std::is_default_constructible_v<T>
      : has_value_(true) {
    std::construct_at(&value_);
  }
  Result(Unexpected unexpected) noexcept : has_value_(false), error_(unexpected.error()) {}
  template <class U = T>
    requires(std::is_constructible_v<T, U> && !is_result_v<std::remove_cvref_t<U>> &&
             !std::is_same_v<std::remove_cvref_t<U>, Unexpected>)
  Result(U&& value) : has_value_(true) {
    std::construct_at(&value_, std::forward<U>(value));
  }
  Result(const Result& other)
    requires std::is_copy_constructible_v<T>
      : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, other.value_);
    } else {
      error_ = other.error_;
    }
  }
  Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, std::move(other.value_));
    } else {
      error_ = other.error_;
    }
  }
  Result& operator=(Result other) noexcept {
    destroy();
    has_value_ = other.has_value_;
    if (has_value_) {
      std::construct_at(&value_, std::move(other.value_));
    } else {
      error_ = other.error_;
    }
    return *this;
  }
  ~Result()
    requires std::is_trivially_destructible_v<T>
  = default;
  ~Result() { destroy(); }

  bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }

  T& value() & noexcept { return checked(); }
  T&& value() && noexcept { return std::move(checked()); }
  const T& value() const& noexcept { return const_cast<Result*>(this)->checked(); }
  T& operator*() & noexcept { return checked(); }
  T&& operator*() && noexcept { return std::move(checked()); }
  const T& operator*() const& noexcept { return value(); }
  T* operator->() noexcept { return &checked(); }
  const T* operator->() const noexcept { return &value(); }

  const Error& error() const noexcept {
    SPINDLE_ASSERT(!has_value_, "error() of a Result that holds a value");
    return error_;
  }
  T value_or(T fallback) && { return has_value_ ? std::move(value_) : std::move(fallback); }

 private:
  T& checked() noexcept {
    SPINDLE_ASSERT(has_value_, "value() of a Result that holds an error");
    return value_;
  }
  void destroy() noexcept {
    if constexpr (!std::is_trivially_destructible_v<T>) {
      if (has_value_) std::destroy_at(&value_);
    }
  }

  bool has_value_;
  union {
    T value_;
    Error error_;
  };
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  using error_type = Error;

  Result() noexcept {}
  Result(Unexpected unexpected) noexcept : has_value_(false), error_(unexpected.error()) {}
  // Success is the common case, and is one byte to copy.
  Result(const Result& other) noexcept : has_value_(other.has_value_) {
    if (!has_value_) [[unlikely]]
      error_ = other.error_;
  }
  Result& operator=(const Result& other) noexcept {
    has_value_ = other.has_value_;
    if (!has_value_) [[unlikely]]
      error_ = other.error_;
    return *this;
  }
  ~Result() = default;

  bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }
  void value() const noexcept { SPINDLE_ASSERT(has_value_, "value() of a Result that holds an error"); }
  void operator*() const noexcept { value(); }
  const Error& error() const noexcept {
    SPINDLE_ASSERT(!has_value_, "error() of a Result that holds a value");
    return error_;
  }

 private:
  bool has_value_ = true;
  union {
    Error error_;
  };
};

}  // namespace spindle
