#include "tests/fuzz/file_machine.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

namespace spindle::fuzz {

namespace {

constexpr const char* name_texts[name_count] = {"a", "b", "c", "temporary", ".", "d0", "d1"};

}  // namespace

FileMachine::FileMachine(std::string in_folder, SimFiles* on_disk, const SimBackendOptions* disk_options,
                         std::span<const FileEvent> events, uint32_t workers, Coverage& coverage)
    : folder(std::move(in_folder)),
      disk(on_disk),
      options(disk_options),
      workers_count(workers),
      names(on_disk == nullptr),
      events_(events),
      coverage_(coverage) {
  directories[0] = &names.add_node(true);
  directories[1] = &names.add_node(true);
  names.put(key_of({0, file_name_count + 1}), *directories[1]);
}

const FileEvent* FileMachine::next_event() noexcept {
  check_alive();
  if (event_next_ == events_.size() || is_stopping) return nullptr;
  trace(name_of(events_[event_next_].action), events_[event_next_].number);
  return &events_[event_next_++];
}

void FileMachine::trace(const char* what, uint64_t first, uint64_t second) const noexcept {
  if (is_verbose) std::printf("    %s %" PRIu64 " %" PRIu64 "\n", what, first, second);
}

std::string FileMachine::path_of_directory(uint32_t directory) const {
  return directory == 0 ? folder : folder + "/" + name_texts[file_name_count + directory];
}

std::string FileMachine::path_of(NamePlace place) const {
  return path_of_directory(place.directory) + "/" + name_texts[place.name];
}

Node* FileMachine::directory_of(uint32_t directory) const noexcept {
  return directory == 0 ? directories[0] : names.find(NameKey{directories[0]->id, file_name_count + directory});
}

NameKey FileMachine::key_of(NamePlace place) const noexcept {
  const Node* const directory = directory_of(place.directory);
  return NameKey{directory == nullptr ? UINT32_MAX : directory->id, place.name};
}

Node* FileMachine::node_of(NamePlace place) const noexcept { return names.find(key_of(place)); }

Slot* FileMachine::open_slot(uint32_t from) noexcept {
  for (size_t step = 0; step < std::size(slots); ++step) {
    Slot& slot = slots[(from + step) % std::size(slots)];
    if (slot.file.has_value()) return &slot;
  }
  return nullptr;
}

Slot* FileMachine::free_slot(uint32_t from) noexcept {
  for (size_t step = 0; step < std::size(slots); ++step) {
    Slot& slot = slots[(from + step) % std::size(slots)];
    if (!slot.file.has_value() && !slot.is_opening) return &slot;
  }
  return nullptr;
}

File FileMachine::take_file(Slot& slot) {
  File file = std::move(*slot.file);
  const uint32_t generation = slot.generation + 1;
  slot = Slot();
  slot.generation = generation;
  return file;
}

bool FileMachine::is_damaged(const Node& node, uint64_t offset, uint64_t size) const {
  return disk != nullptr && disk->record().is_damaged(node.number, offset, size);
}

bool FileMachine::has_remembered(const Node& node) const {
  if (disk == nullptr) return false;
  const auto& remembered = disk->record().remembered();
  return std::any_of(remembered.begin(), remembered.end(),
                     [&](const auto& sector) { return sector.file_number == node.number; });
}

bool FileMachine::may_be_damaged() const noexcept {
  if (options == nullptr) return false;
  const FaultRates& rates = options->faults.everywhere;
  return rates.sum(Fault::latent_error, Fault::garbage) + rates.of(Fault::misdirected_read) > 0 ||
         rates.sum(Fault::stale_sector, Fault::misdirected_write) > 0;
}

bool FileMachine::is_unreadable(const Node& node, uint64_t offset, uint64_t size) const {
  if (disk == nullptr) return false;
  const auto& damages = disk->record().damages();
  for (uint64_t sector = offset / sector_size() * sector_size(); sector < offset + size; sector += sector_size()) {
    const auto found = damages.find({node.number, sector});
    if (found != damages.end() && found->second.fault == Fault::latent_error) return true;
  }
  return false;
}

uint64_t FileMachine::pages_in_flight() const noexcept {
  uint64_t pages_count = 0;
  for (const auto& node : names.nodes()) pages_count += node->file.pages_in_flight();
  return pages_count;
}

// What is in use is what the files take. For when no file is open.
void FileMachine::check_space() const {
  uint64_t size = 0;
  std::set<uint64_t> counted;
  disk->for_each([&](const std::string&, SimFile& file) {
    const bool is_new = counted.insert(file.number()).second;
    if (is_new) size += file.allocated_size();
  });
  FUZZ_CHECK(disk->space().pages_count * 4096 == size, "the disk's space in use is not that of its files");
}

void FileMachine::note_crash(CrashKind kind) {
  is_dead = true;
  ++lives_count;
  uint32_t writes_count = 0;
  for (const auto& node : names.nodes()) {
    writes_count += node->file.note_killed(next_sequence());
    if (kind == CrashKind::power) node->file.note_power_lost();
    node->is_lock_busy = false;
    node->lock_leaving_count = 0;
  }
  if (writes_count > 0) mark(FileMark::killed_with_write_in_flight);
  for (PendingNames* const pending : pending_names) names.apply_maybe(std::move(pending->pieces), next_sequence());
  pending_names.clear();
  if (kind == CrashKind::power) names.note_power_lost();
  for (Slot& slot : slots) {
    const uint32_t generation = slot.generation + 1;
    if (slot.file.has_value()) take_file(slot);
    slot = Slot();
    slot.generation = generation;
  }
  for (auto& of_directory : is_name_busy) std::fill(std::begin(of_directory), std::end(of_directory), false);
  std::fill(std::begin(directory_users), std::end(directory_users), 0u);
  std::fill(std::begin(is_directory_busy), std::end(is_directory_busy), false);
}

bool NameLease::take(NamePlace place) {
  if (machine_.is_name_busy[place.directory][place.name] || !use(place.directory)) return false;
  machine_.is_name_busy[place.directory][place.name] = true;
  places_.push_back(place);
  return true;
}

bool NameLease::use(uint32_t directory) {
  if (machine_.is_directory_busy[directory]) return false;
  ++machine_.directory_users[directory];
  used_.push_back(directory);
  return true;
}

bool NameLease::take_directory(uint32_t directory) {
  if (machine_.is_directory_busy[directory] || machine_.directory_users[directory] > 0) return false;
  if (!take(NamePlace{0, file_name_count + directory})) return false;
  machine_.is_directory_busy[directory] = true;
  directory_ = directory;
  return true;
}

NameLease::~NameLease() {
  if (machine_.is_dead) return;
  for (const NamePlace& place : places_) machine_.is_name_busy[place.directory][place.name] = false;
  for (const uint32_t directory : used_) --machine_.directory_users[directory];
  if (directory_.has_value()) machine_.is_directory_busy[*directory_] = false;
}

void ChangeInFlight::end_undone() {
  node_.file.forget(change);
  is_ended_ = true;
}

WatchInFlight::WatchInFlight(FileMachine& machine, Node& node, uint64_t offset, uint64_t size)
    : machine_(machine), node_(node) {
  watch.offset = offset;
  watch.size = size;
  node.file.begin(watch);
  for (size_t place = 0; place < watch.grains.size(); ++place) {
    was_damaged_.push_back(machine.is_damaged(node, (watch.grain_first() + place) * grain_size, grain_size));
  }
}

WatchInFlight::~WatchInFlight() {
  if (!machine_.is_dead) node_.file.end(watch);
}

void WatchInFlight::check(const Attempt& attempt, std::span<const std::byte> bytes, bool is_success) {
  std::vector<bool> skipped(was_damaged_);
  const bool damage_rose = attempt.damage_rose();
  for (size_t place = 0; place < skipped.size(); ++place) {
    const uint64_t offset = (watch.grain_first() + place) * grain_size;
    const bool is_disturbed = watch.grains[place].is_disturbed;
    if (machine_.is_damaged(node_, offset, grain_size) || (is_disturbed && damage_rose)) skipped[place] = true;
    const bool is_inside = offset >= watch.offset && offset + grain_size <= watch.offset + bytes.size();
    const bool is_grain_a_sector = machine_.sector_size() == grain_size;  // others can be repaired in part
    FUZZ_CHECK(!is_success || !is_inside || !is_grain_a_sector || is_disturbed || damage_rose || !was_damaged_[place] ||
                   !machine_.is_unreadable(node_, offset, grain_size),
               "a sector that can't be read was read");
  }
  const uint64_t misdirected_count = attempt.rise_of(Fault::misdirected_read);
  const ReadFindings findings =
      node_.file.compare(watch, bytes, skipped, machine_.sector_size(), misdirected_count == 0);
  if (findings.wrong_sectors > misdirected_count) {
    const uint64_t begin = std::max(findings.wrong_offset, watch.offset);
    const uint64_t end = std::min(findings.wrong_offset + grain_size, watch.offset + bytes.size());
    node_.file.print(begin / grain_size, bytes.subspan(begin - watch.offset, end - begin));
  }
  FUZZ_CHECK(findings.wrong_sectors <= misdirected_count, "a read gave what can't be there");
  if (findings.old_count > 0) machine_.mark(FileMark::old_version_after_power_loss);
  if (findings.new_count > 0) machine_.mark(FileMark::new_version_after_power_loss);
  if (findings.garbage_count > 0) machine_.mark(FileMark::garbage_after_power_loss);
  if (findings.torn_count > 0) machine_.mark(FileMark::torn_sector);
  if (findings.undecided_count > 0) machine_.mark(FileMark::undecided_sector_read);
  if (findings.disturbed_count > 0) machine_.mark(FileMark::read_during_write);
  machine_.hash.mix(findings.old_count, findings.new_count, findings.garbage_count, findings.undecided_count);
}

PendingNamesInFlight::PendingNamesInFlight(FileMachine& machine, std::vector<NameChange> pieces) : machine_(machine) {
  pending_.pieces = std::move(pieces);
  ++machine.names_version;
  machine.pending_names.push_back(&pending_);
}

PendingNamesInFlight::~PendingNamesInFlight() {
  FUZZ_CHECK(machine_.is_dead || is_ended_, "a change of names ended without a result");
}

void PendingNamesInFlight::end_with(std::vector<NameChange> pieces) {
  std::erase(machine_.pending_names, &pending_);
  if (!pieces.empty()) machine_.names.apply(std::move(pieces), machine_.next_sequence());
  ++machine_.names_version;
  is_ended_ = true;
}

IoMemory::IoMemory(uint64_t size)
    : bytes_(static_cast<std::byte*>(std::aligned_alloc(4096, (size + 4096 + 4095) / 4096 * 4096))) {
  FUZZ_CHECK(bytes_ != nullptr, "no memory");
  std::memset(bytes_, 0xee, size + 4096);
}

IoMemory::~IoMemory() { std::free(bytes_); }

void fill_written(std::span<std::byte> memory, uint64_t write, uint64_t offset) noexcept {
  for (size_t at = 0; at < memory.size(); at += 8) {
    const uint64_t word = mix64(write ^ ((offset + at) << 20));
    std::memcpy(memory.data() + at, &word, std::min<size_t>(8, memory.size() - at));
  }
}

}  // namespace spindle::fuzz
