// The reads of the fuzzer `storage`: what they give is compared with the model, what is lost with the record of faults.
#include "tests/fuzz/storage_transfer.h"

namespace spindle::fuzz {

namespace {

/// One read and all that there is to compare it with.
class Reading {
 public:
  Reading(StorageMachine& machine, const StorageEvent& event)
      : machine_(machine), place(machine.setup, event, transfer_sectors_max), buffer(place.size) {
    tells_ = event.a / 64 % 4 != 0;
    for (uint64_t& word : words_) word = ~uint64_t{0};
    read_.range = place.grains;
    machine.disk.begin_read(read_);
    if (read_.is_shared) machine.mark(StorageMark::read_beside_write);
    was_unreadable_ = unreadable_sectors();
    size_min_ = machine.disk.size_min();
    transient_count_ = machine.fault_count(Fault::transient_error);
    options.lost = tells_ ? LostSectors(words_) : LostSectors();
  }

  void end(const Result<void>& result) {
    machine_.disk.end_read(read_);
    machine_.hash.mix(result.has_value() ? 200 : static_cast<uint64_t>(result.error().code));
    if (result.has_value()) return check_whole();
    const Error& error = result.error();
    machine_.hash.mix(error.transferred);
    switch (error.code) {
      case ErrorCode::cancelled: return machine_.check_cancelled();
      case ErrorCode::closed: return machine_.check_closed();
      case ErrorCode::end_of_file:
        FUZZ_CHECK(place.end() > size_min_, "a read finds the end of a file that goes on");
        FUZZ_CHECK(error.transferred < place.size, "a read of everything finds the end of the file");
        return machine_.mark(StorageMark::read_past_end);
      case ErrorCode::lost_sectors: return check_lost(error.transferred);
      case ErrorCode::system:
        FUZZ_CHECK(machine_.is_passing(error), "a read fails with an errno that the disk never gave");
        return;
      default: FUZZ_CHECK(false, "a read fails with an error that the contract does not name");
    }
  }

 private:
  uint64_t sectors_count() const noexcept { return place.size / machine_.setup.sector_size; }
  GrainRange grains_of(uint64_t sector) const noexcept {
    const size_t count = machine_.setup.grains_per_sector();
    return {place.grains.first + sector * count, count};
  }
  uint64_t unreadable_sectors() const {
    uint64_t bits = 0;
    for (uint64_t sector = 0; sector < sectors_count(); ++sector) {
      if (machine_.is_unreadable(grains_of(sector))) bits |= uint64_t{1} << sector;
    }
    return bits;
  }
  void check_sector(uint64_t sector) {
    const size_t count = machine_.setup.grains_per_sector();
    for (size_t index = sector * count; index < (sector + 1) * count; ++index) {
      machine_.disk.see(read_, index, identity_of(buffer.grain(index)));
    }
  }
  void check_whole() {
    FUZZ_CHECK(place.end() <= machine_.disk.size_max(), "a read succeeds past the end of the file");
    if (tells_) FUZZ_CHECK(options.lost.count() == 0, "a read that succeeds reports lost sectors");
    for (uint64_t sector = 0; sector < sectors_count(); ++sector) check_sector(sector);
    if (machine_.is_stopped) machine_.mark(StorageMark::read_while_stopped);
  }
  bool is_filled(uint64_t sector) const {
    const std::span<std::byte> memory =
        buffer.all().subspan(sector * machine_.setup.sector_size, machine_.setup.sector_size);
    for (const std::byte byte : memory) {
      if (byte != lost_sector_fill) return false;
    }
    return true;
  }
  void check_lost(uint64_t transferred) {
    const uint64_t damaged = was_unreadable_ | unreadable_sectors();
    uint64_t lost_count = 0;
    uint64_t by_chance_count = 0;
    for (uint64_t sector = 0; sector < sectors_count(); ++sector) {
      const bool is_lost = is_filled(sector);
      if (tells_) FUZZ_CHECK(options.lost.is_lost(sector) == is_lost, "memory and report of a lost sector disagree");
      if (!is_lost) {
        check_sector(sector);
        continue;
      }
      ++lost_count;
      if ((damaged >> sector & 1) == 0 && !read_.is_shared) ++by_chance_count;
    }
    FUZZ_CHECK(lost_count > 0, "a read reports that something is lost, but not what");
    FUZZ_CHECK(transferred == place.size - lost_count * machine_.setup.sector_size, "a wrong count of bytes read");
    if (tells_) FUZZ_CHECK(options.lost.count() == lost_count, "a report of lost sectors beyond the read");
    // Each was tried twice by itself, and before that as part of a larger read, if there was one.
    const uint64_t transient_count = machine_.fault_count(Fault::transient_error) - transient_count_;
    FUZZ_CHECK(transient_count >= 2 * by_chance_count, "a sector is reported lost that can be read");
    if (by_chance_count > 0) machine_.mark(StorageMark::read_lost_by_chance);
    machine_.mark(tells_ ? StorageMark::read_lost : StorageMark::read_lost_untold);
  }

  StorageMachine& machine_;
  ReadUnderWay read_;
  bool tells_ = false;
  uint64_t words_[2];
  uint64_t was_unreadable_ = 0;
  uint64_t size_min_ = 0;
  uint64_t transient_count_ = 0;

 public:
  const Place place;
  const Buffer buffer;
  StorageReadOptions options;
};

}  // namespace

Task<Result<void>> make_read(StorageMachine* machine, StorageEvent event) {
  Reading reading(*machine, event);
  const std::span<std::byte> memory = reading.buffer.all();
  const Result<void> result =
      co_await (*machine->storage)->read(reading.place.zone, reading.place.offset, memory, reading.options);
  reading.end(result);
  co_return Result<void>();
}

}  // namespace spindle::fuzz
