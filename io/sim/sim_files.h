// What a simulated host's disk holds: files by name, each a plain array of bytes. It belongs to the host, not to
// its process, and survives its death.
//
// There is one image per file, what was acknowledged: caching, durability and damage are not modelled here.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace spindle {

struct SimFile {
  std::vector<std::byte> bytes;
};

class SimFiles {
 public:
  SimFiles() = default;
  SimFiles(const SimFiles&) = delete;
  SimFiles& operator=(const SimFiles&) = delete;

  /// Null where there is none. The address is good for as long as the disk.
  SimFile* find(std::string_view name) noexcept {
    const auto found = files_.find(name);
    return found == files_.end() ? nullptr : found->second.get();
  }
  /// Makes an empty file; the name must be free.
  SimFile& create(std::string_view name) {
    return *files_.emplace(std::string(name), std::make_unique<SimFile>()).first->second;
  }
  size_t count() const noexcept { return files_.size(); }

 private:
  std::map<std::string, std::unique_ptr<SimFile>, std::less<>> files_;  // ordered: iteration is deterministic
};

}  // namespace spindle
