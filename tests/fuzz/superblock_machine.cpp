// What the fuzzer `superblock` checks after each call, and what the death of its host leaves.
#include "tests/fuzz/superblock_machine.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "tests/lsm/superblock_oracle.h"

namespace spindle::fuzz {

namespace {

using Kind = SlotImage::Kind;

uint64_t offset_of(uint32_t slot) noexcept { return uint64_t{slot} * superblock_slot_stride; }

SuperblockFault fault_of(const SlotImage& image) noexcept {
  switch (image.kind) {
    case Kind::zero: return SuperblockFault::zero;
    case Kind::version: return SuperblockFault::none;
    case Kind::torn: return SuperblockFault::checksum;
    case Kind::unreadable: return SuperblockFault::unreadable;
    case Kind::unsupported: return SuperblockFault::version;
  }
  return SuperblockFault::none;
}

}  // namespace

SuperblockMachine::SuperblockMachine(World& the_world, Host& the_host, const SuperblockSetup& the_setup,
                                     Coverage& coverage)
    : world(the_world), host(the_host), setup(the_setup), coverage_(coverage) {}

SlotImages SuperblockMachine::images() {
  SlotImages now;
  SimFile& file = *host.files().find(superblock_path);
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    Superblock superblock;
    const uint64_t size = file.read(offset_of(slot), std::as_writable_bytes(std::span(&superblock, 1)));
    FUZZ_CHECK(size == superblock_size, "a slot is cut off");
    now[slot] = model.classify(superblock, file.is_readable(offset_of(slot), superblock_size));
  }
  return now;
}

void SuperblockMachine::note_history(const SlotImages& now) {
  constexpr size_t history_max = 8;
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    if (now[slot].kind != Kind::version) continue;
    const std::pair<size_t, uint64_t> held{now[slot].version, now[slot].copy};
    auto& history = history_[slot];
    if (!history.empty() && history.back() == held) continue;
    if (history.size() == history_max) history.erase(history.begin());
    history.push_back(held);
  }
}

uint64_t SuperblockMachine::failures_count() noexcept {
  const FaultRecord& record = host.files().record();
  return record.count(Fault::write_error) + record.count(Fault::no_space) + record.count(Fault::failed_sync);
}

void SuperblockMachine::note_failed_syncs() {
  SimFile& file = *host.files().find(superblock_path);
  uint32_t undecided = 0;
  file.for_each_undecided(superblock_size,
                          [&](uint64_t offset) { undecided |= 1u << offset / superblock_slot_stride; });
  const uint64_t failed_count = host.files().record().count(Fault::failed_sync);
  if (failed_count != failed_syncs_seen_) forgotten_slots_ |= undecided;
  forgotten_slots_ &= undecided;
  failed_syncs_seen_ = failed_count;
}

// ---- calls

void SuperblockMachine::begin_call(Call call) {
  call_ = call;
  before_ = images();
  note_history(before_);
  failures_before_ = failures_count();
}

void SuperblockMachine::end_call(const SuperblockCopies& superblock, const Result<void>& result) {
  call_ = Call::none;
  note_failed_syncs();
  const SlotImages now = images();
  note_history(now);
  hash.mix(result.has_value() ? 0 : 1 + static_cast<uint64_t>(result.error().code), superblock.choice().votes_count);
  for (const SlotImage& image : now) hash.mix(image.hash);
  if (failures_count() != failures_before_ || setup.is_lying) return;
  // Whatever came in between, a cancel too: each slot is as it was, or was written in full.
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    const bool is_written = now[slot].kind == Kind::zero || now[slot].kind == Kind::version;
    FUZZ_CHECK(is_written || now[slot] == before_[slot], "a call leaves a slot half written");
  }
  if (result.has_value() || result.error().code != ErrorCode::cancelled || now == before_) return;
  const bool is_done = std::any_of(now.begin(), now.end(), [&](const SlotImage& image) {
    return image.kind == Kind::version && model.is_whole(now, image.version);
  });
  FUZZ_CHECK(is_done, "a cancel ends a call between two of its writes");
}

void SuperblockMachine::check_unchanged(const char* what) { FUZZ_CHECK(setup.is_lying || images() == before_, what); }

// What any call may give when the disk, or somebody with a cancel, is to blame.
void SuperblockMachine::check_error(const Error& error) {
  if (error.code == ErrorCode::cancelled) return FUZZ_CHECK(is_cancelled, "a call is cancelled, and nobody asked");
  const bool is_failure = error.code == ErrorCode::system || error.code == ErrorCode::short_transfer;
  FUZZ_CHECK(is_failure, "a call gives an error that it can't");
  FUZZ_CHECK(failures_count() != failures_before_, "a call fails without a fault of the disk");
  mark(SuperblockMark::stopped_by_write);
}

void SuperblockMachine::note_whole(size_t version, const SlotImages& now) {
  model.settle(version);
  if (model.is_whole(now, version)) {
    model.damaged_slots = model.former_slots = 0;
    return;
  }
  // What a lying disk has lost is where something right was before.
  for (uint32_t slot = 0; slot < model.at(version).configuration.copies_count; ++slot) {
    if (now[slot].is_of(version)) continue;
    model.damaged_slots |= 1u << slot;
    if (now[slot].kind == Kind::version) model.former_slots |= 1u << slot;
  }
}

// ---- format

void SuperblockMachine::check_formatted(size_t version, bool is_forced, const Result<void>& result) {
  if (!result.has_value()) return check_refused_format(result.error(), is_forced);
  const SlotImages now = images();
  FUZZ_CHECK(is_forced || !model.must_refuse_format(before_), "a format takes what is left of a store");
  FUZZ_CHECK(model.is_whole(now, version), "a format leaves a copy out");
  const uint32_t copies_count = model.at(version).configuration.copies_count;
  for (uint32_t slot = copies_count; slot < superblock_slots_count; ++slot) {
    const bool is_harmless = now[slot].kind == Kind::zero || setup.is_lying;
    FUZZ_CHECK(is_harmless, "a format leaves something behind the copies");
  }
  const bool was_begun =
      std::any_of(before_.begin(), before_.end(), [](const SlotImage& image) { return image.kind == Kind::version; });
  if (was_begun && !is_forced) mark(SuperblockMark::formatted_again);
  if (was_begun && is_forced) mark(SuperblockMark::formatted_by_force);
  was_format_cut_ = false;
  note_whole(version, now);
}

void SuperblockMachine::check_refused_format(const Error& error, bool is_forced) {
  const bool is_refusal =
      (error.code == ErrorCode::system && error.number == EEXIST) || error.code == ErrorCode::lost_sectors;
  if (error.code == ErrorCode::corrupt) {
    FUZZ_CHECK(setup.is_lying, "a format is not read back, from a disk that keeps what it is given");
    return mark(SuperblockMark::format_not_read_back);
  }
  if (!is_refusal) return check_error(error);
  FUZZ_CHECK(!is_forced, "a forced format is refused");
  check_unchanged("a format that is refused changes something");
  mark(error.code == ErrorCode::lost_sectors ? SuperblockMark::format_refused_unreadable
                                             : SuperblockMark::format_refused);
  if (setup.is_lying) return;
  FUZZ_CHECK(!model.must_format(before_), "a format of nothing, or of half a format, is refused");
  if (model.durable.has_value() || model.damaged_slots != 0) return;
  const bool has_first = std::any_of(model.flights.begin(), model.flights.end(), [&](size_t flight) {
    const uint32_t quorum = superblock_oracle::read_quorum_of(model.at(flight).configuration.copies_count);
    return model.in_place_count(before_, flight) >= quorum;
  });
  FUZZ_CHECK(has_first, "after a crash a store neither opens nor can be formatted");
}

// ---- open

void SuperblockMachine::check_opened(const SuperblockCopies& superblock, AskedCluster asked,
                                     const Result<void>& result) {
  if (!result.has_value()) return check_refused_open(superblock, asked, result.error());
  const Superblock& working = superblock.working();
  const std::optional<size_t> found = model.find(working);
  FUZZ_CHECK(found.has_value(), "a version opens that nobody wrote");
  FUZZ_CHECK(model.may_open(before_, *found, asked), "a version opens that should not any more");
  const SlotImages now = images();
  const uint32_t copies_count = working.configuration.copies_count;
  // One that could not be put right, and has an index that there is not, is a copy all the same.
  FUZZ_CHECK(SuperblockModel::anywhere_count(now, *found) >= superblock_oracle::write_quorum_of(copies_count),
             "a version opens without a quorum to write");
  if (!setup.is_lying) {
    const std::optional<size_t> certain = model.certain(before_, asked);
    FUZZ_CHECK(!certain.has_value() || certain == found, "another version opens than the one that has all it needs");
    FUZZ_CHECK(model.is_whole(now, *found), "an open leaves a copy unrepaired");
    check_choice(superblock, asked);
    FUZZ_CHECK(superblock.choice().repairs_count == 0, "an open leaves something to repair");
  }
  mark_repairs(*found);
  mark_opened(*found);
  note_whole(*found, now);
}

void SuperblockMachine::check_refused_open(const SuperblockCopies& superblock, AskedCluster asked, const Error& error) {
  if (error.code != ErrorCode::corrupt) return check_error(error);
  const SuperblockError why = superblock.choice().error;
  FUZZ_CHECK(setup.is_lying || why != SuperblockError::none, "a repair is not read back, from a disk that keeps it");
  if (why == SuperblockError::none) mark(SuperblockMark::repair_not_read_back);
  mark_error(why);
  if (setup.is_lying) return;
  check_choice(superblock, asked);
  check_unchanged("an open that is refused changes something");
  FUZZ_CHECK(!model.must_open(before_, asked), "a store is lost by what it should survive");
  FUZZ_CHECK(!model.certain(before_, asked).has_value(), "a version that has all it needs does not open");
}

/// The last choice is that of the oracle, for the slots as they are.
void SuperblockMachine::check_choice(const SuperblockCopies& superblock, AskedCluster asked) {
  check_slots(superblock);
  const SuperblockChoice& choice = superblock.choice();
  const superblock_oracle::Choice expected = superblock_oracle::choose(superblock.slots(), asked);
  FUZZ_CHECK(choice.error == expected.error, "another error than the oracle's");
  FUZZ_CHECK(choice.votes_count == expected.votes_count, "another number of votes than the oracle's");
  FUZZ_CHECK(expected.is_tie || choice.verdicts == expected.verdicts, "another verdict than the oracle's");
}

void SuperblockMachine::check_slots(const SuperblockCopies& superblock) {
  const SlotImages now = images();
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    const SuperblockFault fault = superblock.slots()[slot].fault;
    const SuperblockFault expected = fault_of(now[slot]);
    const bool is_same = expected == SuperblockFault::version ? fault >= expected : fault == expected;
    FUZZ_CHECK(is_same, "a slot has another fault than what it holds");
  }
}

void SuperblockMachine::check_inspected(const SuperblockCopies& superblock, const Result<void>& result) {
  if (!result.has_value()) return check_error(result.error());
  check_unchanged("an inspection changes something");
  if (!setup.is_lying) check_choice(superblock, {});
}

// ---- update

void SuperblockMachine::check_updated(const SuperblockCopies& superblock, size_t version, const Result<void>& result) {
  const Superblock& working = superblock.working();
  if (is_poisoned) {
    FUZZ_CHECK(!result.has_value() && result.error().code == ErrorCode::poisoned,
               "an update goes on after one that failed");
    check_unchanged("a refused update writes something");
    model.take_back(version);
    return mark(SuperblockMark::poisoned);
  }
  is_poisoned = !result.has_value();
  if (is_poisoned) {
    FUZZ_CHECK(model.find(working) == model.durable, "an update that failed is the working version");
    if (result.error().code != ErrorCode::corrupt) return check_error(result.error());
    FUZZ_CHECK(setup.is_lying, "an update is not read back, from a disk that keeps what it is given");
    return mark(SuperblockMark::update_not_read_back);
  }
  FUZZ_CHECK(model.find(working) == version, "the working version is not the one that was written");
  const SlotImages now = images();
  FUZZ_CHECK(
      model.in_place_count(now, version) >= superblock_oracle::write_quorum_of(working.configuration.copies_count),
      "an update is acknowledged without a quorum to write");
  if (!setup.is_lying) FUZZ_CHECK(model.is_whole(now, version), "an update leaves a copy out");
  note_whole(version, now);
}

// ---- marks

void SuperblockMachine::mark_error(SuperblockError error) {
  switch (error) {
    case SuperblockError::none: return;
    case SuperblockError::not_found: return mark(SuperblockMark::error_not_found);
    case SuperblockError::unsupported: return mark(SuperblockMark::error_unsupported);
    case SuperblockError::foreign_cluster: return mark(SuperblockMark::error_foreign_cluster);
    case SuperblockError::quorum_lost: return mark(SuperblockMark::error_quorum_lost);
    case SuperblockError::fork: return mark(SuperblockMark::error_fork);
    case SuperblockError::parent_skipped: return mark(SuperblockMark::error_parent_skipped);
    case SuperblockError::parent_not_connected: return mark(SuperblockMark::error_parent_not_connected);
    // No version with a later state has ever been written before its child: the fuzzer superblock_quorums has it.
    case SuperblockError::not_monotonic: FUZZ_CHECK(false, "a parent is ahead of its child, though none ever was");
  }
}

void SuperblockMachine::mark_repairs(size_t version) {
  const Superblock& winner = model.at(version);
  const SlotImages now = images();
  if (now == before_) return mark(SuperblockMark::opened_clean);
  for (uint32_t slot = 0; slot < superblock_slots_count; ++slot) {
    const SlotImage& image = before_[slot];
    if (now[slot] == image) continue;
    if (slot >= winner.configuration.copies_count) mark(SuperblockMark::wiped_behind);
    if (image.kind == Kind::zero) mark(SuperblockMark::repaired_zero);
    if (image.kind == Kind::torn) mark(SuperblockMark::repaired_torn);
    if (image.kind == Kind::unreadable) mark(SuperblockMark::repaired_unreadable);
    if (image.kind == Kind::unsupported) mark(SuperblockMark::repaired_unsupported);
    if (image.kind != Kind::version) continue;
    if (image.version == version) mark(SuperblockMark::repaired_misplaced);
    if (image.version == version) continue;
    const Superblock& other = model.at(image.version);
    if (other.sequence + 1 == winner.sequence) mark(SuperblockMark::repaired_former);
    if (other.sequence == winner.sequence + 1) mark(SuperblockMark::repaired_interrupted);
    if (other.sequence == winner.sequence && other.cluster == winner.cluster) mark(SuperblockMark::repaired_fork);
  }
}

void SuperblockMachine::mark_opened(size_t version) {
  if (!model.is_candidate(version)) mark(SuperblockMark::older_after_damage);
  if (model.damaged_slots != 0 && model.damaged_slots != model.former_slots && setup.is_bounded && !setup.is_lying) {
    mark(SuperblockMark::opened_in_spite_of_minority);
  }
  if (was_format_cut_ && model.durable == version && model.at(version).sequence > 1) {
    mark(SuperblockMark::old_store_after_forced_format);
  }
  was_format_cut_ = false;
  if (model.flights.empty() || !model.durable.has_value()) return;
  mark(model.durable == version ? SuperblockMark::torn_update_old : SuperblockMark::torn_update_new);
}

void SuperblockMachine::mark_death(bool loses_power) {
  if (call_ == Call::none || images() == before_) return;
  if (call_ == Call::format) {
    mark(loses_power ? SuperblockMark::power_lost_in_format : SuperblockMark::killed_in_format);
    was_format_cut_ = true;
  } else if (call_ == Call::open) {
    mark(loses_power ? SuperblockMark::power_lost_in_repair : SuperblockMark::killed_in_repair);
  } else {
    mark(loses_power ? SuperblockMark::power_lost_in_update : SuperblockMark::killed_in_update);
  }
}

// ---- between two lives

bool SuperblockMachine::is_end_due() {
  if (!end_in_steps.has_value() || !host.is_running()) return false;
  if (!ends_in_write) return (*end_in_steps)-- == 0;
  if (host.files().sequence() < end_after_change) return false;
  bool is_writing = false;
  host.backend().for_each_write_in_flight([&](SimFile&, uint64_t, std::span<const std::byte>) { is_writing = true; });
  return is_writing;
}

void SuperblockMachine::die() {
  const bool loses_power = end.action == SuperblockAction::lose_power;
  mark_death(loses_power);
  note_failed_syncs();
  if (loses_power) {
    if (forgotten_slots_ != 0) mark(SuperblockMark::power_lost_after_failed_sync);
    model.damaged_slots |= forgotten_slots_;
    model.former_slots |= forgotten_slots_;
    host.lose_power(end.number);
  } else {
    host.kill_process();
  }
  call_ = Call::none;
  FUZZ_CHECK(world.step() == World::Step::idle, "something goes on after a death");
  const SlotImages now = images();
  note_history(now);
  hash.mix(500, loses_power, world.steps_count());
  for (const SlotImage& image : now) hash.mix(image.hash);
  host.restart();
}

void SuperblockMachine::put(uint32_t slot, const Superblock& superblock) {
  SimFile& file = *host.files().find(superblock_path);
  file.make_readable(offset_of(slot), superblock_size);
  file.damage(offset_of(slot), std::as_bytes(std::span(&superblock, 1)));
}

bool SuperblockMachine::damage_slot(uint32_t slot, SlotDamage damage, size_t age, Random& random) {
  SimFile& file = *host.files().find(superblock_path);
  Superblock superblock;
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(&superblock, 1));
  file.read(offset_of(slot), bytes);
  const uint64_t draw = random.next();
  const uint32_t other = static_cast<uint32_t>(draw % superblock_slots_count);
  switch (damage) {
    case SlotDamage::bit_flip: bytes[draw % superblock_size] ^= std::byte{1} << (draw >> 32) % 8; break;
    case SlotDamage::garbage:
      for (std::byte& byte : bytes.subspan(draw % 8 * 512, 512)) byte = static_cast<std::byte>(random.next());
      break;
    case SlotDamage::zero: std::memset(bytes.data(), 0, bytes.size()); break;
    case SlotDamage::latent: file.make_unreadable(offset_of(slot), superblock_size); return true;
    case SlotDamage::stale: {
      if (history_[slot].empty()) return false;
      const auto [version, copy] = history_[slot][history_[slot].size() - 1 - std::min(age, history_[slot].size() - 1)];
      superblock = model.at(version);
      superblock.copy = copy;
      break;
    }
    case SlotDamage::misdirected: file.read(offset_of(other), bytes); break;
    case SlotDamage::copy_index: superblock.copy = draw % 10 == 9 ? draw : draw % 10; break;
    case SlotDamage::unsupported:
      if (draw % 3 == 0) superblock.format_version = 2;
      if (draw % 3 == 1) superblock.configuration.copies_count = 5;
      if (draw % 3 == 2) superblock.reserved[draw / 3 % sizeof(superblock.reserved)] = 1;
      superblock.checksum = checksum_of(superblock);
      break;
  }
  put(slot, superblock);
  return true;
}

void SuperblockMachine::damage_slots(const SuperblockEvent& event) {
  note_history(images());
  Random random(mix64(uint64_t{event.a} << 32 | event.b));
  const uint64_t slots_count = random.between(1, random.chance(1, 2) ? 2 : superblock_slots_count);
  const size_t age = random.below(4);
  const bool is_former = event.damage >= SlotDamage::stale && event.damage <= SlotDamage::copy_index;
  for (uint64_t index = 0; index < slots_count; ++index) {
    const uint32_t slot = static_cast<uint32_t>(random.below(superblock_slots_count));
    const uint32_t bit = 1u << slot;
    const bool is_copy = model.durable.has_value() && slot < model.at(*model.durable).configuration.copies_count;
    const bool has_no_room = !model.durable.has_value() || (is_copy && model.damage_left() == 0);
    const bool is_within = (model.damaged_slots & bit) != 0 || !has_no_room;
    if (setup.is_bounded && !is_within) continue;
    if (!damage_slot(slot, event.damage, age, random)) continue;
    model.damaged_slots |= bit;
    if (is_former) model.former_slots |= bit;
  }
  for (const SlotImage& image : images()) hash.mix(image.hash);
}

void SuperblockMachine::erase() {
  const std::vector<std::byte> zeroes(superblock_zone_size);
  SimFile& file = host.files().put(superblock_path, zeroes);
  file.make_readable(0, superblock_zone_size);
  model = SuperblockModel();
  for (auto& history : history_) history.clear();
  forgotten_slots_ = 0;
  was_format_cut_ = false;
}

void SuperblockMachine::change_slots() {
  if (!change_due.has_value()) return;
  if (change_due->action == SuperblockAction::erase) {
    erase();
  } else {
    damage_slots(*change_due);
  }
  change_due.reset();
}

}  // namespace spindle::fuzz
