// When the kernel takes less than was staged, refuses, or is interrupted; when the queue is full; and when a
// cancel comes early, late, or in vain: nothing is lost, and everything ends.
#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "tests/io/scripted_entry.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

constexpr uint32_t entries_count = 8;

UringOptions small_ring(ScriptedEntry& entry) {
  UringOptions options;
  options.ring.entries = entries_count;
  options.ring.entry = &entry;
  return options;
}

struct Bytes {
  Bytes() : path(folder.filled("data", 64 * 512)) {}
  TemporaryFolder folder;
  std::string path;
  Memory memory{64 * 512};
};

Task<Result<void>> read_sector(size_t index, File* file, Memory* memory) {
  const std::span<std::byte> part = memory->part(index * 512, 512);
  co_return co_await file->read_exact_at(index * 512, part);
}

Task<Result<void>> read_all_sectors(Bytes& bytes, ScriptedEntry& entry, int refusal) {
  File file = co_await ok(File::open(bytes.path, open_cached));
  entry.refusal = refusal;
  entry.refusals_left = refusal == 0 ? 0 : 20;
  File* file_address = &file;
  Memory* memory = &bytes.memory;
  std::vector<size_t> indices(64);
  for (size_t index = 0; index < indices.size(); ++index) indices[index] = index;
  co_return co_await for_each_bounded(indices, 64, read_sector, file_address, memory);
}

TEST_CASE("what a short submit leaves behind goes with the next ones") {
  Bytes bytes;
  ScriptedEntry entry;
  UringLoop ring(small_ring(entry));
  for (const unsigned submit_max : {1u, 3u, 7u}) {
    std::memset(bytes.memory.all().data(), 0, bytes.memory.all().size());
    entry.submit_max = submit_max;
    entry.short_count = 0;
    ring.run_to_success(read_all_sectors, bytes, entry, 0);
    CHECK(bytes.memory.has_pattern());
    CHECK(entry.short_count > 0);
  }
  CHECK(ring.backend().counters().queued > 0);
}

TEST_CASE("an enter that is refused with entries staged is tried again") {
  for (const int number : {EAGAIN, EBUSY, EINTR}) {
    CAPTURE(number);
    Bytes bytes;
    ScriptedEntry entry;
    UringLoop ring(small_ring(entry));
    ring.run_to_success(read_all_sectors, bytes, entry, number);
    CHECK(bytes.memory.has_pattern());
    CHECK(entry.refused_count == 20);
    if (number != EINTR) CHECK(ring.backend().counters().refused_enters == 20);
  }
}

TEST_CASE("short submits and refusals in turn lose nothing") {
  Bytes bytes;
  ScriptedEntry entry;
  UringLoop ring(small_ring(entry));
  entry.submit_max = 1;
  ring.run_to_success(read_all_sectors, bytes, entry, EBUSY);
  CHECK(bytes.memory.has_pattern());
  CHECK(entry.short_count > 0);
}

// More operations than slots.

Task<Result<void>> note_nop(int number, std::vector<int>* order) {
  co_await ok(nop(Backend::current()));
  order->push_back(number);
  co_return Result<void>();
}

Task<Result<void>> many_nops(std::vector<int>& order) {
  std::vector<int> numbers(200);
  for (int number = 0; number < 200; ++number) numbers[static_cast<size_t>(number)] = number;
  std::vector<int>* order_address = &order;
  co_return co_await for_each_bounded(numbers, 200, note_nop, order_address);
}

TEST_CASE("operations beyond the slots are admitted in the order in which they came") {
  ScriptedEntry entry;
  std::vector<int> order;
  UringLoop ring(small_ring(entry));
  ring.run_to_success(many_nops, order);
  REQUIRE(order.size() == 200);
  CHECK(std::is_sorted(order.begin(), order.end()));
  CHECK(ring.backend().counters().queued >= 200 - entries_count);
  for (const ScriptedEntry::Call& call : entry.calls) CHECK(call.to_submit <= entries_count);
}

// Cancels.

struct Reads {
  uint32_t cancelled_count = 0;
  uint64_t bytes_count = 0;
};

Task<Result<void>> read_byte(File* file, Reads* reads) {
  std::byte byte;
  const std::span<std::byte> memory(&byte, 1);
  const Result<uint64_t> count = co_await file->read_at(0, memory);
  if (count.has_value()) {
    reads->bytes_count += *count;
  } else {
    CHECK(count.error().code == ErrorCode::cancelled);
    ++reads->cancelled_count;
  }
  co_return Result<void>();
}

struct CancelPlan {
  ScriptedEntry* entry;
  Fifo* fifo;
  Reads reads{};
};

using Act = Task<Result<void>> (*)(Scope& scope, CancelPlan& plan, File& file);

Task<Result<void>> play_cancel(CancelPlan& plan, Act act) {
  File file = co_await ok(File::open(plan.fifo->path(), open_cached));
  auto acting = with_scope(ScopeOptions{}, act, plan, file);
  auto bounded = timeout(std::chrono::seconds(20), std::move(acting));
  co_return co_await std::move(bounded);
}

Reads cancel_reads(Act act, uint64_t cancels_count) {
  TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  ScriptedEntry entry;
  CancelPlan plan{.entry = &entry, .fifo = &fifo};
  UringLoop ring(small_ring(entry));
  ring.run_in_time(play_cancel, plan, act);
  CHECK(ring.backend().counters().cancels == cancels_count);
  CHECK(fifo.drain() == 0);
  return plan.reads;
}

Task<Result<void>> cancel_with_a_full_queue(Scope& scope, CancelPlan& plan, File& file) {
  plan.entry->refusal = EBUSY;
  plan.entry->refusals_left = 10;
  for (uint32_t count = 0; count < entries_count; ++count) {
    co_await ok(scope.spawn(read_byte, &file, &plan.reads));
  }
  while (plan.entry->refused_count < 5) co_await ok(yield());
  CHECK(plan.entry->last.to_submit == entries_count);
  scope.cancel();
  co_return Result<void>();
}

TEST_CASE("a cancel that finds the submission queue full waits for room") {
  const Reads reads = cancel_reads(cancel_with_a_full_queue, entries_count);
  CHECK(reads.cancelled_count == entries_count);
}

Task<Result<void>> cancel_in_the_turn_of_submit(Scope& scope, CancelPlan& plan, File& file) {
  co_await settle_ring();
  for (uint32_t count = 0; count < entries_count; ++count) {
    co_await ok(scope.spawn(read_byte, &file, &plan.reads));
  }
  co_await ok(yield());  // all are staged: there is no room for a cancel
  CHECK(plan.reads.cancelled_count == 0);
  scope.cancel();
  co_return Result<void>();
}

TEST_CASE("operations that fill the queue and are cancelled before the kernel saw them end") {
  const Reads reads = cancel_reads(cancel_in_the_turn_of_submit, entries_count);
  CHECK(reads.cancelled_count == entries_count);
}

Task<Result<void>> cancel_twice_as_many(Scope& scope, CancelPlan& plan, File& file) {
  for (uint32_t count = 0; count < 2 * entries_count; ++count) {
    co_await ok(scope.spawn(read_byte, &file, &plan.reads));
  }
  co_await settle_ring();
  plan.entry->submit_max = 1;
  scope.cancel();
  co_return Result<void>();
}

TEST_CASE("cancelling more than there are slots ends the queued ones at once and the others one by one") {
  const Reads reads = cancel_reads(cancel_twice_as_many, entries_count);
  CHECK(reads.cancelled_count == 2 * entries_count);
}

Task<Result<void>> serve(Event* served) {
  co_await ok(nop(Backend::current()));
  served->set();
  co_return Result<void>();
}

// The read that wakes the loop has a place in the queue and no slot: so the last of eight operations finds a
// slot, but no place, while the kernel refuses.
Task<Result<void>> serve_among_idle(Scope& scope, CancelPlan& plan, File& file) {
  co_await settle_ring();
  plan.entry->refusal = EBUSY;
  plan.entry->refusals_left = UINT32_MAX;
  Backend::current().wake();
  while (plan.entry->refused_count == 0) co_await ok(sleep_for(std::chrono::microseconds(100)));
  for (uint32_t count = 0; count + 1 < entries_count; ++count) {
    co_await ok(scope.spawn(read_byte, &file, &plan.reads));
  }
  Event served;
  co_await ok(scope.spawn(serve, &served));
  co_await ok(yield());
  plan.entry->refusals_left = 0;
  const Result<void> was_served = co_await served.wait();
  CHECK(was_served.has_value());
  scope.cancel();
  co_await settle_ring();
  co_return Result<void>();
}

TEST_CASE("an operation that found a slot but no room starts as soon as there is room, though nothing completes") {
  const Reads reads = cancel_reads(serve_among_idle, entries_count - 1);
  CHECK(reads.cancelled_count == entries_count - 1);
}

Task<Result<void>> complete_before_the_cancel(Scope& scope, CancelPlan& plan, File& file) {
  co_await ok(scope.spawn(read_byte, &file, &plan.reads));
  co_await settle_ring();
  plan.entry->holds_submissions = true;  // the cancel stays in the queue …
  scope.cancel();
  co_await settle_ring();
  plan.fifo->put("x");
  while (plan.reads.bytes_count == 0) co_await settle_ring();
  plan.entry->holds_submissions = false;  // … until its target is gone
  co_await settle_ring();
  co_return Result<void>();
}

TEST_CASE("a cancel that comes after its target's completion changes nothing") {
  const Reads reads = cancel_reads(complete_before_the_cancel, 1);
  CHECK(reads.bytes_count == 1);
  CHECK(reads.cancelled_count == 0);
}

/// Makes the cancels that are staged miss.
void spoil_cancels(ScriptedEntry&, int descriptor) {
  SubmissionView view(descriptor, entries_count);
  for (io_uring_sqe& entry : view) {
    if (entry.opcode == IORING_OP_ASYNC_CANCEL) entry.addr = 0x7fff'ffff'0000'0000;
  }
}

Task<Result<void>> refuse_the_cancel(Scope& scope, CancelPlan& plan, File& file) {
  co_await ok(scope.spawn(read_byte, &file, &plan.reads));
  co_await settle_ring();
  plan.entry->inspect = spoil_cancels;
  scope.cancel();
  co_await settle_ring();
  CHECK(plan.reads.cancelled_count == 0);
  plan.fifo->put("x");
  co_return Result<void>();
}

TEST_CASE("a cancel that is refused leaves its target alone, and what it brings later is delivered") {
  const Reads reads = cancel_reads(refuse_the_cancel, 1);
  CHECK(reads.bytes_count == 1);
  CHECK(reads.cancelled_count == 0);
}

Task<Result<void>> reader_part(Scope& scope, CancelPlan* plan, File* file, Scope** handle) {
  *handle = &scope;
  const Result<void> read = co_await read_byte(file, &plan->reads);
  *handle = nullptr;
  co_return read;
}

Task<Result<void>> reader_with_handle(CancelPlan* plan, File* file, Scope** handle) {
  co_return co_await with_scope(ScopeOptions{}, reader_part, plan, file, handle);
}

// As above the queue is full while a slot's operation is to be cancelled, and here it completes meanwhile.
Task<Result<void>> complete_before_the_cancel_is_staged(Scope& scope, CancelPlan& plan, File& file) {
  Scope* handle = nullptr;
  co_await ok(scope.spawn(reader_with_handle, &plan, &file, &handle));
  co_await settle_ring();
  REQUIRE(handle != nullptr);
  plan.entry->holds_submissions = true;
  Backend::current().wake();
  co_await settle_ring();
  for (uint32_t count = 0; count + 1 < entries_count; ++count) {
    co_await ok(scope.spawn(read_byte, &file, &plan.reads));
  }
  co_await settle_ring();
  CHECK(plan.entry->last.to_submit == entries_count);
  handle->cancel();
  co_await settle_ring();
  CHECK(handle != nullptr);
  plan.fifo->put("x");
  while (plan.reads.bytes_count == 0) co_await settle_ring();
  CHECK(handle == nullptr);
  plan.entry->holds_submissions = false;
  co_await settle_ring();
  scope.cancel();
  co_return Result<void>();
}

TEST_CASE("an operation that completes before there was room for its cancel takes the request with it") {
  const Reads reads = cancel_reads(complete_before_the_cancel_is_staged, entries_count - 1);
  CHECK(reads.bytes_count == 1);
  CHECK(reads.cancelled_count == entries_count - 1);
}

uint64_t cancelled_tag = 0;
uint32_t same_tag_count = 0;

/// Notes the target of the cancel, and whether a later operation has its name.
void watch_tags(ScriptedEntry&, int descriptor) {
  SubmissionView view(descriptor, entries_count);
  for (const io_uring_sqe& entry : view) {
    if (entry.opcode == IORING_OP_ASYNC_CANCEL) cancelled_tag = entry.addr;
  }
  uint32_t same_count = 0;
  for (const io_uring_sqe& entry : view) {
    if (cancelled_tag != 0 && entry.opcode == IORING_OP_READ && entry.user_data == cancelled_tag) ++same_count;
  }
  same_tag_count = std::max(same_tag_count, same_count);
}

Task<Result<void>> cancel_before_a_successor(Scope& scope, CancelPlan& plan, File& file) {
  Scope* handle = nullptr;
  cancelled_tag = same_tag_count = 0;
  co_await ok(scope.spawn(reader_with_handle, &plan, &file, &handle));
  co_await settle_ring();
  REQUIRE(handle != nullptr);
  plan.entry->inspect = watch_tags;
  plan.entry->holds_submissions = true;
  handle->cancel();
  co_await ok(yield());
  plan.fifo->put("x");
  while (plan.reads.bytes_count == 0) co_await ok(yield());
  // The slot is free again and goes to this one.
  co_await ok(scope.spawn(read_byte, &file, &plan.reads));
  co_await ok(yield());
  plan.entry->holds_submissions = false;
  co_await settle_ring();
  CHECK(plan.reads.cancelled_count == 0);
  CHECK(cancelled_tag != 0);
  plan.fifo->put("y");
  co_return Result<void>();
}

TEST_CASE("a late cancel does not hit the operation that has its target's slot by now") {
  const Reads reads = cancel_reads(cancel_before_a_successor, 1);
  CHECK(reads.bytes_count == 2);
  CHECK(same_tag_count <= 1);  // the target itself, as long as its entry is not staged again
}

}  // namespace
}  // namespace spindle
