// Draws the faults of a simulated disk, and does the damage. What an operation returns is up to the backend.
//
// One draw per operation where its kind has faults at all, and none where it has not; the rest only when a fault comes.
// All of them come from the generator that begin() is given: the operation's own, see DrawKeys.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/sim/disk_faults.h"
#include "io/sim/sim_file.h"
#include "io/sim/sim_files.h"
#include "runtime/random.h"

namespace spindle {

/// Kinds of operations by what can happen to them.
enum class FaultGroup : uint8_t { read, write, durable_write, sync, other };

/// The place of an operation: a file and a range of it.
struct FaultTarget {
  SimFile* file = nullptr;
  std::string_view path;
  uint64_t offset = 0;
  uint64_t size = 0;
};

class FaultInjector {
 public:
  /// All outlive it. The plan does not change.
  FaultInjector(SimFiles& files, const FaultPlan& plan, uint32_t sector_size, Random& random);

  /// Whose draws the next ones are.
  void begin(FaultId id) noexcept { id_ = id; }
  /// The fault that hits an operation of the group there, if one does. Of damage the place is drawn too, see sector();
  /// what the plan does not allow there is none.
  std::optional<Fault> draw(FaultGroup group, const FaultTarget& target) noexcept {
    const uint32_t rate_max = rates_max_[static_cast<size_t>(group)];
    if (rate_max == 0) [[likely]]
      return std::nullopt;
    const uint64_t drawn = random_.below(FaultRates::denominator);
    if (drawn >= rate_max) [[likely]]
      return std::nullopt;
    return choose(group, target, static_cast<uint32_t>(drawn));
  }
  /// How long the device stands still from now on, in ns; mostly 0.
  uint64_t draw_stall_ns(const FaultTarget& target) noexcept;

  /// The sector that the damage drawn last happens to.
  uint64_t sector() const noexcept { return sector_; }
  /// latent_error, bit_flip, garbage: of that sector. Before the read.
  void damage(Fault fault, const FaultTarget& target);
  /// misdirected_read: one sector of what was read is another one's.
  void mix_up(const FaultTarget& target, std::span<std::byte> memory);
  /// stale_sector: what it held is to come back after some reads.
  void remember(const FaultTarget& target, std::vector<std::byte> content);
  /// misdirected_write: what was to be written to it goes to another place, if the plan allows that.
  void write_elsewhere(const FaultTarget& target, std::span<const std::byte> content);
  void note_damage(Fault fault, const FaultTarget& target, uint64_t sector);
  /// Before a read: what was remembered comes back.
  void note_read(const FaultTarget& target) {
    if (target.file->is_watched(target.offset, target.size)) bring_back(target);
  }
  /// After a write, and when content is cut away: what was damaged there is whole again.
  void note_written(const FaultTarget& target);

 private:
  static constexpr size_t group_count = 5;

  std::optional<Fault> choose(FaultGroup group, const FaultTarget& target, uint32_t drawn) noexcept;
  uint32_t region_of(std::string_view path, uint64_t offset) const noexcept;
  const FaultRates& rates_of(uint32_t region) const noexcept;
  uint64_t draw_sector(uint64_t offset, uint64_t end) noexcept;
  bool may_damage(Fault fault, const FaultTarget& target) noexcept;
  bool is_filtered(Fault fault) noexcept { return plan_.filter != nullptr && !plan_.filter->allows(id_, fault); }
  bool is_allowed(const FaultSite& site, uint32_t region) noexcept;
  void bring_back(const FaultTarget& target);
  SimFile& some_file(SimFile& own, std::string& path) noexcept;

  SimFiles& files_;
  const FaultPlan& plan_;
  const uint32_t sector_size_;
  Random& random_;
  uint32_t rates_max_[group_count] = {};
  uint32_t stall_rate_max_ = 0;
  FaultId id_;
  uint64_t sector_ = 0;
};

}  // namespace spindle
