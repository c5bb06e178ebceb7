// Messages: bodies, checksums, and typed views by command.
#include "pools/message.h"

#include <doctest/doctest.h>

#include <string>

#include "pools/message_pool.h"
#include "tests/death.h"
#include "tests/runtime/probes.h"
#include "tests/runtime/test_reactor.h"

namespace spindle {

namespace {

// A command as a user of the library adds it.
constexpr Command lookup{static_cast<uint16_t>(Command::user_begin)};
constexpr Command unregistered{0x101};

struct [[gnu::may_alias]] LookupHeader {
  HeaderFrame frame;
  uint64_t key;
  uint32_t limit;
  uint8_t reserved[180];
};

// And one that uses all of its header.
constexpr Command full{0x102};

struct [[gnu::may_alias]] FullHeader {
  HeaderFrame frame;
  uint64_t words[24];
};

// And some that are no headers.
constexpr Command with_padding{0x110};
constexpr Command too_small{0x111};
constexpr Command frame_elsewhere{0x112};
constexpr Command reserved_in_the_middle{0x113};

struct PaddingHeader {
  HeaderFrame frame;
  uint32_t before_padding;
  uint64_t key;
  uint8_t reserved[176];
};
struct SmallHeader {
  HeaderFrame frame;
  uint8_t reserved[184];
};
struct ElsewhereHeader {
  uint64_t key;
  HeaderFrame frame;
  uint8_t reserved[184];
};
struct MiddleHeader {
  HeaderFrame frame;
  uint8_t reserved[184];
  uint64_t key;
};

}  // namespace

template <>
struct HeaderOf<lookup> {
  using type = LookupHeader;
};
template <>
struct HeaderOf<full> {
  using type = FullHeader;
};
template <>
struct HeaderOf<with_padding> {
  using type = PaddingHeader;
};
template <>
struct HeaderOf<too_small> {
  using type = SmallHeader;
};
template <>
struct HeaderOf<frame_elsewhere> {
  using type = ElsewhereHeader;
};
template <>
struct HeaderOf<reserved_in_the_middle> {
  using type = MiddleHeader;
};

namespace {

static_assert(RegisteredCommand<lookup>);
static_assert(RegisteredCommand<full>);
static_assert(!RegisteredCommand<unregistered>);
static_assert(!RegisteredCommand<Command::none>);
static_assert(sizeof(PaddingHeader) == message_header_size);
static_assert(!RegisteredCommand<with_padding>);
static_assert(!RegisteredCommand<too_small>);
static_assert(!RegisteredCommand<frame_elsewhere>);
static_assert(!RegisteredCommand<reserved_in_the_middle>);

std::unique_ptr<MessagePool> make_pool(uint32_t message_size_max = 8192) {
  Result<std::unique_ptr<MessagePool>> made = MessagePool::create(MessagePool::Client{}, message_size_max);
  REQUIRE(made.has_value());
  return std::move(*made);
}

MessageRef take(MessagePool& pool) { return std::move(*pool.try_acquire()); }

void set_body(Message& message, const std::string& text) {
  message.set_body_size(static_cast<uint32_t>(text.size()));
  std::memcpy(message.body().data(), text.data(), text.size());
}

TEST_CASE("build starts a message of a command, whatever was in its header, and counts no reference") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  std::memset(message->buffer().data(), 0xff, message_header_size);
  const TypedMessage<lookup> typed = message->build<lookup>();
  CHECK(&typed.message() == &*message);
  CHECK(message->references_count() == 1);
  CHECK(message->header().frame.command == lookup);
  CHECK(message->header().frame.size == message_header_size);
  CHECK(message->header().frame.protocol == message_protocol);
  CHECK(typed.body().empty());
  CHECK(typed.header().key == 0);
  CHECK(verify_fields<lookup>(typed.header()) == MessageFault::none);
  typed.header().key = 0x0807060504030201u;
  for (size_t index = 0; index < 8; ++index) CHECK(message->header().fields[index] == index + 1);
}

TEST_CASE("into gives a typed view of the command that the message is of, and nothing for any other") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  CHECK_FALSE(message->into<lookup>().has_value());
  message->build<lookup>().header().key = 7;
  CHECK_FALSE(message->into<Command::ping>().has_value());
  CHECK_FALSE(message->into<full>().has_value());
  REQUIRE(message->into<lookup>().has_value());
  CHECK(message->into<lookup>()->header().key == 7);
  CHECK(message->references_count() == 1);
}

struct Visitor {
  std::string told;
  void operator()(TypedMessage<Command::ping>) { told += "ping"; }
  void operator()(TypedMessage<lookup> message) { told += "lookup " + std::to_string(message.header().key); }
};

TEST_CASE("visit calls the visitor for the command of the message, and tells when it is none of those asked for") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  Visitor visitor;
  CHECK_FALSE(message->visit<Command::ping, lookup>(visitor));
  message->build<lookup>().header().key = 9;
  CHECK(message->visit<Command::ping, lookup>(visitor));
  message->build<Command::ping>();
  CHECK(message->visit<Command::ping, lookup>(visitor));
  CHECK(visitor.told == "lookup 9ping");
  message->build<Command::pong>();
  CHECK_FALSE(message->visit<Command::ping, lookup>(visitor));
  CHECK(message->references_count() == 1);
}

Task<Result<void>> acquire_typed(MessagePool& pool) {
  const MessageRef message = co_await ok(pool.acquire<lookup>());
  CHECK(message->into<lookup>().has_value());
  CHECK(message->header().frame.size == message_header_size);
  const MessageRef plain = co_await ok(pool.acquire());
  CHECK(plain->header().frame.command == Command::none);
  co_return Result<void>();
}

TEST_CASE("acquire of a command gives a message that was started") {
  TestLoop test;
  const std::unique_ptr<MessagePool> pool = make_pool();
  CHECK(run(test.loop, acquire_typed, *pool).has_value());
}

TEST_CASE("the body is exactly the bytes after the header up to the size") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  message->build<lookup>();
  for (const uint32_t size : {0u, 1u, 8192u - 256u}) {
    message->set_body_size(size);
    CHECK(message->header().frame.size == size + 256);
    CHECK(message->body().size() == size);
    CHECK(message->body().data() == message->buffer().data() + 256);
  }
}

TEST_CASE("a message that was sealed verifies, and every single-bit flip up to its end is detected") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  message->build<lookup>();
  set_body(*message, "a small body");
  message->seal();
  CHECK(message->verify() == MessageFault::none);
  for (size_t bit = 0; bit < size_t{message->header().frame.size} * 8; ++bit) {
    message->buffer()[bit / 8] ^= std::byte{1} << (bit % 8);
    const MessageFault wanted = bit < 256 * 8 ? MessageFault::header_checksum : MessageFault::body_checksum;
    if (message->verify() != wanted) FAIL_CHECK("bit ", bit, " was not detected");
    message->buffer()[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  CHECK(message->verify() == MessageFault::none);
}

TEST_CASE("verify says what is wrong with a message that was never built, and does not end the process") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  CHECK(message->verify() == MessageFault::header_checksum);
  MessageHeader& header = message->header();
  header.frame.protocol = message_protocol;
  header.frame.command = lookup;
  for (const uint32_t size : {0u, 255u, 8193u, UINT32_MAX}) {
    header.frame.size = size;
    header.frame.checksum = checksum_of(header);
    CHECK(message->verify() == MessageFault::size);
  }
}

TEST_CASE("sealing zeroes the rest of the last sector, and the message in sectors is whole sectors") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  std::memset(message->buffer().data(), 0xff, message->buffer().size());
  message->build<lookup>();
  set_body(*message, "tail");
  message->seal();
  CHECK(message->sectors().size() == 4096);
  for (size_t at = 260; at < 4096; ++at) {
    if (message->buffer()[at] != std::byte{0}) FAIL_CHECK("byte ", at, " is not zero");
  }
  CHECK(message->buffer()[4096] == std::byte{0xff});
  for (const uint32_t size : {4096u, 4097u, 8192u}) {
    message->set_body_size(size - 256);
    message->seal();
    CHECK(message->sectors().size() == (size == 4096 ? 4096 : 8192));
    CHECK(message->verify() == MessageFault::none);
  }
}

TEST_CASE("sealing leaves what lies behind a message that ends with a sector, and the next message, alone") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef one = take(*pool);
  const MessageRef other = take(*pool);
  REQUIRE(one->buffer().data() + one->buffer().size() == other->buffer().data());
  for (const uint32_t size : {4096u, static_cast<uint32_t>(one->buffer().size())}) {
    one->build<lookup>();
    one->set_body_size(size - 256);
    std::memset(one->buffer().data() + size, 0xee, one->buffer().size() - size);
    std::memset(other->buffer().data(), 0xee, other->buffer().size());
    one->seal();
    for (const std::byte* at = one->buffer().data() + size; at < other->buffer().data() + 8192; ++at) {
      REQUIRE(*at == std::byte{0xee});
    }
  }
}

TEST_CASE("sealing zeroes the rest of the sector of a message without a body too") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  std::memset(message->buffer().data(), 0xff, message->buffer().size());
  message->build<lookup>();
  message->seal();
  for (size_t at = 256; at < 4096; ++at) {
    if (message->buffer()[at] != std::byte{0}) FAIL_CHECK("byte ", at, " is not zero");
  }
  CHECK(message->verify() == MessageFault::none);
}

TEST_CASE("the body checksum of a message without a body is verified too") {
  const std::unique_ptr<MessagePool> pool = make_pool();
  const MessageRef message = take(*pool);
  message->build<lookup>();
  message->seal();
  CHECK(message->verify() == MessageFault::none);
  reinterpret_cast<std::byte*>(&message->header().frame.checksum_body)[3] ^= std::byte{1};
  message->header().frame.checksum = checksum_of(message->header());
  CHECK(message->verify() == MessageFault::body_checksum);
}

#if !SPINDLE_LEDGER
// Builds with the ledger fill what is released, and would touch all of it.
TEST_CASE("messages that lie beyond four gibibytes are apart from those before") {
  constexpr uint32_t size = 2u << 30;
  Result<std::unique_ptr<MessagePool>> made =
      MessagePool::create(MessagePool::Client{.connections_max = 1, .send_queue_max = 1}, size);
  if (!made.has_value()) {
    MESSAGE("SKIP: no such amount of address space");
    return;
  }
  std::vector<MessageRef> messages;
  for (auto next = (*made)->try_acquire(); next.has_value(); next = (*made)->try_acquire()) {
    CHECK((*next)->buffer().data() == (*made)->arena().data() + messages.size() * size_t{size});
    messages.push_back(std::move(*next));
  }
  CHECK(messages.size() >= 3);
  CHECK((*made)->arena().size() == messages.size() * size_t{size});
}
#endif

TEST_CASE("a body that is too large, the body of a message without a size, and sealing without a command are caught") {
  expect_abort([] { take(*make_pool())->set_body_size(8192 - 255); }, "a body that is larger than its message can be");
  const char* const no_size = "the size in a message's header can't be";
  expect_abort([] { static_cast<void>(take(*make_pool())->body()); }, no_size);
  expect_abort(
      [] {
        const std::unique_ptr<MessagePool> pool = make_pool();
        const MessageRef message = take(*pool);
        message->header().frame.size = 8193;
        static_cast<void>(message->sectors());
      },
      no_size);
  expect_abort([] { take(*make_pool())->seal(); }, "a message without a command was sealed");
}

}  // namespace
}  // namespace spindle
