// The traps of the ledger, each on the kernel's ring, and that what is allowed does not spring them.
#include "io/ledger.h"

#include <doctest/doctest.h>

#include "tests/death.h"
#include "tests/io/uring_fixture.h"

namespace spindle {
namespace {

/// Then the test can't run.
bool lacks_ledger() {
  if (!Ledger::enabled) skip_in_this_build("the ledger is off (SPINDLE_LEDGER=0)");
  return !Ledger::enabled;
}

/// A file, and a FIFO that never answers, for what is to stay in flight.
struct Scene {
  explicit Scene(const TemporaryFolder& folder, Fifo& fifo_end) : path(folder.file("data")), fifo(fifo_end) {}
  std::string path;
  Fifo& fifo;
  Memory memory{16384};
};

Task<Result<void>> read_part(File* file, std::span<std::byte> memory) {
  const Result<uint64_t> count = co_await file->read_at(0, memory);
  static_cast<void>(count);
  co_return Result<void>();
}

Task<Result<void>> write_part(File* file, std::span<std::byte> memory) {
  const Result<void> written = co_await file->write_all_at(0, memory);
  static_cast<void>(written);
  co_return Result<void>();
}

using Act = Task<Result<void>> (*)(Scope& scope, Scene& scene, File& data, File& fifo);

Task<Result<void>> act_in_scope(Scope& scope, Act act, Scene& scene, File& data, File& fifo) {
  auto acting = act(scope, scene, data, fifo);
  const Result<void> acted = co_await std::move(acting);
  co_await settle_ring();
  scope.cancel();
  co_return acted;
}

Task<Result<void>> play_scene(Act act, Scene& scene) {
  File data = co_await ok(File::open(scene.path, open_cached_new));
  File fifo = co_await ok(File::open(scene.fifo.path(), open_cached));
  auto acting = with_scope(ScopeOptions{}, act_in_scope, act, scene, data, fifo);
  co_return co_await std::move(acting);
}

/// Not through UringLoop: it counts descriptors, which a child shares with its parent.
void play(Act act, Scene& scene) {
  Result<std::unique_ptr<UringBackend>> backend = UringBackend::create(UringOptions());
  SPINDLE_ASSERT(backend.has_value(), "no ring");
  Loop loop(**backend);
  const Result<void> played = run(loop, play_scene, act, scene);
  SPINDLE_ASSERT(played.has_value(), "the scene failed");
}

struct Theatre {
  Theatre() : fifo(folder.file("fifo")), scene(folder, fifo) {}
  TemporaryFolder folder;
  Fifo fifo;
  Scene scene;
};

void expect_trap(Act act, const char* message) {
  Theatre theatre;
  struct Player {
    Act act;
    Scene* scene;
    void operator()() const { play(act, *scene); }
  };
  expect_abort(Player{act, &theatre.scene}, message);
}

void expect_peace(Act act) {
  Theatre theatre;
  play(act, theatre.scene);
}

Task<Result<void>> submit_again(Scope&, Scene& scene, File& data, File&) {
  TransferOnce operation = data.read_at(0, scene.memory.all());
  Backend::current().submit(operation);
  Backend::current().submit(operation);
  co_return Result<void>();
}

TEST_CASE("an operation that is submitted while it is in flight is caught") {
  if (lacks_ledger()) return;
  expect_trap(submit_again, "an operation was submitted while it was in flight");
}

Task<Result<void>> read_twice_into_one(Scope& scope, Scene& scene, File&, File& fifo) {
  co_await ok(scope.spawn(read_part, &fifo, scene.memory.part(0, 4096)));
  co_await ok(scope.spawn(read_part, &fifo, scene.memory.part(4095, 100)));
  co_return Result<void>();
}

TEST_CASE("a read into memory that another read in flight fills is caught") {
  if (lacks_ledger()) return;
  expect_trap(read_twice_into_one, "memory was handed to an operation while a read in flight fills it");
}

Task<Result<void>> read_into_parts(File* file, iovec* parts) {
  const std::span<iovec> vector(parts, 2);
  const Result<void> read = co_await file->read_exact_at(0, vector);
  static_cast<void>(read);
  co_return Result<void>();
}

Task<Result<void>> read_into_a_part(Scope& scope, Scene& scene, File& data, File& fifo) {
  iovec parts[2] = {{scene.memory.part(0, 1024).data(), 1024}, {scene.memory.part(8192, 1024).data(), 1024}};
  co_await ok(scope.spawn(read_into_parts, &fifo, parts));
  co_await ok(yield());
  co_await ok(scope.spawn(read_part, &data, scene.memory.part(8192, 512)));
  co_await settle_ring();
  co_return Result<void>();
}

TEST_CASE("a read into one of the parts that a vectored read in flight fills is caught") {
  if (lacks_ledger()) return;
  expect_trap(read_into_a_part, "memory was handed to an operation while a read in flight fills it");
}

Task<Result<void>> write_what_is_read(Scope& scope, Scene& scene, File& data, File& fifo) {
  co_await ok(scope.spawn(read_part, &fifo, scene.memory.part(4096, 4096)));
  co_await ok(yield());
  co_await ok(scope.spawn(write_part, &data, scene.memory.part(0, 8192)));
  co_return Result<void>();
}

TEST_CASE("a write from memory that a read in flight fills is caught") {
  if (lacks_ledger()) return;
  expect_trap(write_what_is_read, "memory was handed to an operation while a read in flight fills it");
}

Task<Result<void>> read_what_is_written(Scope& scope, Scene& scene, File& data, File& fifo) {
  scene.fifo.fill();
  co_await ok(scope.spawn(write_part, &fifo, scene.memory.part(0, 8192)));
  co_await ok(yield());
  co_await ok(scope.spawn(read_part, &data, scene.memory.part(8191, 4096)));
  co_return Result<void>();
}

TEST_CASE("a read into memory that a write in flight reads is caught") {
  if (lacks_ledger()) return;
  expect_trap(read_what_is_written, "a read was submitted into memory that a write in flight reads");
}

Task<Result<void>> change_what_is_written(Scope& scope, Scene& scene, File&, File& fifo) {
  scene.fifo.fill();
  co_await ok(scope.spawn(write_part, &fifo, scene.memory.part(0, 8192)));
  co_await settle_ring();
  scene.memory.all()[8191] ^= std::byte{1};
  scope.cancel();
  co_return Result<void>();
}

TEST_CASE("a write buffer that changes while it is in flight is caught") {
  if (lacks_ledger()) return;
  expect_trap(change_what_is_written, "a write buffer was changed while the write was in flight");
}

Task<Result<void>> close_under_a_read(Scope&, Scene& scene, File&, File&) {
  auto descriptor = std::make_unique<Descriptor>(Backend::current(), "bare");
  descriptor->fd = ::open(scene.fifo.path().c_str(), O_RDWR | O_CLOEXEC);
  TransferOnce reading(*descriptor, Opcode::read, scene.memory.all().data(), 1, 0);
  Backend::current().submit(reading);
  PlainOperation closing(Backend::current(), Opcode::close, descriptor.get());
  co_await settle_ring();
  Backend::current().submit(closing);
  co_return Result<void>();
}

TEST_CASE("a close that reaches the backend with operations in flight is caught") {
  if (lacks_ledger()) return;
  expect_trap(close_under_a_read, "a close reached the backend while operations on its descriptor were in flight");
}

Task<Result<void>> touch_what_is_read(Scope& scope, Scene& scene, File&, File& fifo) {
  co_await ok(scope.spawn(read_part, &fifo, scene.memory.part(0, 4096)));
  co_await ok(yield());
  *static_cast<volatile std::byte*>(scene.memory.all().data()) = std::byte{1};
  co_return Result<void>();
}

TEST_CASE("touching the memory of a read in flight is caught by the address sanitizer") {
  if (lacks_ledger()) return;
  if constexpr (!has_asan) {
    skip_in_this_build("no address sanitizer");
    return;
  }
  Theatre theatre;
  struct Player {
    Scene* scene;
    void operator()() const { play(touch_what_is_read, *scene); }
  };
  Player player{&theatre.scene};
  const Death death = run_in_child(player);
  CHECK_FALSE(death.has_exited);
  CHECK_MESSAGE(death.text.find("use-after-poison") != std::string::npos, death.text);
}

Task<Result<void>> await_borrowed(std::unique_ptr<TransferOnce>* operation) {
  const Result<uint64_t> count = co_await **operation;
  static_cast<void>(count);
  co_return Result<void>();
}

Task<Result<void>> destroy_in_flight(Scope& scope, Scene& scene, File&, File&) {
  auto descriptor = std::make_unique<Descriptor>(Backend::current(), "bare");
  descriptor->fd = ::open(scene.fifo.path().c_str(), O_RDWR | O_CLOEXEC);
  std::byte* const memory = scene.memory.all().data();
  auto operation = std::make_unique<TransferOnce>(*descriptor, Opcode::read, memory, 1, 0);
  co_await ok(scope.spawn(await_borrowed, &operation));
  co_await ok(yield());
  operation.reset();
  co_return Result<void>();
}

TEST_CASE("an operation that is destroyed in flight is caught in every build") {
  expect_trap(destroy_in_flight, "a frame was destroyed while what it awaits is in flight");
}

Task<Result<void>> write_from_one_buffer(Scope& scope, Scene& scene, File& data, File& fifo) {
  scene.fifo.fill();
  co_await ok(scope.spawn(write_part, &fifo, scene.memory.part(0, 8192)));
  co_await ok(scope.spawn(write_part, &fifo, scene.memory.part(4096, 8192)));
  co_await ok(scope.spawn(write_part, &data, scene.memory.all()));
  co_await ok(scope.spawn(write_part, &data, scene.memory.part(100, 100)));
  co_await settle_ring();
  co_return Result<void>();
}

TEST_CASE("writes may share memory, and reading it meanwhile is fine") { expect_peace(write_from_one_buffer); }

Task<Result<void>> read_side_by_side(Scope& scope, Scene& scene, File& data, File& fifo) {
  for (size_t part = 0; part < 8; ++part) {
    co_await ok(scope.spawn(read_part, &fifo, scene.memory.part(1024 * part, 1024)));
  }
  co_await ok(scope.spawn(write_part, &data, scene.memory.part(8192, 1024)));
  co_await settle_ring();
  co_return Result<void>();
}

TEST_CASE("reads side by side are fine, down to the byte") { expect_peace(read_side_by_side); }

Task<Result<void>> use_one_buffer_in_turn(Scope&, Scene& scene, File& data, File&) {
  const std::span<std::byte> memory = scene.memory.all();
  for (int round = 0; round < 10; ++round) {
    memory[0] = static_cast<std::byte>(round);
    co_await ok(data.write_all_at(0, memory));
    memory[0] = std::byte{0xff};
    co_await ok(data.read_exact_at(0, memory));
    SPINDLE_ASSERT(memory[0] == static_cast<std::byte>(round), "the file holds what was written");
  }
  co_return Result<void>();
}

TEST_CASE("one buffer may be used again as soon as its operation ended") { expect_peace(use_one_buffer_in_turn); }

}  // namespace
}  // namespace spindle
