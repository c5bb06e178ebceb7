// DeviceQueue: a limit of requests in flight on one device, shared out among classes, so that a scrub or a compaction
// does not hurt the tail of foreground reads.
//
//     DeviceQueue queue({.requests_max = 32});                              // of one device, for all its files
//     File data = co_await ok(File::open("data.db", {.queue = &queue}));
//     co_await ok(data.read_exact_at(0, block, {.io_class = IoClass::background}));
//
// Each class has a part of the limit, in proportion to its shares, and at least one request. While no other class is
// active (has requests, or had some within `idle_after`) a class may have the whole limit. Within a class: FIFO.
//
// Invariants
// 1. At most requests_max requests are with the backend; a class with waiting requests and fewer than its part in
//    flight waits only for that limit.
// 2. An operation that goes on (short count, EAGAIN) keeps its place until it is complete.
// Sits above both backends: the simulated world runs the same code. Closing, and operations from opcode_rare_first on
// (truncate, lock, …), never wait here.
#pragma once

#include <array>
#include <cstdint>

#include "io/operation.h"
#include "runtime/time.h"

namespace spindle {

struct DeviceQueueOptions {
  uint32_t requests_max = 64;  ///< with the backend at once, of all classes together
  uint32_t foreground_share = 8;
  uint32_t background_share = 1;
  Duration idle_after = std::chrono::milliseconds(10);  ///< a class without requests counts as active for this long
};

class DeviceQueue {
 public:
  /// requests_max and the shares must be at least 1.
  explicit DeviceQueue(const DeviceQueueOptions& options) noexcept;
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;
  /// No request may be left, unless the host is being killed. The files that use it must be closed.
  ~DeviceQueue();

  uint32_t in_flight_count(IoClass io_class) const noexcept { return of(io_class).in_flight_count; }
  uint32_t waiting_count(IoClass io_class) const noexcept { return of(io_class).waiting_count; }
  /// Requests that a class may have in flight while another one is active.
  uint32_t part_of(IoClass io_class) const noexcept { return of(io_class).part; }

  // For Backend.
  /// True: it may go to the backend now. False: it waits here, with Place::held.
  bool admit(Operation& operation, Time now) noexcept;
  /// A request that was admitted has ended. take_next() is to be called until it returns null.
  void release(const Operation& operation, Time now) noexcept;
  /// The next one that may go to the backend, or null.
  Operation* take_next(Time now) noexcept;
  /// Takes a held operation out.
  void remove(Operation& operation) noexcept;
  /// Requests cancellation of what is held for the descriptor.
  void cancel_all(const Descriptor& descriptor) noexcept;

 private:
  struct Class {
    uint32_t share = 1;
    uint32_t part = 1;
    uint32_t in_flight_count = 0;
    uint32_t waiting_count = 0;
    Time active_until{};
    OperationList waiting;
  };

  Class& of(IoClass io_class) noexcept { return classes_[static_cast<size_t>(io_class)]; }
  const Class& of(IoClass io_class) const noexcept { return classes_[static_cast<size_t>(io_class)]; }
  bool may_start(const Class& candidate, Time now) const noexcept;
  void begin(Class& in) noexcept;

  DeviceQueueOptions options_;
  uint32_t in_flight_count_ = 0;
  std::array<Class, io_class_count> classes_;
};

}  // namespace spindle
