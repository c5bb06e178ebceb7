// What a loss of power could leave on the disk of a simulated host, at one moment of a run: every image of it, or a
// sample, each handed to a callback that opens it.
//
//     while (world.step() == World::Step::worked) {
//       const CrashImages images(host);
//       images.for_each({}, [&](SimFiles image) {
//         World after(1);
//         Host& restarted = after.add_host("a", options, std::move(image));
//         restarted.start(recover_and_check);
//         …
//       });
//     }
//
// A unit is what is there or not, by itself: a sector that is not durable, one of a write in flight that nobody was
// told of, the size of a file, a change of a directory. What other operations in flight would change (a rename, say)
// is seen one step later, when they are acknowledged and not durable.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/sim/sim_file.h"
#include "io/sim/sim_files.h"
#include "runtime/random.h"

namespace spindle {

class Host;

struct CrashUnit {
  enum class Kind : uint8_t { sector, size, change };
  Kind kind = Kind::sector;
  bool is_in_flight = false;  ///< a sector of a write that was not acknowledged
  uint64_t sequence = 0;  ///< in the order of the changes; those in flight last
  uint64_t file_number = 0;  ///< a sector's, a size's
  uint64_t offset = 0;  ///< a sector's; of a change, its place in SimFiles::changes()
  size_t write_index = 0;  ///< in flight: of which write
};

struct CrashImageOptions {
  uint32_t units_all_max = 10;  ///< up to so many units every combination is visited: 2^units
  uint32_t units_torn_max = 6;  ///< up to so many, with each of them torn, too: 3^units
  uint32_t samples_count = 64;  ///< beyond: so many by seed, beside those that for_each() names
  uint64_t seed = 1;
};

class CrashImages {
 public:
  /// A copy of the host's disk and of its writes in flight, as they are now. Between steps; the host may be dead.
  explicit CrashImages(Host& host);

  /// Oldest change first.
  std::span<const CrashUnit> units() const noexcept { return units_; }
  /// The image with these fates, one per unit: former: it is not there; written: it is; torn: of a sector, see
  /// SectorFate; of a size, the smallest since it was durable; of a change, as written. The seed is for what is torn.
  SimFiles image(std::span<const SectorFate> fates, uint64_t seed) const;

  /// visit(SimFiles) for: none, all, every prefix and every suffix of the units in their order, each by itself and each
  /// missing, each torn among none and among all; all combinations where they are few; else a sample. Gives how many.
  template <class Visit>
  uint64_t for_each(const CrashImageOptions& options, Visit visit) const {
    const std::vector<std::vector<SectorFate>> all = choices(options);
    for (size_t index = 0; index < all.size(); ++index) visit(image(all[index], mix64(options.seed + index)));
    return all.size();
  }
  /// The fates that for_each() visits, none twice.
  std::vector<std::vector<SectorFate>> choices(const CrashImageOptions& options) const;

 private:
  struct Write {
    uint64_t file_number;
    uint64_t offset;
    std::vector<std::byte> content;
  };

  void add_units_of(const SimFile& file);
  void add_writes(Host& host);
  bool extends(const SimFile& file) const noexcept;
  void apply(SimFiles& files, const CrashUnit& unit, SectorFate fate, Random& random) const;
  void apply_sizes(SimFiles& files, std::span<const SectorFate> fates) const;

  SimFiles base_;
  uint32_t sector_size_;
  std::vector<Write> writes_;
  std::vector<CrashUnit> units_;
};

}  // namespace spindle
