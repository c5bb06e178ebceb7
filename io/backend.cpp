#include "io/backend.h"

#include <cerrno>

#include "io/device_queue.h"
#include "runtime/loop.h"

namespace spindle {

/// The close of a descriptor whose File is gone. It has no task; the backend frees the record afterwards.
class ClosingOperation final : public Operation {
 public:
  explicit ClosingOperation(Descriptor& descriptor) noexcept
      : Operation(*descriptor.backend, Opcode::close, &descriptor) {}
  void start() noexcept { submit_detached(ended); }

 private:
  static void ended(Operation& operation, int32_t) noexcept {
    // The descriptor is gone whatever the result was (close(2), "dealing with error returns").
    operation.descriptor()->backend->free_dropped(*operation.descriptor());
  }
};

Descriptor::Descriptor(Backend& owner, std::string name)
    : backend(&owner), path(std::move(name)), closing(new ClosingOperation(*this)) {}

Descriptor::~Descriptor() = default;

DescriptorUse::~DescriptorUse() {
  // In a dying loop the record may be gone before the frame of the composite.
  if (!host_is_dying()) descriptor_.backend->note_unused(descriptor_);
}

Backend& Backend::current() noexcept {
  auto* backend = dynamic_cast<Backend*>(&Loop::current().reactor());
  SPINDLE_ASSERT(backend != nullptr, "this loop's reactor does no I/O");
  return *backend;
}

Backend::~Backend() {
  SPINDLE_ASSERT(dropped_.empty(), "a backend was destroyed before the files dropped on it were closed");
}

void Backend::submit_rare(Operation& operation) noexcept {
  if (Descriptor* descriptor = operation.descriptor()) ++descriptor->live_count;
  if constexpr (Ledger::enabled) ledger_.note_submit(operation);
  submit_rare_to_backend(operation);
}

void Backend::drop(std::unique_ptr<Descriptor> descriptor) noexcept {
  Descriptor& dropped = *descriptor.release();
  if (dropped.fd < 0) {
    SPINDLE_ASSERT(dropped.live_count == 0, "a closed file was dropped with operations in flight");
    delete &dropped;
    return;
  }
  dropped.is_dropped = true;
  ++dropped_count_;
  dropped_.push_back(dropped);
  if (dropped.is_closing) return;  // its close(), which is under way, frees it
  if (dropped.live_count == 0) return close_dropped(dropped);
  cancel_all_of(dropped);  // the last one to end closes
}

// Transfers, syncs and allocations load a device; closing must not wait, and what is rare is not worth holding.
static bool is_queued_opcode(Opcode opcode) noexcept { return opcode != Opcode::close && opcode < opcode_rare_first; }

void Backend::submit_to_queue(Operation& operation) noexcept {
  if (is_queued_opcode(operation.opcode()) && !operation.descriptor()->queue->admit(operation, loop_->now())) return;
  submit_to_backend(operation);
}

void Backend::release_to_queue(Operation& operation) noexcept {
  if (!is_queued_opcode(operation.opcode()) || operation.place == Operation::Place::held) return;
  DeviceQueue& queue = *operation.descriptor()->queue;
  const Time now = loop_->now();
  queue.release(operation, now);
  while (Operation* next = queue.take_next(now)) submit_to_backend(*next);
}

void Backend::note_abandoned(Operation& operation) noexcept {
  operation.place = Operation::Place::outside;
  if constexpr (Ledger::enabled) ledger_.note_abandoned(operation);
  const Descriptor* descriptor = operation.descriptor();
  if (descriptor == nullptr || descriptor->queue == nullptr || !is_queued_opcode(operation.opcode())) return;
  descriptor->queue->release(operation, loop_->now());
}

void Backend::cancel_held(Operation& operation) noexcept {
  operation.descriptor()->queue->remove(operation);
  operation.place = Operation::Place::held;  // for release_to_queue(): it never was with the backend
  operation.deliver(-ECANCELED);
}

void Backend::cancel_all_of(Descriptor& descriptor) noexcept {
  if (descriptor.queue != nullptr) descriptor.queue->cancel_all(descriptor);
  cancel_all(descriptor);
}

void Backend::note_drained(Descriptor& descriptor) noexcept {
  descriptor.drained.set();
  if (descriptor.is_dropped && !descriptor.is_closing) close_dropped(descriptor);
}

void Backend::close_dropped(Descriptor& descriptor) noexcept {
  descriptor.is_closing = true;
  unregister_descriptor(descriptor);
  descriptor.closing->start();
}

void Backend::free_dropped(Descriptor& descriptor) noexcept {
  descriptor.unlink();
  --dropped_count_;
  delete &descriptor;
}

void Backend::forget_dropped() noexcept {
  while (!dropped_.empty()) free_dropped(dropped_.front());
}

}  // namespace spindle
