// The results of spindle-store: as text for people, and as JSON for programs (docs/STORE.md names the fields).
#pragma once

#include <string>

#include "lsm/store_file.h"
#include "lsm/store_inspection.h"

namespace spindle::store {

/// What was made.
struct Formatted {
  std::string path;
  SuperblockFormat format;
  StoreFormer former;
  bool is_copy_on_write = false;
};

std::string format_text(const Formatted& formatted);
std::string format_json(const Formatted& formatted);
std::string inspect_text(const std::string& path, const StoreInspection& found);
std::string inspect_json(const std::string& path, const StoreInspection& found);
std::string verify_text(const std::string& path, const StoreInspection& found);
std::string verify_json(const std::string& path, const StoreInspection& found);

}  // namespace spindle::store
