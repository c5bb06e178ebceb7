#include "io/sim/sim_files.h"

#include <cerrno>

#include "io/directory.h"
#include "runtime/assert.h"

namespace spindle {

namespace {

bool is_below(std::string_view path, std::string_view directory) noexcept {
  if (directory.empty()) return !path.empty();
  return path.size() > directory.size() && path.starts_with(directory) && path[directory.size()] == '/';
}

std::string parent_name(const std::string& name) {
  const size_t slash = name.rfind('/');
  return slash == std::string::npos ? std::string() : name.substr(0, slash);
}

}  // namespace

std::shared_ptr<SimFile> SimFiles::make_root() {
  auto root = std::make_shared<SimFile>();
  root->number = 1;
  root->is_directory = true;
  return root;
}

std::string SimFiles::normal(std::string_view path) {
  std::string name;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      name = parent_name(name);
      continue;
    }
    if (!name.empty()) name += '/';
    name += part;
  }
  return name;
}

std::shared_ptr<SimFile> SimFiles::node(const std::string& name) noexcept {
  if (name.empty()) return root_;
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : found->second;
}

std::shared_ptr<SimFile> SimFiles::find_shared(std::string_view path) noexcept { return node(normal(path)); }

std::shared_ptr<SimFile> SimFiles::add(std::string name, bool is_directory) {
  auto made = std::make_shared<SimFile>();
  made->number = number_next_++;
  made->is_directory = is_directory;
  const bool is_new = nodes_.emplace(std::move(name), made).second;
  SPINDLE_ASSERT(is_new, "a simulated file was made where there is one");
  return made;
}

void SimFiles::remove(const std::string& name) noexcept {
  const auto found = nodes_.find(name);
  found->second->links = 0;
  nodes_.erase(found);
}

bool SimFiles::has_children(const std::string& name) const noexcept {
  const auto next = nodes_.lower_bound(name + "/");
  return next != nodes_.end() && is_below(next->first, name);
}

int32_t SimFiles::check_parent(std::string_view path) noexcept {
  const std::string name = normal(path);
  if (name.empty()) return -EEXIST;
  for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
    const std::shared_ptr<SimFile> above = node(name.substr(0, slash));
    if (above == nullptr) return -ENOENT;
    if (!above->is_directory) return -ENOTDIR;
  }
  return 0;
}

int32_t SimFiles::check_replaces(const SimFile& moved, const SimFile& former, const std::string& to) const noexcept {
  if (moved.is_directory && !former.is_directory) return -ENOTDIR;
  if (!moved.is_directory && former.is_directory) return -EISDIR;
  return former.is_directory && has_children(to) ? -ENOTEMPTY : 0;
}

int32_t SimFiles::rename(std::string_view from_path, std::string_view to_path) {
  const std::string from = normal(from_path);
  const std::string to = normal(to_path);
  if (from.empty() || to.empty()) return -EBUSY;
  const int32_t source = check_parent(from);
  const int32_t target = check_parent(to);
  if (source != 0 || target != 0) return source != 0 ? source : target;
  const std::shared_ptr<SimFile> moved = node(from);
  if (moved == nullptr) return -ENOENT;
  if (is_below(to, from)) return -EINVAL;
  if (from == to) return 0;
  if (const std::shared_ptr<SimFile> former = node(to)) {
    const int32_t refused = check_replaces(*moved, *former, to);
    if (refused != 0) return refused;
    remove(to);
  }
  // What lies below goes along.
  Nodes taken;
  for (auto at = nodes_.lower_bound(from); at != nodes_.end();) {
    const bool is_part = at->first == from || is_below(at->first, from);
    if (!is_part && !at->first.starts_with(from)) break;
    const auto next = std::next(at);
    if (is_part) taken.insert(nodes_.extract(at));
    at = next;
  }
  for (const auto& [name, file] : taken) nodes_.emplace(to + name.substr(from.size()), file);
  return 0;
}

int32_t SimFiles::unlink(std::string_view path) {
  const std::string name = normal(path);
  if (name.empty()) return -EISDIR;
  const int32_t parent = check_parent(name);
  if (parent != 0) return parent;
  const std::shared_ptr<SimFile> file = node(name);
  if (file == nullptr) return -ENOENT;
  if (file->is_directory) return -EISDIR;
  remove(name);
  return 0;
}

int32_t SimFiles::remove_directory(std::string_view path) {
  const std::string name = normal(path);
  if (name.empty()) return -EBUSY;
  const int32_t parent = check_parent(name);
  if (parent != 0) return parent;
  const std::shared_ptr<SimFile> directory = node(name);
  if (directory == nullptr) return -ENOENT;
  if (!directory->is_directory) return -ENOTDIR;
  if (has_children(name)) return -ENOTEMPTY;
  remove(name);
  return 0;
}

int32_t SimFiles::make_directory(std::string_view path) {
  const std::string name = normal(path);
  const int32_t parent = check_parent(name);
  if (parent != 0) return parent;
  if (node(name) != nullptr) return -EEXIST;
  add(name, true);
  return 0;
}

int32_t SimFiles::list(std::string_view path, std::vector<DirectoryEntry>& entries) {
  const std::string name = normal(path);
  if (!name.empty()) {
    const int32_t parent = check_parent(name);
    if (parent != 0) return parent;
  }
  const std::shared_ptr<SimFile> directory = node(name);
  if (directory == nullptr) return -ENOENT;
  if (!directory->is_directory) return -ENOTDIR;
  entries.clear();
  const std::string prefix = name.empty() ? name : name + "/";
  for (auto at = nodes_.lower_bound(prefix); at != nodes_.end() && at->first.starts_with(prefix); ++at) {
    std::string rest = at->first.substr(prefix.size());
    if (rest.find('/') != std::string::npos) continue;
    entries.push_back({std::move(rest), at->second->is_directory ? FileKind::directory : FileKind::regular});
  }
  // "a" < "a.b" < "a/c" by path: the direct children come in the order of their names.
  return 0;
}

}  // namespace spindle
