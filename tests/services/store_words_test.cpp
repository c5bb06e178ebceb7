// What is said of errors and damage: something, in one line, for each kind there is.
#include "services/store_words.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "services/store_report.h"

namespace spindle {
namespace {

bool is_line(const std::string& text) { return !text.empty() && text.find('\n') == std::string::npos; }

TEST_CASE("identities are hexadecimal digits, the high half first") {
  CHECK(store::text_of(ClusterId{0x1122334455667788u, 0x99aabbccddeeff00u}) == "99aabbccddeeff00:1122334455667788");
  CHECK(store::text_of(Checksum{1, 0xab}) == "00000000000000ab0000000000000001");
}

TEST_CASE("an error is one line with its errno, and what to do") {
  for (const int number : {EEXIST, EWOULDBLOCK, EBUSY, ENOSPC, EDQUOT, EFBIG, EACCES, EPERM, ENOENT, EROFS, EIO}) {
    const std::string line = store::explain({ErrorCode::system, number, "open"}, false);
    CHECK(is_line(line));
    CHECK(line.starts_with("open: "));
    CHECK(line.find("(errno " + std::to_string(number) + "); ") != std::string::npos);
  }
  CHECK(store::explain({ErrorCode::no_direct_io, 0, "open"}, false).find("ext4 or XFS") != std::string::npos);
  CHECK(store::explain({ErrorCode::closed, 0, ""}, false) == "closed");
}

StoreInspection found_with(SuperblockError error) {
  StoreInspection found;
  found.content = StoreContent::store;
  found.file_size = 1 << 20;
  found.copies.resize(superblock_slots_count);
  found.copies[0].sequence = 3;
  found.copies[0].configuration.blocks_max = 1;
  found.copies[0].state.storage_size = 1 << 20;
  found.slots[0] = {SuperblockFault::none, &found.copies[0]};
  found.choice.winner = &found.copies[0];
  found.choice.error = error;
  return found;
}

TEST_CASE("each kind of damage has a meaning, a place and a remedy") {
  StoreInspection found = found_with(SuperblockError::none);
  for (int fault = 0; fault <= static_cast<int>(StoreFault::block_misplaced); ++fault) {
    for (const bool is_healed : {false, true}) {
      StoreFinding finding;
      finding.fault = static_cast<StoreFault>(fault);
      finding.is_healed_by_open = is_healed;
      finding.zone = "grid";
      CHECK(is_line(store::meaning_of(finding, found)));
      CHECK(is_line(store::remedy_of(finding, found)));
      CHECK(is_line(store::place_of(finding)));
      found.findings.push_back(finding);
    }
  }
  for (const auto& text : {store::inspect_text("a", found), store::verify_text("a", found)}) {
    CHECK(std::count(text.begin(), text.end(), '\n') > 16);
  }
}

TEST_CASE("each way in which a block, a trailer or the free set can be bad is explained in words of its own") {
  StoreInspection found = found_with(SuperblockError::none);
  found.grid.emplace();
  std::vector<std::string> lines;
  for (int fault = 1; fault <= static_cast<int>(BlockFault::padding); ++fault) {
    StoreFinding finding;
    finding.fault = StoreFault::trailer_copy;
    finding.block_fault = static_cast<BlockFault>(fault);
    lines.push_back(store::meaning_of(finding, found));
    CHECK(is_line(store::meaning_of(CensusBlock{1, finding.block_fault, 0})));
  }
  for (int fault = 1; fault <= static_cast<int>(TrailerFault::checksum); ++fault) {
    StoreFinding finding;
    finding.fault = StoreFault::trailer;
    finding.trailer_fault = static_cast<TrailerFault>(fault);
    lines.push_back(store::meaning_of(finding, found));
  }
  for (int fault = 1; fault <= static_cast<int>(FreeSetFault::trailer_acquired); ++fault) {
    StoreFinding finding;
    finding.fault = StoreFault::free_set;
    found.grid->free_set.fault = static_cast<FreeSetFault>(fault);
    lines.push_back(store::meaning_of(finding, found));
  }
  for (const std::string& line : lines) CHECK(is_line(line));
  std::sort(lines.begin(), lines.end());
  CHECK(std::unique(lines.begin(), lines.end()) == lines.end());
}

TEST_CASE("a cell of the picture tells none, quarters, all and released apart") {
  CHECK(store::mark_of({0, 0}, 8) == ' ');
  CHECK(store::mark_of({1, 0}, 8) == '.');
  CHECK(store::mark_of({2, 0}, 8) == ':');
  CHECK(store::mark_of({4, 1}, 8) == '+');
  CHECK(store::mark_of({7, 6}, 8) == '#');
  CHECK(store::mark_of({8, 7}, 8) == '@');
  CHECK(store::mark_of({8, 8}, 8) == 'r');
  CHECK(store::mark_of({1, 1}, 8) == 'r');
  CHECK(store::mark_of({1, 0}, 1) == '@');
  CHECK(store::mark_of({0, 0}, uint64_t{1} << 49) == ' ');
  GridInspection grid;
  grid.counts.blocks_count = 10;
  grid.picture.cell_blocks_count = 4;
  CHECK(store::blocks_in_cell(grid, 1) == 4);
  CHECK(store::blocks_in_cell(grid, 2) == 2);
}

TEST_CASE("each reason why there is no version is explained, with a winner and without") {
  for (int error = 1; error <= static_cast<int>(SuperblockError::not_monotonic); ++error) {
    StoreInspection found = found_with(static_cast<SuperblockError>(error));
    CHECK(store::explain_choice(found).find("; but ") != std::string::npos);
    found.choice.winner = nullptr;
    CHECK(is_line(store::explain_choice(found)));
  }
}

TEST_CASE("a path that is no UTF-8 is JSON all the same") {
  const StoreInspection found = found_with(SuperblockError::none);
  CHECK(store::verify_json("\xff\xfe", found).find("\"file\"") != std::string::npos);
}

TEST_CASE("what a format has overwritten is named") {
  StoreFormer former;
  CHECK(store::text_of(former).empty());
  for (int content = 1; content <= static_cast<int>(StoreContent::other); ++content) {
    former.content = static_cast<StoreContent>(content);
    CHECK(is_line(store::text_of(former)));
    former.cluster = ClusterId{1, 2};
    CHECK(is_line(store::text_of(former)));
    former.cluster.reset();
  }
}

}  // namespace
}  // namespace spindle
