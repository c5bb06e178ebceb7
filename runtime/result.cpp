#include "runtime/result.h"

#include <cerrno>
#include <cstring>

namespace spindle {

const char* name_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::timed_out: return "timed out";
    case ErrorCode::closed: return "closed";
    case ErrorCode::exhausted: return "capacity exhausted";
    case ErrorCode::system: return "system error";
    case ErrorCode::end_of_file: return "end of file";
    case ErrorCode::misaligned: return "misaligned for direct I/O";
    case ErrorCode::no_direct_io: return "no direct I/O on this file system";
    case ErrorCode::short_transfer: return "short transfer";
    case ErrorCode::poisoned: return "an earlier sync of this file failed";
    case ErrorCode::invalid_argument: return "invalid argument";
    case ErrorCode::lost_sectors: return "unreadable sectors";
    case ErrorCode::corrupt: return "corrupt";
  }
  return "unknown error code";
}

namespace {

const char* remedy_of(const Error& error) noexcept {
  if (error.code == ErrorCode::no_direct_io) return "choose another file system, or open with direct = prefer";
  if (error.code == ErrorCode::poisoned) return "close the file, and recover from what is known to be durable";
  if (error.code == ErrorCode::lost_sectors) return "take what they held from another copy, and write them anew";
  if (error.code == ErrorCode::corrupt) return "restore it from a copy on another machine, or from a backup";
  if (error.code != ErrorCode::system) return nullptr;
  switch (error.number) {
    case ENOSPC:
    case EDQUOT: return "make space, then try again";
    case EACCES:
    case EPERM: return "check the permissions";
    case ENOENT: return "check the path";
    case EMFILE:
    case ENFILE: return "raise the limit of open files (ulimit -n)";
    case EIO: return "the device failed: see the kernel's log";
    case EROFS: return "the file system is mounted read-only";
    case EBUSY:
    case EAGAIN: return "try again later";
    default: return nullptr;
  }
}

}  // namespace

std::string describe(const Error& error) {
  std::string line = error.where;
  if (!line.empty()) line += ": ";
  if (error.code == ErrorCode::system) {
    line += std::strerror(error.number);
    line += " (errno " + std::to_string(error.number) + ")";
  } else {
    line += name_of(error.code);
  }
  if (const char* remedy = remedy_of(error)) {
    line += "; ";
    line += remedy;
  }
  return line;
}

}  // namespace spindle
