// Where and with what memory a call of the fuzzer `storage` transfers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "tests/fuzz/storage_machine.h"

namespace spindle::fuzz {

inline constexpr std::byte untouched{0x5a};
inline constexpr uint64_t transfer_sectors_max = 64;

/// Memory for one transfer, aligned to pages.
class Buffer {
 public:
  explicit Buffer(uint64_t size)
      : memory_(static_cast<std::byte*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096))), size_(size) {
    std::memset(memory_.get(), static_cast<int>(untouched), size);
  }
  std::span<std::byte> all() const noexcept { return {memory_.get(), size_}; }
  std::byte* grain(size_t index) const noexcept { return memory_.get() + index * grain_size; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  uint64_t size_;
};

/// Whole sectors of one zone.
struct Place {
  ZoneIndex zone;
  uint64_t offset;
  uint64_t size;
  GrainRange grains;

  Place(const StorageSetup& setup, const StorageEvent& event, uint64_t sectors_max) noexcept {
    const size_t index = event.a % setup.zones.size();
    const ZoneOptions& options = setup.zones[index];
    const uint64_t sectors = options.size / setup.sector_size;
    uint64_t first = event.b % sectors;
    if (event.b % 16 == 0) first = 0;
    if (event.b % 16 == 1) first = sectors - 1;
    const uint64_t most = std::min(sectors - first, sectors_max);
    const uint64_t count = event.c % 8 == 0 ? most : 1 + (event.c / 8) % std::min<uint64_t>(most, event.c % 8 * 8);
    zone = static_cast<ZoneIndex>(index);
    offset = first * setup.sector_size;
    size = count * setup.sector_size;
    grains = {static_cast<size_t>((setup.begins[index] + offset) / grain_size), static_cast<size_t>(size / grain_size)};
  }
  uint64_t end() const noexcept { return grains.end() * grain_size; }
};

/// A read, compared with the model. Part of storage_reads.cpp.
Task<Result<void>> make_read(StorageMachine* machine, StorageEvent event);

}  // namespace spindle::fuzz
