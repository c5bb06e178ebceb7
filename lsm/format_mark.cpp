#include "lsm/format_mark.h"

#include "runtime/assert.h"

namespace spindle {

namespace {

/// At the begin of every 512 bytes, so that it is seen wherever one looks; zeroes between.
constexpr char text[] = "Spindle: the format of this store has not ended. Nothing in this file is in use.\n";
constexpr size_t text_size = sizeof(text) - 1;
constexpr size_t piece_size = 512;
static_assert(text_size < piece_size && format_mark_size % piece_size == 0);

std::byte mark_at(size_t offset) noexcept {
  const size_t place = offset % piece_size;
  return place < text_size ? static_cast<std::byte>(text[place]) : std::byte{};
}

}  // namespace

void fill_with_mark(std::span<std::byte> sector) noexcept {
  SPINDLE_ASSERT(sector.size() == format_mark_size, "a mark is one sector");
  for (size_t at = 0; at < sector.size(); ++at) sector[at] = mark_at(at);
}

bool is_mark(std::span<const std::byte> sector) noexcept {
  SPINDLE_ASSERT(sector.size() == format_mark_size, "a mark is one sector");
  for (size_t at = 0; at < sector.size(); ++at) {
    if (sector[at] != mark_at(at)) return false;
  }
  return true;
}

bool is_torn_mark(std::span<const std::byte> sector) noexcept {
  SPINDLE_ASSERT(sector.size() == format_mark_size, "a mark is one sector");
  for (size_t piece = 0; piece < sector.size(); piece += piece_size) {
    bool is_zero = true;
    bool is_new = true;
    for (size_t at = piece; at < piece + piece_size; ++at) {
      is_zero = is_zero && sector[at] == std::byte{};
      is_new = is_new && sector[at] == mark_at(at);
    }
    if (is_zero || is_new) return true;
  }
  return false;
}

}  // namespace spindle
