#include "io/device_queue.h"

#include <algorithm>

#include "runtime/loop.h"
#include "runtime/wait_queue.h"

namespace spindle {

DeviceQueue::DeviceQueue(const DeviceQueueOptions& options) noexcept : options_(options) {
  SPINDLE_ASSERT(options.requests_max > 0, "a device queue that lets nothing through");
  SPINDLE_ASSERT(options.foreground_share > 0 && options.background_share > 0, "a class of I/O without a share");
  of(IoClass::foreground).share = options.foreground_share;
  of(IoClass::background).share = options.background_share;
  const uint64_t shares = uint64_t{options.foreground_share} + options.background_share;
  for (Class& each : classes_) {
    each.part = static_cast<uint32_t>(std::max<uint64_t>(1, uint64_t{options.requests_max} * each.share / shares));
  }
}

DeviceQueue::~DeviceQueue() {
  for (Class& each : classes_) {
    SPINDLE_ASSERT((each.waiting_count == 0 && each.in_flight_count == 0) || host_is_dying(),
                   "a device queue was destroyed with requests in it");
    while (!each.waiting.empty()) each.waiting.pop_front().place = Operation::Place::outside;
  }
}

bool DeviceQueue::may_start(const Class& candidate, Time now) const noexcept {
  if (in_flight_count_ == options_.requests_max) return false;
  if (candidate.in_flight_count < candidate.part) return true;
  for (const Class& other : classes_) {
    if (&other == &candidate) continue;
    if (other.in_flight_count > 0 || other.waiting_count > 0 || now < other.active_until) return false;
  }
  return true;
}

void DeviceQueue::begin(Class& in) noexcept {
  ++in.in_flight_count;
  ++in_flight_count_;
}

bool DeviceQueue::admit(Operation& operation, Time now) noexcept {
  Class& own = of(operation.io_class());
  if (own.waiting_count == 0 && may_start(own, now)) {
    begin(own);
    return true;
  }
  operation.place = Operation::Place::held;
  own.waiting.push_back(operation);
  ++own.waiting_count;
  return false;
}

void DeviceQueue::release(const Operation& operation, Time now) noexcept {
  Class& own = of(operation.io_class());
  SPINDLE_ASSERT(own.in_flight_count > 0, "a request ended that a device queue did not let through");
  --own.in_flight_count;
  --in_flight_count_;
  own.active_until = time_after(now, options_.idle_after);
}

// Whoever has least in flight for its share.
Operation* DeviceQueue::take_next(Time now) noexcept {
  Class* best = nullptr;
  for (Class& each : classes_) {
    if (each.waiting_count == 0 || !may_start(each, now)) continue;
    const bool is_better =
        best == nullptr || uint64_t{each.in_flight_count} * best->share < uint64_t{best->in_flight_count} * each.share;
    if (is_better) best = &each;
  }
  if (best == nullptr) return nullptr;
  begin(*best);
  --best->waiting_count;
  return &best->waiting.pop_front();
}

void DeviceQueue::remove(Operation& operation) noexcept {
  SPINDLE_ASSERT(operation.place == Operation::Place::held, "an operation that no device queue holds");
  operation.unlink();
  operation.place = Operation::Place::outside;
  --of(operation.io_class()).waiting_count;
}

void DeviceQueue::cancel_all(const Descriptor& descriptor) noexcept {
  for (Class& each : classes_) {
    Operation* next = nullptr;
    for (Operation* held = each.waiting.first(); held != nullptr; held = next) {
      next = each.waiting.next(*held);
      if (held->descriptor() == &descriptor) held->request_cancel_from_backend();
    }
  }
}

}  // namespace spindle
