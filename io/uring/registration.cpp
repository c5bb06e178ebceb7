// Registered files and arenas of the ring's backend: tables of a fixed size, made at start and filled as files and
// arenas come and go. What finds no place, or is refused, goes unregistered: slower, not wrong.
#include <cerrno>

#include "io/uring/probe.h"
#include "io/uring/uring_backend.h"

namespace spindle {

namespace {

constexpr uint64_t arena_chunk_size = uint64_t{1} << 30;  // the kernel's limit per registered buffer

}  // namespace

void UringBackend::try_registrations() {
  Capability files{"registered files", false, "forced off", ""};
  if (options_.registered_files) {
    const int result = io_uring_register_files_sparse(&ring_.raw(), options_.files_max);
    files.in_use = result == 0;
    files.reason = result == 0 ? "" : explain_registration_failure(-result);
    if (files.in_use) file_places_.assign(options_.files_max, false);
  }
  capabilities_.add(std::move(files));
  Capability buffers{"registered buffers", false, "forced off", ""};
  if (options_.registered_buffers) {
    const int result = io_uring_register_buffers_sparse(&ring_.raw(), options_.arenas_max);
    buffers.in_use = result == 0;
    buffers.reason = result == 0 ? "" : explain_registration_failure(-result);
    if (buffers.in_use) arenas_.resize(options_.arenas_max);
  }
  capabilities_.add(std::move(buffers));
}

void UringBackend::register_descriptor(Descriptor& descriptor) noexcept {
  for (size_t index = 0; index < file_places_.size(); ++index) {
    if (file_places_[index]) continue;
    const int result = io_uring_register_files_update(&ring_.raw(), static_cast<unsigned>(index), &descriptor.fd, 1);
    if (result != 1) return;  // goes unregistered: slower, not wrong
    file_places_[index] = true;
    descriptor.fixed_index = static_cast<int32_t>(index);
    return;
  }
}

void UringBackend::unregister_descriptor(Descriptor& descriptor) noexcept {
  if (descriptor.fixed_index < 0) return;
  const unsigned index = static_cast<unsigned>(descriptor.fixed_index);
  int none = -1;
  const int result = io_uring_register_files_update(&ring_.raw(), index, &none, 1);
  if (result == 1) file_places_[index] = false;  // else the place is lost, the file is not
  descriptor.fixed_index = -1;
}

Result<void> UringBackend::register_arena(std::span<std::byte> arena) noexcept {
  if (arenas_.empty()) return fail(ErrorCode::exhausted, "register arena");
  uintptr_t begin = reinterpret_cast<uintptr_t>(arena.data());
  const uintptr_t end = begin + arena.size();
  for (size_t index = 0; index < arenas_.size() && begin < end; ++index) {
    if (arenas_[index].end != 0) continue;
    const uint64_t size = end - begin < arena_chunk_size ? end - begin : arena_chunk_size;
    const iovec range{reinterpret_cast<void*>(begin), size};
    const __u64 tag = 0;
    const int result =
        io_uring_register_buffers_update_tag(&ring_.raw(), static_cast<unsigned>(index), &range, &tag, 1);
    if (result != 1) {
      const int number = result < 0 ? -result : EINVAL;
      unregister_arena(arena);
      capabilities_.set({"arena of " + std::to_string(arena.size()) + " bytes", false,
                         explain_registration_failure(number, arena.size()), ""});
      return fail_errno(number, "register arena");
    }
    arenas_[index] = {begin, begin + size};
    if (index >= arenas_end_) arenas_end_ = static_cast<uint32_t>(index) + 1;
    begin += size;
  }
  if (begin < end) {
    unregister_arena(arena);
    return fail(ErrorCode::exhausted, "register arena");
  }
  return {};
}

void UringBackend::unregister_arena(std::span<std::byte> arena) noexcept {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(arena.data());
  const uintptr_t end = begin + arena.size();
  for (size_t index = 0; index < arenas_.size(); ++index) {
    if (arenas_[index].end == 0 || arenas_[index].begin < begin || arenas_[index].end > end) continue;
    const iovec none{nullptr, 0};
    const __u64 tag = 0;
    const int result = io_uring_register_buffers_update_tag(&ring_.raw(), static_cast<unsigned>(index), &none, &tag, 1);
    static_cast<void>(result);  // the range is out of our table either way
    arenas_[index] = {};
  }
  while (arenas_end_ > 0 && arenas_[arenas_end_ - 1].end == 0) --arenas_end_;
}

}  // namespace spindle
