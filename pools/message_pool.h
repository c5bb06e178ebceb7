// MessagePool: reference-counted messages over one arena, allocated once. A caller that finds it empty waits, FIFO and
// cancellable, until a message comes back.
//
// Invariants
// 1. A message is free, or somebody refers to it; free ones exist only while nobody waits.
// 2. A message that is handed out has one reference and a header of zeroes (but for the command that was asked for).
// 3. In debug builds the buffer of a free message is poisoned (with ASan) or filled with a pattern.
// 4. Destroying the pool with references out is a caught bug.
// One loop owns a pool. A pool knows no ring: io registers pool.arena().
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "pools/message.h"
#include "pools/message_options.h"
#include "runtime/wait_queue.h"

namespace spindle {

class MessagePool {
 public:
  using Client = MessageClientOptions;
  using Replica = MessageReplicaOptions;
  using Options = std::variant<Client, Replica>;

  /// Waits for a message; see acquire().
  class [[nodiscard]] Acquire final : public LeafAwait<Acquire, Waiter> {
   public:
    Acquire(MessagePool& pool, Command command) noexcept : pool_(pool), command_(command) {}
    ~Acquire() { abandon_if_dying(); }
    bool begin(Loop&) noexcept {
      if (pool_.free_first_ == nullptr) {
        pool_.waiters_.push_back(*this);
        return false;
      }
      message_ = &pool_.take_free();
      return true;
    }
    Result<MessageRef> take() noexcept {
      if (failure() != nullptr) return Unexpected(*failure());
      return pool_.hand_out(*message_, command_);
    }
    const char* describe() const noexcept override { return "message pool"; }

   private:
    friend class MessagePool;
    MessagePool& pool_;
    Message* message_ = nullptr;  // granted
    Command command_;
  };

  /// options.messages_count() messages of `message_size_max` bytes, a multiple of the sector size. Errors:
  /// invalid_argument; ENOMEM. All or nothing; does not suspend.
  static Result<std::unique_ptr<MessagePool>> create(const Options& options, uint32_t message_size_max);
  MessagePool(const MessagePool&) = delete;
  MessagePool& operator=(const MessagePool&) = delete;
  /// Every reference must have been dropped.
  ~MessagePool();

  /// Result<MessageRef>: waits behind everybody who came before while the pool is empty.
  Acquire acquire() noexcept { return Acquire(*this, Command::none); }
  /// The same, and starts a message of that command: see Message::build().
  template <Command command>
    requires RegisteredCommand<command>
  Acquire acquire() noexcept {
    return Acquire(*this, command);
  }
  /// A message, or `exhausted`. Never suspends.
  Result<MessageRef> try_acquire() noexcept {
    if (free_first_ == nullptr) return fail(ErrorCode::exhausted, "message pool");
    return hand_out(take_free(), Command::none);
  }

  std::span<std::byte> arena() const noexcept { return {arena_.get(), size_t{capacity_} * message_size_max_}; }
  uint32_t capacity() const noexcept { return capacity_; }
  uint32_t message_size_max() const noexcept { return message_size_max_; }
  uint32_t in_use_count() const noexcept { return in_use_count_; }
  uint32_t high_water_count() const noexcept { return high_water_count_; }

 private:
  friend class Message;
  struct FreeMemory {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  using Arena = std::unique_ptr<std::byte, FreeMemory>;
  using Messages = std::unique_ptr<Message[]>;

  MessagePool(Arena arena, Messages messages, uint32_t capacity, uint32_t message_size_max) noexcept;
  Message& take_free() noexcept;
  MessageRef hand_out(Message& message, Command command) noexcept;
  void give_back(Message& message) noexcept;

  Arena arena_;
  Messages messages_;
  uint32_t capacity_;
  uint32_t message_size_max_;
  uint32_t in_use_count_ = 0;      // handed out, or granted to a waiter that has not run yet
  uint32_t high_water_count_ = 0;
  Message* free_first_ = nullptr;  // a stack: the buffer used last is warm
  WaitQueue waiters_;
};

}  // namespace spindle
