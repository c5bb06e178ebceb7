// What the grid costs: a read that misses, beside a bare read of the same file; a hit; a checkpoint and a superblock
// update, beside one durable write; and what scrubbing does to the tail of foreground reads.
//
// A store in a file of its own, made for this and removed at the end; direct I/O. Rounds alternate; medians over
// rounds, with the lowest and the highest.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "benchmarks/histogram.h"
#include "benchmarks/meter.h"
#include "benchmarks/units.h"
#include "io/device_queue.h"
#include "io/uring/uring_backend.h"
#include "lsm/checkpoint.h"
#include "lsm/scrub.h"
#include "pools/buffer_pool.h"
#include "runtime/combinators.h"
#include "runtime/random.h"
#include "runtime/root.h"

namespace spindle::bench {

namespace {

constexpr ClusterId cluster = {1, 2};
constexpr ZoneIndex superblock_zone{0};
constexpr ZoneIndex grid_zone{1};
constexpr uint32_t depth = 32;

struct Plan {
  std::string filename = "spindle-grid-bench.data";
  uint32_t block_size = 64 << 10;
  uint64_t blocks_count = 8192;
  double seconds = 1;
  uint32_t rounds_count = 6;
};

/// Medians of rounds.
class Series {
 public:
  void add(double value) { values_.push_back(value); }
  double median() const {
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
  double low() const { return *std::min_element(values_.begin(), values_.end()); }
  double high() const { return *std::max_element(values_.begin(), values_.end()); }
  std::string ns() const { return text_of_ns(median()) + " (" + text_of_ns(low()) + " .. " + text_of_ns(high()) + ")"; }
  std::string count() const {
    return text_of_count(median()) + " (" + text_of_count(low()) + " .. " + text_of_count(high()) + ")";
  }

 private:
  std::vector<double> values_;
};

struct Figures {
  Series miss;  // blocks per second
  Series bare;
  Series bare_verified;
  Series hit_try;  // ns
  Series hit_read;
  Series checkpoint;
  Series update;
  Series write;
  Series p99_alone;
  Series p99_scrub_paced;
  Series p99_scrub_free;
  Series scrub_rate;
};

struct Bench {
  const Plan& plan;
  Storage& storage;
  SuperblockCopies& superblock;
  Grid& grid;  // without a cache
  Grid& cached;
  File& file;
  AlignedBufferPool& buffers;
  std::vector<BlockReference> references;
  Figures figures;
};

// ---- the store

Task<Result<void>> put_range(Bench* bench, Grid::Reservation* reservation, uint64_t first, uint64_t count) {
  for (uint64_t index = first; index < first + count; ++index) {
    BlockLease lease = co_await ok(bench->grid.blocks().acquire());
    BlockHeader& header = start_block(lease.memory(), cluster, BlockType::value);
    header.address = *bench->grid.acquire(*reservation);
    const std::span<std::byte> body = lease.memory().subspan(message_header_size);
    for (size_t at = 0; at + 8 <= body.size(); at += 8) {
      const uint64_t word = mix64(index << 32 | at);
      std::memcpy(body.data() + at, &word, 8);
    }
    header.frame.size += static_cast<uint32_t>(body.size());
    bench->references[index] = seal_block(lease.memory());
    co_await ok(bench->grid.write(std::move(lease)));
  }
  co_return Result<void>();
}

Task<Result<void>> spawn_puts(Scope& scope, Bench& bench, Grid::Reservation& reservation) {
  const uint64_t part = bench.references.size() / depth;
  for (uint32_t writer = 0; writer < depth; ++writer) {
    co_await ok(scope.spawn(put_range, &bench, &reservation, writer * part, part));
  }
  co_return Result<void>();
}

// ---- reads

struct Reading {
  Bench* bench;
  uint64_t end_ns = 0;
  uint64_t count = 0;
};

Task<Result<void>> read_grid(Reading* reading, uint32_t seed) {
  Random random(seed);
  while (clock_ns() < reading->end_ns) {
    const BlockReference& reference = reading->bench->references[random.below(reading->bench->references.size())];
    const BlockRef block = co_await ok(reading->bench->grid.read(reference, BlockType::value));
    ++reading->count;
  }
  co_return Result<void>();
}

Task<Result<void>> read_bare(Reading* reading, uint32_t seed, bool is_verified) {
  Random random(seed);
  Bench& bench = *reading->bench;
  const AlignedBufferPool::Lease lease = co_await ok(bench.buffers.acquire());
  const std::span<std::byte> memory = lease.first(bench.plan.block_size);
  const uint64_t zone_begin = bench.storage.zone_begin(grid_zone);
  while (clock_ns() < reading->end_ns) {
    const BlockReference& reference = bench.references[random.below(bench.references.size())];
    co_await ok(bench.file.read_exact_at(zone_begin + bench.grid.offset_of(reference.address), memory));
    if (is_verified && verify_block(memory, {cluster, reference, BlockType::value}) != BlockFault::none) {
      co_return fail(ErrorCode::corrupt, "bare read");
    }
    ++reading->count;
  }
  co_return Result<void>();
}

enum class Reader : uint8_t { grid, bare, bare_verified };

Task<Result<void>> spawn_reads(Scope& scope, Reading& reading, Reader reader) {
  for (uint32_t number = 0; number < depth; ++number) {
    if (reader == Reader::grid) {
      co_await ok(scope.spawn(read_grid, &reading, number));
    } else {
      co_await ok(scope.spawn(read_bare, &reading, number, reader == Reader::bare_verified));
    }
  }
  co_return Result<void>();
}

Task<Result<void>> measure_reads(Bench* bench, Reader reader, Series* series) {
  Reading reading{bench};
  reading.end_ns = clock_ns() + static_cast<uint64_t>(bench->plan.seconds * 1e9);
  const uint64_t begin_ns = clock_ns();
  co_await ok(with_scope(ScopeOptions{}, spawn_reads, reading, reader));
  series->add(static_cast<double>(reading.count) * 1e9 / static_cast<double>(clock_ns() - begin_ns));
  co_return Result<void>();
}

Series* series_of(Figures& figures, Reader reader) {
  switch (reader) {
    case Reader::grid: return &figures.miss;
    case Reader::bare: return &figures.bare;
    case Reader::bare_verified: return &figures.bare_verified;
  }
  return nullptr;
}

Task<Result<void>> measure_hits(Bench* bench) {
  constexpr uint64_t hits_count = 1'000'000;
  const uint64_t warm_count = std::min<uint64_t>(bench->references.size(), 64);
  for (uint64_t index = 0; index < warm_count; ++index) {
    const BlockRef block = co_await ok(bench->cached.read(bench->references[index], BlockType::value));
  }
  uint64_t found_count = 0;
  uint64_t begin_ns = clock_ns();
  for (uint64_t count = 0; count < hits_count; ++count) {
    const BlockRef block = bench->cached.try_read(bench->references[count % warm_count], BlockType::value);
    found_count += block.is_held();
  }
  bench->figures.hit_try.add(static_cast<double>(clock_ns() - begin_ns) / hits_count);
  begin_ns = clock_ns();
  for (uint64_t count = 0; count < hits_count; ++count) {
    const BlockRef block = co_await ok(bench->cached.read(bench->references[count % warm_count], BlockType::value));
    found_count += block.is_held();
  }
  bench->figures.hit_read.add(static_cast<double>(clock_ns() - begin_ns) / hits_count);
  if (found_count != 2 * hits_count) co_return fail(ErrorCode::invalid_argument, "a hit that missed");
  co_return Result<void>();
}

// ---- durability

Task<Result<void>> measure_checkpoints(Bench* bench, uint64_t* op) {
  constexpr uint32_t times = 10;
  Series checkpoints;
  Series updates;
  Series writes;
  for (uint32_t time = 0; time < times; ++time) {
    CheckpointInput input;
    input.op = ++*op;
    uint64_t begin_ns = clock_ns();
    co_await ok(checkpoint(bench->grid, bench->superblock, input));
    checkpoints.add(static_cast<double>(clock_ns() - begin_ns));
    begin_ns = clock_ns();
    const CheckpointState state = bench->superblock.working().state;
    co_await ok(bench->superblock.update(state));
    updates.add(static_cast<double>(clock_ns() - begin_ns));
    const AlignedBufferPool::Lease lease = co_await ok(bench->buffers.acquire());
    const std::span<const std::byte> sector = lease.first(sector_size);
    const uint64_t unused = superblock_slot_stride / 2;  // behind a copy, where nobody looks
    begin_ns = clock_ns();
    co_await ok(bench->storage.write(superblock_zone, unused, sector));
    writes.add(static_cast<double>(clock_ns() - begin_ns));
  }
  bench->figures.checkpoint.add(checkpoints.median());
  bench->figures.update.add(updates.median());
  bench->figures.write.add(writes.median());
  co_return Result<void>();
}

// ---- scrubbing

class AllBlocks final : public ReferenceSource {
 public:
  explicit AllBlocks(const Bench& bench) : bench_(bench) {}
  Task<Result<std::optional<ReferencedBlock>>> next() override {
    ReferencedBlock block;
    block.reference = bench_.references[index_++ % bench_.references.size()];
    co_return std::optional<ReferencedBlock>(block);
  }
  bool is_current(const BlockReference&) const noexcept override { return true; }

 private:
  const Bench& bench_;
  size_t index_ = 0;
};

struct Scrubbing {
  Bench* bench;
  bool is_on = false;
  uint32_t blocks_per_second = 0;
  ScrubSummary summary;
  Histogram latency_ns;
};

Task<Result<void>> scrub_on(Scrubbing* scrubbing) {
  AllBlocks all(*scrubbing->bench);
  ScrubOptions options;
  options.blocks_per_second = scrubbing->blocks_per_second;
  const Result<void> scrubbed = co_await scrub(scrubbing->bench->grid, all, options, scrubbing->summary);
  co_return scrubbed;
}

Task<Result<void>> read_beside(Scope& scope, Scrubbing& scrubbing) {
  Bench& bench = *scrubbing.bench;
  if (scrubbing.is_on) co_await ok(scope.spawn(scrub_on, &scrubbing));
  Random random(3);
  const uint64_t end_ns = clock_ns() + static_cast<uint64_t>(bench.plan.seconds * 1e9);
  uint64_t now_ns = clock_ns();
  while (now_ns < end_ns) {
    const BlockReference& reference = bench.references[random.below(bench.references.size())];
    const BlockRef block = co_await ok(bench.grid.read(reference, BlockType::value));
    const uint64_t done_ns = clock_ns();
    scrubbing.latency_ns.record(done_ns - now_ns);
    now_ns = done_ns;
  }
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> measure_scrub(Bench* bench, bool is_on, uint32_t blocks_per_second, Series* p99) {
  Scrubbing scrubbing{bench, is_on, blocks_per_second, {}, {}};
  co_await ok(with_scope(ScopeOptions{}, read_beside, scrubbing));
  p99->add(static_cast<double>(scrubbing.latency_ns.percentile(99)));
  if (is_on && blocks_per_second == 0) {
    bench->figures.scrub_rate.add(static_cast<double>(scrubbing.summary.blocks_count) / bench->plan.seconds);
  }
  co_return Result<void>();
}

// ---- all of it

constexpr uint32_t paced_rate = 500;

void print(const Bench& bench) {
  const Plan& plan = bench.plan;
  const Figures& figures = bench.figures;
  printf("%s blocks of %s, direct I/O; medians of %u rounds (lowest .. highest)\n",
         text_of_count(static_cast<double>(plan.blocks_count)).c_str(), text_of_bytes(plan.block_size).c_str(),
         plan.rounds_count);
  printf("  random reads per second, depth %u\n", depth);
  printf("    grid, all miss         %s\n", figures.miss.count().c_str());
  printf("    bare file              %s   grid: %.3f of it\n", figures.bare.count().c_str(),
         figures.miss.median() / figures.bare.median());
  printf("    bare file and a check  %s   grid: %.3f of it\n", figures.bare_verified.count().c_str(),
         figures.miss.median() / figures.bare_verified.median());
  printf("  a hit: try_read() %s, awaited read() %s\n", figures.hit_try.ns().c_str(), figures.hit_read.ns().c_str());
  printf("  checkpoint             %s   %.1f durable writes\n", figures.checkpoint.ns().c_str(),
         figures.checkpoint.median() / figures.write.median());
  printf("  superblock update      %s   %.1f durable writes\n", figures.update.ns().c_str(),
         figures.update.median() / figures.write.median());
  printf("  durable 4 KiB write    %s\n", figures.write.ns().c_str());
  printf("  p99 of reads at depth 1\n");
  printf("    alone                     %s\n", figures.p99_alone.ns().c_str());
  printf("    beside a scrub, %u/s     %s   %.2f of alone\n", paced_rate, figures.p99_scrub_paced.ns().c_str(),
         figures.p99_scrub_paced.median() / figures.p99_alone.median());
  printf("    beside a scrub, unpaced   %s   %.2f of alone, at %s blocks/s\n", figures.p99_scrub_free.ns().c_str(),
         figures.p99_scrub_free.median() / figures.p99_alone.median(), figures.scrub_rate.count().c_str());
}

Task<Result<void>> serve(Scope& scope, Bench& bench) {
  bench.grid.start(scope);
  bench.cached.start(scope);
  co_await ok(bench.grid.open(bench.superblock.working().state));
  auto reservation = co_await ok(bench.grid.reserve(bench.references.size()));
  co_await ok(with_scope(ScopeOptions{}, spawn_puts, bench, reservation));
  bench.grid.forfeit(std::move(reservation));
  uint64_t op = 0;
  for (uint32_t round = 0; round < bench.plan.rounds_count; ++round) {
    // Each is the first one as often as the others: what came before has an effect on the device.
    for (uint32_t turn = 0; turn < 3; ++turn) {
      const Reader reader = static_cast<Reader>((round + turn) % 3);
      co_await ok(measure_reads(&bench, reader, series_of(bench.figures, reader)));
    }
    co_await ok(measure_hits(&bench));
    co_await ok(measure_checkpoints(&bench, &op));
    co_await ok(measure_scrub(&bench, false, 0, &bench.figures.p99_alone));
    co_await ok(measure_scrub(&bench, true, paced_rate, &bench.figures.p99_scrub_paced));
    co_await ok(measure_scrub(&bench, true, 0, &bench.figures.p99_scrub_free));
  }
  print(bench);
  co_return Result<void>();
}

GridOptions grid_options_of(const Plan& plan, uint32_t cache_blocks_count) {
  GridOptions options;
  options.cluster = cluster;
  options.block_size = plan.block_size;
  options.blocks_count = plan.blocks_count + 64;
  options.cache_blocks_count = cache_blocks_count;
  options.held_blocks_max = 2 * depth;
  return options;
}

Task<Result<void>> play(const Plan& plan) {
  const GridOptions options = grid_options_of(plan, 0);
  const GridOptions cached_options = grid_options_of(plan, 256);
  const ZoneOptions zones[] = {{.name = "superblock", .size = superblock_zone_size},
                               {.name = "grid",
                                .size = options.blocks_count * plan.block_size,
                                .alignment = plan.block_size,
                                .size_present_min = 0}};
  DeviceQueueOptions queue_options;
  queue_options.requests_max = 2 * depth;
  DeviceQueue queue(queue_options);
  StorageOptions storage_options;
  storage_options.queue = &queue;
  Storage storage = co_await ok(Storage::create(plan.filename, zones, storage_options));
  SuperblockCopies superblock(storage, superblock_zone);
  SuperblockFormat format;
  format.cluster = cluster;
  format.configuration.block_size = plan.block_size;
  format.configuration.blocks_max = options.blocks_count;
  co_await ok(storage.write_through(superblock_zone));
  co_await ok(superblock.format(format));
  co_await ok(superblock.open());
  auto grid = Grid::create(storage, grid_zone, options);
  if (!grid.has_value()) co_return Unexpected(grid.error());
  auto cached = Grid::create(storage, grid_zone, cached_options);
  if (!cached.has_value()) co_return Unexpected(cached.error());
  auto buffers = AlignedBufferPool::create({depth, plan.block_size, sector_size});
  if (!buffers.has_value()) co_return Unexpected(buffers.error());
  OpenOptions open_options;
  open_options.access = Access::read_only;
  open_options.queue = &queue;
  File file = co_await ok(File::open(plan.filename, open_options));
  Bench bench{plan, storage, superblock, **grid, **cached, file, **buffers, {}, {}};
  bench.references.resize(plan.blocks_count);
  co_await ok(with_scope(ScopeOptions{}, serve, bench));
  co_await ok(file.close());
  const Result<void> closed = co_await storage.close();
  co_return closed;
}

int run_all(const Plan& plan) {
  if (access(plan.filename.c_str(), F_OK) == 0) {
    fprintf(stderr, "spindle-grid-bench: %s: is there already; name another file with --filename\n",
            plan.filename.c_str());
    return 2;
  }
  auto backend = UringBackend::create(UringOptions{});
  if (!backend.has_value()) {
    return fprintf(stderr, "spindle-grid-bench: %s\n", describe(backend.error()).c_str()), 1;
  }
  Loop loop(**backend);
  const Result<void> done = run(loop, play, plan);
  unlink(plan.filename.c_str());
  if (done.has_value()) return 0;
  fprintf(stderr, "spindle-grid-bench: %s: %s\n", plan.filename.c_str(), describe(done.error()).c_str());
  return 1;
}

}  // namespace

}  // namespace spindle::bench

int main(int argc, char** argv) {
  spindle::bench::Plan plan;
  bool is_smoke = false;
  CLI::App app("What the grid of a store costs on a file system", "spindle-grid-bench");
  app.add_option("--filename", plan.filename, "a file to be made for this, and removed")->capture_default_str();
  app.add_option("--block-size", plan.block_size, "bytes of a block: a multiple of 4096, up to 64 MiB")
      ->capture_default_str()
      ->check([](const std::string& text) {
        const uint64_t size = std::strtoull(text.c_str(), nullptr, 10);
        const bool is_size =
            size >= spindle::block_size_min && size <= spindle::block_size_max && size % spindle::sector_size == 0;
        return is_size ? std::string() : text + ": no multiple of 4096 up to 64 MiB";
      });
  app.add_option("--blocks", plan.blocks_count, "blocks to read from; at least 64")
      ->capture_default_str()
      ->check(CLI::Range(64, 1 << 24));
  app.add_option("--seconds", plan.seconds, "of each measurement")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 3600.0));
  app.add_option("--rounds", plan.rounds_count, "of each")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_flag("--smoke", is_smoke, "shows that it runs");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (is_smoke) {
    plan.filename += ".smoke";
    plan.block_size = 4096;
    plan.blocks_count = 256;
    plan.seconds = 0.01;
    plan.rounds_count = 1;
  }
  return spindle::bench::run_all(plan);
}
