#include "tests/machine/faulty_files.h"

#include <linux/fuse.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <map>
#include <new>
#include <vector>

namespace spindle {

const char* name_of(Request request) noexcept {
  static constexpr const char* names[request_kinds_count] = {
      "lookup",   "getattr", "setattr", "open",   "create", "read",        "write",        "fsync",
      "allocate", "flush",   "release", "rename", "unlink", "open folder", "fsync folder", "other"};
  return names[static_cast<uint32_t>(request)];
}

namespace {

constexpr size_t request_size_max = FaultyFiles::transfer_size_max + 4096;
constexpr uint32_t minor_version = 31;  // what is spoken here; newer kernels step down to it

Request request_of(uint32_t opcode) noexcept {
  switch (opcode) {
    case FUSE_LOOKUP: return Request::lookup;
    case FUSE_GETATTR: return Request::getattr;
    case FUSE_SETATTR: return Request::setattr;
    case FUSE_OPEN: return Request::open;
    case FUSE_CREATE: return Request::create;
    case FUSE_READ: return Request::read;
    case FUSE_WRITE: return Request::write;
    case FUSE_FSYNC: return Request::fsync;
    case FUSE_FALLOCATE: return Request::allocate;
    case FUSE_FLUSH: return Request::flush;
    case FUSE_RELEASE: return Request::release;
    case FUSE_RENAME:
    case FUSE_RENAME2: return Request::rename;
    case FUSE_UNLINK: return Request::unlink;
    case FUSE_OPENDIR: return Request::open_folder;
    case FUSE_FSYNCDIR: return Request::fsync_folder;
    default: return Request::other;
  }
}

/// The child's part: one request at a time, from the device, until it is unmounted or the test is gone.
class Server {
 public:
  Server(int device, int lifeline, FaultPlan& plan, uint64_t source_size)
      : device_(device), lifeline_(lifeline), plan_(plan), request_(request_size_max) {
    Node& source = nodes_[next_node_++];
    source.name = "source";
    source.content.resize(source_size);
    for (uint64_t at = 0; at < source_size; ++at) source.content[at] = pattern_at(at);
  }

  void serve() {
    for (;;) {
      pollfd watched[2] = {{device_, POLLIN, 0}, {lifeline_, POLLIN, 0}};
      if (::poll(watched, 2, -1) < 0 && errno != EINTR) return;
      if (watched[1].revents != 0) return;
      const ssize_t size = ::read(device_, request_.data(), request_.size());
      if (size < 0 && errno == ENODEV) return;  // unmounted
      if (size >= static_cast<ssize_t>(sizeof(fuse_in_header))) handle();
    }
  }

 private:
  struct Node {
    std::string name;  // empty: unlinked
    std::vector<std::byte> content;
  };
  using Bytes = std::vector<std::byte>;

  const fuse_in_header& header() const noexcept { return *reinterpret_cast<const fuse_in_header*>(request_.data()); }
  template <class Body>
  const Body& body() const noexcept {
    return *reinterpret_cast<const Body*>(request_.data() + sizeof(fuse_in_header));
  }
  const char* text_after(size_t size) const noexcept {
    return reinterpret_cast<const char*>(request_.data() + sizeof(fuse_in_header) + size);
  }
  template <class Part>
  static void append(Bytes& answer, const Part& part) {
    const std::byte* begin = reinterpret_cast<const std::byte*>(&part);
    answer.insert(answer.end(), begin, begin + sizeof(part));
  }

  void reply(uint64_t request, int number, const Bytes& answer) {
    const size_t size = number == 0 ? answer.size() : 0;
    fuse_out_header head{static_cast<uint32_t>(sizeof(fuse_out_header) + size), -number, request};
    iovec parts[2] = {{&head, sizeof(head)}, {const_cast<std::byte*>(answer.data()), size}};
    const ssize_t ignored = ::writev(device_, parts, 2);  // ENOENT: the request was given up
    static_cast<void>(ignored);
  }

  void handle() {
    const uint32_t opcode = header().opcode;
    if (opcode == FUSE_INTERRUPT) return give_up(body<fuse_interrupt_in>().unique);
    if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET) return;  // want no answer
    const Request kind = request_of(opcode);
    const uint32_t index = plan_.served[static_cast<uint32_t>(kind)].fetch_add(1, std::memory_order_relaxed);
    transfer_max_ = UINT32_MAX;
    if (plan_.is_armed.load(std::memory_order_acquire) && plan_.fault.request == kind && index >= plan_.fault.index &&
        index - plan_.fault.index < plan_.fault.times) {
      plan_.hits.fetch_add(1, std::memory_order_relaxed);
      if (plan_.fault.hangs) {
        hanging_ = header().unique;
        return;
      }
      const uint32_t every = plan_.fault.short_every;
      const bool is_short = plan_.fault.number == 0 || (every > 0 && (index - plan_.fault.index + 1) % every == 0);
      if (!is_short) return reply(header().unique, plan_.fault.number, {});
      transfer_max_ = plan_.fault.short_size;
    }
    Bytes answer;
    const int number = answer_well(answer);
    reply(header().unique, number, answer);
  }

  void give_up(uint64_t request) {
    if (request != hanging_) return;
    reply(request, EINTR, {});
    hanging_ = 0;
  }

  int answer_well(Bytes& answer) {
    switch (header().opcode) {
      case FUSE_INIT: return init(answer);
      case FUSE_LOOKUP: return look_up(answer, text_after(0));
      case FUSE_CREATE: return create(answer);
      case FUSE_RENAME: return rename(text_after(sizeof(fuse_rename_in)));
      case FUSE_RENAME2: return rename(text_after(sizeof(fuse_rename2_in)));
      case FUSE_UNLINK: return unlink(text_after(0));
      case FUSE_GETATTR: return attributes(answer);
      case FUSE_SETATTR: return set_attributes(answer);
      case FUSE_READ: return read(answer);
      case FUSE_WRITE: return write(answer);
      case FUSE_FALLOCATE: return allocate();
      case FUSE_POLL: return poll(answer);
      case FUSE_OPEN:
      case FUSE_OPENDIR: append(answer, opened()); return 0;
      case FUSE_FSYNC:
      case FUSE_FSYNCDIR:
      case FUSE_FLUSH:
      case FUSE_RELEASE:
      case FUSE_RELEASEDIR:
      case FUSE_DESTROY: return 0;
      default: return ENOSYS;
    }
  }

  int init(Bytes& answer) {
    fuse_init_out out{};
    out.major = FUSE_KERNEL_VERSION;
    out.minor = minor_version;
    out.flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES;
    out.max_background = 16;
    out.congestion_threshold = 12;
    out.max_write = FaultyFiles::transfer_size_max;
    out.max_pages = FaultyFiles::transfer_size_max / 4096;
    out.time_gran = 1;
    append(answer, out);
    return 0;
  }

  uint64_t find(const std::string& name) const {
    for (const auto& [number, node] : nodes_) {
      if (node.name == name) return number;
    }
    return 0;
  }
  Node* node() {
    const auto found = nodes_.find(header().nodeid);
    return found == nodes_.end() ? nullptr : &found->second;
  }
  fuse_attr attributes_of(uint64_t number) {
    fuse_attr attributes{};
    attributes.ino = number;
    attributes.blksize = 4096;
    attributes.nlink = 1;
    attributes.mode = number == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
    if (number != FUSE_ROOT_ID) attributes.size = nodes_[number].content.size();
    attributes.blocks = attributes.size / 512;
    return attributes;
  }
  void append_entry(Bytes& answer, uint64_t number) {
    fuse_entry_out entry{};  // valid for no time: always asked again
    entry.nodeid = number;
    entry.attr = attributes_of(number);
    append(answer, entry);
  }
  static fuse_open_out opened() {
    fuse_open_out out{};
    out.open_flags = FOPEN_DIRECT_IO;
    return out;
  }

  int look_up(Bytes& answer, const char* name) {
    const uint64_t number = find(name);
    if (number == 0) return ENOENT;
    append_entry(answer, number);
    return 0;
  }
  int create(Bytes& answer) {
    const char* name = text_after(sizeof(fuse_create_in));
    if (find(name) != 0) return EEXIST;
    const uint64_t number = next_node_++;
    nodes_[number].name = name;
    append_entry(answer, number);
    append(answer, opened());
    return 0;
  }
  int rename(const char* from) {
    const uint64_t number = find(from);
    if (number == 0) return ENOENT;
    const std::string to = from + std::strlen(from) + 1;
    if (to != from) unlink(to.c_str());
    nodes_[number].name = to;
    return 0;
  }
  int unlink(const char* name) {
    const uint64_t number = find(name);
    if (number == 0) return ENOENT;
    nodes_.erase(number);
    return 0;
  }
  int attributes(Bytes& answer) {
    if (header().nodeid != FUSE_ROOT_ID && node() == nullptr) return ENOENT;
    fuse_attr_out out{};
    out.attr = attributes_of(header().nodeid);
    append(answer, out);
    return 0;
  }
  int set_attributes(Bytes& answer) {
    const auto& wanted = body<fuse_setattr_in>();
    if (node() == nullptr) return ENOENT;
    if ((wanted.valid & FATTR_SIZE) != 0) node()->content.resize(wanted.size);
    return attributes(answer);
  }
  int read(Bytes& answer) {
    const auto& wanted = body<fuse_read_in>();
    if (node() == nullptr) return ENOENT;
    const Bytes& content = node()->content;
    const uint64_t begin = std::min<uint64_t>(wanted.offset, content.size());
    const uint64_t size = std::min<uint64_t>({wanted.size, transfer_max_, content.size() - begin});
    answer.assign(content.begin() + static_cast<ptrdiff_t>(begin),
                  content.begin() + static_cast<ptrdiff_t>(begin + size));
    return 0;
  }
  int write(Bytes& answer) {
    const auto& wanted = body<fuse_write_in>();
    if (node() == nullptr) return ENOENT;
    const uint32_t size = std::min(wanted.size, transfer_max_);
    Bytes& content = node()->content;
    if (content.size() < wanted.offset + size) content.resize(wanted.offset + size);
    if (size > 0) std::memcpy(content.data() + wanted.offset, text_after(sizeof(fuse_write_in)), size);
    fuse_write_out out{};
    out.size = size;
    append(answer, out);
    return 0;
  }
  // A file that polls as ready is read by the ring in place, and after a part the kernel goes on by itself; of
  // FOPEN_DIRECT_IO files it does that from the old offset, and takes the wrong bytes (seen on 6.18). A file that polls
  // as never ready, with an error pending so that nobody waits for it, is read by a worker, which reports a short
  // count, and which may hang without the thread of the loop.
  int poll(Bytes& answer) {
    const Fault& fault = plan_.fault;
    const bool is_short = fault.request == Request::read && fault.number == 0;
    const bool hides = plan_.is_armed.load(std::memory_order_acquire) && (is_short || fault.hangs || fault.in_worker);
    fuse_poll_out out{};
    out.revents = hides ? POLLERR : POLLIN | POLLOUT;
    append(answer, out);
    return 0;
  }
  int allocate() {
    const auto& wanted = body<fuse_fallocate_in>();
    if (node() == nullptr) return ENOENT;
    const uint64_t end = wanted.offset + wanted.length;
    if (wanted.mode == 0 && node()->content.size() < end) node()->content.resize(end);
    return 0;
  }

  int device_;
  int lifeline_;
  FaultPlan& plan_;
  Bytes request_;
  std::map<uint64_t, Node> nodes_;
  uint64_t next_node_ = FUSE_ROOT_ID + 1;
  uint32_t transfer_max_ = UINT32_MAX;  ///< for the request in hand
  uint64_t hanging_ = 0;  ///< a request without an answer
};

/// All but the standard ones and these two.
void close_other_descriptors(int one, int other) {
  const auto low = static_cast<unsigned>(std::min(one, other));
  const auto high = static_cast<unsigned>(std::max(one, other));
  if (low > 3) ::close_range(3, low - 1, 0);
  if (high > low + 1) ::close_range(low + 1, high - 1, 0);
  ::close_range(high + 1, ~0U, 0);
}

}  // namespace

FaultyFiles::FaultyFiles(uint64_t source_size) : at_(folder_.file("mount")) {
  REQUIRE(::mkdir(at_.c_str(), 0755) == 0);
  void* shared = ::mmap(nullptr, sizeof(FaultPlan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  plan_ = new (shared) FaultPlan{};
  obstacle_ = start(source_size);
}

std::string FaultyFiles::start(uint64_t source_size) {
  if (!has_private_mounts()) return "needs root, to mount";
  const int device = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (device < 0) return std::string("/dev/fuse: ") + std::strerror(errno);
  const std::string options = "fd=" + std::to_string(device) + ",rootmode=40000,user_id=0,group_id=0";
  if (::mount("spindle-test", at_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) < 0) {
    const std::string reason = std::string("mounting FUSE: ") + std::strerror(errno);
    ::close(device);
    return reason;
  }
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  child_ = ::fork();
  REQUIRE(child_ >= 0);
  if (child_ == 0) {
    close_other_descriptors(device, ends[0]);
    Server(device, ends[0], *plan_, source_size).serve();
    ::_exit(0);
  }
  ::close(device);
  ::close(ends[0]);
  lifeline_ = ends[1];
  return "";
}

FaultyFiles::~FaultyFiles() {
  if (is_mounted()) {
    CHECK_MESSAGE(unmount(at_), "something still uses the faulty files");
    ::close(lifeline_);
    while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) continue;
  }
  ::munmap(plan_, sizeof(FaultPlan));
}

void FaultyFiles::arm(const Fault& fault) {
  disarm();
  plan_->fault = fault;
  plan_->is_armed.store(true, std::memory_order_release);
}

void FaultyFiles::disarm() {
  plan_->is_armed.store(false, std::memory_order_release);
  for (std::atomic<uint32_t>& count : plan_->served) count.store(0, std::memory_order_relaxed);
  plan_->hits.store(0, std::memory_order_relaxed);
}

}  // namespace spindle
