// Reads the worked examples of docs/FORMAT.md, with which tests compare what the code makes.
#pragma once

#include <doctest/doctest.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace spindle {

/// The bytes of the hex dump in a section ("## …") of the document. Needs SPINDLE_SOURCE_ROOT.
inline std::vector<std::byte> format_example(const std::string& section) {
  std::ifstream document(SPINDLE_SOURCE_ROOT "/docs/FORMAT.md");
  REQUIRE_MESSAGE(document.good(), "no docs/FORMAT.md");
  std::vector<std::byte> bytes;
  std::string line;
  bool is_in_section = false;
  while (std::getline(document, line)) {
    if (line.starts_with("## ")) is_in_section = line == "## " + section;
    unsigned offset = 0;
    int read = 0;
    if (!is_in_section || std::sscanf(line.c_str(), "    %4x:%n", &offset, &read) != 1 || read == 0) continue;
    CHECK(offset == bytes.size());
    unsigned byte = 0;
    for (int used = 0; std::sscanf(line.c_str() + read, " %2x%n", &byte, &used) == 1; read += used) {
      bytes.push_back(static_cast<std::byte>(byte));
    }
  }
  return bytes;
}

/// The same form, for the message of a test that fails.
inline std::string hex_dump(const std::vector<std::byte>& bytes) {
  std::string dump;
  for (size_t at = 0; at < bytes.size(); ++at) {
    char text[32];
    if (at % 16 == 0) dump += (std::snprintf(text, sizeof(text), "\n    %04zx:", at), text);
    dump += (std::snprintf(text, sizeof(text), " %02x", static_cast<unsigned>(bytes[at])), text);
  }
  return dump;
}

}  // namespace spindle
