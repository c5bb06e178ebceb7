// What the default run of the fuzzer `file` has to reach: each fault of the simulated disk, and rare states.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/sim/disk_faults.h"
#include "tests/fuzz/fuzz.h"

namespace spindle::fuzz {

/// After the marks of the faults, which come first, in the order of Fault.
enum class FileMark : uint8_t {
  torn_sector = fault_count,
  garbage_after_power_loss,
  old_version_after_power_loss,
  new_version_after_power_loss,
  old_size_after_power_loss,
  name_lost,
  name_kept,
  removed_name_back,
  rename_half_done,
  directory_lost,
  publish_interrupted,
  killed_with_write_in_flight,
  killed_in_recovery,
  write_in_part_then_cancelled,
  cancelled_write_undecided,
  undecided_sector_read,
  failed_write_read_back,
  name_settled_after_cancel,
  timed_out,
  no_space_short_write,
  capacity_used_up,
  file_size_limit,
  poisoned_refused,
  misaligned_refused,
  no_direct_io,
  end_of_file,
  read_during_write,
  sync_during_write,
  dropped_with_operations,
  closed_with_operations,
  lock_refused,
  ragged_write_cut_back,
  ragged_write_in_chunks,
  ragged_write_over_damage,
  unreadable_sector_refused,
};
inline constexpr size_t file_mark_count = static_cast<size_t>(FileMark::unreadable_sector_refused) + 1;

}  // namespace spindle::fuzz
