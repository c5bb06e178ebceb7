// What a background copy does to the tail of foreground reads, and what classes of I/O do about it.
//
// Random 4 KiB reads at depth 1 from one file: alone; beside a sequential copy in 1 MiB requests at depth 16; beside
// the same copy, both through one DeviceQueue, the copy in the background class. Rounds alternate; medians over
// rounds of the percentiles. Files of its own, unnamed or removed at the end; direct I/O.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "benchmarks/histogram.h"
#include "benchmarks/meter.h"
#include "benchmarks/prepare.h"
#include "benchmarks/units.h"
#include "io/device_queue.h"
#include "io/file.h"
#include "io/uring/uring_backend.h"
#include "pools/buffer_pool.h"
#include "runtime/combinators.h"
#include "runtime/random.h"
#include "runtime/root.h"

namespace spindle::bench {

namespace {

constexpr uint32_t block_size = 4096;
constexpr uint32_t copy_size = 1u << 20;
constexpr uint32_t copy_depth = 16;
constexpr uint32_t rounds_count = 5;

enum class Mode : uint8_t { alone, beside, beside_in_background };
constexpr Mode modes[] = {Mode::alone, Mode::beside, Mode::beside_in_background};

const char* name_of(Mode mode) noexcept {
  switch (mode) {
    case Mode::alone: return "reads alone";
    case Mode::beside: return "beside a copy, no classes";
    case Mode::beside_in_background: return "beside a copy in the background class";
  }
  return "";
}

struct Round {
  Mode mode = Mode::alone;
  double seconds = 1;
  std::string source;
  std::string target;
  Loop* loop = nullptr;
  AlignedBufferPool* blocks = nullptr;
  AlignedBufferPool* chunks = nullptr;
  uint64_t size = 0;
  // Results.
  Histogram latency_ns;
  uint64_t reads_count = 0;
  uint64_t copied_bytes = 0;
};

OpenOptions direct(bool writes, DeviceQueue* queue) noexcept {
  OpenOptions options;
  options.access = writes ? Access::read_write : Access::read_only;
  options.queue = queue;
  return options;
}

struct Copy {
  Round* round;
  File* source;
  File* target;
  uint64_t next_offset = 0;
  IoClass io_class = IoClass::foreground;
};

Task<Result<void>> copy_chunks(Copy* copy) {
  const AlignedBufferPool::Lease lease = co_await ok(copy->round->chunks->acquire());
  const std::span<std::byte> chunk = lease.first(copy_size);
  ReadOptions read;
  read.io_class = copy->io_class;
  WriteOptions write;
  write.io_class = copy->io_class;
  for (;;) {
    const uint64_t offset = copy->next_offset;
    copy->next_offset = (offset + copy_size) % copy->round->size;
    co_await ok(copy->source->read_exact_at(offset, chunk, read));
    co_await ok(copy->target->write_all_at(offset, chunk, write));
    copy->round->copied_bytes += copy_size;
  }
}

Task<Result<void>> read_blocks(Round* round, File* source) {
  const AlignedBufferPool::Lease lease = co_await ok(round->blocks->acquire());
  const std::span<std::byte> block = lease.first(block_size);
  Random random(7);
  const Time begin = round->loop->now();
  const Time end = begin + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(round->seconds));
  for (;;) {
    const uint64_t offset = random.below(round->size / block_size) * block_size;
    const uint64_t asked_ns = clock_ns();
    co_await ok(source->read_exact_at(offset, block));
    round->latency_ns.record(clock_ns() - asked_ns);
    ++round->reads_count;
    if (round->loop->now() >= end) break;
  }
  co_return Result<void>();
}

Task<Result<void>> spawn_all(Scope& scope, Round& round, Copy& copy) {
  Copy* const shared = &copy;
  for (uint32_t count = 0; round.mode != Mode::alone && count < copy_depth; ++count) {
    co_await ok(scope.spawn(copy_chunks, shared));
  }
  co_await ok(read_blocks(&round, copy.source));
  scope.cancel();
  co_return Result<void>();
}

Task<Result<void>> play(Round& round) {
  DeviceQueueOptions limit;
  limit.requests_max = 16;
  DeviceQueue queue(limit);
  const bool in_classes = round.mode == Mode::beside_in_background;
  DeviceQueue* const used = in_classes ? &queue : nullptr;
  File source = co_await ok(File::open(round.source, direct(false, used)));
  File target = co_await ok(File::open(round.target, direct(true, used)));
  Copy copy{&round, &source, &target, 0, in_classes ? IoClass::background : IoClass::foreground};
  const ScopeOptions options;
  co_await ok(with_scope(options, spawn_all, round, copy));
  co_await ok(target.close());
  const Result<void> closed = co_await source.close();
  co_return closed;
}

std::string run_round(Round& round) {
  UringOptions options;
  options.ring.entries = 2 * copy_depth;
  auto backend = UringBackend::create(options);
  if (!backend.has_value()) return explain_setup_failure(backend.error().number);
  auto blocks = AlignedBufferPool::create({1, block_size, block_size});
  auto chunks = AlignedBufferPool::create({copy_depth, copy_size, block_size});
  if (!blocks.has_value() || !chunks.has_value()) return "too little memory for the buffers";
  Loop loop(**backend);
  round.loop = &loop;
  round.blocks = &*blocks.value();
  round.chunks = &*chunks.value();
  const Result<void> done = run(loop, play, round);
  return done.has_value() ? std::string() : describe(done.error());
}

struct Series {
  std::vector<double> p50;
  std::vector<double> p99;
  std::vector<double> p999;
  std::vector<double> copied;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print(const Series series[]) {
  printf("4 KiB random reads at depth 1; copy in 1 MiB requests at depth %u; medians of %u rounds (min .. max)\n",
         copy_depth, rounds_count);
  for (const Mode mode : modes) {
    const Series& of = series[static_cast<size_t>(mode)];
    const auto [least, most] = std::minmax_element(of.p99.begin(), of.p99.end());
    printf("  %-38s p50 %9s   p99 %9s (%s .. %s)   p99.9 %9s   copy %s/s\n", name_of(mode),
           text_of_ns(median(of.p50)).c_str(), text_of_ns(median(of.p99)).c_str(), text_of_ns(*least).c_str(),
           text_of_ns(*most).c_str(), text_of_ns(median(of.p999)).c_str(),
           text_of_bytes(static_cast<uint64_t>(median(of.copied))).c_str());
  }
  const double without = median(series[static_cast<size_t>(Mode::beside)].p99);
  const double with = median(series[static_cast<size_t>(Mode::beside_in_background)].p99);
  printf("p99 with classes: %.2f of that without\n", with / without);
}

int run_all(double seconds, uint64_t size) {
  FileRequest request;
  request.size_bytes = size;
  request.writes = true;
  request.progress = true;
  auto source = prepare_file(request);
  if (source.failure) return fprintf(stderr, "class-tail: %s\n", source.failure.line.c_str()), 1;
  auto target = prepare_file(request);
  if (target.failure) return fprintf(stderr, "class-tail: %s\n", target.failure.line.c_str()), 1;
  Series series[std::size(modes)];
  for (uint32_t count = 0; count < rounds_count; ++count) {
    for (const Mode mode : modes) {
      Round round;
      round.mode = mode;
      round.seconds = seconds;
      round.source = source.value.path;
      round.target = target.value.path;
      round.size = source.value.size_bytes / copy_size * copy_size;
      const std::string failed = run_round(round);
      if (!failed.empty()) return fprintf(stderr, "class-tail: %s\n", failed.c_str()), 1;
      Series& of = series[static_cast<size_t>(mode)];
      of.p50.push_back(static_cast<double>(round.latency_ns.percentile(50)));
      of.p99.push_back(static_cast<double>(round.latency_ns.percentile(99)));
      of.p999.push_back(static_cast<double>(round.latency_ns.percentile(99.9)));
      of.copied.push_back(static_cast<double>(round.copied_bytes) / seconds);
    }
  }
  print(series);
  return 0;
}

}  // namespace

}  // namespace spindle::bench

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && std::string(argv[1]) != "--smoke")) {
    fputs("usage: spindle-class-tail [--smoke]\n", stderr);
    return 2;
  }
  const bool is_smoke = argc == 2;
  return spindle::bench::run_all(is_smoke ? 0.05 : 2, is_smoke ? uint64_t{16} << 20 : uint64_t{512} << 20);
}
