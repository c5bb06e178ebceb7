// A backend that answers what a test tells it: each submitted operation gets the next of a list of results,
// and those behind its end wait until the test answers them.
#pragma once

#include <cerrno>
#include <deque>
#include <vector>

#include "io/backend.h"
#include "runtime/loop.h"

namespace spindle {

class ScriptedBackend final : public Backend {
 public:
  /// The results of the operations to come, in order.
  void answer(std::initializer_list<int32_t> results) { script_.insert(script_.end(), results); }
  /// The same result for everything that comes, once the list is empty.
  void answer_always(int32_t result) {
    always_ = result;
    has_always_ = true;
  }
  /// What is held: no answer was there for it.
  std::vector<Operation*> held;
  struct Asked {
    Opcode opcode;
    uint64_t offset;
    uint64_t size;
  };
  std::vector<Asked> asked;  ///< every submission, tries again included
  uint64_t cancels_count = 0;

  Time now() noexcept override { return now_; }
  void poll() noexcept override { deliver_due(); }
  void wait(Time until) noexcept override {
    SPINDLE_ASSERT(!due_.empty() || until != time_never, "deadlock: nothing will ever complete");
    if (due_.empty() && until > now_) now_ = until;
    deliver_due();
  }
  void wake() noexcept override {}
  void cancel(Operation&) noexcept override { ++cancels_count; }
  void cancel_all(Descriptor& descriptor) noexcept override {
    const std::vector<Operation*> copies = held;
    for (Operation* operation : copies) {
      if (operation->descriptor() == &descriptor) operation->request_cancel_from_backend();
    }
  }
  void abandon(Operation&) noexcept override {}
  Result<void> register_arena(std::span<std::byte>) noexcept override { return {}; }
  void unregister_arena(std::span<std::byte>) noexcept override {}
  /// Answers a held operation, from inside or outside of a task.
  void release(Operation& operation, int32_t result) noexcept {
    std::erase(held, &operation);
    operation.deliver(result);
  }

 protected:
  void submit_to_backend(Operation& operation) noexcept override {
    operation.place = Operation::Place::in_flight;
    const bool is_single = operation.is_transfer() && !operation.is_vectored();
    asked.push_back({operation.opcode(), operation.offset(), is_single ? operation.chunk_size() : 0});
    if (script_.empty() && !has_always_) {
      held.push_back(&operation);
      return;
    }
    const int32_t result = script_.empty() ? always_ : script_.front();
    if (!script_.empty()) script_.pop_front();
    due_.push_back({&operation, result});
  }

 private:
  struct Due {
    Operation* operation;
    int32_t result;
  };
  void deliver_due() noexcept {
    std::vector<Due> due;
    due.swap(due_);
    for (const Due& one : due) one.operation->deliver(one.result);
  }

  Time now_ = Time(std::chrono::seconds(1000));
  std::deque<int32_t> script_;
  std::vector<Due> due_;
  int32_t always_ = 0;
  bool has_always_ = false;
};

}  // namespace spindle
