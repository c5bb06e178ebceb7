// counter FILE [AMOUNT]: adds to the counter in a file, on the kernel's ring, and prints its value.
#include <charconv>
#include <cstdio>
#include <string>
#include <system_error>

#include "counter.h"
#include "io/uring/uring_backend.h"
#include "runtime/root.h"

using namespace spindle;

namespace {

Task<Result<void>> add_and_print(std::string path, uint64_t amount) {
  Counter counter = co_await ok(Counter::open(path));
  if (amount > 0) co_await ok(counter.add(amount));
  std::printf("%llu\n", static_cast<unsigned long long>(counter.value()));
  const Result<void> closed = co_await counter.close();
  co_return closed;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string text = argc == 3 ? argv[2] : "0";
  uint64_t amount = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  if (argc < 2 || argc > 3 || !is_number) {
    std::fputs("usage: counter FILE [AMOUNT]\n", stderr);
    return 2;
  }
  auto backend = UringBackend::create(UringOptions());
  if (!backend.has_value()) {
    std::fprintf(stderr, "counter: %s\n", explain_setup_failure(backend.error().number).c_str());
    return 1;
  }
  Loop loop(**backend, Loop::Options());
  const Result<void> done = run(loop, add_and_print, std::string(argv[1]), amount);
  if (done.has_value()) return 0;
  std::fprintf(stderr, "counter: %s: %s\n", argv[1], describe(done.error()).c_str());
  return 1;
}
