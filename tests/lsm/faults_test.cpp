// What becomes of each kind of fault in each structure of a store: docs/FAULTS.md, which this test makes, and compares
// with what is there. `SPINDLE_UPDATE_FAULTS=1 lsm-test -tc="*FAULTS.md*"` writes it.
//
// Two phases. Faults of reads come over a store that is whole, while it is opened, read and scrubbed; faults of writes
// while it is changed, and a checkpoint written. Then the store is opened and read once more, without faults. What is
// read must be right, or refused: a wrong answer is a silent fault, and the test fails.
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "lsm/scrub.h"
#include "tests/lsm/grid_fixture.h"

namespace spindle {
namespace {

using References = std::vector<BlockReference>;

/// The blocks of a store that the faults are aimed at.
struct Places {
  BlockReference single;  // holds 1
  BlockReference pair;  // holds 2
  References trailers;
};

/// What a life of a store came to.
struct Life {
  bool is_open = false;
  uint64_t op = 0;
  uint64_t healed_count = 0;
  uint64_t repairs_count = 0;
  std::string report;  // empty: nothing was refused
  bool has_stopped = false;
  bool is_silent = false;

  void refuse(const std::string& what) {
    if (report.empty()) report = what;
  }
};

// ---- lives

Task<Result<void>> put_and_checkpoint(OpenStore& store, Places* places, uint64_t op) {
  places->single = co_await ok(put_block(store.grid, 8 * op + 1));
  places->pair = co_await ok(put_block(store.grid, 8 * op + 2, 2));
  co_await ok(make_checkpoint(store, op));
  co_return Result<void>();
}

void note_trailers(const Grid& grid, References& trailers) {
  trailers.clear();
  for (const Trailer* trailer : {&grid.trailer_acquired(), &grid.trailer_released()}) {
    for (uint32_t index = 0; index < trailer->blocks_count(); ++index) trailers.push_back(trailer->reference(index));
  }
}

/// Two checkpoints, so that something is released.
Task<Result<void>> make_base(OpenStore& store, Places* places) {
  co_await ok(put_and_checkpoint(store, places, 1));
  const BlockReference gone = co_await ok(put_block(store.grid, 3));
  co_await ok(make_checkpoint(store, 1));
  store.grid.release(gone);
  co_await ok(make_checkpoint(store, 1));
  note_trailers(store.grid, places->trailers);
  co_return Result<void>();
}

Task<Result<void>> read_checked(Grid& grid, BlockReference reference, uint64_t number, Life* life) {
  BlockReport report;
  GridReadOptions options;
  options.report = &report;
  const auto block = co_await grid.read(reference, BlockType::value, options);
  if (!block.has_value()) {
    life->refuse(report.fault == BlockFault::none ? block.error().where : describe(report));
  } else if (number_in(*block) != number) {
    life->is_silent = true;
  }
  co_return Result<void>();
}

Task<Result<void>> read_past_cache(Grid& grid, BlockReference reference, uint64_t number, Life* life) {
  BlockLease lease = co_await ok(grid.blocks().acquire());
  BlockReport report;
  GridReadOptions options;
  options.report = &report;
  const Result<void> read = co_await grid.read_into(reference, BlockType::value, lease, options);
  if (!read.has_value()) {
    life->refuse(report.fault == BlockFault::none ? read.error().where : describe(report));
  } else if (number_in(BlockPool::freeze(std::move(lease))) != number) {
    life->is_silent = true;
  }
  co_return Result<void>();
}

Task<Result<void>> scrub_trailers(Grid& grid, Life* life) {
  TrailerSource source(grid);
  ScrubOptions options;
  options.blocks_per_second = 0;
  ScrubSummary summary;
  const Result<void> scrubbed = co_await scrub(grid, source, options, summary);
  if (!scrubbed.has_value()) life->refuse(scrubbed.error().where);
  if (summary.lost_count > 0) life->refuse("a block of a trailer, by the scrubber");
  co_return Result<void>();
}

Task<Result<void>> read_everything(OpenStore& store, const Places* old, const Places* fresh, Life* life) {
  const bool is_new = store.superblock.working().state.op == 2;
  const Places& places = is_new ? *fresh : *old;
  const uint64_t first = is_new ? 17 : 9;
  co_await ok(read_checked(store.grid, places.single, first, life));
  co_await ok(read_checked(store.grid, places.pair, first + 1, life));
  co_await ok(scrub_trailers(store.grid, life));
  life->healed_count = store.grid.counters().healed_count;
  co_return Result<void>();
}

Task<Result<void>> change(OpenStore& store, Places* fresh, Life* life) {
  const Result<void> changed = co_await put_and_checkpoint(store, fresh, 2);
  life->has_stopped = store.storage.is_stopped();
  note_trailers(store.grid, fresh->trailers);
  if (!changed.has_value()) {
    life->refuse(changed.error().where);
    co_return Result<void>();
  }
  // A stale sector comes back after some reads.
  for (int round = 0; round < 5; ++round) {
    co_await ok(read_past_cache(store.grid, fresh->single, 17, life));
    co_await ok(read_past_cache(store.grid, fresh->pair, 18, life));
    co_await ok(scrub_trailers(store.grid, life));
  }
  co_return Result<void>();
}

/// Opens with the pieces at hand, so that each refusal can be told.
template <class Program, class... Args>
Task<Result<void>> live(StoreShape shape, Life* life, Program program, Args... args) {
  const std::vector<ZoneOptions> zones = zones_of(shape);
  Storage storage = co_await ok(Storage::open(grid_path, zones));
  SuperblockCopies superblock(storage, grid_superblock_zone);
  co_await ok(superblock.inspect());
  life->repairs_count = superblock.choice().repairs_count;
  const Result<void> found = co_await superblock.open(grid_cluster);
  if (!found.has_value()) {
    life->refuse(found.error().where);
    const Result<void> closed = co_await storage.close();
    co_return closed;
  }
  auto grid = Grid::create(storage, grid_zone, options_of(shape));
  OpenStore store{storage, superblock, **grid};
  GridOpened opened;
  GridOpened* const into = &opened;  // what a scope is given by reference has to last
  auto serving = with_scope(ScopeOptions{}, serve_grid<Program, Args...>, store, into, program, args...);
  const Result<void> served = co_await std::move(serving);
  life->is_open = opened.opened.has_value();
  life->op = superblock.working().state.op;
  if (!opened.opened.has_value()) life->refuse(describe(opened.fault));
  life->healed_count = (*grid)->counters().healed_count;
  static_cast<void>(served);
  grid->reset();
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

// ---- structures

enum class Structure : uint8_t {
  superblock_copy,
  superblock_most,
  trailer_copy,
  trailer_both,
  pair_copy,
  pair_both,
  single,
};
constexpr const char* structure_names[] = {
    "one copy of the superblock", "3 of its 4 copies", "one copy of a trailer's block",    "both copies of it",
    "one copy of a block of two", "both copies of it", "a block without a second address",
};

std::vector<uint64_t> offsets_of(const StoreDisk& disk, Structure structure, const Places& places) {
  const BlockReference& trailer = places.trailers.front();
  switch (structure) {
    case Structure::superblock_copy: return {superblock_slot_stride};
    case Structure::superblock_most: return {0, superblock_slot_stride, 3 * superblock_slot_stride};
    case Structure::trailer_copy: return {disk.offset_of(trailer.address)};
    case Structure::trailer_both: return {disk.offset_of(trailer.address), disk.offset_of(trailer.address_second)};
    case Structure::pair_copy: return {disk.offset_of(places.pair.address)};
    case Structure::pair_both: return {disk.offset_of(places.pair.address), disk.offset_of(places.pair.address_second)};
    case Structure::single: return {disk.offset_of(places.single.address)};
  }
  return {};
}

bool is_passing(Fault fault) {
  return fault == Fault::short_read || fault == Fault::short_write || fault >= Fault::stall;
}

FaultPlan plan_of(const StoreDisk& disk, Structure structure, const Places& places, Fault fault) {
  FaultPlan plan;
  FaultRates rates;
  rates.set(fault, is_passing(fault) ? FaultRates::denominator / 3 : FaultRates::denominator);
  for (const uint64_t offset : offsets_of(disk, structure, places)) {
    FaultRegion region;
    region.path = grid_path;
    region.offset = offset;
    region.size = grid_block_size;
    region.rates = rates;
    plan.regions.push_back(region);
  }
  return plan;
}

// ---- the table

class Faults {
 public:
  Faults() : base_(StoreShape{}) {
    REQUIRE(base_.run(make_base, &old_).has_value());
    StoreDisk dry(base_.shape(), base_.clone());
    Life life;
    REQUIRE(dry.run_alone(live<decltype(&change), Places*, Life*>, base_.shape(), &life, &change, &fresh_, &life)
                .has_value());
    REQUIRE(life.report.empty());
  }
  std::string while_reading(Structure structure, Fault fault, uint64_t seed) {
    StoreDisk disk(base_.shape(), base_.clone());
    disk.set_seed(seed);
    disk.options().faults = plan_of(disk, structure, old_, fault);
    const Life life = read(disk);
    disk.options().faults = FaultPlan();
    return verdict_of(life, read(disk));
  }
  std::string while_writing(Structure structure, Fault fault, uint64_t seed) {
    StoreDisk disk(base_.shape(), base_.clone());
    disk.set_seed(seed);
    disk.options().faults = plan_of(disk, structure, fresh_, fault);
    Life life;
    Places fresh;
    // A fault while the store is opened is an error of open(), not of the program around it.
    static_cast<void>(
        disk.run_alone(live<decltype(&change), Places*, Life*>, disk.shape(), &life, &change, &fresh, &life));
    disk.options().faults = FaultPlan();
    return verdict_of(life, read(disk));
  }

 private:
  Life read(StoreDisk& disk) {
    Life life;
    const Result<void> lived = disk.run_alone(live<decltype(&read_everything), const Places*, const Places*, Life*>,
                                              disk.shape(), &life, &read_everything, &old_, &fresh_, &life);
    if (!lived.has_value()) life.refuse(lived.error().where);
    return life;
  }
  static std::string verdict_of(const Life& faulty, const Life& after) {
    if (faulty.is_silent || after.is_silent) return "SILENT";
    for (const std::string& report : {faulty.report, after.report}) {
      const bool is_placed = report.find("block") != std::string::npos || report.find("sync") != std::string::npos;
      if (!report.empty() && !is_placed && !faulty.has_stopped) return "SAYS NOT WHERE: " + report;
    }
    if (faulty.has_stopped && after.report.empty()) {
      return after.op == 2 ? "stops, the new checkpoint opens" : "stops, the former checkpoint opens";
    }
    if (!after.report.empty()) return "reported";
    if (!faulty.report.empty()) return "reported, and passes";
    const bool is_healed = faulty.healed_count + after.healed_count + after.repairs_count + faulty.repairs_count > 0;
    return is_healed ? "healed" : "survives";
  }

  StoreDisk base_;
  Places old_;
  Places fresh_;
};

bool is_of_reads(Fault fault) { return fault <= Fault::short_read || fault >= Fault::stall; }
bool is_of_writes(Fault fault) { return fault > Fault::short_read; }

constexpr uint64_t seeds_count = 12;

/// All that came of it, over some seeds.
std::string verdicts_of(Faults& faults, Structure structure, Fault fault, bool is_writing) {
  std::set<std::string> verdicts;
  for (uint64_t seed = 1; seed <= seeds_count; ++seed) {
    const std::string verdict = is_writing ? faults.while_writing(structure, fault, 100 * seed)
                                           : faults.while_reading(structure, fault, 100 * seed);
    const std::string where = structure_names[static_cast<size_t>(structure)];
    CHECK_MESSAGE(verdict != "SILENT", where, ": ", name_of(fault));
    CHECK_MESSAGE(verdict.find("NOT WHERE") == std::string::npos, where, ": ", name_of(fault), ": ", verdict);
    verdicts.insert(verdict);
  }
  std::string text;
  for (const std::string& verdict : verdicts) text += (text.empty() ? "" : "; or ") + verdict;
  return text;
}

std::string make_rows(Faults& faults, bool is_writing) {
  std::string text;
  for (size_t structure = 0; structure < std::size(structure_names); ++structure) {
    text += std::string("\n### ") + (is_writing ? "Writing " : "Reading ") + structure_names[structure] + "\n\n";
    text += "| fault | what becomes of it |\n|---|---|\n";
    for (size_t number = 0; number < fault_count; ++number) {
      const Fault fault = static_cast<Fault>(number);
      if (is_writing ? !is_of_writes(fault) : !is_of_reads(fault)) continue;
      const std::string verdicts = verdicts_of(faults, static_cast<Structure>(structure), fault, is_writing);
      text += std::string("| ") + name_of(fault) + " | " + verdicts + " |\n";
    }
  }
  return text;
}

constexpr const char* head = R"(# Faults

What becomes of each kind of fault (io/sim/disk_faults.h) in each structure of a store, as a test finds it
(tests/lsm/faults_test.cpp), with twelve seeds for each: the fault hits every access to the place, passing ones every
third. First come faults of reads, while a whole store is opened, read and scrubbed; then faults of writes, while
blocks and a checkpoint are written. In both cases the store is opened and read once more afterwards, without faults.

| word | meaning |
|---|---|
| survives | nobody notices, and nothing is damaged |
| healed | the damaged copy was written again from another one |
| reported | refused, with the block or copy, and the check that failed; it stays so without the faults |
| reported, and passes | refused while the faults last |
| stops | the storage takes no more changes: the store is to be opened anew |

The store has blocks of 4 KiB, 4 copies of the superblock and 2 of each block of a trailer. Damage of both copies is
more than is promised to survive; what is promised then is that it is reported.
)";

TEST_CASE("docs/FAULTS.md is what becomes of faults, and none is silent") {
  Faults faults;
  const std::string text = std::string(head) + "\n## Faults of reads\n" + make_rows(faults, false) +
                           "\n## Faults of writes\n" + make_rows(faults, true);
  const std::string path = SPINDLE_SOURCE_ROOT "/docs/FAULTS.md";
  if (std::getenv("SPINDLE_UPDATE_FAULTS") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  const std::string there((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  CHECK_MESSAGE(there == text, "docs/FAULTS.md says something else: write it anew, and look at the difference");
}

}  // namespace
}  // namespace spindle
