#include "io/sim/disk_faults.h"

#include <algorithm>

namespace spindle {

const char* name_of(Fault fault) noexcept {
  switch (fault) {
    case Fault::latent_error: return "latent sector error";
    case Fault::bit_flip: return "bit flip";
    case Fault::garbage: return "garbage sector";
    case Fault::transient_error: return "transient EIO";
    case Fault::misdirected_read: return "misdirected read";
    case Fault::short_read: return "short read";
    case Fault::stale_sector: return "stale sector";
    case Fault::lost_write: return "lost write";
    case Fault::misdirected_write: return "misdirected write";
    case Fault::short_write: return "short write";
    case Fault::write_error: return "EIO on write";
    case Fault::no_space: return "ENOSPC";
    case Fault::failed_sync: return "failed sync";
    case Fault::stall: return "stall";
    case Fault::again: return "EAGAIN";
    case Fault::interrupted: return "EINTR";
    case Fault::cancelled: return "ECANCELED";
  }
  return "unknown fault";
}

FaultRates FaultRates::passing() noexcept {
  FaultRates rates;
  rates.set(Fault::short_read, 300).set(Fault::short_write, 300);
  rates.set(Fault::again, 200).set(Fault::interrupted, 200).set(Fault::cancelled, 100).set(Fault::stall, 10);
  return rates;
}

FaultRates FaultRates::usual() noexcept {
  FaultRates rates = passing();
  rates.set(Fault::latent_error, 50).set(Fault::bit_flip, 50).set(Fault::garbage, 50);
  rates.set(Fault::transient_error, 200).set(Fault::misdirected_read, 50).set(Fault::stale_sector, 50);
  rates.set(Fault::lost_write, 50).set(Fault::misdirected_write, 50);
  return rates;
}

namespace {

/// Takes those of the range away.
FaultRecord::Damages extract(FaultRecord::Damages& from, uint64_t file_number, uint64_t offset, uint64_t size) {
  FaultRecord::Damages taken;
  const uint64_t end = size > UINT64_MAX - offset ? UINT64_MAX : offset + size;
  auto at = from.lower_bound({file_number, offset});
  while (at != from.end() && at->first.first == file_number && at->first.second < end) {
    const auto next = std::next(at);
    taken.insert(from.extract(at));
    at = next;
  }
  return taken;
}

}  // namespace

void FaultRecord::remove(uint64_t file_number, uint64_t offset, uint64_t size) {
  if (damages_.empty()) return;
  for (const auto& [sector, damage] : extract(damages_, file_number, offset, size)) removed_[sector] = damage;
}

FaultRecord::Damages FaultRecord::take_removed(uint64_t file_number) {
  return extract(removed_, file_number, 0, UINT64_MAX);
}

uint32_t FaultRecord::damaged_count(uint32_t region) const noexcept {
  const auto damaged_count = std::count_if(damages_.begin(), damages_.end(),
                                           [&](const auto& damage) { return damage.second.region == region; });
  const auto remembered_count = std::count_if(remembered_.begin(), remembered_.end(),
                                              [&](const auto& remembered) { return remembered.region == region; });
  return static_cast<uint32_t>(damaged_count + remembered_count);
}

bool FaultRecord::is_damaged(uint64_t file_number, uint64_t offset, uint64_t size) const noexcept {
  const auto first = damages_.lower_bound({file_number, offset / 4096 * 4096});
  if (first == damages_.end() || first->first.first != file_number || size == 0) return false;
  const uint64_t last = size > UINT64_MAX - offset ? UINT64_MAX : offset + size - 1;
  return first->first.second / 4096 <= last / 4096;
}

}  // namespace spindle
