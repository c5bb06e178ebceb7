// What a simulated host's disk holds: a tree of directories and files, each file a plain array of bytes. It belongs to
// the host, not to its process, and survives its death.
//
// There is one image per file and one tree, what was acknowledged: caching, durability and damage are not modelled
// here. So a rename, unlink or new name is durable at once, whether the directory is synced or not.
//
// Paths are those of one root: a leading slash means nothing, "." and ".." are resolved by their letters (there are no
// links). Answers to calls are as the kernel's: 0 or a negative errno.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace spindle {

struct DirectoryEntry;

struct SimFile {
  std::vector<std::byte> bytes;
  uint64_t number = 0;  ///< as an inode's: never given twice
  uint32_t links = 1;   ///< 0: it has no name any more, and lives as long as somebody has it open
  bool is_directory = false;
};

class SimFiles {
 public:
  SimFiles() = default;
  SimFiles(const SimFiles&) = delete;
  SimFiles& operator=(const SimFiles&) = delete;

  /// Null where there is none. The address is good for as long as the file has a name.
  SimFile* find(std::string_view path) noexcept { return find_shared(path).get(); }
  std::shared_ptr<SimFile> find_shared(std::string_view path) noexcept;
  /// Makes an empty file; the name must be free, and its directory there.
  SimFile& create(std::string_view path) { return *add(normal(path), false); }
  /// Files and directories, the root aside.
  size_t count() const noexcept { return nodes_.size(); }

  /// ENOENT or ENOTDIR when there is no directory to hold the entry.
  int32_t check_parent(std::string_view path) noexcept;
  int32_t rename(std::string_view from, std::string_view to);
  int32_t unlink(std::string_view path);
  int32_t remove_directory(std::string_view path);
  int32_t make_directory(std::string_view path);
  /// Sorted by name.
  int32_t list(std::string_view path, std::vector<DirectoryEntry>& entries);

 private:
  using Nodes = std::map<std::string, std::shared_ptr<SimFile>, std::less<>>;

  /// "/a//./b/../c/" → "a/c"; the root is "".
  static std::string normal(std::string_view path);
  std::shared_ptr<SimFile> node(const std::string& name) noexcept;
  std::shared_ptr<SimFile> add(std::string name, bool is_directory);
  bool has_children(const std::string& name) const noexcept;
  int32_t check_replaces(const SimFile& moved, const SimFile& former, const std::string& to) const noexcept;
  void remove(const std::string& name) noexcept;

  Nodes nodes_;  // by normal path; ordered: iteration is deterministic
  uint64_t number_next_ = 2;
  std::shared_ptr<SimFile> root_ = make_root();
  static std::shared_ptr<SimFile> make_root();
};

}  // namespace spindle
