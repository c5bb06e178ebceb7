// Sizes, from text and to it. All suffixes are powers of 1024.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace spindle {

/// Bytes of "4096", "4k" = 4096, "1m", "2G", "1t"; "kb", "kib" and the like mean the same. No sign, no fraction, no
/// space; nothing for other text, and for what 64 bits don't hold.
std::optional<uint64_t> size_of_text(std::string_view text);

/// "4 KiB", "1.50 GiB": three digits at most.
std::string text_of_size(uint64_t size);

}  // namespace spindle
