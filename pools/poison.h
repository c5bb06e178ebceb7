// Makes a use of released memory visible: ASan's manual poisoning where ASan is on, a fill pattern in other debug
// builds (those with the ledger), nothing in release.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#if defined(__SANITIZE_ADDRESS__)
#define SPINDLE_POISON_WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPINDLE_POISON_WITH_ASAN 1
#endif
#endif
#if SPINDLE_POISON_WITH_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace spindle {

inline constexpr std::byte released_fill{0xdb};

inline void poison_released([[maybe_unused]] std::span<std::byte> memory) noexcept {
#if SPINDLE_POISON_WITH_ASAN
  __asan_poison_memory_region(memory.data(), memory.size());
#elif SPINDLE_LEDGER
  std::memset(memory.data(), static_cast<int>(released_fill), memory.size());
#endif
}

inline void unpoison_acquired([[maybe_unused]] std::span<std::byte> memory) noexcept {
#if SPINDLE_POISON_WITH_ASAN
  __asan_unpoison_memory_region(memory.data(), memory.size());
#endif
}

}  // namespace spindle
