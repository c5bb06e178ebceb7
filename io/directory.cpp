#include "io/directory.h"

#include <cerrno>

#include "runtime/combinators.h"

namespace spindle {

std::string parent_of(const std::string& path) {
  size_t end = path.size();
  while (end > 1 && path[end - 1] == '/') --end;
  const size_t slash = end == 0 ? std::string::npos : path.rfind('/', end - 1);
  if (slash == std::string::npos) return ".";
  end = slash;
  while (end > 0 && path[end - 1] == '/') --end;
  return end == 0 ? "/" : path.substr(0, end);
}

Task<Result<void>> sync_directory(std::string path) {
  const OpenOptions options{.access = Access::read_only, .direct = Direct::never};
  File directory = co_await ok(File::open(std::move(path), options));
  const FileStatus status = co_await ok(directory.stat());
  if (status.kind != FileKind::directory) co_return fail_errno(ENOTDIR, "sync directory");
  co_await ok(directory.sync());
  const Result<void> closed = co_await directory.close();
  co_return closed;
}

namespace {

Task<Result<void>> rename_durably(std::string from, std::string to) {
  co_await ok(rename_path(from, to));
  const std::string target = parent_of(to);
  const std::string source = parent_of(from);
  co_await ok(sync_directory(target));
  if (source != target) co_await ok(sync_directory(source));
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> publish(File& file, std::string temporary_path, std::string final_path) {
  // Not linked in the ring, but one after the other: the rename must see the sync succeed.
  co_await ok(file.sync());
  auto renaming = rename_durably(std::move(temporary_path), std::move(final_path));
  const Result<void> renamed = co_await shield(std::move(renaming));
  co_return renamed;
}

Task<Result<bool>> has_name(File& file, std::string path) {
  const FileStatus own = co_await ok(file.stat());
  const Result<FileStatus> named = co_await stat_path(path);
  const bool is_gone = !named.has_value() && named.error().number == ENOENT;
  if (is_gone) co_return false;
  if (!named.has_value()) co_return Unexpected(named.error());
  co_return named->number == own.number && named->device == own.device;
}

Task<Result<void>> unlink_made(File& file, std::string path) {
  const Result<void> locked = co_await file.try_lock(LockMode::exclusive);
  const bool is_taken = !locked.has_value() && locked.error().number == EWOULDBLOCK;
  if (is_taken) co_return Result<void>();
  const bool is_own = co_await ok(has_name(file, path));
  if (is_own) co_await ok(unlink_path(path));
  co_return Result<void>();
}

}  // namespace spindle
