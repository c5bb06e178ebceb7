// The events of the fuzzer `file`, and the disk on which a run takes place: functions of the seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/sim/sim_backend.h"

namespace spindle::fuzz {

enum class FileAction : uint8_t {
  open,
  read_exact,
  read_once,
  read_vectored,
  read_ragged,
  write_exact,
  write_once,
  write_vectored,
  write_ragged,
  write_durable,
  write_ragged_durable,
  sync,
  sync_data,
  allocate,
  truncate,
  punch_hole,
  stat,
  rename,
  unlink,
  publish,
  list,
  make_directory,
  remove_directory,
  sync_directory,
  try_lock,
  lock,
  unlock,
  close,
  drop,
  pause,
  kill,
  lose_power,
};
inline constexpr size_t file_action_count = static_cast<size_t>(FileAction::lose_power) + 1;

const char* name_of(FileAction action) noexcept;

/// Who cuts an action short, after `delay_ns`.
enum class CutShort : uint8_t { nobody, timeout, race, deadline };

struct FileEvent {
  uint32_t number = 0;
  FileAction action = FileAction::pause;
  CutShort cut_short = CutShort::nobody;
  uint32_t delay_ns = 0;
  uint32_t a = 0;
  uint32_t b = 0;
  uint32_t c = 0;
  uint32_t d = 0;
};

std::string to_string(const FileEvent& event);
/// The weights of a run's actions, for --verbose.
std::string file_weights_text(uint64_t seed, uint64_t events_max);
std::vector<FileEvent> generate_file_events(uint64_t seed, uint64_t events_max);
/// A disk with a random part of all faults.
SimBackendOptions file_disk_options(uint64_t seed);
/// Tasks that take events, side by side.
uint32_t file_workers_count(uint64_t seed) noexcept;

}  // namespace spindle::fuzz
