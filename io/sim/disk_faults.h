// What can go wrong with a simulated disk, how often, where, and how much of it at once.
//
//     SimBackendOptions options;
//     options.faults.everywhere.set(Fault::short_read, 10'000);              // of a million reads
//     options.faults.regions.push_back({"data", 0, 64 << 10, rotten, 1});   // of one file: first match counts
//
// Damage stays: sectors that can't be read or hold what nobody wrote there, until they are written again. A plan bounds
// it, to what the design under test promises to survive: at most so many damaged sectors at once per region, and only
// where the policy agrees. The other faults pass.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spindle {

enum class Fault : uint8_t {
  // Of reads. Damage:
  latent_error,  ///< a sector can't be read (EIO) until it is written
  bit_flip,  ///< a bit of a sector is another one
  garbage,  ///< a sector holds random bytes
  // … and passing:
  transient_error,  ///< EIO, this time
  misdirected_read,  ///< another sector's content, this time
  short_read,
  // Of writes. Damage:
  stale_sector,  ///< a sector has its former content again, after some reads
  lost_write,  ///< acknowledged, never there
  misdirected_write,  ///< acknowledged, and there in another sector's place
  // … and passing:
  short_write,
  write_error,  ///< EIO; each sector is as it was or as it should be (and after a loss of power, or torn)
  no_space,  ///< ENOSPC
  // Of syncs and durable writes.
  failed_sync,  ///< EIO; of a file: what it covered is durable by chance, or not: later syncs succeed without it
  // Of every operation.
  stall,  ///< the device does nothing for a while
  again,  ///< EAGAIN
  interrupted,  ///< EINTR
  cancelled,  ///< ECANCELED that nobody asked for
};
inline constexpr size_t fault_count = 17;
const char* name_of(Fault fault) noexcept;
/// The others pass.
constexpr bool is_damage(Fault fault) noexcept {
  return fault <= Fault::garbage || (fault >= Fault::stale_sector && fault <= Fault::misdirected_write);
}

/// One draw: for the operation of this number, from 1, that the trace submitted, whatever else is going on. Removing
/// what another trace does changes nothing of it.
struct FaultId {
  uint32_t trace = 0;
  uint32_t number = 0;
  friend auto operator<=>(const FaultId&, const FaultId&) = default;
};

/// Asked before each fault that is going to happen; false: it does not.
class FaultFilter {
 public:
  virtual bool allows(FaultId id, Fault fault) noexcept = 0;

 protected:
  ~FaultFilter() = default;
};

/// Of a million operations that a fault can hit, how many it does.
class FaultRates {
 public:
  static constexpr uint32_t denominator = 1'000'000;

  FaultRates& set(Fault fault, uint32_t rate) noexcept {
    rates_[static_cast<size_t>(fault)] = rate;
    return *this;
  }
  uint32_t of(Fault fault) const noexcept { return rates_[static_cast<size_t>(fault)]; }
  uint32_t sum(Fault first, Fault last) const noexcept {
    uint32_t total = 0;
    for (size_t fault = static_cast<size_t>(first); fault <= static_cast<size_t>(last); ++fault) total += rates_[fault];
    return total;
  }

  /// What a careful program should bear without noticing: short counts, EAGAIN, EINTR, ECANCELED, stalls.
  static FaultRates passing() noexcept;
  /// And what rots and breaks: one operation in a thousand.
  static FaultRates usual() noexcept;

 private:
  uint32_t rates_[fault_count] = {};
};

/// A part of a disk with rates of its own.
struct FaultRegion {
  std::string path;  ///< as it was opened; empty: every file
  uint64_t offset = 0;
  uint64_t size = UINT64_MAX;
  FaultRates rates;
  uint32_t damage_max = UINT32_MAX;  ///< damaged sectors at once
};

/// One place that is going to be damaged.
struct FaultSite {
  Fault fault;
  std::string_view path;
  uint64_t file_number;
  uint64_t offset;  ///< of the sector
};

/// Says no to damage that a design does not promise to survive.
class FaultPolicy {
 public:
  virtual bool may_damage(const FaultSite& site) noexcept = 0;

 protected:
  ~FaultPolicy() = default;
};

struct FaultPlan {
  FaultRates everywhere;
  uint32_t damage_max = UINT32_MAX;
  /// The first that holds an operation's offset has its rates; damage outside of it there is none.
  std::vector<FaultRegion> regions;
  FaultPolicy* policy = nullptr;  ///< borrowed
  FaultFilter* filter = nullptr;  ///< borrowed
  uint64_t stall_ns_max = 50'000'000;
};

/// The sectors that are damaged now, and how often each fault has happened.
class FaultRecord {
 public:
  struct Damage {
    Fault fault;
    uint32_t region;  ///< of the plan; regions.size(): none
  };
  /// A sector that is to have its former content again, after some reads.
  struct Remembered {
    uint64_t file_number;
    uint64_t sector;
    uint32_t region;
    uint32_t reads_left;
    std::vector<std::byte> content;
  };
  /// By file number and offset of the sector.
  using Damages = std::map<std::pair<uint64_t, uint64_t>, Damage>;

  void note(Fault fault) noexcept { ++counts_[static_cast<size_t>(fault)]; }
  uint64_t count(Fault fault) const noexcept { return counts_[static_cast<size_t>(fault)]; }
  void add(uint64_t file_number, uint64_t offset, Damage damage) { damages_[{file_number, offset}] = damage; }
  /// Written over, or cut off: whole, for as long as that is not lost.
  void remove(uint64_t file_number, uint64_t offset, uint64_t size);
  const Damages& damages() const noexcept { return damages_; }
  /// Sectors of a file that were removed, until this is asked. A loss of power may bring the damage back.
  Damages take_removed(uint64_t file_number);
  /// With those that are going to be.
  uint32_t damaged_count(uint32_t region) const noexcept;
  /// Something in the pages of 4 KiB that the range touches.
  bool is_damaged(uint64_t file_number, uint64_t offset, uint64_t size) const noexcept;
  std::vector<Remembered>& remembered() noexcept { return remembered_; }

 private:
  Damages damages_;
  Damages removed_;
  std::vector<Remembered> remembered_;
  uint64_t counts_[fault_count] = {};
};

}  // namespace spindle
