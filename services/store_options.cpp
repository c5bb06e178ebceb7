#include "services/store_options.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <string_view>

#include "lsm/free_blocks.h"
#include "lsm/store_layout.h"
#include "runtime/units.h"

namespace spindle::store {

namespace {

constexpr const char* description =
    "Stores: the files, or block devices, that a storage engine keeps its data in. Sizes take k, M, G and T, which "
    "are\n"
    "powers of 1024. Exit status: format: 0 made, 1 not made, 2 wrong usage; inspect: 0 the store has a version to go\n"
    "on with, 1 it has not, 2 could not look; verify: 0 whole, 1 damaged, 2 could not look.";

// As text, the way they stand on the command line; empty: not given.
struct Words {
  std::string size;
  std::string block_size;
  std::string journal_size;
  std::string copies;
  std::string cluster;
};

std::string bytes_text(uint64_t size) {
  return size < 1024 ? text_of_size(size) : text_of_size(size) + " (" + std::to_string(size) + " bytes)";
}

/// What is wrong with it; empty: nothing.
std::string take_size(const std::string& text, const char* option, uint64_t& value) {
  if (text.empty()) return {};
  const std::optional<uint64_t> size = size_of_text(text);
  if (!size.has_value()) return std::string(option) + " " + text + ": no size; give a number, like 4096, 64k, 10G";
  value = *size;
  return {};
}

std::string take_copies(const std::string& text, StoreConfiguration& configuration) {
  if (text.empty()) return {};
  if (text != "4" && text != "6" && text != "8") return "--copies " + text + ": must be 4, 6 or 8";
  configuration.copies_count = static_cast<uint32_t>(text[0] - '0');
  return {};
}

std::optional<uint64_t> hex_of(std::string_view text) noexcept {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  const bool is_whole = code == std::errc() && end == text.data() + text.size() && text.size() <= 16;
  return is_whole ? std::optional(value) : std::nullopt;
}

std::string take_cluster(const std::string& text, std::optional<ClusterId>& cluster) {
  if (text.empty()) return {};
  const size_t colon = text.find(':');
  const auto high = hex_of(std::string_view(text).substr(0, colon));
  const auto low = colon == std::string::npos ? std::nullopt : hex_of(std::string_view(text).substr(colon + 1));
  if (!high.has_value() || !low.has_value()) {
    return "--cluster " + text + ": must be two numbers of up to 16 hexadecimal digits, like 99aabbcc:11223344";
  }
  cluster = ClusterId{*low, *high};
  return {};
}

std::string take_blocks(const std::string& text, StoreConfiguration& configuration) {
  uint64_t size = 0;
  const std::string failure = take_size(text, "--size", size);
  if (!failure.empty()) return failure;
  const std::string said = "--size " + text + ": ";
  const uint64_t least = store_size_min(configuration);
  const uint64_t most = store_size_max(configuration);
  if (size < least) return said + "too small: the superblock, the journal and one block need " + bytes_text(least);
  if (size > most) return said + "too large: at most " + bytes_text(most);
  const Result<uint64_t> blocks = blocks_in(size, configuration);
  if (!blocks.has_value()) {
    const uint64_t below = size - size % configuration.block_size;
    const std::string others = below + configuration.block_size > most
                                   ? std::to_string(below)
                                   : std::to_string(below) + " or " + std::to_string(below + configuration.block_size);
    return said + "not a multiple of the block size, " + bytes_text(configuration.block_size) + "; give " + others;
  }
  if (*blocks > FreeBlocks::blocks_count_max) {
    return said + "more blocks than a grid can have, " + std::to_string(FreeBlocks::blocks_count_max) +
           "; give a larger --block-size";
  }
  configuration.blocks_max = *blocks;
  return {};
}

std::string take_format(const Words& words, Options& options) {
  StoreConfiguration& configuration = options.configuration;
  uint64_t block_size = configuration.block_size;
  std::string failure = take_size(words.block_size, "--block-size", block_size);
  if (failure.empty()) failure = take_size(words.journal_size, "--journal-size", configuration.journal_size);
  if (failure.empty()) failure = take_copies(words.copies, configuration);
  if (failure.empty()) failure = take_cluster(words.cluster, options.cluster);
  if (!failure.empty()) return failure;
  configuration.blocks_max = 1;
  StoreConfiguration probe = configuration;
  probe.journal_size = 0;
  probe.block_size = block_size > block_size_max ? 0 : static_cast<uint32_t>(block_size);
  if (!is_valid(probe)) {
    return "--block-size " + words.block_size + ": must be a power of two from 4 KiB to " +
           text_of_size(block_size_max);
  }
  configuration.block_size = probe.block_size;
  if (!is_valid(configuration)) {
    return "--journal-size " + words.journal_size + ": must be a multiple of 4096, and 2 EiB at most";
  }
  return take_blocks(words.size, configuration);
}

void add_common(CLI::App& app, Options& options) {
  app.add_option("FILE", options.path, "file, or block device")->required();
  app.add_flag("--json", options.json, "the result as JSON (docs/STORE.md)");
}

CLI::App* add_format(CLI::App& app, Options& options, Words& words) {
  CLI::App* const format = app.add_subcommand("format", "make a store");
  add_common(*format, options);
  format->add_option("--size", words.size, "what the file may grow to, all zones included")->required();
  format->add_option("--block-size", words.block_size, "of the grid: a power of two, from 4k to 64M [512k]");
  format->add_option("--copies", words.copies, "of the superblock: 4, 6 or 8 [4]");
  format->add_option("--journal-size", words.journal_size, "a multiple of 4096 [0: no journal]");
  format->add_option("--cluster", words.cluster, "identity of the cluster, HEX:HEX [random]");
  format->add_flag("--force", options.force, "overwrite whatever is there, a block device among them");
  return format;
}

}  // namespace

const char* name_of(Command command) noexcept {
  switch (command) {
    case Command::help: return "help";
    case Command::format: return "format";
    case Command::inspect: return "inspect";
    case Command::verify: return "verify";
  }
  return "?";
}

Options parse_options(int argument_count, const char* const* arguments) {
  Options options;
  Words words;
  CLI::App app{description, "spindle-store"};
  app.require_subcommand(1);
  CLI::App* const format = add_format(app, options, words);
  CLI::App* const inspect =
      app.add_subcommand("inspect", "show the superblock, which version wins, and the free set; changes nothing");
  add_common(*inspect, options);
  inspect->add_flag("--blocks", options.blocks, "read all blocks in use, and count them by type");
  CLI::App* const verify = app.add_subcommand("verify", "say what is damaged; changes nothing");
  add_common(*verify, options);
  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::CallForHelp&) {
    options.help = app.help();
    return options;
  } catch (const CLI::ParseError& error) {
    options.failure = std::string(error.what()) + "; see --help";
    return options;
  }
  options.command = format->parsed() ? Command::format : inspect->parsed() ? Command::inspect : Command::verify;
  if (options.path.empty()) options.failure = "FILE is empty; see --help";
  if (options.failure.empty() && options.command == Command::format) options.failure = take_format(words, options);
  return options;
}

}  // namespace spindle::store
