#include "counter.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/directory.h"
#include "runtime/random.h"

using namespace spindle;

namespace {

constexpr uint64_t slot_size = 4096;
constexpr uint64_t slots_count = 2;

}  // namespace

uint64_t Counter::checksum_of(const Record& record) noexcept { return mix64(mix64(record.sequence) + record.value); }

Task<Result<Counter>> Counter::open(std::string path) {
  OpenOptions how;
  how.access = Access::read_write;
  how.create = true;
  how.direct = Direct::prefer;
  File file = co_await ok(File::open(path, how));
  if (file.size_at_open() < slots_count * slot_size) co_await ok(file.allocate(0, slots_count * slot_size));
  // Whoever made the file, or wrote to it, may have died before he synced it: what is found below must stay, too.
  const std::string folder = parent_of(path);
  co_await ok(file.sync_data());
  co_await ok(sync_directory(folder));

  auto pool = AlignedBufferPool::create({1, slot_size, slot_size});
  if (!pool.has_value()) co_return Unexpected(pool.error());
  auto block = co_await ok((*pool)->acquire());
  Counter counter(std::move(file), std::move(*pool), std::move(block));
  const std::span<std::byte> memory = counter.block_.first(slot_size);
  uint64_t broken_count = 0;
  for (uint64_t slot = 0; slot < slots_count; ++slot) {
    co_await ok(counter.file_.read_exact_at(slot * slot_size, memory));
    Record found;
    std::memcpy(&found, memory.data(), sizeof(found));
    const bool is_new = std::all_of(memory.begin(), memory.end(), [](std::byte byte) { return byte == std::byte{}; });
    const bool is_whole = found.checksum == checksum_of(found);
    if (!is_new && !is_whole) ++broken_count;
    if (is_whole && found.sequence > counter.last_.sequence) counter.last_ = found;
  }
  if (broken_count == slots_count) co_return fail_errno(EBADMSG, "counter");
  co_return std::move(counter);
}

Task<Result<uint64_t>> Counter::add(uint64_t amount) {
  Record next{last_.sequence + 1, last_.value + amount};
  next.checksum = checksum_of(next);
  const std::span<std::byte> memory = block_.first(slot_size);
  std::fill(memory.begin(), memory.end(), std::byte{});
  std::memcpy(memory.data(), &next, sizeof(next));
  co_await ok(file_.write_all_at(next.sequence % slots_count * slot_size, memory));
  co_await ok(file_.sync_data());
  last_ = next;
  co_return next.value;
}

Task<Result<void>> Counter::close() {
  const Result<void> closed = co_await file_.close();
  co_return closed;
}
