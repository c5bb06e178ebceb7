// What a file system tells of a file: FileStatus, and the leaf that asks for it, by descriptor or by path.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/backend.h"
#include "io/operation.h"

namespace spindle {

// Newer than the headers here, from linux/stat.h of Linux 6.14: the offset alignment of direct reads. The mask's bit,
// and the field's place in struct statx (uint32_t; 0 where reads need what writes need).
inline constexpr uint32_t mask_read_alignment = 0x00020000;
inline constexpr size_t place_read_alignment = 0xb4;
static_assert(sizeof(struct statx) >= place_read_alignment + sizeof(uint32_t));

enum class FileKind : uint8_t { regular, directory, block_device, symbolic_link, other };
/// Of a mode as stat(2) has it.
FileKind kind_of_mode(uint32_t mode) noexcept;

struct FileStatus {
  uint64_t size = 0;  ///< bytes; of a block device 0: see File::size_at_open()
  uint64_t allocated_size = 0;  ///< bytes of disk space that it takes; less than size where it has holes
  FileKind kind = FileKind::other;
  uint32_t mode = 0;  ///< permission bits
  uint32_t links = 0;  ///< names that it has
  uint64_t number = 0;  ///< inode, and …
  uint64_t device = 0;  ///< … device: both together tell whether two names are one file
};
FileStatus status_of(const struct statx& answer) noexcept;

/// statx(2): Result<FileStatus>.
class [[nodiscard]] StatOperation final : public LeafAwait<StatOperation, Operation> {
 public:
  explicit StatOperation(Descriptor& file) noexcept : LeafAwait(*file.backend, Opcode::stat, &file) {
    status_ = &answer_;
  }
  /// `path` is borrowed until the await returns.
  StatOperation(Backend& backend, const std::string& path) noexcept : LeafAwait(backend, Opcode::stat_path, nullptr) {
    path_ = path.c_str();
    status_ = &answer_;
  }
  ~StatOperation() { abandon_if_dying(); }
  bool begin(Loop&) noexcept { return begin_other(); }
  Result<FileStatus> take() const noexcept {
    if (failure() != nullptr) return Unexpected(*failure());
    return status_of(answer_);
  }

 private:
  struct statx answer_{};  // written by the backend
};

}  // namespace spindle
