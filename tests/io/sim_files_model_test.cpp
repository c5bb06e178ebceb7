// The tree of a simulated disk against a naive model: where each file may be after a loss of power, and which must be.
#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/sim/sim_files.h"
#include "tests/io/sim_file_fixture.h"

namespace spindle {
namespace {

using Place = std::pair<uint64_t, std::string>;  // number of the directory, name in it

struct FileModel {
  std::set<Place> places;   // where it may be after a loss of power
  std::set<Place> names;    // where it is now; two after a loss of power between the changes of a rename
  uint64_t synced_in = 0;   // a directory that was synced while it held the file
  bool is_directory = false;
  bool must_be = false;     // somewhere
  bool may_double = false;    // has two names, or had, or was moved from one directory to another
};

class TreeModelRun {
 public:
  explicit TreeModelRun(uint64_t seed) : random_(seed) {
    root_ = disk_->find("/")->number();
    models_[root_].is_directory = models_[root_].must_be = true;
  }
  ~TreeModelRun() {
    disk_.reset();
    for (const auto& file : seen_) CHECK(file.expired());
  }

  void run() {
    for (uint32_t step = 0; step < 60; ++step) {
      one_step();
      check_acknowledged();
      if (random_.chance(1, 25)) lose_power();
    }
    lose_power();
  }
  uint64_t both_count() const noexcept { return both_count_; }
  uint64_t lost_count() const noexcept { return lost_count_; }

 private:
  void one_step() {
    const uint64_t choice = random_.below(16);
    if (choice < 4) return make(choice == 0);
    if (choice < 9) return rename();
    if (choice < 11) return remove();
    if (choice < 15) return sync();
    disk_ = std::make_unique<SimFiles>(disk_->clone());
  }

  // Few names, so that they meet again.
  std::string some_path() {
    std::vector<std::string> folders{""};
    disk_->for_each([&](const std::string& path, SimFile& file) {
      if (file.is_directory()) folders.push_back(path + "/");
    });
    return folders[random_.below(folders.size())] + std::string(1, static_cast<char>('a' + random_.below(4)));
  }
  Place place_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {root_, path};
    return {disk_->find(path.substr(0, slash))->number(), path.substr(slash + 1)};
  }

  void make(bool is_directory) {
    const std::string path = some_path();
    if (disk_->find(path) != nullptr) return;
    if (is_directory) {
      REQUIRE(disk_->make_directory(path) == 0);
    } else {
      SimFile& file = disk_->create(path);
      file.write(0, bytes_of(file.number(), page), disk_->take_sequence());
      file.settle();
    }
    const std::shared_ptr<SimFile> file = disk_->find_shared(path);
    seen_.push_back(file);
    FileModel& model = models_[file->number()];
    model.is_directory = is_directory;
    model.names = model.places = {place_of(path)};
  }

  void note_removed(uint64_t number, const Place& place) {
    FileModel& model = models_[number];
    model.names.erase(place);
    if (!model.names.empty()) return;
    model.must_be = false;
    model.synced_in = 0;
  }

  void rename() {
    const std::string from = some_path();
    const std::string to = some_path();
    SimFile* const moved = disk_->find(from);
    SimFile* const former = disk_->find(to);
    if (moved == nullptr || moved == former) return;
    const Place old_place = place_of(from);
    const Place new_place = place_of(to);
    const uint64_t number = moved->number();
    const uint64_t number_former = former == nullptr ? 0 : former->number();
    if (disk_->rename(from, to) != 0) return;
    if (number_former != 0) note_removed(number_former, new_place);
    FileModel& model = models_[number];
    model.names.erase(old_place);
    model.names.insert(new_place);
    model.places.insert(new_place);
    model.may_double = model.may_double || old_place.first != new_place.first;
    if (!model.must_be) model.synced_in = 0;
  }

  void remove() {
    const std::string path = some_path();
    SimFile* const file = disk_->find(path);
    if (file == nullptr) return;
    const Place place = place_of(path);
    const uint64_t number = file->number();
    const int32_t result = file->is_directory() ? disk_->remove_directory(path) : disk_->unlink(path);
    if (result == 0) note_removed(number, place);
  }

  void sync() {
    std::vector<SimFile*> directories{disk_->find("/")};
    disk_->for_each([&](const std::string&, SimFile& file) {
      if (file.is_directory()) directories.push_back(&file);
    });
    SimFile& directory = *directories[random_.below(directories.size())];
    disk_->sync_directory(directory, disk_->sequence());
    const uint64_t number = directory.number();
    for (auto& [id, model] : models_) {
      std::erase_if(model.places,
                    [&](const Place& place) { return place.first == number && model.names.count(place) == 0; });
      for (const Place& name : model.names) {
        if (name.first == number) model.synced_in = number;
      }
    }
    bool goes_on = true;
    while (goes_on) {
      goes_on = false;
      for (auto& [id, model] : models_) {
        if (model.must_be || model.synced_in == 0 || !models_[model.synced_in].must_be) continue;
        model.must_be = goes_on = true;
      }
    }
  }

  std::map<uint64_t, std::set<Place>> names_on(SimFiles& disk) {
    std::map<uint64_t, std::set<Place>> names;
    std::map<std::string, uint64_t> folders{{"", root_}};
    disk.for_each([&](const std::string& path, SimFile& file) {
      const size_t slash = path.rfind('/');
      const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash);
      const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
      names[file.number()].insert({folders.at(folder), name});
      if (file.is_directory()) folders[path] = file.number();
    });
    return names;
  }

  void check_acknowledged() {
    std::map<uint64_t, std::set<Place>> expected;
    uint64_t pages_count = 0;
    for (const auto& [number, model] : models_) {
      if (!model.names.empty()) expected[number] = model.names;
      pages_count += !model.names.empty() && !model.is_directory;
    }
    REQUIRE(names_on(*disk_) == expected);
    REQUIRE(disk_->space().pages_count == pages_count);
  }

  void lose_power() {
    for (uint32_t copy = 0; copy < 4; ++copy) {
      SimFiles other = disk_->clone();
      other.lose_power(4096, random_);
      check_survivors(other);
    }
    disk_->lose_power(4096, random_);
    check_survivors(*disk_);
    const std::map<uint64_t, std::set<Place>> names = names_on(*disk_);
    for (auto& [number, model] : models_) {
      if (number == root_) continue;
      const auto found = names.find(number);
      model.must_be = found != names.end();
      model.names = model.places = model.must_be ? found->second : std::set<Place>();
      model.may_double = model.names.size() > 1;
      model.synced_in = 0;
    }
    check_acknowledged();
  }

  void check_survivors(SimFiles& disk) {
    const std::map<uint64_t, std::set<Place>> names = names_on(disk);
    for (const auto& [number, model] : models_) {
      CAPTURE(number);
      const auto found = names.find(number);
      if (found == names.end()) {
        if (number != root_) REQUIRE_FALSE(model.must_be);
        ++lost_count_;
        continue;
      }
      std::set<uint64_t> folders;
      for (const Place& place : found->second) {
        REQUIRE(model.places.count(place) == 1);
        const bool is_first = folders.insert(place.first).second;
        if (!model.may_double) REQUIRE(is_first);
      }
      if (model.is_directory) REQUIRE(found->second.size() == 1);
      both_count_ += found->second.size() > 1;
    }
    disk.for_each([&](const std::string&, SimFile& file) {
      if (!file.is_directory()) REQUIRE(word_at(file, 0) == file.number());
      REQUIRE(file.links == names.at(file.number()).size());
    });
  }

  Random random_;
  std::unique_ptr<SimFiles> disk_ = std::make_unique<SimFiles>();
  std::vector<std::weak_ptr<SimFile>> seen_;
  std::map<uint64_t, FileModel> models_;
  uint64_t root_ = 0;
  uint64_t both_count_ = 0;
  uint64_t lost_count_ = 0;
};

TEST_CASE("whatever is done to a tree of files, a loss of power leaves what its model allows, and nothing leaks") {
  uint64_t both_count = 0;
  uint64_t lost_count = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    CAPTURE(seed);
    TreeModelRun run(mix64(seed));
    run.run();
    both_count += run.both_count();
    lost_count += run.lost_count();
  }
  CHECK(both_count > 100);
  CHECK(lost_count > 1000);
}

}  // namespace
}  // namespace spindle
