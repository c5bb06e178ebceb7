// The coverage-guided target for superblocks: eight slots of any bytes (libFuzzer, llvm.org/docs/LibFuzzer.html). What
// is wrong with each must be what docs/FORMAT.md says, which is written down here a second time; and whatever they say
// together, the choice keeps its contract: as the oracle of the tests has it, with repairs that lose nothing.
//
// An input is a list of up to eight slots, each of two bytes that say what the slot is to be, and the fields of a copy
// as they are on disk, up to what is reserved. Noise dies at the first checksum: so 29 of 32 slots are sealed again
// after whatever was done to them, and most name a parent that one of the other slots has.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "lsm/superblock_quorums.h"
#include "tests/lsm/superblock_oracle.h"

using namespace spindle;

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t size_max);

namespace {

constexpr size_t fields_size = 336;
constexpr size_t prefix_size = 2;
constexpr size_t part_size = prefix_size + fields_size;
constexpr size_t size_all = part_size * superblock_slots_count;

void require(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "superblock: %s\n", what);
  std::abort();
}

template <class T>
T at(const uint8_t* bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes + offset, sizeof(value));
  return value;
}

bool is_zero(const uint8_t* bytes, size_t begin, size_t end) {
  return std::all_of(bytes + begin, bytes + end, [](uint8_t byte) { return byte == 0; });
}

Checksum checksum_in(const uint8_t* bytes) {
  return checksum_of(std::as_bytes(std::span(bytes, superblock_size).subspan(24)));
}

/// The rules of docs/FORMAT.md for a store configuration, at offset 80.
bool is_configuration(const uint8_t* bytes) {
  if (at<uint32_t>(bytes, 80) != 4096) return false;
  bool is_block_size = false;
  for (uint64_t size = 4096; size <= (64u << 20); size *= 2) is_block_size |= at<uint32_t>(bytes, 84) == size;
  const uint32_t copies_count = at<uint32_t>(bytes, 88);
  if (!is_block_size || (copies_count != 4 && copies_count != 6 && copies_count != 8)) return false;
  const uint64_t journal_size = at<uint64_t>(bytes, 96);
  const uint64_t blocks_max = at<uint64_t>(bytes, 104);
  constexpr uint64_t size_max = uint64_t{1} << 61;
  const bool is_journal_size = journal_size % 4096 == 0 && journal_size <= size_max;
  return is_journal_size && blocks_max >= 1 && blocks_max <= size_max / at<uint32_t>(bytes, 84);
}

SuperblockFault expected_of(const uint8_t* bytes) {
  if (is_zero(bytes, 0, superblock_size)) return SuperblockFault::zero;
  const Checksum checksum = checksum_in(bytes);
  if (std::memcmp(bytes, &checksum, sizeof(checksum)) != 0) return SuperblockFault::checksum;
  if (at<uint16_t>(bytes, 24) != 1) return SuperblockFault::version;
  const uint64_t sequence = at<uint64_t>(bytes, 32);
  const bool has_sequence = sequence > 0 && sequence < UINT64_MAX;
  if (!is_configuration(bytes) || !has_sequence) return SuperblockFault::configuration;
  constexpr size_t reserved[][2] = {{26, 32}, {40, 48}, {92, 96}, {200, 208}, {248, 256}, {312, 320}, {336, 4096}};
  for (const auto& [begin, end] : reserved) {
    if (!is_zero(bytes, begin, end)) return SuperblockFault::reserved;
  }
  return SuperblockFault::none;
}

// ---- what the slots of an input are

struct alignas(superblock_size) Slot {
  uint8_t bytes[superblock_size];
};
using SlotsMemory = std::array<Slot, superblock_slots_count>;

/// A copy that is right, for the mutator to begin with.
void make_valid(uint8_t* part, uint32_t slot, unsigned seed) {
  Superblock superblock;
  superblock.copy = slot;
  superblock.sequence = 5 + seed % 2;
  superblock.cluster = {7, 7};
  superblock.configuration.copies_count = 4 + 2 * (seed / 2 % 3);
  superblock.configuration.blocks_max = 1000;
  superblock.state.op = superblock.sequence;
  part[0] = 0;
  part[1] = 0;
  std::memcpy(part + prefix_size, &superblock, fields_size);
}

/// The first byte: 0 to 28 of 32 sealed, 29 as it is, 30 zeroes, 31 unreadable. From 64 on it is a byte of what is
/// reserved at the end that is not zero. The second: 1 to 8, the slot whose checksum is its parent; from 128 on a slot
/// whose fields it has, but for the copy index.
void fill(SlotsMemory& slots, const uint8_t* data, size_t parts_count) {
  for (uint32_t slot = 0; slot < slots.size(); ++slot) {
    uint8_t* const bytes = slots[slot].bytes;
    std::memset(bytes, 0, superblock_size);
    if (slot >= parts_count || data[slot * part_size] % 32 >= 30) continue;
    const uint8_t* const part = data + slot * part_size;
    std::memcpy(bytes, part + prefix_size, fields_size);
    const uint32_t other = part[1] % superblock_slots_count;
    if (part[1] >= 128 && other < slot) {
      std::memcpy(bytes, slots[other].bytes, superblock_size);
      std::memcpy(bytes + 16, part + prefix_size + 16, 8);
    } else if (part[1] >= 1 && part[1] <= 8 && other < slot) {
      std::memcpy(bytes + 64, slots[other].bytes, 16);
    }
    if (part[0] >= 64) bytes[fields_size + part[0] * 13] = part[0];
    if (part[0] % 32 == 29) continue;
    const Checksum checksum = checksum_in(bytes);
    std::memcpy(bytes, &checksum, sizeof(checksum));
  }
}

// ---- what must hold

void check_choice(const SuperblockSlots& slots, std::optional<ClusterId> cluster, const SuperblockChoice& choice) {
  const superblock_oracle::Choice expected = superblock_oracle::choose(slots, cluster);
  require(choice.error == expected.error, "another error than the oracle's");
  require((choice.winner != nullptr) == expected.has_winner, "a winner, or none");
  require(name_of(choice.error)[0] != '?', "an error without a name");
  require(choice.error == SuperblockError::none || choice.repairs_count == 0, "repairs in spite of an error");
  if (choice.winner == nullptr) return;
  require(!cluster || choice.winner->cluster == *cluster, "a winner of another cluster");
  require(choice.votes_count == expected.votes_count, "other votes than the oracle's");
  require(choice.votes_count == count_votes(slots, *choice.winner), "a winner without the votes that it claims");
  require(choice.votes_count >= read_quorum_of(choice.winner->configuration.copies_count), "a winner without a quorum");
  if (expected.is_tie) return;
  require(choice.winner->checksum == expected.winner, "another winner than the oracle's");
  require(choice.verdicts == expected.verdicts, "another verdict than the oracle's");
}

/// Each slot is repaired once, torn first, and the winner stays; then there is nothing to repair.
void check_repairs(SuperblockSlots slots, std::optional<ClusterId> cluster, const SuperblockChoice& choice) {
  const Superblock winner = *choice.winner;
  const auto copies = std::make_unique<std::array<Superblock, superblock_slots_count>>();
  uint32_t repaired = 0;
  for (const SuperblockRepair& repair : choice.all_repairs()) {
    require(repair.slot < superblock_slots_count && (repaired >> repair.slot & 1) == 0, "a slot is repaired twice");
    require(repair.wipes == (repair.slot >= winner.configuration.copies_count), "a repair of a wrong kind");
    repaired |= 1u << repair.slot;
    Superblock& copy = (*copies)[repair.slot] = winner;
    copy.copy = repair.slot;
    for (const bool is_torn : {true, false}) {
      slots[repair.slot] = {is_torn ? SuperblockFault::checksum : SuperblockFault::zero, nullptr};
      if (!is_torn && !repair.wipes) slots[repair.slot] = {SuperblockFault::none, &copy};
      const SuperblockChoice now = choose_superblock(slots, cluster);
      const bool is_same = now.error == SuperblockError::none && now.winner->checksum == winner.checksum;
      require(is_same, "a repair loses the winner");
    }
  }
  const SuperblockChoice repaired_choice = choose_superblock(slots, cluster);
  require(repaired_choice.repairs_count == 0, "something to repair after a repair");
  require(repaired_choice.votes_count == winner.configuration.copies_count, "copies are missing after a repair");
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t size_max, unsigned seed) {
  if (size_max < part_size) return LLVMFuzzerMutate(bytes, size, size_max);
  if (size < part_size || seed % 64 == 0) {
    size = std::min(size_all, size_max) / part_size * part_size;
    for (uint32_t slot = 0; slot < size / part_size; ++slot) make_valid(bytes + slot * part_size, slot, seed / 64);
  }
  // One slot becomes another one's twin, with its own index; or a part of it is changed; or anything anywhere is.
  const uint32_t slots_count = static_cast<uint32_t>(size / part_size);
  const uint32_t slot = seed / 16 % slots_count;
  uint8_t* const part = bytes + slot * part_size;
  if (seed % 4 == 1) {
    part[1] = static_cast<uint8_t>(128 + seed / 256 % superblock_slots_count);
    part[prefix_size + 16] = static_cast<uint8_t>(slot);
    return size;
  }
  if (seed % 4 == 2) {
    // Sequence, and the parent of a slot before.
    const uint64_t sequence = at<uint64_t>(part + prefix_size, 32) + seed / 256 % 5 - 2;
    std::memcpy(part + prefix_size + 32, &sequence, sizeof(sequence));
    part[1] = static_cast<uint8_t>(seed / 2048 % 9);
    return size;
  }
  if (seed % 4 == 3) {
    LLVMFuzzerMutate(part, part_size, part_size);
    return size;
  }
  size = LLVMFuzzerMutate(bytes, size, size_max);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const size_t parts_count = std::min<size_t>(size / part_size, superblock_slots_count);
  // Memory of exactly that size, so that the address sanitizer sees a byte too much.
  const auto memory = std::make_unique<SlotsMemory>();
  fill(*memory, data, parts_count);
  SuperblockSlots slots;
  for (uint32_t slot = 0; slot < slots.size(); ++slot) {
    const uint8_t* const bytes = (*memory)[slot].bytes;
    const bool is_unreadable = slot < parts_count && data[slot * part_size] % 32 == 31;
    const Superblock& superblock = *reinterpret_cast<const Superblock*>(bytes);
    const SuperblockFault fault = verify(superblock);
    require(fault == expected_of(bytes), "verify() says something else than the format");
    require(name_of(fault)[0] != '?', "a fault without a name");
    slots[slot].fault = is_unreadable ? SuperblockFault::unreadable : fault;
    if (slots[slot].fault == SuperblockFault::none) slots[slot].superblock = &superblock;
  }
  require(is_half_formatted(slots) == superblock_oracle::is_half_formatted(slots), "half formatted, or not");
  constexpr ClusterId asked{7, 7};
  for (const std::optional<ClusterId> cluster : {std::optional<ClusterId>(), std::optional(asked)}) {
    const SuperblockChoice choice = choose_superblock(slots, cluster);
    check_choice(slots, cluster, choice);
    if (choice.error == SuperblockError::none) check_repairs(slots, cluster, choice);
  }
  return 0;
}
