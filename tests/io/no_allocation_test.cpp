// "The steady state allocates nothing": this program has its own malloc and operator new, which end the
// process when they are called while allocation is forbidden, and reads 100,000 blocks at depth 32 like that.
//
// Linked with mimalloc the same holds: the program's symbols come before its library's, mi_malloc among them,
// and the __libc_ names below are mimalloc's then.
#include <doctest/doctest.h>
#include <malloc.h>

#include <array>
#include <atomic>
#include <new>

#include "io/ledger.h"
#include "io/storage.h"
#include "pools/buffer_pool.h"
#include "tests/death.h"
#include "tests/io/uring_fixture.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SPINDLE_IS_SANITIZED 1
#endif
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(SPINDLE_IS_SANITIZED)
#define SPINDLE_TRAPS_ALLOCATION 1

namespace {

std::atomic<bool> is_forbidden{false};

/// Must not allocate, nor print through anything that might.
void note_allocation(const char* function) noexcept {
  if (!is_forbidden.load(std::memory_order_relaxed)) return;
  is_forbidden.store(false, std::memory_order_relaxed);
  const char text[] = "allocation in the steady state through ";
  ssize_t written = ::write(STDERR_FILENO, text, sizeof text - 1);
  written += ::write(STDERR_FILENO, function, std::strlen(function));
  static_cast<void>(written);
  std::abort();
}

}  // namespace

// glibc's own names for what it lets others replace.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* memory);

void* malloc(size_t size) noexcept {
  note_allocation("malloc");
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) noexcept {
  note_allocation("calloc");
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) noexcept {
  note_allocation("realloc");
  return __libc_realloc(memory, size);
}
void* memalign(size_t alignment, size_t size) noexcept {
  note_allocation("memalign");
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) noexcept {
  note_allocation("aligned_alloc");
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, size_t alignment, size_t size) noexcept {
  note_allocation("posix_memalign");
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
void free(void* memory) noexcept { __libc_free(memory); }

// The runtime's weak references to mimalloc find these. (Its aligned forms stay its own: __libc_memalign uses
// them.)
void* mi_malloc(size_t size) noexcept {
  note_allocation("mi_malloc");
  return __libc_malloc(size);
}
void mi_free(void* memory) noexcept { __libc_free(memory); }
}

void* operator new(size_t size) {
  note_allocation("operator new");
  return __libc_malloc(size);
}
void* operator new(size_t size, std::align_val_t alignment) {
  note_allocation("operator new");
  return __libc_memalign(static_cast<size_t>(alignment), size);
}
void* operator new[](size_t size) { return ::operator new(size); }
void* operator new[](size_t size, std::align_val_t alignment) { return ::operator new(size, alignment); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return ::operator new(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return ::operator new(size); }
void* operator new(size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return ::operator new(size, alignment);
}
void* operator new[](size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return ::operator new(size, alignment);
}
void operator delete(void* memory) noexcept { __libc_free(memory); }
void operator delete[](void* memory) noexcept { __libc_free(memory); }
void operator delete[](void* memory, size_t) noexcept { __libc_free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { __libc_free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { __libc_free(memory); }
void operator delete(void* memory, size_t) noexcept { __libc_free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { __libc_free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { __libc_free(memory); }
#endif

namespace spindle {
namespace {

#if SPINDLE_TRAPS_ALLOCATION

constexpr uint32_t depth = 32;
constexpr uint32_t reads_count = 100'000;
constexpr uint32_t block_size = 4096;
constexpr uint32_t blocks_count = 256;
constexpr ZoneIndex storage_zone{0};

struct Workload {
  File* file = nullptr;
  AlignedBufferPool* pool = nullptr;
  uint32_t reads_left = 0;
  uint32_t wrong_count = 0;
};

Task<Result<void>> read_one(Workload* work, uint64_t block) {
  const AlignedBufferPool::Lease lease = co_await ok(work->pool->acquire());
  const std::span<std::byte> memory = lease.span();
  co_await ok(work->file->read_exact_at(block * block_size, memory));
  if (memory[0] != pattern_at(block * block_size)) ++work->wrong_count;
  co_return Result<void>();
}

Task<Result<void>> read_many(Workload* work) {
  while (work->reads_left > 0) {
    --work->reads_left;
    const uint64_t block = Loop::current().random().below(blocks_count);
    co_await ok(read_one(work, block));
    if (work->reads_left % 1000 == 0) co_await ok(timeout(std::chrono::seconds(5), yield()));
    if (work->reads_left % 5000 == 0) co_await ok(sleep_for(std::chrono::microseconds(50)));
  }
  co_return Result<void>();
}

Task<Result<void>> spawn_readers(Scope& scope, Workload* work) {
  for (uint32_t reader = 0; reader < depth; ++reader) co_await ok(scope.spawn(read_many, work));
  co_return Result<void>();
}

Task<Result<void>> warm_up_and_measure(const std::string& path, AlignedBufferPool& pool, Workload& work) {
  File file = co_await ok(File::open(path, {.direct = Direct::prefer}));
  work.file = &file;
  work.pool = &pool;
  Workload* work_address = &work;
  work.reads_left = 2000;
  co_await ok(with_scope(ScopeOptions{}, spawn_readers, work_address));
  work.reads_left = reads_count;
  is_forbidden.store(true);
  auto measured = with_scope(ScopeOptions{}, spawn_readers, work_address);
  const Result<void> result = co_await std::move(measured);
  is_forbidden.store(false);
  co_return result;
}

TEST_CASE("100,000 reads at depth 32 allocate nothing after the start") {
  if constexpr (Ledger::enabled) return skip_in_this_build("the ledger allocates");
  TemporaryFolder folder;
  const std::string path = folder.filled("data", blocks_count * block_size);
  auto pool = AlignedBufferPool::create({.buffers_count = depth, .buffer_size = block_size, .alignment = 4096});
  REQUIRE(pool.has_value());
  UringLoop ring;
  const Result<void> registered = ring.backend().register_arena((*pool)->arena());
  static_cast<void>(registered);
  Workload work;
  ring.run_to_success(warm_up_and_measure, path, **pool, work);
  CHECK(work.reads_left == 0);
  CHECK(work.wrong_count == 0);
  CHECK(ring.loop().frames().missed_count() == 0);
}

/// Reads, writes and syncs of a storage.
Task<Result<void>> use_storage(Storage& storage, std::span<std::byte> memory, uint32_t rounds) {
  uint64_t words[1];
  const StorageReadOptions options{.lost = LostSectors(words)};
  for (uint32_t round = 0; round < rounds; ++round) {
    const uint64_t offset = Loop::current().random().below(blocks_count) * block_size;
    co_await ok(storage.write(storage_zone, offset, memory));
    co_await ok(storage.read(storage_zone, offset, memory, options));
    if (round % 100 == 0) co_await ok(storage.sync());
  }
  co_return Result<void>();
}

Task<Result<void>> warm_up_and_use_storage(const std::string& path) {
  constexpr ZoneOptions zones[] = {{.name = "zone", .size = blocks_count * block_size}};
  StorageOptions options;
  options.direct = Direct::prefer;
  Storage storage = co_await ok(Storage::create(path, zones, options));
  Memory memory(block_size);
  const std::span<std::byte> all = memory.all();
  co_await ok(use_storage(storage, all, 10));
  const uint64_t missed_count = Loop::current().frames().missed_count();
  is_forbidden.store(true);
  const Result<void> result = co_await use_storage(storage, all, 1000);
  is_forbidden.store(false);
  CHECK(Loop::current().frames().missed_count() == missed_count);
  co_return result;
}

TEST_CASE("reads and writes of a storage allocate nothing") {
  if constexpr (Ledger::enabled) return skip_in_this_build("the ledger allocates");
  TemporaryFolder folder;
  UringLoop ring;
  ring.run_to_success(warm_up_and_use_storage, folder.file("data"));
}

template <class Allocate>
void expect_trap(Allocate allocate) {
  expect_abort(
      [allocate] {
        is_forbidden.store(true);
        void* volatile memory = allocate();
        static_cast<void>(memory);
      },
      "allocation in the steady state");
}

TEST_CASE("the trap catches every way to allocate") {
  expect_trap([] { return std::malloc(1); });
  expect_trap([] { return std::calloc(1, 1); });
  expect_trap([] { return std::realloc(nullptr, 1); });
  expect_trap([] { return std::aligned_alloc(64, 64); });
  expect_trap([] { return ::memalign(64, 64); });
  expect_trap([] { return static_cast<void*>(new char); });
  expect_trap([] { return static_cast<void*>(new char[100]); });
  expect_trap([] { return ::operator new(64, std::align_val_t{64}); });
  expect_trap([] { return ::operator new(64, std::nothrow); });
  expect_trap([] {
    void* memory = nullptr;
    return ::posix_memalign(&memory, 64, 64) == 0 ? memory : nullptr;
  });
}

TEST_CASE("a frame that the pool has not goes through the trap") {
  if constexpr (!FramePool::pooled) return skip_in_this_build("frames are not pooled");
  expect_abort(
      [] {
        FramePool pool(1, 1);
        void* const first = pool.acquire(64);
        is_forbidden.store(true);
        void* const second = pool.acquire(64);
        pool.release(first, 64);
        pool.release(second, 64);
      },
      "allocation in the steady state");
}

#else

TEST_CASE("100,000 reads at depth 32 allocate nothing after the start") {
  skip_in_this_build("a sanitizer has malloc for itself, and frames are not pooled");
}

#endif

}  // namespace
}  // namespace spindle
