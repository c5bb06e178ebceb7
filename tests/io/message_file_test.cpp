// Messages and files: what was read into a message with direct I/O is written elsewhere from the same memory, through
// registered buffers where the ring has them.
#include <doctest/doctest.h>

#include <string>

#include "pools/message_pool.h"
#include "tests/io/scripted_entry.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

constexpr uint32_t entries_count = 8;
constexpr uint32_t message_size_max = 64 * 1024;
constexpr uint32_t body_size = 3 * sector_size + 1000;  // ends in the middle of a sector

bool saw_fixed = false;
bool saw_plain = false;

/// Notes which forms of a transfer are staged. Entries stay visible until they are used again, so that none is missed.
void note_forms(ScriptedEntry&, int descriptor) {
  SubmissionView view(descriptor, entries_count);
  for (const io_uring_sqe& entry : view) {
    saw_fixed |= entry.opcode == IORING_OP_READ_FIXED || entry.opcode == IORING_OP_WRITE_FIXED;
    const bool is_plain = entry.opcode == IORING_OP_READ || entry.opcode == IORING_OP_WRITE;
    saw_plain |= is_plain && entry.len >= sector_size;
  }
}

std::unique_ptr<MessagePool> make_pool() {
  Result<std::unique_ptr<MessagePool>> made = MessagePool::create(MessagePool::Client{}, message_size_max);
  REQUIRE(made.has_value());
  return std::move(*made);
}

void fill_body(Message& message, uint32_t size) {
  message.build<Command::ping>();
  message.set_body_size(size);
  for (size_t at = 0; at < size; ++at) message.body()[at] = pattern_at(at);
  message.seal();
}

/// Writes a message, forgets it, reads it into another one, and writes that one, from where it was read to, elsewhere.
Task<Result<void>> pass_through(const TemporaryFolder& folder, MessagePool& pool) {
  File source = co_await ok(File::open(folder.file("source"), open_direct_new));
  File target = co_await ok(File::open(folder.file("target"), open_direct_new));
  CHECK(source.is_direct());
  MessageRef sent = co_await ok(pool.acquire());
  fill_body(*sent, body_size);
  const Checksum checksum = sent->header().frame.checksum;
  const std::span<std::byte> out = sent->sectors();
  co_await ok(source.write_all_at(0, out));

  const MessageRef received = co_await ok(pool.acquire());
  CHECK(received->buffer().data() != out.data());
  sent.release();
  const std::span<std::byte> in = received->buffer().first(out.size());
  co_await ok(source.read_exact_at(0, in));
  CHECK(received->verify() == MessageFault::none);
  CHECK(received->header().frame.checksum == checksum);
  CHECK(received->body().size() == body_size);
  const std::span<std::byte> on = received->sectors();
  CHECK(on.data() == in.data());  // no copy
  CHECK(on.size() == in.size());
  co_await ok(target.write_all_at(0, on));
  co_await ok(target.sync());

  const MessageRef again = co_await ok(pool.acquire());
  const std::span<std::byte> check = again->buffer().first(on.size());
  co_await ok(target.read_exact_at(0, check));
  CHECK(again->verify() == MessageFault::none);
  CHECK(again->header().frame.checksum == checksum);
  for (size_t at = 0; at < body_size; ++at) {
    if (again->body()[at] != pattern_at(at)) FAIL_CHECK("byte ", at, " of the body is another one");
  }
  co_return Result<void>();
}

bool offers_direct(const TemporaryFolder& folder) {
  const int descriptor = ::open(folder.file("probe").c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
  if (descriptor >= 0) ::close(descriptor);
  return descriptor >= 0;
}

TEST_CASE("a message read from one file with direct I/O is written to another without a copy, and checksums agree") {
  const TemporaryFolder folder;
  if (!offers_direct(folder)) return skip("no direct I/O here");
  for (const bool registers : {true, false}) {
    CAPTURE(registers);
    const std::unique_ptr<MessagePool> pool = make_pool();
    ScriptedEntry entry;
    entry.inspect = note_forms;
    saw_fixed = saw_plain = false;
    UringOptions options;
    options.ring.entries = entries_count;
    options.ring.entry = &entry;
    UringLoop ring(options);
    const bool has_fixed = ring.backend().capabilities().in_use("registered buffers");
    if (!has_fixed && registers) {
      skip("no registered buffers");
      continue;
    }
    if (registers) REQUIRE(ring.backend().register_arena(pool->arena()).has_value());
    ring.run_to_success(pass_through, folder, *pool);
    if (registers) ring.backend().unregister_arena(pool->arena());
    CHECK(saw_fixed == registers);
    CHECK(saw_plain == !registers);
    CHECK(pool->in_use_count() == 0);
  }
}

Task<Result<void>> read_damaged(const TemporaryFolder& folder, MessagePool& pool) {
  File file = co_await ok(File::open(folder.file("damaged"), open_direct_new));
  const MessageRef message = co_await ok(pool.acquire());
  fill_body(*message, body_size);
  message->body()[2 * sector_size] ^= std::byte{1};
  const std::span<std::byte> sectors = message->sectors();
  co_await ok(file.write_all_at(0, sectors));
  const MessageRef other = co_await ok(pool.acquire());
  const std::span<std::byte> memory = other->buffer().first(sectors.size());
  co_await ok(file.read_exact_at(0, memory));
  CHECK(other->verify() == MessageFault::body_checksum);
  co_return Result<void>();
}

TEST_CASE("a message that was damaged on its way to the disk is found out when it is read") {
  const TemporaryFolder folder;
  if (!offers_direct(folder)) return skip("no direct I/O here");
  const std::unique_ptr<MessagePool> pool = make_pool();
  UringLoop ring;
  ring.run_to_success(read_damaged, folder, *pool);
}

}  // namespace
}  // namespace spindle
