#include "tests/fuzz/free_set_model.h"

#include "tests/lsm/ewah_oracle.h"

namespace spindle::fuzz {

namespace {

FreeSetFault take_trailers(const std::vector<uint64_t>& trailers, uint32_t before_max, FreeSetModel& model) {
  if (trailers.size() > before_max) return FreeSetFault::trailers_count;
  for (const uint64_t address : trailers) {
    if (address == 0 || address > model.blocks_count) return FreeSetFault::trailer_address;
    if (model.free.erase(address) == 0) return FreeSetFault::trailer_acquired;
    model.before.insert(address);
  }
  return FreeSetFault::none;
}

}  // namespace

FreeSetOpened open_model(const FreeSetImage& image, uint32_t before_max, FreeSetModel& model) {
  const size_t words_count = (model.blocks_count + 63) / 64;
  const ewah_oracle::Decoded acquired = ewah_oracle::decode(image.acquired, words_count);
  if (acquired.fault != EwahFault::none) return {FreeSetFault::acquired_encoding, acquired.fault};
  std::set<uint64_t> addresses;
  for (uint64_t block = 0; block < words_count * 64; ++block) {
    if ((acquired.words[block / 64] >> (block % 64) & 1) != 0) addresses.insert(addresses.end(), block + 1);
  }
  if (FreeSetModel::highest_of(addresses) > model.blocks_count) {
    return {FreeSetFault::acquired_beyond_end, EwahFault::none};
  }
  const ewah_oracle::Decoded released = ewah_oracle::decode(image.released, words_count);
  if (released.fault != EwahFault::none) return {FreeSetFault::released_encoding, released.fault};
  model.acquired = addresses;
  for (uint64_t block = 0; block < words_count * 64; ++block) {
    if ((released.words[block / 64] >> (block % 64) & 1) == 0) continue;
    if (model.acquired.erase(block + 1) == 0) return {FreeSetFault::released_not_acquired, EwahFault::none};
    model.released.insert(block + 1);
  }
  for (const uint64_t address : addresses) model.free.erase(address);
  return {take_trailers(image.trailers, before_max, model), EwahFault::none};
}

}  // namespace spindle::fuzz
