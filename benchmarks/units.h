// Sizes and numbers, to and from text: fio's suffixes in, readable figures out.
#pragma once

#include <cstdint>
#include <string>

#include "benchmarks/failure.h"

namespace spindle::bench {

/// "4k" = 4096, "1m", "2G", "1t", with "kb", "kib" and the like meaning the same (fio's default: all are
/// powers of 1024). No sign, no fraction; a failure names the text.
Checked<uint64_t> size_of_text(const std::string& text);

/// Seconds of "10", "2.5", "10s", "500ms", "250us", "5m" or "1h"; a bare number is seconds, as with fio.
Checked<double> seconds_of_text(const std::string& text);

/// "4 KiB", "1.5 GiB": three digits at most, powers of 1024.
std::string text_of_bytes(uint64_t size_bytes);

/// "812 ns", "11.3 us", "4.02 ms", "1.5 s": three significant digits.
std::string text_of_ns(double ns);

/// "12.3 k", "950", "4.51 M": a rate or a count to three digits.
std::string text_of_count(double count);

/// Like printf with one number: text_of("%.1f", 3.25) = "3.2".
std::string text_of(const char* format, double number);

}  // namespace spindle::bench
