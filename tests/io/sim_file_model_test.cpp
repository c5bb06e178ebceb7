// A file of a simulated disk against a naive model: of each grain of 512 bytes, every version that may be on the disk.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "io/sim/sim_file.h"
#include "tests/io/sim_file_fixture.h"

namespace spindle {
namespace {

constexpr uint64_t grains_count = 48;  // six pages

/// The first of `versions` is durable, the last is what reads see.
struct GrainModel {
  struct Version {
    uint64_t word;
    uint64_t sequence;
    bool is_written;            // by a program, so that it may be torn
    bool is_forgotten = false;  // by a failed sync, perhaps: no later one makes it durable
  };
  std::vector<Version> versions{{0, 0, false}};

  uint64_t word() const noexcept { return versions.back().word; }
  void change(uint64_t word, uint64_t sequence, bool is_written) {
    if (!is_written && word == this->word()) return;
    versions.push_back({word, sequence, is_written});
  }
  void sync(uint64_t covers) {
    for (size_t index = versions.size(); index-- > 1;) {
      if (versions[index].sequence > covers || versions[index].is_forgotten) continue;
      versions.erase(versions.begin(), versions.begin() + static_cast<ptrdiff_t>(index));
      return;
    }
  }
  void fail_sync() {
    for (Version& version : versions) version.is_forgotten = true;
  }
  void settle(uint64_t word) { versions = {{word, 0, false}}; }
  bool may_be(uint64_t found) const {
    const bool may_tear =
        std::any_of(versions.begin() + 1, versions.end(), [](const Version& v) { return v.is_written; });
    if (found == garbage_word) return may_tear;
    return std::any_of(versions.begin(), versions.end(), [&](const Version& v) { return v.word == found; });
  }
};

/// Sizes that may be the durable one, with the number of their change; the last is the acknowledged one.
struct SizeModel {
  std::vector<std::pair<uint64_t, uint64_t>> versions{{0, 0}};

  uint64_t size() const noexcept { return versions.back().first; }
  void sync(uint64_t covers) {
    while (versions.size() > 1 && versions[1].second <= covers) versions.erase(versions.begin());
  }
  bool may_be(uint64_t found) const {
    return std::any_of(versions.begin(), versions.end(), [&](const auto& version) { return version.first == found; });
  }
};

class FileModelRun {
 public:
  explicit FileModelRun(uint64_t seed) : random_(seed), grains_(grains_count) {
    sector_size_ = 512u << random_.below(4);
    fails_ = random_.chance(1, 2);
  }

  void run() {
    for (uint32_t step = 0; step < 150; ++step) {
      one_step();
      check_acknowledged();
    }
    while (!syncs_.empty()) end_sync();
    lose_power();
  }
  uint64_t losses_with_choice_count() const noexcept { return losses_with_choice_count_; }

 private:
  struct Sync {
    uint64_t covers;
  };

  void one_step() {
    const uint64_t choice = random_.below(20);
    if (choice < 7) return write(false);
    if (choice < 9) return write(true);
    if (choice < 12) return resize();
    if (choice == 12) return punch();
    if (choice == 13) return allocate();
    if (choice < 16) return syncs_.push_back({lone_.begin_sync()});
    if (choice < 19) return end_sync();
    if (random_.chance(1, 2)) lose_power();
  }

  std::pair<uint64_t, uint64_t> some_range() {
    const uint64_t first = random_.below(grains_count);
    const uint64_t most = random_.chance(1, 2) ? 4 : 20;
    return {first, 1 + random_.below(std::min(most, grains_count - first))};
  }

  void write(bool is_durable) {
    const auto [first, count] = some_range();
    const uint64_t word = ++word_last_;
    if (is_durable) {
      lone_.write_durably(first * grain, count * grain, word);
    } else {
      lone_.write(first * grain, count * grain, word);
    }
    note_size(std::max(sizes_.size(), (first + count) * grain));
    for (uint64_t index = first; index < first + count; ++index) {
      grains_[index].change(word, lone_.sequence(), true);
      if (is_durable) grains_[index].settle(word);
    }
    if (!is_durable) return;
    for (auto& version : sizes_.versions) version.first = std::max(version.first, (first + count) * grain);
  }

  void note_size(uint64_t size) {
    if (size != sizes_.size()) sizes_.versions.push_back({size, lone_.sequence()});
  }

  void resize() {
    const uint64_t size = random_.below(grains_count + 1) * grain;
    lone_.resize(size);
    for (uint64_t index = size / grain; index < grains_count; ++index)
      grains_[index].change(0, lone_.sequence(), false);
    note_size(size);
  }

  void punch() {
    const auto [first, count] = some_range();
    lone_.punch(first * grain, count * grain);
    for (uint64_t index = first; index < first + count; ++index) {
      grains_[index].change(0, lone_.sequence(), false);
    }
  }

  void allocate() {
    const auto [first, count] = some_range();
    CHECK(lone_.allocate(first * grain, count * grain));
    note_size(std::max(sizes_.size(), (first + count) * grain));
  }

  void end_sync() {
    if (syncs_.empty()) return;
    const uint64_t place = random_.below(syncs_.size());
    const uint64_t covers = syncs_[place].covers;
    syncs_.erase(syncs_.begin() + static_cast<ptrdiff_t>(place));
    if (random_.chance(1, 8)) return lone_.file().abandon_sync();
    if (fails_ && random_.chance(1, 4)) {
      lone_.file().fail_sync(covers, random_);
      for (GrainModel& model : grains_) model.fail_sync();
      return;
    }
    lone_.file().end_sync(covers);
    for (GrainModel& model : grains_) model.sync(covers);
    sizes_.sync(covers);
  }

  void check_acknowledged() {
    REQUIRE(lone_.file().size() == sizes_.size());
    for (uint64_t index = 0; index < sizes_.size() / grain; ++index) {
      REQUIRE(lone_.word(index * grain) == grains_[index].word());
    }
    REQUIRE(lone_.space().pages_count == lone_.allocated_pages());
    REQUIRE(lone_.allocated_pages() <= (lone_.file().size() + page - 1) / page);
  }

  // Of copies, to see many outcomes of one moment; then of the file itself.
  void lose_power() {
    for (uint32_t copy = 0; copy < 3; ++copy) {
      SimSpace space;
      const std::shared_ptr<SimFile> other = lone_.file().clone(space);
      other->lose_power(sector_size_, random_);
      check_survivor(*other);
    }
    lone_.file().lose_power(sector_size_, random_);
    check_survivor(lone_.file());
    syncs_.clear();
    sizes_.versions = {{lone_.file().size(), 0}};
    for (uint64_t index = 0; index < grains_count; ++index) {
      const uint64_t word = lone_.word(index * grain);
      if (word == garbage_word) lone_.write_durably(index * grain, grain, ++word_last_);
      grains_[index].settle(word == garbage_word ? word_last_ : word == no_word ? 0 : word);
    }
    REQUIRE(lone_.file().size() == sizes_.size());
    check_nothing_undecided();
  }

  void check_survivor(const SimFile& file) {
    REQUIRE(sizes_.may_be(file.size()));
    losses_with_choice_count_ += sizes_.versions.size() > 1;
    for (uint64_t index = 0; index < file.size() / grain; ++index) {
      const uint64_t found = word_at(file, index * grain);
      CAPTURE(index);
      CAPTURE(found);
      REQUIRE(grains_[index].may_be(found));
    }
  }

  void check_nothing_undecided() {
    uint64_t count = 0;
    lone_.file().for_each_undecided(sector_size_, [&](uint64_t) { ++count; });
    REQUIRE(count == 0);
    REQUIRE(lone_.file().undecided_sizes() == std::vector<uint64_t>{lone_.file().size()});
  }

  Random random_;
  LoneFile lone_;
  std::vector<GrainModel> grains_;
  SizeModel sizes_;
  std::vector<Sync> syncs_;
  uint64_t word_last_ = 0;
  uint32_t sector_size_;
  bool fails_;
  uint64_t losses_with_choice_count_ = 0;
};

TEST_CASE("whatever is done to a simulated file, it holds what its model allows") {
  uint64_t losses_with_choice_count = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    CAPTURE(seed);
    FileModelRun run(mix64(seed));
    run.run();
    losses_with_choice_count += run.losses_with_choice_count();
  }
  CHECK(losses_with_choice_count > 1000);
}

}  // namespace
}  // namespace spindle
