// A bounded channel: values go from senders to receivers in FIFO order, and so do the tasks that wait on either
// side. Its memory is allocated when it is made. Single-threaded.
//
// Invariant: senders wait only while the buffer is full, receivers only while it is empty.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "runtime/wait_queue.h"

namespace spindle {

template <class T>
class Channel {
 public:
  class [[nodiscard]] Send final : public LeafAwait<Send, Waiter> {
   public:
    Send(Channel& channel, T value) noexcept : channel_(channel), value_(std::move(value)) {}
    ~Send() { this->abandon_if_dying(); }
    bool begin(Loop&) noexcept { return channel_.send_or_enqueue(*this); }
    Result<void> take() const noexcept { return this->outcome(); }
    const char* describe() const noexcept override { return "channel send"; }

   private:
    friend class Channel;
    Channel& channel_;
    T value_;
  };

  class [[nodiscard]] Receive final : public LeafAwait<Receive, Waiter> {
   public:
    explicit Receive(Channel& channel) noexcept : channel_(channel) {}
    ~Receive() { this->abandon_if_dying(); }
    bool begin(Loop&) noexcept { return channel_.receive_or_enqueue(*this); }
    Result<T> take() noexcept {
      if (this->failure() != nullptr) return Unexpected(*this->failure());
      return std::move(*value_);
    }
    const char* describe() const noexcept override { return "channel receive"; }

   private:
    friend class Channel;
    Channel& channel_;
    std::optional<T> value_;
  };

  /// `capacity` ≥ 1 values.
  explicit Channel(size_t capacity) : values_(new std::optional<T>[capacity]), capacity_(capacity) {
    SPINDLE_ASSERT(capacity > 0, "a channel needs room for at least one value");
  }

  size_t size() const noexcept { return count_; }
  bool is_closed() const noexcept { return is_closed_; }
  /// Result<void>: waits while the channel is full. With an error (closed, cancelled) the value is dropped.
  Send send(T value) noexcept { return Send(*this, std::move(value)); }
  /// Result<T>: waits while it is empty. `closed` once it is closed and everything sent was received.
  Receive receive() noexcept { return Receive(*this); }
  /// Refuses what comes, fails the senders that wait, and lets receivers have what is left.
  void close() noexcept {
    is_closed_ = true;
    if (host_is_dying()) return;
    senders_.fail_all(Error{ErrorCode::closed, 0, "channel send", 0});
    receivers_.fail_all(Error{ErrorCode::closed, 0, "channel receive", 0});
  }

 private:
  bool send_or_enqueue(Send& send) noexcept {
    if (is_closed_) {
      send.refuse(Error{ErrorCode::closed, 0, "channel send", 0});
      return true;
    }
    if (Waiter* first = receivers_.first()) {
      static_cast<Receive&>(*first).value_.emplace(std::move(send.value_));
      first->grant();
      return true;
    }
    if (count_ < capacity_) {
      push(std::move(send.value_));
      return true;
    }
    senders_.push_back(send);
    return false;
  }
  bool receive_or_enqueue(Receive& receive) noexcept {
    if (count_ > 0) {
      receive.value_.emplace(pop());
      if (Waiter* first = senders_.first()) {
        push(std::move(static_cast<Send&>(*first).value_));
        first->grant();
      }
      return true;
    }
    if (is_closed_) {
      receive.refuse(Error{ErrorCode::closed, 0, "channel receive", 0});
      return true;
    }
    receivers_.push_back(receive);
    return false;
  }
  void push(T value) noexcept {
    values_[(first_ + count_) % capacity_].emplace(std::move(value));
    ++count_;
  }
  T pop() noexcept {
    std::optional<T>& place = values_[first_];
    T value = std::move(*place);
    place.reset();
    first_ = (first_ + 1) % capacity_;
    --count_;
    return value;
  }

  std::unique_ptr<std::optional<T>[]> values_;
  size_t capacity_;
  size_t first_ = 0;
  size_t count_ = 0;
  bool is_closed_ = false;
  WaitQueue senders_;
  WaitQueue receivers_;
};

}  // namespace spindle
