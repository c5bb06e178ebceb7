// What the fuzzer `storage` knows of the file: for every grain of 512 bytes what a read may give now, and what it may
// be after a loss of power; and between which bounds the file's size lies.
//
// The content of a grain is known by an identity of 64 bits. A write gives every grain an identity of its own, so that
// a grain in a wrong place, a mixture of two, and what nobody wrote are recognised.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace spindle::fuzz {

inline constexpr uint32_t grain_size = 512;
using GrainIdentity = uint64_t;
inline constexpr GrainIdentity zero_grain = 0;  ///< all bytes are zero

/// Grains of the file, from its beginning.
struct GrainRange {
  size_t first = 0;
  size_t count = 0;
  size_t end() const noexcept { return first + count; }
  bool overlaps(const GrainRange& other) const noexcept { return first < other.end() && other.first < end(); }
};

void fill_grain(std::byte* grain, GrainIdentity identity) noexcept;
GrainIdentity identity_of(const std::byte* grain) noexcept;

/// A read that is under way: writes that meet it add what it may see.
struct ReadUnderWay {
  GrainRange range;
  std::vector<std::vector<GrainIdentity>> may_be;
  bool is_shared = false;  ///< a write met it
};

class DiskModel {
 public:
  enum class End : uint8_t {
    done,          ///< acknowledged
    done_durably,  ///< … and on the device
    unknown,       ///< every grain is as before, or as it should be
  };
  struct Write {
    GrainRange range;
    uint64_t number = 0;  ///< 0: of zeroes
    uint64_t begun_at = 0;
  };

  explicit DiskModel(size_t grains_count) : grains_(grains_count) {}

  // What is on the disk.
  /// The file is being made anew.
  void begin_emptying();
  /// A file that was just made.
  void set_empty(uint64_t size);
  /// A device that was never written.
  void set_content(std::span<const std::byte> content);

  // Changes.
  Write begin_write(GrainRange range, bool is_zeroes);
  void end_write(const Write& write, End end);
  static GrainIdentity identity_in(const Write& write, size_t grain) noexcept;
  /// The moment; what ended before it is covered by a sync that begins now.
  uint64_t begin_sync() noexcept { return ++clock_; }
  void end_sync(uint64_t begun_at);
  /// No later sync makes durable what this one may have covered.
  void fail_sync();
  void note_size(uint64_t size) noexcept { size_max_ = size > size_max_ ? size : size_max_; }
  void grow(uint64_t size, bool is_durable) noexcept;
  void promise(GrainRange range);
  bool is_promised(GrainRange range) const noexcept;

  // Looks.
  void begin_read(ReadUnderWay& read);
  void end_read(ReadUnderWay& read);
  /// Of the read's i-th grain; nobody else is at it: then it is that from now on.
  void see(const ReadUnderWay& read, size_t index, GrainIdentity identity);
  bool is_anything_promised() const noexcept;
  bool is_being_written(GrainRange range) const noexcept;
  uint64_t size_min() const noexcept { return size_min_; }
  uint64_t size_max() const noexcept { return size_max_; }
  size_t grains_count() const noexcept { return grains_.size(); }
  /// All of the file while it is open.
  void check_content(std::span<const std::byte> content) const;

  // After the death of the host: what is left is compared, and then known.
  void survive_kill(std::span<const std::byte> content);
  void survive_power_loss(std::span<const std::byte> content);
  uint64_t loose_count() const noexcept;

 private:
  struct Grain {
    std::vector<GrainIdentity> now{zero_grain};    ///< a read gives one of these
    std::vector<GrainIdentity> crash{zero_grain};  ///< and after a loss of power one of these …
    bool may_tear = false;                         ///< … or anything
    bool is_forgotten = false;                     ///< a failed sync may have covered it
    bool is_promised = false;
    uint32_t writes_count = 0;  ///< under way
    uint64_t changed_at = 0;
  };
  void forget_under_way();

  std::vector<Grain> grains_;
  std::vector<ReadUnderWay*> reads_;
  uint64_t clock_ = 0;
  uint64_t write_number_ = 0;
  uint64_t size_min_ = 0;
  uint64_t size_max_ = 0;
  uint64_t size_crash_min_ = 0;
  uint64_t grown_at_ = 0;
};

}  // namespace spindle::fuzz
