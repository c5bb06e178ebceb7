#include "io/sim/sim_files.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "io/directory.h"
#include "runtime/assert.h"

namespace spindle {

namespace {

using Edit = SimFiles::Edit;
using Change = SimFiles::Change;

bool share_a_name(const Change& one, const Change& other) noexcept {
  for (const Edit& edit : one.edits) {
    for (const Edit& candidate : other.edits) {
      if (edit.directory == candidate.directory && edit.name == candidate.name) return true;
    }
  }
  return false;
}

bool touches(const Change& change, const SimFile& directory) noexcept {
  return std::any_of(change.edits.begin(), change.edits.end(),
                     [&](const Edit& edit) { return edit.directory.get() == &directory; });
}

bool makes_directory(const Change& change) noexcept {
  return std::any_of(change.edits.begin(), change.edits.end(),
                     [](const Edit& edit) { return edit.after != nullptr && edit.after->is_directory(); });
}

/// visit(directory) for those that the change removes, or puts something else in the place of.
template <class Visit>
void for_each_removed_directory(const Change& change, Visit visit) {
  for (const Edit& edit : change.edits) {
    if (edit.before == nullptr || !edit.before->is_directory()) continue;
    const bool is_moved = std::any_of(change.edits.begin(), change.edits.end(),
                                      [&](const Edit& other) { return other.after == edit.before; });
    if (!is_moved) visit(*edit.before);
  }
}

/// Something that `former` did to a directory that `change` removes: what left it must not be lost with it.
bool empties_for(const Change& former, const Change& change) noexcept {
  bool empties = false;
  for_each_removed_directory(change, [&](const SimFile& removed) { empties = empties || touches(former, removed); });
  return empties;
}

bool applies_durably(const Change& change) noexcept {
  return std::all_of(change.edits.begin(), change.edits.end(), [](const Edit& edit) {
    const auto found = edit.directory->durable_entries.find(edit.name);
    const SimFile* const there = found == edit.directory->durable_entries.end() ? nullptr : found->second.get();
    return there == edit.before.get();
  });
}

void apply(const Edit& edit, SimFile::Entries& entries) {
  if (edit.after == nullptr) {
    entries.erase(edit.name);
  } else {
    entries.insert_or_assign(edit.name, edit.after);
  }
}

void apply_durably(const Change& change) {
  for (const Edit& edit : change.edits) apply(edit, edit.directory->durable_entries);
}

bool is_durably_below(const SimFile& file, const SimFile& directory) noexcept {
  if (&file == &directory) return true;
  return std::any_of(directory.durable_entries.begin(), directory.durable_entries.end(),
                     [&](const auto& entry) { return is_durably_below(file, *entry.second); });
}

}  // namespace

SimFiles::SimFiles() : root_(make(SimFile::Kind::directory)) {}

// A directory's two images may hold each other's directories: so the circles are broken by hand.
SimFiles::~SimFiles() {
  if (root_ == nullptr) return;  // moved away
  for (const std::shared_ptr<SimFile>& file : collect()) {
    file->entries.clear();
    file->durable_entries.clear();
  }
}

std::vector<std::string> SimFiles::parts_of(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.emplace_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return parts;
}

SimFiles::Parent SimFiles::parent_of(std::string_view path) noexcept {
  std::vector<std::string> parts = parts_of(path);
  Parent place{root_, std::string(), 0};
  if (parts.empty()) return place;
  place.name = std::move(parts.back());
  parts.pop_back();
  for (const std::string& part : parts) {
    const auto found = place.directory->entries.find(part);
    if (found == place.directory->entries.end()) {
      place.error = -ENOENT;
      return place;
    }
    place.directory = found->second;
    if (place.directory->is_directory()) continue;
    place.error = -ENOTDIR;
    return place;
  }
  return place;
}

std::shared_ptr<SimFile> SimFiles::find_shared(std::string_view path) noexcept {
  const Parent place = parent_of(path);
  if (place.error != 0) return nullptr;
  if (place.name.empty()) return root_;
  const auto found = place.directory->entries.find(place.name);
  return found == place.directory->entries.end() ? nullptr : found->second;
}

std::shared_ptr<SimFile> SimFiles::make(SimFile::Kind kind) {
  return std::make_shared<SimFile>(*pool_, *space_, number_next_++, kind);
}

SimFile& SimFiles::add(std::string_view path, SimFile::Kind kind) {
  const Parent place = parent_of(path);
  SPINDLE_ASSERT(place.error == 0 && !place.name.empty(), "a simulated file was made without a directory");
  SPINDLE_ASSERT(place.directory->entries.count(place.name) == 0, "a simulated file was made where there is one");
  const std::shared_ptr<SimFile> made = make(kind);
  change({take_sequence(), false, false, {{place.directory, place.name, nullptr, made}}});
  return *made;
}

SimFile& SimFiles::add_device(std::string_view path, uint64_t size) {
  const Parent place = parent_of(path);
  SPINDLE_ASSERT(place.error == 0 && !place.name.empty(), "a simulated device was made without a directory");
  const auto made = std::make_shared<SimFile>(*pool_, *space_, number_next_++, SimFile::Kind::device, size);
  change({take_sequence(), false, false, {{place.directory, place.name, nullptr, made}}});
  settle();
  return *made;
}

SimFile& SimFiles::put(std::string_view path, std::span<const std::byte> content) {
  SimFile* const there = find(path);
  SimFile& file = there != nullptr ? *there : create(path);
  file.write(0, content, take_sequence());
  settle();
  return file;
}

size_t SimFiles::count() const noexcept {
  size_t count = 0;
  auto visit = [&](const std::string&, const SimFile&) { ++count; };
  visit_all(*root_, std::string(), visit);
  return count;
}

// ---- changes of directories

void SimFiles::change(Change made) {
  for (const Edit& edit : made.edits) apply(edit, edit.directory->entries);
  changes_.push_back(std::move(made));
}

void SimFiles::note_unlinked(SimFile& file) noexcept {
  if (--file.links == 0 && file.open_count == 0) file.give_space_back();
}

int32_t SimFiles::check_parent(std::string_view path) noexcept {
  const Parent place = parent_of(path);
  return place.name.empty() ? -EEXIST : place.error;
}

bool SimFiles::is_below(const SimFile& file, const SimFile& directory) const noexcept {
  if (&file == &directory) return true;
  return std::any_of(directory.entries.begin(), directory.entries.end(),
                     [&](const auto& entry) { return is_below(file, *entry.second); });
}

int32_t SimFiles::check_replaces(const SimFile& moved, const SimFile& former) const noexcept {
  if (moved.is_directory() && !former.is_directory()) return -ENOTDIR;
  if (!moved.is_directory() && former.is_directory()) return -EISDIR;
  return former.is_directory() && !former.entries.empty() ? -ENOTEMPTY : 0;
}

int32_t SimFiles::rename(std::string_view from_path, std::string_view to_path) {
  const Parent from = parent_of(from_path);
  const Parent to = parent_of(to_path);
  if (from.name.empty() || to.name.empty()) return -EBUSY;
  if (from.error != 0 || to.error != 0) return from.error != 0 ? from.error : to.error;
  const std::shared_ptr<SimFile> moved = find_shared(from_path);
  if (moved == nullptr) return -ENOENT;
  const std::shared_ptr<SimFile> former = find_shared(to_path);
  if (former == moved) return 0;
  if (moved->is_directory() && is_below(*to.directory, *moved)) return -EINVAL;
  if (former != nullptr) {
    const int32_t refused = check_replaces(*moved, *former);
    if (refused != 0) return refused;
  }
  Edit gone{from.directory, from.name, moved, nullptr};
  Edit there{to.directory, to.name, former, moved};
  if (from.directory == to.directory || moved->is_directory()) {
    change({take_sequence(), moved->is_directory(), false, {std::move(gone), std::move(there)}});
  } else {
    change({take_sequence(), false, false, {std::move(there)}});
    change({sequence_, false, true, {std::move(gone)}, to.directory});
  }
  if (former != nullptr) note_unlinked(*former);
  return 0;
}

int32_t SimFiles::remove(const Parent& place, const std::shared_ptr<SimFile>& file) {
  change({take_sequence(), false, false, {{place.directory, place.name, file, nullptr}}});
  note_unlinked(*file);
  return 0;
}

int32_t SimFiles::unlink(std::string_view path) {
  const Parent place = parent_of(path);
  if (place.name.empty()) return -EISDIR;
  if (place.error != 0) return place.error;
  const std::shared_ptr<SimFile> file = find_shared(path);
  if (file == nullptr) return -ENOENT;
  if (file->is_directory()) return -EISDIR;
  return remove(place, file);
}

int32_t SimFiles::remove_directory(std::string_view path) {
  const Parent place = parent_of(path);
  if (place.name.empty()) return -EBUSY;
  if (place.error != 0) return place.error;
  const std::shared_ptr<SimFile> directory = find_shared(path);
  if (directory == nullptr) return -ENOENT;
  if (!directory->is_directory()) return -ENOTDIR;
  if (!directory->entries.empty()) return -ENOTEMPTY;
  return remove(place, directory);
}

int32_t SimFiles::make_directory(std::string_view path) {
  const int32_t parent = check_parent(path);
  if (parent != 0) return parent;
  if (find(path) != nullptr) return -EEXIST;
  add(path, SimFile::Kind::directory);
  return 0;
}

int32_t SimFiles::list(std::string_view path, std::vector<DirectoryEntry>& entries) {
  const Parent place = parent_of(path);
  if (place.error != 0) return place.error;
  const std::shared_ptr<SimFile> directory = find_shared(path);
  if (directory == nullptr) return -ENOENT;
  if (!directory->is_directory()) return -ENOTDIR;
  entries.clear();
  for (const auto& [name, file] : directory->entries) {
    const FileKind kind = file->is_directory() ? FileKind::directory : FileKind::regular;
    entries.push_back({name, file->is_device() ? FileKind::block_device : kind});
  }
  return 0;
}

// ---- durability

// Makes a change durable, and those that it builds on: of the same names; the new name before the end of the old one;
// the order of what moves directories; of what moves anything, all directories that were made before; and of what
// removes a directory, all that was done in it.
void SimFiles::commit(size_t index, std::vector<bool>& is_committed) {
  if (is_committed[index]) return;
  is_committed[index] = true;
  const Change& change = changes_[index];
  const bool is_move = change.is_structural || change.moved_to != nullptr;
  for (size_t earlier = 0; earlier < index; ++earlier) {
    const Change& former = changes_[earlier];
    const bool is_needed = share_a_name(former, change) || (change.is_structural && former.is_structural) ||
                           (is_move && makes_directory(former)) || empties_for(former, change);
    if (is_needed) commit(earlier, is_committed);
  }
  if (change.follows) commit(index - 1, is_committed);
  SPINDLE_ASSERT(applies_durably(change), "a change of a directory was made durable before the one that it builds on");
  apply_durably(change);
}

void SimFiles::sync_directory(SimFile& directory, uint64_t sequence) {
  std::vector<bool> is_committed(changes_.size());
  for (size_t index = 0; index < changes_.size() && changes_[index].sequence <= sequence; ++index) {
    if (changes_[index].is_structural || touches(changes_[index], directory)) commit(index, is_committed);
  }
  std::vector<Change> left;
  for (size_t index = 0; index < changes_.size(); ++index) {
    if (is_committed[index]) continue;
    const bool leader_is_durable = changes_[index].follows && is_committed[index - 1];
    left.push_back(std::move(changes_[index]));
    if (leader_is_durable) left.back().follows = false;
  }
  changes_ = std::move(left);
}

void SimFiles::settle() {
  for (const std::shared_ptr<SimFile>& file : collect()) {
    file->durable_entries = file->entries;
    file->settle();
  }
  changes_.clear();
}

// Everything that a name leads to, in either image, or has led to. In an order that depends on names only.
std::vector<std::shared_ptr<SimFile>> SimFiles::collect() const {
  std::vector<std::shared_ptr<SimFile>> found;
  std::set<const SimFile*> seen;
  auto add = [&](const std::shared_ptr<SimFile>& file) {
    if (file != nullptr && seen.insert(file.get()).second) found.push_back(file);
  };
  add(root_);
  for (const Change& change : changes_) {
    for (const Edit& edit : change.edits) {
      add(edit.directory);
      add(edit.before);
      add(edit.after);
    }
    add(change.moved_to);
  }
  for (size_t index = 0; index < found.size(); ++index) {
    const std::shared_ptr<SimFile> file = found[index];
    for (const auto& entry : file->entries) add(entry.second);
    for (const auto& entry : file->durable_entries) add(entry.second);
  }
  return found;
}

SimFile* SimFiles::find_number(uint64_t number) noexcept {
  SimFile* found = nullptr;
  for_each_file([&](SimFile& file) {
    if (file.number() == number) found = &file;
  });
  return found;
}

// What moves a file must not lead to where nothing leads, and what removes a directory must not take a file with it.
bool SimFiles::can_keep(const Change& change) const noexcept {
  if (!applies_durably(change)) return false;
  if (change.moved_to != nullptr && !is_durably_below(*change.moved_to, *root_)) return false;
  bool is_empty = true;
  for_each_removed_directory(change,
                             [&](const SimFile& removed) { is_empty = is_empty && removed.durable_entries.empty(); });
  if (!is_empty) return false;
  return std::all_of(change.edits.begin(), change.edits.end(),
                     [&](const Edit& edit) { return is_durably_below(*edit.directory, *root_); });
}

void SimFiles::decide_changes(const std::vector<bool>& kept) {
  const std::vector<std::shared_ptr<SimFile>> all = collect();
  bool keeps_structure = true;
  bool former_is_kept = true;
  for (size_t index = 0; index < changes_.size(); ++index) {
    const Change& change = changes_[index];
    bool is_kept = kept[index] && can_keep(change);
    is_kept = is_kept && (!change.follows || former_is_kept) && (!change.is_structural || keeps_structure);
    if (change.is_structural) keeps_structure = is_kept;
    if (is_kept) apply_durably(change);
    former_is_kept = is_kept;
  }
  changes_.clear();
  std::set<const SimFile*> reached;
  for (const std::shared_ptr<SimFile>& file : all) {
    file->entries = file->durable_entries;
    if (file != root_) file->links = 0;
  }
  auto visit = [&](const std::string&, SimFile& file) {
    reached.insert(&file);
    ++file.links;
    file.recount();
  };
  visit_all(*root_, std::string(), visit);
  for (const std::shared_ptr<SimFile>& file : all) {
    if (file == root_ || reached.count(file.get()) > 0) continue;
    file->entries.clear();
    file->durable_entries.clear();
  }
}

namespace {

uint64_t hash_of(const std::string& name) noexcept {
  uint64_t hash = name.size();
  for (const char character : name) hash = mix64(hash ^ static_cast<unsigned char>(character));
  return hash;
}

}  // namespace

void SimFiles::lose_power(uint32_t sector_size, Random& random) {
  const uint64_t mood = random.below(4);
  std::vector<bool> kept(changes_.size());
  for (size_t index = 0; index < kept.size(); ++index) kept[index] = mood < 2 ? mood == 1 : random.chance(1, 2);
  decide_changes(kept);
  // Of each file by itself, whatever others there are.
  const uint64_t seed = random.next();
  for_each([&](const std::string& name, SimFile& file) {
    Random own(mix64(seed ^ hash_of(name)));
    lose_power(file, sector_size, own);
  });
}

// Damage that was written over is back where that write is not, and gone behind the end.
void SimFiles::lose_power(SimFile& file, uint32_t sector_size, Random& random) {
  const auto sector_at = [&](uint64_t offset) {
    std::vector<std::byte> content(sector_size);
    file.read(offset, content);
    return content;
  };
  const FaultRecord::Damages removed = record_.take_removed(file.number());
  std::vector<std::vector<std::byte>> before;
  for (const auto& [sector, damage] : removed) before.push_back(sector_at(sector.second));
  file.lose_power(sector_size, random);
  size_t index = 0;
  for (const auto& [sector, damage] : removed) {
    const bool is_as_before = sector_at(sector.second) == before[index++];
    if (is_as_before || sector.second >= file.size()) continue;
    file.watch(sector.second);
    record_.add(file.number(), sector.second, damage);
    if (damage.fault == Fault::latent_error) file.make_unreadable(sector.second, sector_size);
  }
  if (file.is_device()) return;
  const uint64_t end = (file.size() + sector_size - 1) / sector_size * sector_size;
  record_.remove(file.number(), end, UINT64_MAX);
  record_.take_removed(file.number());
}

SimFiles SimFiles::clone() const {
  SimFiles copy;
  copy.pool_ = pool_;
  *copy.space_ = SimSpace{space_->pages_max, 0};
  copy.number_next_ = number_next_;
  copy.sequence_ = sequence_;
  std::map<const SimFile*, std::shared_ptr<SimFile>> copies{{nullptr, nullptr}};
  const std::vector<std::shared_ptr<SimFile>> all = collect();
  for (const std::shared_ptr<SimFile>& file : all) {
    const std::shared_ptr<SimFile> made = file->clone(*copy.space_);
    if (made->links == 0) made->give_space_back();  // nobody has it open there
    copies[file.get()] = made;
  }
  for (const std::shared_ptr<SimFile>& file : all) {
    SimFile& to = *copies[file.get()];
    for (const auto& [name, entry] : file->entries) to.entries.emplace(name, copies[entry.get()]);
    for (const auto& [name, entry] : file->durable_entries) to.durable_entries.emplace(name, copies[entry.get()]);
  }
  for (Change change : changes_) {
    for (Edit& edit : change.edits) {
      edit = {copies[edit.directory.get()], edit.name, copies[edit.before.get()], copies[edit.after.get()]};
    }
    change.moved_to = copies[change.moved_to.get()];
    copy.changes_.push_back(std::move(change));
  }
  copy.root_ = copies[root_.get()];
  return copy;
}

}  // namespace spindle
