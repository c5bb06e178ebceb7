// Files by name: what is done to directories and their entries. All paths are those of the process (openat(2) with
// AT_FDCWD), or of the simulated host.
//
// A name is durable once its directory was synced (fsync(2)): after rename_path(), unlink_path(), or making something,
// sync_directory() of the directory that holds the entry. publish() does the whole sequence for a file.
//
// Paths are borrowed until the await returns by what returns a leaf, and copied by what returns a Task.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/file_status.h"

namespace spindle {

struct DirectoryEntry {
  std::string name;  ///< without the path of the directory
  FileKind kind = FileKind::other;

  friend bool operator==(const DirectoryEntry&, const DirectoryEntry&) = default;
};

/// A change of one name or two: Result<void>.
class [[nodiscard]] PathOperation final : public LeafAwait<PathOperation, Operation> {
 public:
  PathOperation(Opcode opcode, const std::string& path, uint32_t mode) noexcept
      : LeafAwait(Backend::current(), opcode, nullptr) {
    path_ = path.c_str();
    open_mode_ = mode;
  }
  PathOperation(Opcode opcode, const std::string& path, const std::string& target) noexcept
      : LeafAwait(Backend::current(), opcode, nullptr) {
    path_ = path.c_str();
    target_path_ = target.c_str();
  }
  ~PathOperation() { abandon_if_dying(); }
  bool begin(Loop&) noexcept { return begin_other(); }
  Result<void> take() const noexcept {
    if (failure() != nullptr) return Unexpected(*failure());
    return {};
  }
};

/// The entries of a directory: Result<std::vector<DirectoryEntry>>.
class [[nodiscard]] ListOperation final : public LeafAwait<ListOperation, Operation> {
 public:
  explicit ListOperation(const std::string& path) noexcept
      : LeafAwait(Backend::current(), Opcode::list_directory, nullptr) {
    path_ = path.c_str();
    entries_ = &found_;
  }
  ~ListOperation() { abandon_if_dying(); }
  bool begin(Loop&) noexcept { return begin_other(); }
  Result<std::vector<DirectoryEntry>> take() noexcept {
    if (failure() != nullptr) return Unexpected(*failure());
    return std::move(found_);
  }

 private:
  std::vector<DirectoryEntry> found_;  // filled by the backend
};

/// Result<FileStatus>: of what `path` leads to; symbolic links are followed. Errors: those of statx(2). Suspends.
inline StatOperation stat_path(const std::string& path) noexcept { return StatOperation(Backend::current(), path); }
/// Result<void>: `from` becomes `to`, in one step for everybody who looks, and replaces what is there. What has the
/// old `to` open keeps it. Errors: those of rename(2), EXDEV among them. Suspends. Not durable by itself.
inline PathOperation rename_path(const std::string& from, const std::string& to) noexcept {
  return PathOperation(Opcode::rename, from, to);
}
/// Result<void>: removes a name that is no directory's; the data go with the last name and the last open File.
/// Errors: those of unlink(2). Suspends.
inline PathOperation unlink_path(const std::string& path) noexcept {
  return PathOperation(Opcode::unlink, path, uint32_t{0});
}
/// Result<void>: errors: those of rmdir(2), ENOTEMPTY among them. Suspends.
inline PathOperation remove_directory(const std::string& path) noexcept {
  return PathOperation(Opcode::remove_directory, path, uint32_t{0});
}
/// Result<void>: errors: those of mkdir(2), EEXIST among them. `mode` is subject to the umask. Suspends.
inline PathOperation make_directory(const std::string& path, uint32_t mode = 0755) noexcept {
  return PathOperation(Opcode::make_directory, path, mode);
}
/// Result<std::vector<DirectoryEntry>>: all entries but "." and "..", sorted by the bytes of their names. Held in
/// memory as a whole. What changes meanwhile may be in it or not (readdir(3)). Suspends.
inline ListOperation list_directory(const std::string& path) noexcept { return ListOperation(path); }

/// fsync(2) of a directory: its entries are durable. Errors: ENOTDIR; those of open(2) and fsync(2). Suspends.
Task<Result<void>> sync_directory(std::string path);

/// Makes a file that was written under a temporary name durable, then puts it in the place of `final_path`, durably:
/// syncs the file, renames, syncs the directory of `final_path` and, if it is another one, that of `temporary_path`.
/// A crash leaves `final_path` as it was or as it is now, never in between. Both are on one file system.
///
/// Errors: those of the steps; nothing is renamed when the sync of the file fails, or failed before (`poisoned`). When
/// a sync of a directory fails the name has changed, but it is not known whether durably. A cancel is heeded up to
/// the rename; from there on it takes effect after the end. `file` must outlive this. Suspends.
Task<Result<void>> publish(File& file, std::string temporary_path, std::string final_path);

/// Result<bool>: whether `path` leads to the file that is open, and not to another one, or none. Errors: those of
/// statx(2). `file` must outlive this. Suspends.
Task<Result<bool>> has_name(File& file, std::string path);
/// Result<void>: takes back the making of a file: removes `path`, if it still leads to `file`, and nobody else has
/// locked that: he found it, and took it. `file` must outlive this, and is locked afterwards. Suspends.
Task<Result<void>> unlink_made(File& file, std::string path);

/// The directory that holds the entry: "a/b" → "a", "/b" → "/", "b" → ".".
std::string parent_of(const std::string& path);

}  // namespace spindle
