// Coroutine frames from size-class free lists, one set per loop, above mimalloc where the process links it and
// malloc elsewhere (the library never makes that choice for its users: the symbols are weak).
//
// Classes are multiples of 64 bytes up to 4096; larger frames go to the allocator each time. A list is filled at
// start to a configured number of frames per class and keeps what comes back; `missed_count` counts the requests
// that the lists could not serve. Sanitizer builds bypass the lists (plain operator new), or use-after-free
// would hide. Owned by one loop, one thread.
//
// Frames are aligned to 16 bytes, as both compilers assume: keep over-aligned objects out of frames.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spindle {

class FramePool {
 public:
  static constexpr size_t class_size = 64;
  static constexpr size_t class_count = 64;
  static constexpr size_t pooled_size_max = class_size * class_count;
  static constexpr bool pooled =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
      false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
      false;
#else
      true;
#endif
#else
      true;
#endif

  /// Allocates `frames_per_class` frames of each of the `classes_filled` smallest classes.
  FramePool(uint32_t frames_per_class, uint32_t classes_filled);
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;
  /// All frames must have come back.
  ~FramePool();

  /// Never null: running out of memory ends the process with a message. Does not suspend.
  void* acquire(size_t size) noexcept {
    const size_t index = (size - 1) / class_size;
    if (!pooled || index >= class_count) [[unlikely]]
      return acquire_unpooled(size);
    Class& of = classes_[index];
    FreeFrame* frame = of.free;
    if (frame == nullptr) [[unlikely]]
      return acquire_missed(index);
    of.free = frame->next;
    return frame;
  }

  void release(void* memory, size_t size) noexcept {
    const size_t index = (size - 1) / class_size;
    if (!pooled || index >= class_count) [[unlikely]]
      return release_unpooled(memory, size);
    Class& of = classes_[index];
    FreeFrame* frame = static_cast<FreeFrame*>(memory);
    frame->next = of.free;
    of.free = frame;
  }

  /// Walks the free lists: counting here costs nothing per frame.
  uint64_t live_count() const noexcept;
  /// Bytes of the live frames, rounded up to their classes.
  uint64_t live_bytes() const noexcept;
  uint64_t missed_count() const noexcept { return missed_count_; }

 private:
  struct FreeFrame {
    FreeFrame* next;
  };
  struct Class {
    FreeFrame* free = nullptr;
    uint64_t owned_count = 0;  ///< frames that this class ever got from the allocator: live and free ones
    uint64_t live_count() const noexcept;
  };

  void* acquire_missed(size_t index) noexcept;
  void* acquire_unpooled(size_t size) noexcept;
  void release_unpooled(void* memory, size_t size) noexcept;

  Class classes_[class_count];
  uint64_t missed_count_ = 0;
  uint64_t unpooled_live_count_ = 0;
  uint64_t unpooled_live_bytes_ = 0;
};

}  // namespace spindle
