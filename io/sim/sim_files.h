// What a simulated host's disk holds: a tree of directories and files, in two images like the content of its files
// (sim_file.h). It belongs to the host, not to its process, and survives its death.
//
// A change of a directory (a new name, a rename, a name removed) is durable once its directory was synced, and one
// piece at a loss of power: there or not. Which ones are there is drawn, each by itself, except that a change that
// builds on another of the same name is there only with that one. A rename from one directory to another is two: the
// new name, then the end of the old one; syncing the old one's directory makes both durable. Renames of directories
// keep their order, and any sync of a directory makes them durable: so the tree stays a tree. A directory is gone only
// with all that has left it. A file has two names when the power failed between the two changes of its rename.
//
// Paths are those of one root: a leading slash means nothing, "." and ".." are resolved by their letters (there are
// no links). Answers to calls are as the kernel's: 0 or a negative errno. Durable at once is only what settle()
// makes so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/sim/disk_faults.h"
#include "io/sim/page_pool.h"
#include "io/sim/sim_file.h"

namespace spindle {

struct DirectoryEntry;

class SimFiles {
 public:
  /// What a name stands for before and after a change. Null: nothing.
  struct Edit {
    std::shared_ptr<SimFile> directory;
    std::string name;
    std::shared_ptr<SimFile> before;
    std::shared_ptr<SimFile> after;
  };
  /// A change that is not durable yet. One piece.
  struct Change {
    uint64_t sequence = 0;
    bool is_structural = false;  ///< moves a directory
    bool follows = false;  ///< is there only if the change before it is
    std::vector<Edit> edits;
    /// End of a name whose file has a new one: the directory of that.
    std::shared_ptr<SimFile> moved_to = nullptr;
  };

  SimFiles();
  SimFiles(SimFiles&& other) noexcept = default;
  SimFiles& operator=(SimFiles&& other) noexcept = delete;
  ~SimFiles();

  /// Null where there is none. The address is good for as long as the file has a name.
  SimFile* find(std::string_view path) noexcept { return find_shared(path).get(); }
  std::shared_ptr<SimFile> find_shared(std::string_view path) noexcept;
  /// Makes an empty file; the name must be free, and its directory there.
  SimFile& create(std::string_view path) { return add(path, SimFile::Kind::regular); }
  // For what is there when a world begins; as settle(), all that was done before is durable afterwards.
  /// Makes a raw device, whose sectors read as random bytes until they were written.
  SimFile& add_device(std::string_view path, uint64_t size);
  /// Makes a file, or writes over what it holds.
  SimFile& put(std::string_view path, std::span<const std::byte> content);
  /// Files, directories and devices, the root aside.
  size_t count() const noexcept;

  /// ENOENT or ENOTDIR when there is no directory to hold the entry; EEXIST for the root.
  int32_t check_parent(std::string_view path) noexcept;
  int32_t rename(std::string_view from, std::string_view to);
  int32_t unlink(std::string_view path);
  int32_t remove_directory(std::string_view path);
  int32_t make_directory(std::string_view path);
  /// Sorted by name.
  int32_t list(std::string_view path, std::vector<DirectoryEntry>& entries);

  /// The number of the next change of the disk.
  uint64_t take_sequence() noexcept { return ++sequence_; }
  /// That of the last one.
  uint64_t sequence() const noexcept { return sequence_; }
  /// The changes of a directory with a number up to `sequence` are durable.
  void sync_directory(SimFile& directory, uint64_t sequence);
  /// Everything is durable.
  void settle();
  /// What is left when the power fails, by seed. No file may be open.
  void lose_power(uint32_t sector_size, Random& random);

  /// Changes of directories that are not durable.
  const std::vector<Change>& changes() const noexcept { return changes_; }
  /// Decides all of them: `kept[i]` of changes()[i], where those that it builds on are kept too. The files stay.
  void decide_changes(const std::vector<bool>& kept);
  /// visit(path, file) for all that has a name, directories included; by name, and depth first.
  template <class Visit>
  void for_each(Visit visit) {
    visit_all(*root_, std::string(), visit);
  }
  /// visit(file) for all that has a name, or had one not long ago: in either image, or in a change that is not durable.
  template <class Visit>
  void for_each_file(Visit visit) {
    for (const std::shared_ptr<SimFile>& file : collect()) {
      if (!file->is_directory()) visit(*file);
    }
  }
  /// Of those. Null where there is none.
  SimFile* find_number(uint64_t number) noexcept;
  /// The same content, sharing its pages, as a disk of its own.
  SimFiles clone() const;

  SimSpace& space() noexcept { return *space_; }
  FaultRecord& record() noexcept { return record_; }

 private:
  struct Parent {
    std::shared_ptr<SimFile> directory;
    std::string name;  // "": the root itself
    int32_t error = 0;
  };

  static std::vector<std::string> parts_of(std::string_view path);
  Parent parent_of(std::string_view path) noexcept;
  std::shared_ptr<SimFile> make(SimFile::Kind kind);
  SimFile& add(std::string_view path, SimFile::Kind kind);
  int32_t remove(const Parent& place, const std::shared_ptr<SimFile>& file);
  bool is_below(const SimFile& file, const SimFile& directory) const noexcept;
  int32_t check_replaces(const SimFile& moved, const SimFile& former) const noexcept;
  void change(Change made);
  void note_unlinked(SimFile& file) noexcept;
  void commit(size_t index, std::vector<bool>& is_committed);
  bool can_keep(const Change& change) const noexcept;
  std::vector<std::shared_ptr<SimFile>> collect() const;
  void lose_power(SimFile& file, uint32_t sector_size, Random& random);
  template <class Visit>
  static void visit_all(SimFile& directory, const std::string& prefix, Visit& visit);

  std::shared_ptr<PagePool> pool_ = std::make_shared<PagePool>();  // with those that were cloned from it
  std::unique_ptr<SimSpace> space_ = std::make_unique<SimSpace>();
  uint64_t number_next_ = 1;
  uint64_t sequence_ = 0;
  std::shared_ptr<SimFile> root_;
  std::vector<Change> changes_;  // in the order of their numbers
  FaultRecord record_;
};

template <class Visit>
void SimFiles::visit_all(SimFile& directory, const std::string& prefix, Visit& visit) {
  for (const auto& [name, file] : directory.entries) {
    const std::string path = prefix.empty() ? name : prefix + "/" + name;
    visit(path, *file);
    if (file->is_directory()) visit_all(*file, path, visit);
  }
}

}  // namespace spindle
