#include "tests/fuzz/free_set_machine.h"

#include <algorithm>
#include <utility>

#include "tests/fuzz/ewah_mutations.h"
#include "tests/lsm/ewah_oracle.h"

namespace spindle::fuzz {

namespace {

uint64_t blocks_count_of(uint64_t seed) {
  Random random(mix64(seed ^ 0xb1));
  switch (random.below(16)) {
    case 0: return 1;
    case 1: return (uint64_t{1} << 18) + random.below(10'000);
    case 2:
    case 3: return 4096 * random.between(1, 3) + random.below(3) - 1;
    case 4:
    case 5:
    case 6: return random.between(1, 20'000);
    case 7: return 64 * random.between(1, 5);
    default: return random.between(2, 400);
  }
}

uint32_t before_max_of(uint64_t seed) {
  Random random(mix64(seed ^ 0xb2));
  return static_cast<uint32_t>(random.chance(1, 3) ? random.below(4) : random.below(200));
}

// Pieces of random sizes, one after another.
template <class Byte>
std::vector<std::span<Byte>> chunks_of(std::span<Byte> bytes, Random& random) {
  std::vector<std::span<Byte>> chunks;
  const uint64_t size_max = uint64_t{1} << random.below(10);
  while (!bytes.empty()) {
    const size_t size = std::min<size_t>(8 * random.between(1, size_max), bytes.size());
    chunks.push_back(bytes.first(size));
    bytes = bytes.subspan(size);
  }
  return chunks;
}

FreeSetOpened open(FreeSet& set, const FreeSetImage& image) {
  Random random(image.acquired.size() + image.trailers.size());
  const auto acquired = chunks_of<const std::byte>(image.acquired, random);
  const auto released = chunks_of<const std::byte>(image.released, random);
  return set.open({acquired, released, image.trailers});
}

// A random member, or none of an empty set.
std::optional<uint64_t> member_of(const FreeSetModel::Addresses& addresses, uint64_t address_from) {
  if (addresses.empty()) return std::nullopt;
  const auto at = addresses.lower_bound(address_from);
  return at == addresses.end() ? *addresses.begin() : *at;
}

}  // namespace

FreeSet FreeSetMachine::make(uint64_t blocks_count, uint32_t before_max) {
  Result<FreeSet> made = FreeSet::create({blocks_count, before_max});
  FUZZ_CHECK(made.has_value(), "a free set could not be made");
  return std::move(*made);
}

FreeSetMachine::FreeSetMachine(uint64_t seed, Coverage& coverage)
    : before_max_(before_max_of(seed)), coverage_(coverage), model_(blocks_count_of(seed)) {
  set_.emplace(make(model_.blocks_count, before_max_));
  open_image(model_.blocks_count);
  if (model_.blocks_count > 1u << 18) mark(FreeSetMark::large_set);
  if (model_.blocks_count % 64 != 0) mark(FreeSetMark::limit_inside_word);
  Random random(mix64(seed ^ 0xb3));
  if (random.chance(2, 3)) fill(random);
}

// Lowest first, nearly to the end, and with holes.
void FreeSetMachine::fill(Random& random) {
  const uint64_t blocks_count = model_.blocks_count;
  const uint64_t count = blocks_count - std::min(blocks_count, random.below(blocks_count / 16 + 3));
  reserve_count(count);
  for (uint64_t index = 0; index < count; ++index) acquire_one(windows_.back());
  forfeit_all();
  set_->mark_checkpoint_durable();
  model_.mark_durable();
  const uint64_t holes_count = random.below(std::min<uint64_t>(blocks_count, 200) + 1);
  for (uint64_t index = 0; index < holes_count; ++index) {
    const std::optional<uint64_t> address = member_of(model_.acquired, random.between(1, blocks_count));
    if (address.has_value()) release_one(*address);
  }
}

void FreeSetMachine::reserve(Random& random) {
  const uint64_t free_count = model_.free.size();
  const uint64_t draw = random.below(16);
  const uint64_t few = random.between(1, 20);
  const uint64_t many = random.below(free_count + 2);
  if (is_forfeiting_ || windows_.size() > 20) return;
  reserve_count(draw == 0 ? 0 : draw < 12 ? few : draw < 15 ? many : free_count);
}

void FreeSetMachine::reserve_count(uint64_t count) {
  std::optional<WindowModel> expected = model_.reserve(count);
  std::optional<FreeSet::Reservation> made = set_->reserve(count);
  FUZZ_CHECK(made.has_value() == expected.has_value(), "a reservation where there is no room, or none where there is");
  hash_.mix(count, made.has_value());
  if (!made.has_value()) return mark(FreeSetMark::reserve_refused);
  FUZZ_CHECK(made->address_begin() == expected->begin, "a window begins in the wrong place");
  FUZZ_CHECK(made->address_end() == expected->end, "a window ends in the wrong place");
  FUZZ_CHECK(made->left_count() == count, "a window has another count of free blocks");
  if (count == 0) mark(FreeSetMark::empty_window);
  if (expected->end - expected->begin > count) mark(FreeSetMark::window_over_acquired);
  if (expected->begin / 4096 + 1 < expected->end / 4096) mark(FreeSetMark::window_over_shards);
  windows_.push_back({std::move(*made), std::move(*expected)});
}

void FreeSetMachine::acquire(Random& random) {
  const uint64_t draw = random.next();
  uint64_t count = random.chance(1, 8) ? random.below(300) : random.between(1, 4);
  if (windows_.empty()) return;
  const size_t place = draw % windows_.size();
  if (place != window_last_) mark(FreeSetMark::windows_in_turns);
  window_last_ = place;
  for (; count > 0; --count) acquire_one(windows_[place]);
}

void FreeSetMachine::acquire_one(Window& window) {
  const std::optional<uint64_t> expected = model_.acquire(window.model);
  const std::optional<uint64_t> address = set_->acquire(window.reservation);
  FUZZ_CHECK(address == expected, "a window gave another address than its lowest free one");
  hash_.mix(address.value_or(0));
  if (!address.has_value()) return mark(FreeSetMark::window_exhausted);
  if (is_forfeiting_) mark(FreeSetMark::acquired_while_forfeiting);
  if (model_.free.empty()) mark(FreeSetMark::used_up);
}

void FreeSetMachine::forfeit(Random& random) {
  const bool are_all = random.chance(1, 2);
  const uint64_t draw = random.next();
  if (windows_.empty()) return;
  if (are_all) return forfeit_all();
  forfeit_one(draw % windows_.size());
}

void FreeSetMachine::forfeit_one(size_t place) {
  Window window = std::move(windows_[place]);
  const size_t last = windows_.size() - 1;
  std::vector<Window> others;
  for (size_t index = 0; index <= last; ++index) {
    if (index != place) others.push_back(std::move(windows_[index]));
  }
  windows_ = std::move(others);
  if (window.model.taken_count < window.model.addresses.size()) mark(FreeSetMark::forfeit_with_blocks_left);
  set_->forfeit(std::move(window.reservation));
  is_forfeiting_ = !windows_.empty();
  if (is_forfeiting_) return;
  ++session_;
  model_.window_begin = 1;
}

void FreeSetMachine::forfeit_all() {
  while (!windows_.empty()) forfeit_one(windows_.size() - 1);
}

void FreeSetMachine::release(Random& random) {
  const uint64_t count = random.chance(1, 8) ? random.below(200) : random.between(1, 6);
  for (uint64_t index = 0; index < count; ++index) {
    const std::optional<uint64_t> address = member_of(model_.acquired, random.between(1, model_.blocks_count));
    const bool is_possible = address.has_value() && (model_.is_durable || model_.before.size() < before_max_);
    if (pending_.has_value() || !is_possible) return;
    release_one(*address);
  }
}

void FreeSetMachine::release_one(uint64_t address) {
  set_->release(address);
  model_.release(address);
  hash_.mix(address);
  if (model_.is_durable) return;
  mark(FreeSetMark::released_before_durability);
  if (model_.before.size() == before_max_) mark(FreeSetMark::released_before_durability_full);
}

void FreeSetMachine::encode(Random& random) {
  const uint64_t trailers_max = random.below(4);
  const uint64_t chunks_seed = random.next();
  if (!model_.is_durable) return;
  if (pending_.has_value()) mark(FreeSetMark::encoded_twice);
  if (!model_.released.empty()) mark(FreeSetMark::encoded_with_released);
  FreeSetImage image;
  image.acquired.resize(set_->encode_size_max());
  image.released.resize(set_->encode_size_max());
  Random sizes(chunks_seed);
  const auto acquired = chunks_of<std::byte>(image.acquired, sizes);
  const auto released = chunks_of<std::byte>(image.released, sizes);
  const FreeSetEncoded encoded = set_->encode(acquired, released);
  image.acquired.resize(encoded.acquired_size);
  image.released.resize(encoded.released_size);
  FUZZ_CHECK(image.acquired == ewah_oracle::encode(model_.words_of(false)), "a wrong encoding of what is acquired");
  FUZZ_CHECK(image.released == ewah_oracle::encode(model_.words_of(true)), "a wrong encoding of what is released");
  for (Window& window : windows_) {
    const bool has_room = image.trailers.size() < std::min<uint64_t>(trailers_max, before_max_);
    if (!has_room || window.model.taken_count == window.model.addresses.size()) continue;
    image.trailers.push_back(window.model.addresses[window.model.taken_count]);
    acquire_one(window);
    mark(FreeSetMark::trailers_acquired);
  }
  pending_ = std::move(image);
}

void FreeSetMachine::mark_not_durable(Random&) {
  if (!pending_.has_value()) return;
  set_->mark_checkpoint_not_durable();
  model_.is_durable = false;
  image_ = std::move(*pending_);
  pending_.reset();
  for (const uint64_t address : image_.trailers) release_one(address);
}

void FreeSetMachine::mark_durable(Random& random) {
  const bool is_impatient = random.chance(3, 4);
  if (model_.is_durable) return;
  if (is_impatient) forfeit_all();
  if (!windows_.empty()) return;
  if (!model_.released.empty() && !model_.before.empty()) mark(FreeSetMark::durable_with_both_released);
  set_->mark_checkpoint_durable();
  model_.mark_durable();
  hash_.mix(model_.free.size());
  check_all();
}

void FreeSetMachine::reopen(Random& random) {
  const bool is_damaged = random.chance(1, 2);
  const uint64_t limit = other_limit(random);
  if (pending_.has_value()) mark(FreeSetMark::reopened_before_mark);
  set_->reset();
  ++session_;
  windows_.clear();
  is_forfeiting_ = false;
  pending_.reset();
  if (is_damaged) open_damaged(random);
  if (limit != model_.blocks_count) {
    mark(FreeSetMark::reopened_with_other_limit);
    set_.emplace(make(limit, before_max_));
    session_ = 1;
  }
  if (!image_.trailers.empty()) mark(FreeSetMark::reopened_with_trailers);
  open_image(limit);
  check_all();
}

// Often the same; else anything above what the image needs.
uint64_t FreeSetMachine::other_limit(Random& random) const {
  const bool is_same = random.chance(3, 4);
  const uint64_t more = random.below(300);
  if (is_same || model_.blocks_count > 100'000) return model_.blocks_count;
  FreeSetModel model(model_.blocks_count);
  open_model(image_, before_max_, model);
  return std::max<uint64_t>(model.highest_acquired() + more, 1);
}

void FreeSetMachine::open_image(uint64_t blocks_count) {
  FreeSetModel model(blocks_count);
  const FreeSetOpened expected = open_model(image_, before_max_, model);
  FUZZ_CHECK(expected.fault == FreeSetFault::none, "the model refuses an image that is good");
  const FreeSetOpened opened = open(*set_, image_);
  FUZZ_CHECK(opened.fault == FreeSetFault::none, "an image that is good was refused");
  model_ = std::move(model);
  hash_.mix(model_.free.size(), model_.before.size());
}

// A valid encoding of a set with one bit changed, often of the last word.
void FreeSetMachine::flip_bit(std::vector<std::byte>& encoding, Random& random) const {
  const size_t words_count = (model_.blocks_count + 63) / 64;
  std::vector<uint64_t> words = ewah_oracle::decode(encoding, words_count).words;
  const size_t place = random.chance(1, 2) ? words_count - 1 : random.below(words_count);
  words[place] ^= uint64_t{1} << random.below(64);
  encoding = ewah_oracle::encode(std::move(words));
}

void FreeSetMachine::open_damaged(Random& random) {
  FreeSetImage image = image_;
  const uint64_t kind = random.below(6);
  if (kind == 0) mutate_encoding(image.acquired, random);
  if (kind == 1) mutate_encoding(image.released, random);
  if (kind == 2) flip_bit(image.acquired, random);
  if (kind == 3) flip_bit(image.released, random);
  if (kind >= 4) {
    const uint64_t count = random.chance(1, 4) ? before_max_ + 1 : random.below(3);
    for (uint64_t index = 0; index < count; ++index) {
      const uint64_t beyond = random.chance(1, 2) ? 0 : model_.blocks_count + 1;
      const uint64_t address = random.between(1, model_.blocks_count);
      image.trailers.push_back(random.chance(1, 8) ? beyond : address);
    }
  }
  FreeSetModel model(model_.blocks_count);
  const FreeSetOpened expected = open_model(image, before_max_, model);
  const FreeSetOpened opened = open(*set_, image);
  FUZZ_CHECK(opened.fault == expected.fault, "another fault than the rules say");
  FUZZ_CHECK(opened.encoding == expected.encoding, "another fault of an encoding than the format says");
  hash_.mix(static_cast<uint64_t>(opened.fault), static_cast<uint64_t>(opened.encoding));
  if (opened.fault == FreeSetFault::none) {
    FUZZ_CHECK(set_->free_count() == model.free.size(), "a damaged image was opened as something else");
    set_->reset();
    ++session_;
    return;
  }
  coverage_.mark(static_cast<size_t>(FreeSetMark::fault_first) + static_cast<size_t>(opened.fault) - 1);
  FUZZ_CHECK(!set_->is_opened(), "a set that could not be opened is");
  FUZZ_CHECK(set_->free_count() == model_.blocks_count, "something is left of a set that could not be opened");
}

// The grid is formatted anew.
void FreeSetMachine::reset(Random&) {
  if (!windows_.empty()) mark(FreeSetMark::reset_with_reservations);
  windows_.clear();
  is_forfeiting_ = false;
  pending_.reset();
  image_ = {};
  set_->reset();
  ++session_;
  open_image(model_.blocks_count);
}

void FreeSetMachine::check(Random& random) {
  const FreeSet& set = *set_;
  FUZZ_CHECK(set.free_count() == model_.free.size(), "a wrong count of free blocks");
  FUZZ_CHECK(set.acquired_count() == model_.blocks_count - model_.free.size(), "a wrong count of acquired blocks");
  FUZZ_CHECK(set.released_count() == model_.released.size() + model_.before.size(), "a wrong count of released blocks");
  FUZZ_CHECK(set.released_before_durability_count() == model_.before.size(), "a wrong count before durability");
  FUZZ_CHECK(set.reservations_count() == windows_.size(), "a wrong count of reservations");
  FUZZ_CHECK(set.session() == session_, "a wrong session number");
  FUZZ_CHECK(set.is_checkpoint_durable() == model_.is_durable, "durable or not is wrong");
  FUZZ_CHECK(set.highest_address_acquired() == model_.highest_acquired(), "a wrong highest address acquired");
  FUZZ_CHECK(set.highest_address_released() == model_.highest_released(), "a wrong highest address released");
  for (uint32_t round = 0; round < 3; ++round) check_address(random.between(1, model_.blocks_count));
}

void FreeSetMachine::check_address(uint64_t address) {
  FUZZ_CHECK(set_->is_free(address) == model_.is_free(address), "free or not is wrong");
  FUZZ_CHECK(set_->is_released(address) == model_.is_released(address), "released or not is wrong");
  const bool is_to_be_freed = model_.released.count(address) == 1;
  FUZZ_CHECK(set_->to_be_freed_at_checkpoint_durability(address) == is_to_be_freed, "to be freed or not is wrong");
}

void FreeSetMachine::check_all() {
  FUZZ_CHECK(set_->is_consistent(), "index, counts and bits do not agree");
  if (model_.blocks_count > 1000) return;
  for (uint64_t address = 1; address <= model_.blocks_count; ++address) check_address(address);
}

uint64_t FreeSetMachine::finish() {
  FUZZ_CHECK(set_->is_consistent(), "index, counts and bits do not agree");
  for (uint64_t address = 1; address <= model_.blocks_count; ++address) check_address(address);
  return hash_.value();
}

}  // namespace spindle::fuzz
