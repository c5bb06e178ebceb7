// The record behind a File: what the backend must know of an open descriptor, and what must outlive the File when
// it is dropped with operations in flight. Allocated at open, so that dropping can't fail.
//
// Invariant: the descriptor is closed exactly once, after the last of its operations has ended.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/event.h"
#include "runtime/intrusive_list.h"
#include "runtime/semaphore.h"

namespace spindle {

class Backend;
class ClosingOperation;
class DeviceQueue;

struct Descriptor : ListHook<Descriptor> {
  /// `name` is for messages.
  Descriptor(Backend& owner, std::string name);
  ~Descriptor();

  /// Something stands against beginning an operation.
  bool is_impeded() const noexcept { return fd < 0 || is_closing || is_poisoned; }
  bool is_aligned(const void* memory, uint64_t size_and_offset) const noexcept {
    const uint64_t memory_bits = reinterpret_cast<uintptr_t>(memory) & (memory_alignment - 1);
    return (memory_bits | (size_and_offset & (offset_alignment - 1))) == 0;
  }

  uint32_t offset_alignment_of_reads() const noexcept {
    return read_offset_alignment != 0 ? read_offset_alignment : offset_alignment;
  }

  Backend* backend;
  DeviceQueue* queue = nullptr;  ///< borrowed; null: nothing waits for others
  std::string path;          ///< for messages
  int32_t fd = -1;
  int32_t fixed_index = -1;  ///< in the ring's file table; -1: not registered
  uint32_t live_count = 0;   ///< operations submitted and not delivered, and uses
  bool is_direct = false;
  bool is_disk = false;      ///< a regular file or block device: its operations end by themselves, and soon
  bool is_dropped = false;   ///< its File is gone; closes when live_count is 0
  bool is_closing = false;   ///< its close is under way or done
  bool is_poisoned = false;  ///< a sync or durable write failed: nothing is known about what was cached
  uint32_t memory_alignment = 1;
  uint32_t offset_alignment = 1;       ///< of offset and size, of writes and of reads
  uint32_t read_offset_alignment = 0;  ///< of reads alone, where it is finer; 0: the same
  uint64_t size_at_open = 0;
  std::unique_ptr<Mutex> ragged;       ///< null: misaligned transfers are refused; else held by the one under way
  Event drained;             ///< set while live_count is 0 and somebody closes
  std::unique_ptr<ClosingOperation> closing;  ///< closes it when its File was dropped
};

/// Keeps a record alive, and its descriptor open, between the operations of a composite whose File may be dropped or
/// closed meanwhile. Before each step the composite asks is_ending(): what is dropped or closing takes no more steps.
class DescriptorUse {
 public:
  explicit DescriptorUse(Descriptor& descriptor) noexcept : descriptor_(descriptor) { ++descriptor.live_count; }
  DescriptorUse(const DescriptorUse&) = delete;
  DescriptorUse& operator=(const DescriptorUse&) = delete;
  ~DescriptorUse();
  bool is_ending() const noexcept { return descriptor_.is_dropped || descriptor_.is_closing; }

 private:
  Descriptor& descriptor_;
};

}  // namespace spindle
