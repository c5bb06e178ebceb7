#include "benchmarks/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "benchmarks/layout.h"
#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

constexpr uint64_t default_size = uint64_t{1} << 30;
constexpr uint64_t automatic_size_min = uint64_t{64} << 20;
constexpr uint64_t space_reserve = uint64_t{16} << 20;  // for the file system's own needs, and everybody else's

uint64_t round_up(uint64_t size, uint64_t unit) noexcept { return (size + unit - 1) / unit * unit; }

// The size of a new file, given what the user asked for and what there is.
Checked<uint64_t> new_size(const FileRequest& request, uint64_t free_bytes, const std::string& label) {
  if (request.size_bytes == 0) {
    const uint64_t size = std::min(default_size, free_bytes / 2 / automatic_size_min * automatic_size_min);
    if (size >= automatic_size_min) return {size, {}};
  } else if (round_up(request.size_bytes, trailer_size) + space_reserve <= free_bytes) {
    return {round_up(request.size_bytes, trailer_size), {}};
  }
  const uint64_t wanted = request.size_bytes == 0 ? 2 * automatic_size_min : request.size_bytes + space_reserve;
  return {0,
          {"not enough space for " + label + ": " + text_of_bytes(wanted) + " needed, " + text_of_bytes(free_bytes) +
           " free; free some, or give a smaller --size or another --filename"}};
}

Layout layout_of(const FileRequest& request, const TestFile& test, uint64_t size_bytes) {
  return {test.path, test.label, size_bytes, request.verify_block_size, request.progress};
}

struct Unnamed {
  Descriptor file;
  std::string refusal;  // why this folder won't do; empty: it will
};

Unnamed open_unnamed(const std::string& folder, bool direct) {
  std::string name = folder + "/.spindle-bench-XXXXXX";
  Descriptor file(mkostemp(name.data(), O_CLOEXEC));
  if (file.fd() < 0) return {Descriptor(), failure_errno(errno, folder, "").line};
  const auto target = describe_target(name);
  const Descriptor probe(direct ? open(name.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC) : -1);
  unlink(name.c_str());
  if (direct && (probe.fd() < 0 || target.failure || target.value.direct_refused())) {
    return {Descriptor(), folder + ": no direct I/O on " + target.value.file_system};
  }
  if (target.value.file_system == "tmpfs") return {Descriptor(), folder + ": tmpfs is memory, not a disk"};
  return {std::move(file), {}};
}

Checked<TestFile> prepare_unnamed(const FileRequest& request) {
  std::vector<std::string> folders = {"."};
  if (const char* const home = getenv("HOME"); home != nullptr && *home != '\0') folders.emplace_back(home);
  folders.insert(folders.end(), {"/var/tmp", "/"});
  std::string refusals;
  for (const std::string& folder : folders) {
    Unnamed found = open_unnamed(folder, request.direct);
    TestFile test;
    test.label = "a file of its own in " + (folder == "." ? std::string("the working folder") : folder);
    Checked<uint64_t> size;
    if (found.refusal.empty()) {
      size = new_size(request, space_free(found.file.fd()), test.label);
      found.refusal = size.failure.line;
    }
    if (!found.refusal.empty()) {
      refusals += (refusals.empty() ? "" : "; ") + found.refusal;
      continue;
    }
    test.path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(found.file.fd());
    Failure failure = lay_out(found.file.fd(), layout_of(request, test, size.value));
    if (failure) return {{}, std::move(failure)};
    test.size_bytes = request.size_bytes == 0 ? size.value : request.size_bytes;
    auto target = describe_target(test.path);
    test.target = std::move(target.value);
    test.unnamed = std::move(found.file);
    return {std::move(test), std::move(target.failure)};
  }
  return {{}, {"no folder for a test file (" + refusals + "); name one on a disk with --filename"}};
}

// Lays out a named file that is new, or ours and too small. Removes it if that fails: half a file is no use.
Failure make_named(const FileRequest& request, TestFile& test) {
  const int flags = test.target.kind == Target::Kind::missing ? O_CREAT | O_EXCL : O_TRUNC;
  const Descriptor file(open(test.path.c_str(), O_RDWR | O_CLOEXEC | flags, 0644));
  if (file.fd() < 0) {
    return failure_errno(errno, "cannot create", test.path, "check the folder and its permissions");
  }
  auto made = describe_target(test.path);
  Failure failure = std::move(made.failure);
  // Before the file is laid out: what can't be used is not worth the time, nor leaving behind.
  if (!failure && request.direct && made.value.direct_refused()) failure = refuse_direct(test.path, made.value);
  Checked<uint64_t> size;
  if (!failure) size = new_size(request, space_free(file.fd()), test.path);
  if (!failure) failure = std::move(size.failure);
  if (!failure) failure = lay_out(file.fd(), layout_of(request, test, size.value));
  if (failure) {
    unlink(test.path.c_str());
    return failure;
  }
  test.size_bytes = request.size_bytes == 0 ? size.value : request.size_bytes;
  auto target = describe_target(test.path);
  test.target = std::move(target.value);
  return std::move(target.failure);
}

bool is_one_byte_repeated(const std::vector<char>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [&](char byte) { return byte == bytes[0]; });
}

// Says so when what will be read is something that a thin or compressing device does not fetch at all.
std::string note_on_contents(int fd, const TestFile& test) {
  constexpr uint64_t samples_count = 64;
  std::vector<char> bytes(4096);
  const uint64_t blocks_count = test.size_bytes / bytes.size();
  if (blocks_count == 0) return {};
  Random random(1);
  uint64_t plain_count = 0;
  for (uint64_t i = 0; i < samples_count; ++i) {
    const uint64_t offset = random.below(blocks_count) * bytes.size();
    const ssize_t count = pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count == static_cast<ssize_t>(bytes.size()) && is_one_byte_repeated(bytes)) ++plain_count;
  }
  if (plain_count < samples_count / 2) return {};
  return std::to_string(plain_count) + " of " + std::to_string(samples_count) + " sampled blocks of " + test.path +
         " hold one byte repeated: their reads may never reach the disk";
}

// A file or device that we did not make.
Failure check_foreign(const FileRequest& request, int fd, TestFile& test) {
  const Target& target = test.target;
  if (request.writes && !request.overwrite) {
    return {test.path + " was not made by this program, and the job would write to it; name another file, or give " +
            "--overwrite to destroy what it holds"};
  }
  const bool endless = target.kind == Target::Kind::character_device;
  test.size_bytes = request.size_bytes;
  if (test.size_bytes == 0) test.size_bytes = endless ? default_size : target.size_bytes;
  if (!endless && test.size_bytes > target.size_bytes) {
    return {test.path + " has " + text_of_bytes(target.size_bytes) + ", less than --size " +
            text_of_bytes(test.size_bytes) + "; give a smaller --size"};
  }
  if (request.writes || endless) return {};
  const off_t hole = lseek(fd, 0, SEEK_HOLE);  // unwritten extents count as holes
  if (hole >= 0 && static_cast<uint64_t>(hole) < test.size_bytes) {
    return {test.path + " has a hole or an unwritten extent at offset " + std::to_string(hole) +
            ": reads of it never reach the disk; write the file first, or name a new one"};
  }
  test.note = note_on_contents(fd, test);
  return {};
}

Checked<TestFile> prepare_named(const FileRequest& request) {
  TestFile test;
  test.path = test.label = request.filename;
  auto target = describe_target(test.path);
  if (target.failure) return {{}, std::move(target.failure)};
  test.target = std::move(target.value);
  if (test.target.kind == Target::Kind::other) {
    return {{}, {test.path + " is neither a file nor a device; name a file in it"}};
  }
  if (test.target.kind == Target::Kind::missing) {
    Failure failure = make_named(request, test);
    test.is_new = !failure;
    return {std::move(test), std::move(failure)};
  }
  // O_EXCL on a block device: refused while it is mounted or otherwise in use.
  const bool guarded = request.writes && test.target.kind == Target::Kind::block_device;
  const int mode = (request.writes ? O_RDWR : O_RDONLY) | (guarded ? O_EXCL : 0);
  const Descriptor file(open(test.path.c_str(), mode | O_CLOEXEC));
  if (file.fd() < 0) {
    const std::string_view busy = errno == EBUSY ? "it is mounted or in use" : "run as a user who may open it";
    return {{}, failure_errno(errno, "cannot open", test.path, busy)};
  }
  Failure failure;
  const uint64_t own_size = own_data_size(file.fd());
  if (own_size == 0) {
    failure = check_foreign(request, file.fd(), test);
  } else if (own_size < request.size_bytes) {
    failure = make_named(request, test);
  } else {
    test.size_bytes = request.size_bytes == 0 ? own_size : request.size_bytes;
  }
  return {std::move(test), std::move(failure)};
}

}  // namespace

Checked<TestFile> prepare_file(const FileRequest& request) {
  return request.filename.empty() ? prepare_unnamed(request) : prepare_named(request);
}

}  // namespace spindle::bench
