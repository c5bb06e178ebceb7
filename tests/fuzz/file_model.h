// What a file may hold: the naive model of the fuzzer `file`, at the grain of 512 bytes at which a disk tears.
//
// Every grain has a history of states, oldest first:
//
//     [ durable ] [ acknowledged, not synced ] … [ what reads see now ]
//
// A state is a set of values: one when it is known, several after what failed, was cancelled, or was in flight when the
// process died. A sync that succeeds forgets what is older than the state it covers; a loss of power makes one state
// of all of them. A read that nothing disturbs must give a value of the last state, which is then known to be that
// one. The size has such a history too.
//
// Reads that overlap a change in flight may see either, byte by byte: a Watch collects what its read may see.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace spindle::fuzz {

inline constexpr uint64_t grain_size = 512;
using GrainBytes = std::array<std::byte, grain_size>;
/// Null: zeroes.
using GrainValue = std::shared_ptr<const GrainBytes>;

/// What a grain may hold at one moment.
struct GrainState {
  uint64_t sequence = 0;
  std::vector<GrainValue> values;  ///< oldest first; one: known
  bool is_anything = false;  ///< or bytes that nobody wrote
  bool is_mixed = false;  ///< or bytes of several of them
  bool is_written = false;  ///< by somebody, not by the file system: a loss of power can tear it
  bool is_forgotten = false;  ///< a sync of it failed: a later one says nothing about it
  bool is_from_power_loss = false;

  bool is_known() const noexcept { return values.size() == 1 && !is_anything && !is_mixed; }
};

struct SizeRange {
  uint64_t low = 0;
  uint64_t high = 0;  ///< inclusive
};
struct SizeState {
  uint64_t sequence = 0;
  std::vector<SizeRange> ranges;  ///< one of them, or something in it
  bool is_forgotten = false;
};

/// A change in flight.
struct Change {
  enum class Kind : uint8_t { write, hole, truncate, allocate };
  Kind kind = Kind::write;
  uint64_t offset = 0;
  uint64_t size = 0;  ///< truncate: the new size, and offset the same
  std::span<const std::byte> content;  ///< write
  bool is_durable = false;
  bool is_loose = false;  ///< may end within a grain
  bool may_spread_damage = false;  ///< write: what it writes around its content was read before
  uint64_t block_begin = 0;  ///< write: what is written whole, with what was there around it
  uint64_t block_end = 0;
  uint64_t lock_begin = 0;  ///< nobody else changes anything there
  uint64_t lock_end = 0;

  uint64_t end() const noexcept { return offset + size; }
};

/// What became of it.
struct ChangeOutcome {
  bool is_whole = true;
  uint64_t done = 0;  ///< not whole: bytes that were acknowledged; the rest is as it was, or changed
  bool may_be_garbage = false;  ///< the rest
  bool is_forgotten = false;  ///< it is not durable, whatever a later sync says
  bool edges_are_unknown = false;  ///< what was rewritten around it had been damaged
};

/// What a read may see, from its begin to its end.
struct Watch {
  struct Grain {
    std::vector<GrainValue> values;
    bool is_anything = false;
    bool is_mixed = false;
    bool is_disturbed = false;  ///< changed meanwhile
  };
  uint64_t offset = 0;
  uint64_t size = 0;
  std::vector<Grain> grains;
  uint64_t size_low = 0;
  uint64_t size_high = 0;
  bool is_size_disturbed = false;

  uint64_t grain_first() const noexcept { return offset / grain_size; }
};

/// What a comparison found.
struct ReadFindings {
  uint32_t wrong_sectors = 0;
  uint64_t wrong_offset = 0;  ///< of the last grain that is wrong
  uint32_t old_count = 0;  ///< grains after a loss of power: as they were durable, …
  uint32_t new_count = 0;  ///< … as they were acknowledged, …
  uint32_t garbage_count = 0;
  uint32_t torn_count = 0;  ///< sectors with several of these
  uint32_t undecided_count = 0;  ///< grains that were not known before, for another reason
  uint32_t disturbed_count = 0;
};

class FileModel {
 public:
  FileModel();
  FileModel(const FileModel&) = delete;
  FileModel& operator=(const FileModel&) = delete;

  /// No change in flight has this range for itself.
  bool is_free(uint64_t begin, uint64_t end) const noexcept;
  bool has_changes() const noexcept { return !changes_.empty(); }
  /// Of 4 KiB, that the changes in flight may need.
  uint64_t pages_in_flight() const noexcept;
  /// The change stays where it is until it is ended.
  void begin(Change& change);
  void end(Change& change, const ChangeOutcome& outcome, uint64_t sequence);
  /// It did not take place.
  void forget(Change& change) { std::erase(changes_, &change); }

  void begin(Watch& watch);
  void end(Watch& watch);
  /// `bytes` is what the watched read gave. Grains with skipped[i] are left alone. can_learn: what was seen is so.
  ReadFindings compare(const Watch& watch, std::span<const std::byte> bytes, const std::vector<bool>& skipped,
                       uint32_t sector_size, bool can_learn);

  bool is_size_known() const noexcept;
  uint64_t size_low() const noexcept;
  uint64_t size_high() const noexcept;
  /// Of all that it may have been since it was durable, the largest.
  uint64_t size_latest() const noexcept { return size_latest_; }
  /// It was seen. False: it can't be.
  bool learn_size(uint64_t size, uint64_t sequence);

  void note_synced(uint64_t sequence);
  void note_sync_failed(uint64_t sequence);
  /// The process dies: what is in flight may have happened. Returns how many writes were.
  uint32_t note_killed(uint64_t sequence);
  /// After note_killed().
  void note_power_lost();

  /// What a grain may hold, to stderr.
  void print(uint64_t index, std::span<const std::byte> seen) const;

 private:
  using History = std::vector<GrainState>;

  const GrainState& state_at(uint64_t index) const noexcept;
  History& history_at(uint64_t index);
  uint64_t grain_end_of(const Change& change) const noexcept;
  static uint64_t grain_begin_of(const Change& change) noexcept;
  GrainState after(const GrainState& before, const Change& change, uint64_t index, uint64_t done) const;
  void change_grain(const Change& change, const ChangeOutcome& outcome, uint64_t index, uint64_t sequence);
  void change_size(const Change& change, const ChangeOutcome& outcome, uint64_t sequence);
  void disturb(Watch& watch, const Change& change) const;
  void widen(Watch& watch) const noexcept;
  void learn(GrainState& state, std::span<const std::byte> seen, size_t first, bool is_last, ReadFindings& findings);
  void cut_after(uint64_t size, uint64_t sequence);

  std::vector<History> grains_;
  std::vector<SizeState> sizes_;
  uint64_t size_latest_ = 0;
  std::vector<Change*> changes_;
  std::vector<Watch*> watches_;
};

}  // namespace spindle::fuzz
