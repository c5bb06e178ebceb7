// A disk of the tests' own, in memory, with one file "data" on it: sectors can be unreadable, requests can be made to
// fail, to be short or to wait, and everything that it was asked is noted.
//
//     BadDiskLoop on(64 * 4096);                              // the file is there, and holds the pattern
//     on.disk.damage(5 * 4096, 1, EIO);                       // reads that touch that byte fail
//     on.disk.answer(Opcode::write, {-EAGAIN, 512, -ENOSPC}); // the next writes: again, 512 bytes, no space
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "io/backend.h"
#include "runtime/loop.h"
#include "runtime/root.h"
#include "tests/io/uring_fixture.h"

namespace spindle {

class BadDisk final : public Backend {
 public:
  /// In a list of answers: nothing special.
  static constexpr int32_t as_usual = INT32_MAX;

  struct Asked {
    Opcode opcode;
    uint64_t offset;
    uint64_t size;
    bool is_durable = false;
    IoClass io_class = IoClass::foreground;
  };

  std::vector<std::byte> bytes;  ///< of the file, or device
  bool exists = false;
  uint32_t mode = S_IFREG | 0644;
  uint64_t number = 7;  ///< inode of what is under the name
  uint32_t alignment = 512;
  std::vector<Asked> asked;  ///< every submission, tries again included
  std::vector<Operation*> held;

  /// Reads that touch the range fail with the errno, so many times.
  void damage(uint64_t offset, uint64_t size, int errno_number, uint32_t times = UINT32_MAX) {
    damages_.push_back({offset, offset + size, errno_number, times});
  }
  /// Of the next requests of that kind: an errno, negative; a transfer's count; or as_usual.
  void answer(Opcode opcode, std::initializer_list<int32_t> results) {
    std::deque<int32_t>& of_kind = answers_[opcode];
    of_kind.insert(of_kind.end(), results);
  }
  void answer_always(Opcode opcode, int32_t result) { always_[opcode] = result; }
  /// The request with this index in `asked` fails with the errno.
  void refuse(size_t index, int errno_number) {
    refused_index_ = index;
    refusal_ = -errno_number;
  }
  /// Requests of that kind wait until release() or a cancel.
  void hold(Opcode opcode) { held_kinds_[opcode] = true; }
  /// And those from this index in `asked` on, whatever they are.
  void hold_from(size_t index) { held_index_first_ = index; }
  void release() {
    held_kinds_.clear();
    held_index_first_ = SIZE_MAX;
    for (Operation* operation : held) due_.push_back(operation);
    held.clear();
  }
  /// What waits has its answer: no cancel, and no drop, changes that any more.
  void answer_held() {
    std::vector<Operation*> all;
    all.swap(held);
    for (Operation* operation : all) operation->deliver(result_of(*operation));
  }
  uint64_t asked_count(Opcode opcode) const {
    return static_cast<uint64_t>(
        std::count_if(asked.begin(), asked.end(), [&](const Asked& one) { return one.opcode == opcode; }));
  }

  Time now() noexcept override { return now_; }
  void poll() noexcept override { deliver_due(); }
  void wait(Time until) noexcept override {
    SPINDLE_ASSERT(!due_.empty() || until != time_never, "deadlock: nothing will ever complete");
    if (due_.empty() && until > now_) now_ = until;
    deliver_due();
  }
  void wake() noexcept override {}
  void cancel(Operation& operation) noexcept override {
    if (std::erase(held, &operation) > 0) due_.push_back(&operation);
  }
  void cancel_all(Descriptor& descriptor) noexcept override {
    std::vector<Operation*> all = held;
    all.insert(all.end(), due_.begin(), due_.end());
    for (Operation* operation : all) {
      if (operation->descriptor() == &descriptor) operation->request_cancel_from_backend();
    }
  }
  void abandon(Operation& operation) noexcept override {
    std::erase(held, &operation);
    std::erase(due_, &operation);
    note_abandoned(operation);
  }
  Result<void> register_arena(std::span<std::byte>) noexcept override { return {}; }
  void unregister_arena(std::span<std::byte>) noexcept override {}

 protected:
  void submit_to_backend(Operation& operation) noexcept override {
    operation.place = Operation::Place::in_flight;
    const uint64_t size = operation.is_transfer() ? operation.chunk_size() : operation.size();
    const size_t index = asked.size();
    asked.push_back({operation.opcode(), operation.offset(), size, operation.is_durable(), operation.io_class()});
    if (index == refused_index_) refused_ = &operation;
    if (held_kinds_[operation.opcode()] || index >= held_index_first_) {
      held.push_back(&operation);
    } else {
      due_.push_back(&operation);
    }
  }

 private:
  static constexpr int32_t file_fd = 1000;
  static constexpr int32_t folder_fd = 2000;
  struct Damage {
    uint64_t begin;
    uint64_t end;
    int errno_number;
    uint32_t times;
  };

  void deliver_due() noexcept {
    std::vector<Operation*> due;
    due.swap(due_);
    for (Operation* operation : due) {
      const bool is_cancelled = operation->is_cancel_requested() && operation->opcode() != Opcode::close;
      operation->deliver(is_cancelled ? -ECANCELED : result_of(*operation));
    }
  }
  int32_t result_of(Operation& operation) {
    if (&operation == refused_) {
      refused_ = nullptr;
      return refusal_;
    }
    std::deque<int32_t>& answers = answers_[operation.opcode()];
    int32_t scripted = as_usual;
    if (const auto always = always_.find(operation.opcode()); always != always_.end()) scripted = always->second;
    if (!answers.empty()) {
      scripted = answers.front();
      answers.pop_front();
    }
    if (scripted <= 0) return scripted;
    if (operation.is_transfer()) return transfer(operation, static_cast<uint64_t>(scripted));
    return execute(operation);
  }
  int32_t transfer(Operation& operation, uint64_t size_max) {
    const uint64_t begin = operation.offset();
    uint64_t size = std::min<uint64_t>(operation.chunk_size(), size_max);
    if (!operation.reads_into_memory()) {
      bytes.resize(std::max<uint64_t>(bytes.size(), begin + size));
      std::memcpy(bytes.data() + begin, operation.memory(), size);
      return static_cast<int32_t>(size);
    }
    for (Damage& damage : damages_) {
      if (damage.times == 0 || damage.end <= begin || damage.begin >= begin + size) continue;
      if (damage.times != UINT32_MAX) --damage.times;
      return -damage.errno_number;
    }
    size = std::min<uint64_t>(size, begin < bytes.size() ? bytes.size() - begin : 0);
    if constexpr (Ledger::enabled) Ledger::unpoison(operation.memory(), size);
    std::memcpy(operation.memory(), bytes.data() + begin, size);
    return static_cast<int32_t>(size);
  }
  int32_t open(const Operation& operation) {
    if (std::string(operation.path()) != "data") return folder_fd;
    const int flags = operation.open_flags();
    if (exists && (flags & O_EXCL) != 0) return -EEXIST;
    if (!exists && (flags & O_CREAT) == 0) return -ENOENT;
    exists = true;
    return file_fd;
  }
  int32_t fill(struct statx& status, bool is_folder) const {
    std::memset(&status, 0, sizeof status);
    status.stx_mask = STATX_BASIC_STATS | STATX_DIOALIGN;
    status.stx_mode = static_cast<uint16_t>(is_folder ? S_IFDIR | 0755 : mode);
    status.stx_ino = is_folder ? 2 : number;
    status.stx_size = S_ISREG(status.stx_mode) ? bytes.size() : 0;
    status.stx_dio_mem_align = status.stx_dio_offset_align = alignment;
    return 0;
  }
  int32_t execute(Operation& operation) {
    switch (operation.opcode()) {
      case Opcode::open: return open(operation);
      case Opcode::stat: return fill(*operation.status(), operation.descriptor()->fd == folder_fd);
      case Opcode::stat_path: return exists ? fill(*operation.status(), false) : -ENOENT;
      case Opcode::device_size: *operation.number() = bytes.size(); return 0;
      case Opcode::truncate: bytes.resize(operation.size()); return 0;
      case Opcode::allocate:
        bytes.resize(std::max<uint64_t>(bytes.size(), operation.offset() + operation.size()));
        return 0;
      case Opcode::unlink:
        exists = false;
        bytes.clear();
        return 0;
      default: return 0;
    }
  }

  Time now_ = Time(std::chrono::seconds(1000));
  std::vector<Operation*> due_;
  std::vector<Damage> damages_;
  std::map<Opcode, std::deque<int32_t>> answers_;
  std::map<Opcode, int32_t> always_;
  std::map<Opcode, bool> held_kinds_;
  size_t held_index_first_ = SIZE_MAX;
  size_t refused_index_ = SIZE_MAX;
  int32_t refusal_ = 0;
  Operation* refused_ = nullptr;
};

/// A loop on a bad disk that expects everything to come back.
class BadDiskLoop {
 public:
  /// With `size` > 0 the file is there, and holds the pattern.
  explicit BadDiskLoop(uint64_t size = 0) : loop(disk) {
    disk.exists = size > 0;
    disk.bytes.resize(size);
    for (uint64_t at = 0; at < size; ++at) disk.bytes[at] = pattern_at(at);
  }
  ~BadDiskLoop() {
    CHECK(loop.frames().live_count() == 0);
    CHECK(disk.dropped_count() == 0);
    CHECK(disk.held.empty());
  }
  /// Runs body(args...), a Task<Result<void>>, which must succeed.
  template <class Body, class... Args>
  void run_to_success(Body&& body, Args&&... args) {
    const Result<void> result = run(loop, std::forward<Body>(body), std::forward<Args>(args)...);
    CHECK_MESSAGE(result.has_value(), (result.has_value() ? std::string() : describe(result.error())));
  }

  BadDisk disk;
  Loop loop;
};

}  // namespace spindle
