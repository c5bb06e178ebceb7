// A program that copies a file under a temporary name and publishes the copy over an older one, with each fault of the
// kernel at each of its requests, one by one: under the final name stands the old content or the new one, whole, and
// never the new one when the copy's own sync has failed.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "io/directory.h"
#include "tests/machine/faulty_files.h"

namespace spindle {
namespace {

constexpr uint64_t chunk_size = 64 << 10;
constexpr uint64_t source_size = 2 * chunk_size + 1000;
constexpr uint64_t old_size = 1000;

Task<Result<void>> copy_into(File& source, File& target) {
  std::vector<std::byte> memory(chunk_size);
  const uint64_t size = source.size_at_open();
  for (uint64_t offset = 0; offset < size; offset += chunk_size) {
    const std::span<std::byte> chunk = std::span(memory).first(std::min(chunk_size, size - offset));
    co_await ok(source.read_exact_at(offset, chunk));
    co_await ok(target.write_all_at(offset, chunk));
  }
  co_return Result<void>();
}

Task<Result<void>> copy_and_publish(const FaultyFiles& files) {
  const std::string temporary = files.file("target.new");
  const std::string final = files.file("target");
  File source = co_await ok(File::open(files.file("source"), {.direct = Direct::never}));
  File target = co_await ok(File::open(temporary, open_cached_new));
  co_await ok(copy_into(source, target));
  const Result<void> published = co_await publish(target, temporary, final);
  // A sync of the file that failed stays failed: publishing once more is refused, and renames nothing.
  if (!published.has_value() && target.is_poisoned()) {
    const Result<void> again = co_await publish(target, temporary, final);
    CHECK(again.error().code == ErrorCode::poisoned);
  }
  if (!published.has_value()) co_return published;
  co_await ok(source.close());
  co_return co_await target.close();
}

Result<void> run_once(const FaultyFiles& files) {
  UringLoop ring;
  return run(ring.loop(), copy_and_publish, files);
}

enum class Content : uint8_t { missing, old, whole, broken };

/// Of the final name, with the file system well again.
Content content_of(const FaultyFiles& files) {
  const int descriptor = ::open(files.file("target").c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return Content::missing;
  std::vector<char> bytes(source_size + 1);
  uint64_t size = 0;
  for (ssize_t count = 1; count > 0; size += static_cast<uint64_t>(std::max<ssize_t>(count, 0))) {
    count = ::read(descriptor, bytes.data() + size, bytes.size() - size);
  }
  ::close(descriptor);
  const auto is_old = [](char byte) { return byte == 'o'; };
  if (size == old_size && std::all_of(bytes.begin(), bytes.begin() + old_size, is_old)) return Content::old;
  if (size != source_size) return Content::broken;
  for (uint64_t at = 0; at < size; ++at) {
    if (static_cast<std::byte>(bytes[at]) != pattern_at(at)) return Content::broken;
  }
  return Content::whole;
}

void put_old(FaultyFiles& files) {
  files.disarm();
  ::unlink(files.file("target.new").c_str());
  const int descriptor = ::open(files.file("target").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  REQUIRE(descriptor >= 0);
  const std::vector<char> bytes(old_size, 'o');
  CHECK(::write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  ::close(descriptor);
  files.disarm();  // counts from zero
}

constexpr Request requests[] = {Request::open,        Request::create,       Request::read,
                                Request::write,       Request::fsync,        Request::rename,
                                Request::open_folder, Request::fsync_folder, Request::flush};

/// What the rename has brought about already when this request fails.
bool comes_after_rename(Request request) noexcept {
  return request == Request::open_folder || request == Request::fsync_folder || request == Request::flush;
}

void run_with(FaultyFiles& files, const Fault& fault) {
  CAPTURE(std::string(name_of(fault.request)));
  CAPTURE(fault.index);
  CAPTURE(fault.number);
  put_old(files);
  files.arm(fault);
  const Result<void> result = run_once(files);
  CHECK(files.hits_count() == 1);
  files.disarm();
  const Content content = content_of(files);
  CHECK(content != Content::broken);
  CHECK(content != Content::missing);
  if (result.has_value()) {
    CHECK(content == Content::whole);
    return;
  }
  CHECK(result.error().code == ErrorCode::system);
  CHECK(result.error().number == fault.number);
  CHECK(content == (comes_after_rename(fault.request) ? Content::whole : Content::old));
  const bool is_transient = fault.number == EAGAIN || fault.number == EINTR;
  const bool is_of_ring = fault.request == Request::read || fault.request == Request::write;
  if (is_of_ring || fault.request == Request::fsync) CHECK_FALSE(is_transient);  // those are gone on with
}

TEST_CASE("whatever request of a publication fails, the final name holds the old content or the new one, whole") {
  FaultyFiles files(source_size);
  if (!files.is_mounted()) return skip(files.obstacle());
  for (const Request request : requests) {
    put_old(files);
    const Result<void> well = run_once(files);
    REQUIRE_MESSAGE(well.has_value(), (well.has_value() ? std::string() : describe(well.error())));
    const uint32_t count = files.served_count(request);
    CHECK(content_of(files) == Content::whole);
    REQUIRE_MESSAGE(count > 0, "the program makes no such request: ", std::string(name_of(request)));
    for (uint32_t index = 0; index < count; ++index) {
      for (const int number : {EIO, ENOSPC, EAGAIN, EINTR}) {
        run_with(files, {.request = request, .index = index, .number = number});
      }
    }
  }
}

TEST_CASE("a directory that can't be synced is told, though the name has changed") {
  FaultyFiles files(source_size);
  if (!files.is_mounted()) return skip(files.obstacle());
  put_old(files);
  files.arm({.request = Request::fsync_folder, .number = EIO});
  const Result<void> result = run_once(files);
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().number == EIO);
  files.disarm();
  CHECK(content_of(files) == Content::whole);
}

}  // namespace
}  // namespace spindle
