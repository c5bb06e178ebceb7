// The command line of spindle-store.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lsm/superblock_format.h"

namespace spindle::store {

enum class Command : uint8_t { help, format, inspect, verify };
const char* name_of(Command command) noexcept;

struct Options {
  Command command = Command::help;
  std::string path;
  StoreConfiguration configuration;  ///< format: valid, blocks_max by --size
  std::optional<ClusterId> cluster;  ///< format: none: to be drawn
  bool force = false;
  bool json = false;
  bool blocks = false;  ///< inspect: read all blocks in use
  std::string help;
  std::string failure;  ///< wrong usage, in one line; empty: all is well
};

Options parse_options(int argument_count, const char* const* arguments);

}  // namespace spindle::store
