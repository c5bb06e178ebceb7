// Files by name in the fuzzer `file`: rename, unlink, publish, directories, and looking.
#include <algorithm>
#include <cerrno>

#include "runtime/combinators.h"
#include "tests/fuzz/file_machine.h"

namespace spindle::fuzz {

namespace {

NamePlace place_of(uint32_t draw) noexcept { return NamePlace{1 + draw / 4 % 2, draw % file_name_count}; }

/// What a change of names must answer, by what is there: 0, or an errno.
int32_t answer_of(const Result<void>& result) noexcept {
  if (result.has_value()) return 0;
  return result.error().code == ErrorCode::system ? result.error().number : -1;
}

/// Ends an operation by name: as it must, or cut short.
Task<Result<void>> settle(FileMachine& machine, Attempt& attempt, std::vector<NameChange> pieces,
                          PendingNamesInFlight& pending, Result<void> result, int32_t expected) {
  const bool is_expected = answer_of(result) == expected;
  attempt.end(is_expected ? Result<void>() : result);
  FUZZ_CHECK(is_expected || !result.has_value(), "a change of names succeeded that should not");
  bool happened = is_expected && expected == 0;
  if (!is_expected) {
    auto looking = look_for(machine, pieces);
    happened = co_await shield(std::move(looking));
    machine.mark(FileMark::name_settled_after_cancel);
  }
  pending.end(happened);
  co_return Result<void>();
}

Task<Result<void>> rename(FileMachine& machine, FileEvent event) {
  const NamePlace from = place_of(event.a);
  const NamePlace to = place_of(event.b);
  NameLease lease(machine);
  const bool has_both = lease.take(from) && (from == to || lease.take(to));
  if (!has_both) co_return Result<void>();
  const bool is_possible = machine.node_of(from) != nullptr && machine.directory_of(to.directory) != nullptr;
  Attempt attempt(machine, nullptr, event, Attempt::Kind::other);
  const std::vector<NameChange> pieces = is_possible ? rename_pieces(machine, from, to) : std::vector<NameChange>();
  PendingNamesInFlight pending(machine, pieces);
  const std::string from_path = machine.path_of(from);
  const std::string to_path = machine.path_of(to);
  const Result<void> result = co_await rename_path(from_path, to_path);
  auto settling = settle(machine, attempt, pieces, pending, result, is_possible ? 0 : ENOENT);
  co_return co_await std::move(settling);
}

Task<Result<void>> unlink(FileMachine& machine, FileEvent event) {
  const NamePlace place = place_of(event.a);
  NameLease lease(machine);
  if (!lease.take(place)) co_return Result<void>();
  Node* const node = machine.node_of(place);
  Attempt attempt(machine, nullptr, event, Attempt::Kind::other);
  std::vector<NameChange> pieces;
  if (node != nullptr) pieces.resize(1);
  if (node != nullptr) pieces[0].edits.push_back(NameEdit{machine.key_of(place), node, nullptr});
  PendingNamesInFlight pending(machine, pieces);
  const std::string path = machine.path_of(place);
  const Result<void> result = co_await unlink_path(path);
  auto settling = settle(machine, attempt, pieces, pending, result, node != nullptr ? 0 : ENOENT);
  co_return co_await std::move(settling);
}

Task<Result<void>> change_directory(FileMachine& machine, FileEvent event) {
  const bool makes = event.action == FileAction::make_directory;
  const NamePlace place{0, file_name_count + 2};
  NameLease lease(machine);
  if (!lease.take_directory(2)) co_return Result<void>();
  Node* const node = machine.node_of(place);
  const int32_t expected = makes                                 ? (node != nullptr ? EEXIST : 0)
                           : node == nullptr                     ? ENOENT
                           : machine.names.has_entries(node->id) ? ENOTEMPTY
                                                                 : 0;
  Attempt attempt(machine, nullptr, event, Attempt::Kind::other);
  std::vector<NameChange> pieces;
  if (expected == 0) {
    Node* const made = makes ? &machine.names.add_node(true) : nullptr;
    pieces.resize(1);
    pieces[0].edits.push_back(NameEdit{machine.key_of(place), node, made});
  }
  PendingNamesInFlight pending(machine, pieces);
  const std::string path = machine.path_of(place);
  Result<void> result;
  if (makes) {
    result = co_await make_directory(path);
  } else {
    result = co_await remove_directory(path);
  }
  auto settling = settle(machine, attempt, pieces, pending, result, expected);
  const Result<void> settled = co_await std::move(settling);
  if (machine.node_of(place) != nullptr && machine.node_of(place)->number == 0) {
    auto asking = number_at(machine, place);
    const uint64_t number = co_await shield(std::move(asking));
    machine.node_of(place)->number = number;
  }
  co_return settled;
}

Task<Result<void>> sync_names(FileMachine& machine, FileEvent event) {
  const uint32_t directory = event.a % directory_count;
  NameLease lease(machine);
  if (!lease.use(directory)) co_return Result<void>();
  const Node* const node = machine.directory_of(directory);
  const uint64_t covers = machine.sequence();
  Attempt attempt(machine, nullptr, event, Attempt::Kind::sync);
  const std::string path = machine.path_of_directory(directory);
  const Result<void> result = co_await sync_directory(path);
  const bool is_missing = node == nullptr && answer_of(result) == ENOENT;
  attempt.end(is_missing ? Result<void>() : result);
  FUZZ_CHECK(!result.has_value() || node != nullptr, "a directory was synced that is not there");
  if (node == nullptr) co_return Result<void>();
  const bool may_have_failed = attempt.rose(Fault::failed_sync);  // another one, at the same time
  if (result.has_value() && !may_have_failed) machine.names.note_synced(node->id, covers);
  if (!result.has_value() && may_have_failed) machine.names.note_sync_failed(node->id, machine.sequence());
  co_return Result<void>();
}

Task<Result<void>> list(FileMachine& machine, FileEvent event) {
  const uint32_t directory = event.a % directory_count;
  NameLease lease(machine);
  if (!lease.use(directory)) co_return Result<void>();
  const Node* const node = machine.directory_of(directory);
  bool was_busy[name_count];
  for (uint32_t name = 0; name < name_count; ++name) was_busy[name] = machine.is_name_busy[directory][name];
  std::vector<std::string> before;
  for (const auto& [key, other] : machine.names.entries()) {
    if (node != nullptr && key.directory == node->id) before.push_back(machine.path_of({directory, key.name}));
  }
  const uint64_t version = machine.names_version;
  Attempt attempt(machine, nullptr, event, Attempt::Kind::other);
  const std::string path = machine.path_of_directory(directory);
  const Result<std::vector<DirectoryEntry>> entries = co_await list_directory(path);
  const Result<void> result = entries.has_value() ? Result<void>() : Result<void>(Unexpected(entries.error()));
  const bool is_missing = node == nullptr && answer_of(result) == ENOENT;
  attempt.end(is_missing ? Result<void>() : result);
  FUZZ_CHECK(!entries.has_value() || node != nullptr, "a directory was listed that is not there");
  const bool is_still =
      version == machine.names_version && std::none_of(was_busy, was_busy + name_count, [](bool is) { return is; });
  if (!entries.has_value() || !is_still) co_return Result<void>();
  std::vector<std::string> found;
  for (const DirectoryEntry& entry : *entries) {
    found.push_back(path + "/" + entry.name);
    FUZZ_CHECK((entry.kind == FileKind::directory) == (directory == 0), "an entry of another kind");
  }
  FUZZ_CHECK(std::is_sorted(found.begin(), found.end()), "a list is not sorted");
  std::sort(before.begin(), before.end());
  FUZZ_CHECK(found == before, "a directory holds other names than it should");
  co_return Result<void>();
}

/// A name of a file, which nobody else uses just now.
std::optional<NamePlace> name_of_node(const FileMachine& machine, const Node& node) noexcept {
  for (uint32_t directory = 1; directory < directory_count; ++directory) {
    for (uint32_t name = 0; name < file_name_count; ++name) {
      const NamePlace place{directory, name};
      if (machine.node_of(place) == &node && !machine.is_name_busy[directory][name]) return place;
    }
  }
  return std::nullopt;
}

/// What a publish that succeeded, or failed in one of its steps, has made durable.
void note_published(FileMachine& machine, const Attempt& attempt, Node& node, NamePlace from, NamePlace to,
                    const Result<void>& result, uint64_t covers, uint64_t own) {
  Node* const directories[] = {machine.directory_of(to.directory), machine.directory_of(from.directory)};
  const bool may_have_failed = attempt.rose(Fault::failed_sync);
  if (result.has_value() && !may_have_failed) {
    node.file.note_synced(covers);
    for (const Node* const directory : directories) machine.names.note_synced(directory->id, covers, own);
    return;
  }
  if (result.has_value() || !may_have_failed) return;
  // It tries again after EINTR, and the last time covers what was changed meanwhile, too.
  node.file.note_sync_failed(machine.sequence());
  for (const Node* const directory : directories) {
    if (directory != nullptr) machine.names.note_sync_failed(directory->id, machine.sequence());
  }
}

Task<Result<void>> publish_at(FileMachine& machine, Slot& slot, NamePlace from, NamePlace to, FileEvent event) {
  Node& node = *slot.node;
  const bool is_possible = machine.node_of(from) != nullptr && machine.directory_of(to.directory) != nullptr;
  const std::vector<NameChange> pieces = is_possible ? rename_pieces(machine, from, to) : std::vector<NameChange>();
  const uint64_t covers = machine.sequence();
  Attempt attempt(machine, &slot, event, Attempt::Kind::sync);
  attempt.allow_steps();
  PendingNamesInFlight pending(machine, pieces);
  ++slot.pins_count;
  const std::string from_path = machine.path_of(from);
  const std::string to_path = machine.path_of(to);
  const bool was_poisoned = slot.is_poisoned;
  const Result<void> result = co_await publish(*slot.file, from_path, to_path);
  --slot.pins_count;
  const bool is_missing = !is_possible && answer_of(result) == ENOENT;
  attempt.end(is_missing ? Result<void>() : result);
  FUZZ_CHECK(!result.has_value() || is_possible, "nothing was published");
  bool happened = result.has_value();
  if (!happened) {
    auto looking = look_for(machine, pieces);
    happened = co_await shield(std::move(looking));
    if (happened) machine.mark(FileMark::publish_interrupted);
  }
  const bool is_refused = !result.has_value() && (was_poisoned || result.error().code == ErrorCode::poisoned);
  FUZZ_CHECK(!is_refused || !happened, "a file was published whose sync had failed");
  const bool is_cancelled = !result.has_value() && result.error().code == ErrorCode::cancelled;
  FUZZ_CHECK(!is_cancelled || !happened, "a publish was cancelled after its rename");
  pending.end(happened);
  const uint64_t own = pieces.empty() ? 0 : machine.sequence();
  note_published(machine, attempt, node, from, to, result, covers, own);
  co_return Result<void>();
}

Task<Result<void>> publish_file(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr) co_return Result<void>();
  const std::optional<NamePlace> named = name_of_node(machine, *slot->node);
  const NamePlace from = named.has_value() ? *named : place_of(event.c);
  const NamePlace to = place_of(event.b);
  NameLease lease(machine);
  const bool has_both = lease.take(from) && (from == to || lease.take(to));
  if (!has_both) co_return Result<void>();
  auto publishing = publish_at(machine, *slot, from, to, event);
  co_return co_await std::move(publishing);
}

}  // namespace

std::vector<NameChange> rename_pieces(const FileMachine& machine, NamePlace from, NamePlace to) {
  Node* const moved = machine.node_of(from);
  Node* const replaced = machine.node_of(to);
  std::vector<NameChange> pieces;
  if (moved == replaced) return pieces;  // two names of one file: nothing happens
  const NameEdit gone{machine.key_of(from), moved, nullptr};
  const NameEdit come{machine.key_of(to), replaced, moved};
  pieces.resize(from.directory == to.directory ? 1 : 2);
  pieces.front().edits.push_back(come);
  pieces.back().edits.push_back(gone);
  if (pieces.size() == 2) pieces.back().follows = true;
  return pieces;
}

Task<uint64_t> number_at(FileMachine& machine, NamePlace place) {
  const std::string path = machine.path_of(place);
  const Result<FileStatus> status = co_await stat_path(path);
  machine.check_alive();
  if (status.has_value()) co_return status->number;
  FUZZ_CHECK(status.error().code == ErrorCode::system && status.error().number == ENOENT, "a name can't be looked at");
  co_return 0;
}

Task<bool> look_for(FileMachine& machine, std::vector<NameChange> pieces) {
  uint32_t before_count = 0;
  uint32_t after_count = 0;
  uint32_t edits_count = 0;
  for (const NameChange& piece : pieces) {
    for (const NameEdit& edit : piece.edits) {
      uint32_t directory = 0;
      while (machine.directory_of(directory) == nullptr || machine.directory_of(directory)->id != edit.key.directory) {
        ++directory;
      }
      const NamePlace place{directory, edit.key.name};
      const uint64_t number = co_await number_at(machine, place);
      const bool is_new = edit.before == nullptr && edit.after != nullptr && edit.after->number == 0 && number != 0;
      if (is_new) edit.after->number = number;
      before_count += number == (edit.before == nullptr ? 0 : edit.before->number);
      after_count += number == (edit.after == nullptr ? 0 : edit.after->number) &&
                     (is_new || number != 0 || edit.after == nullptr);
      ++edits_count;
    }
  }
  const bool happened = edits_count > 0 && after_count == edits_count;
  FUZZ_CHECK(happened || before_count == edits_count, "names were changed in part");
  co_return happened;
}

Task<Result<void>> do_name(FileMachine& machine, FileEvent event) {
  switch (event.action) {
    case FileAction::rename: return rename(machine, event);
    case FileAction::unlink: return unlink(machine, event);
    case FileAction::publish: return publish_file(machine, event);
    case FileAction::list: return list(machine, event);
    case FileAction::sync_directory: return sync_names(machine, event);
    default: return change_directory(machine, event);
  }
}

}  // namespace spindle::fuzz
