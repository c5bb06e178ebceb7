// Opening, with all options, and what it must answer.
#include <cerrno>

#include "runtime/combinators.h"
#include "tests/fuzz/file_machine.h"

namespace spindle::fuzz {

namespace {

OpenOptions options_of(const FileEvent& event) noexcept {
  OpenOptions options;
  const uint32_t direct = event.b % 8;
  options.direct = direct < 4 ? Direct::require : direct < 6 ? Direct::prefer : Direct::never;
  options.access = event.b / 8 % 8 == 0 ? Access::read_only : Access::read_write;
  options.create = event.b / 64 % 4 != 0;
  options.exclusive = options.create && event.b / 256 % 16 == 0;
  options.truncate = event.b / 4096 % 12 == 0;
  options.ragged = event.b / 65536 % 2 == 0;
  return options;
}

/// What stands against an open.
struct Objections {
  bool is_missing = false;
  bool exists = false;
  bool is_contradiction = false;
  bool lacks_direct = false;

  bool any() const noexcept { return is_missing || exists || is_contradiction || lacks_direct; }
  bool explain(const Error& error) const noexcept {
    if (error.code == ErrorCode::no_direct_io) return lacks_direct;
    if (error.code == ErrorCode::invalid_argument) return is_contradiction;
    if (error.code != ErrorCode::system) return false;
    return (error.number == ENOENT && is_missing) || (error.number == EEXIST && exists);
  }
};

Objections objections_to(const FileMachine& machine, NamePlace place, const OpenOptions& options) noexcept {
  Objections objections;
  const Node* const node = machine.node_of(place);
  const bool is_there = machine.directory_of(place.directory) != nullptr;
  objections.is_missing = !is_there || (node == nullptr && !options.create);
  objections.exists = node != nullptr && options.exclusive;
  objections.is_contradiction = options.truncate && options.access == Access::read_only;
  objections.lacks_direct =
      options.direct == Direct::require && machine.options != nullptr && !machine.options->offers_direct;
  return objections;
}

std::vector<NameChange> creation_of(FileMachine& machine, NamePlace place) {
  NameChange change;
  Node& node = machine.names.add_node(false);
  change.edits.push_back(NameEdit{machine.key_of(place), nullptr, &node});
  return std::vector<NameChange>(1, change);
}

// A file that was made and removed again may be there after a loss of power.
std::vector<NameChange> with_removal(const std::vector<NameChange>& creation) {
  std::vector<NameChange> pieces = creation;
  if (creation.empty()) return pieces;
  NameChange removal;
  removal.edits.push_back(NameEdit{creation[0].edits[0].key, creation[0].edits[0].after, nullptr});
  pieces.push_back(removal);
  return pieces;
}

/// The names after an open that failed: a file that was made for nothing is gone, unless the open was cut short.
Task<Node*> settle_failed_open(FileMachine& machine, NamePlace place, std::vector<NameChange> creation,
                               PendingNamesInFlight& pending, bool is_cut_short) {
  Node* const before = machine.node_of(place);
  const uint64_t number = co_await number_at(machine, place);
  if (before != nullptr || creation.empty()) {
    FUZZ_CHECK(number == (before == nullptr ? 0 : before->number), "a failed open changed what a name stands for");
    pending.end(false);
    co_return before;
  }
  FUZZ_CHECK(number == 0 || is_cut_short, "a failed open left a file behind");
  if (is_cut_short) machine.mark(FileMark::name_settled_after_cancel);
  Node* const made = creation[0].edits[0].after;
  if (number != 0) made->number = number;
  pending.end_with(number != 0 ? creation : with_removal(creation));
  co_return number != 0 ? made : nullptr;
}

void fill_slot(FileMachine& machine, Slot& slot, File file, Node& node, const OpenOptions& options) {
  const uint32_t generation = slot.generation + 1;
  slot = Slot();
  slot.generation = generation;
  slot.file.emplace(std::move(file));
  slot.node = &node;
  slot.is_writable = options.access == Access::read_write;
  slot.is_ragged = options.ragged;
  const File& opened = *slot.file;
  const bool offers_direct = machine.options == nullptr || machine.options->offers_direct;
  const bool must_be_direct = options.direct == Direct::require || (options.direct == Direct::prefer && offers_direct);
  FUZZ_CHECK(opened.is_direct() == must_be_direct, "direct I/O, or none, against what was asked for");
  FUZZ_CHECK(opened.is_direct() || opened.offset_alignment() == 1, "a cached file has an alignment");
  if (machine.options == nullptr || !opened.is_direct()) return;
  // Where statx does not tell, the coarser one may have been found by trying.
  const bool is_told = machine.options->tells_alignment;
  FUZZ_CHECK(opened.offset_alignment() >= machine.options->offset_alignment, "an alignment that is too fine");
  slot.is_alignment_coarse = opened.offset_alignment() > machine.options->offset_alignment;
  FUZZ_CHECK(!is_told || opened.offset_alignment() == machine.options->offset_alignment, "another alignment");
}

/// One open that may be refused: what its parts have in common.
struct Opening {
  NamePlace place;
  OpenOptions options;
  Objections objections;
  Node* before = nullptr;
};

Change emptying() noexcept {
  Change change;
  change.kind = Change::Kind::truncate;
  change.lock_end = UINT64_MAX;
  return change;
}

Task<Result<void>> open_at(FileMachine& machine, Slot& slot, Opening opening, FileEvent event) {
  Attempt attempt(machine, nullptr, event, Attempt::Kind::read);
  if (opening.before != nullptr) attempt.note_damage(*opening.before);
  const std::vector<NameChange> creation =
      opening.before == nullptr && opening.options.create && !opening.objections.is_missing
          ? creation_of(machine, opening.place)
          : std::vector<NameChange>();
  machine.trace("  opens", opening.place.directory, opening.place.name);
  PendingNamesInFlight pending(machine, with_removal(creation));
  std::optional<ChangeInFlight> truncation;
  if (opening.before != nullptr && opening.options.truncate) truncation.emplace(machine, *opening.before, emptying());
  const std::string path = machine.path_of(opening.place);
  Result<File> file = co_await File::open(path, opening.options);
  const bool is_explained = !file.has_value() && opening.objections.explain(file.error());
  const bool is_quiet = file.has_value() || is_explained;
  attempt.end(is_quiet ? Result<void>() : Result<void>(Unexpected(file.error())));
  FUZZ_CHECK(!file.has_value() || !opening.objections.any(), "an open succeeded that should not");
  if (file.has_value()) {
    // Before anybody else can use it: the model tells files apart by their numbers.
    const Result<FileStatus> status = co_await shield(file->stat());
    machine.check_alive();
    FUZZ_CHECK(status.has_value(), "an open file has no status");
    if (truncation.has_value()) truncation->end(ChangeOutcome());
    pending.end_with(creation);
    Node* const node = creation.empty() ? opening.before : creation[0].edits[0].after;
    FUZZ_CHECK(creation.empty() == (node->number == status->number),
               "another file was opened than the one of that name");
    node->number = status->number;
    fill_slot(machine, slot, std::move(*file), *node, opening.options);
    co_return Result<void>();
  }
  if (file.error().code == ErrorCode::no_direct_io) machine.mark(FileMark::no_direct_io);
  if (truncation.has_value()) {
    ChangeOutcome undecided;
    undecided.is_whole = false;
    if (is_explained) truncation->end_undone();  // what is refused is not emptied
    if (!is_explained) truncation->end(undecided);
  }
  auto settling = settle_failed_open(machine, opening.place, creation, pending, !is_explained);
  Node* const left = co_await shield(std::move(settling));
  static_cast<void>(left);
  slot.is_opening = false;
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> open_file(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.free_slot(event.c);
  if (slot == nullptr) co_return Result<void>();
  Opening opening;
  opening.place = NamePlace{1 + event.a / 4 % 2, event.a % file_name_count};
  opening.options = options_of(event);
  NameLease lease(machine);
  if (!lease.take(opening.place)) co_return Result<void>();
  opening.before = machine.node_of(opening.place);
  opening.objections = objections_to(machine, opening.place, opening.options);
  const bool truncates = opening.before != nullptr && opening.options.truncate;
  if (truncates && !opening.before->file.is_free(0, UINT64_MAX)) co_return Result<void>();
  slot->is_opening = true;
  co_await ok(open_at(machine, *slot, opening, event));
  if (!slot->file.has_value()) co_return Result<void>();
  FileEvent asking;
  asking.action = FileAction::stat;
  asking.a = static_cast<uint32_t>(slot - machine.slots);
  auto status = stat_file(machine, asking);
  const Result<void> asked = co_await shield(std::move(status));
  static_cast<void>(asked);
  co_return Result<void>();
}

}  // namespace spindle::fuzz
