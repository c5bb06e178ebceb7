// What is known of the run that the fuzzer `grid` makes, what its disk holds, and what a death leaves.
#include "tests/fuzz/grid_machine.h"

#include <algorithm>
#include <cstring>

namespace spindle::fuzz {

const char* name_of(GridAction action) noexcept {
  constexpr const char* names[] = {"write",       "acquire many",   "read",         "read quietly",   "read wrong",
                                   "read stale",  "release",        "release many", "scrub",          "scrub trailers",
                                   "checkpoint",  "checkpoint die", "damage block", "damage trailer", "damage all",
                                   "damage free", "limit disk",     "free disk",    "quiesce",        "cancel",
                                   "reopen",      "reopen die",     "reopen lost",  "kill",           "lose power"};
  static_assert(sizeof(names) / sizeof(names[0]) == grid_action_count);
  return names[static_cast<size_t>(action)];
}

std::string to_string(const GridEvent& event) {
  std::string text = name_of(event.action);
  for (const uint32_t number : {event.a, event.b, event.c}) text += ' ' + std::to_string(number);
  return text;
}

GridMachine::GridMachine(World& the_world, Host& the_host, const GridSetup& the_setup, Coverage& coverage)
    : world(the_world),
      host(the_host),
      setup(the_setup),
      model(the_setup.grid.blocks_count),
      coverage_(coverage),
      expected_(static_cast<std::byte*>(std::aligned_alloc(4096, the_setup.grid.block_size))),
      found_(static_cast<std::byte*>(std::aligned_alloc(4096, the_setup.grid.block_size))) {
  durable = model.image(0);
}

std::span<const std::byte> GridMachine::sectors_of(const StoredBlock& block) {
  const std::span<std::byte> memory(expected_.get(), setup.grid.block_size);
  StoredBlock made = block;
  make_block(made, memory);
  FUZZ_CHECK(made.reference == block.reference, "the same block has another reference");
  return memory.first(sectors_size_of(block_header_of(std::span<const std::byte>(memory))));
}

bool GridMachine::is_good(const StoredBlock& block, uint32_t copy) {
  const std::span<const std::byte> expected = sectors_of(block);
  const uint64_t offset = offset_of(block.address(copy));
  FUZZ_CHECK(offset + expected.size() <= file().size(), "the file ends before a block that was written");
  const std::span<std::byte> found(found_.get(), expected.size());
  file().read(offset, found);
  const bool is_same = std::memcmp(found.data(), expected.data(), expected.size()) == 0;
  const bool is_good = is_same && file().is_readable(offset, expected.size());
  const bool was_damaged = setup.has_transient_errors || damaged.count(block.address(copy)) == 1;
  FUZZ_CHECK(is_good || was_damaged, "a block that the store refers to was written over");
  return is_good;
}

bool GridMachine::has_good_copy(const StoredBlock& block) {
  return is_good(block, 0) || (block.copies_count() > 1 && is_good(block, 1));
}

bool GridMachine::is_trailer_good(const BlockReference& reference, uint32_t copy) {
  const uint64_t offset = offset_of(copy == 0 ? reference.address : reference.address_second);
  const std::span<std::byte> found(found_.get(), setup.grid.block_size);
  if (offset + found.size() > file().size()) return false;
  file().read(offset, found);
  const std::span<const std::byte> block(found);
  const bool is_whole = verify_block(block, {grid_fuzz_cluster, reference, BlockType::free_set}) == BlockFault::none;
  // Sectors behind those in use are not looked at.
  return is_whole && file().is_readable(offset, sectors_size_of(block_header_of(block)));
}

void GridMachine::check_blocks() {
  for (const auto& [address, block] : model.live()) {
    for (uint32_t copy = 0; copy < block.copies_count(); ++copy) is_good(block, copy);
  }
}

void GridMachine::keep_former(const StoredBlock& block) {
  const std::span<const std::byte> sectors = sectors_of(block);
  if (former.size() >= 64) former.erase(former.begin());
  former.push_back({block, {sectors.begin(), sectors.end()}});
}

bool GridMachine::has_disk_space(uint64_t address_end) {
  const uint64_t end = std::min(address_end, model.blocks_count() + 1);
  const uint64_t size = (end - 1) * setup.grid.block_size;
  if (superblock_zone_size + size > setup.backend.file_size_max) return false;
  return size == 0 || file().writable_size(superblock_zone_size, size) >= size;
}

void GridMachine::limit_disk(uint64_t pages_max) {
  disk_pages_max = pages_max;
  ++disk_changes_count;
  host.files().space().pages_max = pages_max;
}

void GridMachine::restart() {
  host.restart();
  host.files().space().pages_max = disk_pages_max;
}

void GridMachine::damage(uint64_t address, uint32_t size, uint32_t kind, uint64_t draw) {
  const uint64_t offset = offset_of(address);
  if (offset + size > file().size()) return;
  const std::span<std::byte> content(found_.get(), size);
  file().read(offset, content);
  Random random(draw);
  const uint64_t sector = random.below(size / 4096) * 4096;
  switch (kind % 6) {
    case 0: {
      const uint64_t at = random.below(size);
      content[at] ^= static_cast<std::byte>(1 << random.below(8));
      break;
    }
    case 1:
      for (std::byte& byte : content.subspan(sector, 4096)) byte = static_cast<std::byte>(random.next());
      break;
    case 2: file().make_unreadable(offset + sector, 4096); break;
    case 3: std::memset(content.data() + sector, 0, 4096); break;
    default: {
      // An older block, or another one: what a lost or a misdirected write leaves.
      if (former.empty()) return;
      size_t index = random.below(former.size());
      for (size_t at = 0; kind % 6 == 4 && at < former.size(); ++at) {
        if (former[at].block.reference.address == address) index = at;
      }
      const std::vector<std::byte>& old = former[index].sectors;
      std::memcpy(content.data(), old.data(), std::min<size_t>(old.size(), size));
    }
  }
  file().damage(offset, content);
  damaged.insert(address);
  ++damages_count;
}

void GridMachine::note_trailers(const Grid& grid) {
  trailers.clear();
  trailer_addresses.clear();
  for (const Trailer* trailer : {&grid.trailer_acquired(), &grid.trailer_released()}) {
    if (trailer->blocks_count() > 1) mark(GridMark::several_trailer_blocks);
    for (uint32_t index = 0; index < trailer->blocks_count(); ++index) {
      const BlockReference& reference = trailer->reference(index);
      trailers.push_back(reference);
      trailer_addresses.push_back(reference.address);
      const bool has_two = reference.address_second != 0;
      FUZZ_CHECK(has_two == (setup.grid.metadata_copies_count == 2), "a trailer with another number of copies");
      if (has_two) trailer_addresses.push_back(reference.address_second);
    }
  }
}

uint64_t GridMachine::checkpoint_blocks_max() const noexcept {
  const uint64_t words = (model.blocks_count() + 63) / 64;
  const uint64_t body_size = setup.grid.block_size - message_header_size;
  // A marker for each literal word is more than any encoding takes.
  const uint64_t trailer_blocks = (words * 16 + 16) / body_size + 1;
  return (trailer_blocks * 4 + setup.grid.log_blocks_max * 2) * 2;
}

void GridMachine::note_opened(GridLife& now) {
  const CheckpointState& state = now.superblock.working().state;
  const bool is_new = pending.has_value() && state.op == pending->op;
  FUZZ_CHECK(is_new || state.op == durable.op, "a checkpoint opens that is neither the last one nor the one before");
  if (pending.has_value()) mark(is_new ? GridMark::died_in_checkpoint_after : GridMark::died_in_checkpoint_before);
  if (!pending.has_value()) mark(GridMark::reopened_as_left);
  if (is_new) durable = *pending;
  pending.reset();
  note_trailers(now.grid);
  model.take_over(durable, trailer_addresses);
  now.grid.note_log_blocks_held(model.log().size());
  model.check(now.grid.free_set(), true);
  check_blocks();
  FUZZ_CHECK(now.grid.free_set().is_checkpoint_durable(), "a store is open, and its checkpoint not durable");
}

const StoredBlock* GridMachine::pick(uint64_t draw) const {
  const auto& live = model.live();
  if (live.empty()) return nullptr;
  const auto found = live.lower_bound(draw % model.blocks_count() + 1);
  return found == live.end() ? &live.begin()->second : &found->second;
}

void GridMachine::die() {
  bool writes_superblock = false;
  bool writes_blocks = false;
  host.backend().for_each_write_in_flight([&](SimFile&, uint64_t offset, std::span<const std::byte>) {
    (offset < superblock_zone_size ? writes_superblock : writes_blocks) = true;
  });
  const bool is_checkpointing = life != nullptr && life->is_checkpointing;
  if (life == nullptr) mark(GridMark::died_in_open);
  if (is_checkpointing && writes_superblock) mark(GridMark::died_in_superblock);
  if (is_checkpointing && writes_blocks) mark(GridMark::died_in_trailers);
  if (!is_checkpointing && writes_blocks) mark(GridMark::died_in_write);
  if (death_loses_power) {
    host.lose_power(death_number);
  } else {
    host.kill_process();
  }
  life = nullptr;
  death_in_steps.reset();
  FUZZ_CHECK(world.step() == World::Step::idle, "something goes on after a death");
  FUZZ_CHECK(file().open_count == 0, "a death leaves a file open");
  hash.mix(500, death_loses_power, world.steps_count());
  restart();
}

}  // namespace spindle::fuzz
