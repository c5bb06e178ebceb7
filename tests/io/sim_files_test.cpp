// The tree of a simulated disk: which names are there after a loss of power.
#include "io/sim/sim_files.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "io/directory.h"
#include "tests/io/sim_file_fixture.h"

namespace spindle {
namespace {

/// A tree as text: "a/ a/f=2 …", each file with its number.
std::string text_of(SimFiles& files) {
  std::string text;
  files.for_each([&](const std::string& path, SimFile& file) {
    if (!text.empty()) text += ' ';
    text += path + (file.is_directory() ? "/" : "=" + std::to_string(file.number()));
  });
  return text;
}

/// The trees that losses of power at this moment leave.
std::set<std::string> trees_after_power_loss(const SimFiles& files) {
  std::set<std::string> trees;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SimFiles copy = files.clone();
    Random random(mix64(seed));
    copy.lose_power(4096, random);
    trees.insert(text_of(copy));
    CHECK(copy.changes().empty());
  }
  return trees;
}

void sync(SimFiles& files, std::string_view path) { files.sync_directory(*files.find(path), files.sequence()); }

using Trees = std::set<std::string>;

/// Directories a and b, and a/f with the number 4, all durable.
struct TwoDirectories {
  SimFiles files;
  TwoDirectories() {
    REQUIRE(files.make_directory("a") == 0);
    REQUIRE(files.make_directory("b") == 0);
    files.put("a/f", bytes_of(1, 4096));
    REQUIRE(text_of(files) == "a/ a/f=4 b/");
  }
};

TEST_CASE("a new file may be gone after a loss of power until its directory was synced") {
  SimFiles files;
  files.create("f");
  CHECK(trees_after_power_loss(files) == Trees{"", "f=2"});
  files.create("g");
  CHECK(trees_after_power_loss(files) == Trees{"", "f=2", "g=3", "f=2 g=3"});
  sync(files, "/");
  CHECK(trees_after_power_loss(files) == Trees{"f=2 g=3"});
}

TEST_CASE("a sync of a directory covers the changes before it, and no others") {
  SimFiles files;
  files.create("f");
  const uint64_t covered = files.sequence();
  files.create("g");
  files.sync_directory(*files.find("/"), covered);
  CHECK(trees_after_power_loss(files) == Trees{"f=2", "f=2 g=3"});
}

TEST_CASE("a sync of one directory says nothing of another") {
  TwoDirectories disk;
  disk.files.create("a/g");
  disk.files.create("b/g");
  sync(disk.files, "b");
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/f=4 b/ b/g=6", "a/ a/f=4 a/g=5 b/ b/g=6"});
}

TEST_CASE("a file in a new directory is there only with the directory") {
  SimFiles files;
  CHECK(files.make_directory("d") == 0);
  files.create("d/f");
  sync(files, "d");
  CHECK(trees_after_power_loss(files) == Trees{"", "d/ d/f=3"});
  sync(files, "/");
  CHECK(trees_after_power_loss(files) == Trees{"d/ d/f=3"});
}

TEST_CASE("a removed name may come back until its directory was synced") {
  TwoDirectories disk;
  CHECK(disk.files.unlink("a/f") == 0);
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ b/", "a/ a/f=4 b/"});
  CHECK(disk.files.remove_directory("b") == 0);
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ b/", "a/ a/f=4 b/", "a/", "a/ a/f=4"});
  sync(disk.files, "/");
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/", "a/ a/f=4"});
  sync(disk.files, "a");
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/"});
}

TEST_CASE("what comes back has its content and its space") {
  TwoDirectories disk;
  CHECK(disk.files.unlink("a/f") == 0);
  CHECK(disk.files.space().pages_count == 0);
  CHECK(disk.files.unlink("a/f") == -ENOENT);
  disk.files.decide_changes({false});
  REQUIRE(disk.files.find("a/f") != nullptr);
  CHECK(disk.files.find("a/f")->links == 1);
  CHECK(word_at(*disk.files.find("a/f"), 0) == 1);
  CHECK(disk.files.space().pages_count == 1);
}

TEST_CASE("after a rename in one directory there is the old name or the new one") {
  TwoDirectories disk;
  CHECK(disk.files.rename("a/f", "a/g") == 0);
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/f=4 b/", "a/ a/g=4 b/"});
  sync(disk.files, "a");
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/g=4 b/"});
}

TEST_CASE("after a rename from one directory to another there is one name or both, and never none") {
  TwoDirectories disk;
  CHECK(disk.files.rename("a/f", "b/g") == 0);
  const Trees all{"a/ a/f=4 b/", "a/ a/f=4 b/ b/g=4", "a/ b/ b/g=4"};
  CHECK(trees_after_power_loss(disk.files) == all);
  SimFiles other = disk.files.clone();
  sync(other, "b");
  CHECK(trees_after_power_loss(other) == Trees{"a/ a/f=4 b/ b/g=4", "a/ b/ b/g=4"});
  sync(other, "a");
  CHECK(trees_after_power_loss(other) == Trees{"a/ b/ b/g=4"});
  sync(disk.files, "a");
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ b/ b/g=4"});
}

TEST_CASE("a file is not lost when it is moved into a directory that is not durable") {
  TwoDirectories disk;
  CHECK(disk.files.make_directory("c") == 0);
  CHECK(disk.files.rename("a/f", "c/f") == 0);
  SimFiles other = disk.files.clone();
  CHECK(trees_after_power_loss(other) ==
        Trees{"a/ a/f=4 b/", "a/ a/f=4 b/ c/", "a/ a/f=4 b/ c/ c/f=4", "a/ b/ c/ c/f=4"});
  sync(other, "c");
  CHECK(trees_after_power_loss(other) == Trees{"a/ a/f=4 b/", "a/ a/f=4 b/ c/ c/f=4", "a/ b/ c/ c/f=4"});
  sync(other, "a");
  CHECK(trees_after_power_loss(other) == Trees{"a/ b/ c/ c/f=4"});
}

TEST_CASE("a file is not lost when the directory that it left is removed") {
  TwoDirectories disk;
  CHECK(disk.files.rename("a/f", "b/f") == 0);
  CHECK(disk.files.remove_directory("a") == 0);
  for (const std::string& tree : trees_after_power_loss(disk.files)) CHECK(tree.find("f=4") != std::string::npos);
  sync(disk.files, "/");
  CHECK(trees_after_power_loss(disk.files) == Trees{"b/ b/f=4"});
}

TEST_CASE("a directory is not lost when the one that it left is removed or replaced") {
  for (const bool replaces : {false, true}) {
    SimFiles files;
    CHECK(files.make_directory("a") == 0);
    CHECK(files.make_directory("a/b") == 0);
    CHECK(files.make_directory("c") == 0);
    files.put("a/b/f", bytes_of(1, 512));
    CHECK(files.rename("a/b", "b") == 0);
    CHECK((replaces ? files.rename("c", "a") : files.remove_directory("a")) == 0);
    for (const std::string& tree : trees_after_power_loss(files)) CHECK(tree.find("b/f=5") != std::string::npos);
  }
}

TEST_CASE("a file with two names after a loss of power loses them one by one") {
  TwoDirectories disk;
  CHECK(disk.files.rename("a/f", "b/f") == 0);
  disk.files.decide_changes({true, false});
  REQUIRE(text_of(disk.files) == "a/ a/f=4 b/ b/f=4");
  CHECK(disk.files.space().pages_count == 1);
  CHECK(disk.files.find("a/f")->links == 2);
  CHECK(disk.files.unlink("a/f") == 0);
  CHECK(disk.files.find("b/f")->links == 1);
  CHECK(disk.files.space().pages_count == 1);
  CHECK(disk.files.unlink("b/f") == 0);
  CHECK(disk.files.space().pages_count == 0);
}

TEST_CASE("a replaced file is there under its name, or the one that replaced it") {
  TwoDirectories disk;
  disk.files.put("a/g", bytes_of(2, 512));
  CHECK(disk.files.rename("a/f", "a/g") == 0);
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/f=4 a/g=5 b/", "a/ a/g=4 b/"});
  CHECK(disk.files.space().pages_count == 1);
}

TEST_CASE("changes of one name are there in their order") {
  TwoDirectories disk;
  disk.files.create("a/x");
  CHECK(disk.files.unlink("a/x") == 0);
  disk.files.create("a/x");
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/f=4 b/", "a/ a/f=4 a/x=5 b/", "a/ a/f=4 a/x=6 b/"});
  CHECK(disk.files.rename("a/x", "a/y") == 0);
  CHECK(trees_after_power_loss(disk.files) ==
        Trees{"a/ a/f=4 b/", "a/ a/f=4 a/x=5 b/", "a/ a/f=4 a/x=6 b/", "a/ a/f=4 a/y=6 b/"});
}

TEST_CASE("a name that goes round comes back to the same") {
  TwoDirectories disk;
  CHECK(disk.files.rename("a/f", "b/f") == 0);
  CHECK(disk.files.rename("b/f", "a/f") == 0);
  for (const std::string& tree : trees_after_power_loss(disk.files)) CHECK(tree.find("f=4") != std::string::npos);
  sync(disk.files, "a");
  sync(disk.files, "b");
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/f=4 b/"});
}

TEST_CASE("renames of directories keep their order, and any sync of a directory makes them durable") {
  TwoDirectories disk;
  CHECK(disk.files.rename("a", "b/a") == 0);
  CHECK(disk.files.rename("b", "c") == 0);
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/f=4 b/", "b/ b/a/ b/a/f=4", "c/ c/a/ c/a/f=4"});
  sync(disk.files, "c/a");
  CHECK(trees_after_power_loss(disk.files) == Trees{"c/ c/a/ c/a/f=4"});
}

TEST_CASE("two directories that change places in the tree stay a tree") {
  SimFiles files;
  CHECK(files.make_directory("a") == 0);
  CHECK(files.make_directory("a/b") == 0);
  files.put("a/b/f", bytes_of(1, 512));
  CHECK(files.rename("a/b", "b") == 0);
  CHECK(files.rename("a", "b/a") == 0);
  CHECK(trees_after_power_loss(files) == Trees{"a/ a/b/ a/b/f=4", "a/ b/ b/f=4", "b/ b/a/ b/f=4"});
}

TEST_CASE("what is settled stays, and only that") {
  TwoDirectories disk;
  disk.files.create("g");
  disk.files.settle();
  disk.files.create("h");
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/f=4 b/ g=5", "a/ a/f=4 b/ g=5 h=6"});
  disk.files.add_device("disk", 4096);
  CHECK(trees_after_power_loss(disk.files) == Trees{"a/ a/f=4 b/ disk=7 g=5 h=6"});
}

TEST_CASE("a copy of a disk is a disk of its own") {
  TwoDirectories disk;
  CHECK(disk.files.rename("a/f", "b/f") == 0);
  SimFiles copy = disk.files.clone();
  CHECK(text_of(copy) == "a/ b/ b/f=4");
  CHECK(copy.space().pages_count == disk.files.space().pages_count);
  copy.find("b/f")->write(0, bytes_of(9, 4096), copy.take_sequence());
  CHECK(word_at(*disk.files.find("b/f"), 0) == 1);
  CHECK(copy.unlink("b/f") == 0);
  sync(copy, "b");
  CHECK(text_of(disk.files) == "a/ b/ b/f=4");
  CHECK(disk.files.changes().size() == 2);
  CHECK(trees_after_power_loss(copy).count("a/ b/") == 1);
  CHECK(copy.create("g").number() == disk.files.create("g").number());
}

TEST_CASE("a copy has no space for what only an open file held") {
  TwoDirectories disk;
  ++disk.files.find("a/f")->open_count;
  const std::shared_ptr<SimFile> open_file = disk.files.find_shared("a/f");
  CHECK(disk.files.unlink("a/f") == 0);
  CHECK(disk.files.space().pages_count == 1);
  CHECK(disk.files.clone().space().pages_count == 0);
}

TEST_CASE("names are refused as by the kernel") {
  TwoDirectories disk;
  SimFiles& files = disk.files;
  CHECK(files.make_directory("a") == -EEXIST);
  CHECK(files.make_directory("/") == -EEXIST);
  CHECK(files.make_directory("c/d") == -ENOENT);
  CHECK(files.make_directory("a/f/d") == -ENOTDIR);
  CHECK(files.unlink("a") == -EISDIR);
  CHECK(files.unlink("c") == -ENOENT);
  CHECK(files.unlink("a/f/g") == -ENOTDIR);
  CHECK(files.remove_directory("a") == -ENOTEMPTY);
  CHECK(files.remove_directory("a/f") == -ENOTDIR);
  CHECK(files.remove_directory("/") == -EBUSY);
  CHECK(files.rename("a", "a/b") == -EINVAL);
  CHECK(files.rename("a/f", "b") == -EISDIR);
  CHECK(files.rename("b", "a/f") == -ENOTDIR);
  CHECK(files.rename("b", "a") == -ENOTEMPTY);
  CHECK(files.rename("c", "b") == -ENOENT);
  CHECK(files.rename("a/f", "c/f") == -ENOENT);
  CHECK(files.rename("a/f", "a/../a/./f") == 0);
  std::vector<DirectoryEntry> entries;
  CHECK(files.list("c", entries) == -ENOENT);
  CHECK(files.list("a/f", entries) == -ENOTDIR);
  CHECK(files.changes().empty());
}

}  // namespace
}  // namespace spindle
