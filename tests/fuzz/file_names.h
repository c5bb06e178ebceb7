// What the directories may hold: the model of names of the fuzzer `file`.
//
// Every change of a name that is not durable stands in a list, in the order in which they were made. At a loss of power
// each is there or not, where one that builds on another of the same name is there only with that one; after the death
// of a process all are, and those that were in flight are or are not. What is then found must be explained by some
// choice: resolve() looks for one. To build on another means to find what it left: so of "made, removed, made again"
// the last alone is possible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "tests/fuzz/file_model.h"

namespace spindle::fuzz {

/// A file or directory, whatever its names are.
struct Node {
  explicit Node(uint32_t id, bool is_directory) noexcept : id(id), is_directory(is_directory) {}
  uint32_t id;
  bool is_directory;
  uint64_t number = 0;  ///< as stat tells it; 0: not seen yet
  FileModel file;
  bool is_lock_busy = false;  ///< somebody is asking for its lock
  uint32_t lock_leaving_count = 0;  ///< files that may have it and are being closed
};

/// A name in a directory.
struct NameKey {
  uint32_t directory = 0;  ///< id of its node
  uint32_t name = 0;
  friend auto operator<=>(const NameKey&, const NameKey&) = default;
};

struct NameEdit {
  NameKey key;
  Node* before = nullptr;  ///< null: nothing
  Node* after = nullptr;
};

/// One piece.
struct NameChange {
  uint64_t sequence = 0;
  std::vector<NameEdit> edits;
  bool follows = false;  ///< there only if the one before it is
  bool is_forgotten = false;  ///< a sync of it failed: a later one says nothing about it
  bool is_maybe = false;  ///< was in flight when the process died
};

/// What a restart brought.
struct NameFindings {
  uint32_t lost_count = 0;
  uint32_t kept_count = 0;
  uint32_t back_count = 0;  ///< removed, and there again
  uint32_t half_count = 0;  ///< renamed from one directory to another: both names
  uint32_t directories_lost = 0;
};

class NameModel {
 public:
  using Entries = std::map<NameKey, Node*>;
  using Seen = std::map<NameKey, uint64_t>;  ///< numbers

  /// reuses_numbers: a new file may have the number of one that is gone.
  explicit NameModel(bool reuses_numbers) noexcept : reuses_numbers_(reuses_numbers) {}

  Node& add_node(bool is_directory);
  const std::vector<std::unique_ptr<Node>>& nodes() const noexcept { return nodes_; }
  Node* find(NameKey key) const noexcept;
  Node* find_number(uint64_t number) const noexcept;
  bool has_entries(uint32_t directory) const noexcept;
  uint32_t links_of(const Node& node) const noexcept;
  const Entries& entries() const noexcept { return entries_; }

  /// Durable, from the beginning.
  void put(NameKey key, Node& node);
  /// Happened. The pieces of one operation, in order.
  void apply(std::vector<NameChange> pieces, uint64_t sequence);
  /// In flight when the process died.
  void apply_maybe(std::vector<NameChange> pieces, uint64_t sequence);
  /// Those up to `sequence`, and those that are `own`.
  void note_synced(uint32_t directory, uint64_t sequence, uint64_t own = 0);
  void note_sync_failed(uint32_t directory, uint64_t sequence);
  void note_power_lost() noexcept { is_power_lost_ = true; }

  /// After a restart: `seen` is all that is there, in the directories `seen_directories`. False: nothing explains it.
  void print(const Seen& seen) const;
  bool resolve(const Seen& seen, const std::vector<uint32_t>& seen_directories, NameFindings& findings);

 private:
  struct Search;

  void commit(size_t index, std::vector<bool>& is_committed);
  bool search(Search& search, size_t index) const;
  bool agrees(const Search& search, NameKey key) const;
  bool is_last_on(size_t index, NameKey key) const noexcept;
  bool keep(Search& search, size_t index) const;
  bool may_leave_out(const Search& search, size_t index) const;
  void settle(const Search& search, NameFindings& findings);
  void note_piece(const Search& search, size_t index, NameFindings& findings) const;

  bool reuses_numbers_;
  std::vector<std::unique_ptr<Node>> nodes_;
  Entries durable_;
  Entries entries_;
  std::vector<NameChange> changes_;
  bool is_power_lost_ = false;
};

}  // namespace spindle::fuzz
