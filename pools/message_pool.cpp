#include "pools/message_pool.h"

#include <cerrno>
#include <cstring>
#include <new>

#include "pools/poison.h"

namespace spindle {

namespace {

uint64_t count_of(const MessagePool::Options& options) noexcept {
  const auto count = [](const auto& chosen) { return chosen.is_valid() ? chosen.messages_count() : uint64_t{0}; };
  if (const auto* client = std::get_if<MessagePool::Client>(&options)) return count(*client);
  return count(*std::get_if<MessagePool::Replica>(&options));
}

}  // namespace

Result<std::unique_ptr<MessagePool>> MessagePool::create(const Options& options, uint32_t message_size_max) {
  const uint64_t count = count_of(options);
  const bool valid = count > 0 && count <= UINT32_MAX && message_size_max > 0 && message_size_max % sector_size == 0;
  if (!valid) return fail(ErrorCode::invalid_argument, "message pool");
  // The arena first: where that much memory does not exist it fails, and nothing of the rest was touched.
  Arena arena(static_cast<std::byte*>(std::aligned_alloc(sector_size, count * message_size_max)));
  if (arena == nullptr) return fail_errno(ENOMEM, "message pool");
  Messages messages(new (std::nothrow) Message[count]);
  if (messages == nullptr) return fail_errno(ENOMEM, "message pool");
  const uint32_t capacity = static_cast<uint32_t>(count);
  std::unique_ptr<MessagePool> pool(new (std::nothrow)
                                        MessagePool(std::move(arena), std::move(messages), capacity, message_size_max));
  if (pool == nullptr) return fail_errno(ENOMEM, "message pool");
  return pool;
}

MessagePool::MessagePool(Arena arena, Messages messages, uint32_t capacity, uint32_t message_size_max) noexcept
    : arena_(std::move(arena)),
      messages_(std::move(messages)),
      capacity_(capacity),
      message_size_max_(message_size_max) {
  for (uint32_t index = capacity; index-- > 0;) {
    Message& message = messages_[index];
    message.buffer_ = arena_.get() + size_t{index} * message_size_max;
    message.buffer_size_ = message_size_max;
    message.pool_ = this;
    message.free_next_ = free_first_;
    free_first_ = &message;
  }
  poison_released(this->arena());
}

MessagePool::~MessagePool() {
  SPINDLE_ASSERT(in_use_count_ == 0 || host_is_dying(), "a message pool was destroyed with messages out");
  unpoison_acquired(arena());
}

Message& MessagePool::take_free() noexcept {
  Message& message = *free_first_;
  SPINDLE_ASSERT(message.references_count_ == 0, "a message in the free list is in use");
  free_first_ = std::exchange(message.free_next_, nullptr);
  if (++in_use_count_ > high_water_count_) high_water_count_ = in_use_count_;
  unpoison_acquired(message.buffer());
  return message;
}

MessageRef MessagePool::hand_out(Message& message, Command command) noexcept {
  SPINDLE_ASSERT(message.references_count_ == 0, "a message was handed out twice");
  message.references_count_ = 1;
  if (command == Command::none) {
    std::memset(message.buffer_, 0, message_header_size);
  } else {
    message.start(command);
  }
  return MessageRef(message);
}

void MessagePool::give_back(Message& message) noexcept {
  poison_released(message.buffer());
  message.free_next_ = free_first_;
  free_first_ = &message;
  --in_use_count_;
  Waiter* const first = waiters_.first();
  if (first == nullptr) return;
  static_cast<Acquire&>(*first).message_ = &take_free();
  first->grant();
}

void Message::give_back() noexcept { pool_->give_back(*this); }

void Message::start(Command command) noexcept {
  std::memset(buffer_, 0, message_header_size);
  HeaderFrame& frame = header().frame;
  frame.size = message_header_size;
  frame.command = command;
  frame.protocol = message_protocol;
}

void Message::set_body_size(uint32_t size) noexcept {
  SPINDLE_ASSERT(size <= buffer_size_ - message_header_size, "a body that is larger than its message can be");
  header().frame.size = message_header_size + size;
}

void Message::seal() noexcept {
  SPINDLE_ASSERT(header().frame.command != Command::none, "a message without a command was sealed");
  const uint32_t size = checked_size();
  std::memset(buffer_ + size, 0, padded_size() - size);
  header().frame.checksum_body = checksum_of(body());
  header().frame.checksum = checksum_of(header());
}

MessageFault Message::verify() const noexcept {
  const MessageFault fault = verify_header(header(), buffer_size_);
  if (fault != MessageFault::none) return fault;
  return verify_body(header(), {buffer_ + message_header_size, header().frame.size - message_header_size});
}

}  // namespace spindle
