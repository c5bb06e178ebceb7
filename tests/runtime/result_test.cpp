#include "runtime/result.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <memory>
#include <string>
#include <type_traits>

#include "tests/death.h"
#include "tests/runtime/probes.h"

namespace spindle {
namespace {

Result<std::unique_ptr<int>> boxed(int value) { return std::make_unique<int>(value); }

TEST_SUITE_BEGIN("result");

TEST_CASE("a result holds a value or an error, and says which") {
  Result<int> value = 7;
  CHECK(value.has_value());
  CHECK(static_cast<bool>(value));
  CHECK(*value == 7);
  value.value() = 8;
  CHECK(value.value() == 8);
  const Result<int> error = fail(ErrorCode::closed, "channel");
  CHECK_FALSE(error.has_value());
  CHECK(error.error().code == ErrorCode::closed);
  CHECK(std::string(error.error().where) == "channel");
  CHECK(Result<int>(error).value_or(3) == 3);
  CHECK(Result<int>(5).value_or(3) == 5);
}

TEST_CASE("a result of nothing is a success until told otherwise") {
  Result<void> done;
  CHECK(done.has_value());
  done.value();
  done = fail_errno(EIO, "sync");
  CHECK_FALSE(done.has_value());
  CHECK(done.error() == Error{ErrorCode::system, EIO, "elsewhere", 0});
  CHECK_FALSE(done.error() == Error{ErrorCode::system, ENOSPC, "sync", 0});
}

TEST_CASE("a default result of a default-constructible type holds the default") {
  const Result<std::string> text;
  CHECK(text.has_value());
  CHECK(text->empty());
  CHECK_FALSE(std::is_default_constructible_v<Result<Probe>>);
}

TEST_CASE("a move-only value moves in and out") {
  Result<std::unique_ptr<int>> box = boxed(4);
  Result<std::unique_ptr<int>> other = std::move(box);
  CHECK(**other == 4);
  const std::unique_ptr<int> taken = *std::move(other);
  CHECK(*taken == 4);
  CHECK_FALSE(std::is_copy_constructible_v<Result<std::unique_ptr<int>>>);
}

TEST_CASE("a value dies once, whatever the result is assigned or moved to") {
  Trace trace;
  {
    Result<Probe> first{Probe(trace, "a")};
    Result<Probe> second = std::move(first);
    CHECK(trace.text() == "");
    second = fail(ErrorCode::closed, "test");
    CHECK(trace.text() == "~a");
    second = Result<Probe>(Probe(trace, "b"));
    CHECK(second->name() == "b");
    Result<Probe> third = fail(ErrorCode::closed, "test");
    second = std::move(third);
    CHECK(trace.text() == "~a ~b");
  }
  CHECK(trace.text() == "~a ~b");
  CHECK(Probe::live_count == 0);
}

TEST_CASE("a copy has a value of its own") {
  Result<std::string> first = std::string(100, 'x');
  Result<std::string> second = first;
  second.value() += "y";
  CHECK(first->size() == 100);
  first = second;
  CHECK(first->size() == 101);
  first = fail(ErrorCode::closed, "test");
  second = first;
  CHECK(second.error().code == ErrorCode::closed);
}

TEST_CASE("a result of another type does not become a value: an error would be lost") {
  CHECK_FALSE(std::is_convertible_v<Result<int>, Result<bool>>);
  CHECK_FALSE(std::is_convertible_v<Result<std::string>, Result<bool>>);
  CHECK_FALSE(std::is_convertible_v<Result<void>, Result<bool>>);
}

TEST_CASE("an error is trivially copyable, and destroying a result of a trivial type is trivial") {
  CHECK(std::is_trivially_copyable_v<Error>);
  CHECK(std::is_trivially_destructible_v<Result<int>>);
  CHECK(std::is_trivially_destructible_v<Result<void>>);
}

TEST_CASE("a description says where, what, the errno and what to do") {
  CHECK(describe(Error{ErrorCode::cancelled, 0, "read", 0}) == "read: cancelled");
  CHECK(describe(Error{ErrorCode::cancelled, 0, "", 0}) == "cancelled");
  const std::string full = describe(Error{ErrorCode::system, ENOSPC, "write", 0});
  CHECK(full.find("write: ") == 0);
  CHECK(full.find("errno 28") != std::string::npos);
  CHECK(full.find("make space") != std::string::npos);
  CHECK(describe(Error{ErrorCode::no_direct_io, 0, "open", 0}).find("prefer") != std::string::npos);
  CHECK(describe(Error{ErrorCode::lost_sectors, 0, "read", 0}).find("another copy") != std::string::npos);
}

TEST_CASE("every code has a name of its own") {
  std::string seen = ";";
  for (int code = 0; code <= static_cast<int>(ErrorCode::corrupt); ++code) {
    const std::string name = name_of(static_cast<ErrorCode>(code));
    CHECK(name != "unknown error code");
    CHECK(seen.find(";" + name + ";") == std::string::npos);
    seen += name + ";";
  }
}

TEST_CASE("reading the wrong side of a result is a caught bug") {
  expect_abort([] { static_cast<void>(Result<int>(3).error()); }, "error() of a Result that holds a value");
  expect_abort([] { static_cast<void>(Result<void>().error()); }, "error() of a Result that holds a value");
  expect_abort(
      [] {
        Result<int> result = fail(ErrorCode::closed, "test");
        static_cast<void>(result.value());
      },
      "value() of a Result that holds an error");
  expect_abort(
      [] {
        Result<std::string> result = fail(ErrorCode::closed, "test");
        static_cast<void>(result->size());
      },
      "value() of a Result that holds an error");
  expect_abort([] { Result<void>(fail(ErrorCode::closed, "test")).value(); },
               "value() of a Result that holds an error");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
