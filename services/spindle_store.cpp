// spindle-store: makes the file of a store, and looks at one. docs/STORE.md.
//
// Every failure is one line on standard error, and then nothing is printed as a result.
#include <signal.h>
#include <sys/random.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>

#include "io/uring/uring_backend.h"
#include "lsm/store_file.h"
#include "runtime/root.h"
#include "services/store_options.h"
#include "services/store_path.h"
#include "services/store_report.h"
#include "services/store_words.h"

namespace spindle::store {

namespace {

/// The lock of a process that was killed holds on for a moment.
constexpr LockOptions lock_wait{.wait_max = std::chrono::seconds(2)};

constexpr int status_failed = 1;
constexpr int status_not_looked = 2;

int say(const std::string& line, int status) {
  std::fprintf(stderr, "spindle-store: %s\n", line.c_str());
  return status;
}

int say_of(const Options& options, const std::string& what, int status) {
  return say(std::string(name_of(options.command)) + " " + options.path + ": " + what, status);
}

bool print(const std::string& text) {
  const bool is_written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  return std::fflush(stdout) == 0 && is_written;
}

int print_result(const Options& options, const std::string& text, int status, int status_unprinted) {
  errno = 0;
  if (print(text)) return status;
  const Error error{ErrorCode::system, errno, "writing the result", 0};
  return say_of(options, explain(error, false), status_unprinted);
}

std::optional<ClusterId> draw_cluster() {
  ClusterId cluster;
  const ssize_t count = ::getrandom(&cluster, sizeof(cluster), 0);
  return count == static_cast<ssize_t>(sizeof(cluster)) ? std::optional(cluster) : std::nullopt;
}

Task<Result<void>> run_format(std::string path, SuperblockFormat format, StoreFormer* into) {
  StoreOptions options;
  options.lock = lock_wait;
  *into = co_await ok(format_store(path, format, options));
  co_return Result<void>();
}

Task<Result<void>> run_inspection(std::string path, GridLook look, StoreInspection* into) {
  StoreInspectionOptions options;
  options.lock = lock_wait;
  options.grid = look;
  *into = co_await ok(inspect_store(path, options));
  co_return Result<void>();
}

/// What will be lost; while it is still there.
void announce_overwrite(Loop& loop, const Options& options) {
  StoreInspection found;
  const Result<void> inspected = run(loop, run_inspection, options.path, GridLook::none, &found);
  if (!inspected.has_value() || found.content == StoreContent::nothing) return;
  StoreFormer former;
  former.content = found.content;
  former.is_device = found.is_device;
  former.file_size = found.file_size;
  const bool is_known = found.content == StoreContent::store && found.winner() != nullptr;
  if (is_known) former.cluster = found.winner()->cluster;
  if (is_known) former.sequence = found.winner()->sequence;
  say_of(options, "overwriting " + text_of(former), 0);
}

int run_format_command(Loop& loop, const Options& options) {
  const DeviceClaim claim(options.path);
  if (claim.errno_number() != 0) {
    const Error error{ErrorCode::system, claim.errno_number(), "claiming the device", 0};
    return say_of(options, explain(error, true), status_failed);
  }
  const std::optional<ClusterId> cluster = options.cluster.has_value() ? options.cluster : draw_cluster();
  if (!cluster.has_value()) return say_of(options, "no random numbers for a cluster id; give --cluster", status_failed);
  if (options.force) announce_overwrite(loop, options);
  Formatted formatted;
  formatted.path = options.path;
  formatted.format.cluster = *cluster;
  formatted.format.configuration = options.configuration;
  formatted.format.force = options.force;
  const Result<void> done = run(loop, run_format, options.path, formatted.format, &formatted.former);
  if (!done.has_value()) return say_of(options, explain(done.error(), false), status_failed);
  formatted.is_copy_on_write = is_copy_on_write(options.path);
  if (formatted.is_copy_on_write) say_of(options, std::string("warning: ") + copy_on_write_warning, 0);
  const std::string text = options.json ? format_json(formatted) : format_text(formatted);
  return print_result(options, text, 0, status_failed);
}

int run_look_command(Loop& loop, const Options& options) {
  StoreInspection found;
  const bool verifies = options.command == Command::verify;
  const GridLook look = verifies || options.blocks ? GridLook::blocks : GridLook::trailers;
  const Result<void> done = run(loop, run_inspection, options.path, look, &found);
  if (!done.has_value()) return say_of(options, explain(done.error(), found.is_device), status_not_looked);
  const bool has_store = found.content == StoreContent::store && found.has_version();
  const bool is_well = verifies ? found.findings.empty() : has_store;
  std::string text;
  if (verifies) {
    text = options.json ? verify_json(options.path, found) : verify_text(options.path, found);
  } else {
    text = options.json ? inspect_json(options.path, found) : inspect_text(options.path, found);
  }
  return print_result(options, text, is_well ? 0 : status_failed, status_not_looked);
}

int run_command(const Options& options) {
  const bool makes = options.command == Command::format;
  const int status = makes ? status_failed : status_not_looked;
  const std::string refusal = refusal_of(options.path, makes);
  if (!refusal.empty()) return say_of(options, refusal, status);
  auto backend = UringBackend::create(UringOptions());
  if (!backend.has_value()) return say(explain_setup_failure(backend.error().number), status);
  Loop loop(**backend, Loop::Options());
  return makes ? run_format_command(loop, options) : run_look_command(loop, options);
}

}  // namespace

}  // namespace spindle::store

int main(int argument_count, char** arguments) {
  using namespace spindle::store;
  for (const int number : {SIGPIPE, SIGXFSZ}) ::signal(number, SIG_IGN);  // the calls concerned return an errno
  const Options options = parse_options(argument_count, arguments);
  if (!options.failure.empty()) return say(options.failure, status_not_looked);
  if (options.command == Command::help) return print(options.help) ? 0 : status_failed;
  return run_command(options);
}
