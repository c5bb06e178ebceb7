// Message: a sector-aligned buffer of a MessagePool with a typed header in front, so that what came from a socket can
// go to the disk with direct I/O, and back, without a copy. MessageRef: how one is held. TypedMessage: how its header
// is looked at.
//
//     MessageRef message = co_await ok(pool.acquire<Command::ping>());
//     message->into<Command::ping>()->header().sent_at_ns = now;
//     message->seal();                          // checksums
//     MessageRef again = message.ref();         // one more reference, explicitly
//
// Invariants
// 1. A message that somebody refers to is in no free list; the last reference that is dropped puts it there.
// 2. Views (TypedMessage, spans) do not count as references: they live as long as somebody else's does.
// One loop owns a pool and all of its messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "pools/message_command.h"
#include "runtime/wait_queue.h"

namespace spindle {

class Message;
class MessagePool;

/// A message seen as one of its command. Does not own.
template <Command command>
  requires RegisteredCommand<command>
class TypedMessage {
 public:
  using Header = typename HeaderOf<command>::type;

  Header& header() const noexcept;
  Message& message() const noexcept { return *message_; }
  std::span<std::byte> body() const noexcept;

 private:
  friend class Message;
  explicit TypedMessage(Message& message) noexcept : message_(&message) {}
  Message* message_;
};

class Message {
 public:
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  MessageHeader& header() noexcept { return *reinterpret_cast<MessageHeader*>(buffer_); }
  const MessageHeader& header() const noexcept { return *reinterpret_cast<const MessageHeader*>(buffer_); }
  /// All of its memory, message_size_max bytes: to read into.
  std::span<std::byte> buffer() noexcept { return {buffer_, buffer_size_}; }
  /// The bytes after the header, up to the size that the header says. Of a header from outside: verify it first.
  std::span<std::byte> body() noexcept { return {buffer_ + message_header_size, checked_size() - message_header_size}; }
  /// The message in whole sectors: to write with direct I/O. seal() has zeroed what is behind the message's end.
  std::span<std::byte> sectors() noexcept { return {buffer_, padded_size()}; }

  /// The body is `size` bytes from now on; they are not changed.
  void set_body_size(uint32_t size) noexcept;
  /// The message is complete: zeroes the rest of its last sector, and computes both checksums.
  void seal() noexcept;
  /// What is wrong with the message that was read into buffer(): header, then body.
  MessageFault verify() const noexcept;

  /// Starts a message of that command, without a body: a header of zeroes but for command, size and protocol.
  template <Command command>
    requires RegisteredCommand<command>
  TypedMessage<command> build() noexcept {
    start(command);
    return TypedMessage<command>(*this);
  }
  /// A typed view, or nothing when the message is of another command.
  template <Command command>
    requires RegisteredCommand<command>
  std::optional<TypedMessage<command>> into() noexcept {
    if (header().frame.command != command) return std::nullopt;
    return TypedMessage<command>(*this);
  }
  /// Calls visitor(TypedMessage<command>) for the one of `commands` that the message is of. False when it is of none.
  template <Command... commands, class Visitor>
    requires(RegisteredCommand<commands> && ...)
  bool visit(Visitor&& visitor) {
    const Command own = header().frame.command;
    return ((own == commands && (static_cast<void>(visitor(TypedMessage<commands>(*this))), true)) || ...);
  }

  uint32_t references_count() const noexcept { return references_count_; }

 private:
  friend class MessagePool;
  friend class MessageRef;

  Message() noexcept = default;
  void start(Command command) noexcept;
  uint32_t checked_size() const noexcept {
    const uint32_t size = header().frame.size;
    SPINDLE_ASSERT(size >= message_header_size && size <= buffer_size_,
                   "the size in a message's header can't be: it was not verified, or never set");
    return size;
  }
  uint32_t padded_size() const noexcept { return (checked_size() + sector_size - 1) / sector_size * sector_size; }
  void add_reference() noexcept { ++references_count_; }
  void drop_reference() noexcept {
    if (--references_count_ == 0) give_back();
  }
  void give_back() noexcept;

  std::byte* buffer_ = nullptr;
  MessagePool* pool_ = nullptr;
  Message* free_next_ = nullptr;  // while nobody refers to it
  uint32_t buffer_size_ = 0;
  uint32_t references_count_ = 0;
};

/// One reference to a message, or none. Move-only; another reference is taken with ref(). Must not outlive the pool.
class [[nodiscard]] MessageRef {
 public:
  MessageRef() noexcept = default;
  MessageRef(MessageRef&& other) noexcept : message_(std::exchange(other.message_, nullptr)) {}
  MessageRef& operator=(MessageRef&& other) noexcept {
    if (this != &other) {
      release();
      message_ = std::exchange(other.message_, nullptr);
    }
    return *this;
  }
  ~MessageRef() { release(); }

  /// One more reference to the same message.
  MessageRef ref() const noexcept {
    Message& message = held();
    message.add_reference();
    return MessageRef(message);
  }
  /// Drops the reference; the last one gives the message back to its pool. Again: nothing.
  void release() noexcept {
    Message* const message = std::exchange(message_, nullptr);
    if (message != nullptr && !host_is_dying()) message->drop_reference();
  }
  bool is_held() const noexcept { return message_ != nullptr; }
  Message& operator*() const noexcept { return held(); }
  Message* operator->() const noexcept { return &held(); }

 private:
  friend class MessagePool;
  explicit MessageRef(Message& message) noexcept : message_(&message) {}
  Message& held() const noexcept {
    SPINDLE_ASSERT(message_ != nullptr, "the message of a reference that holds none");
    return *message_;
  }
  Message* message_ = nullptr;
};

template <Command command>
  requires RegisteredCommand<command>
auto TypedMessage<command>::header() const noexcept -> Header& {
  return *reinterpret_cast<Header*>(message_->buffer().data());
}

template <Command command>
  requires RegisteredCommand<command>
std::span<std::byte> TypedMessage<command>::body() const noexcept {
  return message_->body();
}

}  // namespace spindle
