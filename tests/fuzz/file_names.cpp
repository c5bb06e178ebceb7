#include "tests/fuzz/file_names.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <set>

namespace spindle::fuzz {

namespace {

void set_entry(NameModel::Entries& entries, NameKey key, Node* node) {
  if (node == nullptr) {
    entries.erase(key);
  } else {
    entries[key] = node;
  }
}

Node* entry_of(const NameModel::Entries& entries, NameKey key) noexcept {
  const auto found = entries.find(key);
  return found == entries.end() ? nullptr : found->second;
}

bool share_a_name(const NameChange& left, const NameChange& right) noexcept {
  for (const NameEdit& edit : left.edits) {
    for (const NameEdit& other : right.edits) {
      if (edit.key == other.key) return true;
    }
  }
  return false;
}

}  // namespace

/// A choice of changes, as far as it has come.
struct NameModel::Search {
  const Seen& seen;
  const std::vector<uint32_t>& directories;
  std::vector<bool> kept;
  Entries entries;
  std::set<std::pair<size_t, Entries>> visited;  // in vain
};

Node& NameModel::add_node(bool is_directory) {
  nodes_.push_back(std::make_unique<Node>(static_cast<uint32_t>(nodes_.size()), is_directory));
  return *nodes_.back();
}

Node* NameModel::find(NameKey key) const noexcept { return entry_of(entries_, key); }

Node* NameModel::find_number(uint64_t number) const noexcept {
  for (const auto& [key, node] : entries_) {
    if (node->number == number) return node;
  }
  return nullptr;
}

bool NameModel::has_entries(uint32_t directory) const noexcept {
  const auto first = entries_.lower_bound(NameKey{directory, 0});
  return first != entries_.end() && first->first.directory == directory;
}

uint32_t NameModel::links_of(const Node& node) const noexcept {
  uint32_t count = 0;
  for (const auto& [key, other] : entries_) count += other == &node;
  return count;
}

void NameModel::put(NameKey key, Node& node) { durable_[key] = entries_[key] = &node; }

void NameModel::apply(std::vector<NameChange> pieces, uint64_t sequence) {
  for (NameChange& piece : pieces) {
    piece.sequence = sequence;
    for (const NameEdit& edit : piece.edits) set_entry(entries_, edit.key, edit.after);
    changes_.push_back(std::move(piece));
  }
}

void NameModel::apply_maybe(std::vector<NameChange> pieces, uint64_t sequence) {
  for (NameChange& piece : pieces) {
    piece.sequence = sequence;
    piece.is_maybe = true;
    changes_.push_back(std::move(piece));
  }
}

void NameModel::commit(size_t index, std::vector<bool>& is_committed) {
  if (is_committed[index]) return;
  is_committed[index] = true;
  for (size_t earlier = 0; earlier < index; ++earlier) {
    if (share_a_name(changes_[earlier], changes_[index])) commit(earlier, is_committed);
  }
  if (changes_[index].follows) commit(index - 1, is_committed);
  for (const NameEdit& edit : changes_[index].edits) set_entry(durable_, edit.key, edit.after);
}

void NameModel::note_synced(uint32_t directory, uint64_t sequence, uint64_t own) {
  std::vector<bool> is_committed(changes_.size());
  for (size_t index = 0; index < changes_.size(); ++index) {
    const NameChange& change = changes_[index];
    const bool is_of_it = std::any_of(change.edits.begin(), change.edits.end(),
                                      [&](const NameEdit& edit) { return edit.key.directory == directory; });
    const bool is_covered = change.sequence <= sequence || change.sequence == own;
    if (is_of_it && is_covered && !change.is_forgotten) commit(index, is_committed);
  }
  std::vector<NameChange> left;
  for (size_t index = 0; index < changes_.size(); ++index) {
    if (is_committed[index]) continue;
    if (changes_[index].follows && is_committed[index - 1]) changes_[index].follows = false;
    left.push_back(std::move(changes_[index]));
  }
  changes_ = std::move(left);
}

void NameModel::note_sync_failed(uint32_t directory, uint64_t sequence) {
  for (NameChange& change : changes_) {
    for (const NameEdit& edit : change.edits) {
      change.is_forgotten |= edit.key.directory == directory && change.sequence <= sequence;
    }
  }
}

bool NameModel::is_last_on(size_t index, NameKey key) const noexcept {
  for (size_t later = index + 1; later < changes_.size(); ++later) {
    for (const NameEdit& edit : changes_[later].edits) {
      if (edit.key == key) return false;
    }
  }
  return true;
}

// What the choice leaves under a name is what was seen there. Nothing is known of directories that were not seen.
bool NameModel::agrees(const Search& search, NameKey key) const {
  const auto& directories = search.directories;
  if (std::find(directories.begin(), directories.end(), key.directory) == directories.end()) return true;
  const Node* const node = entry_of(search.entries, key);
  const auto found = search.seen.find(key);
  if (node == nullptr || found == search.seen.end()) return node == nullptr && found == search.seen.end();
  if (node->number != 0 || reuses_numbers_) return node->number == 0 || node->number == found->second;
  return std::none_of(nodes_.begin(), nodes_.end(), [&](const auto& other) { return other->number == found->second; });
}

bool NameModel::keep(Search& search, size_t index) const {
  const NameChange& change = changes_[index];
  if (change.follows && !search.kept[index - 1]) return false;
  for (const NameEdit& edit : change.edits) {
    if (entry_of(search.entries, edit.key) != edit.before) return false;
  }
  for (const NameEdit& edit : change.edits) set_entry(search.entries, edit.key, edit.after);
  return true;
}

bool NameModel::may_leave_out(const Search& search, size_t index) const {
  const NameChange& change = changes_[index];
  const bool is_half = !is_power_lost_ && change.follows && search.kept[index - 1];
  return (is_power_lost_ || change.is_maybe) && !is_half;
}

bool NameModel::search(Search& search, size_t index) const {
  if (index == changes_.size()) {
    const auto is_right = [&](const auto& entry) { return agrees(search, entry.first); };
    return std::all_of(search.entries.begin(), search.entries.end(), is_right) &&
           std::all_of(search.seen.begin(), search.seen.end(), is_right);
  }
  const bool leader_is_kept = index > 0 && search.kept[index - 1];
  if (!search.visited.emplace(index * 2 + leader_is_kept, search.entries).second) return false;
  const Entries entries = search.entries;
  const auto& edits = changes_[index].edits;
  const auto is_possible = [&](const NameEdit& edit) {
    return !is_last_on(index, edit.key) || agrees(search, edit.key);
  };
  for (const bool is_kept : {true, false}) {
    const bool may_be = is_kept ? keep(search, index) : may_leave_out(search, index);
    search.kept[index] = is_kept;
    if (may_be && std::all_of(edits.begin(), edits.end(), is_possible) && this->search(search, index + 1)) return true;
    search.entries = entries;
  }
  return false;
}

void NameModel::note_piece(const Search& search, size_t index, NameFindings& findings) const {
  const NameChange& change = changes_[index];
  if (search.kept[index]) {
    ++findings.kept_count;
    return;
  }
  if (change.follows && search.kept[index - 1]) ++findings.half_count;
  for (const NameEdit& edit : change.edits) {
    const Node* const after = entry_of(search.entries, edit.key);
    if (edit.before == nullptr && after == nullptr)
      ++(edit.after->is_directory ? findings.directories_lost : findings.lost_count);
    if (edit.after == nullptr && after == edit.before) ++findings.back_count;
  }
}

void NameModel::settle(const Search& search, NameFindings& findings) {
  if (is_power_lost_) {
    for (size_t index = 0; index < changes_.size(); ++index) note_piece(search, index, findings);
    durable_ = search.entries;
    changes_.clear();
  } else {
    std::vector<NameChange> left;
    for (size_t index = 0; index < changes_.size(); ++index) {
      if (!search.kept[index]) continue;
      changes_[index].is_maybe = false;
      left.push_back(std::move(changes_[index]));
    }
    changes_ = std::move(left);
  }
  entries_ = search.entries;
  for (const auto& [key, number] : search.seen) {
    Node* const node = find(key);
    if (node != nullptr && node->number == 0) node->number = number;
  }
  is_power_lost_ = false;
}

void NameModel::print(const Seen& seen) const {
  const auto number_of = [](const Node* node) { return node == nullptr ? 0 : node->number; };
  for (const auto& [key, node] : durable_) {
    std::fprintf(stderr, "  durable: %u/%u is node %u, file %" PRIu64 "\n", key.directory, key.name, node->id,
                 node->number);
  }
  for (const NameChange& change : changes_) {
    std::fprintf(stderr, "  change %" PRIu64 "%s%s%s:", change.sequence, change.follows ? ", follows" : "",
                 change.is_forgotten ? ", forgotten" : "", change.is_maybe ? ", in flight" : "");
    for (const NameEdit& edit : change.edits) {
      std::fprintf(stderr, " %u/%u from %" PRIu64 " to %" PRIu64, edit.key.directory, edit.key.name,
                   number_of(edit.before), number_of(edit.after));
    }
    std::fprintf(stderr, "\n");
  }
  for (const auto& [key, number] : seen) {
    std::fprintf(stderr, "  seen: %u/%u is file %" PRIu64 "\n", key.directory, key.name, number);
  }
}

bool NameModel::resolve(const Seen& seen, const std::vector<uint32_t>& seen_directories, NameFindings& findings) {
  Search choice{seen, seen_directories, std::vector<bool>(changes_.size()), durable_, {}};
  if (!search(choice, 0)) return false;
  // What is in a directory that is gone is gone.
  std::erase_if(choice.entries, [&](const auto& entry) {
    return std::find(seen_directories.begin(), seen_directories.end(), entry.first.directory) == seen_directories.end();
  });
  settle(choice, findings);
  return true;
}

}  // namespace spindle::fuzz
