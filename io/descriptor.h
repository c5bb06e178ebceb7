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

  Backend* backend;
  DeviceQueue* queue = nullptr;  ///< borrowed; null: nothing waits for others
  std::string path;          ///< for messages
  int32_t fd = -1;
  int32_t fixed_index = -1;  ///< in the ring's file table; -1: not registered
  uint32_t live_count = 0;   ///< operations submitted and not delivered
  bool is_direct = false;
  bool is_disk = false;      ///< a regular file or block device: its operations end by themselves, and soon
  bool is_dropped = false;   ///< its File is gone; closes when live_count is 0
  bool is_closing = false;   ///< its close is under way or done
  bool is_poisoned = false;  ///< a sync or durable write failed: nothing is known about what was cached
  uint32_t memory_alignment = 1;
  uint32_t offset_alignment = 1;
  uint64_t size_at_open = 0;
  Event drained;             ///< set while live_count is 0 and somebody closes
  std::unique_ptr<ClosingOperation> closing;  ///< closes it when its File was dropped
};

}  // namespace spindle
