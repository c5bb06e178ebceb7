// What is known of the run that the fuzzer `storage` makes, and what the death of its host leaves.
#include "tests/fuzz/storage_machine.h"

#include <cerrno>

namespace spindle::fuzz {

const char* name_of(StorageAction action) noexcept {
  constexpr const char* names[] = {"read",          "write",    "write cached", "sync",        "allocate",
                                   "write through", "watch",    "join",         "cancel",      "close",
                                   "drop",          "move",     "open wrong",   "open locked", "create refused",
                                   "create side",   "recreate", "kill",         "lose power"};
  static_assert(sizeof(names) / sizeof(names[0]) == storage_action_count);
  return names[static_cast<size_t>(action)];
}

std::string to_string(const StorageEvent& event) {
  std::string text = name_of(event.action);
  for (const uint32_t number : {event.a, event.b, event.c}) text += ' ' + std::to_string(number);
  return text;
}

StorageMachine::StorageMachine(World& the_world, Host& the_host, const StorageSetup& the_setup, Coverage& coverage)
    : world(the_world),
      host(the_host),
      setup(the_setup),
      disk(static_cast<size_t>((the_setup.begins.back() + the_setup.zones.back().size) / grain_size)),
      coverage_(coverage) {}

std::vector<std::byte> StorageMachine::content() {
  SimFile* const found = file();
  return found == nullptr ? std::vector<std::byte>() : found->content();
}

bool StorageMachine::is_unreadable(GrainRange range) {
  const uint64_t number = file()->number();
  const FaultRecord::Damages& damages = host.files().record().damages();
  const uint64_t size = host.options().sector_size;
  const uint64_t first = range.first * grain_size / size * size;
  const auto found = damages.lower_bound({number, first});
  return found != damages.end() && found->first.first == number && found->first.second < range.end() * grain_size &&
         found->second.fault == Fault::latent_error;
}

void StorageMachine::note_faults() {
  const uint64_t count = fault_count(Fault::failed_sync);
  if (count != failed_syncs_seen_) disk.fail_sync();
  failed_syncs_seen_ = count;
}

bool StorageMachine::is_passing(const Error& error) const noexcept {
  const bool is_one = error.number == EAGAIN || error.number == EINTR || error.number == ECANCELED;
  return setup.is_storm && error.code == ErrorCode::system && is_one;
}

void StorageMachine::check_cancelled() {
  FUZZ_CHECK(is_cancelled || is_closing, "a call is cancelled though nobody asked for it");
  mark(StorageMark::call_cancelled);
  if (!is_cancelled && !has_storage()) mark(StorageMark::call_cancelled_by_drop);
}

void StorageMachine::check_closed() {
  FUZZ_CHECK(is_closing, "a call finds the storage closed, which it is not");
  mark(StorageMark::call_closed);
}

void StorageMachine::note_opened() {
  is_stopped = is_closing = false;
  stop_reason.clear();
}

void StorageMachine::check_quiet(bool looks_at_file) {
  note_faults();
  if (has_storage()) {
    FUZZ_CHECK((*storage)->is_stopped() == is_stopped, "a storage has stopped, and no call has failed");
    FUZZ_CHECK((*storage)->stop_reason() == stop_reason, "the reason of the stop is not the first one any more");
  }
  if (looks_at_file && is_made) disk.check_content(content());
}

void StorageMachine::die(bool loses_power) {
  if (is_making) mark(StorageMark::killed_in_create);
  if (host.backend().in_flight_count() > 0) {
    mark(loses_power ? StorageMark::power_lost_in_flight : StorageMark::killed_in_flight);
  }
  note_faults();
  if (loses_power && disk.loose_count() > 0) mark(StorageMark::power_lost_with_loose_sectors);
  if (loses_power) {
    host.lose_power(death_number);
  } else {
    host.kill_process();
  }
  storage = nullptr;
  pending.clear();
  death_in_steps.reset();
  is_making = is_stopped = is_cancelled = is_closing = false;
  calls_live_count = 0;
  FUZZ_CHECK(world.step() == World::Step::idle, "something goes on after a death");
  SimFile* const left = file();
  FUZZ_CHECK(left == nullptr || left->open_count == 0, "a death leaves a file open");
  if (is_made) {
    FUZZ_CHECK(left != nullptr, "a file that was made is gone");
    if (loses_power) {
      disk.survive_power_loss(left->content());
    } else {
      disk.survive_kill(left->content());
    }
    if (loses_power && disk.is_anything_promised()) mark(StorageMark::promised_after_power_loss);
  }
  if (death_removes_file) {
    if (left != nullptr) host.files().unlink(setup.path);
    host.files().settle();
    disk = DiskModel(disk.grains_count());
    is_made = death_removes_file = false;
  }
  hash.mix(500, loses_power, world.steps_count());
  host.restart();
}

}  // namespace spindle::fuzz
