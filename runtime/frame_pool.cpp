#include "runtime/frame_pool.h"

#include <cstdlib>
#include <new>

#include "runtime/assert.h"

// Debian's libmimalloc replaces malloc in any process that links it. Spindle leaves that choice to the program:
// where it is linked the weak symbols resolve, elsewhere they are null and malloc serves.
extern "C" {
[[gnu::weak]] void* mi_malloc(size_t size);
[[gnu::weak]] void mi_free(void* memory);
}

namespace spindle {

namespace {

void* allocate(size_t size) noexcept {
  void* memory = nullptr;
  if constexpr (!FramePool::pooled) {
    memory = ::operator new(size, std::nothrow);
  } else if (mi_malloc != nullptr) {
    memory = mi_malloc(size);
  } else {
    memory = std::malloc(size);
  }
  SPINDLE_ASSERT(memory != nullptr, "out of memory for a coroutine frame");
  return memory;
}

void deallocate(void* memory) noexcept {
  if constexpr (!FramePool::pooled) {
    ::operator delete(memory);
  } else if (mi_malloc != nullptr) {
    mi_free(memory);
  } else {
    std::free(memory);
  }
}

}  // namespace

FramePool::FramePool(uint32_t frames_per_class, uint32_t classes_filled) {
  if constexpr (!pooled) return;
  SPINDLE_ASSERT(classes_filled <= class_count, "more frame classes to fill than there are");
  for (size_t index = 0; index < classes_filled; ++index) {
    for (uint32_t count = 0; count < frames_per_class; ++count) {
      FreeFrame* frame = static_cast<FreeFrame*>(allocate((index + 1) * class_size));
      frame->next = classes_[index].free;
      classes_[index].free = frame;
      ++classes_[index].owned_count;
    }
  }
}

FramePool::~FramePool() {
  SPINDLE_ASSERT(live_count() == 0, "a loop ended with coroutine frames alive");
  for (Class& of : classes_) {
    while (FreeFrame* frame = of.free) {
      of.free = frame->next;
      deallocate(frame);
    }
  }
}

void* FramePool::acquire_missed(size_t index) noexcept {
  ++missed_count_;
  ++classes_[index].owned_count;
  return allocate((index + 1) * class_size);
}

void* FramePool::acquire_unpooled(size_t size) noexcept {
  ++missed_count_;
  ++unpooled_live_count_;
  unpooled_live_bytes_ += size;
  return allocate(size);
}

void FramePool::release_unpooled(void* memory, size_t size) noexcept {
  --unpooled_live_count_;
  unpooled_live_bytes_ -= size;
  deallocate(memory);
}

uint64_t FramePool::Class::live_count() const noexcept {
  uint64_t free_count = 0;
  for (const FreeFrame* frame = free; frame != nullptr; frame = frame->next) ++free_count;
  return owned_count - free_count;
}

uint64_t FramePool::live_count() const noexcept {
  uint64_t count = unpooled_live_count_;
  for (const Class& of : classes_) count += of.live_count();
  return count;
}

uint64_t FramePool::live_bytes() const noexcept {
  uint64_t bytes = unpooled_live_bytes_;
  for (size_t index = 0; index < class_count; ++index) {
    bytes += classes_[index].live_count() * (index + 1) * class_size;
  }
  return bytes;
}

}  // namespace spindle
