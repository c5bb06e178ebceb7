#include "io/sim/fuzz_failures.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

namespace spindle::fuzz {

namespace {

constexpr const char* folder_default = "fuzz-failures";
constexpr std::string_view suffix = ".seed";

struct CloseFolder {
  void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};
struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

std::vector<std::string> names_in(const std::string& folder, const std::string& prefix) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, CloseFolder> opened(::opendir(folder.c_str()));
  if (opened == nullptr) {
    if (errno != ENOENT) {
      std::fprintf(stderr, "the saved seeds in %s can't be read: %s\n", folder.c_str(), std::strerror(errno));
    }
    return names;
  }
  for (const dirent* entry = ::readdir(opened.get()); entry != nullptr; entry = ::readdir(opened.get())) {
    const std::string name = entry->d_name;
    if (name.starts_with(prefix) && name.ends_with(suffix)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string first_line(const std::string& path) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "r"));
  char line[256] = {};
  if (file == nullptr || std::fgets(line, sizeof(line), file.get()) == nullptr) return {};
  return std::string(line, std::strcspn(line, "\n"));
}

/// The inverse of arguments_of(), for a whole case of the fuzzer.
std::optional<FuzzCase> case_of(const std::string& line, const Fuzzer& fuzzer) {
  const std::string begin = std::string(fuzzer.name) + " --seed ";
  constexpr std::string_view middle = " --events-max ";
  const size_t place = line.find(middle);
  if (!line.starts_with(begin) || place == std::string::npos || place < begin.size()) return std::nullopt;
  const std::string_view text = line;
  const auto seed = parse_number(text.substr(begin.size(), place - begin.size()), UINT64_MAX);
  const auto events_max = parse_number(text.substr(place + middle.size()), UINT32_MAX);
  if (!seed.has_value() || !events_max.has_value() || *events_max == 0) return std::nullopt;
  FuzzCase found;
  found.seed = *seed;
  found.events_max = *events_max;
  return found;
}

}  // namespace

std::string failures_folder(const std::string& option) {
  if (!option.empty()) return option;
  const char* const environment = std::getenv("SPINDLE_FUZZ_FAILURES");
  return environment != nullptr && *environment != '\0' ? environment : folder_default;
}

std::string failure_file_name(const Fuzzer& fuzzer, const FuzzCase& of) {
  return std::string(fuzzer.name) + '-' + std::to_string(of.seed) + '-' + std::to_string(of.events_max) +
         std::string(suffix);
}

std::vector<FuzzCase> load_failures(const std::string& folder, const Fuzzer& fuzzer) {
  std::vector<FuzzCase> cases;
  for (const std::string& name : names_in(folder, std::string(fuzzer.name) + '-')) {
    const std::string path = folder + '/' + name;
    const std::optional<FuzzCase> found = case_of(first_line(path), fuzzer);
    if (!found.has_value() || failure_file_name(fuzzer, *found) != name) {
      std::fprintf(stderr, "%s: not a saved seed of %s\n", path.c_str(), fuzzer.name);
      continue;
    }
    cases.push_back(*found);
  }
  return cases;
}

void remove_failure(const std::string& folder, const Fuzzer& fuzzer, const FuzzCase& passed) {
  const std::string path = folder + '/' + failure_file_name(fuzzer, passed);
  if (::unlink(path.c_str()) != 0) {
    std::fprintf(stderr, "%s: passes now, but can't be removed: %s\n", path.c_str(), std::strerror(errno));
    return;
  }
  std::printf("%s: the saved seed %" PRIu64 " passes now: removed; its place is among the fuzzer's fixed seeds\n",
              fuzzer.name, passed.seed);
}

}  // namespace spindle::fuzz
