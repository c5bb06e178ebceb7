// One life of the host: look at what the last one left, then tasks that take events, then an end in good order.
#include <algorithm>

#include "runtime/combinators.h"
#include "runtime/scope.h"
#include "runtime/sleep.h"
#include "runtime/trace.h"
#include "tests/fuzz/file_machine.h"

namespace spindle::fuzz {

namespace {

Task<Result<void>> pause(FileEvent event) {
  const Duration duration = std::chrono::nanoseconds(event.delay_ns);
  const Result<void> rested = co_await sleep_for(duration);
  static_cast<void>(rested);
  co_return Result<void>();
}

Task<Result<void>> close_some(FileMachine& machine, FileEvent event) {
  Slot* const slot = machine.open_slot(event.a);
  if (slot == nullptr || slot->pins_count > 0) co_return Result<void>();
  co_await ok(close_file(machine, *slot));
  co_return Result<void>();
}

SPINDLE_TASK_WRAPPER Task<Result<void>> do_action(FileMachine& machine, const FileEvent& event) {
  const FileAction action = event.action;
  if (action == FileAction::open) return open_file(machine, event);
  if (action >= FileAction::read_exact && action <= FileAction::write_ragged_durable)
    return do_transfer(machine, event);
  if (action >= FileAction::sync && action <= FileAction::punch_hole) return do_change(machine, event);
  if (action == FileAction::stat) return stat_file(machine, event);
  if (action >= FileAction::rename && action <= FileAction::sync_directory) return do_name(machine, event);
  if (action >= FileAction::try_lock && action <= FileAction::unlock) return do_lock(machine, event);
  if (action == FileAction::close) return close_some(machine, event);
  return pause(event);
}

void request_crash(FileMachine& machine, const FileEvent& event) {
  if (machine.disk == nullptr) {
    machine.is_stopping = true;
    return;
  }
  if (machine.crash.has_value()) return;
  CrashRequest request;
  request.kind = event.action == FileAction::kill ? CrashKind::kill : CrashKind::power;
  request.number = event.number;
  request.in_steps = event.a % 8 == 0 ? event.b % 200 : event.b % 24;
  if (event.c % 8 == 0) request.again_in_steps = event.d % 60;
  machine.crash = request;
}

/// A task that takes events, one after the other.
Task<Result<void>> work(FileMachine* machine) {
  for (;;) {
    const FileEvent* const next = machine->next_event();
    if (next == nullptr) co_return Result<void>();
    FileEvent event = *next;
    co_await set_trace_id(event.number);
    if (event.action == FileAction::kill || event.action == FileAction::lose_power) {
      request_crash(*machine, event);
      continue;
    }
    if (event.action == FileAction::drop) {
      drop_file(*machine, event);
      continue;
    }
    const bool is_exact = event.action == FileAction::read_exact || event.action == FileAction::write_exact ||
                          event.action == FileAction::write_durable;
    if (event.cut_short == CutShort::deadline && !is_exact) event.cut_short = CutShort::timeout;
    const Duration delay = std::chrono::nanoseconds(event.delay_ns);
    auto action = do_action(*machine, event);
    if (event.cut_short == CutShort::timeout) {
      const Result<void> done = co_await timeout(delay, std::move(action));
      static_cast<void>(done);  // what came of it was checked where it took place
    } else if (event.cut_short == CutShort::race) {
      auto rival = pause(event);
      const auto done = co_await race(std::move(action), std::move(rival));
      static_cast<void>(done);
    } else {
      co_await ok(std::move(action));
    }
    machine->check_alive();
  }
}

Task<Result<void>> spawn_workers(Scope& scope, FileMachine& machine) {
  for (uint32_t index = 0; index < machine.workers_count; ++index) {
    co_await ok(scope.spawn(work, &machine));
  }
  co_return Result<void>();
}

/// All that has a name: every directory that is there, and every number.
struct Sight {
  std::vector<std::string> names;
  NameModel::Seen seen;
};

Task<Result<void>> look_into(FileMachine& machine, uint32_t directory, uint32_t id, Sight& sight) {
  const std::string path = machine.path_of_directory(directory);
  const auto entries = co_await ok(list_directory(path));
  for (uint32_t name = 0; name < name_count; ++name) {
    const NamePlace place{directory, name};
    const std::string full = machine.path_of(place);
    const std::string_view last = std::string_view(full).substr(path.size() + 1);
    const bool is_listed =
        std::any_of(entries.begin(), entries.end(), [&](const DirectoryEntry& entry) { return entry.name == last; });
    if (!is_listed) continue;
    const uint64_t number = co_await number_at(machine, place);
    FUZZ_CHECK(number != 0, "a name is listed that is not there");
    sight.seen[NameKey{id, name}] = number;
  }
  co_return Result<void>();
}

/// The node of a directory that comes and goes, by its number; one that nobody knew yet is the last that was made.
uint32_t id_of_directory(const FileMachine& machine, uint64_t number) noexcept {
  uint32_t unknown = UINT32_MAX;
  for (size_t index = machine.names.nodes().size(); index > 2; --index) {
    const Node& node = *machine.names.nodes()[index - 1];
    if (node.is_directory && node.number == number) return node.id;
    if (node.is_directory && node.number == 0 && unknown == UINT32_MAX) unknown = node.id;
  }
  return unknown;
}

Task<Result<void>> look_around(FileMachine& machine) {
  Sight sight;
  std::vector<uint32_t> directories;
  for (uint32_t directory = 0; directory < directory_count; ++directory) {
    uint32_t id = directory;
    if (directory == 2) {
      const auto found = sight.seen.find(NameKey{0, file_name_count + directory});
      if (found == sight.seen.end()) break;
      id = id_of_directory(machine, found->second);
      FUZZ_CHECK(id != UINT32_MAX, "a directory is there that nobody made");
    }
    directories.push_back(id);
    co_await ok(look_into(machine, directory, id, sight));
  }
  NameFindings findings;
  const bool is_explained = machine.names.resolve(sight.seen, directories, findings);
  if (!is_explained) machine.names.print(sight.seen);
  FUZZ_CHECK(is_explained, "no history explains the names that are there");
  if (findings.lost_count > 0) machine.mark(FileMark::name_lost);
  if (findings.kept_count > 0) machine.mark(FileMark::name_kept);
  if (findings.back_count > 0) machine.mark(FileMark::removed_name_back);
  if (findings.half_count > 0) machine.mark(FileMark::rename_half_done);
  if (findings.directories_lost > 0) machine.mark(FileMark::directory_lost);
  machine.hash.mix(findings.lost_count, findings.kept_count, findings.half_count);
  co_return Result<void>();
}

/// Opens, looks at every byte, and closes.
Task<Result<void>> check_file(FileMachine& machine, NamePlace place) {
  Slot& slot = machine.slots[0];
  OpenOptions options;
  options.direct = Direct::never;
  const std::string path = machine.path_of(place);
  File file = co_await ok(File::open(path, options));
  slot.file.emplace(std::move(file));
  slot.node = machine.node_of(place);
  FileEvent event;
  event.action = FileAction::stat;
  co_await ok(stat_file(machine, event));
  co_await check_content(machine, slot);
  co_await ok(close_file(machine, slot));
  co_return Result<void>();
}

Task<Result<void>> check_files(FileMachine& machine) {
  for (uint32_t directory = 1; directory < directory_count; ++directory) {
    for (uint32_t name = 0; name < file_name_count; ++name) {
      const NamePlace place{directory, name};
      if (machine.node_of(place) == nullptr) continue;
      co_await ok(check_file(machine, place));
    }
  }
  co_return Result<void>();
}

Task<Result<void>> close_all(FileMachine& machine) {
  for (Slot& slot : machine.slots) {
    if (!slot.file.has_value()) continue;
    co_await ok(close_file(machine, slot));
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> run_life(FileMachine& machine) {
  co_await set_trace_id(machine.life_number);
  co_await ok(look_around(machine));
  const bool checks_all = machine.lives_count % 2 == 1;
  if (checks_all) co_await ok(check_files(machine));
  machine.is_stopping = false;
  auto working = with_scope(ScopeOptions(), spawn_workers, machine);
  co_await ok(std::move(working));
  co_await ok(close_all(machine));
  if (!machine.has_events()) {
    co_await ok(check_files(machine));
    machine.is_finished = true;
  }
  co_return Result<void>();
}

}  // namespace spindle::fuzz
